"""The line between an executor and one of its workers: whole messages, both ways."""

from __future__ import annotations

import errno
import socket

MOST = 256 * 1024
"""The most bytes of a message. What is large goes through files."""


class To:
    """Kinds of messages to a worker: plain numbers, which are quick to pickle."""

    CALL = 1
    LOOK = 2  # at what was removed
    END = 3


class From:
    """Kinds of messages from a worker."""

    READY = 1
    BROKEN = 2
    REPLY = 3
    PROGRESS = 4
    RECORD = 5
    EVENT = 6


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a line. Raises `OSError` if the system has none such.

    Its messages stay whole, whoever sends at the same time, and each is read by exactly one:
    so what a worker has not yet taken, the executor can take back.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
    if ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < MOST:
        for end in ends:
            end.close()
        raise OSError(f"the system limits messages to less than {MOST:,} bytes: net.core.wmem_max")
    return ends


_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def are_to_be_had() -> bool:
    """Whether the system has any, if not at this moment."""
    try:
        ends = pair()
    except AttributeError:
        return False
    except OSError as error:
        return error.errno in _SHORT_OF
    for end in ends:
        end.close()
    return True


class Line:
    """A worker's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = memoryview(bytearray(MOST))

    def send(self, message: bytes) -> None:
        """Send a message; waits while the other side has too many to read."""
        self._end.send(message)

    def receive(self) -> memoryview | None:
        """Wait for a message: it is there until the next. None if the other side is gone."""
        count = self._end.recv_into(self._buffer)
        return self._buffer[:count] if count else None
