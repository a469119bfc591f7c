"""The first things that a worker process does, before anything of it can go wrong elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import select
import signal
import socket
import traceback
from multiprocessing import forkserver

from .lines import MOST, From, Line
from .parcels import Setup, message


def run(end: socket.socket, setup: Setup) -> None:
    """A worker's whole life."""
    line = Line(end)
    try:
        stand_apart()
        if os.environ != setup.environment:
            os.environ.clear()
            os.environ.update(setup.environment)
        from .serving import Service

        service = Service(line, setup)
    except BaseException:  # noqa: BLE001  # whatever it is, it is told where somebody can read it
        line.send(message(From.BROKEN, traceback.format_exc()[-MOST // 8 :]))
        return
    with contextlib.suppress(ConnectionError):  # the parent is gone: so is who wants to hear of it
        service.work()


def stand_apart() -> None:  # pragma: no cover  # in workers only: it changes the process
    """Be a group of processes of one's own, with all that one starts, and end with the parent."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the run decides what it means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # what a step starts may hear it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_parent()
    _leave_fork_server()


def _end_with_parent() -> None:
    """Have the system end this group once the parent is gone, whatever it does just then.

    The parent holds the other end of the sentinel; it closes when the parent ends, however.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(fcntl, "F_SETSIG"):
        return  # then it ends when it asks for its next call
    lifeline = parent.sentinel
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was gone before
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _leave_fork_server() -> None:
    """Let go of the fork server that this process comes from.

    It is to end with the parent, whoever is left. A step's own use of multiprocessing starts
    one below this process, so that what comes of it is of this group.
    """
    server = getattr(forkserver, "_forkserver", None)
    alive = getattr(server, "_forkserver_alive_fd", None)
    if server is not None and alive is not None:
        os.close(alive)
        forkserver.ForkServer.__init__(server)
