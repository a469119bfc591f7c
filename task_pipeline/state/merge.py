"""Fold the deltas of sibling branches into their parent: three-way, in the order written.

The rules are DESIGN's table. A key that the fork point did not have counts as
the empty value of its kind: 0, [], {} or set().
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from numbers import Number
from typing import Any, NamedTuple

from ..config import OnConflict, Reducer
from ..errors import MergeConflictError, ReducerError
from .copying import equal, unchanged
from .delta import DELETED, Delta
from .fork import MISSING, ForkPoint
from .resident import fetched


class Branch(NamedTuple):
    """One branch's name, and what of its changes counts."""

    name: str
    delta: Delta | None


class Conflict(NamedTuple):
    """Branches changed one key in ways that do not merge; `winner` is whose value was taken."""

    key: str
    branches: tuple[str, ...]
    winner: str


@dataclass(slots=True)
class MergeRules:
    """How a group merges: what wins a conflict, which keys have a reducer."""

    on_conflict: OnConflict = "last"
    reducers: Mapping[str, Reducer] = field(default_factory=dict)


Change = tuple[str, Any]
"""A branch's name, and its value or `DELETED`."""


class Merged(NamedTuple):
    """What a group's branches come to: one delta, and the conflicts settled on the way.

    With an `error` (`MergeConflictError`, `ReducerError`) the delta has the branches'
    own errors and nothing else.
    """

    delta: Delta
    conflicts: list[Conflict]
    error: Exception | None = None


def merge(point: ForkPoint, branches: Sequence[Branch], rules: MergeRules) -> Merged:
    """Fold branches, in the order given, into one delta against their common fork point."""
    deltas = [(branch.name, branch.delta) for branch in branches if branch.delta is not None]
    errors = [error for _, delta in deltas for error in delta.errors]
    folding = _Folding(rules)
    try:
        results = folding.fold(
            [(name, delta.results) for name, delta in deltas if delta.results],
            lambda key: point.results.get(key, MISSING),
            str,
        )
        fields = folding.fold(
            [(name, delta.fields) for name, delta in deltas if delta.fields],
            point.field,
            "context.{}".format,
        )
    except Exception as error:  # noqa: BLE001  # a user's reducer, __eq__ or __sub__ may raise anything
        return Merged(Delta(errors=errors), folding.conflicts, error)
    return Merged(Delta(results, fields, errors), folding.conflicts)


class _Folding:
    """One merge under way: applies the rules at every depth, collects conflicts."""

    def __init__(self, rules: MergeRules) -> None:
        self._rules = rules
        self.conflicts: list[Conflict] = []

    def fold(
        self,
        branches: Sequence[tuple[str, Mapping[Any, Any]]],
        base_of: Callable[[Any], Any],
        label: Callable[[Any], str],
    ) -> dict[Any, Any]:
        """Every changed key with its merged value, in the order it was first changed."""
        changes: dict[Any, list[Change]] = {}
        for name, values in branches:
            for key, value in values.items():
                changes.setdefault(key, []).append((name, value))
        return {
            key: found[0][1] if len(found) == 1 else self._settle(label(key), base_of(key), found)
            for key, found in changes.items()
        }

    def _settle(self, key: str, base: Any, written: list[Change]) -> Any:
        # Of what is elsewhere, only this is fetched: what several branches have changed.
        base, changes = fetched(base), [(name, fetched(value)) for name, value in written]
        reducer = self._rules.reducers.get(key)
        if reducer is not None:
            return self._reduce(key, reducer, changes)
        values = [value for _, value in changes]
        if not any(value is DELETED for value in values):
            for rule in (_numbers, _lists, self._dicts, _sets):
                try:
                    merged = rule(key, base, changes)
                except RecursionError:  # such as a dict that contains itself
                    break
                if merged is not MISSING:
                    return merged
        if all(equal(values[0], value) for value in values[1:]):
            return written[0][1]
        return self._conflict(key, written)

    def _reduce(self, key: str, reducer: Reducer, changes: list[Change]) -> Any:
        values = [value for _, value in changes if value is not DELETED]
        try:
            return functools.reduce(reducer, values) if values else DELETED
        except Exception as error:
            names = ", ".join(repr(name) for name, _ in changes)
            raise ReducerError(
                f"the reducer of key {key!r} raised {type(error).__name__}: {error}, merging the "
                f"branches {names}. It is called as reducer(earlier, later) with two values."
            ) from error

    def _dicts(self, key: str, base: Any, changes: list[Change]) -> Any:
        old = {} if base is MISSING else base
        if not isinstance(old, dict) or not all(isinstance(value, dict) for _, value in changes):
            return MISSING
        parts = [(name, _dict_changes(old, value)) for name, value in changes]
        merged = copy.copy(old) if base is not MISSING else copy.copy(changes[0][1])
        for inner, value in self.fold(
            parts, lambda inner: old.get(inner, MISSING), lambda inner: f"{key}.{inner}"
        ).items():
            if value is DELETED:
                merged.pop(inner, None)
            else:
                merged[inner] = value
        return merged

    def _conflict(self, key: str, changes: list[Change]) -> Any:
        names = tuple(name for name, _ in changes)
        quoted = ", ".join(map(repr, names))
        if self._rules.on_conflict == "error":
            raise MergeConflictError(
                f"key {key!r} was changed by the branches {quoted} in ways that do not merge, and "
                'on_conflict is "error". Let one branch write it, give the key a reducer, or '
                'choose on_conflict="last" or "first".',
                key=key,
                branches=names,
            )
        winner = changes[-1 if self._rules.on_conflict == "last" else 0]
        self.conflicts.append(Conflict(key, names, winner[0]))
        return winner[1]


def _dict_changes(base: Mapping[Any, Any], value: Mapping[Any, Any]) -> dict[Any, Any]:
    changed = {
        key: item
        for key, item in value.items()
        if key not in base or not unchanged(base[key], item)
    }
    changed.update({key: DELETED for key in base if key not in value})
    return changed


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool | Enum)


def _numbers(key: str, base: Any, changes: list[Change]) -> Any:
    old: Any = 0 if base is MISSING else base
    if not _is_number(old) or not all(_is_number(value) for _, value in changes):
        return MISSING
    try:
        return functools.reduce(lambda total, change: total + (change[1] - old), changes, old)
    except (TypeError, ArithmeticError):  # such as a Decimal and a float: not to be added
        return MISSING


def _lists(key: str, base: Any, changes: list[Change]) -> Any:
    old: Any = [] if base is MISSING else base
    count = len(old) if isinstance(old, list) else 0
    kept = isinstance(old, list) and all(
        isinstance(value, list) and len(value) >= count and unchanged(list(old), value[:count])
        for _, value in changes
    )
    if not kept:
        return MISSING
    merged = copy.copy(changes[0][1])
    for _, value in changes[1:]:
        merged += value[count:]
    return merged


def _sets(key: str, base: Any, changes: list[Change]) -> Any:
    old: Any = frozenset() if base is MISSING else base
    kinds = (set, frozenset)
    if not isinstance(old, kinds) or not all(isinstance(value, kinds) for _, value in changes):
        return MISSING
    added = set().union(*(value - old for _, value in changes))
    removed = set().union(*(old - value for _, value in changes))
    merged = (set(old) - removed) | added
    return type(changes[0][1])(merged)
