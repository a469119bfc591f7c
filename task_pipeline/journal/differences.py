"""What differs between two snapshots: by its path in the data, at any depth."""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from ..errors import JournalDataError
from ..state.copying import unchanged
from .codec import Codec, encode_value
from .codec.failures import TRACE, members_of
from .codec.places import Place, shown

ABSENT: Any = object()
_CODEC = Codec("json", large=None)
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True)
class Difference:
    """One thing that differs: at which `path`, how, and from what to what.

    `before` is None for what was added, `after` for what was removed.
    """

    path: str
    how: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        """One line."""
        if self.how == "changed":
            return f"~ {self.path}: {shown(self.before)} → {shown(self.after)}"
        value = self.after if self.how == "added" else self.before
        return f"{_SIGNS[self.how]} {self.path}: {shown(value)}"


@dataclass(frozen=True)
class SnapshotDiff:
    """What differs between two snapshots: true if anything does; `str()` says it, a line each.

    - `differences`: in the data, each with its path, such as `results['a'][2].b`
    - `statuses`: of the steps whose status differs: before and after, None for a step that
      one of the two does not have
    """

    differences: tuple[Difference, ...] = ()
    statuses: dict[str, tuple[str | None, str | None]] = dataclasses.field(default_factory=dict)

    @property
    def added(self) -> tuple[str, ...]:
        """The paths of what only the later one has."""
        return self._paths("added")

    @property
    def removed(self) -> tuple[str, ...]:
        """The paths of what only the earlier one has."""
        return self._paths("removed")

    @property
    def changed(self) -> tuple[str, ...]:
        """The paths of what both have, and differs."""
        return self._paths("changed")

    def _paths(self, how: str) -> tuple[str, ...]:
        return tuple(item.path for item in self.differences if item.how == how)

    def __bool__(self) -> bool:
        return bool(self.differences or self.statuses)

    def __str__(self) -> str:
        """The statuses, then the data; "no difference" if there is none."""
        lines = [
            f"~ status of {step!r}: {before} → {after}"
            for step, (before, after) in self.statuses.items()
        ]
        lines += map(str, self.differences)
        return "\n".join(lines) or "no difference"


class Stated(Protocol):
    """What two snapshots are compared by."""

    @property
    def statuses(self) -> dict[str, str]:
        """By the id of a step."""

    @property
    def results(self) -> dict[Any, Any]:
        """What steps have produced."""

    @property
    def errors(self) -> list[Any]:
        """The exceptions of steps that failed."""

    @property
    def fields(self) -> dict[str, Any]:
        """What else the context has."""


def diff_of(before: Stated, after: Stated) -> SnapshotDiff:
    """What differs from one snapshot to another; raises `JournalDataError` for endless data."""
    statuses = {
        step: (before.statuses.get(step), after.statuses.get(step))
        for step in {**before.statuses, **after.statuses}
        if before.statuses.get(step) != after.statuses.get(step)
    }
    walk = _Walk()
    try:
        found = [
            *walk.mapping(before.results, after.results, Place("results").item),
            *walk.sequence(before.errors, after.errors, Place("errors")),
            *walk.mapping(before.fields, after.fields, Place("context").attribute),
        ]
    except RecursionError as error:
        raise JournalDataError(
            "the snapshots cannot be compared: their data is nested deeper than the recursion "
            "limit allows"
        ) from error
    return SnapshotDiff(tuple(found), statuses)


class _Walk:
    """One comparison; knows the pairs it is in the middle of, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[Any, Any]] = {}

    def values(self, a: Any, b: Any, place: Place) -> Iterator[Difference]:
        """What differs between two values at one place."""
        if a is ABSENT:
            yield Difference(str(place), "added", after=b)
        elif b is ABSENT:
            yield Difference(str(place), "removed", before=a)
        elif a is b or (id(a), id(b)) in self._seen:
            return
        elif type(a) is not type(b):
            yield Difference(str(place), "changed", a, b)
        else:
            inside = self._inside(a, b, place)
            if inside is not None:
                self._seen[id(a), id(b)] = (a, b)
                yield from inside
            elif not _same(a, b):
                yield Difference(str(place), "changed", a, b)

    def _inside(self, a: Any, b: Any, place: Place) -> Iterator[Difference] | None:
        if isinstance(a, dict):
            return self.mapping(a, b, place.item)
        if type(a) in (list, tuple, collections.deque):
            return self.sequence(list(a), list(b), place)
        if type(a) in (set, frozenset):
            return self._elements(a, b, place)
        if isinstance(a, BaseException):
            return self._attributes(_state(a), _state(b), place)
        if isinstance(a, BaseModel | types.SimpleNamespace):
            return self._attributes(_model_state(a), _model_state(b), place)
        if dataclasses.is_dataclass(a):
            names = [field.name for field in dataclasses.fields(a)]
            return self._attributes(_named(a, names), _named(b, names), place)
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return self._attributes(_named(a, a._fields), _named(b, a._fields), place)
        return None

    def mapping(self, a: dict[Any, Any], b: dict[Any, Any], at: Any) -> Iterator[Difference]:
        """What differs between two dicts, key by key."""
        for key in {**a, **b}:
            yield from self.values(a.get(key, ABSENT), b.get(key, ABSENT), at(key))

    def _attributes(
        self, a: dict[str, Any], b: dict[str, Any], place: Place
    ) -> Iterator[Difference]:
        return self.mapping(a, b, place.attribute)

    def sequence(self, a: Sequence[Any], b: Sequence[Any], place: Place) -> Iterator[Difference]:
        """What differs between two lists, index by index."""
        for index in range(max(len(a), len(b))):
            left = a[index] if index < len(a) else ABSENT
            right = b[index] if index < len(b) else ABSENT
            yield from self.values(left, right, place.item(index))

    def _elements(self, a: Any, b: Any, place: Place) -> Iterator[Difference]:
        for item in _in_order(a - b):
            yield Difference(str(place.key(item)), "removed", before=item)
        for item in _in_order(b - a):
            yield Difference(str(place.key(item)), "added", after=item)


def _in_order(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=shown)


def _named(value: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _model_state(value: Any) -> dict[str, Any]:
    more = getattr(value, "__pydantic_extra__", None), getattr(value, "__pydantic_private__", None)
    return {**vars(value), **(more[0] or {}), **(more[1] or {})}


def _state(error: BaseException) -> dict[str, Any]:
    state = {name: item for name, item in vars(error).items() if name != TRACE}
    names = [name for name in members_of(type(error)) if name != "obj"]
    made: dict[str, Any] = {"args": error.args}
    if isinstance(error, BaseExceptionGroup):  # its arguments are these
        made = {"message": error.message, "exceptions": error.exceptions}
    return {**made, **_named(error, names), **state}


def _same(a: Any, b: Any) -> bool:
    """Whether two values are the same that nothing is known of the inside of."""
    if unchanged(a, b):
        return True
    try:  # what is no journal's data is compared by its state alone
        return encode_value(a, _CODEC, "").text == encode_value(b, _CODEC, "").text
    except JournalDataError:
        return False
