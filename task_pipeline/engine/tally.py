"""Counting: what a run keeps of its steps and groups, added up by where they stand in the plan.

A run pays for its metrics when somebody asks for them. Only what it is about to forget
is counted before: rounds of a loop, tasks of a `map_parallel`, groups that have ended.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..outcome import Outcome
from ..plan import Node, StepNode
from .metrics import Durations, GroupMetrics, Metrics, StepMetrics
from .step import ActiveStep
from .task_nodes import TaskNode, name_of_work

MOST_GROUPS = 500
"""How many groups that have ended a run keeps before it counts them."""
UNNAMED = "parallel_group"
"""What all dynamic groups without a name are called."""

_OUTCOMES = {outcome: str(outcome) for outcome in Outcome}

Place = tuple[str, str]
"""A path and a name."""
Row = tuple[StepNode, Outcome | None, ActiveStep | None]
"""A step, how it ended, and its state if it has begun."""
EndedGroup = tuple[Node, Outcome | None, float, float]
"""A group, how it ended, when it had begun and when it ended."""


class _Times:
    """Durations in the making."""

    __slots__ = ("count", "least", "most", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = self.most = 0.0
        self.least = float("inf")

    def add(self, seconds: Sequence[float]) -> None:
        if seconds:
            self.count += len(seconds)
            self.total += sum(seconds)
            least, most = min(seconds), max(seconds)
            self.least, self.most = min(self.least, least), max(self.most, most)

    def made(self) -> Durations:
        if not self.count:
            return Durations()
        return Durations(self.count, self.total, self.least, self.most)


class _Entry:
    """A step or a group in the making."""

    __slots__ = ("abandoned", "outcomes", "place", "queued", "ran", "retried", "running")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.outcomes: Counter[Outcome | None] = Counter()
        self.running = self.retried = self.abandoned = 0
        self.ran, self.queued = _Times(), _Times()

    def made_group(self) -> GroupMetrics:
        return GroupMetrics(*self.place, **self._counts())

    def made_step(self) -> StepMetrics:
        return StepMetrics(
            *self.place,
            **self._counts(),
            retried=self.retried,
            abandoned=self.abandoned,
            queue_time=self.queued.made(),
        )

    def _counts(self) -> dict[str, Any]:
        outcomes = {name: self.outcomes.get(outcome, 0) for outcome, name in _OUTCOMES.items()}
        return {"running": self.running, **outcomes, "run_time": self.ran.made()}


class Tally:
    """Steps and groups that were counted. Not safe for threads."""

    def __init__(self) -> None:
        self._steps: dict[str, _Entry] = {}  # by path
        self._groups: dict[str, _Entry] = {}
        self._busy = 0.0

    def add_ended(self, rows: Iterable[Row]) -> None:
        """Count steps; those that have not ended are left out."""
        place = _Places()
        found: dict[Place, list[Row]] = {}
        for row in rows:
            node, outcome, _ = row
            if outcome is not None and node is not None and not node.chooses:
                found.setdefault(place.of(node), []).append(row)
        for each, same in found.items():
            entry = self._entry(self._steps, each)
            entry.outcomes.update([outcome for _, outcome, _ in same])
            begun = [step for _, _, step in same if step is not None]
            entry.ran.add(self._add_begun(entry, begun, 0.0))

    def add_running(self, step: ActiveStep, now: float) -> None:
        """Count a step that has begun and not ended."""
        entry = self._entry(self._steps, place_of(step.node))
        entry.running += 1
        self._add_begun(entry, [step], now)

    def _add_begun(self, entry: _Entry, steps: Sequence[ActiveStep], now: float) -> list[float]:
        """Count what there is of any step that has begun; returns the seconds inside attempts."""
        seconds = [_spent(step, now) for step in steps]
        past = [taken for taken, step in zip(seconds, steps, strict=True) if step.recovered]
        self._busy += sum(seconds) - sum(past)  # that was another part of the run's
        entry.queued.add([max(0.0, step.first_started - step.ready_at) for step in steps])
        entry.retried += sum([step.prepared - 1 for step in steps])
        entry.abandoned += sum([step.times_left + step.abandoned for step in steps])
        return seconds

    def add_groups(self, groups: Iterable[EndedGroup]) -> None:
        """Count groups that have ended."""
        for node, outcome, started_at, ended_at in groups:
            self.add_group(place_of(node), outcome, ended_at - started_at)

    def add_group(self, place: Place, outcome: Outcome | None, seconds: float) -> None:
        """Count a group that has ended; or, without an outcome, is under way."""
        entry = self._entry(self._groups, place)
        if outcome is None:
            entry.running += 1
        else:
            entry.outcomes[outcome] += 1
            entry.ran.add([seconds])

    def metrics(self, name: str, workers: int = 0, elapsed: float = 0.0) -> Metrics:
        """What was counted."""
        return Metrics(
            name,
            {path: entry.made_step() for path, entry in self._steps.items()},
            {path: entry.made_group() for path, entry in self._groups.items()},
            workers,
            elapsed,
            self._busy,
            workers * elapsed,
        )

    def _entry(self, entries: dict[str, _Entry], place: Place) -> _Entry:
        entry = entries.get(place[0])
        if entry is None:
            entry = entries[place[0]] = _Entry(place)
        return entry


def _spent(step: ActiveStep, now: float) -> float:
    """Seconds inside the attempts of a step, until its end or until now."""
    if step.started_at is None:  # between two attempts
        return step.spent
    ended_at = now if step.outcome is None or step.ended_at is None else step.ended_at
    return step.spent + max(0.0, ended_at - step.started_at)


class _Places:
    """Finds places of many nodes; tasks mostly call the same few functions."""

    def __init__(self) -> None:
        self._of_tasks: dict[tuple[int, int], Place] = {}

    def of(self, node: Node) -> Place:
        if not isinstance(node, TaskNode):
            return place_of(node)
        work = node.given or node.work
        if type(work) is functools.partial:
            work = work.func
        key = (id(work), id(node.parent))
        place = None if node.given is not None else self._of_tasks.get(key)
        if place is None:
            place = self._of_tasks[key] = place_of(node)
        return place


def place_of(node: Node) -> Place:
    """Where a node stands: one place for all items of a `Map`, rounds of a `Loop`, like tasks."""
    if isinstance(node, TaskNode):
        name = name_of_work(node.given or node.work)
        return f"{group_name(node.parent)}.{name}", name
    parts: list[str] = []
    at, above = node, node.parent
    while above is not None:
        parts.append("*" if above.repeats else str(at.index))
        at, above = above, above.parent
    path, group, name = ".".join(reversed(parts)), node.parent, node.name
    if group is not None:
        name = name.removesuffix(f"{group.suffix}[{node.index}]" if group.repeats else group.suffix)
        if name.endswith(f"_{node.path}"):  # one without a name is called after its path
            name = name.removesuffix(node.path) + path
    return path, name


def group_name(root: Node) -> str:
    """The name of a dynamic group."""
    return UNNAMED if root.name == f"{UNNAMED}_{root.path}" else root.name


def in_order(metrics: Metrics) -> Metrics:
    """The same, with steps and groups as they are written: path by path."""
    steps = {path: metrics.steps[path] for path in sorted(metrics.steps, key=_order)}
    groups = {path: metrics.groups[path] for path in sorted(metrics.groups, key=_order)}
    return replace(metrics, steps=steps, groups=groups)


def _order(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in path.split(".")]
