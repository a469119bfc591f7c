"""Values as templates and conditions see them: by path, and as text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from ...errors import TemplateError

MAX_TEXT: Final = 10_000_000
"""The longest text, in characters, that is made of a value or by a template."""

MAX_DIGITS: Final = 4_000
"""The longest whole number that is read or written; reading one costs the square of it."""

NAME: Final = r"[^\W\d]\w*(?:-+\w+)*"
SEGMENT: Final = r"(?:\.\w+(?:-+\w+)*|\[[ \t]*(?:-?\d{1,9}|\"[^\"{}\n]*\"|'[^'{}\n]*')[ \t]*\])"
"""What may follow a name in a path: `.key`, `.0`, `[0]`, `[-1]`, `["a key"]`."""

_SEGMENTS = re.compile(r"\.(\w+(?:-+\w+)*)|\[[ \t]*(?:(-?\d+)|\"([^\"]*)\"|'([^']*)')[ \t]*\]")
_DIGITS = re.compile(r"[0-9]{1,9}")
_INDEX = re.compile(r"-?[0-9]{1,9}")

_ATOMS = frozenset({str, int, float, bool, type(None), Decimal, datetime, date, time})
_KEYS = frozenset({str, int, float, bool, type(None)})


class _Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What `look_up` and `item_of` give for what is not there; None is a value."""


def split_path(text: str) -> tuple[str | int, ...]:
    """The steps of a path that is written as `NAME` and any number of `SEGMENT`."""
    root = re.match(NAME, text)
    if root is None:
        raise ValueError(f"{text!r} is not a path")
    path: list[str | int] = [root.group()]
    for key, index, double, single in _SEGMENTS.findall(text, root.end()):
        if index:
            path.append(int(index))
        elif key:
            path.append(int(key) if _DIGITS.fullmatch(key) else key)
        else:
            path.append(double or single)
    return tuple(path)


def look_up(values: Mapping[Any, Any], path: Sequence[str | int]) -> Any:
    """The value at a path, as it is, or `MISSING`. Reads no other key of `values`."""
    root = path[0]
    if root not in values:
        return MISSING
    value = values[root]
    for key in path[1:]:
        value = item_of(value, key)
        if value is MISSING:
            return MISSING
    return value


def item_of(value: Any, key: Any) -> Any:
    """An item of a mapping or a sequence, or `MISSING`; never an attribute.

    A number finds the key of the same digits, and the other way round. `size`, `first` and
    `last` are those of the mapping, sequence or text, unless the mapping has such a key.
    """
    if type(key) not in _KEYS:
        return MISSING
    if isinstance(value, str):
        return len(value) if key == "size" else MISSING
    if isinstance(value, Mapping):
        if key in value:
            return value[key]
        other = _other_spelling(key)
        if other is not None and other in value:
            return value[other]
        if key == "first" and len(value):
            return next(itertools.islice(value.items(), 1))
        return len(value) if key == "size" else MISSING
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return _item_of_sequence(value, key)
    return MISSING


def _other_spelling(key: Any) -> str | int | None:
    if type(key) is int:
        return str(key) if -(10**9) < key < 10**9 else None
    return int(key) if type(key) is str and _INDEX.fullmatch(key) else None


def _item_of_sequence(value: Sequence[Any], key: Any) -> Any:
    size = len(value)
    if key == "size":
        return size
    if key == "first":
        key = 0
    elif key == "last":
        key = -1
    elif type(key) is str and _INDEX.fullmatch(key):
        key = int(key)
    if type(key) is not int or not -size <= key < size:
        return MISSING
    return value[key]


def plain(value: Any) -> Any:
    """The value as a template may handle it: an object of any other kind is its text."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return value
    return str(value)


def to_text(value: Any) -> str:
    """How a value stands in a text.

    Text is itself, `true` and `false` are in lower case, None is empty, a number is as Python
    writes it, a list, tuple, set or mapping is JSON, and everything else its `str()`.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if isinstance(value, Mapping | AbstractSet) or (
        isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview)
    ):
        return json_text(value)
    return str(value)


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON; in it, what JSON has no form for is its `str()`.

    Raises `TemplateError` if that would be longer than `MAX_TEXT`.
    """
    weigh(value)
    try:
        return json.dumps(value, default=_known_to_json, ensure_ascii=False, indent=indent)
    except TypeError:  # a key that is neither text nor a number
        return json.dumps(
            _with_text_keys(value), default=_known_to_json, ensure_ascii=False, indent=indent
        )


def weigh(value: Any) -> int:
    """About how long a value is as text; more than `MAX_TEXT` is a `TemplateError`.

    Values can hold the same list many times, and so be small in memory and endless as text.
    Each value in it counts as ten characters at least: that is also how long this may take.
    """
    weight = 0
    left = [value]
    while left:
        value = left.pop()
        weight += 10
        if isinstance(value, str):
            weight += len(value)
        elif isinstance(value, Mapping):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list | tuple | AbstractSet):
            left.extend(value)
        if weight > MAX_TEXT:
            raise TemplateError(
                f"a value would be a text of more than {MAX_TEXT:,} characters; "
                "take the part of it that is needed"
            )
    return weight


def _known_to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _with_text_keys(value)
    if isinstance(value, AbstractSet):
        # A set of texts comes in another order in each process.
        return sorted(value, key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    return str(value)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key if type(key) in _KEYS else str(key): _with_text_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_text_keys(item) for item in value]
    return value
