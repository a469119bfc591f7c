"""Steps of a run on threads: a thread takes a step, performs it, and goes on with the next."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import JournalError
from ..outcome import Outcome
from ..plan import Plan
from .attempts import Attempts
from .clock import SYSTEM_CLOCK
from .core import Setup
from .logs import is_identified
from .notes import deliver
from .slots import Slot, Standing
from .step import ActiveStep, Context, cancelled_by_others, current_step, is_cancellation

if TYPE_CHECKING:
    import asyncio

    from .recorder import Recorder, Recovery


# Steps shorter than this many seconds are had faster by one thread than by several that
# wait for each other's locks.
BRIEF = 50e-6
# How soon it is noticed, in seconds, that such steps have given way to a long one.
LOOK_AGAIN = 0.005


class Execution(Attempts):
    """A run whose steps are performed by the pool's workers, its caller and event loops."""

    def __init__(
        self,
        plan: Plan,
        context: Context,
        setup: Setup,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(plan, context, setup)
        outer: Any = None if self.outer is None else self.outer.run
        level = 0 if outer is None else outer.loop_level + 1
        self.loop_level: int = level if loop is None else -1
        self._loop = loop
        # Whether there are steps that take no thread, which are started as soon as they can be.
        self._starts_ahead = False
        if plan.has_async:
            self._await_with(loop)
        if plan.placed:
            from .calls import Calls

            self.calls = Calls(self)
            self._starts_ahead = True
        self._has_breakers = plan.has_breakers
        self._watched = False  # whether somebody will look again for work that waits
        self._ticket: Any = self._answer  # one object, to be recognised by
        self._tickets = 0  # calls for help that no worker has answered yet: 0 or 1
        self._given: deque[ActiveStep] = deque()  # begun, waiting for a thread
        # Calls the thread that called run() while it is parked; True is for a kept deadline.
        self._wake_owner: Callable[[bool], None] | None = None
        logger = context.logger_instance
        self._task_logger = logger if hasattr(logger, "set_task_context") else None

    def _await_with(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # Imported by the first run that needs it: asyncio is a tenth of the time to import all.
        from .coroutines import Coroutines

        self.coroutines = Coroutines(self, loop)
        self._starts_ahead = True

    # Taking

    def take(self, slot: Slot | None, on_owner: bool) -> ActiveStep | None:
        """The next step for the current thread, ready to be performed. Under the lock."""
        if self.is_over or self._is_left:
            return None
        step: Any
        if self._starts_ahead:
            step = self._take_beside_others(slot, on_owner)
        else:
            step = self.scheduler.next(staying=on_owner)
        if self.scheduler.commands:
            self.obey()
        if step is not None:
            self.prepare(step, slot, on_owner)
        if self.scheduler.ready or self._given:
            self.call_for_help()
        return step  # type: ignore[no-any-return]  # the scheduler makes ActiveSteps

    @property
    def _is_left(self) -> bool:
        """Whether the step around it was left: it is about to be cancelled, and begins nothing."""
        return self.outer is not None and self.outer.cancelled

    def _take_beside_others(self, slot: Slot | None, on_owner: bool) -> ActiveStep | None:
        """Start all there is that takes no thread of the pool; keep the rest for threads."""
        while (step := self.scheduler.next()) is not None:
            assert isinstance(step, ActiveStep)
            if step.node.executor is not None:
                assert self.calls is not None
                self.calls.launch(step)
            elif step.node.spec.is_async:
                assert self.coroutines is not None
                self.coroutines.launch(step)
            else:
                self._given.append(step)
        while self._given and self._given[0].outcome is not None:
            self._given.popleft()
        if slot is None or not self._given or (on_owner and self._given[0].node.leavable):
            return None
        return self._given.popleft()

    def call_for_help(self) -> None:
        """Have a thread come if there is a step to start. Under the lock.

        One at a time: whoever takes a step calls for the next. Waking a thread costs as
        much as several brief steps, which may all be done by the time it is there.
        """
        if self._tickets or self.is_over or self._is_left:
            return
        if self.busy and self._is_brisk():
            self._look_again_soon()
            return
        if not self._starts_ahead:
            found, staying = self.scheduler.startable(), self.scheduler.stays()
        else:
            if self.scheduler.ready:  # what takes no thread may be among them: somebody must look
                self.chores.append(self._look_ahead)
            found = bool(self._given)
            staying = found and not self._given[0].node.leavable
        if not found:
            return
        if staying and self._wake_owner is not None:
            wake, self._wake_owner = self._wake_owner, None
            wake(False)
        else:
            self._tickets += 1
            self.pool.post(self._ticket)

    def _is_brisk(self) -> bool:
        return self.usual_duration < BRIEF and not self._starts_ahead

    def _look_again_soon(self) -> None:
        if not self._watched:
            self._watched = True
            look = functools.partial(self._look_again, self.ended_attempts)
            SYSTEM_CLOCK.call_later(LOOK_AGAIN, functools.partial(self.ring, look))

    def _look_again(self, ended_before: int) -> None:
        """See whether one thread still is enough. In the clock's thread."""
        with self.lock:
            self._watched = False
            if self.is_over or not self.scheduler.ready:
                return
            if self.ended_attempts == ended_before:  # it is inside a long step
                self.usual_duration = 2 * BRIEF
            self.call_for_help()

    def _is_wanted_elsewhere(self, slot: Slot | None) -> bool:
        if slot is None or not slot.is_worker:
            return False
        return self.pool.is_crowded_besides(self._ticket)

    def _departs(self, slot: Slot | None) -> bool:
        """Whether a worker goes home because one thread is enough. Under the lock."""
        if slot is None or not slot.is_worker or self.busy < 2 or not self._is_brisk():
            return False
        slot.departs = True
        self.busy -= 1
        if self.scheduler.ready:
            self._look_again_soon()
        return True

    def _look_ahead(self) -> None:
        with self.lock:
            self.take(None, False)

    def has_step_for_owner(self) -> bool:
        """Whether there is a step that the run's own thread may take. Under the lock."""
        if self._starts_ahead:
            return bool(self._given) and not self._given[0].node.leavable
        return self.scheduler.stays()

    def parked(self, wake: Callable[[bool], None] | None) -> None:
        """The run's own thread waits, and is woken by `wake`; or waits no more. Under the lock."""
        self._wake_owner = wake

    def _announce(self) -> None:
        super()._announce()
        if self._tickets and self.pool.recall(self._ticket):
            self._tickets = 0
        self._ticket = None  # it refers to this run, which need not wait for the collector
        wake, self._wake_owner = self._wake_owner, None
        if wake is not None:
            # A deadline is kept even if the pool has no permit free at this moment.
            wake(self.ended_early)

    @property
    def ended_early(self) -> bool:
        """Whether the run was ended before its steps did."""
        return self.outcome in (Outcome.TIMED_OUT, Outcome.CANCELLED)

    # Performing

    def work(self, slot: Slot, on_owner: bool) -> None:
        """Perform steps until none is left to start."""
        with self.lock:
            self.busy += 1
        try:
            step = self.next_step(slot, on_owner)
            while step is not None:
                step = self.perform(step)
        except BaseException as error:  # an interrupt, or a mistake in here: the run must end
            self.abort(error)
            if on_owner:
                raise
        finally:
            with self.lock:
                if slot.departs:
                    slot.departs = False
                elif on_owner or slot.standing is not Standing.LOST:
                    self.busy -= 1
                # What it could not take itself, such as a step with a deadline, others must.
                self.call_for_help()
            if self.chores:
                self.do_chores()

    def next_step(self, slot: Slot | None, on_owner: bool) -> ActiveStep | None:
        """Take a step; first do what has to be done before there can be one."""
        while True:
            with self.lock:
                step = self.take(slot, on_owner)
                pending = self._has_chores()
            if pending:
                self.do_chores(then_takes=step is None, delivers=slot is not None)
            if step is not None or not pending:
                return step

    def _has_chores(self) -> bool:
        ending = self.is_over and not self.is_done and not self.ending_inside
        return bool(self.chores or self.notes or ending)

    def _answer(self, slot: Slot) -> None:
        """A worker has come to help."""
        with self.lock:
            self._tickets -= 1
            if self.busy and self._is_brisk():
                return
        self.work(slot, on_owner=False)

    def perform(self, step: ActiveStep) -> ActiveStep | None:
        """Run one attempt on the current thread; returns the next step for it."""
        if step.context is None:
            return self.conclude(step, None, step.error)
        if self.recorder is not None and not self._is_safe(self.recorder, step):
            return None
        if self._has_breakers:
            refusal = self.admit(step)
            if refusal is not None:
                return self.conclude(step, None, refusal)
        value: Any = None
        error: BaseException | None = None
        try:
            value = self.contextvars.copy().run(self._call, step)
        except Exception as raised:  # noqa: BLE001  # a step may raise anything
            error = raised
        except BaseException as raised:
            if not is_cancellation(raised):
                step.slot = None  # the run ends by it, but nobody is left inside the step
                raise
            # Of a loop that the step has run itself: it has failed, as a coroutine would.
            error = cancelled_by_others(step)
            error.__cause__ = raised
        return self._performed(step, value, error)

    def _is_safe(self, recorder: Recorder, step: ActiveStep) -> bool:
        """Wait until all is recorded that a step depends on; if it cannot be, the run is over."""
        try:
            recorder.wait(step)
        except JournalError as error:
            step.slot = None  # nobody is left inside the step
            self.cancel(error)
            return False
        return True

    def recover(self, recovery: Recovery) -> None:
        """Bring the run to where its record says it was."""
        # A run in a thousand needs it.
        from .recovery import recover

        recover(self, recovery)
        self.begin_timers()

    def _call(self, step: ActiveStep) -> Any:
        current_step.set(step)
        if self._task_logger is None:
            return self.call(step)
        with self.identified(step):
            return self.call(step)

    @contextmanager
    def identified(self, step: ActiveStep) -> Iterator[None]:
        """Tell the user's logger which step the lines come from that it is given meanwhile.

        Inside the step's own context variables: a logger may keep it in one.
        """
        logger = self._task_logger
        if logger is None or not is_identified(step.node):
            yield
            return
        spec = step.node.spec
        about = {"step_id": step.step_id, "task_name": spec.description}
        deliver(lambda: logger.set_task_context(**about))
        try:
            yield
        finally:
            deliver(lambda: logger.clear_task_context())  # noqa: PLW0108  # it may lack the method

    def _performed(
        self, step: ActiveStep, value: Any, error: BaseException | None
    ) -> ActiveStep | None:
        if value is not None and value is not step.context and inspect.isawaitable(value):
            # A plain function returned it: the rest of the step is for an event loop.
            slot, on_owner = step.slot, step.on_owner
            with self.lock:
                wanted = step.outcome is None and not step.lingering
                if wanted:
                    if self.coroutines is None:
                        self._await_with(self._loop)
                    assert self.coroutines is not None
                    step.slot, step.on_owner = None, False
                    self.coroutines.launch(step, value)
            if wanted:
                return self.next_step(slot, on_owner)
            close = getattr(value, "close", None)
            if close is not None:  # a coroutine that nobody will await any more
                close()
        return self.conclude(step, value, error)

    def conclude(
        self, step: ActiveStep, value: Any, error: BaseException | None
    ) -> ActiveStep | None:
        """An attempt has come to its end on the current thread; returns the thread's next step."""
        slot, on_owner = step.slot, step.on_owner
        error, retry = self.hand_in(step, value, error)
        following = None
        with self.lock:
            late = self.report(step, error, retry)
            # While others wait for a worker it lets them in, and is called again in its turn.
            yields = late or self._is_wanted_elsewhere(slot)
            if yields:
                self.call_for_help()
            elif not on_owner and self._departs(slot):
                yields = True
            elif not self.chores:
                following = self.take(slot, on_owner)
            pending = self._has_chores()
        if pending:
            takes = following is None and not yields
            self.do_chores(then_takes=takes, delivers=slot is not None)
            if takes and not self.is_done:
                following = self.next_step(slot, on_owner)
        return following

    def perform_here(self, step: ActiveStep) -> Any:
        """Call the step's code in the current thread, which is an executor's."""
        return self.contextvars.copy().run(self._call, step)

    def conclude_call(self, step: ActiveStep, error: BaseException | None) -> None:
        """A call has come to its end in a thread of its executor's, which must not be kept.

        It hands over the calls that follow. What else follows, such as a merge, may be code of
        the user's, and is done in another thread.
        """
        assert self.calls is not None
        error, retry = self.hand_in(step, None, error)
        with self.lock:
            self.report(step, error, retry)
            if not self.chores:
                self.take(None, False)
            sends = self.calls.only_sends()
            if sends:
                self.chores.clear()
        if sends:
            self.calls.send()
        self.do_chores_elsewhere()

    def report_end(self, step: ActiveStep, value: Any, error: BaseException | None) -> None:
        """As `conclude`, for a driver that asks for the next step itself."""
        error, retry = self.hand_in(step, value, error)
        with self.lock:
            self.report(step, error, retry)
        self.do_chores()
