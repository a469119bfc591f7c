"""The steps of one run that executors call: handed over in batches, told of, and taken back."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..errors import JournalError, StepAbandonedError
from ..events import Event
from ..state.delta import apply
from .calling import Reply, StepExecutor
from .clock import Clock
from .feed import Feed
from .pool import SharedThreadPoolExecutor
from .recorder import Recorder
from .slots import Slot, current_slot
from .step import ActiveStep, Context, cancelled_by_others, is_cancellation


class Caller(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    chores: deque[Callable[[], None]]
    recorder: Recorder | None
    contextvars: contextvars.Context
    feed: Feed
    clock: Clock
    pool: SharedThreadPoolExecutor

    @property
    def run_id(self) -> str:
        """The run's id."""

    def prepare(
        self, step: ActiveStep, slot: Slot | None, on_owner: bool, begins: bool = True
    ) -> None:
        """Make an attempt ready to run, which `begins` by that. Under the lock."""

    def begin_attempt(self, step: ActiveStep) -> None:
        """Say that an attempt begins which is ready. Under the lock."""

    def admit(self, step: ActiveStep) -> BaseException | None:
        """Ask the step's circuit breaker, if it has one; returns why it must not begin."""

    def perform_here(self, step: ActiveStep) -> Any:
        """Call the step's code in the current thread, as part of the run."""

    def conclude(self, step: ActiveStep, value: Any, error: BaseException | None) -> Any:
        """An attempt has come to its end in the current thread."""

    def conclude_call(self, step: ActiveStep, error: BaseException | None) -> None:
        """The same in a thread of an executor's, which must not be kept."""

    def tell_progress(self, step: ActiveStep, percent: float) -> None:
        """Tell observers how far a step is."""

    def do_chores_elsewhere(self) -> None:
        """Do what waits to be done, in another thread."""

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is not a step's."""

    def cancel(self, error: BaseException | None = None) -> None:
        """End the run now."""


