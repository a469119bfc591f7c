"""`Lane`: one run's way into the journal, for as long as this process has the run's lease."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import JournalError
from .records import check_run_columns

STEP, GROUP, EVENT, LARGE, RUN, END = range(6)

Told = Callable[[JournalError | None], object]

# Goes on while the machine sleeps, as a lease does. Where there is no such clock, the next best.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed() -> float:
    """Seconds of a clock that nobody sets."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Queue(Protocol):
    """What a lane needs of the writer."""

    lease: float

    def put(self, lane: Lane, kind: int, row: Any) -> int:
        """Take a record; what is given back is its number."""
        ...

    def write_for(self, lane: Lane, number: int) -> None:
        """Write what is queued, or wait until whoever is at it has come to an end."""
        ...

    def tell(self, lane: Lane, number: int, told: Told) -> None:
        """Call back once a record is durable."""
        ...

    def drop(self, lane: Lane, error: JournalError) -> None:
        """Forget what a lane still has queued."""
        ...


class Lane:
    """Records of one run, made durable in the order in which they were put.

    Nothing that is put raises: a lane that has failed drops it, and whoever waits is told why.
    Safe from any thread.
    """

    __slots__ = (
        "__weakref__",
        "callbacks",
        "durable",
        "error",
        "final",
        "latest",
        "lease_until",
        "queue",
        "renewed",
        "run_id",
        "token",
    )

    def __init__(self, queue: Queue, run_id: str, token: str) -> None:
        self.queue = queue
        self.run_id = run_id
        self.token = token
        self.latest = 0
        self.durable = 0
        self.error: JournalError | None = None
        self.final: int | None = None
        self.callbacks: list[tuple[int, Told]] = []
        self.was_renewed(elapsed(), time.time())

    def was_renewed(self, at: float, now: float) -> None:
        """Note when the lease was renewed, by the clock that nobody sets and by the wall's."""
        self.renewed = at
        self.lease_until = now + self.queue.lease

    @property
    def is_over(self) -> bool:
        """Whether the run was given back, and all that is recorded of it is durable."""
        return self.final is not None and self.final <= self.durable

    @property
    def lease(self) -> float:
        """For how many seconds it is taken at a time."""
        return self.queue.lease

    def is_due(self, part: float) -> bool:
        """Whether a part of the lease has gone by, by either clock, since it was renewed."""
        spent = self.queue.lease * part
        return (
            elapsed() - self.renewed > spent
            or self.lease_until - time.time() < self.queue.lease - spent
        )

    def put_step(self, row: tuple[Any, ...]) -> int:
        """A step's attempt: values in the order of `STEP_COLUMNS`. The number of the record."""
        return self.queue.put(self, STEP, row)

    def put_group(self, row: tuple[Any, ...]) -> int:
        """A group's end or choice: values in the order of `GROUP_COLUMNS`."""
        return self.queue.put(self, GROUP, row)

    def put_event(self, seq: int, text: str | Callable[[], str]) -> int:
        """An event of the run, or what makes the text of it; also after the run's end.

        Nobody waits for it, and one that cannot be made is left out: it is no fact.
        """
        return self.queue.put(self, EVENT, (self.run_id, seq, text))

    def put_large(self, digest: str, content: bytes) -> int:
        """A value that stands beside the rows; kept once, whoever else has it too."""
        return self.queue.put(self, LARGE, (digest, len(content), content))

    def put_run(self, **columns: Any) -> int:
        """Change the run's own row. Raises `TypeError` for what is not such a column."""
        check_run_columns(columns)
        return self.queue.put(self, RUN, columns)

    def is_durable(self, number: int) -> bool:
        """Whether the record of that number is, and all of this lane before it."""
        return number <= self.durable

    def wait(self, number: int) -> None:
        """Return once it is durable; raises `JournalError` if it cannot become so."""
        if number > self.latest:
            raise ValueError(f"record {number} was not put into this lane, as {self.latest} was")
        while number > self.durable:
            self.check(number)
            self.queue.write_for(self, number)

    def check(self, number: int = 0) -> None:
        """Raise the error that the lane has failed with, if it has."""
        error = self.why_never(number)
        if error is not None:
            # Another one each time, as every raise adds to an exception's traceback.
            raise type(error)(error.message, error.run_id) from error

    def why_never(self, number: int) -> JournalError | None:
        """Why a record will not become durable, if that is known; None if it is so already."""
        if 0 < number <= self.durable:
            return None
        if self.error is None and self.final is not None and number > self.final:
            text = f"run {self.run_id!r} was given back; nothing more is recorded of it"
            return JournalError(text, self.run_id)
        return self.error

    def when_durable(self, number: int, callback: Told) -> None:
        """Call back once, in any thread: with None, or the error that the lane failed with.

        At once, in this thread, if it is so already.
        """
        self.queue.tell(self, number, callback)

    def end(self) -> None:
        """Wait for everything, give the lease back. Raises `JournalError` if that fails."""
        number = self.final
        self.wait(self.queue.put(self, END, None) if number is None else number)

    def release(self) -> None:
        """As `end`, without an error: what cannot be made durable is dropped."""
        try:
            self.end()
        except JournalError as error:
            self.queue.drop(self, error)


class Living:
    """The lanes of this process, by the token of their lease, as long as somebody has them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: weakref.WeakValueDictionary[str, Lane] = weakref.WeakValueDictionary()

    def add(self, lane: Lane) -> None:
        """A lease was taken."""
        with self._lock:
            self._lanes[lane.token] = lane

    def remove(self, lane: Lane) -> None:
        """It is not held any more."""
        with self._lock:
            self._lanes.pop(lane.token, None)

    def has(self, token: str) -> bool:
        """Whether a lease is held by a lane of this process."""
        with self._lock:
            return token in self._lanes

    def all(self) -> list[Lane]:
        """Those that are held now."""
        with self._lock:
            return list(self._lanes.values())

    def forget(self) -> list[Lane]:
        """In a child after `fork()`: they are the parent's. The lock may be held by nobody here."""
        self._lock = threading.Lock()
        lanes = list(self._lanes.values())
        self._lanes = weakref.WeakValueDictionary()
        return lanes
