"""Rows of the database as records, each value checked: what is read may have been tampered with."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    func,
    select,
    type_coerce,
)

from ..errors import (
    ConfigurationError,
    JournalDataError,
    JournalVersionError,
    RunNotFoundError,
)
from .database import Link
from .leases import is_held
from .records import (
    FORMAT,
    GROUP_COLUMNS,
    GROUP_KINDS,
    INTERRUPTED,
    JOIN_POLICIES,
    RUN_COLUMNS,
    RUN_STATUSES,
    RUNNING,
    STEP_COLUMNS,
    STEP_STATUSES,
    GroupRecord,
    RunRecord,
    StepRecord,
)
from .schema import EVENTS, GROUPS, RUNS, STEPS
from .statements import database_time

R = TypeVar("R", StepRecord, GroupRecord)

# So many events are had at a time, and no connection is held between.
CHUNK = 1000


class Wrong(Exception):
    """What a value should have been."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("a text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise Wrong("a whole number")
    return value


_FARTHEST = 2.5e11  # seconds from 1970 to the year 9892


def _number(value: Any) -> float:
    # Of a time, what no calendar has is none; a duration is well below.
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _FARTHEST:
        raise Wrong("a number")
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) not in (bool, int) or value not in (0, 1):
        raise Wrong("true or false")
    return bool(value)


def _tags(value: Any) -> tuple[str, ...]:
    try:
        tags = json.loads(_text(value))
    except (ValueError, RecursionError) as error:
        raise Wrong("a list of texts in JSON") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Wrong("a list of texts in JSON")
    return tuple(tags)


