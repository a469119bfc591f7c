"""One run: the scheduler's commands carried out, and what is known of the run.

All facts go in, and all commands are carried out, under one lock per run; user
code, merging and observers run outside it.

A step is *left* when a deadline, a failure elsewhere or a cancellation ends it
while its thread is still inside. It then has its outcome, its context is cut
off, and what its thread does later is dropped.
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..context import BINDING
from ..errors import MergeConflictError, ParallelGroupError, RunCancelledError, StepAbandonedError
from ..outcome import Outcome
from ..plan import Kind, Plan, StepNode
from ..progress import ProgressTracker
from ..state.delta import Delta, apply
from ..state.fork import cut
from ..state.merge import Merged
from . import live, reports
from .clock import Clock, TimerHandle
from .flow import add_note, context_of, group_error, merge_branches, record_error, seal
from .notes import Notes, Subscriber, deliver
from .pool import SharedThreadPoolExecutor
from .scheduler import Scheduler
from .states import Command, State, Timer
from .step import ActiveGroup, ActiveStep, Context, current_step

if TYPE_CHECKING:
    from .coroutines import Coroutines


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is started with, beside its plan and context."""

    pool: SharedThreadPoolExecutor
    clock: Clock
    name: str
    run_id: str | None = None
    subscribers: Sequence[Subscriber] = ()


