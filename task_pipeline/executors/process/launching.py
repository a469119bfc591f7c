"""Starting a worker, with pebble, which also waits for its end."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from socket import socket
from typing import Any

from ...errors import MissingExtraError
from . import boot
from .forking import Context, Process
from .lines import pair
from .parcels import Setup

_numbers = itertools.count(1)
PATIENCE = 1.0
"""Seconds for which pebble is given the time to see that a process has ended."""


@cache
def pebbles_process() -> Any:
    """Pebble's decorator that gives a function a process of its own.

    Raises `MissingExtraError` if pebble is not installed.
    """
    try:
        from pebble import concurrent
    except ModuleNotFoundError as error:
        if error.name != "pebble":
            raise  # it is there, and something else is not
        raise MissingExtraError('executor="process"', "process", "pebble") from error
    return concurrent.process


@dataclass(slots=True)
class Launched:
    """A process that was started.

    - `near`: the executor's end of its line; `far`: its own, to take back what it has not read
    - `end`: pebble's word that it is over
    """

    name: str
    process: Process
    pid: int
    near: socket
    far: socket
    end: Future[None]
    thread: threading.Thread | None

    @property
    def sentinel(self) -> int:
        """A descriptor that can be read once it has ended.

        It tells so even while a grandchild holds pebble's pipe open, which then waits on.
        """
        return self.process.sentinel

    def close(self) -> int | None:
        """It has ended: let go of its line. Its exit code."""
        self.near.close()
        self.far.close()
        return self.process.exitcode

    def is_over(self) -> bool:
        """Whether pebble's thread has ended too."""
        return self.thread is None or not self.thread.is_alive()

    def hurry(self) -> None:
        """Have pebble wait no more: a grandchild in a session of its own holds its pipe."""
        self.end.cancel()

    def join(self) -> None:
        """Wait for pebble's thread, and let go of all."""
        if self.thread is not None:
            self.thread.join(PATIENCE)
            if self.thread.is_alive():
                self.hurry()
                self.thread.join()
        self.process.close()

    def forget(self) -> None:  # pragma: no cover  # in forks of the process
        """In a fork of this process: it is its parent's."""
        self.near.close()
        self.far.close()
        for descriptor in self.process.fds:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def launch(setup: Setup) -> Launched:
    """Start a process; it goes on to say that it is ready. Takes a few milliseconds.

    Raises whatever keeps it from being started.
    """
    name = f"task_pipeline-worker-{next(_numbers)}"
    context = Context()
    near, far = pair()
    try:
        begin = pebbles_process()(name=name, daemon=False, context=context)(boot.run)
        end = begin(far, setup)
        made = context.made
        if made is None or made.pid is None:
            raise RuntimeError("pebble has started no process")
        thread = next((each for each in threading.enumerate() if each.name == name), None)
        return Launched(name, made, made.pid, near, far, end, thread)
    except BaseException:
        near.close()
        far.close()
        if context.made is not None and context.made.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # pebble found no thread to wait in
                os.kill(context.made.pid, signal.SIGKILL)
        raise
