"""The journal as whoever resumes or looks at runs sees it, in both databases."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from task_pipeline.errors import (
    ConfigurationError,
    JournalDataError,
    JournalError,
    JournalVersionError,
    MissingExtraError,
    RunExistsError,
    RunLeasedError,
    RunNotFoundError,
)
from task_pipeline.journal import address, database, migrations
from task_pipeline.journal.large import digest_of_content
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import GroupRecord, NewRun, StepRecord
from task_pipeline.journal.store import Journal
from tests.databases import database_url, postgresql_url, sqlite_url, step_row

__all__ = ["database_url"]


def filled(journal: Journal, run_id: str = "r1", **columns: object) -> None:
    """A run of two steps and a group, that has ended."""
    lane = journal.create_run(NewRun(run_id=run_id, name="nightly", tags=("prod",), plan="[]"))
    lane.put_step(step_row(run_id, "1", seq=3, status="failed", error_type="ValueError"))
    lane.put_step(step_row(run_id, "0", seq=1, delta='{"a": 1}', stops=True))
    lane.put_group((run_id, "1", "choice", 0, 2, "pick", "succeeded", None, 1.0, 2.0, "[1]", False))
    lane.put_event(0, '{"seq": 0}')
    lane.put_event(1, '{"seq": 1}')
    lane.put_run(**{"status": "succeeded", "ended_at": time.time(), **columns})
    lane.end()


def test_what_is_put_is_read(database_url):
    with open_journal(database_url) as journal:
        lane = journal.create_run(
            NewRun(
                run_id="r1",
                name="nightly",
                fingerprint="f",
                plan="p",
                tags=("prod", 'with "quotes"'),
                input="{}",
                input_digest="d",
                context_type="C",
                created_at=5.0,
                started_at=6.5,
            )
        )
        lane.wait(lane.put_step(step_row("r1", "0", map_key="k", join_policy="n_of_m")))
        run = journal.run("r1")
        assert (run.name, run.fingerprint, run.plan, run.tags, run.input, run.input_digest) == (
            "nightly",
            "f",
            "p",
            ("prod", 'with "quotes"'),
            "{}",
            "d",
        )
        assert (run.created_at, run.started_at, run.ended_at) == (5.0, 6.5, None)
        assert (run.status, run.state, run.is_live, run.resumes) == ("running", "running", True, 0)
        assert run.worker is not None
        assert f":{os.getpid()}:" in run.worker
        assert journal.steps("r1") == [
            StepRecord(
                run_id="r1",
                path="0",
                attempt=1,
                seq=0,
                step_id="step_0",
                parent_step_id=None,
                branch_name=None,
                join_policy="n_of_m",
                join_needed=None,
                parallel_index=None,
                map_key="k",
                status="succeeded",
                started_at=1.0,
                ended_at=2.0,
                duration=1.0,
                error_type=None,
                error_text=None,
                error_traceback=None,
                error=None,
                delta=None,
            )
        ]
        lane.put_run(status="failed", error_type="E", error_text="t", ended_at=7.0)
        lane.end()
        run = journal.run("r1")
        assert (run.status, run.state, run.is_live) == ("failed", "failed", False)
        assert (run.error_type, run.error_text, run.ended_at) == ("E", "t", 7.0)


def test_rows_come_in_the_order_of_seq_and_a_row_of_the_same_key_is_replaced(database_url):
    with open_journal(database_url) as journal:
        filled(journal)
        lane = journal.lease("r1")
        lane.wait(lane.put_step(step_row("r1", "0", seq=9, stops=True)))
        assert [(step.path, step.seq, step.stops) for step in journal.steps("r1")] == [
            ("1", 3, False),
            ("0", 9, True),
        ]
        assert journal.groups("r1") == [
            GroupRecord(
                run_id="r1",
                path="1",
                kind="choice",
                round=0,
                seq=2,
                name="pick",
                status="succeeded",
                closed_by=None,
                started_at=1.0,
                ended_at=2.0,
                answer="[1]",
            )
        ]
        assert list(journal.events("r1")) == ['{"seq": 0}', '{"seq": 1}']
        lane.end()


def test_events_come_in_pieces_without_a_gap(database_url, monkeypatch):
    monkeypatch.setattr("task_pipeline.journal.reading.CHUNK", 3)
    with open_journal(database_url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        for seq in range(10):
            lane.put_event(seq, str(seq))
        lane.end()
        assert list(journal.events("r1")) == [str(seq) for seq in range(10)]


def test_what_is_not_there_is_named(database_url):
    with open_journal(database_url) as journal:
        for ask in (
            journal.run,
            journal.steps,
            journal.groups,
            journal.events,
            journal.lease,
            journal.delete,
            journal.export_run,
        ):
            with pytest.raises(RunNotFoundError, match="no run 'nobody'") as caught:
                ask("nobody")
            assert caught.value.run_id == "nobody"
        with pytest.raises(JournalDataError, match="no value"):
            journal.large("0" * 64)
        assert journal.runs() == []


def test_a_run_is_created_once(database_url):
    with open_journal(database_url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        with pytest.raises(RunExistsError, match="'r1' already"):
            journal.create_run(NewRun(run_id="r1"))
        lane.wait(lane.put_event(0, "still mine"))
        lane.end()


@pytest.mark.parametrize("run_id", ["", "a\0b", "\ud800", "x" * 501, 7, None])
def test_a_run_id_is_a_text_that_every_database_takes(tmp_path, run_id):
    with (
        open_journal(sqlite_url(tmp_path)) as journal,
        pytest.raises(JournalDataError, match="run's id is a text"),
    ):
        journal.create_run(NewRun(run_id=run_id))


def test_runs_are_listed_the_newest_first_and_filtered(database_url):
    now = time.time()
    with open_journal(database_url) as journal:
        for number, (name, tags) in enumerate(
            [("a", ("x",)), ("b", ("x", "y")), ("a", ('%"_',)), ("a", ())]
        ):
            lane = journal.create_run(
                NewRun(run_id=f"r{number}", name=name, tags=tags, created_at=now - 100 + number)
            )
            if number != 3:
                lane.put_run(status="succeeded" if number else "failed", ended_at=now)
            lane.end()

        def ids(**wanted):
            return [run.run_id for run in journal.runs(**wanted)]

        assert ids() == ["r3", "r2", "r1", "r0"]
        assert ids(limit=2) == ["r3", "r2"]
        assert ids(name="a", limit=2) == ["r3", "r2"]
        assert ids(status="failed") == ["r0"]
        assert ids(tag="x") == ["r1", "r0"]
        assert ids(tag="x", limit=1) == ["r1"]
        assert ids(tag='%"_') == ["r2"]
        assert ids(tag="%") == []
        assert ids(status="interrupted") == ["r3"]
        assert ids(status="running") == []
        assert ids(since=timedelta(seconds=98.5)) == ["r3", "r2"]
        assert ids(until="98.5s") == ["r1", "r0"]
        at = datetime.fromtimestamp(now - 98.5, UTC)
        assert ids(since=at) == ["r3", "r2"]
        assert ids(since=timedelta(minutes=5), until=timedelta(seconds=97.5)) == ["r2", "r1", "r0"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"status": "over"}, "status is one of"),
        ({"limit": 0}, "limit is a whole number"),
        ({"limit": True}, "limit is a whole number"),
        ({"since": datetime(2026, 1, 1)}, "with its time zone"),  # noqa: DTZ001  # what it is about
        ({"until": "yesterday"}, "'30d' or '12h'"),
        ({"since": -1}, "seconds from 0"),
        ({"since": True}, "seconds from 0"),
        ({"since": float("nan")}, "seconds from 0"),
    ],
)
def test_a_filter_without_meaning_is_refused(tmp_path, wanted, says):
    with (
        open_journal(sqlite_url(tmp_path)) as journal,
        pytest.raises(ConfigurationError, match=says),
    ):
        journal.runs(**wanted)


def test_what_is_superseded_is_left_out_unless_asked_for(database_url):
    with open_journal(database_url) as journal:
        filled(journal, status="failed", error_type="E", error_text="t", error_traceback="tb")
        lane = journal.lease("r1")
        journal.supersede(
            lane, steps=[("1", 1), ("no", 7)], groups=[("1", "choice", 0)], fingerprint="f2"
        )
        run = journal.run("r1")
        assert (run.state, run.resumes, run.ended_at, run.fingerprint) == ("running", 1, None, "f2")
        assert (run.error_type, run.error_text, run.error_traceback) == (None, None, None)
        assert [step.path for step in journal.steps("r1")] == ["0"]
        assert [step.path for step in journal.steps("r1", superseded=True)] == ["0", "1"]
        assert journal.groups("r1") == []
        assert len(journal.groups("r1", superseded=True)) == 1
        lane.end()
        lane = journal.lease("r1")
        journal.supersede(lane)
        assert journal.run("r1").resumes == 2
        with pytest.raises(TypeError, match="nonsense"):
            journal.supersede(lane, nonsense=1)
        with pytest.raises(TypeError, match="lease_until"):
            lane.put_run(lease_until=1.0)
        lane.end()
        with pytest.raises(JournalError, match="given back"):
            journal.supersede(lane)


def test_large_values_are_kept_once_and_go_with_the_last_who_uses_them(database_url):
    shared, own = b"s" * 2_000_000, b"\0\xff own"
    with open_journal(database_url) as journal:
        first = journal.create_run(
            NewRun(run_id="r1", large=((digest_of_content(shared), shared),))
        )
        second = journal.create_run(NewRun(run_id="r2"))
        for _ in range(2):
            second.put_large(digest_of_content(shared), shared)
        second.put_large(digest_of_content(own), own)
        first.end()
        second.end()
        assert journal.large(digest_of_content(shared)) == shared
        assert journal.large(digest_of_content(own)) == own
        journal.delete("r2")
        assert journal.large(digest_of_content(shared)) == shared
        with pytest.raises(JournalDataError):
            journal.large(digest_of_content(own))
        journal.delete("r1")
        with pytest.raises(JournalDataError):
            journal.large(digest_of_content(shared))


def test_a_deleted_run_leaves_nothing(database_url):
    with open_journal(database_url) as journal:
        filled(journal, "r1")
        filled(journal, "r2")
        journal.delete("r1")
        assert [run.run_id for run in journal.runs()] == ["r2"]
        lane = journal.create_run(NewRun(run_id="r1"))
        assert journal.steps("r1", superseded=True) == []
        assert journal.groups("r1", superseded=True) == []
        assert list(journal.events("r1")) == []
        with pytest.raises(RunLeasedError, match="under way"):
            journal.delete("r1")
        lane.end()
        assert len(journal.steps("r2")) == 2


def test_prune_deletes_what_is_old_and_nothing_that_is_under_way(database_url):
    now = time.time()
    old = now - 40 * 86400
    with open_journal(database_url) as journal:
        for run_id, status, ended in (
            ("old", "succeeded", old),
            ("failed", "failed", old),
            ("young", "succeeded", now),
        ):
            lane = journal.create_run(NewRun(run_id=run_id, created_at=old))
            lane.put_run(status=status, ended_at=ended)
            lane.end()
        journal.create_run(NewRun(run_id="cut", created_at=old)).end()
        alive = journal.create_run(NewRun(run_id="alive", created_at=old))
        assert journal.prune(older_than=timedelta(days=50)) == 0
        assert journal.prune(older_than="30d") == 1
        assert {run.run_id for run in journal.runs()} == {"failed", "young", "cut", "alive"}
        assert journal.prune(older_than=30 * 86400, keep_failed=False) == 2
        assert {run.run_id for run in journal.runs()} == {"young", "alive"}
        with pytest.raises(ConfigurationError, match="older_than is a timedelta"):
            journal.prune(older_than="soon")
        alive.end()


def test_journals_of_one_url_share_a_writer_until_the_last_is_closed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = open_journal("sqlite:///runs.db"), open_journal(f"sqlite:///{tmp_path}/runs.db")
    other = open_journal("sqlite:///runs.db", durability="full")
    lane = first.create_run(NewRun(run_id="r1"))
    first.close()
    first.close()
    lane.wait(lane.put_event(0, "{}"))
    assert second.run("r1").is_live
    assert other.run("r1").is_live
    with pytest.raises(JournalError, match="was closed"):
        first.run("r1")
    second.close()
    lane.put_event(1, "{}")
    with pytest.raises(JournalError, match="closed while the run was under way"):
        lane.wait(lane.latest)
    assert list(other.events("r1")) == ["{}"]
    other.lease("r1").end()
    other.close()


def test_nothing_is_connected_to_before_it_is_used(tmp_path):
    journal = open_journal(f"sqlite:///{tmp_path}/no/such/folder/runs.db")
    server = open_journal("postgresql://nobody:secret@127.0.0.1:1/nothing", patience=0)
    assert "secret" not in repr(server)
    assert server.durability == "normal"
    assert (server.codec, server.lease_seconds) == ("json", 30.0)
    with pytest.raises(JournalError, match="folder must exist"):
        journal.runs()
    with pytest.raises(JournalError, match="folder must exist"):
        journal.create_run(NewRun(run_id="r1"))
    with pytest.raises(JournalError, match="cannot be reached") as caught:
        server.runs()
    assert "secret" not in str(caught.value)
    journal.close()
    server.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "runs.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:runs.db?mode=ro&uri=true",
        "sqlite+aiosqlite:///runs.db",
        "sqlite://host/runs.db",
        "mysql://secret@host/runs",
        "postgresql+asyncpg://user:secret@host/runs",
        "postgresql://user:secret@host:port/runs",
        "nonsense://x",
    ],
)
def test_a_url_that_is_of_no_use_is_refused_when_the_journal_is_opened(url):
    with pytest.raises(JournalError) as caught:
        open_journal(url)
    assert "secret" not in str(caught.value)


def test_all_that_is_wrong_with_the_settings_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        open_journal(7, durability="high", codec="xml", lease=0, patience=float("inf"))  # type: ignore[arg-type]  # what it is about
    for word in ("url is", "durability is", "codec is", "lease is", "patience is"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "url", "extra"),
    [
        ("sqlalchemy", "sqlite:///runs.db", "journal"),
        ("psycopg", "postgresql://host/runs", "postgresql"),
    ],
)
def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch, missing, url, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"task-pipeline\[{extra}\]"):
        open_journal(url)


def test_importing_the_package_imports_no_sqlalchemy():
    script = (
        "import sys, task_pipeline, task_pipeline.journal, task_pipeline.journal.records\n"
        "import task_pipeline.journal.opening\n"
        "assert 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# Versions


def test_a_newer_database_is_refused_and_an_older_one_is_upgraded(database_url, monkeypatch):
    with open_journal(database_url) as journal:
        filled(journal)

    def add_column(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE workflow_runs ADD COLUMN host TEXT"))

    def fill_column(connection: Connection) -> None:
        connection.execute(text("UPDATE workflow_runs SET host = run_id"))

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "UPGRADES", {2: add_column, 3: fill_column})
        with open_journal(database_url) as journal:
            assert journal.run("r1").status == "succeeded"
        rows = ask(database_url, "SELECT version FROM task_pipeline_schema ORDER BY version")
        assert rows == [(1,), (2,), (3,)]
        assert ask(database_url, "SELECT host FROM workflow_runs") == [("r1",)]
    with (
        open_journal(database_url) as journal,
        pytest.raises(JournalVersionError, match="version 3, this one knows up to 1"),
    ):
        journal.run("r1")


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(database_url, monkeypatch):
    with open_journal(database_url) as journal:
        filled(journal)

    def breaks(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half_done (a INTEGER)"))
        raise RuntimeError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "UPGRADES", {2: breaks})
        with open_journal(database_url) as journal, pytest.raises(JournalError, match="boom"):
            journal.runs()
    with open_journal(database_url) as journal:
        assert len(journal.runs()) == 1
    with pytest.raises((sqlite3.Error, psycopg.Error)):
        ask(database_url, "SELECT * FROM half_done")


def test_a_run_of_a_newer_format_is_refused_and_can_be_deleted(database_url):
    with open_journal(database_url) as journal:
        filled(journal)
        ask(database_url, "UPDATE workflow_runs SET format = 2")
        for use in (
            journal.run,
            journal.steps,
            journal.groups,
            journal.events,
            journal.lease,
            journal.export_run,
        ):
            with pytest.raises(JournalVersionError, match="format is 2, this one knows up to 1"):
                use("r1")
        with pytest.raises(JournalVersionError, match="'r1'"):
            journal.runs()
        journal.delete("r1")
        assert journal.runs() == []


# What was tampered with


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("UPDATE workflow_runs SET status = 'over'", "status"),
        ("UPDATE workflow_runs SET tags = '[1]'", "tags"),
        ("UPDATE workflow_runs SET tags = '[' || tags", "tags"),
        ("UPDATE workflow_runs SET tags = '\"prod\"'", "tags"),
        ("UPDATE step_executions SET status = 'over'", "status"),
        ("UPDATE step_executions SET join_policy = 'most'", "join_policy"),
        ("UPDATE group_executions SET kind = 'other'", "kind"),
    ],
)
def test_a_value_of_no_meaning_is_an_error_that_says_where(database_url, statement, column):
    check_tampered(database_url, statement, column)


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("UPDATE workflow_runs SET created_at = 'noon'", "created_at"),
        ("UPDATE workflow_runs SET created_at = 9e999", "created_at"),
        ("UPDATE workflow_runs SET resumes = 1.5", "resumes"),
        ("UPDATE workflow_runs SET format = 'x'", "format"),
        ("UPDATE workflow_runs SET lease_until = 'x'", "lease_until"),
        ("UPDATE workflow_runs SET name = X'ff00'", "name"),
        ("UPDATE step_executions SET stops = 'maybe'", "stops"),
        ("UPDATE step_executions SET superseded = 7", "superseded"),
        ("UPDATE step_executions SET delta = X'00'", "delta"),
        ("UPDATE step_executions SET seq = 'x'", "seq"),
        ("UPDATE step_executions SET duration = 'x'", "duration"),
        ("UPDATE group_executions SET seq = 'x'", "seq"),
        ("UPDATE run_events SET event = X'00'", "event"),
        ("UPDATE run_events SET seq = 'x' WHERE seq = 1", "seq"),
    ],
)
def test_sqlite_takes_any_value_in_any_column_and_the_journal_does_not(tmp_path, statement, column):
    check_tampered(sqlite_url(tmp_path), statement, column)


def check_tampered(url: str, statement: str, column: str) -> None:
    table = statement.split()[1]
    with open_journal(url) as journal:
        filled(journal)
        ask(url, statement)
        with pytest.raises(JournalDataError) as caught:
            journal.run("r1")
            journal.steps("r1")
            journal.groups("r1")
            list(journal.events("r1"))
    assert f"column {column} of table {table}" in str(caught.value)
    assert "'r1'" in str(caught.value)
    assert caught.value.run_id == "r1"


def test_a_damaged_large_value_is_an_error(database_url):
    digest = digest_of_content(b"content")
    with open_journal(database_url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        lane.put_large(digest, b"content")
        lane.end()
        ask(database_url, "UPDATE large_values SET content = 'Content'")
        with pytest.raises(JournalDataError, match="its digest differs"):
            journal.large(digest)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    """What another program would get, or do."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as server:
            cursor = server.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        with file:
            return file.execute(statement).fetchall()
    finally:
        file.close()


