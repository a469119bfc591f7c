"""Bringing a database to the tables that this version of the library works with.

A database that has none is given those of `schema`, an older one goes through the upgrades
from its version on, all in one transaction and under a lock, so that any number of processes
may open it at once. Every version it came by is a row of `task_pipeline_schema`.

Why not Alembic: a library's migrations run inside somebody else's program, where Alembic wants
a folder of scripts, an environment module and a table `alembic_version`, which is just what the
program itself may have in that same database. And its import takes more than 100 ms on top of
SQLAlchemy's 170, to apply a numbered list under a lock, which is what stands below.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import func, insert, inspect, select, text
from sqlalchemy.engine import Connection

from ..errors import JournalVersionError
from .address import Address
from .schema import METADATA, VERSIONS

UPGRADES: dict[int, Callable[[Connection], None]] = {}
"""By number, from 2 on: what makes a database of the version before into that one."""

# The same in every process; nobody else's by chance.
_LOCK = 0x7461736B5F706970


def newest() -> int:
    """The version that this library works with."""
    return max(UPGRADES, default=1)


def version_of(connection: Connection, address: Address) -> int:
    """The version of a database, 0 for one without tables; a newer one is an error."""
    if not inspect(connection).has_table(VERSIONS.name):
        return 0
    found = connection.scalar(select(func.max(VERSIONS.c.version))) or 0
    if found > newest():
        raise JournalVersionError(
            f"the journal at {address} was written by a newer version of task_pipeline: it has "
            f"version {found}, this one knows up to {newest()}; upgrade task_pipeline"
        )
    return int(found)


def migrate(connection: Connection, address: Address) -> None:
    """Bring a database to the newest version; the transaction is the caller's."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    # Asked again under the lock: another process may have done it meanwhile.
    found = version_of(connection, address)
    if found == newest():
        return
    if found == 0:
        METADATA.create_all(connection, checkfirst=False)
        _note(connection, newest())
        return
    for number in range(found + 1, newest() + 1):
        UPGRADES[number](connection)
        _note(connection, number)


def _note(connection: Connection, number: int) -> None:
    connection.execute(insert(VERSIONS).values(version=number, applied_at=time.time()))
