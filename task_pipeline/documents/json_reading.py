"""JSON read at the speed of `json.loads`, and as strictly as documents from strangers need."""

from __future__ import annotations

import json
import math
import re
import sys
from itertools import chain
from typing import Any

from .json_positions import JsonReading
from .json_values import DEFAULT, Limits, Mistake, MistakesError, is_writable

# Every string of a valid text, with the colon behind it if it is a key.
_STRINGS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\n\r]*+(:?)')
_SPACED_COLON = re.compile(r'"[ \t\n\r]++:')


def read_json(text: str, limits: Limits = DEFAULT) -> Any:
    """The value of a JSON text.

    Raises `MistakesError` for what is not JSON, and for a key that is there twice, a number
    that is not finite or too long, half of a surrogate pair, and more than the limits allow.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MistakesError(_mistakes(text, limits) or [_unseen(error)]) from None
    if not _is_good(text, value, limits):
        mistakes = _mistakes(text, limits)
        if mistakes:
            raise MistakesError(mistakes)
    return value


def _mistakes(text: str, limits: Limits) -> list[Mistake]:
    return JsonReading(text, limits).mistakes


def _unseen(error: Exception) -> Mistake:
    """What the slow reading has nothing against."""
    if isinstance(error, RecursionError):
        return Mistake(
            0, (), "cannot be read here", "the calls of the program are too deep already"
        )
    return Mistake(0, (), f"cannot be read: {error}")


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)
    return value


def _is_good(text: str, value: Any, limits: Limits) -> bool:
    """Whether `json.loads` has seen all that there is to see; if not, it must be looked for."""
    depth, nodes, keys = _measured(value)
    if depth > limits.depth or nodes > limits.nodes:
        return False
    # What is written as a key again has overwritten the first, so that there are fewer keys
    # than colons behind a string.
    exactly = keys == text.count('":') and not _SPACED_COLON.search(text)
    if not exactly and keys != _STRINGS.findall(text).count(":"):
        return False
    if not is_writable(text):
        return False
    if ("\\ud" in text or "\\uD" in text) and not is_writable(
        json.dumps(value, ensure_ascii=False)
    ):
        return False
    # Python itself refuses numbers of so many digits, unless it was told otherwise.
    checked = sys.get_int_max_str_digits()
    return 0 < checked <= limits.digits or not re.search(f"[0-9]{{{limits.digits + 1}}}", text)


def _measured(value: Any) -> tuple[int, int, int]:
    """How deep it is, and how many values and keys it has: level by level, without recursion."""
    depth = keys = 0
    nodes = 1
    level = [value]
    while True:
        objects = [one for one in level if type(one) is dict]
        lists = [one for one in level if type(one) is list]
        if not objects and not lists:
            return depth, nodes, keys
        depth += 1
        keys += sum(map(len, objects))
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
        nodes += len(level)
