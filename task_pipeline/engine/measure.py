"""Measuring: the metrics of a run as it is now, and of all groups that a state has had."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..outcome import Outcome
from ..plan import Plan
from ..progress import ProgressTracker
from . import live
from .clock import Clock
from .metrics import GroupMetrics, Metrics
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .step import ActiveGroup, ActiveStep
from .tally import EndedGroup, Row, Tally, group_name, in_order, place_of

MOST_ENTRIES = 1000
"""How many steps, and groups, a state tells apart; all that come then are counted as one."""
OTHERS = "(others)"

G = TypeVar("G", bound=GroupMetrics)


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
    rounds_before: dict[ActiveGroup, list[Row]]
    final_metrics: Metrics | None
    outcome: Outcome | None
    started_at: float
    ended_at: float | None
    is_over: bool

    def is_replaced(self, rows: Sequence[Row]) -> bool:
        """Whether another round has taken the places of one."""


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
        if run.final_metrics is not None:
            return run.final_metrics
        now = run.clock.monotonic() if run.ended_at is None else run.ended_at
        rows = list(zip(run.scheduler.nodes, run.scheduler.outcomes, run.steps, strict=False))
        for before in run.rounds_before.values():
            if run.is_replaced(before):
                rows += before
        ended_groups = list(run.ended_groups)
        is_over, past = run.is_over, None if run.past is None else run.past.metrics(name)
        if is_over:  # only one that was aborted leaves steps without an outcome
            rows = [(node, outcome or Outcome.CANCELLED, step) for node, outcome, step in rows]
        else:
            _count_live(run, tally, now)
    tally.add_ended(rows)
    tally.add_groups(ended_groups)
    if root.prefix:
        outcome = (run.outcome or Outcome.FAILED) if is_over else None
        tally.add_group((group_name(root),) * 2, outcome, now - run.started_at)
    workers = min((run.plan.limits[each] for each in root.limits), default=run.pool.max_workers)
    metrics = tally.metrics(name, workers, now - run.started_at)
    if past is not None:
        metrics += past
    return in_order(metrics)


def _count_live(run: Counted, tally: Tally, now: float) -> None:
    """Count steps that have begun and not ended, and the groups they are in. Under the lock."""
    open_groups: dict[Any, None] = {}
    for step in run.scheduler.live:
        if not isinstance(step, ActiveStep) or not step.prepared:
            continue
        if not step.node.chooses:
            tally.add_running(step, now)
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
        metrics = run.final_metrics = measured(run)
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
    steps, groups = _fit(fresh.steps, known.steps), _fit(fresh.groups, known.groups)
    return replace(fresh, steps=steps, groups=groups)


def _fit(fresh: Mapping[str, G], known: Mapping[str, G]) -> dict[str, G]:
    room = MOST_ENTRIES - len(known)
    fitted: dict[str, G] = {}
    for path, entry in fresh.items():
        put = entry
        room -= path not in known
        if path not in known and room < 0:
            put = replace(entry, path=OTHERS, name=OTHERS)
        fitted[put.path] = fitted[put.path] + put if put.path in fitted else put
    return fitted
