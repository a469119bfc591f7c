"""The way into a database: engines, and connections whose transactions are begun by hand."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from ..errors import JournalError, MissingExtraError
from .address import SQLITE, Address
from .migrations import migrate, newest, version_of
from .troubles import Trouble, trouble_of

# How long SQLite itself waits for a lock, in seconds; the writer tries again after that.
BUSY = 5.0
# What stays of the write-ahead log's file after a checkpoint, in bytes.
WAL_LIMIT = 16 * 1024 * 1024
# What waits for a server that does not answer, in seconds, unless the URL says so itself.
CONNECT_TIMEOUT = 10


def make_engine(address: Address, durability: str, lease: float, patience: float) -> Engine:
    """An engine; nothing is connected to yet. Raises `MissingExtraError` without a driver."""
    if address.dialect == SQLITE:
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": min(BUSY, patience)}
        # A file is opened in microseconds, and a connection that is not kept leaves no lock.
        engine = create_engine(
            address.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=arguments,
        )
    else:
        engine = _postgresql_engine(address)
    full = durability == "full"

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _record: object) -> None:
        try:
            cursor = connection.cursor()
            if address.dialect == SQLITE:
                _settle_sqlite(cursor, full)
            else:
                _settle_postgresql(cursor, full, lease, patience)
            cursor.close()
        except BaseException:
            connection.close()  # nobody else has it yet
            raise

    return engine


def _postgresql_engine(address: Address) -> Engine:
    try:
        import psycopg  # noqa: F401  # only to see that it is there
    except ImportError as error:
        raise MissingExtraError("a journal in PostgreSQL", "postgresql", "psycopg") from error
    query = address.url.query
    arguments: dict[str, Any] = {"application_name": "task_pipeline"}
    arguments["connect_timeout"] = CONNECT_TIMEOUT
    if "prepare_threshold" in query:  # a setting of the driver's own, which takes no text
        arguments["prepare_threshold"] = _threshold(str(query["prepare_threshold"]))
    return create_engine(
        address.url.difference_update_query(["prepare_threshold"]),
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=8,
        connect_args={
            name: value
            for name, value in arguments.items()
            if name == "prepare_threshold" or name not in query
        },
    )


def _threshold(text: str) -> int | None:
    """After how many uses psycopg prepares a statement; None for never."""
    if text.lower() == "none":
        return None
    if text.isdecimal():
        return int(text)
    raise JournalError(
        f"prepare_threshold={text!r} in the journal's URL is neither a whole number nor 'none'"
    )


def _settle_postgresql(cursor: Any, full: bool, lease: float, patience: float) -> None:
    if full:
        cursor.execute("SET synchronous_commit = on")
    # Who is suspended, or cut off, in the middle of a transaction keeps others from its run no
    # longer than its lease would; and who waits for it does so no longer than for a lost server.
    cursor.execute(f"SET idle_in_transaction_session_timeout = {_milliseconds(lease)}")
    cursor.execute(f"SET lock_timeout = {_milliseconds(patience)}")


def _milliseconds(seconds: float) -> int:
    # 0 would be without end, and more than this is more than the server takes.
    return min(max(1, int(seconds * 1000)), 2**31 - 1)


def _settle_sqlite(cursor: sqlite3.Cursor, full: bool) -> None:
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        # Needs the file for itself for a moment, and may not wait for it: whoever opens a
        # connection tries again when it is told that the file is locked.
        try:
            (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            # A file that cannot be written can be read all the same.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
        else:
            if mode != "wal":
                raise JournalError("SQLite cannot keep a write-ahead log beside this file")
    cursor.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
    cursor.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
    # Whoever commits pays for the checkpoint: less often costs less, as most pages are the same.
    cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_LIMIT // 4096}")


class Link:
    """One connection. Its transactions are begun and ended here, not by SQLAlchemy.

    `sql` takes SQLAlchemy's statements, `cursor` plain text: both in the same transaction.
    """

    def __init__(self, engine: Engine, *, writes: bool) -> None:
        self.sql: Connection = engine.connect()
        driver: Any = self.sql.connection.dbapi_connection
        self._driver = driver
        self.cursor: Any = driver.cursor()
        self.is_server = engine.dialect.name != SQLITE
        if not self.is_server:
            self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        else:
            self._begin = "BEGIN" if writes else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def begin(self) -> None:
        """Begin a transaction; in SQLite one that writes has the file for itself from here on."""
        self.cursor.execute(self._begin)

    def commit(self) -> None:
        """Make it durable."""
        if self.is_server:
            self._driver.commit()
        else:
            self.cursor.execute("COMMIT")  # stays prepared, unlike the driver's own

    def close(self, *, has_failed: bool = False) -> None:
        """Undo what is not committed, and close; a connection that is lost already is no error.

        One that has failed is not given back, not even to a pool.
        """
        # In this order: SQLite keeps a file locked for a statement that is not done with.
        steps = [self.cursor.close, self._driver.rollback]
        if has_failed:
            steps.append(self.sql.invalidate)
        for step in (*steps, self.sql.close):
            with contextlib.suppress(Exception):
                step()


class Database:
    """A database of which the tables are as they must be, whoever opens it first."""

    def __init__(
        self, address: Address, durability: str, lease: float = 30.0, patience: float = 30.0
    ) -> None:
        self.address = address
        self._file = str(address.file)
        self.engine = make_engine(address, durability, lease, patience)
        self.was_connected = False
        self._is_ready = False
        # A connection of another process: never used, and never closed, which would tell the
        # server or the file that the other one is gone.
        self._inherited: list[object] = []

    def open(self, *, writes: bool) -> Link:
        """Connect; on the first time, bring the tables to their newest version."""
        link = Link(self.engine, writes=writes)
        try:
            if not self._is_ready:
                self._prepare(link)
                # A file may be another one the next time.
                self._is_ready = link.is_server
        except BaseException:
            link.close(has_failed=True)
            raise
        self.was_connected = True
        return link

    def identity(self) -> object:
        """What tells a file from another one that was put in its place; None if it is gone."""
        if self.address.file is None:
            return True
        try:
            found = os.stat(self._file)  # noqa: PTH116  # a third of what the path takes for it
        except OSError:
            return None
        return (found.st_dev, found.st_ino)

    def _prepare(self, link: Link) -> None:
        if version_of(link.sql, self.address) == newest():
            return
        # Not by the link given, which may be one that only reads.
        writing = Link(self.engine, writes=True)
        try:
            writing.begin()
            migrate(writing.sql, self.address)
            writing.commit()
        finally:
            writing.close()

    def trouble(self, error: BaseException) -> Trouble:
        """Put what went wrong into words."""
        return trouble_of(error, self.address, was_connected=self.was_connected)

    def forget(self, links: list[Link]) -> None:
        """In a child after `fork()`: leave the parent's connections to the parent."""
        self._inherited += [*links, self.engine.pool]
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close what is kept open; it opens again when it is used."""
        self.engine.dispose()
