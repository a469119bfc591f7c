"""Which runs are old enough to go."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select

from ..errors import RunLeasedError, RunNotFoundError
from .database import Link
from .lifecycle import delete_run
from .records import RUNNING, SUCCEEDED
from .schema import RUNS


def _is_outdated(before: float, keep_failed: bool) -> ColumnElement[bool]:
    ended = RUNS.c.ended_at
    if keep_failed:
        return (RUNS.c.status == SUCCEEDED) & (ended < before)
    # An interrupted run has no end: it counts from its beginning.
    began = func.coalesce(RUNS.c.started_at, RUNS.c.created_at)
    is_cut = (RUNS.c.status == RUNNING) | ended.is_(None)
    return ((RUNS.c.status != RUNNING) & (ended < before)) | (is_cut & (began < before))


def outdated(link: Link, before: float, keep_failed: bool) -> list[str]:
    """The ids of the runs that ended before a moment."""
    statement = select(RUNS.c.run_id).where(_is_outdated(before, keep_failed))
    return list(link.sql.scalars(statement.order_by(RUNS.c.created_at)))


def prune_run(run_id: str, before: float, keep_failed: bool, link: Link) -> bool:
    """Delete a run if it is old still: somebody may have resumed or deleted it meanwhile."""
    is_it = select(RUNS.c.run_id).where(RUNS.c.run_id == run_id, _is_outdated(before, keep_failed))
    if link.sql.scalar(is_it) is None:
        return False
    try:
        delete_run(link, run_id)
    except (RunLeasedError, RunNotFoundError):
        return False
    return True
