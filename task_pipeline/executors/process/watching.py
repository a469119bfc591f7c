"""The one thread that hears of all workers of an executor: what they send, and that they end."""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from .lines import MOST
from .workers import Worker

PAUSE = 0.1
"""Seconds until one goes on after a mistake."""
logger = logging.getLogger("task_pipeline.process")


class Listener(Protocol):
    """Who is told."""

    def heard(self, worker: Worker, message: memoryview) -> None:
        """A worker has sent a message. It is there until this returns."""

    def ended(self, worker: Worker) -> None:
        """A worker's process is over, and all that it has sent was heard."""

    def heard_all(self) -> None:
        """There is no more to hear just now."""

    def look_around(self) -> float | None:
        """Do what is due; returns the seconds until the next time something is."""

    def may_leave(self) -> bool:
        """Whether there is nothing to watch any more, and will not be without another watch."""


class Watch:
    """A thread that waits for all of them at once."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._buffer = memoryview(bytearray(MOST))
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._selector.register(self._read, selectors.EVENT_READ, self._be_woken)
        # Also taken by what happens when garbage is collected, in whatever this thread does.
        self._waking = threading.RLock()
        self._is_open = True
        self.thread = threading.Thread(
            target=self._work, name="task_pipeline-processes", daemon=True
        )

    def wake(self) -> None:
        """Have it look around. From any thread, at any moment."""
        if threading.current_thread() is self.thread:
            return
        with self._waking:
            if self._is_open:
                try:
                    os.write(self._write, b"\0")
                except BlockingIOError:  # it was told often enough
                    return

    def add(self, worker: Worker) -> None:
        """Watch a worker. In its own thread."""
        launched = worker.launched
        self._selector.register(launched.near, selectors.EVENT_READ, partial(self._hear, worker))
        self._selector.register(launched.sentinel, selectors.EVENT_READ, partial(self._end, worker))

    def forget(self) -> None:  # pragma: no cover  # in forks of the process
        """In a fork of this process: there is no such thread. A lock may stay taken for ever."""
        if self._is_open:  # else the numbers are those of other files by now
            self._is_open = False
            self._let_go()

    def _work(self) -> None:
        try:
            while True:
                seconds = self._guarded(self._listener.look_around)
                if self._listener.may_leave():
                    return
                for key, _ in self._selector.select(seconds):
                    self._guarded(key.data)
                self._guarded(self._listener.heard_all)
        finally:
            self.close()

    def _guarded(self, do: Callable[[], float | None]) -> float | None:
        try:
            return do()
        except Exception:  # one call's mistake must not leave all others without an answer
            logger.exception("a call could not be dealt with")
            return PAUSE

    def _be_woken(self) -> None:
        os.read(self._read, 4096)

    def _hear(self, worker: Worker) -> None:
        count = worker.read_into(self._buffer)
        if count:
            self._listener.heard(worker, self._buffer[:count])

    def _end(self, worker: Worker) -> None:
        self._selector.unregister(worker.launched.near)
        self._selector.unregister(worker.launched.sentinel)
        while count := worker.read_into(self._buffer):
            self._guarded(partial(self._listener.heard, worker, self._buffer[:count]))
        self._listener.ended(worker)

    def close(self) -> None:
        """There is nothing more to watch, or no thread to do it."""
        with self._waking:
            self._is_open = False
            self._let_go()

    def _let_go(self) -> None:
        self._selector.close()
        os.close(self._read)
        os.close(self._write)
