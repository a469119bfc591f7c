"""The statements of the writer: built by SQLAlchemy once, then plain text with plain tuples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Table,
    bindparam,
    false,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from .schema import EVENTS, GROUPS, LARGE, RUNS, STEPS, USES


def database_time(dialect: str) -> ColumnElement[float]:
    """The database's own clock, seconds since the epoch: one for all who lease its runs."""
    if dialect == "sqlite":
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)
    return literal_column("extract(epoch FROM clock_timestamp())::double precision", Double)


# What the columns say of most attempts that nothing need be said of. SQLite's driver takes
# 0.15 µs for each value that it is given, more than for one that stands in the statement.
_USUAL: dict[str, bool | None] = {
    **dict.fromkeys(("error_type", "error_text", "error_traceback", "error")),
    **dict.fromkeys(("join_needed", "map_key")),
    **dict.fromkeys(("superseded", "stops"), False),
}
_STEP_COLUMNS = [column.name for column in STEPS.columns]

USUAL = tuple(_USUAL[name] for name in _STEP_COLUMNS if name in _USUAL)
"""If this is `unsaid` of a row, the brief statement will do, which takes what is `said`."""
unsaid = itemgetter(*(i for i, name in enumerate(_STEP_COLUMNS) if name in _USUAL))
said = itemgetter(*(i for i, name in enumerate(_STEP_COLUMNS) if name not in _USUAL))


def _put(
    table: Table,
    dialect: str,
    *,
    keeps: bool = False,
    usual: Mapping[str, bool | None] | None = None,
) -> Any:
    """Insert a row; over one of the same key, or leave that as it is.

    What is `usual` stands in the statement and is not given.
    """
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(table)
    if usual:
        given = {c.name: bindparam(c.name, type_=c.type) for c in table.columns}
        fixed = {name: null() if value is None else false() for name, value in usual.items()}
        statement = statement.values({**given, **fixed})
    key = [column.name for column in table.primary_key]
    if keeps:
        return statement.on_conflict_do_nothing(index_elements=key)
    changed = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=key, set_=changed)


def new_run(dialect: str, row: dict[str, Any]) -> Any:
    """Insert a run's row unless there is one: a statement for SQLAlchemy, that knows its count."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(RUNS).values(row).on_conflict_do_nothing(index_elements=["run_id"])
    return statement.execution_options(preserve_rowcount=True)


class Statements:
    """Texts for one kind of database, and the order in which each takes its values.

    A row of a table takes them in the order of its columns.
    """

    def __init__(self, dialect: Dialect) -> None:
        kind: Any = type(dialect)
        # Parameters by position, whatever the driver's own way is.
        self._dialect = kind(paramstyle="qmark" if dialect.name == "sqlite" else "format")
        name = dialect.name
        self.is_server = name != "sqlite"
        self.step = self._row(STEPS, _put(STEPS, name))
        takes = tuple(column for column in _STEP_COLUMNS if column not in _USUAL)
        self.brief_step = self._text(_put(STEPS, name, usual=_USUAL), takes)
        self.group = self._row(GROUPS, _put(GROUPS, name))
        self.event = self._row(EVENTS, _put(EVENTS, name))
        self.large = self._row(LARGE, _put(LARGE, name, keeps=True))
        self.use = self._row(USES, _put(USES, name, keeps=True))
        mine = (RUNS.c.run_id == bindparam("run")) & (RUNS.c.lease_token == bindparam("token"))
        until = database_time(name) + bindparam("lease", type_=Double)
        self.renew = self._text(
            update(RUNS).where(mine).values(lease_until=until), ("lease", "run", "token")
        )
        self.give_back = self._text(
            update(RUNS).where(mine).values(lease_until=null()), ("run", "token")
        )
        # Locked where the database can, so that nobody takes the run before this is committed.
        self.own = self._text(select(RUNS.c.run_id).where(mine).with_for_update(), ("run", "token"))
        self.create = self._create(name)
        self._updates: dict[frozenset[str], tuple[str, tuple[str, ...]]] = {}

    def _create(self, dialect: str) -> str:
        """A run's row, of which `lease_until` is given as seconds from now."""
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        takes = tuple(column.name for column in RUNS.columns)
        values: dict[str, Any] = {name: bindparam(name, type_=RUNS.c[name].type) for name in takes}
        values["lease_until"] = database_time(dialect) + bindparam("lease_until", type_=Double)
        statement = insert(RUNS).values(values).on_conflict_do_nothing(index_elements=["run_id"])
        return self._text(statement, takes)

    def update_run(self, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
        """Takes the values of the columns, in the order returned, then the run's id."""
        key = frozenset(names)
        found = self._updates.get(key)
        if found is None:
            order = tuple(column.name for column in RUNS.columns if column.name in key)
            values = {name: bindparam(f"new_{name}", type_=RUNS.c[name].type) for name in order}
            statement = update(RUNS).where(RUNS.c.run_id == bindparam("run")).values(values)
            takes = (*(f"new_{name}" for name in order), "run")
            found = self._updates[key] = self._text(statement, takes), order
        return found

    def _row(self, table: Table, statement: Any) -> str:
        return self._text(statement, tuple(column.name for column in table.columns))

    def _text(self, statement: Any, takes: tuple[str, ...]) -> str:
        compiled = statement.compile(dialect=self._dialect)
        if tuple(compiled.positiontup) != takes:  # pragma: no cover  # SQLAlchemy keeps the order
            raise AssertionError(f"{compiled} takes {compiled.positiontup}, not {takes}")
        return str(compiled)
