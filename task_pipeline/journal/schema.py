"""The tables, one schema for SQLite and PostgreSQL.

What others put in as text stays text: nothing is decoded here. A table that is looked up by
its whole key only is kept in the order of that key, where the database can.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

METADATA = MetaData()


def _text(name: str, *, key: bool = False, null: bool = True) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=null and not key)


def _number(name: str, *, key: bool = False, null: bool = True) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=null and not key, autoincrement=False)


def _time(name: str, *, null: bool = True) -> Column[float]:
    return Column(name, Double, nullable=null)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


RUNS = Table(
    "workflow_runs",
    METADATA,
    _text("run_id", key=True),
    _text("name", null=False),
    _text("fingerprint", null=False),
    _text("plan", null=False),
    _text("status", null=False),
    _text("tags", null=False),
    _text("input"),
    _text("input_digest"),
    _text("context_type"),
    _text("codec", null=False),
    _text("error_type"),
    _text("error_text"),
    _text("error_traceback"),
    _time("created_at", null=False),
    _time("started_at"),
    _time("ended_at"),
    _number("resumes", null=False),
    _text("worker"),
    _text("lease_token"),
    _time("lease_until"),
    _number("format", null=False),
    Index("workflow_runs_by_creation", "created_at"),
)

STEPS = Table(
    "step_executions",
    METADATA,
    _text("run_id", key=True),
    _text("path", key=True),
    _number("attempt", key=True),
    _number("seq", null=False),
    _text("step_id", null=False),
    _text("parent_step_id"),
    _text("branch_name"),
    _text("join_policy"),
    _number("join_needed"),
    _number("parallel_index"),
    _text("map_key"),
    _text("status", null=False),
    _time("started_at"),
    _time("ended_at"),
    _time("duration"),
    _text("error_type"),
    _text("error_text"),
    _text("error_traceback"),
    _text("error"),
    _text("delta"),
    _flag("superseded"),
    _flag("stops"),
    sqlite_with_rowid=False,
)

GROUPS = Table(
    "group_executions",
    METADATA,
    _text("run_id", key=True),
    _text("path", key=True),
    _text("kind", key=True),
    _number("round", key=True),
    _number("seq", null=False),
    _text("name", null=False),
    _text("status", null=False),
    _text("closed_by"),
    _time("started_at"),
    _time("ended_at"),
    _text("answer"),
    _flag("superseded"),
    sqlite_with_rowid=False,
)

EVENTS = Table(
    "run_events",
    METADATA,
    _text("run_id", key=True),
    _number("seq", key=True),
    _text("event", null=False),
    sqlite_with_rowid=False,
)

LARGE = Table(
    "large_values",
    METADATA,
    _text("digest", key=True),
    _number("size", null=False),
    Column("content", LargeBinary, nullable=False),
)

USES = Table(
    "large_value_uses",
    METADATA,
    _text("run_id", key=True),
    _text("digest", key=True),
    Index("large_value_uses_by_digest", "digest"),
    sqlite_with_rowid=False,
)

VERSIONS = Table(
    "task_pipeline_schema",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    _time("applied_at", null=False),
)
"""One row for each version that this database has been brought to, the highest one is its own."""
