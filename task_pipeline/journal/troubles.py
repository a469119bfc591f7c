"""What a database says when it cannot, put into words; and whether it passes."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import JournalDataError, JournalError
from .address import SQLITE, Address

PASSES, EVERYONE, ONE = "passes", "everyone", "one"


class Trouble(Exception):
    """Why a transaction failed, in words.

    `kind` is `PASSES` for what may be gone on the next try, `EVERYONE` for what any transaction
    would meet, and `ONE` for what is wrong with this one.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        """The words."""
        return self.text

    def error(self, run_id: str | None = None) -> JournalError:
        """It as the error to raise for a run."""
        kind = JournalDataError if self.kind == ONE else JournalError
        of = "" if run_id is None else f"run {run_id!r} cannot be recorded: "
        error = kind(f"{of}{self.text}", run_id)
        error.__cause__ = self.__cause__
        return error


# By the primary code of SQLite: what to tell.
_SQLITE = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, then resume the run",
    sqlite3.SQLITE_READONLY: "the file, or its folder, is read-only; make both writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; its folder must exist and be writable",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; put a copy of it in its place",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; give another file",
    sqlite3.SQLITE_PERM: "access to the file is denied",
    sqlite3.SQLITE_AUTH: "access to the file is denied",
    sqlite3.SQLITE_IOERR: "the file cannot be read or written; is the disk full, or a limit on "
    "the size of files reached?",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked",
    sqlite3.SQLITE_LOCKED: "another program keeps the file locked",
    sqlite3.SQLITE_PROTOCOL: "another program keeps the file locked",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}
_SQLITE_PASSES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

_SERVER_PASSES = {
    "40001": "it could not be put in order with another one",
    "40P01": "it met another one in a deadlock",
    "55P03": "another program keeps the table locked",
    "53300": "the server has too many connections",
    "57P01": "the server is shutting down",
    "57P02": "the server is restarting",
    "57P03": "the server is starting",
    "57P05": "the server has closed the connection",
    "25P03": "the transaction was open for too long, and the server has ended it",
}
# By the class of an SQLSTATE, its first two characters.
_SERVER_EVERYONE = {
    "25": "the database takes no writes now: is it a standby?",
    "28": "the server refuses this user or password",
    "3D": "there is no such database; create it",
    "42": "the tables are not as they should be, or this user may not use them",
    "53": "the server has no room left: disk full, or out of memory",
    "58": "the server has trouble with its system",
    "XX": "the server found itself, or its data, damaged",
}
# A connection that is refused comes without an SQLSTATE: only the text tells.
_REFUSED = ("authentication failed", "does not exist", "no pg_hba.conf entry", "role ", "SSL")
_COMING = ("starting up", "shutting down", "recovery mode", "too many clients")


def trouble_of(error: BaseException, address: Address, *, was_connected: bool) -> Trouble:
    """Put an error into words.

    Who was never connected is told at once that a server is not there: its address may be wrong.
    """
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if address.dialect == SQLITE:
        kind, text = _of_sqlite(error)
    else:
        kind, text = _of_postgresql(error, was_connected)
    detail = " ".join(str(error).split()) or type(error).__name__
    trouble = Trouble(kind, f"{text} ({address}: {type(error).__name__}: {detail})")
    trouble.__cause__ = error
    return trouble


def _of_sqlite(error: BaseException) -> tuple[str, str]:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.Error) and code is not None:
        primary = code & 0xFF
        if primary in _SQLITE:
            return (PASSES if primary in _SQLITE_PASSES else EVERYONE), _SQLITE[primary]
        if primary == sqlite3.SQLITE_ERROR:
            return EVERYONE, "the tables are not as they should be"
    return _of_anything(error)


def _of_postgresql(error: BaseException, was_connected: bool) -> tuple[str, str]:
    from psycopg import InterfaceError, OperationalError

    state: str | None = getattr(error, "sqlstate", None)
    text = str(error)
    if state in _SERVER_PASSES:
        return PASSES, _SERVER_PASSES[state]
    if isinstance(error, OperationalError | InterfaceError) and (
        state is None or state.startswith("08")
    ):
        if any(part in text for part in _COMING):
            return PASSES, "the server is not ready"
        if any(part in text for part in _REFUSED):
            return EVERYONE, "the server refuses the connection; look at the URL"
        words = "the server cannot be reached, or the connection is lost; is it running?"
        return (PASSES if was_connected else EVERYONE), words
    if state is not None and state[:2] in _SERVER_EVERYONE:
        return EVERYONE, _SERVER_EVERYONE[state[:2]]
    return _of_anything(error)


def _of_anything(error: BaseException) -> tuple[str, str]:
    if isinstance(error, SQLAlchemyError):
        return EVERYONE, "the database cannot be used"
    return ONE, "the database does not take these values"
