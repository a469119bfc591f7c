"""Where a journal is: its URL, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import JournalError

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_FORMS = (
    "a journal is at sqlite:///file.db, sqlite:////folder/file.db or postgresql://host/database"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that SQLAlchemy takes; `file` of a SQLite database, made absolute."""

    url: URL
    file: Path | None

    @property
    def dialect(self) -> str:
        """`SQLITE` or `POSTGRESQL`."""
        return SQLITE if self.file is not None else POSTGRESQL

    @property
    def shown(self) -> str:
        """The URL, as one writes it, without its password."""
        plain = self.url.set(drivername=self.dialect)
        return plain.render_as_string(hide_password=True)

    def __str__(self) -> str:
        return str(self.file) if self.file is not None else self.shown


def read_address(text: str) -> Address:
    """The address that a URL gives; raises `JournalError` for one that is of no use."""
    if "\0" in text:
        raise JournalError(f"the journal's URL has a NUL in it: {_FORMS}")
    try:
        url = make_url(text)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        # The text may hold a password, and SQLAlchemy's own message has the whole of it.
        raise JournalError(f"the journal's URL cannot be read: {_FORMS}") from error.__cause__
    if kind in ("postgresql", "postgres"):
        return Address(_postgresql(url), None)
    if kind != SQLITE:
        raise JournalError(f"a journal cannot be in a {kind} database: {_FORMS}")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise JournalError(f"a journal does not use the driver {url.drivername}: {_FORMS}")
    if url.host or url.query or not url.database or url.database.startswith((":memory:", "file:")):
        raise JournalError(f"{url.render_as_string()} does not name a file: {_FORMS}")
    # Absolute, so that a program that changes its folder later still means this file.
    file = Path(url.database).expanduser().absolute()
    return Address(URL.create("sqlite+pysqlite", database=str(file)), file)


def _postgresql(url: URL) -> URL:
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise JournalError(
            f"a journal does not use the driver {url.drivername}; leave it out: postgresql://…"
        )
    return url.set(drivername="postgresql+psycopg")