class Calls:
    """The calls of one run.

    `kept` is what executors make once for the run, by keys of their own.
    """

    def __init__(self, run: Caller) -> None:
        self.run = run
        self.kept: dict[Any, Any] = {}
        self._waiting: deque[ActiveStep] = deque()  # begun, to be made ready
        self._safe: deque[OpenCall] = deque()  # what they depend on is recorded now
        self._stopping: list[OpenCall] = []
        self._is_sending = False  # somebody does it, or is about to

    # Under the run's lock

    def launch(self, step: ActiveStep) -> None:
        """Have a step called by its executor."""
        self._waiting.append(step)
        self._send_soon()

    def stop(self, call: OpenCall) -> None:
        """Have a call that was left come to its end."""
        self._stopping.append(call)
        if len(self._stopping) == 1:
            self.run.chores.append(self._stop)

    def _send_soon(self) -> None:
        if not self._is_sending:
            self._is_sending = True
            self.run.chores.append(self.send)

    def only_sends(self) -> bool:
        """Whether to hand over calls is all that is to be done."""
        chores = self.run.chores
        return len(chores) == 1 and chores[0] == self.send

    def _open(self, step: ActiveStep) -> OpenCall:
        executor = step.node.executor
        self.run.prepare(step, None, False, not executor.capabilities.tells_start)
        call = OpenCall(self, step)
        step.call = call
        return call

    # Without the lock

    def send(self) -> None:
        """Hand over what waits, and what comes meanwhile."""
        staying: list[list[OpenCall]] = []  # that keep this thread until they have ended
        while True:
            with self.run.lock:
                steps, self._waiting = self._waiting, deque()
                safe, self._safe = self._safe, deque()
                if not steps and not safe:
                    self._is_sending = False
                    break
                calls = [self._open(step) for step in steps if step.outcome is None]
            ready = [call for call in calls if self._may_go(call)]
            batches: dict[int, list[OpenCall]] = {}
            for call in (*safe, *ready):
                if self._is_admitted(call):
                    batches.setdefault(id(call.executor), []).append(call)
            for batch in batches.values():
                if batch[0].executor.capabilities.leaves:
                    self._hand_over(batch)
                else:
                    staying.append(batch)
        for batch in staying:
            if current_slot() is not None:
                self._hand_over(batch)
            else:  # a loop's, or of whoever has started a run in the background
                self.run.pool.post(functools.partial(self._hand_over_in, batch))

    def _hand_over_in(self, batch: list[OpenCall], slot: Slot) -> None:
        """In a worker of the pool's."""
        try:
            self._hand_over(batch)
        except BaseException as error:  # noqa: BLE001  # such as an interrupt: the run must end
            self.run.abort(error)

    def _may_go(self, call: OpenCall) -> bool:
        """Whether all is recorded that a step depends on; else it is handed over once it is."""
        recorder, step = self.run.recorder, call.step
        if step.context is None or recorder is None:
            return True
        return bool(recorder.when_safe(step, functools.partial(self._became_safe, call)))

    def _became_safe(self, call: OpenCall, error: JournalError | None) -> None:
        """In the thread that writes, which must not be kept."""
        if error is not None:
            call.failed(error)
            self.run.cancel(error)
            return
        with self.run.lock:
            self._safe.append(call)
            self._send_soon()
        self.run.do_chores_elsewhere()

    def _is_admitted(self, call: OpenCall) -> bool:
        step = call.step
        error = step.error if step.context is None else self.run.admit(step)
        if error is None:
            return True
        call.conclude(error)
        return False

    def _hand_over(self, batch: list[OpenCall]) -> None:
        wanted = []
        for call in batch:
            if call.is_wanted:
                call.is_handed_over = True
                wanted.append(call)
            else:  # left before anybody else knew of it
                call.conclude(None)
        if not wanted:
            return
        try:
            wanted[0].executor.submit(wanted)
        except Exception as error:  # noqa: BLE001  # an executor may raise anything
            for call in wanted:
                call.failed(error)
        # One that was left meanwhile may have been stopped before its executor had it.
        self._have_stopped([call for call in wanted if call.is_left_behind])

    def _stop(self) -> None:
        with self.run.lock:
            calls, self._stopping = self._stopping, []
        self._have_stopped([call for call in calls if call.is_handed_over])

    def _have_stopped(self, calls: list[OpenCall]) -> None:
        batches: dict[int, list[OpenCall]] = {}
        for call in calls:
            batches.setdefault(id(call.executor), []).append(call)
        for batch in batches.values():
            try:
                batch[0].executor.stop(batch)
            except Exception as error:  # noqa: BLE001  # nor may it keep others from being stopped
                for call in batch:
                    call.failed(error)


