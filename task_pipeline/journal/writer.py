"""The writer: whatever is queued goes into one transaction, by one thread at a time.

Who must wait for a record has *the turn*, or waits for it: with the turn a thread writes all
that is queued, its own record and everybody else's, since handing it to another thread would
cost more than the commit. What nobody waits for is written by a thread of the journal's own,
see `Keeper`. A batch that was begun stays `_under_way` until it is known what became of it:
a thread that is interrupted in the middle leaves it to the next one, and a row may be put twice.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..errors import JournalError, TaskPipelineError
from .attempts import patiently
from .batch import Leases, Record, check_leases, cleaned, put_down
from .database import Database, Link
from .lane import END, EVENT, Lane, Told
from .leases import LIVING
from .statements import Statements
from .troubles import ONE, Trouble

T = TypeVar("T")
logger = logging.getLogger("task_pipeline.journal")

# So many records are not left lying until somebody waits for one of them.
MANY = 256


class Writer:
    """Writes the records of all lanes of one database, in the order in which they were put."""

    def __init__(self, database: Database, lease: float, patience: float) -> None:
        self.database = database
        self.lease = lease
        self.patience = patience
        self.statements = Statements(database.engine.dialect)
        # Whoever has a lane keeps all of this: at exit, what is queued is to be written.
        self.owner: object = None
        self.reset()

    def reset(self) -> None:
        """Fresh, as after a fork: the parent's threads, locks and records are not here."""
        self.lock = threading.Lock()
        self.turn = threading.Lock()
        self.bell = threading.Event()
        self.is_watched = False
        self.is_urgent = False
        self.queue: list[Record] = []
        self.number = 0
        self._under_way: list[Record] = []
        self._due: deque[tuple[Told, JournalError | None]] = deque()
        self.link: Link | None = None
        self._broken: list[Link] = []
        self._place: object = None
        self.is_tended = False

    # What a lane needs

    def put(self, lane: Lane, kind: int, row: Any) -> int:
        """Take a record. Called under a run's lock: all that is dear happens later."""
        with self.lock:
            self.number = number = self.number + 1
            lane.latest = number
            # What is told of a run comes to its end after all that is recorded of it.
            if lane.error is None and (lane.final is None or kind == EVENT):
                if kind == END:
                    lane.final = number
                queue = self.queue
                queue.append((number, lane, kind, row))
                if not self.is_watched:
                    self.is_watched = True
                    self.bell.set()
                elif len(queue) == MANY:
                    self.is_urgent = True
                    self.bell.set()
        return number

    def write_for(self, lane: Lane, number: int) -> None:
        """Have the turn, and write what is queued unless somebody did so meanwhile."""
        with self.turn:
            if number > lane.durable and lane.error is None:
                self._write()
        if self._due:
            self.call_back()

    def tell(self, lane: Lane, number: int, told: Told) -> None:
        """Call back once a record is durable; the journal's own thread sees to it at once."""
        with self.lock:
            error = lane.why_never(number)
            if number > lane.durable and error is None:
                lane.callbacks.append((number, told))
                self.is_watched = self.is_urgent = True
                self.bell.set()
                return
        told(error)

    def drop(self, lane: Lane, error: JournalError) -> None:
        """Nothing of this lane is written any more; its lease is given back if that can be."""

        def give_back(link: Link) -> None:
            link.cursor.execute(self.statements.give_back, (lane.run_id, lane.token))

        with self.turn:
            self._fail(lane, error)
            try:
                self._once(give_back)
            except (Trouble, JournalError) as trouble:
                logger.warning("the lease of run %r is left to expire: %s", lane.run_id, trouble)
        self.call_back()

    # Whatever else writes

    def transact(self, work: Callable[[Link], T], lane: Lane | None = None) -> T:
        """Do something else in a transaction of its own, after all that is queued.

        With a lane: only if that still has its run. It may be done again if a commit seems to
        have failed. Raises `JournalError`.
        """

        def owned(link: Link) -> tuple[T, Leases]:
            leases = check_leases(link, self.statements, () if lane is None else (lane,))
            if lane in leases.lost:
                raise leases.lost[lane]
            return work(link), leases

        try:
            with self.turn:
                self._write()
                if lane is not None:
                    lane.check(lane.latest + 1)
                self._require_same_file()
                result, leases = self._attempt(owned)
                leases.settle()
                return result
        except Trouble as trouble:
            raise trouble.error(None if lane is None else lane.run_id) from trouble.__cause__
        finally:
            self.call_back()

    def write(self) -> None:
        """Write what is queued."""
        with self.turn:
            self._write()
        self.call_back()

    def renew(self, lanes: list[Lane]) -> None:
        """Renew leases. What fails is only logged: the next record of the run will tell."""
        if not lanes:
            return
        try:
            with self.turn:
                leases = self._once(lambda link: check_leases(link, self.statements, lanes))
                self._settle([], leases)
        except (Trouble, JournalError) as trouble:
            logger.warning("the leases of %d runs could not be renewed: %s", len(lanes), trouble)
        self.call_back()

    # With the turn

    def _write(self) -> None:
        with self.lock:
            if self.queue:
                before = self._under_way
                self._under_way = [*before, *self.queue] if before else self.queue
                self.queue = []
            self.is_urgent = False
        batch = [record for record in self._under_way if record[1].error is None]
        if batch:
            try:
                self._write_batch(batch)
            except Trouble as trouble:
                self._write_apart(batch, trouble)
        self._under_way = []

    def _write_batch(self, batch: list[Record]) -> None:
        if self.link is not None and self._place != self.database.identity():
            self._lose_file()
            return
        leases = self._attempt(lambda link: put_down(link, self.statements, batch))
        self._settle(batch, leases)

    def _lose_file(self) -> None:
        """The file is gone with all that was recorded: no run here is to go on into another."""
        self._lose_link()
        for lane in self.lanes():
            text = (
                f"run {lane.run_id!r} cannot be recorded: the journal's file "
                f"({self.database.address}) was deleted, or another one was put in its place, "
                "while the run was under way; put it back to resume the run"
            )
            self._fail(lane, JournalError(text, lane.run_id))

    def _write_apart(self, batch: list[Record], trouble: Trouble) -> None:
        """One lane after the other, if it may be that only one of them is to blame."""
        lanes = dict.fromkeys(record[1] for record in batch)
        for lane in lanes:
            if trouble.kind != ONE:
                self._fail(lane, trouble.error(lane.run_id))
                continue
            try:
                own = [cleaned(record) for record in batch if record[1] is lane]
                self._write_batch(own)
            except Trouble as again:
                self._fail(lane, again.error(lane.run_id))
                trouble = again if again.kind != ONE else trouble

    def _settle(self, batch: list[Record], leases: Leases) -> None:
        lost = leases.lost
        leases.settle()
        for lane, error in lost.items():
            self._fail(lane, error)
        last: dict[Lane, int] = {}
        for number, lane, kind, _ in batch:
            if lane not in lost:
                last[lane] = number
                if kind == END:
                    LIVING.remove(lane)
        with self.lock:
            for lane, number in last.items():
                lane.durable = number
                if lane.callbacks:
                    self._due.extend((told, None) for at, told in lane.callbacks if at <= number)
                    lane.callbacks = [one for one in lane.callbacks if one[0] > number]

    def _fail(self, lane: Lane, error: JournalError) -> None:
        with self.lock:
            if lane.error is None:
                lane.error = error
            self.queue = [record for record in self.queue if record[1] is not lane]
            due, lane.callbacks = lane.callbacks, []
        LIVING.remove(lane)
        self._due.extend((told, lane.error) for _, told in due)

    def call_back(self) -> None:
        """Tell who asked to be told; not with the turn, and not the thread signals go to.

        An interrupt there would be somebody else's loss: it leaves it to the journal's own.
        """
        if self._due and threading.current_thread() is threading.main_thread() and self.is_tended:
            self.bell.set()
            return
        while self._due:
            try:
                told, error = self._due.popleft()
            except IndexError:
                return  # another thread had it
            try:
                told(error)
            except Exception:
                logger.exception("who was told of a record that is durable has raised")

    def _attempt(self, work: Callable[[Link], T]) -> T:
        return patiently(self.patience, partial(self._once, work))

    def _once(self, work: Callable[[Link], T]) -> T:
        try:
            link = self.link
            if link is None:
                self._lose_link()
                link = self.link = self.database.open(writes=True)
                self._place = self.database.identity()
            link.begin()
            result = work(link)
            link.commit()
        except Exception as error:
            self._lose_link()
            if isinstance(error, TaskPipelineError | Trouble):
                raise
            raise self.database.trouble(error) from error
        except BaseException:
            self._lose_link()
            raise
        return result

    def _lose_link(self) -> None:
        """Undo, and connect again next time: who knows what a connection is like that failed."""
        if self.link is not None:
            # Kept until it is closed: this thread may be interrupted at that, too, and what a
            # connection keeps locked would stay so.
            self._broken.append(self.link)
            self.link = None
        while self._broken:
            self._broken[-1].close(has_failed=True)
            self._broken.pop()

    def links(self) -> list[Link]:
        """The connections there are."""
        return [*self._broken, *([] if self.link is None else [self.link])]

    def _require_same_file(self) -> None:
        """A file that was deleted takes all that is written into it, and keeps nothing."""
        if self.link is not None and self._place != self.database.identity():
            self._lose_link()

    @property
    def has_work(self) -> bool:
        """Whether records are not written yet."""
        return bool(self.queue or self._under_way)

    def lanes(self) -> list[Lane]:
        """Those that have a lease here."""
        return [lane for lane in LIVING.all() if lane.queue is self]

    def close(self, error: JournalError | None = None, timeout: float = -1) -> bool:
        """Write what is queued, and close the connection; what lanes are left fail with `error`.

        False if the turn could not be had within `timeout` seconds.
        """
        if not self.turn.acquire(timeout=timeout):
            return False
        try:
            self._write()
            if error is not None:
                for lane in self.lanes():
                    self._fail(lane, error)
            link, self.link = self.link, None
            if link is not None:
                link.close()
            self.database.close()
        finally:
            self.turn.release()
        self.call_back()
        return True
