"""Which values come out of JSON as they went in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..mistakes.problem_words import shown
from ..mistakes.problems import Path, path_text
from ..reading.json_values import BITS_A_DIGIT, DEFAULT, is_writable

_DEEPEST = DEFAULT.depth // 2  # leaves the document itself its share
_LARGEST = int(DEFAULT.digits * BITS_A_DIGIT) - 1


def inexact(value: Any, name: str) -> Iterator[str]:
    """Why a value cannot be written as JSON and be what it was when it is read: one reason."""
    left: list[tuple[Path, Any]] = [((name,), value)]
    while left:
        path, one = left.pop()
        reason = _reason(one) if len(path) <= _DEEPEST else "it is nested too deep"
        if reason:
            yield f"{path_text(path)} cannot be written: {reason}"
            return
        if type(one) is dict:
            left += [((*path, key), inner) for key, inner in one.items()]
        elif type(one) is list:
            left += [((*path, index), inner) for index, inner in enumerate(one)]


def _reason(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return "" if is_writable(value) else f"{value!a} has half of a surrogate pair in it"
    if kind is float:
        return "" if math.isfinite(value) else f"JSON has no {value!r}"
    if kind is int:
        return "" if value.bit_length() <= _LARGEST else "it is too large a number"
    if kind is dict:
        odd = [key for key in value if type(key) is not str or not is_writable(key)]
        return f"its key {shown(odd[0])} is no text" if odd else ""
    if kind is list or kind is bool or value is None:
        return ""
    return f"{_shown(value)} is a {kind.__name__}, which JSON does not have"


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001  # a value's own repr must not hide what is wrong with it
        return "it"
