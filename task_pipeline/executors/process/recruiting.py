"""Finding workers: how many there are to be, and what to do when they cannot be started."""

from __future__ import annotations

import os
import threading
from typing import Protocol

from .forking import SERVER
from .launching import launch
from .parcels import Setup
from .workers import Worker

ATTEMPTS = 3
"""After so many that could not start in a row, it is given up, for now."""
PAUSE = 1.0
"""Seconds until more are tried where some have started before."""


class Employer(Protocol):
    """Who needs workers."""

    lock: threading.Lock

    def setup_for(self, slot: int, stem: str) -> Setup:
        """What a worker is told."""

    def joined(self, worker: Worker) -> None:
        """A process was started. In a thread of its own."""

    def could_not_start(self, slot: int, reason: str) -> None:
        """One could not be. In a thread of its own."""

    def has_workers(self) -> bool:
        """Whether some work already. Under the lock."""

    def gave_up(self, reason: str) -> None:
        """None can be started. In the thread that watches."""


class Recruiting:
    """The workers that are being started. Its attributes are of the employer's lock."""

    def __init__(self, employer: Employer, most: int) -> None:
        self._employer = employer
        self._most = most
        self._slots = list(range(most))
        self._to_start = 0
        self._thread: threading.Thread | None = None
        self._uses_server = False
        self._failures = 0
        self._numbers = 0
        self.launching = 0
        self.not_before = 0.0
        self.is_closed = False

    @property
    def has_places(self) -> bool:
        """Whether there may be more workers than there are. Under the lock."""
        return len(self._slots) > self._to_start

    def ask_for(self, count: int, now: float) -> None:
        """Start so many workers more, if there may be so many. Under the lock.

        Raises `RuntimeError` if there can be no thread to do that.
        """
        count = min(count, len(self._slots) - self._to_start)
        if count <= 0 or self.is_closed or now < self.not_before:
            return
        if not self._uses_server:
            self._uses_server = True
            SERVER.enter()
        if self._thread is None:
            thread = threading.Thread(
                target=self._start_all, name="task_pipeline-starting", daemon=True
            )
            thread.start()  # its first step waits for the lock
            self._thread = thread
        self._to_start += count
        self.launching += count

    def is_ready(self) -> None:
        """One has said that it works. Under the lock."""
        self._failures = 0

    def left(self, slot: int) -> None:
        """A place is free. Under the lock."""
        self._slots.append(slot)

    def close(self) -> None:
        """Start no more. Under the lock."""
        self.is_closed = True
        self.launching -= self._to_start
        self._to_start = 0

    def release(self) -> None:
        """There are none, and will be none."""
        if self._uses_server:
            self._uses_server = False
            SERVER.leave()

    def failed(self, reason: str, now: float) -> None:
        """One could not be started, or ended before it could work. In the thread that watches."""
        employer = self._employer
        with employer.lock:
            self._failures += 1
            gives_up = self._failures >= ATTEMPTS
            if gives_up:
                self._failures = 0
                if employer.has_workers():
                    self.not_before = now + PAUSE
                    gives_up = False
        if gives_up:
            employer.gave_up(reason)

    def _start_all(self) -> None:
        while True:
            with self._employer.lock:
                if not self._to_start:
                    self._thread = None
                    return
                self._to_start -= 1
                slot = self._slots.pop()
                self._numbers += 1
                stem = f"{os.getpid()}-{self._numbers}-"
            self._start(slot, stem)

    def _start(self, slot: int, stem: str) -> None:
        try:
            worker = Worker(slot, stem, launch(self._employer.setup_for(slot, stem)))
        except Exception as error:  # noqa: BLE001  # of the system's, multiprocessing's, pebble's
            self._employer.could_not_start(slot, f"{type(error).__name__}: {error}")
        else:
            self._employer.joined(worker)
