"""Event loops in threads of their own, for coroutine steps of runs that have no loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from .clock import SYSTEM_CLOCK

# How long, in seconds, a loop may take to hear of a cancellation before it is replaced.
PATIENCE = 0.05

_loops: list[asyncio.AbstractEventLoop] = []
_awaited: dict[asyncio.AbstractEventLoop, set[Callable[[], None]]] = {}
_lock = threading.Lock()


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the current thread is the one that a loop runs in."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def background_loop(level: int) -> asyncio.AbstractEventLoop:
    """The event loop for runs nested `level` deep, in a daemon thread.

    A coroutine step may block its loop in a run of its own; that one's coroutines
    are therefore on the next loop.
    """
    with _lock:
        while len(_loops) <= level:
            _loops.append(_new_loop(len(_loops)))
        return _loops[level]


def awaiting(loop: asyncio.AbstractEventLoop, call_again: Callable[[], None]) -> None:
    """A run has called this loop; if it is replaced before it comes, `call_again` is called."""
    with _lock:
        _awaited.setdefault(loop, set()).add(call_again)


def has_come(loop: asyncio.AbstractEventLoop, call_again: Callable[[], None]) -> None:
    """The loop has answered the run's call."""
    with _lock:
        waiting = _awaited.get(loop)
        if waiting is not None:
            waiting.discard(call_again)
            if not waiting:
                del _awaited[loop]


def _new_loop(level: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    name = f"task_pipeline-loop-{level}"
    threading.Thread(target=_serve, args=(loop,), name=name, daemon=True).start()
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def stand_in_if_stuck(loop: asyncio.AbstractEventLoop) -> None:
    """Replace a loop that does not answer: a step that was left blocks it.

    What is on it goes on if the step ever lets it; then the loop ends.
    """
    heard = threading.Event()
    loop.call_soon_threadsafe(heard.set)

    def look() -> None:
        if heard.is_set():
            return
        with _lock:
            if loop not in _loops:
                return
            level = _loops.index(loop)
            _loops[level] = _new_loop(level)
            waiting = _awaited.pop(loop, set())
        loop.call_soon_threadsafe(_end_when_idle, loop)
        for call_again in waiting:
            call_again()

    SYSTEM_CLOCK.call_later(PATIENCE, look)


def _end_when_idle(loop: asyncio.AbstractEventLoop) -> None:
    if asyncio.all_tasks(loop):
        loop.call_later(PATIENCE, _end_when_idle, loop)
    else:
        loop.stop()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _loops.clear()
    _awaited.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
