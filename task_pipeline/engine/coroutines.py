"""Coroutine steps: on the caller's event loop, or on one that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import JournalError
from .loops import awaiting, background_loop, has_come, is_running_here, stand_in_if_stuck
from .slots import Slot
from .step import ActiveStep, cancelled_by_others, current_step

if TYPE_CHECKING:
    from .recorder import Recorder


class Host(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    chores: deque[Callable[[], None]]
    recorder: Recorder | None
    contextvars: contextvars.Context
    loop_level: int

    def prepare(self, step: ActiveStep, slot: Slot | None, on_owner: bool) -> None:
        """Make an attempt ready to run. Under the lock."""

    def admit(self, step: ActiveStep) -> BaseException | None:
        """Ask the step's circuit breaker, if it has one; returns why it must not begin."""

    def call(self, step: ActiveStep) -> Any:
        """Call the step's code."""

    def conclude(self, step: ActiveStep, value: Any, error: BaseException | None) -> Any:
        """An attempt has come to its end."""

    def identified(self, step: ActiveStep) -> AbstractContextManager[None]:
        """Tell the user's logger which step the lines come from that it is given meanwhile."""

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is not a step's."""

    def cancel(self, error: BaseException | None = None) -> None:
        """End the run now."""


class Coroutines:
    """The coroutine steps of one run."""

    def __init__(self, run: Host, loop: asyncio.AbstractEventLoop | None) -> None:
        self._run: Host = run
        self._callers_loop = loop
        self._waiting: deque[tuple[ActiveStep, Any]] = deque()
        self._called: asyncio.AbstractEventLoop | None = None  # the loop that is to come
        self._tasks: set[asyncio.Task[None]] = set()

    def launch(self, step: ActiveStep, awaitable: Any = None) -> None:
        """Have a step run on the loop; its start, or the rest of it. Under the run's lock."""
        self._waiting.append((step, awaitable))
        loop = self._callers_loop or background_loop(self._run.loop_level)
        if self._called is not loop:  # else it has been called, and has not come yet
            self._called = loop
            if loop is not self._callers_loop:
                awaiting(loop, self._call_again)
            elif is_running_here(loop):  # as soon as the lock is free, without a turn of the loop
                self._run.chores.append(functools.partial(self._start, loop))
                return
            self._call(loop, self._start, loop)

    def _call_again(self) -> None:
        """The loop that was called has been replaced."""
        with self._run.lock:
            loop = self._called = background_loop(self._run.loop_level)
            awaiting(loop, self._call_again)
            self._call(loop, self._start, loop)

    def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel a step's coroutine, from any thread; stand in for a loop that it blocks."""
        loop = task.get_loop()
        self._call(loop, task.cancel)
        if loop is not self._callers_loop:
            stand_in_if_stuck(loop)

    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that have not ended."""
        return set(self._tasks)

    @property
    def is_empty(self) -> bool:
        """Whether all have ended."""
        return not self._tasks

    def _call(self, loop: asyncio.AbstractEventLoop, call: Any, *args: Any) -> None:
        try:
            if is_running_here(loop):  # it need not be woken up
                loop.call_soon(call, *args)
            else:
                loop.call_soon_threadsafe(call, *args)
        except RuntimeError as error:  # the caller's loop was closed with the run still on it
            self._waiting.clear()
            # Not here, under the run's lock and perhaps in the middle of its commands.
            threading.Thread(target=self._run.abort, args=(error,), daemon=True).start()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what waits. On the loop."""
        while True:
            with self._run.lock:
                if not self._waiting:
                    if self._called is loop:
                        self._called = None
                        has_come(loop, self._call_again)
                    return
                step, awaitable = self._waiting.popleft()
                if step.outcome is not None:  # left before it began
                    _close(awaitable)
                    continue
                if awaitable is None:
                    self._run.prepare(step, None, False)
            # Outside the lock: a loop with eager tasks runs the step's code right here.
            self.begin(loop, step, awaitable)

    def begin(self, loop: asyncio.AbstractEventLoop, step: ActiveStep, awaitable: Any) -> None:
        """Start a step that has been prepared, or the rest of one. On the loop."""
        context = self._run.contextvars.copy()
        begun: list[bool] = []
        task = loop.create_task(self._drive(step, awaitable, begun), context=context)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._done, step, awaitable, begun))
        with self._run.lock:
            # One that is left by now finds out when it begins; it must begin, to be closed.
            if step.outcome is None and not step.cancelled and not task.done():
                step.task = task

    def _done(
        self, step: ActiveStep, awaitable: Any, begun: list[bool], task: asyncio.Task[None]
    ) -> None:
        self._tasks.discard(task)
        if not begun:  # cancelled before its first line
            _close(awaitable)
            self._run.conclude(step, None, cancelled_by_others(step))

    async def _drive(self, step: ActiveStep, awaitable: Any, begun: list[bool]) -> None:
        begun.append(True)
        current_step.set(step)
        value: Any = None
        error: BaseException | None = step.error if step.context is None else None
        if step.cancelled:
            _close(awaitable)
            error = error or cancelled_by_others(step)
        try:
            recorder = self._run.recorder
            if recorder is not None and error is None and awaitable is None:
                await self._until_safe(recorder, step)
            if error is None and awaitable is None:
                error = self._run.admit(step)
            if error is None:
                with self._run.identified(step):
                    value = await (self._run.call(step) if awaitable is None else awaitable)
        except asyncio.CancelledError as raised:
            # Its own doing, or the loop's, unless the run has left it: then this is dropped.
            error = cancelled_by_others(step)
            error.__cause__ = raised
        except Exception as raised:  # noqa: BLE001  # a step may raise anything
            error = raised
        except BaseException as raised:  # noqa: BLE001  # such as SystemExit: the caller gets it
            self._run.abort(raised)
        self._run.conclude(step, value, error)

    async def _until_safe(self, recorder: Recorder, step: ActiveStep) -> None:
        """Wait until all is recorded that a step depends on; if it cannot be, the run is over."""
        loop = asyncio.get_running_loop()
        safe: asyncio.Future[JournalError | None] = loop.create_future()

        def tell(error: JournalError | None) -> None:
            if not safe.done():
                safe.set_result(error)

        def tell_loop(error: JournalError | None) -> None:
            try:
                loop.call_soon_threadsafe(tell, error)
            except RuntimeError:  # the loop was closed on the run: nobody waits any more
                return

        if recorder.when_safe(step, tell_loop):
            return
        error = await safe
        if error is not None:
            self._run.cancel(error)
            raise error


def _close(awaitable: Any) -> None:
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
