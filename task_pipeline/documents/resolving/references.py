"""References such as `${step-a.output.result}`: parsed, and resolved without any code of theirs.

- `${id.output}`, `${steps.id.output}`: what a step has put out; `${id}` alone is the same
- `${workflow.input}`: what `results` held when the run started; `${name}` is a key of it
- `${loop.item}`, `.index`, `.total`, `.is_first`, `.is_last`: of the loop around a step
- `${env.NAME}`: an environment variable that the caller has allowed

Below any of them `.key`, `["any key"]` and `[index]` lead on, into dicts and lists only; an
index below 0 counts from the end. `$${` stands for the text `${`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from ...errors import ContextCopyError
from ...state.copying import ATOMIC, copy_value
from ..mistakes.problem_words import nearest
from ..mistakes.problems import Path, path_text
from .secrets import Secret, joined, rendered

__all__ = [
    "LOOP_FIELDS",
    "OPENING",
    "RESERVED",
    "Look",
    "Missing",
    "Reference",
    "WrongReference",
    "absent",
    "own",
    "parsed",
    "references",
    "resolved",
    "understood",
    "walked",
]

Kind: TypeAlias = Literal["step", "input", "loop", "env", "name"]

OPENING = "${"
LOOP_FIELDS = ("item", "index", "total", "is_first", "is_last")
RESERVED = ("workflow", "steps", "loop", "env")

_BEGIN = re.compile(r"\$?\$\{")
_KEY = r"""\.[\w-]+|\[\s*(?:-?\d{1,9}|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\]"""
_REFERENCE = re.compile(rf"\$\{{\s*([\w-]+)((?:{_KEY})*)\s*\}}")
_KEYS = re.compile(_KEY)
_ESCAPED = re.compile(r"\\(.)")


class WrongReference(Exception):
    """A reference that cannot be read: what was found, and what to do."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found, hint)
        self.found = found
        self.hint = hint


class Reference(NamedTuple):
    """What a reference stands for: of which kind, of which step (or variable), and what in it."""

    text: str
    kind: Kind
    name: str
    path: Path


class Missing(Exception):
    """What a reference stands for is not there: which one, why, and where it was written."""

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(reference, why)
        self.reference = reference
        self.why = why
        self.where: tuple[str | int, ...] = ()


Part: TypeAlias = str | Reference
Look: TypeAlias = Callable[[Reference], Any]
"""Gives what a reference stands for; raises `Missing`."""


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Part, ...]:
    """The texts and references that a text is made of; raises `WrongReference`."""
    whole = _REFERENCE.fullmatch(text)
    if whole is not None:
        return (understood(text, whole.group(1), _path(whole.group(2))),)
    parts: list[Part] = []
    plain, at = "", 0
    while (begin := _BEGIN.search(text, at)) is not None:
        plain += text[at : begin.start()]
        if len(begin.group()) == 3:
            plain, at = plain + OPENING, begin.end()
            continue
        found = _REFERENCE.match(text, begin.start())
        if found is None:
            raise _unreadable(text, begin.start())
        if plain:
            parts.append(plain)
        parts.append(understood(found.group(), found.group(1), _path(found.group(2))))
        plain, at = "", found.end()
    plain += text[at:]
    if plain:
        parts.append(plain)
    return tuple(parts)


def _unreadable(text: str, at: int) -> WrongReference:
    end = text.find("}", at)
    if end < 0:
        return WrongReference(
            f"{text[at : at + 40]!r} has no closing brace",
            "close the reference with }, or write $${ for the text itself",
        )
    return WrongReference(
        f"{text[at : min(end + 1, at + 80)]!r} is not a reference",
        "write it as ${step-a.output.result}, ${x.output.items[0]}, ${workflow.input.a} or "
        '${x.output["any key"]}, or $${ for the text itself',
    )


def _path(text: str) -> Path:
    if "[" not in text:
        return tuple(text.split(".")[1:])
    return tuple(map(_key, _KEYS.findall(text)))


def _key(text: str) -> str | int:
    if text[0] == ".":
        return text[1:]
    inner = text[1:-1].strip()
    return _ESCAPED.sub(r"\1", inner[1:-1]) if inner[0] in "\"'" else int(inner)


