"""The data of the interpreter: forked by deep copy, compared and merged by DESIGN's table.

It has nothing from the library; the library's own forks and merges are compared with it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Reducer = Callable[[Any, Any], Any]
Changed = dict[Any, list[tuple[str, Any]]]
"""By key: which branches changed it, and to what."""


@dataclass(eq=False)
class World:
    """The data that steps work on: what a context is to the engine."""

    results: dict[Any, Any] = field(default_factory=dict)
    errors: list[Any] = field(default_factory=list)
    total: int = 0
    tags: list[str] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, Any]) -> World:
        inner = copy.deepcopy((self.results, self.tags), memo)
        return World(inner[0], list(self.errors), self.total, inner[1])

    def fields(self) -> dict[str, Any]:
        """What merges as the values in `results` do."""
        return {"total": self.total, "tags": self.tags}


class Disagreement(Exception):
    """Branches changed a key in ways that do not merge, which was to be an error."""

    def __init__(self, key: str, branches: Sequence[str]) -> None:
        super().__init__(key, branches)
        self.key = key
        self.branches = tuple(branches)


class Unmerged(Exception):
    """Branches could not be merged; what is reported is one of `reasons`.

    A reason is a `Disagreement`, or what a reducer raised.
    """

    def __init__(self, reasons: Sequence[Exception]) -> None:
        super().__init__(*reasons)
        self.reasons = tuple(reasons)


class _Gone:
    """What a key that was deleted is changed to."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = _Gone()
ABSENT: Final[Any] = object()


class Changes(NamedTuple):
    """What a fork did to its keys and fields, and the errors it added."""

    results: Mapping[Any, Any]
    fields: Mapping[str, Any]
    errors: Sequence[Any]


class Rules(NamedTuple):
    """How a group merges.

    `conflicts` and `reasons` take note of keys that did not merge: those that were settled
    by `on_conflict`, and those that make the whole merge fail.
    """

    on_conflict: str
    reducers: Mapping[str, Reducer]
    conflicts: list[tuple[str, tuple[str, ...]]]
    reasons: list[Exception]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal with all their types; the order of keys does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def changes_between(before: World, after: World) -> Changes:
    """What was done to a fork that began as a copy of `before`."""
    return Changes(
        _changed(before.results, after.results),
        _changed(before.fields(), after.fields()),
        after.errors[len(before.errors) :],
    )


def commit(world: World, fork: World) -> None:
    """Take over a fork that had no siblings: its changes, and its order of keys."""
    write(world, changes_between(world, fork))
    world.results = {key: world.results[key] for key in fork.results}


def write(world: World, changes: Changes) -> None:
    """Make changes: a key that is there keeps its place, a new one comes last."""
    _write_keys(world.results, changes.results)
    vars(world).update(changes.fields)
    world.errors.extend(changes.errors)


def merge(world: World, branches: Sequence[tuple[str, Changes]], rules: Rules) -> Changes:
    """Fold what branches did into one set of changes; their errors are left to the caller.

    Raises `Unmerged`.
    """
    results = [(name, changes.results) for name, changes in branches]
    fields = [(name, changes.fields) for name, changes in branches]
    merged = Changes(
        _fold(world.results, results, rules, ""),
        _fold(world.fields(), fields, rules, "context."),
        [],
    )
    if rules.reasons:
        raise Unmerged(rules.reasons)
    return merged


def _changed(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
    changed = {
        key: value
        for key, value in after.items()
        if key not in before or not same(before[key], value)
    }
    return {**changed, **{key: GONE for key in before if key not in after}}


def _write_keys(target: dict[Any, Any], changed: Mapping[Any, Any]) -> None:
    for key, value in changed.items():
        if value is GONE:
            target.pop(key, None)
        else:
            target[key] = value


def _fold(
    base: Mapping[Any, Any],
    branches: Sequence[tuple[str, Mapping[Any, Any]]],
    rules: Rules,
    prefix: str,
) -> dict[Any, Any]:
    by_key: Changed = {}
    for name, changed in branches:
        for key, value in changed.items():
            by_key.setdefault(key, []).append((name, value))
    return {
        key: _settle(f"{prefix}{key}", base.get(key, ABSENT), found, rules)
        for key, found in by_key.items()
    }


def _settle(key: str, base: Any, found: Sequence[tuple[str, Any]], rules: Rules) -> Any:
    names = tuple(name for name, _ in found)
    values = [value for _, value in found]
    if len(values) == 1:
        return values[0]
    if key in rules.reducers:
        return _reduce(rules.reducers[key], values, rules)
    if GONE not in values:
        known = (_numbers(base, values), _lists(base, values), _sets(base, values))
        merged = next((value for value in known if value is not ABSENT), ABSENT)
        if merged is not ABSENT:
            return merged
        if _all(dict, base, values):
            return _dicts(key, base, found, rules)
    if all(type(value) is type(values[0]) and value == values[0] for value in values):
        return values[0]
    if rules.on_conflict == "error":
        rules.reasons.append(Disagreement(key, names))
    else:
        rules.conflicts.append((key, names))
    return values[0 if rules.on_conflict == "first" else -1]


def _reduce(reducer: Reducer, values: Sequence[Any], rules: Rules) -> Any:
    present = [value for value in values if value is not GONE]
    try:
        return functools.reduce(reducer, present) if present else GONE
    except Exception as error:
        rules.reasons.append(error)
        return GONE


def _all(kind: Any, base: Any, values: Sequence[Any]) -> bool:
    """Whether all branches have a value of one kind where there was one, or nothing."""
    known = [value for value in (base, *values) if value is not ABSENT]
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in known)


def _numbers(base: Any, values: Sequence[Any]) -> Any:
    if not _all((int, float), base, values):
        return ABSENT
    start = 0 if base is ABSENT else base
    return start + sum(value - start for value in values)


def _lists(base: Any, values: Sequence[Any]) -> Any:
    start = [] if base is ABSENT else base
    if not _all(list, base, values) or not all(
        same(start, value[: len(start)]) for value in values
    ):
        return ABSENT
    return [*start, *(item for value in values for item in value[len(start) :])]


def _sets(base: Any, values: Sequence[Any]) -> Any:
    if not _all(set, base, values):
        return ABSENT
    start: set[Any] = set() if base is ABSENT else base
    added = {item for value in values for item in value - start}
    removed = {item for value in values for item in start - value}
    return (start | added) - removed


def _dicts(key: str, base: Any, found: Sequence[tuple[str, Any]], rules: Rules) -> Any:
    start = {} if base is ABSENT else base
    merged = dict(start)
    inner = [(name, _changed(start, value)) for name, value in found]
    _write_keys(merged, _fold(start, inner, rules, f"{key}."))
    return merged
