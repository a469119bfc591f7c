"""One run: what is known of it, how it begins and ends, what is done outside its lock.

All facts go in, and all commands are carried out, under one lock per run; user
code, merging and observers run outside it.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..context import BINDING, PipelineContext
from ..errors import JournalError
from ..outcome import Outcome
from ..plan import Plan
from ..progress import ProgressTracker
from . import live, reports
from .clock import Clock, TimerHandle
from .feed import Feed
from .flow import add_note
from .lending import Lending
from .metrics import Metrics
from .notes import Notes, deliver
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .states import State, Timer
from .step import ActiveGroup, ActiveStep, Context, Running, current_step
from .tally import MOST_GROUPS, EndedGroup, Row, Tally

if TYPE_CHECKING:
    from .calls import Calls
    from .coroutines import Coroutines
    from .recorder import Recorder, Recovery


logger = logging.getLogger("task_pipeline.run")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is started with, beside its plan and context."""

    pool: SharedThreadPoolExecutor
    clock: Clock
    name: str
    feed: Feed | None = None
    recorder: Recorder | None = None
    recovery: Recovery | None = None


_NOTHING: Context = PipelineContext()


class RunCore:
    """What a run knows, and how it carries the scheduler's commands out."""

    def __init__(self, plan: Plan, context: Context, setup: Setup) -> None:
        self.plan = plan
        self.context = context
        self.pool = setup.pool
        self.clock = setup.clock
        self.name = setup.name
        # Reentrant for signal handlers, which run between any two lines of the main thread:
        # one that asks for the status must not wait for the thread it interrupts.
        self.lock = threading.RLock()
        self.generation = live.generation
        self.scheduler = Scheduler(plan, ActiveStep, ActiveGroup)
        self.tracker = self.tracker_of(plan)
        self.feed = Feed() if setup.feed is None else setup.feed
        self.recorder = setup.recorder
        self.recovery = setup.recovery
        self.scheduler.waits_for_all = self.recorder is not None and self.recorder.follows
        # Timers that wait until the run is where it was.
        self.postponed: dict[tuple[State, Timer], float] | None = None
        self.joins: list[ActiveGroup] | None = None  # as well: each has its place in the record
        self.notes = Notes(self.feed)
        self.steps: list[ActiveStep | None] = [None] * len(plan.steps)
        # What metrics need to know of what is not kept otherwise.
        self.past: Tally | None = None
        self.ended_groups: list[EndedGroup] = []
        self.rounds_before: dict[ActiveGroup, list[Row]] = {}  # of loops that find out now
        self.final_metrics: Metrics | None = None
        self.failures: list[tuple[State, Exception]] = []
        self.timers: dict[tuple[State, Timer], TimerHandle] = {}
        self.chores: deque[Callable[[], None]] = deque()
        self.coroutines: Coroutines | None = None
        self.calls: Calls | None = None
        self.contextvars = contextvars.copy_context()
        self.outer = current_step.get()
        self.waiting_inside: dict[RunCore, None] = {}  # nested runs that wait for a place here
        if self.outer is not None and Lending.is_needed(self.outer):
            self.scheduler.places.around = Lending(self, self.outer)
        self.started_at = self.clock.monotonic()
        self.ended_at: float | None = None
        self.current_item: int | None = None
        self.busy = 0  # threads at work on this run
        self.ended_attempts = 0
        self.usual_duration = 0.001  # of an attempt, in seconds: a moving average
        self.abandoned = 0  # threads and coroutines left inside a step, still there
        self.ending_inside = 0  # groups of tasks in steps that were left, about to be cancelled
        self.has_begun = False
        self.is_recorded = False  # the end of the run, or about to be
        self.is_over = False  # decided; observers may still have to be told
        self.is_done = False  # and now everybody may know
        self.error: BaseException | None = None
        self.outcome: Outcome | None = None
        self.on_done: list[Callable[[], object]] = []
        self._binding_before = context.__dict__.get(BINDING)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.feed.run_id

    def tracker_of(self, plan: Plan) -> ProgressTracker:
        """What keeps the run's progress."""
        return ProgressTracker.of_plan(plan)

    def group_ended(self, group: ActiveGroup, now: float) -> None:
        """Keep how a group below the root ended, for the metrics. Under the lock."""
        above: Any = group.parent
        above.since = now
        self.ended_groups.append((group.node, group.outcome, group.started_at, now))
        if len(self.ended_groups) == MOST_GROUPS:
            ended, self.ended_groups = self.ended_groups, []
            self.past = self.past or Tally()
            self.past.add_groups(ended)

    def remember_round(self, group: ActiveGroup) -> None:
        """A loop is about to have another round, whose steps take the places of the last one's."""
        with self.lock:
            first, last = group.span or (0, 0)
            nodes, outcomes = self.scheduler.nodes[first:last], self.scheduler.outcomes[first:last]
            self.rounds_before[group] = list(
                zip(nodes, outcomes, self.steps[first:last], strict=True)
            )

    def count_round(self, group: ActiveGroup) -> None:
        """Count the round before, if another has taken its places; that one has not begun."""
        with self.lock:
            rows = self.rounds_before.pop(group)
            if self.is_replaced(rows):
                first = rows[0][0].leaf
                self.steps[first : first + len(rows)] = [None] * len(rows)
                self.past = self.past or Tally()
                self.past.add_ended(rows)

    def is_replaced(self, rows: Sequence[Row]) -> bool:
        """Whether another round has taken the places of one."""
        return bool(rows) and self.scheduler.nodes[rows[0][0].leaf] is not rows[0][0]

    def end_inside(self, inner: Any) -> None:
        """Cancel a group of tasks inside a step that was left. Without the lock.

        Its events are this run's too, so they come before this run's end is told. Other runs
        are not waited for: they may merge, which is code of the user's.
        """
        try:
            inner.cancel()
        finally:
            with self.lock:
                self.ending_inside -= 1

    def call_inside(self) -> None:
        """Have the nested runs look that wait for a place. Under the lock."""
        self.scheduler.places.freed = None
        waiting, self.waiting_inside = self.waiting_inside, {}
        self.chores.extend(run.freed_around for run in waiting)

    def freed_around(self) -> None:
        """The limits around this run may have places again."""
        with self.lock:
            if self.is_over:
                return
            self.scheduler.freed_around()
            if self.waiting_inside:
                self.call_inside()
            self.call_for_help()
        self.do_chores()

    def obey(self) -> None:
        """Carry out what the scheduler wants. Under the lock."""
        raise NotImplementedError

    def call_for_help(self) -> None:
        """Have as many threads come as there are steps to start. Under the lock."""
        raise NotImplementedError

    def tell_progress(self, step: ActiveStep, percent: float) -> None:
        """Tell observers how far a step is, unless its attempt has ended meanwhile."""
        with self.lock:
            if step.running and step.outcome is None and not step.cancelled:
                reports.step_progressed(self.notes, step, percent, self.clock.monotonic())

    # Beginning and end

    def begin(self) -> None:
        """Start the run; raises `StepCancelledError` inside a step that has been asked to stop."""
        if self.outer is not None:
            self.outer.raise_if_cancelled()
        self.pool.require_open()
        live.runs[id(self)] = self
        with self.lock:
            outer = self.outer
            if outer is not None:
                if outer.inner is None:
                    outer.inner = []
                outer.inner.append(self)
            reports.run_started(self.notes, self.plan, self.started_at)
            self.has_begun = True
            if self.recovery is not None:
                self.postponed, self.joins = {}, []
            self.scheduler.start()
            self.obey()
        if self.recovery is not None:
            self.recover(self.recovery)
        if outer is not None and outer.cancelled:  # it was left before this run was known to it
            self.cancel()

    def recover(self, recovery: Recovery) -> None:
        """Bring the run to where its record says it was."""
        raise NotImplementedError

    def cancel(self, error: BaseException | None = None) -> None:
        """End the run now; with an error, that is what it raises."""
        with self.lock:
            if self.is_over:
                return
            self.error = error
            self.scheduler.cancel(Outcome.CANCELLED if error is None else Outcome.FAILED)
            self.obey()
        self.do_chores()

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is not a step's: an interrupt, or a mistake in here."""
        try:
            if self.has_begun:
                self.cancel(error)
        finally:
            inside: list[Running] = []
            with self.lock:
                # Caught between two states: nothing can be relied on. Unless somebody is about
                # to end what is inside a step, who then announces it.
                if not self.is_done and not self.ending_inside:
                    self.error = self.error or error
                    self.outcome = self.outcome or Outcome.FAILED
                    self.is_over = True
                    self.chores.clear()
                    inside = [run for step in self.steps if step for run in step.inner or ()]
                    self._announce()
            for run in inside:
                run.cancel()

    def end(self) -> None:
        """The scheduler has ended the run. Under the lock."""
        root = self.scheduler.root
        self.is_over = True
        self.outcome = root.outcome
        if self.error is None:
            self.error = root.error
        self.ended_at = self.clock.monotonic()
        if self.outcome is Outcome.SUCCEEDED:
            self.tracker.complete()
        for handle in self.timers.values():
            handle.cancel()
        self.timers.clear()
        # Back to the step around this run, if it is part of one; another run that has been
        # given the same context may have bound it meanwhile.
        fields = self.context.__dict__
        bound, before = fields.get(BINDING), self._binding_before
        if bound is not None and bound.run is self:
            fields.pop(BINDING, None)
        if before is not None and not before.run.is_over:
            fields[BINDING] = before
        if self.waiting_inside:
            self.call_inside()
        outer = self.outer
        if outer is not None and outer.inner is not None and self in outer.inner:
            outer.inner.remove(self)
        if self.recorder is not None:
            self.is_recorded = True
            self.ending_inside += 1  # the end is told once it is recorded
            ended = functools.partial(self.recorder.run_ended, self.outcome, self.error)
            self.chores.append(functools.partial(ended, self._recorded))

    def _recorded(self, error: JournalError | None) -> None:
        """The end of the run is recorded, or cannot be. In any thread."""
        with self.lock:
            self.ending_inside -= 1
            if error is not None and self.error is None:
                self.error, self.outcome = error, Outcome.FAILED
            elif error is not None and self.error is not None and self.error is not error:
                logger.error("the end of run %r could not be recorded: %s", self.run_id, error)
                add_note(self.error, f"the end of the run could not be recorded: {error}")
        self.do_chores_elsewhere()

    def do_chores(self, then_takes: bool = False, delivers: bool = True) -> None:
        """Do what waits to be done outside the lock, and tell observers, until nothing is left.

        What it does may make steps ready, also when the chore was another thread's:
        somebody is called for them unless this thread `then_takes` a step. One that
        must not be kept by observers, such as a loop's, does not `deliver` to them.
        """
        has_done = False
        while True:
            with self.lock:
                if has_done and not self.chores and not then_takes:
                    has_done = False
                    self.call_for_help()
                if self.chores:
                    chore = self.chores.popleft()
                    has_done = True
                elif self.notes.delivering:
                    return  # whoever delivers goes on to what came after, and to the end
                elif self.notes and not delivers:
                    break
                elif (note := self.notes.take()) is not None:
                    self.notes.delivering = True
                    chore = functools.partial(self._deliver, note)
                else:
                    if self.is_over and not self.is_done and not self.ending_inside:
                        self._announce()
                    return
            chore()
        self.do_chores_elsewhere()

    def do_chores_and_call(self, delivers: bool = True) -> None:
        """As `do_chores`, for a thread that has made steps ready and takes none."""
        with self.lock:
            self.call_for_help()
        self.do_chores(delivers=delivers)

    def do_chores_elsewhere(self) -> None:
        """As `do_chores`, for a thread that must not be kept: the clock's."""
        if self.chores or self.notes:
            name = f"{self.name}-chores"
            threading.Thread(target=self._do_chores_guarded, name=name, daemon=True).start()
        else:
            self.do_chores()

    def _do_chores_guarded(self) -> None:
        try:
            self.do_chores()
        except BaseException as error:  # noqa: BLE001  # the run must end, and its caller hear of it
            self.abort(error)

    def _deliver(self, note: Callable[[], object]) -> None:
        try:
            deliver(note)
        finally:
            with self.lock:
                self.notes.delivering = False

    def forget(self) -> None:
        """What only the run itself has needed. Under the lock."""
        self.scheduler.forget()

    def _announce(self) -> None:
        self.is_done = True
        if self.recorder is not None and not self.is_recorded:
            self.recorder.aborted(self.error)
        if self.has_begun:
            now = self.clock.monotonic() if self.ended_at is None else self.ended_at
            took = now - self.started_at
            reports.run_ended(self.notes, self.plan, self.outcome, now, took, self.error)
        live.runs.pop(id(self), None)
        # A pipeline keeps its latest run for the status; it must not keep the data by it.
        self.context = _NOTHING
        for step in self.steps:
            if step is not None:
                step.parent = None  # type: ignore[assignment]  # nobody asks for it any more
        if self.has_begun:
            self.forget()
        waiting, self.on_done = self.on_done, []
        for call in waiting:
            call()
