"""A clock that stands still until it is told to move."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..engine.clock import current_clock


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Timeouts, retry waits and launch delays go by this clock's time: no test waits for them.

    Runs that start inside `with clock.installed():` take their time from it.

    ```python
    from task_pipeline import GroupTimeoutError, Parallel, ParallelConfig, Pipeline
    from task_pipeline.testing import Gate, ManualClock

    gate, clock = Gate(), ManualClock()
    slow = Parallel([lambda context: gate.wait()], config=ParallelConfig(timeout=3600))
    with clock.installed():
        run = Pipeline([slow]).start()
    gate.wait_until_reached()
    clock.advance(3600)
    try:
        run.result()
    except GroupTimeoutError:
        print("an hour has passed")
    gate.open()
    ```
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """The clock's time in seconds."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        """Have `callback` called by the `advance()` that reaches its time."""
        timer = _Timer(callback)
        with self._lock:
            heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move on, calling what comes due on the way, in order, in this thread.

        Raises `ValueError` for a negative time.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds!r}")
        until = self._now + seconds
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > until:
                    # Never back: what was called may have moved it on, in another thread too.
                    self._now = max(self._now, until)
                    return
                due, _, timer = heapq.heappop(self._timers)
                self._now = max(self._now, due)
                callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

    def next_timer(self) -> float | None:
        """Seconds until the next timer is due; None if there is none."""
        with self._lock:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            return max(0.0, self._timers[0][0] - self._now) if self._timers else None

    @contextmanager
    def installed(self) -> Iterator[ManualClock]:
        """Make it the clock of all runs that start in this block."""
        token = current_clock.set(self)
        try:
            yield self
        finally:
            current_clock.reset(token)
