"""Counting: what a run keeps of its steps and groups, folded into `Metrics`.

A run pays for its metrics when somebody asks for them. Only what it is about to forget
is counted before: rounds of a loop, tasks of a `map_parallel`, groups that have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..outcome import Outcome
from ..plan import Node, Plan, StepNode
from ..progress import ProgressTracker
from . import live
from .clock import Clock
from .metrics import Durations, GroupMetrics, Metrics, StepMetrics
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .step import ActiveStep
from .task_nodes import TaskNode, _name_of

MOST_ENTRIES = 1000
"""How many steps, and groups, a state tells apart; all that come then are counted as one."""
OTHERS = "(others)"
UNNAMED = "parallel_group"
MOST_GROUPS = 500
"""How many groups that have ended a run keeps before it folds them."""

G = TypeVar("G", bound=GroupMetrics)
Place = tuple[str, str]
"""A path and a name."""
Row = tuple[StepNode, Outcome | None, ActiveStep | None]
EndedGroup = tuple[Node, Outcome | None, float, float]
"""A group, how it ended, when it had begun and when it ended."""


class Counted(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    plan: Plan
    clock: Clock
    pool: SharedThreadPoolExecutor
    name: str
    generation: int
    tracker: ProgressTracker
    scheduler: Scheduler
    steps: list[ActiveStep | None]
    past: Tally | None
    ended_groups: list[EndedGroup]
    outcome: Outcome | None
    started_at: float
    ended_at: float | None
    is_over: bool


class _Times:
    """Durations in the making."""

    __slots__ = ("count", "least", "most", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = self.least = self.most = 0.0

    def add(self, seconds: float) -> None:
        if not self.count or seconds < self.least:
            self.least = seconds
        self.most = max(self.most, seconds)
        self.count += 1
        self.total += seconds

    def made(self) -> Durations:
        if not self.count:
            return Durations()
        return Durations(self.count, self.total, self.least, self.most)


class _Entry:
    """A step or a group in the making."""

    __slots__ = ("abandoned", "outcomes", "place", "queued", "ran", "retried", "running")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.outcomes = dict.fromkeys(Outcome, 0)
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
        outcomes = {str(outcome): count for outcome, count in self.outcomes.items()}
        return {"running": self.running, **outcomes, "run_time": self.ran.made()}


class Tally:
    """Steps and groups that were counted. Not safe for threads."""

    def __init__(self) -> None:
        self._steps: dict[str, _Entry] = {}  # by path
        self._groups: dict[str, _Entry] = {}
        self._busy = 0.0

    def add_step(
        self,
        place: Place,
        outcome: Outcome | None,
        step: ActiveStep | None,
        now: float = 0.0,
    ) -> None:
        """Count a step that has ended, whether or not it began; or, without an outcome, runs."""
        entry = self._steps.get(place[0])
        if entry is None:
            entry = self._steps[place[0]] = _Entry(place)
        if outcome is None:
            entry.running += 1
        else:
            entry.outcomes[outcome] += 1
        if step is None:
            return
        seconds, started_at = step.spent, step.started_at
        if started_at is not None:
            ended_at = now if outcome is None or step.ended_at is None else step.ended_at
            seconds += max(0.0, ended_at - started_at)
        if outcome is not None:
            entry.ran.add(seconds)
        self._busy += seconds
        entry.queued.add(max(0.0, step.first_started - step.ready_at))
        entry.retried += step.prepared - 1
        entry.abandoned += step.times_left + step.abandoned

    def add_group(self, place: Place, outcome: Outcome | None, seconds: float) -> None:
        """Count a group that has ended; or, without an outcome, is under way."""
        entry = self._groups.get(place[0])
        if entry is None:
            entry = self._groups[place[0]] = _Entry(place)
        if outcome is None:
            entry.running += 1
        else:
            entry.outcomes[outcome] += 1
            entry.ran.add(seconds)

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Count steps that have ended."""
        for node, outcome, step in rows:
            if outcome is not None and node is not None and not node.chooses:
                self.add_step(place_of(node), outcome, step)

    def add_groups(self, groups: Iterable[EndedGroup]) -> None:
        """Count groups that have ended."""
        for node, outcome, started_at, ended_at in groups:
            self.add_group(place_of(node), outcome, ended_at - started_at)

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


