"""What is due at some time: killing what was to stop, ending who has long had nothing to do.

Everything here is done under the crew's lock, if it does not say otherwise.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from .launching import PATIENCE, Launched
from .lines import To
from .parcels import message
from .roster import Roster
from .settings import Settings
from .workers import Job, State, Worker

END = message(To.END)
LAST_WORDS = 2.0
"""Seconds that a worker is given to end by itself."""


class Upkeep:
    """The times of one crew. `wake` has the thread that watches look at them again."""

    def __init__(self, settings: Settings, roster: Roster, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._roster = roster
        self._wake = wake
        self._alarm = math.inf  # the next time to look; something is due then, or has been
        self._buried: list[tuple[Launched, float]] = []
        self.is_closing = False

    def rest(self, worker: Worker) -> None:
        """A worker has nothing to do."""
        now = time.monotonic()
        self._roster.release(worker, now)
        is_to_go = self.is_closing and not self._roster.queue
        if is_to_go or self._roster.is_worn(worker):
            self.retire(worker, now)
        else:
            self._ring_at(now + self._settings.idle)

    def retire(self, worker: Worker, now: float) -> None:
        """Have a worker end that has nothing to do."""
        if self._roster.retire(worker):
            worker.give(END)
            worker.end_by = now + LAST_WORDS
            self._ring_at(worker.end_by)

    def kill_later(self, job: Job) -> None:
        """A call is given the grace period."""
        job.kill_at = time.monotonic() + self._settings.grace
        self._ring_at(job.kill_at)

    def bury(self, launched: Launched) -> None:
        """A process is over; pebble may not have seen that yet."""
        now = time.monotonic()
        self._buried.append((launched, now))
        self._ring_at(now + PATIENCE)

    def buried(self) -> list[Launched]:
        """Those that are over, of which something may be left."""
        return [launched for launched, _ in self._buried]

    def exhume(self) -> list[Launched]:
        """The same, and they are nobody's from now on."""
        buried, self._buried = self.buried(), []
        return buried

    def look(self, lock: threading.Lock) -> float | None:
        """Do what is due, without the lock being held; the seconds until the next time."""
        if time.monotonic() >= self._alarm:
            with lock:
                self._look(time.monotonic())
        alarm = self._alarm  # if it is set to an earlier time just now, there is a wake too
        return None if alarm == math.inf else max(0.0, alarm - time.monotonic())

    def _look(self, now: float) -> None:
        self._alarm = math.inf
        for worker in self._roster.workers:
            self._see_to(worker, now)
        for launched, since in self._buried:
            if now >= since + PATIENCE:
                launched.hurry()
        self._buried = [each for each in self._buried if not each[0].is_over()]
        if self._buried:
            self._alarm = min(self._alarm, now + PATIENCE)

    def _see_to(self, worker: Worker, now: float) -> None:
        times = [worker.end_by]
        times += [job.kill_at for job in (worker.current, worker.waiting) if job is not None]
        due = min((moment for moment in times if moment is not None), default=math.inf)
        if due <= now:
            worker.kill()
            return
        if worker.state is State.IDLE:
            rest = worker.rests_since + self._settings.idle
            if rest <= now:
                self.retire(worker, now)
                return
            due = min(due, rest)
        self._alarm = min(self._alarm, due)

    def _ring_at(self, moment: float) -> None:
        if moment < self._alarm:
            self._alarm = moment
            self._wake()
