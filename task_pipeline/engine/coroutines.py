"""Coroutine steps: on the caller's event loop, or on one that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from typing import Any, Protocol

from ..errors import StepCancelledError
from .slots import Slot
from .step import ActiveStep, current_step

_loops: list[asyncio.AbstractEventLoop] = []
_loops_lock = threading.Lock()


def background_loop(level: int) -> asyncio.AbstractEventLoop:
    """The event loop for runs nested `level` deep, in a daemon thread.

    A coroutine step may block its loop in a run of its own; that one's coroutines
    are therefore on the next loop.
    """
    with _loops_lock:
        while len(_loops) <= level:
            loop = asyncio.new_event_loop()
            name = f"task_pipeline-loop-{len(_loops)}"
            threading.Thread(target=loop.run_forever, name=name, daemon=True).start()
            _loops.append(loop)
        return _loops[level]


def _after_fork_in_child() -> None:
    global _loops_lock
    _loops_lock = threading.Lock()
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Host(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    contextvars: contextvars.Context
    loop_level: int

    def prepare(self, step: ActiveStep, slot: Slot | None, on_owner: bool) -> None:
        """Make an attempt ready to run. Under the lock."""

    def conclude(self, step: ActiveStep, value: Any, error: BaseException | None) -> Any:
        """An attempt has come to its end."""

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is not a step's."""


class Coroutines:
    """The coroutine steps of one run."""

    def __init__(self, run: Host, loop: asyncio.AbstractEventLoop | None) -> None:
        self._run = run
        self._loop = background_loop(run.loop_level) if loop is None else loop
        self._waiting: deque[tuple[ActiveStep, Any]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def launch(self, step: ActiveStep, awaitable: Any = None) -> None:
        """Have a step run on the loop; its start, or the rest of it. Under the run's lock."""
        self._waiting.append((step, awaitable))
        if len(self._waiting) == 1:  # else the loop has been called, and has not come yet
            self._soon(self._start)

    def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel a step's coroutine, from any thread."""
        self._soon(task.cancel)

    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that have not ended."""
        return set(self._tasks)

    def _soon(self, call: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the caller's loop was closed with the run still on it
            self._waiting.clear()

    def _start(self) -> None:
        """Start what waits. On the loop."""
        while True:
            with self._run.lock:
                if not self._waiting:
                    return
                step, awaitable = self._waiting.popleft()
                if step.outcome is not None:  # left before it began
                    if asyncio.iscoroutine(awaitable):
                        awaitable.close()
                    continue
                if awaitable is None:
                    self._run.prepare(step, None, False)
            # Outside the lock: a loop with eager tasks runs the step's code right here.
            context = self._run.contextvars.copy()
            task = self._loop.create_task(self._drive(step, awaitable), context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            with self._run.lock:
                if step.outcome is None and not task.done():
                    step.task = task
                elif not task.done():
                    task.cancel()

    async def _drive(self, step: ActiveStep, awaitable: Any) -> None:
        current_step.set(step)
        value: Any = None
        error: BaseException | None = step.error if step.context is None else None
        try:
            if error is None:
                value = await (
                    step.node.spec.call(step.context) if awaitable is None else awaitable
                )
        except asyncio.CancelledError as raised:
            # Its own doing, or the loop's, unless the run has left it: then this is dropped.
            error = StepCancelledError(
                f"step {step.node.label} was cancelled by something other than its run",
                step_id=step.step_id,
                path=step.node.path,
                attempt=step.attempt,
            )
            error.__cause__ = raised
        except Exception as raised:  # noqa: BLE001  # a step may raise anything
            error = raised
        except BaseException as raised:  # noqa: BLE001  # such as SystemExit: the run's caller gets it
            self._run.abort(raised)
        self._run.conclude(step, value, error)