def _one_of(known: frozenset[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise Wrong("one of " + ", ".join(sorted(known)))
        return value

    return read


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_BY_TYPE: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "str | None": _or_none(_text),
    "int": _whole,
    "int | None": _or_none(_whole),
    "float": _number,
    "float | None": _or_none(_number),
    "bool": _flag,
    "tuple[str, ...]": _tags,
}


def _readers(record: type[Any], /, **own: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    return {
        field.name: own.get(field.name) or _BY_TYPE[str(field.type)] for field in fields(record)
    }


_READERS = {
    RUNS.name: _readers(RunRecord, status=_one_of(RUN_STATUSES)),
    STEPS.name: _readers(
        StepRecord, status=_one_of(STEP_STATUSES), join_policy=_or_none(_one_of(JOIN_POLICIES))
    ),
    GROUPS.name: _readers(GroupRecord, status=_one_of(STEP_STATUSES), kind=_one_of(GROUP_KINDS)),
}


def read_values(table: Table, names: Iterable[str], row: Any, run_id: str) -> dict[str, Any]:
    """The values of a row, checked; raises `JournalDataError` with table, run and column."""
    readers = _READERS[table.name]
    values = {}
    for name in names:
        value = getattr(row, name)
        try:
            values[name] = readers[name](value)
        except Wrong as wrong:
            raise JournalDataError(
                f"column {name} of table {table.name} must be {wrong}, not {value!r:.80} "
                f"(run {run_id!r}): the journal is damaged, or was changed by hand",
                run_id,
            ) from wrong
    return values


def raw(table: Table) -> list[ColumnElement[Any]]:
    """Its columns, such that what really stands in them is had, and nothing made of it."""
    plain = {Boolean: Integer, LargeBinary: Text}
    return [
        type_coerce(column, plain[type(column.type)]).label(column.name)
        if type(column.type) in plain
        else column
        for column in table.columns
    ]


def select_runs(link: Link) -> Select[Any]:
    """All runs, each with the time it is now."""
    return select(*raw(RUNS), database_time(link.sql.dialect.name).label("now"))


def newer(run_id: str, found: int) -> str:
    """What to say of a run that a newer version has written."""
    return (
        f"run {run_id!r} was written by a newer version of task_pipeline: its format is {found}, "
        f"this one knows up to {FORMAT}; upgrade task_pipeline"
    )


def run_record(row: Any) -> RunRecord:
    """A run as a record; raises `JournalVersionError` for one of a newer version."""
    run_id = row.run_id if isinstance(row.run_id, str) else repr(row.run_id)
    values = read_values(RUNS, ("format",), row, run_id)
    if values["format"] > FORMAT:
        raise JournalVersionError(newer(run_id, values["format"]), run_id)
    values = read_values(RUNS, RUN_COLUMNS, row, run_id)
    return RunRecord(**values, is_live=is_held(row))


def read_run(link: Link, run_id: str) -> RunRecord:
    """One run; raises `RunNotFoundError`."""
    row = link.sql.execute(select_runs(link).where(RUNS.c.run_id == run_id)).one_or_none()
    if row is None:
        raise RunNotFoundError(f"there is no run {run_id!r} in the journal", run_id)
    return run_record(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs are asked for; raises `ConfigurationError` for a status or limit of no meaning."""

    status: str | None = None
    name: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        known = RUN_STATUSES | {INTERRUPTED}
        if self.status is not None and self.status not in known:
            raise ConfigurationError(
                f"status is one of {', '.join(sorted(known))}, not {self.status!r}"
            )
        limit = self.limit
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ConfigurationError(f"limit is a whole number from 1, not {limit!r}")

    def selected(self, statement: Select[Any]) -> Select[Any]:
        """What the database can tell; whether a worker lives, and what a tag is, it cannot."""
        conditions: list[ColumnElement[bool]] = []
        if self.status is not None:
            status = RUNNING if self.status == INTERRUPTED else self.status
            conditions.append(RUNS.c.status == status)
        if self.name is not None:
            conditions.append(RUNS.c.name == self.name)
        if self.tag is not None:
            conditions.append(RUNS.c.tags.contains(json.dumps(self.tag), autoescape=True))
        if self.since is not None:
            conditions.append(RUNS.c.created_at >= self.since)
        if self.until is not None:
            conditions.append(RUNS.c.created_at <= self.until)
        return statement.where(*conditions)

    def has(self, run: RunRecord) -> bool:
        """Whether a run is asked for, of those that the database has told."""
        if self.status is not None and run.state != self.status:
            return False
        return self.tag is None or self.tag in run.tags


def read_runs(link: Link, wanted: Wanted) -> list[RunRecord]:
    """The runs that are asked for, the newest first."""
    newest_first = (RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
    statement = wanted.selected(select_runs(link)).order_by(*newest_first)
    # Not all at once: most of them may not be wanted.
    with link.sql.execute(statement, execution_options={"stream_results": True}) as rows:
        found = (run for run in map(run_record, rows) if wanted.has(run))
        return list(itertools.islice(found, wanted.limit))


def read_steps(link: Link, run_id: str, *, superseded: bool) -> list[StepRecord]:
    """The attempts of a run, in the order of `seq`."""
    return _read(link, StepRecord, STEPS, STEP_COLUMNS, run_id, superseded)


def read_groups(link: Link, run_id: str, *, superseded: bool) -> list[GroupRecord]:
    """The groups of a run, in the order of `seq`."""
    return _read(link, GroupRecord, GROUPS, GROUP_COLUMNS, run_id, superseded)


def _read(
    link: Link,
    kind: type[R],
    table: Table,
    names: tuple[str, ...],
    run_id: str,
    superseded: bool,
) -> list[R]:
    read_run(link, run_id)
    statement = select(*raw(table)).where(table.c.run_id == run_id).order_by(table.c.seq)
    found = [kind(**read_values(table, names, row, run_id)) for row in link.sql.execute(statement)]
    return found if superseded else [record for record in found if not record.superseded]


def read_events(link: Link, run_id: str, after: int | None) -> list[tuple[int, str]]:
    """Some of a run's events, in order, those after a number."""
    statement = select(EVENTS.c.seq, EVENTS.c.event).where(EVENTS.c.run_id == run_id)
    if after is not None:
        statement = statement.where(EVENTS.c.seq > after)
    events = []
    for seq, text in link.sql.execute(statement.order_by(EVENTS.c.seq).limit(CHUNK)):
        if type(seq) is not int or not isinstance(text, str):
            raise JournalDataError(
                f"column {'event' if type(seq) is int else 'seq'} of table {EVENTS.name} holds "
                f"{seq if type(seq) is not int else text!r:.80} (run {run_id!r}): the journal is "
                "damaged, or was changed by hand",
                run_id,
            )
        events.append((seq, text))
    return events


def next_event(link: Link, run_id: str) -> int:
    """The number after that of a run's last event."""
    last = select(func.max(EVENTS.c.seq)).where(EVENTS.c.run_id == run_id)
    seq = link.sql.execute(last).scalar_one()
    return seq + 1 if isinstance(seq, int) else 0


def chunks(read: Callable[[int | None], list[tuple[int, str]]]) -> Iterator[str]:
    """All events, had in pieces."""
    after: int | None = None
    while found := read(after):
        after = found[-1][0]
        yield from (text for _, text in found)