class RunCore:
    """What a run knows, and how it carries the scheduler's commands out."""

    def __init__(self, plan: Plan, context: Context, setup: Setup) -> None:
        self.plan = plan
        self.context = context
        self.pool = setup.pool
        self.clock = setup.clock
        self.name = setup.name
        self._run_id = setup.run_id
        # Reentrant for signal handlers, which run between any two lines of the main thread:
        # one that asks for the status must not wait for the thread it interrupts.
        self.lock = threading.RLock()
        self.scheduler = Scheduler(plan, ActiveStep, ActiveGroup)
        self.tracker = ProgressTracker.of_plan(plan)
        run_id = self.run_id if setup.subscribers else ""
        self.notes = Notes(run_id, setup.subscribers)
        self.steps: list[ActiveStep | None] = [None] * len(plan.steps)
        self.failures: list[tuple[int, Exception]] = []
        self.timers: dict[tuple[State, Timer], TimerHandle] = {}
        self.chores: deque[Callable[[], None]] = deque()
        self.coroutines: Coroutines | None = None
        self.outer = current_step.get()
        self.started_at = self.clock.monotonic()
        self.ended_at: float | None = None
        self.current_item: int | None = None
        self.busy = 0  # threads at work on this run
        self.ended_attempts = 0
        self.usual_duration = 0.001  # of an attempt, in seconds: a moving average
        self.abandoned = 0  # threads and coroutines left inside a step, still there
        self.has_begun = False
        self.is_over = False  # decided; observers may still have to be told
        self.is_done = False  # and now everybody may know
        self.error: BaseException | None = None
        self.outcome: Outcome | None = None
        self.on_done: list[Callable[[], object]] = []
        self._binding_before = context.__dict__.get(BINDING)

    @property
    def run_id(self) -> str:
        """The run's id; made when it is first asked for, as it is dear and mostly is not."""
        if self._run_id is None:
            self._run_id = uuid.uuid4().hex
        return self._run_id

    def call_for_help(self) -> None:
        """Have as many threads come as there are steps to start. Under the lock."""
        raise NotImplementedError

    # Beginning and end

    def begin(self) -> None:
        """Start the run; raises `StepCancelledError` inside a step that has been asked to stop."""
        if self.outer is not None:
            self.outer.raise_if_cancelled()
        live.runs[id(self)] = self
        with self.lock:
            outer = self.outer
            if outer is not None:
                if outer.inner is None:
                    outer.inner = []
                outer.inner.append(self)
            reports.run_started(self.notes, self.plan, self.started_at)
            self.has_begun = True
            self.scheduler.start()
            self.obey()

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
            with self.lock:
                if not self.is_done:  # caught between two states: nothing can be relied on
                    self.error = self.error or error
                    self.outcome = self.outcome or Outcome.FAILED
                    self.is_over = True
                    self.chores.clear()
                    self._announce()

    def _end(self) -> None:
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
        fields = self.context.__dict__
        if self._binding_before is None:
            fields.pop(BINDING, None)
        else:
            fields[BINDING] = self._binding_before
        outer = self.outer
        if outer is not None and outer.inner is not None and self in outer.inner:
            outer.inner.remove(self)
        duration = self.ended_at - self.started_at
        reports.run_ended(self.notes, self.plan, self.outcome, self.ended_at, duration, self.error)

    def do_chores(self) -> None:
        """Do what waits to be done outside the lock, and tell observers, until nothing is left."""
        while True:
            with self.lock:
                if self.chores:
                    chore = self.chores.popleft()
                elif self.notes.delivering:
                    return  # whoever delivers goes on to what came after, and to the end
                elif (note := self.notes.take()) is not None:
                    self.notes.delivering = True
                    chore = functools.partial(self._deliver, note)
                else:
                    if self.is_over and not self.is_done:
                        self._announce()
                    return
            chore()

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
            with self.lock:
                self.call_for_help()
            self.do_chores()
        except BaseException as error:  # noqa: BLE001  # the run must end, and its caller hear of it
            self.abort(error)

    def _deliver(self, note: Callable[[], object]) -> None:
        try:
            deliver(note)
        finally:
            with self.lock:
                self.notes.delivering = False

    def _announce(self) -> None:
        self.is_done = True
        live.runs.pop(id(self), None)
        waiting, self.on_done = self.on_done, []
        for call in waiting:
            call()

    # Commands

    def obey(self) -> None:
        """Carry out what the scheduler wants. Under the lock."""
        commands = self.scheduler.commands
        while commands:
            batch, commands = commands, []
            self.scheduler.commands = commands
            for command, *about in batch:
                _HANDLERS[command](self, *about)
            commands = self.scheduler.commands

    def _set_timer(self, state: State, timer: Timer, seconds: float) -> None:
        if isinstance(state, ActiveGroup) and timer is Timer.DEADLINE:
            state.deadline = self.clock.monotonic() + seconds
        ring = functools.partial(self.ring, functools.partial(self._fired, state, timer))
        self.timers[state, timer] = self.clock.call_later(seconds, ring)

    def ring(self, callback: Callable[[], None]) -> None:
        """Do what a timer is for. In the clock's thread, which must not hear of mistakes."""
        try:
            callback()
        except BaseException as error:  # noqa: BLE001  # the run must end, and its caller hear of it
            self.abort(error)

    def cancel_timer(self, state: State, timer: Timer) -> None:
        """Not to go off. Under the lock."""
        handle = self.timers.pop((state, timer), None)
        if handle is not None:
            handle.cancel()

    def _fired(self, state: State, timer: Timer) -> None:
        """A timer went off. In the clock's thread."""
        with self.lock:
            if self.is_over or self.timers.pop((state, timer), None) is None:
                return
            if timer is Timer.LINGER and isinstance(state, ActiveStep) and state.error is not None:
                self.time_out(state, state.error)
            else:
                self.scheduler.fired(state, timer)
            self.obey()
            self.call_for_help()
        self.do_chores_elsewhere()

    def _leave_step(self, step: ActiveStep, was_running: bool) -> None:
        now = step.ended_at = self.clock.monotonic()
        is_in_attempt = was_running and step.prepared == step.attempt
        if is_in_attempt:
            self.leave(step)
        reports.step_left(self.notes, step, now, is_in_attempt)

    def _settle(self, node: StepNode, outcome: Outcome) -> None:
        reports.step_settled(self.notes, node, outcome, self.clock.monotonic())

    def _enter(self, group: ActiveGroup) -> None:
        group.started_at = self.clock.monotonic()
        if group.parent is None:
            self.current_item = 0
        reports.group_started(self.notes, group)

    def _ended_group(self, group: ActiveGroup) -> None:
        node = group.node
        outcomes = self.scheduler.outcomes[node.first : node.last]
        reports.group_ended(self.notes, group, self.clock.monotonic(), outcomes)
        if group.counts and node.kind is Kind.PARALLEL:
            self._count_as_done(node.first, outcomes)

    def _ended_item(self, group: ActiveGroup, child: State) -> None:
        node = child.node
        if group.parent is None:
            self.current_item = node.index + 1
        if child.counts or group.node.goes_on:
            self._count_as_done(node.first, self.scheduler.outcomes[node.first : node.last])
        callback = group.node.callback
        if callback is not None:
            percent = self.tracker.get_overall_progress()
            total = len(group.node.children)
            if node.index + 1 == total and group.parent is None and child.counts:
                percent = 100.0  # what the parts were rounded to is not the callback's concern
            self.notes.add(functools.partial(callback, node.index, total, node.name, percent))

    def _count_as_done(self, first: int, outcomes: list[Outcome | None]) -> None:
        """What was cancelled, skipped or failed on the way is behind us as well."""
        for leaf, outcome in enumerate(outcomes, first):
            if outcome is not Outcome.SUCCEEDED:
                self.tracker.advance(leaf)

    # Joins

    def _ask_for_join(self, group: ActiveGroup) -> None:
        self.chores.append(functools.partial(self._join, group))

    def _join(self, group: ActiveGroup) -> None:
        """Merge what a group's branches did, and report it joined. Without the lock."""
        error: BaseException | None = group_error(group)
        if error is not None and self.error is not None and group.parent is None:
            error = self.error
        merged = Merged(Delta(), [])
        if group.node.kind is Kind.PARALLEL:
            merged = merge_branches(group, self.failures)
        with self.lock:
            if group.outcome is not None:  # ended with what is around it, meanwhile
                return
            context = context_of(group, self.context)
            reports.conflicts(self.notes, group.node, merged.conflicts)
            apply(context, merged.delta)
            for wrong in (merged.error, error):
                recorded_already = isinstance(wrong, ParallelGroupError | RunCancelledError)
                if isinstance(wrong, Exception) and not recorded_already:
                    record_error(context, wrong)
            error = error or _named(merged.error, group)
        try:
            seal(group)
        except StepAbandonedError:
            return  # cut off with what is around it, meanwhile
        except Exception as wrong:  # noqa: BLE001  # the branch's results are not what they must be
            error = error or wrong
        with self.lock:
            verdict = group.verdict or Outcome.FAILED
            outcome = Outcome.FAILED if error and verdict is Outcome.SUCCEEDED else verdict
            self.scheduler.joined(group, outcome, error)
            group.branches = []
            self.obey()

    # Failing and leaving

    def record_failure(self, step: ActiveStep, error: BaseException) -> None:
        """Put a step's error where it belongs, once, with a note on where it comes from.

        Under the lock if that is the user's own context, or the step may be left meanwhile.
        """
        policy = step.node.spec.policy
        attempts = policy.attempts if policy else 1
        add_note(error, f"step {step.node.label}, attempt {step.attempt} of {attempts}")
        step.recorded = True
        if isinstance(error, Exception):
            record_error(step.enclosing or self.context, error)

    def remember(self, step: ActiveStep, error: BaseException) -> None:
        """Keep a failure for the case that its branch is left in the middle. Under the lock."""
        if isinstance(error, Exception):
            self.failures.append((step.node.leaf, error))

    def time_out(self, step: ActiveStep, error: BaseException) -> None:
        """A step has failed by its own deadline, for good. Under the lock."""
        step.ended_at = self.clock.monotonic()
        self.record_failure(step, error)
        self.remember(step, error)
        self.scheduler.ended(step, Outcome.TIMED_OUT, error)
        if step.counts or step.parent.node.goes_on:
            self.tracker.advance(step.node.leaf)

    def leave(self, step: ActiveStep) -> None:
        """Leave an attempt that runs: cut it off, and do without its thread. Under the lock."""
        step.cancelled = True
        if step.deadline is not None:
            step.deadline = None
            self.cancel_timer(step, Timer.ATTEMPT)
        context = step.context if step.has_fork else step.enclosing
        if context is not None and context is not self.context:
            cut(context)
        self.chores.extend(inner.cancel for inner in step.inner or ())
        if step.task is not None:
            step.abandoned = True
            self.abandoned += 1
            assert self.coroutines is not None
            self.coroutines.stop(step.task)
        elif step.slot is not None and not step.on_owner:
            step.abandoned = True
            self.abandoned += 1
            self.busy -= 1
            step.slot.pool.abandon(step.slot)
            reports.abandoned(self.notes, step)


def _named(error: Exception | None, group: ActiveGroup) -> Exception | None:
    """Say which group an error of merging comes from."""
    if error is not None:
        kind = "merging" if not isinstance(error, MergeConflictError) else "found in"
        add_note(error, f"{kind} group {group.node.label}")
    return error


_HANDLERS: dict[Command, Callable[..., None]] = {
    Command.SET_TIMER: RunCore._set_timer,
    Command.CANCEL_TIMER: RunCore.cancel_timer,
    Command.LEAVE: RunCore._leave_step,
    Command.SETTLE: RunCore._settle,
    Command.ENTER: RunCore._enter,
    Command.JOIN: RunCore._ask_for_join,
    Command.END: RunCore._ended_group,
    Command.ITEM: RunCore._ended_item,
    Command.OVER: RunCore._end,
}