def place_of(node: Node) -> Place:
    """Where a node stands: one place for all items of a `Map`, rounds of a `Loop`, like tasks."""
    if isinstance(node, TaskNode):
        name = _name_of(node.given or node.work)
        return f"{_group_name(node.parent)}.{name}", name
    parts: list[str] = []
    at, above = node, node.parent
    while above is not None:
        parts.append("*" if above.repeats else str(at.index))
        at, above = above, above.parent
    path, group_node, name = ".".join(reversed(parts)), node.parent, node.name
    if group_node is not None:
        suffix = group_node.suffix
        if group_node.repeats:
            suffix += f"[{node.index}]"
        name = name.removesuffix(suffix)
        if name.endswith(f"_{node.path}"):  # one without a name is called after its path
            name = name.removesuffix(node.path) + path
    return path, name


def _group_name(root: Node) -> str:
    """The name of a dynamic group; all that were given none are one."""
    return UNNAMED if root.name == f"{UNNAMED}_{root.path}" else root.name


def measured(run: Counted) -> Metrics:
    """What a run has come to by now; safe from any thread."""
    if run.generation != live.generation:  # of the process that this one was forked from
        run.generation = live.generation
        run.lock = threading.RLock()
        run.tracker.renew_lock()
    tally = Tally()
    root = run.plan.root
    name = "" if root.prefix else run.name
    with run.lock:
        now = run.clock.monotonic() if run.ended_at is None else run.ended_at
        rows = list(zip(run.scheduler.nodes, run.scheduler.outcomes, run.steps, strict=False))
        ended_groups = list(run.ended_groups)
        is_over, past = run.is_over, None if run.past is None else run.past.metrics(name)
        _count_live(run, tally, now)
    tally.add_rows(rows)
    tally.add_groups(ended_groups)
    if root.prefix:
        name_of_group = _group_name(root)
        outcome = (run.outcome or Outcome.FAILED) if is_over else None
        tally.add_group((name_of_group, name_of_group), outcome, now - run.started_at)
    limits = [run.plan.limits[number] for number in root.limits]
    workers = min(limits, default=run.pool.max_workers)
    metrics = tally.metrics(name, workers, now - run.started_at)
    if past is not None:
        metrics += past
    return replace(metrics, steps=_sorted(metrics.steps), groups=_sorted(metrics.groups))


def _sorted(entries: Mapping[str, G]) -> dict[str, G]:
    """As they are written: path by path."""
    return {path: entries[path] for path in sorted(entries, key=_order)}


def _order(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in path.split(".")]


def _count_live(run: Counted, tally: Tally, now: float) -> None:
    """Count steps that have begun and not ended, and the groups they are in. Under the lock."""
    open_groups: dict[Any, None] = {}
    for step in run.scheduler.live:
        if not isinstance(step, ActiveStep) or not step.prepared:
            continue
        if not step.node.chooses:
            tally.add_step(place_of(step.node), None, step, now)
        group: Any = step.parent
        while group.parent is not None and group not in open_groups:
            open_groups[group] = None
            group = group.parent
    for group in open_groups:
        tally.add_group(place_of(group.node), None, 0.0)


class Totals:
    """What all groups of a state have come to, those under way included; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant for signal handlers that ask for the metrics
        self._ended = Metrics()
        self._live: dict[Counted, None] = {}

    def watch(self, run: Counted) -> None:
        """Count a run, from now on."""
        with self._lock:
            self._live[run] = None

    def keep(self, run: Counted) -> None:
        """A run is over, and about to be forgotten. Under its lock."""
        metrics = measured(run)
        with self._lock:
            if run in self._live:
                del self._live[run]
                self._ended = self._ended + _fitted(metrics, self._ended)

    def metrics(self) -> Metrics:
        """All of it."""
        with self._lock:
            metrics, under_way = self._ended, tuple(self._live)
        for run in under_way:
            metrics = metrics + _fitted(measured(run), metrics)
        return metrics


def _fitted(fresh: Metrics, known: Metrics) -> Metrics:
    """What there is no room for beside what is known, is counted as one."""
    return replace(
        fresh, steps=_fit(fresh.steps, known.steps), groups=_fit(fresh.groups, known.groups)
    )


def _fit(fresh: Mapping[str, G], known: Mapping[str, G]) -> dict[str, G]:
    room = MOST_ENTRIES - len(known)
    fitted: dict[str, G] = {}
    for path, entry in fresh.items():
        put = entry
        if path not in known:
            room -= 1
            if room < 0:
                put = replace(entry, path=OTHERS, name=OTHERS)
        fitted[put.path] = fitted[put.path] + put if put.path in fitted else put
    return fitted
