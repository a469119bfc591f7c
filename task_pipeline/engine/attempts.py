"""The life of an attempt: made ready, handed in, reported, or left behind by its deadline."""

from __future__ import annotations

import functools
from typing import Any

from ..context import PipelineContext
from ..errors import (
    CircuitOpenError,
    JournalDataError,
    StepAbandonedError,
    StepTimeoutError,
)
from ..events import CircuitClosed, CircuitEvent, CircuitHalfOpened, CircuitOpened
from ..outcome import Outcome
from ..plan import Kind
from ..signals import SkipStep, StopPipeline
from ..state.delta import apply
from . import reports
from .breaker import CircuitBreaker
from .circuit import Change, CircuitState
from .commands import Commands
from .expansion import expand, leave_empty
from .flow import accept, commit_delta, give_context, seal
from .recorder import Recorder
from .retry import longest, retry_after
from .slots import Slot
from .states import Timer
from .step import ActiveStep, current_step

_CIRCUIT_EVENTS: dict[CircuitState, type[CircuitEvent]] = {
    CircuitState.OPEN: CircuitOpened,
    CircuitState.HALF_OPEN: CircuitHalfOpened,
    CircuitState.CLOSED: CircuitClosed,
}


class Attempts(Commands):
    """What a run does about each attempt, whatever drives it."""

    def prepare(
        self, step: ActiveStep, slot: Slot | None, on_owner: bool, begins: bool = True
    ) -> None:
        """Make an attempt ready: its context, its clock. Under the lock.

        It `begins` now, unless somebody else says when.
        """
        now = self.clock.monotonic()
        step.run = self
        step.slot = slot
        step.on_owner = on_owner
        step.started_at = now
        if step.attempt == 1:
            group: Any = step.parent
            step.ready_at = group.since
            step.first_started = now
            self.steps[step.node.leaf] = step
        else:
            step.times_left += step.abandoned
            step.returned = step.recorded = step.abandoned = step.cancelled = False
            step.error = step.task = step.call = None
            step.groups = 0
        try:
            self.give_context(step, on_owner)
        except Exception as error:  # noqa: BLE001  # the context is not what it must be: the step fails by it
            step.context = None
            step.error = error
        if self.recorder is not None and self.recorder.refuses:
            refusal = self.recorder.refusal(step)
            if refusal is not None:
                step.context, step.error = None, refusal
        if begins:
            step.prepared = step.attempt
            if step.node.spec.timeout is not None:
                self._begin_time(step, now)
        if self.recorder is not None:
            above: Any = step.parent
            step.after = above.after
            if not step.node.spec.idempotent:
                self.recorder.started(step)
        if begins and self.notes.of_steps and not step.node.chooses:
            reports.step_started(self.notes, step, now)

    def begin_attempt(self, step: ActiveStep) -> None:
        """An attempt begins that was made ready before. Under the lock."""
        now = step.started_at = self.clock.monotonic()
        if step.attempt == 1:
            step.first_started = now
        step.prepared = step.attempt
        if step.node.spec.timeout is not None:
            self._begin_time(step, now)
        if self.notes.of_steps:
            reports.step_started(self.notes, step, now)

    def _begin_time(self, step: ActiveStep, now: float) -> None:
        timeout: Any = step.node.spec.timeout
        step.deadline = now + timeout
        timed_out = functools.partial(self._attempt_timed_out, step, step.attempt)
        ring = functools.partial(self.ring, timed_out)
        self.timers[step, Timer.ATTEMPT] = self.clock.call_later(timeout, ring)

    def give_context(self, step: ActiveStep, on_owner: bool) -> None:
        """Set what the attempt works on. Under the lock."""
        forks = None if self.recorder is None else self.recorder.forks_all
        give_context(step, self.context, on_owner, forks)

    def breaker_of(self, step: ActiveStep) -> Any:
        """The step's circuit breaker, or the name of it."""
        return step.node.spec.circuit_breaker

    def admit(self, step: ActiveStep) -> BaseException | None:
        """Ask the step's circuit breaker, if it has one; returns why it must not begin."""
        breaker = self.breaker_of(step)
        if breaker is None:
            return None
        try:
            if isinstance(breaker, str):
                breaker = CircuitBreaker.named(breaker)
            # The run's clock: a worker has not the context variables to find it by.
            step.admission = breaker.admit(self.clock)
        except CircuitOpenError as error:
            return error
        if step.admission.change is not None:
            self._tell_of_circuit(step, step.admission.change)
        return None

    def settle_admission(self, step: ActiveStep, error: BaseException | None) -> None:
        """Tell the step's circuit breaker what its attempt has come to."""
        admission, step.admission = step.admission, None
        if admission is not None:
            change = admission.succeeded() if error is None else admission.failed(error)
            if change is not None:
                self._tell_of_circuit(step, change)

    def _tell_of_circuit(self, step: ActiveStep, change: Change) -> None:
        with self.lock:
            reports.circuit_changed(
                self.notes,
                step,
                _CIRCUIT_EVENTS[change.state],
                self.clock.monotonic(),
                circuit=change.circuit,
                failures=change.failures,
                retry_after=change.retry_after,
            )

    def call(self, step: ActiveStep) -> Any:
        """Call the step's code."""
        return step.node.spec.call(step.context)

    def hand_in(
        self, step: ActiveStep, value: Any, error: BaseException | None
    ) -> tuple[BaseException | None, float | None]:
        """Put what an attempt brings where it belongs; returns its error and the wait to the next.

        Without the lock: comparing and copying what a step has touched may take long.
        """
        if step.admission is not None:
            self.settle_admission(step, error)
        # One that is being left has its outcome once whoever leaves it lets go of the lock.
        is_left = step.cancelled or step.lingering or step.outcome is not None
        if step.deadline is not None or is_left:
            with self.lock:
                if step.lingering or step.outcome is not None:
                    return error, None  # it was left: there is nothing to be handed in
                step.returned = True  # from now on it is too late for its own deadline
        retry: float | None = None
        if error is not None and isinstance(error, StopPipeline):
            step.stops = True
            value, error = error.result, None
        try:
            if step.node.chooses:
                self._choose(step, value, error)
            elif error is not None:
                retry = self.wait_before_retry(step, error)
            elif value is not None and value is not step.context:
                if step.stops and not isinstance(value, PipelineContext):
                    step.context.results[step.node.result_key] = value  # type: ignore[union-attr]  # it has begun
                else:
                    accept(step, value)
            keeps = retry is None or not step.node.spec.isolated
            if keeps and step.context is not None and (step.has_fork or self.recorder):
                error = self._commit(step, error)
        except StepAbandonedError as late:  # cut off meanwhile, or the step kept another's context
            error = error or late
        except Exception as wrong:  # noqa: BLE001  # what it left behind is not what it must be
            error = wrong
            retry = self.wait_before_retry(step, error)
        if retry is None:
            error = self._hand_in_branch(step, error)
        return error, retry

    def _choose(self, step: ActiveStep, answer: Any, error: BaseException | None) -> None:
        """A chooser has an answer: have its group know what it is to run."""
        group: Any = step.parent
        if step.stops or isinstance(error, SkipStep):
            leave_empty(self, group)
            return
        if error is not None:
            return
        # As part of the step: items may come from a generator, which is the user's code.
        variables = self.contextvars.copy()
        variables.run(current_step.set, step)
        decided = variables.run(group.node.dynamic.decide, answer)
        if self.recorder is not None:
            decided = self.recorder.chosen(step, decided)
        if group.span is None:
            expand(self, group, decided)
            return
        self.remember_round(group)
        try:
            expand(self, group, decided)
        finally:
            self.count_round(group)

    def _hand_in_branch(
        self, step: ActiveStep, error: BaseException | None
    ) -> BaseException | None:
        """If the step works in a branch, put its error there, and seal one that ends with it."""
        if step.enclosing is None or step.enclosing is self.context:
            return error
        try:
            if error is not None and not isinstance(error, SkipStep):
                self.record_failure(step, error)
            seal(step)
        except StepAbandonedError as late:  # cut off meanwhile
            return error or late
        except Exception as wrong:  # noqa: BLE001  # what it left behind is not what it must be
            if error is None:
                self.record_failure(step, wrong)
            return error or wrong
        return error

    def report(self, step: ActiveStep, error: BaseException | None, retry: float | None) -> bool:
        """Tell the scheduler; returns whether it came too late. Under the lock."""
        if step.outcome is not None or step.lingering:
            self._came_late(step)
            return True
        self._end_attempt(step, error, retry)
        return False

    def _end_attempt(
        self, step: ActiveStep, error: BaseException | None, retry: float | None
    ) -> None:
        """Report the end of an attempt that is not late. Under the lock."""
        now = step.ended_at = self.clock.monotonic()
        self.ended_attempts += 1
        if step.started_at is not None:
            self.usual_duration += (now - step.started_at - self.usual_duration) / 8
        if step.deadline is not None:
            step.deadline = None
            self.cancel_timer(step, Timer.ATTEMPT)
        has_failed = retry is None and error is not None and not isinstance(error, SkipStep)
        if has_failed and not step.recorded:
            assert error is not None
            self.record_failure(step, error)  # first, as what is recorded has the note it adds
        if self.recorder is not None:
            self._record_end(self.recorder, step, error, retry)
        if error is None:
            if not step.node.chooses:
                if self.notes.of_steps:
                    reports.attempt_ended(self.notes, step, None, None, now)
                self.tracker.advance(step.node.leaf)
            self.scheduler.ended(step, Outcome.SUCCEEDED, stops=step.stops)
        elif isinstance(error, SkipStep):
            self._give_up_turn(step, error, now)
        elif retry is not None:
            reports.attempt_ended(self.notes, step, error, retry, now)
            self._pause(step, now)
            self.scheduler.ended(step, Outcome.FAILED, error, retry)
        else:
            if not step.node.chooses:  # of what it stands for, its group's events tell
                reports.attempt_ended(self.notes, step, error, None, now)
            self.remember(step, error)
            self.scheduler.ended(step, Outcome.FAILED, error)
            if step.counts or step.parent.node.goes_on:
                self.tracker.advance(step.node.leaf)
        if retry is None:
            step.context = step.slot = None
            group: Any = step.parent
            if group.kind is Kind.SERIAL:
                step.enclosing = None
                group.since = now
            elif step.node.chooses:
                group.since = now
        if self.scheduler.commands:
            self.obey()

    def _record_end(
        self,
        recorder: Recorder,
        step: ActiveStep,
        error: BaseException | None,
        retry: float | None,
    ) -> None:
        """Have it recorded; what follows the step depends on it. Under the lock."""
        skipped = isinstance(error, SkipStep)
        outcome = (
            Outcome.SUCCEEDED if error is None else Outcome.SKIPPED if skipped else Outcome.FAILED
        )
        recorder.ended(step, outcome, None if skipped else error, retry is None)
        group: Any = step.parent
        if retry is None and (group.kind is Kind.SERIAL or step.node.chooses):
            group.after = recorder.latest

    def _pause(self, step: ActiveStep, now: float) -> None:
        """An attempt is over, and another may follow: until then no time is spent in it."""
        if step.started_at is not None:
            step.spent += now - step.started_at
            step.started_at = None

    def _give_up_turn(self, step: ActiveStep, error: SkipStep, now: float) -> None:
        if not step.node.chooses:
            reports.step_gave_up_turn(self.notes, step, error.reason, now)
            self.tracker.advance(step.node.leaf)
        self.scheduler.ended(step, Outcome.SKIPPED)

    def _commit(self, step: ActiveStep, error: BaseException | None) -> BaseException | None:
        delta = commit_delta(step, error)
        if self.recorder is not None:
            delta, error = self.recorder.handed_in(step, delta, error)
        if step.has_fork:
            with self.lock:
                wanted = step.outcome is None and not step.lingering
                if wanted and delta is not None and step.enclosing is not None:
                    apply(step.enclosing, delta)
        elif error is None:
            step.delta = delta  # it is a branch of its own: this is the branch's too
        return error

    def wait_before_retry(self, step: ActiveStep, error: BaseException) -> float | None:
        """Seconds to the next attempt, after this error; None if there is to be none."""
        policy = step.node.spec.policy
        if policy is None or isinstance(error, StopPipeline | SkipStep | JournalDataError):
            return None
        elapsed = self.clock.monotonic() - step.first_started
        return retry_after(policy, step.attempt, error, elapsed)

    def _attempt_timed_out(self, step: ActiveStep, attempt: int) -> None:
        """An attempt's time is over. In the clock's thread."""
        with self.lock:
            current = step.running and step.attempt == attempt and step.outcome is None
            if self.is_over or not current or step.returned:
                return
            node, policy, timeout = step.node, step.node.spec.policy, step.node.spec.timeout or 0.0
            now = self.clock.monotonic()
            error = StepTimeoutError(
                f"step {node.label} timed out after {timeout} s in attempt {attempt}; raise its "
                "timeout, or have it look at context.remaining",
                step_id=node.step_id,
                path=node.path,
                attempt=attempt,
            )
            self.settle_admission(step, error)  # what does not answer has failed
            self.leave(step)
            reports.attempt_timed_out(self.notes, step, error, now)
            if step.abandoned:
                reports.abandoned(self.notes, step, now)
            # It is tried again only once the attempt has really ended, if that is in time.
            left = 0.0
            if policy is not None and self.wait_before_retry(step, error) is not None:
                left = step.first_started + longest(policy, timeout) - now
            if left > 0:
                step.error = error
                if self.recorder is not None:
                    self.recorder.ended(step, Outcome.TIMED_OUT, error, False)
                self._pause(step, now)
                self.scheduler.linger(step, left)
            else:
                self.time_out(step, error)
            self.obey()
            self.call_for_help()
        self.do_chores_elsewhere()

    def _came_late(self, step: ActiveStep) -> None:
        """An attempt that was left has come to its end. Under the lock."""
        if step.abandoned:
            self.abandoned -= 1
            reports.abandoned_ended(self.notes, step, self.clock.monotonic())
        if step.outcome is not None:
            step.context = step.slot = step.task = None
        elif step.error is not None:
            retry = self.wait_before_retry(step, step.error)
            if retry is None:  # the policy's total time is over
                self.time_out(step, step.error)
            else:
                self.scheduler.returned(step, retry)
            self.obey()
