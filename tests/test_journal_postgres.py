"""A PostgreSQL that stops and starts again, for which these tests have one of their own."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from task_pipeline.errors import JournalError, RunLeasedError
from task_pipeline.journal.batch import RETENTION_LOCK
from task_pipeline.journal.large import digest_of_content
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import PostgreSQL, postgresql_url, step_row
from tests.test_journal_store import ask

WAIT = 30


@pytest.fixture(scope="module")
def server():
    own = PostgreSQL()
    yield own
    own.remove()


def test_a_server_that_stops_and_starts_again_is_waited_for(server):
    with open_journal(server.fresh(), patience=WAIT) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        lane.wait(lane.put_step(step_row("r1", "0")))
        server.stop()
        told = threading.Event()
        errors: list[object] = []

        def go_on() -> None:
            try:
                lane.wait(lane.put_step(step_row("r1", "1")))
            except JournalError as error:
                errors.append(error)
            told.set()

        thread = threading.Thread(target=go_on)
        thread.start()
        assert not told.wait(0.3)
        server.start()
        assert told.wait(WAIT)
        thread.join()
        assert errors == []
        lane.end()
        assert [step.path for step in journal.steps("r1")] == ["0", "1"]


def test_a_server_that_stays_away_is_an_error_and_the_next_run_is_well(server):
    url = server.fresh()
    with open_journal(url, patience=0.3) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        lane.wait(lane.put_step(step_row("r1", "0")))
        server.stop()
        try:
            with pytest.raises(JournalError, match="cannot be reached, or the connection is lost"):
                lane.wait(lane.put_step(step_row("r1", "1")))
            with pytest.raises(JournalError, match="cannot be reached"):
                journal.runs()
            with pytest.raises(JournalError, match="cannot be reached"):
                journal.create_run(NewRun(run_id="r2"))
            lane.release()
        finally:
            server.start()
        assert [step.path for step in journal.steps("r1")] == ["0"]
        again = journal.lease("r1")
        again.wait(again.put_step(step_row("r1", "2")))
        again.end()
        assert [step.path for step in journal.steps("r1")] == ["0", "2"]
        journal.create_run(NewRun(run_id="r2")).end()


def test_a_heartbeat_that_fails_is_not_the_end_of_a_run(server, caplog):
    with open_journal(server.fresh(), patience=WAIT, lease=0.6) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        server.stop()
        try:
            began = time.monotonic()
            while "could not be renewed" not in caplog.text:
                assert time.monotonic() - began < WAIT
            assert lane.error is None
        finally:
            server.start()
        lane.wait(lane.put_step(step_row("r1", "0")))
        began = time.monotonic()
        while not journal.run("r1").is_live:
            assert time.monotonic() - began < WAIT
        lane.end()


def test_a_connection_that_the_server_cuts_is_made_anew(server):
    url = server.fresh()
    with open_journal(url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        journal.runs()
        for number in range(3):
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            lane.wait(lane.put_step(step_row("r1", str(number), seq=number)))
            assert len(journal.steps("r1")) == number + 1
        lane.end()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("/journal_", "/no_such_"), "look at the URL"),
        (("//postgres@", "//nobody@"), "look at the URL"),
    ],
)
def test_a_wrong_url_is_told_at_once(change, says):
    url = postgresql_url().replace(*change)
    with open_journal(url, patience=600.0) as journal, pytest.raises(JournalError, match=says):
        journal.runs()


def test_a_database_that_takes_no_writes_says_so():
    url = postgresql_url()
    with open_journal(url) as journal:
        journal.create_run(NewRun(run_id="r1")).end()
    name = url.partition("@/")[2].partition("?")[0]
    ask(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with open_journal(url) as journal:
        assert len(journal.runs()) == 1
        with pytest.raises(JournalError, match="takes no writes now"):
            journal.create_run(NewRun(run_id="r2"))


def test_tables_that_are_gone_are_an_error():
    url = postgresql_url()
    with open_journal(url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        ask(url, "DROP TABLE step_executions")
        with pytest.raises(JournalError, match="tables are not as they should be"):
            lane.wait(lane.put_step(step_row("r1", "0")))
        with pytest.raises(JournalError, match="tables are not as they should be"):
            journal.steps("r1")


def test_a_large_value_is_not_deleted_under_a_run_that_begins_to_use_it():
    """One deletes the last run that uses it, while another one writes that it does."""
    content = b"x" * 1000
    digest = digest_of_content(content)
    url = postgresql_url()
    with open_journal(url) as journal, open_journal(url, patience=20.0) as other:
        for turn in range(30):
            lane = journal.create_run(NewRun(run_id=f"a{turn}", large=((digest, content),)))
            lane.end()
            user = other.create_run(NewRun(run_id=f"b{turn}"))
            gate = threading.Barrier(2)

            def use(user=user, gate=gate) -> None:
                gate.wait(WAIT)
                user.wait(user.put_large(digest, content))

            thread = threading.Thread(target=use)
            thread.start()
            gate.wait(WAIT)
            journal.delete(f"a{turn}")
            thread.join()
            assert journal.large(digest) == content
            user.end()
            journal.delete(f"b{turn}")


@pytest.mark.parametrize("kind", ["", "_shared"])
def test_who_deletes_large_values_and_who_writes_them_keep_out_of_each_others_way(kind):
    """Whoever deletes is alone with them; those who write need not wait for each other."""
    content = b"x" * 1000
    url = postgresql_url()
    with open_journal(url) as journal:
        old = journal.create_run(
            NewRun(run_id="old", large=((digest_of_content(content), content),))
        )
        old.end()
        lane = journal.create_run(NewRun(run_id="r1"))

        def write() -> None:
            lane.wait(lane.put_large(digest_of_content(content), content))

        def delete() -> None:
            journal.delete("old")

        for work, waits in ((write, kind == ""), (delete, True)):
            with psycopg.connect(url) as other:
                other.execute(f"SELECT pg_advisory_xact_lock{kind}({RETENTION_LOCK})".encode())
                thread = threading.Thread(target=work)
                thread.start()
                thread.join(0.3 if waits else WAIT)
                assert thread.is_alive() is waits
            thread.join(WAIT)
            assert not thread.is_alive()
        assert journal.large(digest_of_content(content)) == content
        lane.end()


def test_a_run_that_was_taken_is_seen_at_once():
    """Nobody else is kept out while a transaction is under way, so each one looks."""
    url = postgresql_url()
    with open_journal(url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        lane.wait(lane.put_step(step_row("r1", "0")))
        ask(url, "UPDATE workflow_runs SET lease_token = 'x', worker = 'somebody'")
        with pytest.raises(RunLeasedError, match="lost: run 'r1' is under way: worker 'somebody'"):
            lane.wait(lane.put_step(step_row("r1", "1")))
        assert [step.path for step in journal.steps("r1")] == ["0"]
        assert journal.run("r1").lease_token == "x"


def test_a_lock_that_another_program_keeps_is_waited_for():
    url = postgresql_url()
    with open_journal(url, patience=WAIT) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE step_executions IN EXCLUSIVE MODE")
            thread = threading.Thread(target=lambda: lane.wait(lane.put_step(step_row("r1", "0"))))
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join(WAIT)
        assert len(journal.steps("r1")) == 1
        lane.end()