def understood(text: str, first: str, path: Path) -> Reference:
    """What a first word and a path below it stand for; raises `WrongReference`."""
    if first == "workflow":
        if not path or path[0] != "input":
            raise WrongReference(
                f"{text} is not a reference", "of a workflow there is ${workflow.input} only"
            )
        return Reference(text, "input", "", path[1:])
    if first == "loop":
        if not path or path[0] not in LOOP_FIELDS:
            near = nearest(str(path[0]), LOOP_FIELDS) if path else None
            known = f"of a loop there are {', '.join(LOOP_FIELDS)}"
            raise WrongReference(
                f"{text} is not a reference", f"did you mean {near!r}? {known}" if near else known
            )
        return Reference(text, "loop", "", path)
    if first == "env":
        if len(path) != 1 or not isinstance(path[0], str):
            raise WrongReference(f"{text} is not a reference", "write ${env.NAME}")
        return Reference(text, "env", path[0], ())
    if first == "steps":
        if len(path) < 2 or path[1] != "output":
            raise WrongReference(f"{text} is not a reference", "write ${steps.id.output}")
        return Reference(text, "step", str(path[0]), path[2:])
    if path and path[0] == "output":
        return Reference(text, "step", first, path[1:])
    return Reference(text, "name", first, path)


def references(value: Any) -> list[tuple[Path, str]]:
    """Every text in a JSON value that has a reference in it, or begins one, and where it is."""
    if isinstance(value, str):
        return [((), value)] if OPENING in value else []
    found: list[tuple[Path, str]] = []
    if not isinstance(value, dict | list):
        return found
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, inner = waiting.pop()
        for key, item in inner.items() if isinstance(inner, dict) else enumerate(inner):
            if isinstance(item, str):
                if OPENING in item:
                    found.append(((*path, key), item))
            elif isinstance(item, dict | list):
                waiting.append(((*path, key), item))
    return found


def resolved(value: Any, look: Look) -> Any:
    """A JSON value with each reference in its texts replaced by what it stands for.

    A text that is one reference becomes the very value; in other text it is rendered: a text
    as it is, anything else as JSON. Raises `Missing`, with where the text stands.
    """
    if isinstance(value, str):
        return _resolved_text(value, look) if OPENING in value else value
    if isinstance(value, dict):
        return {key: _inside(key, item, look) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inside(at, item, look) for at, item in enumerate(value)]
    return value


def _inside(key: str | int, value: Any, look: Look) -> Any:
    try:
        return resolved(value, look)
    except Missing as missing:
        missing.where = (key, *missing.where)
        raise


def _resolved_text(text: str, look: Look) -> Any:
    parts = parsed(text)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return look(parts[0])
    return joined([part if isinstance(part, str) else rendered(look(part)) for part in parts])


def walked(value: Any, reference: Reference, so_far: str) -> Any:
    """What stands below a value, along a reference's path; raises `Missing`."""
    for key in reference.path:
        if isinstance(value, dict):
            found = key if key in value else str(key)
            if found not in value:
                raise Missing(reference.text, absent(so_far, found, value))
            value = value[found]
        elif isinstance(value, list | tuple):
            index = _index(key)
            if index is None:
                raise Missing(reference.text, f"{so_far} is a list, which has no key {key!r}")
            if not -len(value) <= index < len(value):
                raise Missing(reference.text, f"{so_far} has {_count(len(value))}")
            value = value[index]
        else:
            raise Missing(reference.text, f"{so_far} is {_kind_of(value)}, which has no {key!r}")
        so_far += path_text((key,)) if isinstance(key, int) else f".{path_text((key,))}"
    return value


def _index(key: str | int) -> int | None:
    if isinstance(key, int):
        return key
    return int(key) if key.isascii() and key.isdigit() and len(key) < 10 else None


def _count(number: int) -> str:
    return {0: "no items", 1: "1 item"}.get(number, f"{number} items")


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


def absent(where: str, key: object, known: dict[Any, Any]) -> str:
    """Why a key is missing: what there is instead."""
    names = [name for name in known if isinstance(name, str)]
    near = nearest(str(key), names)
    if near is not None:
        return f"{where} has no {key!r}; did you mean {near!r}?"
    if not names:
        return f"{where} has no {key!r}: it has no keys"
    shown = ", ".join(map(repr, names[:12])) + (", ..." if names[12:] else "")
    return f"{where} has no {key!r}; it has {shown}"


def own(value: Any, what: str = "a value") -> Any:
    """A value of whoever asks for it: nothing that is done to it is seen elsewhere.

    Raises `ContextCopyError` for what cannot be copied.
    """
    try:
        return _own(value, what)
    except RecursionError as error:
        raise ContextCopyError(f"{what} is nested too deep to be copied", key=what) from error


def _own(value: Any, what: str) -> Any:
    kind = type(value)
    if kind in ATOMIC or kind is Secret:
        return value
    if kind is list:
        return [_own(item, what) for item in value]
    if kind is dict:
        return {key: _own(item, what) for key, item in value.items()}
    return copy_value(value, {}, what)
