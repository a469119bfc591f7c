"""A SQLite file in trouble: many writers, no room, no permission, no longer a database."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from task_pipeline.errors import JournalDataError, JournalError
from task_pipeline.journal.address import read_address
from task_pipeline.journal.database import Database
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import database_url, sqlite_url, step_row
from tests.test_journal_store import filled

__all__ = ["database_url"]

ROOT = Path(__file__).resolve().parent.parent
WAIT = 50

MANY = """
import sys, threading
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from task_pipeline.journal import store  # as opening a journal does
from tests.databases import step_row

url, process = sys.argv[1:]
journal = open_journal(url)
errors = []
print("ready", flush=True)
sys.stdin.readline()

def work(thread):
    try:
        for number in range(2):
            run_id = f"{process}.{thread}.{number}"
            lane = journal.create_run(NewRun(run_id=run_id))
            for step in range(8):
                lane.wait(lane.put_step(step_row(run_id, str(step), seq=step)))
            lane.put_run(status="succeeded", ended_at=1.0)
            lane.end()
            assert len(journal.steps(run_id)) == 8
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
journal.close()
assert not errors, errors
"""


def test_eight_processes_of_eight_threads_write_to_one_fresh_database(database_url):
    """They make the tables, switch to the write-ahead log and write, all at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MANY, database_url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=WAIT)
        assert (process.returncode, errors) == (0, "")
    with open_journal(database_url) as journal:
        runs = journal.runs()
        assert len(runs) == 8 * 8 * 2
        assert {run.state for run in runs} == {"succeeded"}
        assert all(len(journal.steps(run.run_id)) == 8 for run in runs[:16])


def test_a_transaction_that_writes_keeps_others_out_from_its_beginning(tmp_path):
    """So that a lease that is looked at, or is fresh, stays so until the commit."""
    url = sqlite_url(tmp_path)
    opened = Database(read_address(url), "normal")
    link = opened.open(writes=True)
    link.begin()
    file = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        file.execute("BEGIN IMMEDIATE")
    reading = opened.open(writes=False)
    reading.begin()
    link.commit()
    file.execute("BEGIN IMMEDIATE")
    file.close()
    reading.close()
    link.close()
    opened.close()


# No room

FULL = """
import resource, signal, sys
from task_pipeline.errors import JournalError
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import step_row

journal = open_journal(sys.argv[1], patience=1.0)
lane = journal.create_run(NewRun(run_id="r1"))
lane.wait(lane.put_step(step_row("r1", "first")))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
durable = ["first"]
failed = None
for number in range(2000):
    row = step_row("r1", str(number), delta="x" * 5000)
    try:
        lane.wait(lane.put_step(row))
        durable.append(str(number))
    except JournalError as error:
        failed = error
        break
assert failed is not None
print(failed)
try:
    lane.wait(lane.put_step(step_row("r1", "after")))
    raise AssertionError("a lane that failed goes on")
except JournalError:
    pass
try:
    journal.create_run(NewRun(run_id="r2", plan="x" * 1_000_000))
    raise AssertionError("there is room")
except JournalError as error:
    assert "r2" in str(error) or "full" in str(error) or "limit" in str(error), error
assert {step.path for step in journal.steps("r1")} == set(durable)
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    import os
    os.remove(sys.argv[2])
assert {step.path for step in journal.steps("r1")} == set(durable)
later = journal.create_run(NewRun(run_id="r3"))
later.wait(later.put_step(step_row("r3", "0")))
later.end()
lane.release()
again = journal.lease("r1")
again.wait(again.put_step(step_row("r1", "again")))
again.end()
assert {step.path for step in journal.steps("r1")} == {*durable, "again"}
journal.close()
"""


