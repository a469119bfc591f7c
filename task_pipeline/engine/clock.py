"""What time it is, and who rings when it is time: one daemon thread for all runs."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

logger = logging.getLogger("task_pipeline.clock")


class TimerHandle(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Not to go off; does nothing if it did."""


class Clock(Protocol):
    """Where a run takes the time from. `ManualClock` in `task_pipeline.testing` is another."""

    def monotonic(self) -> float:
        """Seconds, from any fixed point."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Have `callback` called, from any thread, once `seconds` have passed."""


class _Timer:
    __slots__ = ("_clock", "callback")

    def __init__(self, clock: SystemClock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        # Dropped here, not when it would have been due: it may hold a whole run alive.
        self.callback = None
        self._clock.forget_one()


class SystemClock:
    """`time.monotonic`, and a thread that sleeps until the next timer is due."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._reset()

    def _reset(self) -> None:
        """As after a fork: the timers are the parent's business, its thread is not here."""
        self._heap: list[tuple[float, int, _Timer]] = []
        self._cancelled = 0
        # Raw locks: a KeyboardInterrupt cannot leave one locked, as it can a Condition,
        # whose __enter__ is Python code.
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._sleeps = False
        self._running = False

    def monotonic(self) -> float:
        """Seconds, from any fixed point."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Have `callback` called in the clock's thread; it must not block."""
        timer = _Timer(self, callback)
        entry = (time.monotonic() + seconds, next(self._order), timer)
        with self._lock:
            heapq.heappush(self._heap, entry)
            if not self._running:
                self._running = True
                threading.Thread(target=self._ring, name="task_pipeline-clock", daemon=True).start()
            elif self._sleeps and self._heap[0] is entry:
                self._sleeps = False
                self._gate.release()
        return timer

    def forget_one(self) -> None:
        """A timer was cancelled: clear out when more than half of them are."""
        with self._lock:
            self._cancelled += 1
            if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].callback is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def _ring(self) -> None:
        while True:
            callback = self._next_due()
            if callback is None:
                continue
            try:
                callback()
            except Exception:  # one run's mistake must not stop the time for the others
                logger.exception("a timer's callback raised")
            del callback

    def _next_due(self) -> Callable[[], None] | None:
        """Sleep until something is due, or until something is due earlier than that."""
        with self._lock:
            wait = self._heap[0][0] - time.monotonic() if self._heap else threading.TIMEOUT_MAX
            if wait <= 0:
                timer = heapq.heappop(self._heap)[2]
                callback, timer.callback = timer.callback, None
                return callback
            self._sleeps = True
        if not self._gate.acquire(timeout=min(wait, threading.TIMEOUT_MAX)):
            with self._lock:
                if not self._sleeps:  # called at the very moment of waking up
                    self._gate.acquire()
                self._sleeps = False
        return None


SYSTEM_CLOCK = SystemClock()
current_clock: ContextVar[Clock] = ContextVar("task_pipeline_clock", default=SYSTEM_CLOCK)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SYSTEM_CLOCK._reset)
