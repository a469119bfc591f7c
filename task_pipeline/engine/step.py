"""A step and a group under way, with what a driver needs to know of them."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..context import PipelineContext
from ..errors import StepCancelledError
from ..groups import Loop
from ..plan import GroupNode, StepNode
from ..progress import ProgressTracker
from ..state.delta import Delta
from ..state.fork import ForkPoint
from .clock import Clock
from .feed import Feed
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .slots import Slot
from .states import GroupState, StepState

if TYPE_CHECKING:
    import asyncio

Context = PipelineContext[Any]


class Running(Protocol):
    """The run a step belongs to, as the step sees it."""

    lock: threading.RLock
    clock: Clock
    tracker: ProgressTracker
    outer: ActiveStep | None
    pool: SharedThreadPoolExecutor
    feed: Feed
    scheduler: Scheduler

    def cancel(self) -> None:
        """End the run."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    def tell_progress(self, step: ActiveStep, percent: float) -> None:
        """Tell observers how far a step is."""


class ActiveStep(StepState):
    """A step under way; what `context.step_id` and its like answer from.

    - `enclosing`: the context it works in: the root's or its branch's
    - `context`: what it is given: the enclosing one, or a fork of that (`has_fork`)
    - `slot`: the thread inside it, `task`: the coroutine, `call`: that its executor has been
      given; `on_owner`: the thread
      is the one that called `run()`, which cannot be left
    - `abandoned`: it was left while its thread or coroutine was inside it
    - `admission`: its circuit breaker's leave for the attempt
    - `lends`: a step of a run inside it has its places; `waits`: for how many such runs
    - `stops`: it has ended the run, and well; `groups`: how many its attempt has opened
    - `after`: the number of the last record that it depends on; `record`: what its recorder
      keeps with it
    - `ready_at`: since when nothing but other steps was in its way; `spent`: seconds inside
      the attempts before the one that runs; `times_left`: how many of those were abandoned
    """

    __slots__ = (
        *("admission", "after", "call", "lends", "record", "waits"),
        *("abandoned", "cancelled", "context", "deadline", "delta", "enclosing", "ended_at"),
        *("first_started", "groups", "has_fork", "inner", "on_owner", "prepared"),
        *("ready_at", "recorded", "recovered", "returned"),
        *("run", "slot", "spent", "started_at", "stops", "task", "times_left", "told"),
    )
    run: Running
    ready_at: float

    def __init__(self, node: StepNode, parent: GroupState) -> None:
        # What the classes above would do, in one: there are as many of these as steps.
        self.node = node
        self.parent = parent
        self.outcome = self.error = None
        self.counts = self.was_left = self.running = self.lingering = False
        self.attempt = 0
        self.context: Context | None = None
        self.enclosing: Context | None = None
        self.delta: Delta | None = None
        self.has_fork = False
        self.started_at: float | None = None  # None again between two attempts
        self.first_started = self.spent = 0.0
        self.times_left = 0
        self.ended_at: float | None = None
        self.deadline: float | None = None
        self.cancelled = False
        self.abandoned = False
        self.returned = False
        self.recorded = False
        self.recovered = False  # it has ended in an earlier part of the run
        self.stops = False
        self.admission: Any = None
        self.after = 0
        self.record: Any = None
        self.lends = False
        self.waits = 0
        self.groups = 0
        self.prepared = 0  # the number of the attempt that was last made ready
        self.slot: Slot | None = None
        self.on_owner = False
        self.task: asyncio.Task[None] | None = None
        self.call: Any = None
        self.inner: list[Running] | None = None
        self.told = (0, 0)  # the attempt and the whole percent that observers know of

    @property
    def step_id(self) -> str:
        """The step's id."""
        return self.node.step_id

    @property
    def idempotency_key(self) -> str:
        """The run's id, and the step's path and id: no two steps of a run have both."""
        return f"{self.run.run_id}/{self.node.path}/{self.node.step_id}"

    def remaining(self) -> float | None:
        """Seconds to the nearest deadline over the step, or None; 0 once it is to stop."""
        if self.cancelled:
            return 0.0
        nearest = self.deadline
        group: Any = self.parent
        while group is not None:
            if group.deadline is not None and (nearest is None or group.deadline < nearest):
                nearest = group.deadline
            group = group.parent
        left = None if nearest is None else max(0.0, nearest - self.run.clock.monotonic())
        outer = self.run.outer
        above = None if outer is None else outer.remaining()
        return above if left is None else left if above is None else min(left, above)

    def update_progress(self, percent: float) -> None:
        """Record progress; in a step that has been asked to stop, stop it."""
        if self.cancelled:
            self.raise_if_cancelled()
        self.run.tracker.advance(self.node.leaf, max(percent, 0.0))
        if self.run.feed.active:
            whole = (self.attempt, int(percent))
            if whole > max(self.told, (self.attempt, 0)):
                self.told = whole
                self.run.tell_progress(self, percent)

    def raise_if_cancelled(self) -> None:
        """Raise `StepCancelledError` in a step that has been asked to stop."""
        if self.cancelled:
            raise StepCancelledError(
                f"step {self.step_id!r} at path {self.node.path} was asked to stop: it passed a "
                "deadline, or what is around it ended early",
                step_id=self.step_id,
                path=self.node.path,
                attempt=self.attempt,
            )


class ActiveGroup(GroupState):
    """A group under way.

    - `context`: what its children work in, or, for a parallel one, are forked from
    - `point`: the fork point of a parallel group; `delta`: what it changed, as a branch
    - `items`: of a `Map`; `first`, `first_limit`: where the steps and limits of a `Loop` are
    - `since`: when what can begin in it now could: since its start, or the end of what was
      before; `after`: the number of the last record that it depends on
    """

    __slots__ = (
        *("after", "context", "deadline", "delta", "first", "first_limit", "is_joining", "items"),
        *("point", "since", "started_at"),
    )
    first: int
    first_limit: int

    def __init__(self, node: GroupNode, parent: GroupState | None) -> None:
        super().__init__(node, parent)
        self.context: Context | None = None
        self.point: ForkPoint | None = None
        self.items: list[Any] = []
        self.delta: Delta | None = None
        self.started_at = self.since = 0.0
        self.is_joining = False
        self.after = 0
        self.deadline: float | None = None

    def total(self) -> int:
        """How many children it has, as far as that is known: of a loop, its rounds."""
        return self.rounds if isinstance(self.node.dynamic, Loop) else len(self.children)


current_step: ContextVar[ActiveStep | None] = ContextVar("task_pipeline_step", default=None)
"""The step that the current code is part of; a nested run finds its outer one by it."""


def cancelled_by_others(step: ActiveStep) -> StepCancelledError:
    """The error of a coroutine that somebody outside of the run has cancelled."""
    return StepCancelledError(
        f"step {step.node.label} was cancelled by something other than its run",
        step_id=step.step_id,
        path=step.node.path,
        attempt=step.attempt,
    )


def is_cancellation(error: BaseException) -> bool:
    """Whether it is asyncio's, which is imported only by runs that need it."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)
