"""Values of environment variables that a document may use and nobody may see.

A `Secret` is a text that tells where it comes from in place of what it is: its `repr` is
`***`, and a journal has its template, such as "Bearer ${env.TOKEN}", from which the value is
made again where the same variable is allowed and set.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ...errors import NotAllowedError
from ...journal.codec import register_type

MASK = "***"

_lock = threading.Lock()
# The names that documents loaded by this process may read. Replaced as a whole, under the lock.
_allowed: frozenset[str] = frozenset()
_DOLLAR = re.compile(r"\$(?:\$|\{env\.([^}]*)\})?")


class Secret(str):
    """A text with the value of an environment variable in it: `***` wherever it is shown.

    It is compared, joined and sent as the text that it is. What `+` or `format` make of
    it is an ordinary text again.
    """

    __slots__ = ("template",)

    template: str

    def __new__(cls, text: str, template: str) -> Secret:
        """A text, and what it is made from: in a template `$$` stands for `$`."""
        self = super().__new__(cls, text)
        self.template = template
        return self

    def __repr__(self) -> str:
        return f"'{MASK}'"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return from_template, (self.template,)


def allow_variables(names: Collection[str]) -> None:
    """Documents of this process may read these from now on, and what they left in journals."""
    global _allowed
    if not _allowed.issuperset(names):
        with _lock:
            _allowed = _allowed.union(names)


def variable(name: str) -> Secret:
    """The value of an environment variable; raises `NotAllowedError` for one that is not set.

    Whether the document may read it was checked when that was loaded.
    """
    value = os.environ.get(name) if name in _allowed else None
    if value is None:
        raise NotAllowedError(f"the environment variable {name} is not set (any more); set it")
    return Secret(value, f"${{env.{name}}}")


def from_template(template: str) -> Secret:
    """The secret that has this template; raises `NotAllowedError`.

    A template comes from a journal, which others may have written into: it leads only to
    what documents of this process may read anyway.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found.group(1)
        if found.group() == "$$":
            return "$"
        if name is None:
            raise NotAllowedError("a secret that was recorded cannot be read: it is damaged")
        if name not in _allowed:
            raise NotAllowedError(
                f"a secret that was recorded needs the environment variable {name}, which no "
                f"document of this process may read; pass env={{{name!r}}} to load_pipeline, or "
                f"--env {name} on the command line, if it is meant"
            )
        return str.__str__(variable(name))

    return Secret(_DOLLAR.sub(replaced, template), template)


def _encoded(secret: Secret) -> str:
    return secret.template


register_type(Secret, name="task_pipeline.Secret", encode=_encoded, decode=from_template)


def joined(parts: Sequence[str]) -> str:
    """Texts put together; a secret if one of them is."""
    text = "".join(parts)
    if not any(isinstance(part, Secret) for part in parts):
        return text
    return Secret(text, "".join(map(_as_template, parts)))


def _as_template(part: str) -> str:
    return part.template if isinstance(part, Secret) else part.replace("$", "$$")


def rendered(value: Any) -> str:
    """A value inside text: a text as it is, anything else as JSON; a secret if it has one."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False, default=str)
    inside = list(_secrets_in(value))
    if not inside:
        return text
    # As JSON writes them, they may have escapes that the values themselves have not.
    pairs: list[tuple[str, str]] = [(one, one.template) for one in inside if one]
    pairs += [(json.dumps(one, ensure_ascii=False)[1:-1], one.template) for one in inside if one]
    return Secret(text, template_of(text, pairs))


def _secrets_in(value: Any) -> Iterable[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets_in(key)
            yield from _secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)


def template_of(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The template of a text: each of the values in it replaced, the longest first."""
    by_value = dict(pairs)
    values = sorted(by_value, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, values)))
    made, at = [], 0
    for found in pattern.finditer(text):
        made += [_as_template(text[at : found.start()]), by_value[found.group()]]
        at = found.end()
    return "".join([*made, _as_template(text[at:])])
