"""Leases: one worker at a time has a run, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from task_pipeline.errors import JournalError, RunLeasedError
from task_pipeline.journal import identity
from task_pipeline.journal import lane as lane_module
from task_pipeline.journal.leases import LIVING
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import database_url, sqlite_url, step_row
from tests.test_journal_store import ask

__all__ = ["database_url"]

ROOT = Path(__file__).resolve().parent.parent
WAIT = 20


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own, spoken with line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    process.wait(WAIT)


HOLD = """
import sys
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from task_pipeline.errors import JournalError
journal = open_journal(sys.argv[1], lease=float(sys.argv[2]))
lane = journal.create_run(NewRun(run_id="r1"))
lane.wait(lane.put_event(0, "mine"))
print("taken", flush=True)
for line in sys.stdin:
    try:
        lane.wait(lane.put_event(int(line), "mine"))
        print("durable", flush=True)
    except JournalError as error:
        print(type(error).__name__, error, flush=True)
"""


def test_a_run_under_way_is_leased_and_the_error_says_by_whom(database_url):
    process = child(HOLD, database_url, "30")
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    with open_journal(database_url) as journal:
        assert journal.run("r1").is_live
        with pytest.raises(
            RunLeasedError, match=rf"process {process.pid} on .* until 20"
        ) as caught:
            journal.lease("r1")
        assert " has it until 20" in str(caught.value)
        assert caught.value.run_id == "r1"
        with pytest.raises(RunLeasedError):
            journal.delete("r1")
        assert journal.prune(older_than=0, keep_failed=False) == 0
        finish(process)
        lane = journal.lease("r1")
        with pytest.raises(RunLeasedError, match="this very process"):
            journal.lease("r1")
        lane.end()
        journal.lease("r1").end()


def test_the_run_of_a_killed_process_is_free_at_once_reaped_or_not(database_url):
    process = child(HOLD, database_url, "3600")
    assert process.stdout is not None
    process.stdout.readline()
    with open_journal(database_url) as journal:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert journal.run("r1").state == "interrupted"
        assert [run.run_id for run in journal.runs(status="interrupted")] == ["r1"]
        lane = journal.lease("r1")
        finish(process)
        assert journal.run("r1").state == "running"
        lane.end()


def test_a_process_that_was_stopped_too_long_records_nothing_more(database_url):
    """It wakes up after its lease, when another one has the run."""
    process = child(HOLD, database_url, "0.6")
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)
    with open_journal(database_url) as journal:
        began = time.monotonic()
        while True:
            assert time.monotonic() - began < WAIT
            try:
                lane = journal.lease("r1")
                break
            except RunLeasedError:
                continue
        assert time.monotonic() - began > 0.2
        os.kill(process.pid, signal.SIGCONT)
        process.stdin.write("7\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer.startswith("RunLeasedError the lease of run 'r1' was lost")
        assert f"process {os.getpid()} on " in answer
        lane.wait(lane.put_event(1, "other"))
        assert list(journal.events("r1")) == ["mine", "other"]
        lane.end()
        finish(process)


def test_a_quiet_run_keeps_its_lease(database_url):
    with open_journal(database_url, lease=0.3) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        first = journal.run("r1").lease_until
        assert first is not None
        began = time.monotonic()
        while time.monotonic() - began < WAIT:
            run = journal.run("r1")
            assert run.is_live
            assert run.lease_until is not None
            if run.lease_until > first + 0.6:
                break
        else:
            pytest.fail("not renewed")
        assert lane.error is None
        lane.end()
        assert not journal.run("r1").is_live


def test_a_lane_that_was_dropped_leaves_its_run_free(tmp_path):
    with open_journal(sqlite_url(tmp_path)) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        lane.wait(lane.put_event(0, "{}"))
        assert journal.run("r1").is_live
        del lane
        assert journal.run("r1").state == "interrupted"
        journal.lease("r1").end()


def test_a_lease_that_has_expired_can_be_taken_from_a_worker_nobody_knows(database_url):
    with open_journal(database_url) as journal:
        journal.create_run(NewRun(run_id="r1")).end()
        ask(database_url, "UPDATE workflow_runs SET worker = 'somebody', lease_until = 9e9")
        with pytest.raises(RunLeasedError, match="worker 'somebody' has it until 2255"):
            journal.lease("r1")
        ask(database_url, "UPDATE workflow_runs SET lease_until = 1.0")
        journal.lease("r1").end()


def test_what_was_stolen_fails_the_lane_and_nothing_of_it_is_written(database_url, monkeypatch):
    told: list[object] = []
    with open_journal(database_url) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        other = journal.create_run(NewRun(run_id="r2"))
        ask(database_url, "UPDATE workflow_runs SET lease_token = 'x' WHERE run_id = 'r1'")
        # In SQLite, a look is taken only when part of the lease has gone by.
        later = lane_module.elapsed() + 16
        monkeypatch.setattr(lane_module, "elapsed", lambda: later)
        journal._store.writer.turn.acquire()
        lane.put_step(step_row("r1", "0"))
        lane.when_durable(lane.latest, told.append)
        other.put_step(step_row("r2", "0"))
        journal._store.writer.turn.release()
        other.wait(other.latest)
        with pytest.raises(RunLeasedError, match="lease of run 'r1' was lost"):
            lane.wait(lane.latest)
        with pytest.raises(RunLeasedError):
            lane.end()
        with pytest.raises(RunLeasedError):
            journal.supersede(lane)
        assert journal.steps("r1") == []
        assert len(journal.steps("r2")) == 1
        began = time.monotonic()
        while not told:
            assert time.monotonic() - began < WAIT
        assert isinstance(told[0], RunLeasedError)
        other.end()
        lane.release()


def test_a_run_that_was_deleted_under_a_lane_is_lost(database_url):
    with open_journal(database_url, lease=0.3) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        ask(database_url, "DELETE FROM workflow_runs")
        began = time.monotonic()
        while lane.error is None:
            assert time.monotonic() - began < WAIT
        with pytest.raises(RunLeasedError, match="was deleted"):
            lane.wait(lane.put_event(0, "{}"))


def test_a_clock_that_is_set_forward_makes_a_lane_look_again(tmp_path, monkeypatch):
    with open_journal(sqlite_url(tmp_path)) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        assert not lane.is_due(1 / 3)
        now = time.time()
        monkeypatch.setattr("task_pipeline.journal.lane.time.time", lambda: now + 20)
        assert lane.is_due(1 / 3)
        monkeypatch.undo()
        lane.end()


RACE = """
import sys
from task_pipeline.journal.opening import open_journal
from task_pipeline.errors import RunLeasedError
with open_journal(sys.argv[1]) as journal:
    held = []
    journal.runs()
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            lane = journal.lease(line.strip())
            held.append(lane)
            print("won", flush=True)
        except RunLeasedError as error:
            print("lost", flush=True)
    for lane in held:
        lane.end()
