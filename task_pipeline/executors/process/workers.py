"""The executor's picture of its workers, and of the calls they have."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...engine.calling import Call
from .lines import MOST, To
from .parcels import Parcel, opened

if TYPE_CHECKING:
    from .launching import Launched


class Job:
    """A call on its way: its message, and what must be there until it is over.

    - `has_begun`: its run was told so; `is_sent`: it is in its worker's line, or further
    - `is_stopped`: it is to end; `kill_at`: when its worker is killed if it has not
    """

    __slots__ = (
        *("call", "has_begun", "is_leavable", "is_sent", "is_stopped", "kill_at", "message"),
        *("number", "parcels", "worker"),
    )

    def __init__(self, number: int, call: Call, message: bytes, parcels: Sequence[Parcel]) -> None:
        self.number = number
        self.call = call
        self.message = message
        self.parcels = parcels
        self.is_leavable = call.node.leavable
        self.worker: Worker | None = None
        self.has_begun = False
        self.is_sent = False
        self.is_stopped = False
        self.kill_at: float | None = None

    def begins(self) -> bool:
        """Tell its run that it begins; False if nobody waits for it any more."""
        if not self.has_begun:
            self.has_begun = True
            return self.call.begins()
        return self.call.is_wanted


class State(enum.Enum):
    """What a worker is about."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDING = "ending"


class Worker:
    """A process that performs calls, one at a time.

    - `current`: the call it performs, or is about to
    - `waiting`: the one that it goes on with by itself
    - `given`: how many calls it was given; `rests_since`: when it was last busy
    - `end_by`: when it is killed if it has not ended
    - `slot`: its place among the flags; `stem`: how the names of its files begin
    - `complaint`: why it cannot work, in its own words
    """

    def __init__(self, slot: int, stem: str, launched: Launched) -> None:
        self.slot = slot
        self.stem = stem
        self.launched = launched
        self.pid = launched.pid
        self.state = State.STARTING
        self.current: Job | None = None
        self.waiting: Job | None = None
        self.given = 0
        self.rests_since = 0.0
        self.end_by: float | None = None
        self.complaint = ""
        self.is_gone = False
        self._line = threading.Lock()  # who sends must not find another file under that number

    def give(self, message: bytes) -> bool:
        """Send a message; False if there is no room for it now, or nobody to read it."""
        with self._line:
            try:
                self.launched.near.send(message, socket.MSG_DONTWAIT)
            except OSError:
                return False
        return True

    def read_into(self, buffer: memoryview) -> int:
        """Read a message it has sent, if there is one; its length. In the thread that buries it."""
        try:
            return self.launched.near.recv_into(buffer, 0, socket.MSG_DONTWAIT)
        except OSError:
            return 0

    def take_back(self) -> list[int]:
        """Take back the calls that it has not yet taken up; their numbers, in their order."""
        numbers = []
        with self._line, contextlib.suppress(OSError):
            while text := self.launched.far.recv(MOST, socket.MSG_DONTWAIT):
                kind, *parts = opened(text)
                if kind == To.CALL:
                    numbers.append(parts[0])
        return numbers

    def kill(self) -> None:
        """End it and all that it has started, at once. It may be gone already."""
        if self.is_gone:
            return
        for kill, target in ((os.killpg, self.pid), (os.kill, self.pid)):
            try:
                kill(target, signal.SIGKILL)
            except ProcessLookupError:  # it has not yet made a group of its own
                continue
            return

    def bury(self) -> int | None:
        """It has ended: end what it has left behind; returns its exit code."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with self._line:
            self.is_gone = True
            return self.launched.close()

    def describe(self) -> dict[str, Any]:
        """What `status()` says of it."""
        job = self.current
        return {
            "pid": self.pid,
            "state": self.state.value,
            "step": None if job is None else job.call.node.label,
            "calls": self.given,
        }
