"""Commands, run so that nothing of them is left when they are over or have to be."""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

IS_SUPPORTED = os.name == "posix"
"""Whether this system has groups of processes that can be ended together."""

MOST_OUTPUT = 10_000_000
"""The most bytes that a command may write, to its output and to its error output each."""

GRACE = 0.03
"""Seconds between asking a command to stop and killing it: a deadline is late by no more."""

_POLL = 0.01
_CHUNK = 1 << 16
_PATIENCE = 1.0

# The groups that are under way, for the end of the program: nobody looks after them then.
_groups: set[int] = set()
_lock = threading.Lock()


How = Literal["exit", "stopped", "timeout", "stdout", "stderr"]


@dataclass(frozen=True)
class Command:
    """What to run: the program and its arguments, where, and with which environment.

    `timeout` is in seconds. `time_left` is asked all the time for the seconds until it has to
    stop, None if that is not known, and may raise as well.
    """

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    given: bytes | None
    timeout: float | None
    time_left: Callable[[], float | None]


@dataclass(frozen=True)
class Ended:
    """How a command has ended, and what it has written.

    `how` is "exit" if it did so itself, "stopped" if it had to, "timeout", or the name of the
    stream to which it has written more than it may. `status` is negative for a signal.
    """

    how: How
    status: int
    stdout: bytes
    stderr: bytes


class _TooMuchError(Exception):
    def __init__(self, stream: How) -> None:
        super().__init__(stream)
        self.stream = stream


def run_command(command: Command) -> Ended:
    """Run a command to its end, and see that every process of its group ends with it.

    Raises `OSError` if it cannot be started, and `TimeoutError` if it cannot be ended.
    """
    process = subprocess.Popen(
        command.arguments,
        cwd=command.folder,
        env=dict(command.environment),
        bufsize=0,
        stdin=subprocess.DEVNULL if command.given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, without a terminal to ask questions on
    )
    with _lock:
        _groups.add(process.pid)
    written = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        with _Pipes(process, command.given, written) as pipes:
            how = _served(process, command, pipes)
            _kill(process)
            if how == "exit":
                how = pipes.take_the_rest()
    finally:
        _kill(process)
        with _lock:
            _groups.discard(process.pid)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        status = _reap(process)
    _wait_for_the_group(process.pid)
    return Ended(how, status, bytes(written["stdout"]), bytes(written["stderr"]))


def _served(process: subprocess.Popen[bytes], command: Command, pipes: _Pipes) -> How:
    """Serve the pipes of a process until it has ended, or has to; then it is asked to."""
    until = None if command.timeout is None else time.monotonic() + command.timeout
    try:
        while not _has_ended(process):
            others = command.time_left()
            if others is not None and others <= 0:
                _ask(process, pipes)
                return "stopped"
            own = _POLL if until is None else until - time.monotonic()
            if own <= 0:
                _ask(process, pipes)
                return "timeout"
            pipes.serve(min(_POLL, own, _POLL if others is None else others))
    except _TooMuchError as error:
        return error.stream
    return "exit"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has. Its exit status is not taken, so that its number is nobody else's yet."""
    if hasattr(os, "waitid"):
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, how) is not None
    if process.poll() is None:
        return False
    _signal(process.pid, signal.SIGKILL)  # at once, before the number can be another's
    return True


def _ask(process: subprocess.Popen[bytes], pipes: _Pipes) -> None:
    """Ask every process of the group to end, and leave them a moment to do so."""
    _signal(process.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while not _has_ended(process) and (left := until - time.monotonic()) > 0:
        pipes.serve(left)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its number may be another's
        _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # none is left, or none that is ours to end
        pass


def _reap(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"process {process.pid} cannot be ended: it runs as somebody else, or hangs in the "
            "system"
        ) from None


def _wait_for_the_group(group: int) -> None:
    """Until the rest of a group that was killed has ended too, or nearly so.

    What has ended and was left by its parent counts until the system has cleared it away.
    """
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(GRACE / 100)


class _Pipes:
    """The pipes to and from a process: what comes is kept, up to a limit."""

    def __init__(
        self, process: subprocess.Popen[bytes], given: bytes | None, written: dict[str, bytearray]
    ) -> None:
        self._given = memoryview(given or b"")
        self._written = written
        self._selector = selectors.DefaultSelector()
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            self._register(pipe, selectors.EVENT_READ, name)
        self._register(process.stdin, selectors.EVENT_WRITE, "stdin")
        self._pidfd = _pidfd(process.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, "end")

    def _register(self, pipe: IO[bytes] | None, events: int, name: str) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, events, name)

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)

    def serve(self, seconds: float) -> None:
        """Read and write what can be without waiting, or wait for that so long."""
        for key, _ in self._selector.select(seconds):
            if key.data == "stdin":
                self._write(key.fileobj)
            elif key.data != "end":
                self._read(key.fileobj, key.data)

    def take_the_rest(self) -> How:
        """Read what is left there; who could write more has ended."""
        try:
            for key in list(self._selector.get_map().values()):
                while key.data in self._written and self._read(key.fileobj, key.data):
                    pass
        except _TooMuchError as error:
            return error.stream
        return "exit"

    def _read(self, pipe: Any, name: Literal["stdout", "stderr"]) -> bool:
        """Whether there may be more."""
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._selector.unregister(pipe)
            return False
        self._written[name] += chunk
        if len(self._written[name]) > MOST_OUTPUT:
            raise _TooMuchError(name)
        return True

    def _write(self, pipe: Any) -> None:
        try:
            written = os.write(pipe.fileno(), self._given[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to know the rest
            written = len(self._given)
        self._given = self._given[written:]
        if not self._given:
            self._selector.unregister(pipe)
            pipe.close()


def _pidfd(pid: int) -> int | None:
    """What becomes readable at the end of a process, where there is such a thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _end_all() -> None:
    with _lock:
        for group in _groups:
            _signal(group, signal.SIGKILL)


def _forget_all() -> None:
    """In a forked child: they are its parent's."""
    global _lock
    _lock = threading.Lock()
    _groups.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
