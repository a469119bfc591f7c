"""The one thread in which all is done that concerns an executor's calls, in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

_LINGER = 1.0  # seconds for which the thread waits for more
_logger = logging.getLogger("task_pipeline")


class Lane:
    """Does what it is given, one after another, in a thread that is there when needed.

    What only this thread touches needs no lock. And what a call's end sets off in a run, such
    as a merge, holds up neither Dask's loop nor the thread that hands calls over.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._given: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def put(self, work: Callable[..., None], *given: Any) -> None:
        """Have something done, and return at once. From any thread."""
        with self._condition:
            self._given.append((work, given))
            if self._thread is None:
                self._start()
            else:
                self._condition.notify_all()

    def close(self) -> None:
        """Wait until all is done that was given, and for the end of the thread."""
        with self._condition:
            thread = self._thread
            self._is_closing = True
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._condition:
            self._is_closing = False

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (item := self._next()) is not None:
            work, given = item
            try:
                work(*given)
            except Exception:
                # A mistake in here: it must show, and may not keep other calls waiting.
                _logger.exception("%s: %s failed", self._name, work.__name__)
            del item, work, given  # it may be a run's whole data

    def _next(self) -> tuple[Callable[..., None], tuple[Any, ...]] | None:
        with self._condition:
            if not self._given and not self._is_closing:
                self._condition.wait(_LINGER)
            if self._given:
                return self._given.popleft()
            self._thread = None
            return None
