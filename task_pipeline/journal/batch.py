"""Putting a batch of records down, in the transaction of the caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import text

from ..errors import RunLeasedError
from .database import Link
from .lane import END, EVENT, GROUP, LARGE, RUN, STEP, Lane, elapsed
from .leases import whose
from .statements import USUAL, Statements, said, unsaid
from .troubles import ONE, Trouble

logger = logging.getLogger("task_pipeline.journal")

Record = tuple[int, Lane, int, Any]

# Shared by all who write large values, against who deletes those that nobody uses any more.
RETENTION_LOCK = 0x7461736B5F6C6172

# Of each row of a step and of a group, what is text of the user's own and not encoded.
_PLAIN = {STEP: (4, 5, 6, 10, 15, 16, 17), GROUP: (5,)}
_PLAIN_OF_A_RUN = ("error_type", "error_text", "error_traceback")


class Leases:
    """What a look at the leases of a batch has shown."""

    def __init__(self) -> None:
        self.lost: dict[Lane, RunLeasedError] = {}
        self.renewed: list[tuple[Lane, float, float]] = []

    def settle(self) -> None:
        """Once it is committed: note what was renewed."""
        for lane, at, now in self.renewed:
            lane.was_renewed(at, now)


def put_down(link: Link, statements: Statements, batch: list[Record]) -> Leases:
    """Write a batch, but nothing of the lanes whose run another worker has by now."""
    leases = check_leases(link, statements, {record[1]: None for record in batch})
    lost = leases.lost
    if len(batch) == 1 and batch[0][2] == STEP:  # the usual case in a series
        if not lost:
            put_steps(link, statements, [batch[0][3]])
        return leases
    rows: list[list[Any]] = [[], [], [], [], [], []]
    for _, lane, kind, row in batch:
        if lane not in lost:
            rows[kind].append(row if kind < LARGE else (lane, row))
    cursor = link.cursor
    if rows[LARGE]:
        put_large(link, statements, [(lane.run_id, row) for lane, row in rows[LARGE]])
    if rows[STEP]:
        put_steps(link, statements, rows[STEP])
    if rows[GROUP]:
        cursor.executemany(statements.group, rows[GROUP])
    if rows[EVENT]:
        cursor.executemany(statements.event, list(_made(rows[EVENT])))
    for lane, columns in rows[RUN]:
        update, order = statements.update_run(columns)
        cursor.execute(update, (*(columns[name] for name in order), lane.run_id))
        if cursor.rowcount == 0:
            raise Trouble(ONE, "the run was deleted from the journal while it was under way")
    for lane, _ in rows[END]:
        cursor.execute(statements.give_back, (lane.run_id, lane.token))
    return leases


def _made(rows: Iterable[tuple[str, int, Any]]) -> Iterator[tuple[str, int, str]]:
    for run_id, seq, event in rows:
        try:
            yield run_id, seq, event() if callable(event) else event
        except Exception:  # an event's error is the user's, whose parts may raise anything
            logger.exception("event %d of run %r cannot be written down", seq, run_id)


def put_steps(link: Link, statements: Statements, rows: list[tuple[Any, ...]]) -> None:
    """Write rows of steps, in their order: the last one of a key is what stands there."""
    for is_brief, some in groupby(rows, lambda row: unsaid(row) == USUAL):
        if is_brief:
            link.cursor.executemany(statements.brief_step, [said(row) for row in some])
        else:
            link.cursor.executemany(statements.step, list(some))


def put_large(
    link: Link, statements: Statements, rows: Iterable[tuple[str, tuple[str, int, bytes]]]
) -> None:
    """Write large values, and that runs use them: by the run's id, digest, size and content."""
    if statements.is_server:
        lock_retention(link, shared=True)
    for run_id, row in rows:
        link.cursor.execute(statements.large, row)
        link.cursor.execute(statements.use, (run_id, row[0]))


def lock_retention(link: Link, *, shared: bool) -> None:
    """Until the transaction ends; in SQLite one that writes is alone anyway."""
    if link.is_server:
        kind = "_shared" if shared else ""
        link.sql.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": RETENTION_LOCK})


def check_leases(link: Link, statements: Statements, lanes: Iterable[Lane]) -> Leases:
    """See that the lanes still have their runs, and renew what will be due soon.

    In SQLite a lease that is fresh needs no look: this transaction keeps everybody else out.
    """
    leases = Leases()
    for lane in lanes:
        # Events come after a run was given back, too: they are its own until somebody takes it.
        if not lane.is_over and lane.is_due(1 / 3):
            at, now = elapsed(), time.time()
            link.cursor.execute(statements.renew, (lane.lease, lane.run_id, lane.token))
            if link.cursor.rowcount == 1:
                leases.renewed.append((lane, at, now))
                continue
        elif lane.is_over or statements.is_server:
            link.cursor.execute(statements.own, (lane.run_id, lane.token))
            if link.cursor.fetchone() is not None:
                continue
        else:
            continue
        leases.lost[lane] = whose(link, lane.run_id)
    return leases


def cleaned(record: Record) -> Record:
    """A record whose plain texts any database takes: what it has no sign for is spelled out."""
    number, lane, kind, row = record
    if kind in _PLAIN and type(row) is tuple:
        places = _PLAIN[kind]
        row = tuple(clean(value) if i in places else value for i, value in enumerate(row))
    elif kind == RUN:
        row = {n: clean(value) if n in _PLAIN_OF_A_RUN else value for n, value in row.items()}
    return number, lane, kind, row


def clean(value: Any) -> Any:
    """Text without NULs and lone surrogates, which are spelled out as in Python's `repr`."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