class OpenCall:
    """One attempt that is, or is about to be, in the hands of its executor."""

    __slots__ = (
        *("_calls", "_is_over", "attempt", "executor", "has_begun", "is_handed_over"),
        *("node", "step"),
    )

    def __init__(self, calls: Calls, step: ActiveStep) -> None:
        self._calls = calls
        self.step = step
        self.node = step.node
        self.attempt = step.attempt
        self.executor: StepExecutor = step.node.executor
        self.has_begun = not self.executor.capabilities.tells_start
        self._is_over = self.is_handed_over = False

    @property
    def context(self) -> Context:
        """What it works on."""
        context = self.step.context
        if context is None or self.step.cancelled:
            raise StepAbandonedError(
                f"step {self.node.label} was left before it was called",
                step_id=self.node.step_id,
                path=self.node.path,
                attempt=self.attempt,
            )
        return context

    @property
    def enclosing(self) -> Context | None:
        """The context of the branch it works in."""
        return self.step.enclosing

    @property
    def options(self) -> Mapping[str, Any]:
        """The step's `executor_options`."""
        return self.node.spec.options or {}

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._calls.run.run_id

    @property
    def idempotency_key(self) -> str:
        """The run and the step's place in it."""
        return self.step.idempotency_key

    @property
    def kept(self) -> dict[Any, Any]:
        """What executors keep for as long as the run goes."""
        return self._calls.kept

    @property
    def contextvars(self) -> contextvars.Context:
        """Those that the run was started with."""
        return self._calls.run.contextvars

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to the run's events."""
        return self._calls.run.feed.active

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for it."""
        return not self._is_over and not self.step.cancelled

    @property
    def is_left_behind(self) -> bool:
        """Whether it was left, and its executor owes its end."""
        return self.step.cancelled and not self._is_over

    def remaining(self) -> float | None:
        """Seconds to the nearest deadline over the step; None if none."""
        step = self.step
        left = step.remaining()
        timeout = self.node.spec.timeout
        if self.has_begun or timeout is None:
            return left
        return timeout if left is None else min(left, timeout)

    def begins(self) -> bool:
        """It begins now; False if it is not wanted any more."""
        with self._calls.run.lock:
            if not self.is_wanted:
                return False
            self._begin()
            return True

    def _begin(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            self._calls.run.begin_attempt(self.step)

    def progressed(self, percent: float) -> None:
        """The step has reported progress."""
        # All under the lock: meanwhile it neither ends, nor is it left, which would raise here.
        with self._calls.run.lock:
            if self.is_wanted:
                self._begin()
                self.step.update_progress(min(max(percent, 0.0), 100.0))

    def logged(self, record: logging.LogRecord) -> None:
        """Handle a record as if it had been logged here."""
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)

    def told(self, event: Event) -> None:
        """Tell on what has happened inside the step."""
        run = self._calls.run
        if run.feed.active and self.is_wanted:
            run.feed.adopt(event, run.clock.monotonic())

    def perform(self) -> None:
        """Call the step here, in the current thread."""
        run, step = self._calls.run, self.step
        if not self.begins():
            self.conclude(None)
            return
        value: Any = None
        error: BaseException | None = None
        try:
            value = run.perform_here(step)
            if value is not None and value is not step.context and inspect.isawaitable(value):
                value = asyncio.run(_awaited(value))
        except Exception as raised:  # noqa: BLE001  # a step may raise anything
            error = raised
        except BaseException as raised:
            if not is_cancellation(raised):
                run.abort(raised)
                self.conclude(None)
                raise
            error = cancelled_by_others(step)
            error.__cause__ = raised
        self.conclude(error, value)

    def ended(self, reply: Reply) -> None:
        """It has come to its end."""
        if not self._is_over_now():
            return
        error, step = reply.error, self.step
        context = step.context
        if reply.delta is not None and context is not None and not step.cancelled:
            try:
                apply(context, reply.delta)
            except StepAbandonedError as late:  # it was left at this very moment
                error = error or late
            except Exception as wrong:  # noqa: BLE001  # the context is not what it must be
                error = error or wrong
        run = self._calls.run
        if error is not None and not isinstance(error, Exception):
            run.abort(error)  # such as SystemExit: the caller of the run gets it
        run.conclude_call(step, error)

    def failed(self, error: Exception) -> None:
        """The executor could not do it, or knows no more than that it is over."""
        if self._is_over_now():
            self._calls.run.conclude_call(self.step, error)

    def conclude(self, error: BaseException | None, value: Any = None) -> None:
        """It has come to its end here, in a thread that may do what follows."""
        if self._is_over_now():
            self._calls.run.conclude(self.step, value, error)

    def _is_over_now(self) -> bool:
        """Whether this is the first to say so. What ends has begun, unless it was left before."""
        with self._calls.run.lock:
            if self._is_over:
                return False
            if not self.step.cancelled and self.step.context is not None:
                self._begin()
            self._is_over = True
            self.step.call = None
            return True


async def _awaited(value: Any) -> Any:
    return await value