"""


def test_of_two_processes_that_resume_at_once_exactly_one_wins(database_url):
    with open_journal(database_url) as journal:
        for number in range(50):
            journal.create_run(NewRun(run_id=f"r{number}")).end()
        processes = [child(RACE, database_url) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        outcomes = []
        for number in range(50):
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"r{number}\n")
                process.stdin.flush()
            outcomes.append(sorted(process.stdout.readline() for process in processes))  # type: ignore[union-attr]  # it is a pipe
        assert outcomes == [["lost\n", "won\n"]] * 50
        for process in processes:
            finish(process)
            assert process.returncode == 0


def test_of_many_threads_that_resume_at_once_exactly_one_wins(database_url):
    with open_journal(database_url) as journal:
        journal.create_run(NewRun(run_id="r1")).end()
        gate = threading.Barrier(8)
        won, lost = [], []

        def resume() -> None:
            gate.wait(WAIT)
            try:
                won.append(journal.lease("r1"))
            except RunLeasedError as error:
                lost.append(error)

        threads = [threading.Thread(target=resume) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 7)
        won[0].end()


# Who a worker is


def test_a_worker_is_dead_only_if_that_is_certain(monkeypatch):
    me = identity.worker()
    assert not identity.is_dead(me)
    host, pid, machine, namespace, start = me.split(":")
    assert identity.is_dead(":".join((host, pid, machine, namespace, str(int(start) + 1))))
    assert not identity.is_dead(f"{host}:999999999:other boot:{namespace}:{start}")
    assert not identity.is_dead(f"{host}:999999999:{machine}:7:{start}")
    assert not identity.is_dead(f"{host}:{pid}:{machine}:{namespace}:")
    for name in (None, "", "a:b:c:d:e", "somebody"):
        assert not identity.is_dead(name)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(WAIT)
    dead = ":".join((host, str(gone.pid), machine, namespace, start))
    assert identity.is_dead(dead)
    # A process that /proc does not show, as it is another user's.
    monkeypatch.setattr(identity, "_state", lambda _pid: None)
    assert not identity.is_dead(me)
    monkeypatch.setattr("task_pipeline.journal.identity.os.kill", refuse)
    assert not identity.is_dead(dead)


def refuse(_pid: int, _signal: int) -> None:
    raise PermissionError


def test_without_a_proc_file_system_only_the_lease_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "_PROC", tmp_path / "none")
    identity._worker.cache_clear()
    me = identity.worker()
    assert me.endswith(":::")
    assert not identity.is_dead(me)
    identity._worker.cache_clear()


def test_a_lane_is_known_as_long_as_it_is_held(tmp_path):
    with open_journal(sqlite_url(tmp_path)) as journal:
        lane = journal.create_run(NewRun(run_id="r1"))
        assert LIVING.has(lane.token)
        lane.end()
        assert not LIVING.has(lane.token)
        with pytest.raises(JournalError):
            journal.create_run(NewRun(run_id="r1"))
        assert [held.run_id for held in LIVING.all() if held.queue is lane.queue] == []
