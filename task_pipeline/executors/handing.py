"""A thread that hands over what has ended, for executors whose own threads must not."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

LINGER = 1.0
"""Seconds for which the thread waits for more."""


class HandingOver:
    """Calls `conclude` with what it is given, in order, in a thread that is there when needed."""

    def __init__(self, conclude: Callable[..., None], name: str) -> None:
        self._conclude = conclude
        self._name = name
        self._given: deque[tuple[Any, ...]] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def give(self, *given: Any) -> None:
        """Have it concluded, and return at once. From any thread."""
        with self._condition:
            self._given.append(given)
            if self._thread is None:
                self._start()
            else:
                self._condition.notify()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while (given := self._next()) is not None:
                self._conclude(*given)
                del given  # it may be a run's whole data
        except BaseException:
            # A mistake in here, which the thread's end shows: it may not keep the others waiting.
            with self._condition:
                self._start()
            raise

    def _next(self) -> tuple[Any, ...] | None:
        with self._condition:
            if not self._given:
                self._condition.wait(LINGER)
            if self._given:
                return self._given.popleft()
            self._thread = None
            return None
