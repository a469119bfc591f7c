"""`Journal`: runs that are recorded, and what is recorded of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from ..errors import JournalError, JournalVersionError
from . import large, leases, lifecycle, reading, retention, transfer
from .database import Link
from .lane import Lane
from .leases import LIVING
from .records import FORMAT, GroupRecord, NewRun, RunRecord, StepRecord, check_run_columns
from .shared import Store, leave
from .spans import Span, moment, seconds

T = TypeVar("T")


class Journal:
    """Recorded runs in a database; `open_journal` makes it. A context manager that closes it.

    Journals with the same URL and settings share one connection that writes. Safe from any
    thread; after a fork, parent and child each go on with a connection of their own. Every
    method raises `JournalError` if the database cannot be used.
    """

    def __init__(self, url: str, codec: str, store: Store) -> None:
        self.url = url
        self.codec = codec
        self._store = store
        self._is_closed = False

    @property
    def durability(self) -> str:
        """What is recorded survives the end of the process ("normal"), or of power ("full")."""
        return self._store.durability

    @property
    def patience(self) -> float:
        """For how many seconds a lock or a lost connection is waited for."""
        return self._store.patience

    @property
    def lease_seconds(self) -> float:
        """For how many seconds a run is taken at a time."""
        return self._store.writer.lease

    # Runs under way

    def create_run(self, run: NewRun) -> Lane:
        """Record a run that begins, durable when this returns; raises `RunExistsError`."""
        lifecycle.require_run_id(run.run_id)
        statements = self._open().writer.statements
        return self._lane(
            run.run_id,
            lambda link, lane: lifecycle.insert_run(link, statements, run, lane.token, lane.lease),
        )

    def lease(self, run_id: str) -> Lane:
        """Take up a run that nobody works on.

        Raises `RunNotFoundError`, and `RunLeasedError` for one that is under way.
        """

        def taken(link: Link, lane: Lane) -> None:
            found = leases.take(link, run_id, lane.token, lane.lease)
            if found > FORMAT:
                raise JournalVersionError(reading.newer(run_id, found), run_id)

        return self._lane(run_id, taken)

    def _lane(self, run_id: str, take: Callable[[Link, Lane], None]) -> Lane:
        store = self._open()
        lane = Lane(store.writer, run_id, uuid.uuid4().hex)
        # Before it is taken, so that nobody here thinks that it is nobody's.
        LIVING.add(lane)
        try:
            store.write(lambda link: take(link, lane))
        except BaseException:
            LIVING.remove(lane)
            raise
        return lane

    def supersede(
        self,
        lane: Lane,
        steps: Iterable[tuple[str, int]] = (),
        groups: Iterable[tuple[str, str, int]] = (),
        **run_columns: Any,
    ) -> None:
        """At the start of a resume: what runs again is superseded, the run is running again.

        `steps` by path and attempt, `groups` by path, kind and round. Adds one to `resumes`.
        """
        check_run_columns(run_columns)
        store = self._open()
        steps, groups = list(steps), list(groups)
        before = store.read(lambda link: lifecycle.resumes_of(link, lane.run_id))
        columns = {"resumes": before + 1, **run_columns}
        store.write(
            lambda link: lifecycle.supersede(link, lane.run_id, steps, groups, columns), lane
        )

    # What is recorded

    def runs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        since: datetime | Span | None = None,
        until: datetime | Span | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        """Runs, the newest first.

        `status` is one of a run's, or "interrupted": not ended, and nobody works on it, which
        "running" leaves out. `since` and `until` bound when it was created: a datetime, or how
        long ago, such as "2d".
        """
        wanted = reading.Wanted(
            status=status,
            name=name,
            tag=tag,
            since=None if since is None else moment(since, "since"),
            until=None if until is None else moment(until, "until"),
            limit=limit,
        )
        return self._open().read(lambda link: reading.read_runs(link, wanted))

    def run(self, run_id: str) -> RunRecord:
        """One run; raises `RunNotFoundError`."""
        return self._open().read(lambda link: reading.read_run(link, run_id))

    def steps(self, run_id: str, superseded: bool = False) -> list[StepRecord]:
        """The attempts of a run's steps, in the order of `seq`; superseded ones if asked for."""
        read = partial(reading.read_steps, run_id=run_id, superseded=superseded)
        return self._open().read(read)

    def groups(self, run_id: str, superseded: bool = False) -> list[GroupRecord]:
        """The groups of a run, in the order of `seq`; superseded ones if asked for."""
        read = partial(reading.read_groups, run_id=run_id, superseded=superseded)
        return self._open().read(read)

    def events(self, run_id: str) -> Iterator[str]:
        """A run's events as they were put down, in order."""
        store = self._told()
        self.run(run_id)
        return reading.chunks(
            lambda after: store.read(lambda link: reading.read_events(link, run_id, after))
        )

    def next_event(self, run_id: str) -> int:
        """The number that the next event of a run is to have; sees what is still queued."""
        return self._told().read(lambda link: reading.next_event(link, run_id))

    def _told(self) -> Store:
        """The store, with what is told of runs written that nobody has waited for."""
        store = self._open()
        store.writer.write()
        return store

    def large(self, digest: str) -> bytes:
        """A value that stands beside the rows; raises `JournalDataError` if it is damaged."""
        return self._open().read(lambda link: large.read_large(link, digest))

    # Runs as wholes

    def delete(self, run_id: str) -> None:
        """Delete a run. Raises `RunNotFoundError`, `RunLeasedError` if it is under way."""
        self._open().write(lambda link: lifecycle.delete_run(link, run_id))

    def prune(self, *, older_than: Span, keep_failed: bool = True) -> int:
        """Delete the runs that ended so long ago; what is given back is how many.

        `keep_failed` keeps all that did not succeed, as they can be resumed; without it
        interrupted runs go too, by the time at which they began. Never a run under way.
        """
        before = moment(seconds(older_than, "older_than"), "older_than")
        store = self._open()
        found = store.read(lambda link: retention.outdated(link, before, keep_failed))
        return sum(
            store.write(partial(retention.prune_run, run_id, before, keep_failed))
            for run_id in found
        )

    def export_run(self, run_id: str) -> dict[str, Any]:
        """A run with all that is its own, as what JSON knows."""
        return self._told().read(lambda link: transfer.export_run(link, run_id))

    def import_run(self, document: Mapping[str, Any] | str | bytes) -> str:
        """Record a run that was exported: its dict, or the JSON of it. The id of the run.

        Raises `JournalDataError`, which names every mistake, `JournalVersionError` for what a
        newer version has written, and `RunExistsError`.
        """
        store = self._open()
        run = transfer.read_document(document)
        token = uuid.uuid4().hex
        statements = store.writer.statements
        store.write(lambda link: transfer.put_run(link, statements, run, token))
        return run.run.run_id

    # The journal itself

    def close(self) -> None:
        """Write what is queued. The last of those who share the connection closes it.

        A run that is under way then fails with `JournalError`, and can be resumed.
        """
        if not self._is_closed:
            self._is_closed = True
            leave(self._store)

    def _open(self) -> Store:
        if self._is_closed:
            raise JournalError(f"{self!r} was closed; open it again to use it")
        return self._store

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shown = json.dumps(self._store.database.address.shown)
        return f"<Journal at {shown}, durability {self.durability!r}, codec {self.codec!r}>"
