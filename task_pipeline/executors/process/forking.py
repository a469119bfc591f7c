"""Processes forked from a server of our own, which do not import the user's `__main__`.

The standard library's fork server is one for the whole process, and what it preloads is the
user's to say; this one is beside it. It is built from the same parts.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import (
    context,
    forkserver,
    popen_forkserver,
    process,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from multiprocessing.connection import wait
from typing import Any

PRELOADED = ["task_pipeline.executors.process.serving", "pebble", "cloudpickle"]
"""What workers have imported when they are forked. None of it starts a thread."""


class Server:
    """The fork server, which is there as long as somebody uses it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # also taken by what happens when garbage is collected
        self._server: Any = None
        self._users = 0

    def enter(self) -> None:
        """Somebody may need it."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """One of them needs it no more. The last one ends it."""
        with self._lock:
            self._users -= 1
            server = self._server
            if self._users or server is None:
                return
            self._server = None
        try:
            server._stop()
        except (ChildProcessError, FileNotFoundError):
            # Somebody else has heard of its end, or removed its socket: the interpreter ends.
            return

    def connect(self, fds: list[int]) -> tuple[int, int]:
        """Have a process forked; where to hear of its end, and where to send what it is to do."""
        resource_tracker.ensure_running()  # the server needs it; its start lets Ctrl-C through
        with _uninterrupted():
            try:
                return self._running().connect_to_new_process(fds)  # type: ignore[no-any-return]  # untyped
            except (ChildProcessError, ConnectionError):  # it was killed; a second one may live
                with self._lock:
                    self._server = None
                return self._running().connect_to_new_process(fds)  # type: ignore[no-any-return]  # untyped

    def _running(self) -> Any:
        with self._lock:
            if self._server is None:
                server: Any = forkserver.ForkServer()
                server.set_forkserver_preload(PRELOADED)
                self._server = server
            return self._server

    def forget(self) -> None:  # pragma: no cover  # in forks of the process
        """In a fork of this process: the server is its parent's."""
        server, self._server = self._server, None
        self._lock = threading.RLock()
        self._users = 0
        if server is not None and server._forkserver_alive_fd is not None:
            os.close(server._forkserver_alive_fd)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started meanwhile does not end by a Ctrl-C before it has learned to ignore it."""
    was = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, was)


SERVER = Server()


class Popen(popen_forkserver.Popen):
    """A process of our own server's.

    `fds`: the one that can be read once the process has ended, and the one whose closing tells
    the process that this one has.
    """

    fds: tuple[int, ...] = ()

    def __init__(self, process_object: Any) -> None:
        self._reaping = threading.Lock()
        super().__init__(process_object)

    def _launch(self, process_object: Any) -> None:
        """As in the standard library, with another server, and without the main module."""
        facts: dict[str, Any] = spawn.get_preparation_data(process_object._name)
        facts = {name: fact for name, fact in facts.items() if not name.startswith("init_main")}
        text = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(facts, text)
            reduction.dump(process_object, text)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, sending = SERVER.connect(self._fds)  # type: ignore[attr-defined]  # not in typeshed
        lifeline = os.dup(sending)
        self.fds = (lifeline, self.sentinel)
        self.finalizer = util.Finalize(self, util.close_fds, self.fds)  # type: ignore[attr-defined]  # not in typeshed
        with os.fdopen(sending, "wb") as stream:
            stream.write(text.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Its exit code, once it has ended.

        The exit code can be read but once, and several threads may ask for it.
        """
        if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            with self._reaping:
                super().poll()
        return self.returncode


_starting = threading.Lock()


class Process(context.ForkServerProcess):
    """A process that nobody but us waits for.

    It may have children, so it is no daemon; and the interpreter's end would wait for one that
    is none, if it knew of it.
    """

    @staticmethod
    def _Popen(process_object: Any) -> Any:  # noqa: N802  # its name there
        return Popen(process_object)

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that it has here."""
        return () if self._popen is None else self._popen.fds  # type: ignore[attr-defined]  # not in typeshed

    def start(self) -> None:
        """Start it; also in a process that is a daemon itself.

        Such a one, of a pool or of Dask, is not given children, as they would outlive it if it is
        terminated. These do not: they end with it, however it ends.
        """
        config = process.current_process()._config  # type: ignore[attr-defined]  # not in typeshed
        with _starting:
            daemon = config.pop("daemon", None)
            try:
                super().start()
            finally:
                if daemon is not None:
                    config["daemon"] = daemon
        process._children.discard(self)  # type: ignore[attr-defined]  # not in typeshed


class Context(context.ForkServerContext):
    """What pebble makes a process with. `made` is that process."""

    made: Process | None = None

    def Process(self, *args: Any, **kwargs: Any) -> Process:  # type: ignore[override]  # noqa: N802  # a class there
        """Make a process, and know it."""
        self.made = Process(*args, **kwargs)
        return self.made


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SERVER.forget)
