"""Databases for the tests of the journal: a fresh SQLite file, a fresh PostgreSQL database.

One PostgreSQL server for a whole session of tests, started here from the programs that the
package `pgserver` brings along, or else from those on PATH or under /usr/lib/postgresql.
"""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from task_pipeline.journal.records import STEP_COLUMNS

_numbers = itertools.count()


def sqlite_url(folder: Path) -> str:
    """Of a file that is not there yet."""
    return f"sqlite:///{folder / f'runs{next(_numbers)}.db'}"


def _programs() -> Path:
    """The folder of `initdb`, `pg_ctl` and `postgres`."""
    spec = importlib.util.find_spec("pgserver")
    brought = [Path(spec.origin).parent / "pginstall/bin"] if spec and spec.origin else []
    on_path = [Path(found).resolve().parent for found in [shutil.which("pg_ctl")] if found]
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in [*brought, *on_path, *system]:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise RuntimeError("no PostgreSQL: install pgserver, or put initdb and pg_ctl on PATH")


class PostgreSQL:
    """A server of the tests' own, on a Unix socket: no port is taken."""

    def __init__(self) -> None:
        self._bin = _programs()
        # Short, as the path of a socket must be; readable for the user it runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="tp-pg-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        atexit.register(self.remove)
        self._call("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-N")
        self.start()

    def _call(self, program: str, *arguments: str) -> None:
        # A server refuses to run as root.
        user: dict[str, Any] = {"user": "nobody", "extra_groups": []}
        log = self.folder / "calls.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [self._bin / program, "-D", self.folder / "data", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                check=False,
                **(user if os.geteuid() == 0 else {}),
            )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {log.read_text()[-2000:]}")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._call("pg_ctl", "start", "-w", "-s", "-o", options, "-l", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; "immediate" is as a crash: every connection is cut."""
        self._call("pg_ctl", "stop", "-w", "-s", "-m", mode)

    def remove(self) -> None:
        """Stop it for good."""
        if (self.folder / "data/postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self) -> str:
        """The URL of a database that was made for this call."""
        name = f"journal_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def address(self, name: str) -> str:
        """What psycopg takes."""
        return f"postgresql://postgres@/{name}?host={self.folder}"


_servers: list[PostgreSQL] = []


def postgresql() -> PostgreSQL:
    """The session's server."""
    if not _servers:
        _servers.append(PostgreSQL())
    return _servers[0]


def postgresql_url() -> str:
    """Of a fresh database on the session's server."""
    return postgresql().fresh()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a fresh database, once of each kind."""
    return sqlite_url(tmp_path) if request.param == "sqlite" else postgresql_url()


def step_row(run_id: str, path: str, **values: object) -> tuple[object, ...]:
    """A row of a step that has succeeded, but for the values given."""
    row: dict[str, object] = dict.fromkeys(STEP_COLUMNS)
    row.update(
        run_id=run_id,
        path=path,
        attempt=1,
        seq=0,
        step_id=f"step_{path}",
        status="succeeded",
        started_at=1.0,
        ended_at=2.0,
        duration=1.0,
        superseded=False,
        stops=False,
    )
    row.update(values)
    return tuple(row.values())
