"""Counting: what a run keeps of its steps and groups, folded into metrics.

A run pays for its metrics when it is asked for them. Only what it is about to forget is
counted before: rounds of a loop, tasks of a `map_parallel`, groups that have ended.
"""

from __future__ import annotations

import threading
from typing import Protocol

from ..outcome import Outcome
from ..plan import Node, Plan
from .clock import Clock
from .metrics import Durations, GroupMetrics, StepMetrics
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .step import ActiveStep

MOST_ENTRIES = 1000
"""How many steps or groups a state tells apart; what comes then is counted under one name."""
OTHERS = "(others)"
UNNAMED = "parallel_group"

Key = tuple[str, str]
EndedGroup = tuple[Node, Outcome | None, float, float]
"""A group that has ended: how, when it had begun, and when it ended."""


class Counted(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    plan: Plan
    clock: Clock
    pool: SharedThreadPoolExecutor
    name: str
    scheduler: Scheduler
    steps: list[ActiveStep | None]
    past: Tally | None
    ended_groups: list[EndedGroup]
    outcome: Outcome | None
    started_at: float
    ended_at: float | None
    has_begun: bool
    is_over: bool


class _Times:
    """Durations in the making."""

    __slots__ = ("count", "least", "most", "total")

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self.least = self.most = 0.0

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

    __slots__ = ("abandoned", "outcomes", "queued", "ran", "retried", "running")

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.running = self.retried = self.abandoned = 0
        self.ran, self.queued = _Times(), _Times()

    def made_step(self, path: str, name: str) -> StepMetrics:
        return StepMetrics(
            path,
            name,
            self.running,
            *self.outcomes.values(),
            self.ran.made(),
            self.retried,
            self.abandoned,
            self.queued.made(),
        )

    def made_group(self, path: str, name: str) -> GroupMetrics:
        return GroupMetrics(path, name, self.running, *self.outcomes.values(), self.ran.made())