def test_full_durability_is_what_the_database_is_told(database_url):
    place = address.read_address(database_url)
    levels = []
    for durability in ("normal", "full"):
        opened = database.Database(place, durability)
        link = opened.open(writes=True)
        asked = "SHOW synchronous_commit" if link.is_server else "PRAGMA synchronous"
        link.cursor.execute(asked)
        levels.append(link.cursor.fetchone()[0])
        if not link.is_server:
            link.cursor.execute("PRAGMA journal_mode")
            assert link.cursor.fetchone() == ("wal",)
        link.close()
        opened.close()
    assert levels in ([1, 2], ["on", "on"])


def test_export_is_json(database_url):
    with open_journal(database_url) as journal:
        filled(journal)
        assert json.loads(json.dumps(journal.export_run("r1"))) == journal.export_run("r1")


def test_a_file_that_was_deleted_is_begun_anew_with_the_next_run(tmp_path):
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        filled(journal)
        for file in tmp_path.glob("runs*"):
            Path(file).unlink()
        filled(journal, "r2")
        assert [run.run_id for run in journal.runs()] == ["r2"]


def test_postgresql_has_its_own_url_as_postgres(tmp_path):
    url = postgresql_url().replace("postgresql://", "postgres://")
    with open_journal(url) as journal:
        assert journal.runs() == []