def run_full(url: str, how: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, url, how],
        capture_output=True,
        text=True,
        timeout=WAIT,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def intact(url: str) -> bool:
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return bool(file.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    finally:
        file.close()


def test_a_file_that_may_not_grow_is_a_clear_error_and_passes(tmp_path):
    url = sqlite_url(tmp_path)
    said = run_full(url, "limit")
    assert "run 'r1' cannot be recorded" in said
    assert "a limit on the size of files" in said or "disk is full" in said
    assert intact(url)


def test_a_full_disk_is_a_clear_error_and_passes(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount; the limit on a file's size is tried above")
    try:
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * 300_000)
        url = f"sqlite:///{folder}/runs.db"
        said = run_full(url, str(ballast))
        assert "the disk is full; make room" in said
        assert intact(url)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_one_of_two_lanes_ends_well_when_the_disk_was_full_only_for_the_other(tmp_path):
    """What a failed transaction had of other lanes is not lost with it."""
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        good = journal.create_run(NewRun(run_id="good"))
        big = journal.create_run(NewRun(run_id="big"))
        with journal._store.writer.turn:
            good.put_step(step_row("good", "0"))
            big.put_step(step_row("big", "0", delta=7, seq="no number"))
            big.put_step(step_row("big", "1", status=None))
        good.wait(good.latest)
        with pytest.raises(JournalDataError, match="status"):
            big.wait(big.latest)
        good.end()
        assert len(journal.steps("good")) == 1
        assert journal.steps("big") == []


# No permission

READ_ONLY = """
import os, sys
from task_pipeline.errors import JournalError
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
with open_journal(sys.argv[2]) as journal:  # so that all is imported that will be
    journal.create_run(NewRun(run_id="r1")).end()
    journal.runs()
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
with open_journal(sys.argv[1], patience=1.0) as journal:
    for use in (
        lambda: print(len(journal.runs()), journal.run("r1").status, len(journal.steps("r1"))),
        lambda: journal.create_run(NewRun(run_id="r2")),
        lambda: journal.lease("r1"),
        lambda: journal.delete("r1"),
    ):
        try:
            use()
        except JournalError as error:
            print(error)
"""


@pytest.fixture
def readable(tmp_path):
    """A folder that another user can look into."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.owner() == tmp_path.owner() and folder != Path("/tmp"):
            folder.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("folder", [0o777, 0o555])
def test_a_read_only_file_says_so(readable, tmp_path_factory, folder):
    """SQLite has files of its own beside it, without which it cannot even be read for sure."""
    url = sqlite_url(readable)
    with open_journal(url) as journal:
        filled(journal)
    file = Path(url.removeprefix("sqlite:///"))
    assert list(readable.iterdir()) == [file]
    file.chmod(0o444)
    readable.chmod(folder)
    other = sqlite_url(tmp_path_factory.mktemp("other"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ_ONLY, url, other],
        capture_output=True,
        text=True,
        timeout=WAIT,
        cwd=ROOT,
        check=False,
    )
    readable.chmod(0o755)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    says = ("is read-only; make both writable", "its folder must exist and be writable")
    assert lines[0] == "1 succeeded 2" or any(part in lines[0] for part in says), lines
    assert all(any(part in line for part in says) for line in lines[1:]), lines


def test_a_lane_whose_file_becomes_read_only_fails_and_says_so(tmp_path):
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        link = journal._store.writer.link
        assert link is not None
        link.cursor.execute("PRAGMA query_only = 1")
        with pytest.raises(JournalError, match="read-only; make both writable"):
            lane.wait(lane.put_step(step_row("r1", "0")))
        lane.release()
        assert journal.run("r1").lease_until is None
        later = journal.lease("r1")
        later.wait(later.put_step(step_row("r1", "1")))
        later.end()
        assert [step.path for step in journal.steps("r1")] == ["1"]


def test_a_lock_that_passes_is_waited_for_and_one_that_stays_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("task_pipeline.journal.database.BUSY", 0.01)
    url = sqlite_url(tmp_path)
    with open_journal(url, patience=0.2) as hasty, open_journal(url, patience=30.0) as patient:
        one = hasty.create_run(NewRun(run_id="r1"))
        two = patient.create_run(NewRun(run_id="r2"))
        file = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        file.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="keeps the file locked"):
            one.wait(one.put_event(0, "{}"))
        with pytest.raises(JournalError, match="keeps the file locked"):
            hasty.create_run(NewRun(run_id="r3"))
        waiting = threading.Thread(target=lambda: two.wait(two.put_event(0, "{}")))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        file.execute("ROLLBACK")
        waiting.join(WAIT)
        assert list(patient.events("r2")) == ["{}"]
        assert list(patient.events("r1")) == []
        file.close()
        two.end()


# No database


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    file = tmp_path / "runs.db"
    file.write_text("this is a text, and a long one at that\n" * 100)
    with open_journal(f"sqlite:///{file}") as journal:
        for use in (journal.runs, lambda: journal.create_run(NewRun(run_id="r1"))):
            with pytest.raises(JournalError, match="is not a SQLite database"):
                use()
    assert file.read_text().startswith("this is a text")
    with (
        open_journal(f"sqlite:///{tmp_path}") as journal,
        pytest.raises(JournalError, match="cannot be opened"),
    ):
        journal.runs()


@pytest.mark.parametrize("part", [0.1, 0.35, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error_and_never_less_than_was_there(tmp_path, part):
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        for number in range(20):
            filled(journal, f"r{number}")
    file = Path(url.removeprefix("sqlite:///"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with open_journal(url) as journal, pytest.raises(JournalError):
        for number in range(20):
            assert len(journal.steps(f"r{number}")) == 2
            assert len(journal.groups(f"r{number}")) == 1
            assert len(list(journal.events(f"r{number}"))) == 2
        assert not json.dumps([run.run_id for run in journal.runs()])


def test_tables_that_are_somebody_elses_are_an_error(tmp_path):
    url = sqlite_url(tmp_path)
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    file.execute("CREATE TABLE workflow_runs (a INTEGER)")
    file.close()
    with open_journal(url) as journal, pytest.raises(JournalError, match="workflow_runs already"):
        journal.runs()


def test_a_text_that_is_no_utf8_is_an_error(tmp_path):
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        filled(journal)
        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        with file:
            file.execute("UPDATE step_executions SET step_id = CAST(X'ff' AS TEXT)")
        file.close()
        with pytest.raises(JournalError, match="UTF-8"):
            journal.steps("r1")


def test_the_limit_on_files_is_there_to_be_set():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
