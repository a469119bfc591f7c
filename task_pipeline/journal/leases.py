"""Who may work on a run: taking its lease, and saying who has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from ..errors import RunLeasedError, RunNotFoundError
from .database import Link
from .identity import described, is_dead, worker
from .lane import Living
from .schema import RUNS
from .statements import database_time

LIVING = Living()
"""The lanes of this process."""

_FACTS = (RUNS.c.run_id, RUNS.c.worker, RUNS.c.lease_token, RUNS.c.lease_until, RUNS.c.format)


def take(link: Link, run_id: str, token: str, lease: float) -> int:
    """Take a run's lease for a worker of this process; what is given back is the row's format.

    Raises `RunNotFoundError`, and `RunLeasedError` if it is not free.
    """
    now = database_time(link.sql.dialect.name)
    while True:
        row = link.sql.execute(select(*_FACTS, now.label("now")).where(RUNS.c.run_id == run_id))
        found = row.one_or_none()
        if found is None:
            raise RunNotFoundError(f"there is no run {run_id!r} in the journal", run_id)
        if found.lease_token == token:  # taken before, by a transaction that seemed to fail
            return int(found.format)
        if is_held(found):
            raise held(found)
        taken = link.sql.execute(
            update(RUNS)
            .where(RUNS.c.run_id == run_id)
            # By nobody else meanwhile, nor renewed by the one who had it.
            .where(RUNS.c.lease_token.is_not_distinct_from(found.lease_token))
            .where(RUNS.c.lease_until.is_not_distinct_from(found.lease_until))
            .values(lease_token=token, lease_until=now + lease, worker=worker())
        )
        if taken.rowcount == 1:
            return int(found.format)


def is_held(row: Any) -> bool:
    """Whether the worker that a run's row names has it still."""
    until, now = row.lease_until, row.now
    if until is None or row.lease_token is None or not isinstance(until, float) or until <= now:
        return False
    if row.worker == worker():
        return LIVING.has(row.lease_token)
    return not is_dead(row.worker)


def held(row: Any) -> RunLeasedError:
    """The error that says who has a run, and until when."""
    until = ""
    if isinstance(row.lease_until, float):
        at = datetime.fromtimestamp(row.lease_until, UTC).isoformat(" ", "seconds")
        until = f" until {at}, unless it renews its lease"
    who = "this very process" if row.worker == worker() else described(row.worker)
    return RunLeasedError(f"run {row.run_id!r} is under way: {who} has it{until}", row.run_id)


def whose(link: Link, run_id: str) -> RunLeasedError:
    """The error for a worker whose run was taken from it."""
    row = link.sql.execute(select(*_FACTS).where(RUNS.c.run_id == run_id)).one_or_none()
    if row is None:
        return RunLeasedError(f"run {run_id!r} was deleted while it was under way", run_id)
    error = held(row)
    return RunLeasedError(f"the lease of run {run_id!r} was lost: {error.message}", run_id)
