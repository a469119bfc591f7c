"""Copy a value for a branch, and tell whether the branch then changed it."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import types
import uuid
from typing import Any

from ..errors import ContextCopyError

# Handed to branches as they are: nothing about such a value can change.
ATOMIC: frozenset[type] = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, range, type, type(...)),
        *(types.FunctionType, types.BuiltinFunctionType, type(NotImplemented)),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath),
    }
)


def copy_value(value: Any, memo: dict[int, Any], key: str) -> Any:
    """Deep-copy one value; `memo` keeps two names of one object two names of one copy.

    Raises `ContextCopyError`, naming `key`, for what cannot be copied.
    """
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        raise ContextCopyError(
            f"{key} holds a {type(value).__name__} that cannot be copied for a branch of its own "
            f"({type(error).__name__}: {error}). Put it in context.shared, which every branch "
            "gets by reference, or leave it untouched in the branch.",
            key=key,
        ) from error


def unchanged(base: Any, value: Any) -> bool:
    """Whether `value` still is what `base` was, all the way down.

    Stricter than `==`: 1 and True differ, and objects are compared by their
    state, since an `__eq__` may look at an id only, or be missing.
    """
    return _same(base, value, set())


def _same(a: Any, b: Any, seen: set[tuple[int, int]]) -> bool:
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b):
        return False
    if kind in ATOMIC or issubclass(kind, enum.Enum):
        return bool(a == b) or (kind is float and math.isnan(a) and math.isnan(b))
    pair = (id(a), id(b))
    if pair in seen:  # a cycle: being compared further up
        return True
    seen.add(pair)
    if kind is list or kind is tuple:
        return len(a) == len(b) and all(map(_same, a, b, (seen,) * len(a)))
    if kind is dict:
        return len(a) == len(b) and all(
            key in b and _same(item, b[key], seen) for key, item in a.items()
        )
    if kind is set or kind is frozenset:
        return bool(a == b)
    return _same_state(a, b, seen)


def _same_state(a: Any, b: Any, seen: set[tuple[int, int]]) -> bool:
    """Compare two objects by what pickling them would write."""
    try:
        left, right = a.__reduce_ex__(4), b.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  # copied by a __deepcopy__ of its own, not picklable
        return _says_equal(a, b)
    if isinstance(left, str) or isinstance(right, str):
        return bool(left == right)
    # Items come as iterators: of list and dict subclasses.
    parts = [
        tuple(part if index < 3 or part is None else list(part) for index, part in enumerate(whole))
        for whole in (left, right)
    ]
    return _same(parts[0], parts[1], seen)


def _says_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001  # such as arrays, whose == has no single truth
        return False


def equal(a: Any, b: Any) -> bool:
    """Whether two branches' values agree: the same state, or equal by their own `==`."""
    return unchanged(a, b) or (type(a) is type(b) and _says_equal(a, b))
