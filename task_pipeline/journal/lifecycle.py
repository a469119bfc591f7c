"""A run's rows as wholes: made, taken up again, deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, null, select, update

from ..errors import JournalDataError, RunExistsError, RunNotFoundError
from .batch import clean, put_large
from .database import Link
from .identity import worker
from .large import leave
from .leases import held, is_held
from .records import FORMAT, RUN_COLUMNS, RUNNING, NewRun
from .schema import EVENTS, GROUPS, RUNS, STEPS
from .statements import Statements, database_time, new_run

# An index of PostgreSQL takes no key of any length.
MAX_RUN_ID = 500


def require_run_id(run_id: object) -> str:
    """A text that every database takes for a key."""
    if not isinstance(run_id, str) or not 0 < len(run_id) <= MAX_RUN_ID or clean(run_id) != run_id:
        raise JournalDataError(
            f"a run's id is a text of 1 to {MAX_RUN_ID} characters without NULs and surrogates, "
            f"not {run_id!r:.80}"
        )
    return run_id


def tags_text(tags: Iterable[str]) -> str:
    """Tags as they stand in the row."""
    return json.dumps(list(tags))


def insert_run(link: Link, statements: Statements, run: NewRun, token: str, lease: float) -> None:
    """Begin a run, with a lease for this process. Raises `RunExistsError`."""
    row = {
        "run_id": run.run_id,
        "name": clean(run.name),
        "fingerprint": run.fingerprint,
        "plan": run.plan,
        "status": RUNNING,
        "tags": tags_text(run.tags),
        "input": run.input,
        "input_digest": run.input_digest,
        "context_type": clean(run.context_type),
        "codec": run.codec,
        "created_at": time.time() if run.created_at is None else run.created_at,
        "started_at": run.started_at,
        "worker": clean(worker()),
        "lease_token": token,
        "lease_until": lease,  # from the database's own now
        "resumes": 0,
        "format": FORMAT,
    }
    link.cursor.execute(statements.create, tuple(row.get(name) for name in RUN_COLUMNS))
    if link.cursor.rowcount != 1:
        require_own(link, run.run_id, token)
    if run.large:
        put_large(link, statements, ((run.run_id, (d, len(c), c)) for d, c in run.large))


def insert_row(link: Link, row: dict[str, Any], token: str) -> bool:
    """Insert a run's row; False if this very call has done so before, and was told it failed."""
    whole = {"resumes": 0, "format": FORMAT, "lease_token": token, **row}
    if link.sql.execute(new_run(link.sql.dialect.name, whole)).rowcount == 1:
        return True
    require_own(link, row["run_id"], token)
    return False


def require_own(link: Link, run_id: str, token: str) -> None:
    """A row that is there already must be of this very call, which was told that it had failed.

    Raises `RunExistsError`.
    """
    there = link.sql.scalar(select(RUNS.c.lease_token).where(RUNS.c.run_id == run_id))
    if there == token:
        return
    raise RunExistsError(
        f"the journal has a run {run_id!r} already: resume it, delete it, or choose another id",
        run_id,
    )


def supersede(
    link: Link,
    run_id: str,
    steps: Iterable[tuple[str, int]],
    groups: Iterable[tuple[str, str, int]],
    columns: dict[str, Any],
) -> None:
    """Mark what a resume runs again, and the run as running again."""
    for path, attempt in steps:
        of = (STEPS.c.run_id == run_id) & (STEPS.c.path == path) & (STEPS.c.attempt == attempt)
        link.sql.execute(update(STEPS).where(of).values(superseded=True))
    for path, kind, number in groups:
        of = (GROUPS.c.run_id == run_id) & (GROUPS.c.path == path) & (GROUPS.c.kind == kind)
        link.sql.execute(
            update(GROUPS).where(of & (GROUPS.c.round == number)).values(superseded=True)
        )
    fresh = dict.fromkeys(("ended_at", "error_type", "error_text", "error_traceback"), null())
    changed = {"status": RUNNING, **fresh, **columns}
    link.sql.execute(update(RUNS).where(RUNS.c.run_id == run_id).values(changed))


def resumes_of(link: Link, run_id: str) -> int:
    """How often a run was resumed so far."""
    return link.sql.scalar(select(RUNS.c.resumes).where(RUNS.c.run_id == run_id)) or 0


def delete_run(link: Link, run_id: str) -> None:
    """Delete a run and all that is its own. Raises `RunLeasedError` if it is under way."""
    now = database_time(link.sql.dialect.name).label("now")
    facts = (RUNS.c.run_id, RUNS.c.worker, RUNS.c.lease_token, RUNS.c.lease_until, now)
    # Nobody may take it from here on.
    statement = select(*facts).where(RUNS.c.run_id == run_id).with_for_update()
    row = link.sql.execute(statement).one_or_none()
    if row is None:
        raise RunNotFoundError(f"there is no run {run_id!r} in the journal", run_id)
    if is_held(row):
        raise held(row)
    for table in (STEPS, GROUPS, EVENTS):
        link.sql.execute(delete(table).where(table.c.run_id == run_id))
    leave(link, run_id)
    link.sql.execute(delete(RUNS).where(RUNS.c.run_id == run_id))
