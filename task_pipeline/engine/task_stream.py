"""Results of a dynamic group as they come: for a thread that waits, and for an event loop."""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..outcome import ExecutionResult
from .run import raise_error, run_in_background
from .slots import current_slot, step_aside, step_back
from .tasks import TaskRun

Result = ExecutionResult[Any]


class _Inbox:
    """The numbers of tasks that have ended, in that order. The run's lock is its own."""

    def __init__(self, run: TaskRun) -> None:
        self.run = run
        self._ended: deque[int] = deque()
        self._gates: deque[Any] = deque()  # of all who wait
        self._hears_of_end = False
        run.on_result = self._put

    def _put(self, leaf: int) -> None:
        self._ended.append(leaf)
        self._wake()

    def _look(self, make_gate: Callable[[], Any]) -> tuple[int | None, Any]:
        """The next one, or a gate to wait at; neither once all have been had."""
        with self.run.lock:
            if self._ended:
                return self._ended.popleft(), None
            if self.run.is_done:
                return None, None
            gate = make_gate()
            self._gates.append(gate)
            if not self._hears_of_end:
                self._hears_of_end = True
                self.run.on_done.append(self._wake_all)
            return None, gate

    def _leave(self, gate: Any) -> None:
        """Somebody waits no more; if it was called at that moment, another is called instead."""
        with self.run.lock:
            if gate in self._gates:
                self._gates.remove(gate)
            else:
                self._wake()

    def _wake(self) -> None:
        """One of those who wait is to look. Under the run's lock."""
        if self._gates:
            self._open(self._gates.popleft())

    def _wake_all(self) -> None:
        with self.run.lock:
            while self._gates:
                self._wake()

    def _open(self, gate: Any) -> None:
        raise NotImplementedError


class ThreadInbox(_Inbox):
    """For threads."""

    def _open(self, gate: Any) -> None:
        gate.release()

    def get(self) -> int | None:
        """The next one; None once all have been had, and the run is over."""
        while True:
            leaf, gate = self._look(_closed_lock)
            if gate is None:
                return leaf
            slot, around = current_slot(), self.run.scheduler.places.around
            if around is not None:
                around.waits(1)
            if slot is not None:  # waiting inside a step: somebody has to stand in for it
                slot.pool.block(slot)
            try:
                gate.acquire()
            except BaseException:  # Ctrl-C
                self._leave(gate)
                raise
            finally:
                if slot is not None:
                    slot.pool.unblock(slot)
                if around is not None:
                    around.waits(-1)


class LoopInbox(_Inbox):
    """For coroutines on an event loop."""

    def __init__(self, run: TaskRun, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(run)
        self._loop = loop

    def _open(self, gate: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, gate)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    async def get(self) -> int | None:
        """The next one; None once all have been had, and the run is over."""
        while True:
            leaf, gate = self._look(self._loop.create_future)
            if gate is None:
                return leaf
            slot, around = step_aside(), self.run.scheduler.places.around
            if around is not None:
                around.waits(1)
            try:
                await gate
            except BaseException:  # cancelled
                self._leave(gate)
                raise
            finally:
                step_back(slot)
                if around is not None:
                    around.waits(-1)


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _settle(gate: asyncio.Future[None]) -> None:
    if not gate.done():
        gate.set_result(None)


def raise_from_iterator(run: TaskRun) -> None:
    """Raise what a run has raised, in a `__next__`."""
    raise_in_iterator(run.error)
    raise_error(run)


def raise_in_iterator(error: BaseException | None) -> None:
    """A task's own StopIteration must not pass for the end of the results, as in a generator."""
    if isinstance(error, StopIteration | StopAsyncIteration):
        text = f"a task raised {type(error).__name__}"
        raise RuntimeError(text) from error  # noqa: TRY004  # as Python does it


def close_elsewhere(run: TaskRun | None, close: Callable[[], object]) -> None:
    """Cancel what nobody will ask for any more, from a `__del__`.

    The garbage collector may call that in the middle of anything, also while its thread
    holds the very locks that cancelling takes: so in a thread that holds none. Not by
    `threading`, which has locks of its own.
    """
    if run is not None and not run.is_over and not sys.is_finalizing():
        _thread.start_new_thread(close, ())


class _Stream:
    """What both kinds of streams have in common: dropped before the end, they cancel the rest."""

    def __init__(self, run: TaskRun) -> None:
        self._run = run
        run_in_background(run)

    @property
    def _has_failed(self) -> bool:
        """Whether the run has ended by an error: what ended since is of no interest."""
        return self._run.error is not None and self._run.is_over

    def close(self) -> None:
        """Cancel what has not ended."""
        if not self._run.is_over:
            self._run.cancel()

    def __del__(self) -> None:
        close_elsewhere(self._run, self.close)


class ResultStream(_Stream):
    """Iterates over results as tasks end."""

    def __init__(self, run: TaskRun) -> None:
        self._inbox = ThreadInbox(run)
        super().__init__(run)

    def __iter__(self) -> ResultStream:
        return self

    def __next__(self) -> Result:
        leaf = self._inbox.get()
        if leaf is not None and not self._has_failed:
            return self._run.result_of(leaf)
        raise_from_iterator(self._run)
        raise StopIteration


class AsyncResultStream(_Stream):
    """The same on an event loop."""

    def __init__(self, run: TaskRun, loop: asyncio.AbstractEventLoop) -> None:
        self._inbox = LoopInbox(run, loop)
        super().__init__(run)

    def __aiter__(self) -> AsyncResultStream:
        return self

    async def __anext__(self) -> Result:
        try:
            leaf = await self._inbox.get()
        except asyncio.CancelledError:
            self.close()
            raise
        if leaf is not None and not self._has_failed:
            return self._run.result_of(leaf)
        raise_from_iterator(self._run)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel what has not ended."""
        self.close()
