"""What a drawn pipeline means in the plainest words: recursion, and a deep copy per branch.

It has nothing from the engine, with which it is compared.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ...steps import PipelineStep

Results = dict[str, Any]


class DrawnStep(PipelineStep):
    """Makes its edits; its first attempts fail in the middle of them."""

    def __init__(self, edits: Sequence[Edit], fails: int = 0, retries: int = 0) -> None:
        self.step_id = "drawn"
        self.retries = retries
        self.critical = fails <= retries
        self.edits, self.fails = tuple(edits), fails

    def __repr__(self) -> str:
        edits = [f"{edit.kind} {edit.key} {edit.value!r}" for edit in self.edits]
        return f"<{', '.join(edits)}; fails {self.fails} times, retries={self.retries}>"

    def run(self, context: Any) -> None:
        """Make them."""
        self.edit(context.results, context.attempt)

    def edit(self, results: Results, attempt: int) -> None:
        """Make the edits of an attempt."""
        failing = attempt <= self.fails
        for edit in self.edits[: len(self.edits) // 2 if failing else None]:
            edit.make(results)
        if failing:
            raise ValueError(f"attempt {attempt} of {len(self.edits)} edits")


@dataclass(frozen=True)
class Edit:
    """One change: of a `kind`, under a `key`, with a `value`."""

    kind: str
    key: str
    value: Any

    def make(self, results: Results) -> None:
        """Make it. What does not fit the value that is there replaces it."""
        old, value = results.get(self.key), copy.deepcopy(self.value)
        if self.kind == "add" and type(old) is int:
            results[self.key] = old + len(str(value))
        elif self.kind == "append":
            results[self.key] = [*old, value] if isinstance(old, list) else [value]
        elif self.kind == "extend" and isinstance(old, list):
            old.append(value)
        elif self.kind == "include":
            results[self.key] = {*old, str(value)} if isinstance(old, set) else {str(value)}
        elif self.kind == "exclude" and isinstance(old, set):
            old.discard(str(value))
        elif self.kind == "nest":
            if not isinstance(old, dict):
                results[self.key] = old = {}
            old[f"{self.key}{value}"] = value
        elif self.kind == "delete":
            results.pop(self.key, None)
        elif self.kind == "last":
            results[self.key] = results.pop(self.key, value)
        elif self.kind == "item":
            results[self.key] = [results.get("item")]
        else:
            results[self.key] = value


Tree: TypeAlias = "DrawnStep | Node"


@dataclass(frozen=True)
class Node:
    """A group: `kind` says of which kind, `given` what else it was given."""

    kind: str
    children: tuple[Tree, ...]
    given: Any = None


def interpret(tree: Tree, results: Results, errors: list[str]) -> None:
    """Do to `results` what the tree does, one thing after another."""
    if isinstance(tree, DrawnStep):
        _step(tree, results, errors)
    elif tree.kind == "parallel":
        starts = [copy.deepcopy(results) for _ in tree.children]
        _branches(tree.children, starts, results, errors, tree.given)
    elif tree.kind == "map":
        base = {key: value for key, value in results.items() if key != "item"}
        starts = [{**copy.deepcopy(base), "item": copy.deepcopy(item)} for item in tree.given]
        _branches(tree.children * len(starts), starts, results, errors, "last")
    elif tree.kind == "branch":
        interpret(tree.children[0 if results.get(tree.given) else 1], results, errors)
    else:
        for child in tree.children * (tree.given if tree.kind == "loop" else 1):
            interpret(child, results, errors)


def _step(step: DrawnStep, results: Results, errors: list[str]) -> None:
    for attempt in range(1, step.retries + 2):
        mine = copy.deepcopy(results) if step.retries else results
        try:
            step.edit(mine, attempt)
        except ValueError as error:
            if attempt > step.retries:
                errors.append(str(error))
            continue
        if mine is not results:
            results.clear()
            results.update(mine)
        return


def _branches(
    children: Sequence[Tree],
    starts: Sequence[Results],
    results: Results,
    errors: list[str],
    on_conflict: str,
) -> None:
    for child, mine in zip(children, starts, strict=True):
        interpret(child, mine, errors)
    changes = [_changes(results, mine) for mine in starts]
    for each, start in zip(changes, starts, strict=True):
        if "item" in start:  # each branch of a map has its own
            each.pop("item", None)
    _write(results, _fold(results, changes, on_conflict))


class _Gone:
    def __repr__(self) -> str:
        return "GONE"


_GONE: Final = _Gone()
_ABSENT: Final = object()


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    changed = {
        key: value
        for key, value in after.items()
        if key not in before or not _same(before[key], value)
    }
    return {**changed, **{key: _GONE for key in before if key not in after}}


def _write(results: Results, changed: Mapping[str, Any]) -> None:
    for key, value in changed.items():
        if value is _GONE:
            results.pop(key, None)
        else:
            results[key] = value


def _fold(
    base: Mapping[str, Any], changes: Sequence[Mapping[str, Any]], on_conflict: str
) -> dict[str, Any]:
    by_key: dict[str, list[Any]] = {}
    for changed in changes:
        for key, value in changed.items():
            by_key.setdefault(key, []).append(value)
    return {
        key: _settle(base.get(key, _ABSENT), values, on_conflict) for key, values in by_key.items()
    }


def _settle(base: Any, values: list[Any], on_conflict: str) -> Any:
    known = [value for value in (base, *values) if value is not _ABSENT]
    start = None if base is _ABSENT else base
    if len(values) == 1:
        return values[0]
    if all(type(value) is int for value in known):
        return (start or 0) + sum(value - (start or 0) for value in values)
    if all(type(value) is list for value in known):
        start = start or []
        if all(_same(start, value[: len(start)]) for value in values):
            return [*start, *(item for value in values for item in value[len(start) :])]
    elif all(type(value) is set for value in known):
        start = start or set()
        added = {item for value in values for item in value - start}
        return (start | added) - {item for value in values for item in start - value}
    elif all(type(value) is dict for value in known):
        start = start or {}
        merged = dict(start)
        _write(merged, _fold(start, [_changes(start, value) for value in values], on_conflict))
        return merged
    if all(_same(values[0], value) for value in values):
        return values[0]
    return values[0 if on_conflict == "first" else -1]
