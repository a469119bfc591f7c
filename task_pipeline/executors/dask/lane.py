"""The one thread in which all is done that concerns an executor's calls, in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

_BEAT = 0.2  # seconds between two looks at how things stand
_LINGER = 1.0  # seconds for which the thread waits for more
_logger = logging.getLogger("task_pipeline")


class Lane:
    """Does what it is given, one after another, in a thread that is there when needed.

    What only this thread touches needs no lock. And what a call's end sets off in a run, such
    as a merge, holds up neither Dask's loop nor the thread that hands calls over.

    `look` is called every now and then, and says whether the thread is to stay for more.
    """

    def __init__(self, name: str, look: Callable[[], bool]) -> None:
        self._name = name
        self._look = look
        self._given: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._looked_at = 0.0

    def put(self, work: Callable[..., Any], *given: Any) -> None:
        """Have something done, and return at once. From any thread."""
        with self._condition:
            self._given.append((work, given))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
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

    def _work(self) -> None:
        needed_at = self._looked_at = time.monotonic()
        while True:
            item = self._next()
            if item is not None:
                self._do(*item)
                del item  # it may be a run's whole data
            now = time.monotonic()
            if now - self._looked_at >= _BEAT:
                self._looked_at = now
                if self._do(self._look, ()):
                    needed_at = now
            with self._condition:
                if self._given:
                    needed_at = now
                elif self._is_closing or now - needed_at >= _LINGER:
                    self._thread = None
                    return

    def _do(self, work: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        try:
            return work(*given)
        except Exception:
            # A mistake in here: it must show, and may not keep other calls waiting.
            _logger.exception("%s: %s failed", self._name, work)
            return False

    def _next(self) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
        with self._condition:
            if not self._given and not self._is_closing:
                self._condition.wait(_BEAT)
            return self._given.popleft() if self._given else None
