"""JSON read about as fast as `json.loads` reads it, and as strictly as strangers need it."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

from .json_positions import JsonReading
from .json_values import DEFAULT, Limits, Mistake, MistakesError, is_writable

# All but quotation marks, brackets and colons.
_OTHERS = bytes(set(range(256)).difference(b'":[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ESCAPE = re.compile(rb"\\.")
_SURROGATE = re.compile(r"\\u[dD]")


def read_json(text: str, limits: Limits = DEFAULT) -> Any:
    """The value of a JSON text.

    Raises `MistakesError` for what is not JSON, and for a key that is there twice, a number
    that is not finite or too long, half of a surrogate pair, and more than the limits allow.
    """
    if len(text) > limits.nodes and _most_nodes(text) > limits.nodes:
        _check(text, limits)
    # `json.loads` keeps the last of keys that are the same: then fewer are left than were written.
    objects: list[dict[str, Any]] = []
    keep = objects.append
    decoder = json.JSONDecoder(
        object_hook=lambda one: keep(one) or one, parse_constant=_refuse, parse_float=_finite
    )
    try:
        value = decoder.decode(text)
        is_good = _is_good(text, value, sum(map(len, objects)), limits)
    except (ValueError, RecursionError) as error:
        raise MistakesError(JsonReading(text, limits).mistakes or [_unseen(error)]) from None
    if not is_good:
        _check(text, limits)
    return value


def _check(text: str, limits: Limits) -> None:
    mistakes = JsonReading(text, limits).mistakes
    if mistakes:
        raise MistakesError(mistakes)


def _unseen(error: Exception) -> Mistake:
    """What the slow reading has nothing against."""
    if isinstance(error, RecursionError):
        hint = "the program's own calls are nested too deep already"
        return Mistake(0, (), "cannot be read here", hint)
    return Mistake(0, (), f"cannot be read: {error}")


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)
    return value


def _is_good(text: str, value: Any, keys: int, limits: Limits) -> bool:
    """Whether a text that is JSON keeps to the rest of the rules; if not, a mistake is found."""
    try:
        skeleton = _skeleton(text.encode())
    except UnicodeEncodeError:
        return False
    brackets = skeleton.translate(None, b":")
    if len(skeleton) - len(brackets) != keys or _is_deeper(brackets, limits.depth):
        return False
    if "\\" in text and _SURROGATE.search(text) and not _is_writable_again(value):
        return False
    # Python itself refuses numbers of so many digits, unless it was told otherwise.
    checked = sys.get_int_max_str_digits()
    return 0 < checked <= limits.digits or not re.search(f"[0-9]{{{limits.digits + 1}}}", text)


def _is_writable_again(value: Any) -> bool:
    return is_writable(json.dumps(value, ensure_ascii=False))


def _most_nodes(text: str) -> int:
    """More values than this there are not: one more than commas, and one in each container."""
    marks = _skeleton(text.encode(errors="replace"), _OTHERS.replace(b",", b""))
    return 1 + marks.count(b",") + marks.count(b"[")


def _skeleton(marks: bytes, others: bytes = _OTHERS) -> bytes:
    """The brackets and colons of a JSON text that are not in its strings; all brackets square."""
    if b"\\" in marks:
        marks = _ESCAPE.sub(b"", marks)
    # Taking out two marks side by side leaves the rest as much inside of strings as it was.
    marks = marks.translate(_ONE_KIND, others).replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2]) if b'"' in marks else marks


def _is_deeper(brackets: bytes, depth: int) -> bool:
    """Whether brackets stand deeper in each other: each round takes the innermost away."""
    for _ in range(depth):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
