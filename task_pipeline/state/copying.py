"""Copy a value for a branch, and tell whether the branch then changed it."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import pickle
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ContextCopyError
from .resident import Resident

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


def is_closed(value: Any) -> bool:
    """Whether an array of numpy's was set to read-only, and all that it is a view of."""
    if not _is_array(value):
        return False
    while _is_array(value):
        if value.flags.writeable or value.dtype.hasobject:
            return False
        if value.base is None:
            return True
        value = value.base
    try:
        with memoryview(value) as view:  # what it was unpickled from
            return view.readonly
    except TypeError:
        return False


def _is_array(value: Any) -> bool:
    kind = type(value)
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def unchanged(base: Any, value: Any) -> bool:
    """Whether `value` still is what `base` was, all the way down.

    Stricter than `==`: 1 and True differ, and objects are compared by their
    state, since an `__eq__` may look at an id only, or be missing.
    """
    return Comparison().same(base, value)


class Comparison:
    """One comparison of a value with what it was copied from.

    `memo` is what the copy was made with. By it, a set's element or a dict's key
    that is hashed by identity is known again in its copy.
    """

    __slots__ = ("_memo", "_seen")

    def __init__(self, memo: Mapping[int, Any] | None = None) -> None:
        self._memo = memo or {}
        self._seen: set[tuple[int, int]] = set()

    def same(self, a: Any, b: Any) -> bool:
        """Whether two values have the same type and state."""
        if a is b:
            return True
        kind = type(a)
        if kind is not type(b):
            return kind is Resident and a.is_the_same(b, self.same)
        if kind in ATOMIC or issubclass(kind, enum.Enum):
            return bool(a == b) or (kind is float and math.isnan(a) and math.isnan(b))
        if kind is pickle.PickleBuffer:
            return _same_bytes(a, b)
        pair = (id(a), id(b))
        if pair in self._seen:  # a cycle, or the same two again: compared elsewhere
            return True
        self._seen.add(pair)
        if kind is list or kind is tuple:
            return len(a) == len(b) and all(map(self.same, a, b))
        if kind is dict:
            return len(a) == len(b) and all(
                (mine := self._counterpart(key, b)) is not ABSENT and self.same(item, b[mine])
                for key, item in a.items()
            )
        if kind is set or kind is frozenset:
            return len(a) == len(b) and all(self._counterpart(key, b) is not ABSENT for key in a)
        if kind is Resident:
            # Two of them: where the second was made it was compared with the first.
            return a.holder is b.holder
        return self._same_state(a, b)

    def _counterpart(self, key: Any, among: Any) -> Any:
        """The key itself, or its copy, if it is there."""
        if key in among:
            return key
        mine = self._memo.get(id(key), ABSENT)
        if mine is ABSENT or mine not in among or not self.same(key, mine):
            return ABSENT
        return mine

    def _same_state(self, a: Any, b: Any) -> bool:
        """Compare two objects by what pickling them would write."""
        try:
            protocol = 5
            if _is_array(a) and a.flags.forc != b.flags.forc:
                protocol = 4  # one of them has gaps, which a buffer cannot have
            left, right = a.__reduce_ex__(protocol), b.__reduce_ex__(protocol)
        except Exception:  # noqa: BLE001  # copied by a __deepcopy__ of its own, not picklable
            # A lock inside an object has nothing to be compared by: it does not count.
            inside = len(self._seen) > 1
            has_equality = getattr(type(a), "__eq__", None) is not _IDENTITY_EQ
            return (inside and not has_equality) or _says_equal(a, b)
        if isinstance(left, str) or isinstance(right, str):
            return bool(left == right)
        # Items come as iterators: of list and dict subclasses.
        parts = [
            tuple(
                part if index < 3 or part is None else list(part)
                for index, part in enumerate(whole)
            )
            for whole in (left, right)
        ]
        return self.same(parts[0], parts[1])


def _same_bytes(a: pickle.PickleBuffer, b: pickle.PickleBuffer) -> bool:
    """Piece by piece: as views they would be compared item by item, as bytes copied whole."""
    with a.raw() as left, b.raw() as right:
        return left.nbytes == right.nbytes and all(
            left[at : at + _PIECE].tobytes() == right[at : at + _PIECE].tobytes()
            for at in range(0, left.nbytes, _PIECE)
        )


_PIECE = 64 * 1024  # of a buffer, in bytes
ABSENT: Any = object()
_IDENTITY_EQ: Any = object.__eq__
_IDENTITY_HASH: Any = object.__hash__


def with_originals(value: Any, memo: Mapping[int, Any]) -> Any:
    """A value with copies of identity-hashed keys and elements put back to what they copy.

    Those that the branch has changed stay copies.
    """
    originals = {id(mine): original for original, mine in _copied_pairs(memo)}
    if not originals:
        return value

    def original_of(key: Any) -> Any:
        original = originals.get(id(key), key)
        return original if original is key or unchanged(original, key) else key

    def walk(part: Any) -> Any:
        kind = type(part)
        if kind is dict:
            return {original_of(key): walk(item) for key, item in part.items()}
        if kind is set or kind is frozenset:
            return kind(map(original_of, part))
        return kind(map(walk, part)) if kind is list or kind is tuple else part

    return walk(value)


def _copied_pairs(memo: Mapping[int, Any]) -> Iterator[tuple[Any, Any]]:
    """The originals that a deepcopy's memo has kept alive, each with its copy."""
    for original in memo.get(id(memo), ()):
        mine = memo.get(id(original), original)
        if mine is not original and getattr(type(original), "__hash__", None) is _IDENTITY_HASH:
            yield original, mine


def _says_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001  # such as arrays, whose == has no single truth
        return False


def equal(a: Any, b: Any) -> bool:
    """Whether two branches' values agree: the same state, or equal by their own `==`."""
    return unchanged(a, b) or (type(a) is type(b) and _says_equal(a, b))
