"""How values compare, and what counts as true."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from numbers import Real
from typing import Any

from ..templating.template_values import MAX_DIGITS, to_text, weigh

_NUMERIC = re.compile(
    r"\s*+[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+\s*+", re.ASCII
)
_NOT_TRUE = frozenset({"false", "no", "0", "null", "none", ""})
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Rendered(str):
    """A text that came out of a template, or has references in it.

    It stands for what it spells where a number, true or false is on the other side.
    """

    __slots__ = ()


class Unlike(Exception):
    """An operator has no meaning for these values. Becomes a `ConditionError`, which says where."""


def kind_of(value: Any) -> str:
    """What a message calls a value, which it never shows: it may be a secret."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    if is_number(value):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    if is_list(value):
        return "a list"
    return f"a value of type {type(value).__name__}"


def is_number(value: Any) -> bool:
    """Whether it is a number; true and false are none."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    """Whether it has items, in an order or in none."""
    return isinstance(value, Sequence | AbstractSet) and not isinstance(
        value, str | bytes | bytearray | memoryview
    )


def holds(value: Any) -> bool:
    """Whether a value counts as true."""
    if isinstance(value, Rendered):
        return value.strip().lower() not in _NOT_TRUE
    return bool(value)


def compare(sign: str, left: Any, right: Any) -> bool:
    """The result of one of the operators. Raises `Unlike` if it has none."""
    if sign == "==":
        return equal(left, right)
    if sign == "!=":
        return not equal(left, right)
    if sign == "contains":
        return _contains(left, right)
    if sign == "in":
        return _contains(right, left)
    return _in_order(sign, left, right)


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same; values of different kinds never are."""
    if _has_parts(left) and _has_parts(right):
        if left is right:
            return True
        weigh(left)
        weigh(right)
    return _same(left, right)


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) or is_list(value)


def _same(left: Any, right: Any) -> bool:
    left, right = _alike(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return str(left) == str(right)
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if isinstance(left, Mapping):
        return len(left) == len(right) and all(
            key in right and _same(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, Sequence) and isinstance(right, Sequence):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def length(value: Any) -> int:
    """The length of what has one; 0 for null."""
    if value is None:
        return 0
    if isinstance(value, str | Mapping) or is_list(value):
        return len(value)
    raise Unlike(f"len of {kind_of(value)}; it needs a text, a list or a mapping")


def _in_order(sign: str, left: Any, right: Any) -> bool:
    first, second = _alike(left, right)
    kind = kind_of(first)
    if kind != kind_of(second):
        raise Unlike(
            f"{sign} between {kind_of(left)} and {kind_of(right)}; both must be numbers, or texts"
        )
    if isinstance(first, bool) or first is None or isinstance(first, Mapping) or is_list(first):
        raise Unlike(f"{sign} has no meaning for {kind}; both must be numbers, or texts")
    return bool(_ORDERS[sign](first, second))


def _contains(whole: Any, part: Any) -> bool:
    if whole is None:
        return False
    if isinstance(whole, str):
        if part is None:
            return False
        if not isinstance(part, str) and not is_number(part):
            raise Unlike(f"a text cannot contain {kind_of(part)}; it needs a text")
        return to_text(part) in str(whole)
    if _has_parts(whole):
        if _has_parts(part):
            weigh(whole)
            weigh(part)
        return any(_same(item, part) for item in whole)
    raise Unlike(f"{kind_of(whole)} cannot contain anything; it needs a text, a list or a mapping")


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both, a rendered text as the number, true or false it spells if the other is such."""
    if isinstance(left, Rendered) and not isinstance(right, str):
        return _spelled(left, right), right
    if isinstance(right, Rendered) and not isinstance(left, str):
        return left, _spelled(right, left)
    return left, right


def _spelled(text: Rendered, other: Any) -> Any:
    if isinstance(other, bool):
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if is_number(other) and _NUMERIC.fullmatch(text):
        number = text.strip()
        whole = number.lstrip("+-").isdecimal() and len(number) <= MAX_DIGITS
        return int(number) if whole else float(number)
    return text
