"""What observers are told: events at once, progress callbacks and log lines outside the lock.

A note is written under the run's lock, where it has its place in the order, and
delivered afterwards by whichever thread comes along, one at a time. An observer
that raises is logged; it cannot change a run. Events go to the run's feed, which
keeps the run from nobody's code either.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from .feed import Feed

logger = logging.getLogger("task_pipeline.run")

Note = Callable[[], object]


class Notes:
    """The notes of one run. All methods but `deliver` are called under the run's lock."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._waiting: deque[Note] = deque()
        self.delivering = False
        self.logs_info = logger.isEnabledFor(logging.INFO)
        self.logs_debug = logger.isEnabledFor(logging.DEBUG)
        # Whether a step's start and end are of interest to anybody.
        self.of_steps = feed.active or self.logs_debug

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, note: Note) -> None:
        """Have something called, in its turn."""
        self._waiting.append(note)

    def log(self, level: int, text: str, *args: object) -> None:
        """Have a line logged."""
        if logger.isEnabledFor(level):
            self._waiting.append(lambda: logger.log(level, text, *args))

    def take(self) -> Note | None:
        """The next note to deliver; None if there is none."""
        return self._waiting.popleft() if self._waiting else None


def deliver(note: Note) -> None:
    """Deliver one note; called without the lock."""
    try:
        note()
    except KeyboardInterrupt:
        raise
    except BaseException:  # an observer must not be able to change a run
        logger.exception("an observer raised; the run goes on")
