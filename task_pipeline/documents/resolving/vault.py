"""What must not be told: found in what steps put out and raise, and hidden.

A value is looked for as it is, and as JSON, Python and addresses write it; in any other form,
such as Base64, it is not found.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

from ...event_values import words_of
from .secrets import MASK, Secret, template_of


class Vault:
    """The values of some variables, to find them in what steps put out and in what they raise."""

    def __init__(self, names: Iterable[str]) -> None:
        self._templates: dict[str, str] = {}
        for name in names:
            value = os.environ.get(name)
            if value:
                for form in _forms(value):
                    self._templates.setdefault(form, f"${{env.{name}}}")
        values = sorted(self._templates, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, values))) if values else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def finds(self, text: str) -> bool:
        """Whether one of the values is in a text."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def masked(self, text: str) -> str:
        """A text with `***` in place of each value."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def wrapped(self, value: Any) -> Any:
        """A value with each text in it that has one of the values in it made a `Secret`.

        Looks into dicts, lists, tuples and sets, and changes none of them.
        """
        kind = type(value)
        if kind is str:
            return (
                Secret(value, template_of(value, self._templates.items()))
                if self.finds(value)
                else value
            )
        if kind is dict:
            return {self.wrapped(key): self.wrapped(item) for key, item in value.items()}
        if kind in (list, tuple, set, frozenset):
            return kind(map(self.wrapped, value))
        return value

    def masked_error(self, error: BaseException) -> BaseException:
        """An exception that tells none of the values: itself, if it does not.

        If not, one of its type with its texts masked, and its causes likewise; a
        `RuntimeError` with its text if there is no making one.
        """
        return _Masking(self).error(error)


def _forms(value: str) -> list[str]:
    """How a value may stand in a text: as it is, as JSON and Python write it, in an address."""
    forms = [value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    return [*forms, repr(value)[1:-1], quote(value, safe=""), quote(value), quote_plus(value)]


class _Masking:
    """One exception being masked, with those that it came from."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._made: dict[int, BaseException] = {}

    def error(self, error: BaseException) -> BaseException:
        """The masked one of an exception, or itself."""
        if id(error) in self._made:
            return self._made[id(error)]
        self._made[id(error)] = error  # until it is known: chains may lead back to it
        cause, context = self._chained(error.__cause__), self._chained(error.__context__)
        if not self._tells(error):
            if cause is not error.__cause__ or context is not error.__context__:
                suppress = error.__suppress_context__
                error.__cause__, error.__context__ = cause, context
                error.__suppress_context__ = suppress
            return error
        made = self._again(error)
        made.__cause__, made.__context__ = cause, context
        made.__suppress_context__ = error.__suppress_context__
        made = made.with_traceback(error.__traceback__)
        self._made[id(error)] = made
        return made

    def _chained(self, error: BaseException | None) -> BaseException | None:
        return None if error is None else self.error(error)

    def _tells(self, error: BaseException) -> bool:
        parts: list[Any] = [words_of(error), error.args, vars(error)]
        if isinstance(error, BaseExceptionGroup):
            parts.append(list(error.exceptions))
        return any(self._is_in(part) for part in parts)

    def _is_in(self, part: Any) -> bool:
        if isinstance(part, str):
            return self._vault.finds(part)
        if isinstance(part, dict):
            return any(map(self._is_in, part)) or any(map(self._is_in, part.values()))
        if isinstance(part, list | tuple | set | frozenset):
            return any(map(self._is_in, part))
        if isinstance(part, BaseException):
            return self.error(part) is not part
        try:
            return self._vault.finds(repr(part))
        except Exception:  # noqa: BLE001  # an object of the agent's: what it shows is not ours
            return True

    def _again(self, error: BaseException) -> BaseException:
        """One like it that tells nothing."""
        kind: Any = type(error)
        try:
            args = self._clean(error.args)
            made: BaseException = kind.__new__(kind, *args)
            made.args = args
            for name, item in vars(error).items():
                setattr(made, name, self._clean(item))
            if not self._tells(made) and _is_usable(made):
                return made
        except Exception:  # noqa: BLE001  # exceptions of the agent's may need anything
            pass
        notes = self._clean(getattr(error, "__notes__", []))
        plain = RuntimeError(f"{kind.__name__}: {self._vault.masked(words_of(error))}")
        for note in notes:
            plain.add_note(str(note))
        return plain

    def _clean(self, part: Any) -> Any:
        if isinstance(part, str):
            return self._vault.masked(str.__str__(part))
        if isinstance(part, BaseException):
            return self.error(part)
        if type(part) is dict:
            return {self._clean(key): self._clean(item) for key, item in part.items()}
        if type(part) in (list, tuple, set, frozenset):
            return type(part)(map(self._clean, part))
        return self._vault.masked(repr(part)) if self._is_in(part) else part


def _is_usable(error: BaseException) -> bool:
    try:
        str(error), repr(error)
    except Exception:  # noqa: BLE001  # made without its __init__, it may lack what these need
        return False
    return True
