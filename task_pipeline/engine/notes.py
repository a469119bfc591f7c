"""What observers are told: events, progress callbacks and log lines, in order, outside the lock.

A note is written under the run's lock, where it has its place in the order, and
delivered afterwards by whichever thread comes along, one at a time. An observer
that raises is logged; it cannot change a run.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..events import Event
from ..plan import Node

logger = logging.getLogger("task_pipeline.run")

Subscriber = Callable[[Event], object]
Note = Callable[[], object]


class Notes:
    """The notes of one run. All methods but `deliver` are called under the run's lock."""

    def __init__(self, run_id: str, subscribers: Sequence[Subscriber]) -> None:
        self._run_id = run_id
        self._subscribers = tuple(subscribers)
        self._seq = 0
        self._waiting: deque[Note] = deque()
        self.delivering = False
        self.has_subscribers = bool(self._subscribers)
        self.logs_info = logger.isEnabledFor(logging.INFO)
        self.logs_debug = logger.isEnabledFor(logging.DEBUG)
        # Whether a step's start and end are of interest to anybody.
        self.of_steps = self.has_subscribers or self.logs_debug

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, note: Note) -> None:
        """Have something called, in its turn."""
        self._waiting.append(note)

    def event(self, kind: type[Event], node: Node, now: float, **facts: Any) -> None:
        """Have subscribers told of a fact."""
        if not self.has_subscribers:
            return
        event = kind(
            run_id=self._run_id,
            seq=self._seq,
            monotonic=now,
            path=node.path,
            name=node.name,
            **facts,
        )
        self._seq += 1
        for subscriber in self._subscribers:
            self._waiting.append(functools.partial(subscriber, event))

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
