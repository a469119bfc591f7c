"""The scheduler's commands carried out: timers, joins, steps that are left, ends.

A step is *left* when a deadline, a failure elsewhere or a cancellation ends it
while its thread is still inside. It then has its outcome, its context is cut
off, and what its thread does later is dropped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..errors import MergeConflictError, ParallelGroupError, RunCancelledError, StepAbandonedError
from ..groups import Map
from ..outcome import Outcome
from ..plan import Kind, StepNode
from ..state.delta import Delta, apply
from ..state.fork import cut, is_cut
from ..state.merge import Merged
from . import reports
from .core import RunCore
from .flow import add_note, context_of, group_error, merge_branches, record_error, seal
from .recorder import Recorder
from .states import Command, State, Timer
from .step import ActiveGroup, ActiveStep


class Commands(RunCore):
    """What a run does about each command."""

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
        if self.postponed is not None:
            self.postponed[state, timer] = seconds
            return
        if timer is Timer.DEADLINE and self.scheduler.waits_for_all:
            return
        if isinstance(state, ActiveGroup) and timer is Timer.DEADLINE:
            state.deadline = self.clock.monotonic() + seconds
        ring = functools.partial(self.ring, functools.partial(self._fired, state, timer))
        self.timers[state, timer] = self.clock.call_later(seconds, ring)

    def begin_timers(self) -> None:
        """Set the timers that were to be set while the run was brought to where it was."""
        with self.lock:
            postponed, self.postponed = self.postponed or {}, None
            for (state, timer), seconds in postponed.items():
                if state.outcome is None:
                    self._set_timer(state, timer, seconds)

    def ring(self, callback: Callable[[], None]) -> None:
        """Do what a timer is for. In the clock's thread, which must not hear of mistakes."""
        try:
            callback()
        except BaseException as error:  # noqa: BLE001  # the run must end, and its caller hear of it
            self.abort(error)

    def cancel_timer(self, state: State, timer: Timer) -> None:
        """Not to go off. Under the lock."""
        if self.postponed is not None:
            self.postponed.pop((state, timer), None)
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
                is_deadline = timer is Timer.DEADLINE and isinstance(state, ActiveGroup)
                if self.recorder is not None and is_deadline:
                    self._record_deadline(self.recorder, state)
                self.scheduler.fired(state, timer)
            self.obey()
            self.call_for_help()
        self.do_chores_elsewhere()

    def _record_deadline(self, recorder: Recorder, group: Any) -> None:
        """Unless the group is decided already, and about to be joined: then it ends nothing."""
        if group.outcome is None and not group.closed:
            recorder.deadline_passed(group)

    def _leave_step(self, step: ActiveStep, was_running: bool) -> None:
        now = step.ended_at = self.clock.monotonic()
        is_in_attempt = was_running and step.prepared == step.attempt
        if is_in_attempt:
            self.leave(step)
        elif step.call is not None:  # its executor has not begun with it
            self._withdraw(step)
        if self.recorder is not None:
            self.recorder.left(step, is_in_attempt)
        if not step.node.chooses:  # of what it stands for, its group's events tell
            reports.step_left(self.notes, step, now, is_in_attempt)
        if is_in_attempt and step.abandoned:
            reports.abandoned(self.notes, step, now)

    def _settle(self, node: StepNode, outcome: Outcome) -> None:
        if not node.chooses:
            if self.recorder is not None:
                self.recorder.settled(node, outcome)
            reports.step_settled(self.notes, node, outcome, self.clock.monotonic())

    def _enter(self, group: ActiveGroup) -> None:
        now = group.started_at = self.clock.monotonic()
        above: Any = group.parent
        # A branch has waited for its turn since the group around it could begin.
        waits = above is not None and above.kind is Kind.PARALLEL
        group.since = above.since if waits else now
        if self.recorder is not None:
            group.after = above.after if waits else self.recorder.latest
        if above is None:
            self.current_item = 0
        reports.group_started(self.notes, group)

    def _ended_group(self, group: ActiveGroup) -> None:
        node, now = group.node, self.clock.monotonic()
        first, last = group.span if node.repeats and group.span else (node.first, node.last)
        outcomes = self.scheduler.outcomes[first:last]
        if group.parent is not None:
            self.group_ended(group, now)
            if self.recorder is not None:
                self.recorder.group_ended(group)
                above: Any = group.parent
                above.after = self.recorder.latest
        reports.group_ended(self.notes, group, now, outcomes)
        if node.chooser is not None:
            chooser = self.steps[node.chooser.leaf]
            if chooser is not None:
                chooser.ended_at = now
            if group.counts:
                self.tracker.advance(node.chooser.leaf)
                if not node.repeats:
                    self._count_as_done(first, outcomes)
        elif group.counts and node.kind is Kind.PARALLEL:
            self._count_as_done(first, outcomes)

    def _expanded(self, group: ActiveGroup) -> None:
        if isinstance(group.node.dynamic, Map) or (group.node.repeats and group.children):
            now = self.clock.monotonic()
            reports.group_expanded(self.notes, group.node, group.total(), now)

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

    def ask_for_join(self, group: ActiveGroup) -> None:
        """A group is to be joined. Under the lock."""
        if self.joins is not None:
            self.joins.append(group)
        else:
            self.chores.append(functools.partial(self.join, group))

    def join(self, group: ActiveGroup) -> None:
        """Merge what a group's branches did, and report it joined. Without the lock."""
        # A series that is ended early keeps what the finished branches of the group it is in
        # have done, as that group would have.
        joining: Any = group if group.node.kind is Kind.PARALLEL else group.cut_short
        with self.lock:
            if group.outcome is not None:
                return
            if joining is not None and joining.is_joining:
                joining = None  # somebody merges it already, in code of the user's that may hang
            if joining is not None:
                joining.is_joining = True
        error: BaseException | None = group_error(group)
        if error is not None and self.error is not None and group.parent is None:
            error = self.error
        merged = Merged(Delta(), [])
        if joining is not None:
            merged = merge_branches(joining, self.failures)
        with self.lock:
            if group.outcome is not None:  # ended with what is around it, meanwhile
                return
            context = context_of(group, self.context)
            if is_cut(context):  # this run is part of a step that was left: nobody wants it
                merged = Merged(Delta(), [])
            reports.conflicts(self.notes, (joining or group).node, merged, self.clock)
            apply(context, merged.delta)
            for source, wrong in ((joining or group, merged.error), (group, error)):
                recorded_already = isinstance(wrong, ParallelGroupError | RunCancelledError)
                if isinstance(wrong, Exception) and not recorded_already:
                    record_error(context, wrong)
                    self.remember(source, wrong)
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

    def remember(self, state: State, error: BaseException) -> None:
        """Keep a failure for the case that its branch is left in the middle. Under the lock."""
        if isinstance(error, Exception):
            self.failures.append((state, error))

    def time_out(self, step: ActiveStep, error: BaseException) -> None:
        """A step has failed by its own deadline, for good. Under the lock."""
        group: Any = step.parent
        step.ended_at = group.since = self.clock.monotonic()
        self.record_failure(step, error)
        self.remember(step, error)
        if self.recorder is not None:
            self.recorder.ended(step, Outcome.TIMED_OUT, error, True)
            if group.kind is Kind.SERIAL:
                group.after = self.recorder.latest
        self.scheduler.ended(step, Outcome.TIMED_OUT, error)
        if step.counts or step.parent.node.goes_on:
            self.tracker.advance(step.node.leaf)

    def _withdraw(self, step: ActiveStep) -> None:
        """Take back what was handed to an executor and has not begun. Under the lock."""
        step.cancelled = True
        admission, step.admission = step.admission, None
        if admission is not None:
            admission.released()
        assert self.calls is not None
        self.calls.stop(step.call)

    def leave(self, step: ActiveStep) -> None:
        """Leave an attempt that runs: cut it off, and do without its thread. Under the lock."""
        step.cancelled = True
        admission, step.admission = step.admission, None
        if admission is not None:  # nobody will know what the attempt would have come to
            admission.released()
        if step.deadline is not None:
            step.deadline = None
            self.cancel_timer(step, Timer.ATTEMPT)
        context = step.context if step.has_fork else step.enclosing
        if context is not None and context is not self.context:
            cut(context)
        for inner in tuple(step.inner or ()):
            if inner.feed is self.feed:
                self.ending_inside += 1
                self.chores.append(functools.partial(self.end_inside, inner))
            else:
                self.chores.append(inner.cancel)
        if step.call is not None:
            step.abandoned = True
            self.abandoned += 1
            assert self.calls is not None
            self.calls.stop(step.call)
        elif step.task is not None:
            step.abandoned = True
            self.abandoned += 1
            assert self.coroutines is not None
            self.coroutines.stop(step.task)
        elif step.slot is not None and not step.on_owner:
            step.abandoned = True
            self.abandoned += 1
            self.busy -= 1
            step.slot.pool.abandon(step.slot)


def _named(error: Exception | None, group: ActiveGroup) -> Exception | None:
    """Say which group an error of merging comes from."""
    if error is not None:
        kind = "merging" if not isinstance(error, MergeConflictError) else "found in"
        add_note(error, f"{kind} group {group.node.label}")
    return error


_HANDLERS: dict[Command, Callable[..., None]] = {
    Command.SET_TIMER: Commands._set_timer,
    Command.CANCEL_TIMER: Commands.cancel_timer,
    Command.LEAVE: Commands._leave_step,
    Command.SETTLE: Commands._settle,
    Command.ENTER: Commands._enter,
    Command.JOIN: lambda run, group: run.ask_for_join(group),
    Command.END: Commands._ended_group,
    Command.ITEM: Commands._ended_item,
    Command.EXPANDED: Commands._expanded,
    Command.OVER: lambda run: run.end(),
}
