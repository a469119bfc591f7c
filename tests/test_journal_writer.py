"""The writer: order, group commit, who writes, and what happens to whom when it cannot."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from task_pipeline.errors import JournalDataError, JournalError
from task_pipeline.journal import keeper
from task_pipeline.journal import lane as lane_module
from task_pipeline.journal import writer as writer_module
from task_pipeline.journal.lane import Lane
from task_pipeline.journal.large import digest_of_content
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from task_pipeline.journal.store import Journal
from tests.databases import database_url, sqlite_url, step_row

__all__ = ["database_url"]

WAIT = 20


@pytest.fixture
def journal(database_url):
    with open_journal(database_url, patience=5.0) as opened:
        yield opened


@pytest.fixture
def sqlite_journal(tmp_path):
    with open_journal(sqlite_url(tmp_path), patience=5.0) as opened:
        yield opened


def lane_of(journal: Journal, run_id: str) -> Lane:
    return journal.create_run(NewRun(run_id=run_id))


def paths(journal: Journal, run_id: str) -> list[str]:
    return [step.path for step in journal.steps(run_id)]


class Held:
    """Keeps the writer's turn, so that nothing is written meanwhile."""

    def __init__(self, journal: Journal) -> None:
        self._turn = journal._store.writer.turn

    def __enter__(self) -> None:
        self._turn.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._turn.release()


def test_numbers_grow_over_the_journal_and_a_lane_knows_its_last(journal):
    one, two = lane_of(journal, "r1"), lane_of(journal, "r2")
    assert one.is_durable(one.latest)
    one.wait(one.latest)
    numbers = [one.put_event(0, "{}"), two.put_event(0, "{}"), one.put_event(1, "{}")]
    assert numbers == sorted(set(numbers))
    assert (one.latest, two.latest) == (numbers[2], numbers[1])
    with pytest.raises(ValueError, match="was not put into this lane"):
        two.wait(numbers[2])
    one.end()
    two.end()


def test_what_one_waits_for_takes_along_all_that_is_queued(journal):
    one, two = lane_of(journal, "r1"), lane_of(journal, "r2")
    with Held(journal):
        first = one.put_step(step_row("r1", "0"))
        other = two.put_step(step_row("r2", "0"))
        last = one.put_step(step_row("r1", "1"))
        assert not one.is_durable(first)
    two.wait(other)
    assert one.is_durable(first)
    assert one.is_durable(last)
    assert paths(journal, "r1") == ["0", "1"]
    one.end()
    two.end()


def test_what_nobody_waits_for_is_written_all_the_same(journal):
    lane = lane_of(journal, "r1")
    number = lane.put_event(0, "{}")
    began = time.monotonic()
    while not lane.is_durable(number):
        assert time.monotonic() - began < WAIT
    assert list(journal.events("r1")) == ["{}"]
    lane.end()


def test_a_long_queue_does_not_wait_for_the_next_look(sqlite_journal, monkeypatch):
    monkeypatch.setattr(keeper, "TICK", 600.0)
    monkeypatch.setattr(writer_module, "MANY", 4)
    lane = lane_of(sqlite_journal, "r1")
    # Rung once for the first record, and once it has looked it sleeps for a tick.
    with Held(sqlite_journal):
        numbers = [lane.put_event(seq, "{}") for seq in range(4)]
    while not lane.is_durable(numbers[-1]):
        assert lane.error is None
    monkeypatch.undo()
    lane.end()


def test_a_callback_comes_once_with_what_became_of_the_record(journal):
    lane = lane_of(journal, "r1")
    told: list[object] = []
    came = threading.Event()

    def hear(error: JournalError | None) -> None:
        told.append(error)
        came.set()

    with Held(journal):
        number = lane.put_event(0, "{}")
        lane.when_durable(number, hear)
        assert told == []
    assert came.wait(WAIT)
    assert told == [None]
    lane.when_durable(number, told.append)
    assert told == [None, None]
    lane.end()
    lane.when_durable(lane.put_event(1, "{}"), told.append)
    assert isinstance(told[-1], JournalError)


def test_a_callback_that_raises_is_logged_and_disturbs_nobody(journal, caplog):
    lane = lane_of(journal, "r1")
    came = threading.Event()

    def boom(_error: JournalError | None) -> None:
        raise ValueError("boom")

    with caplog.at_level(logging.ERROR, "task_pipeline.journal"), Held(journal):
        number = lane.put_event(0, "{}")
        lane.when_durable(number, boom)
        lane.when_durable(number, lambda _error: came.set())
    assert came.wait(WAIT)
    assert "boom" in caplog.text
    lane.end()


def test_threads_that_wait_share_transactions(sqlite_journal):
    lane = lane_of(sqlite_journal, "r1")
    commits = 0
    link = sqlite_journal._store.writer.link
    assert link is not None
    plain = link.commit

    def counted() -> None:
        nonlocal commits
        commits += 1
        plain()

    link.commit = counted
    gate = threading.Barrier(9)

    def work(thread: int) -> None:
        gate.wait(WAIT)
        lane.wait(lane.put_step(step_row("r1", str(thread))))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    with Held(sqlite_journal):
        gate.wait(WAIT)
        began = time.monotonic()
        while len(sqlite_journal._store.writer.queue) < 8:
            assert time.monotonic() - began < WAIT
    for thread in threads:
        thread.join()
    assert commits == 1
    assert len(paths(sqlite_journal, "r1")) == 8
    lane.end()


def test_many_threads_lose_nothing(journal):
    lanes = [lane_of(journal, f"r{number}") for number in range(4)]

    def work(lane: Lane, part: int) -> None:
        for number in range(25):
            lane.wait(lane.put_step(step_row(lane.run_id, f"{part}.{number}")))

    threads = [threading.Thread(target=work, args=(lane, p)) for lane in lanes for p in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lane in lanes:
        lane.end()
        assert len(paths(journal, lane.run_id)) == 50


def test_a_lane_that_has_ended_records_nothing_more(journal):
    lane = lane_of(journal, "r1")
    lane.end()
    lane.end()
    number = lane.put_step(step_row("r1", "late"))
    with pytest.raises(JournalError, match="given back") as caught:
        lane.wait(number)
    assert caught.value.run_id == "r1"
    lane.release()
    assert paths(journal, "r1") == []


def test_a_late_record_does_not_keep_a_lane_from_ending(journal):
    lane = lane_of(journal, "r1")
    with Held(journal):
        ended = threading.Thread(target=lane.end)
        ended.start()
        while lane.final is None:
            pass
        lane.put_step(step_row("r1", "late"))
    ended.join(WAIT)
    assert lane.error is None
    assert not journal.run("r1").is_live
    assert paths(journal, "r1") == []


def test_events_are_made_when_they_are_written_and_may_follow_the_end(journal, caplog, monkeypatch):
    lane = lane_of(journal, "r1")
    assert journal.next_event("r1") == 0
    lane.put_event(0, lambda: "made")
    assert journal.next_event("r1") == 1

    def boom() -> str:
        raise ValueError("an event's own")

    lane.put_event(1, boom)
    lane.put_step(step_row("r1", "0"))
    lane.end()
    later = lane_module.elapsed() + 16  # a lease that is held would be renewed by now
    monkeypatch.setattr(lane_module, "elapsed", lambda: later)
    lane.put_event(2, "late")
    assert journal.next_event("r1") == 3
    assert list(journal.events("r1")) == ["made", "late"]
    assert paths(journal, "r1") == ["0"]
    assert "event 1 of run 'r1' cannot be written down" in caplog.text
    assert journal.run("r1").lease_until is None


def test_events_of_a_run_that_somebody_else_has_by_now_are_not_written(journal):
    """They would stand over those of the worker that has it, or over another run's."""
    lane = lane_of(journal, "r1")
    lane.end()
    other = journal.lease("r1")
    other.wait(other.put_event(0, "the other's"))
    lane.put_event(0, "late")
    assert journal.next_event("r1") == 1
    assert list(journal.events("r1")) == ["the other's"]
    other.end()
    journal.delete("r1")
    other.put_event(1, "later still")
    journal._store.writer.write()
    journal.create_run(NewRun(run_id="r1")).end()
    assert list(journal.events("r1")) == []


BAD_ROWS = [
    ("too short", lambda run: (run, "bad")),
    ("no key", lambda run: step_row(run, "bad", attempt=None)),
    ("no status", lambda run: step_row(run, "bad", status=None)),
    ("of no type", lambda run: step_row(run, "bad", delta=object())),
    ("too big", lambda run: step_row(run, "bad", seq=2**70)),
    ("no text", lambda run: step_row(run, "bad", delta='"\ud800"')),
    ("no row", lambda _run: 7),
]


@pytest.mark.parametrize("bad", [row for _, row in BAD_ROWS], ids=[name for name, _ in BAD_ROWS])
def test_bad_values_fail_their_own_lane_and_no_other(journal, bad):
    good, worse, best = (lane_of(journal, name) for name in ("good", "worse", "best"))
    told: list[object] = []
    with Held(journal):
        good.put_step(step_row("good", "0"))
        worse.put_step(step_row("worse", "0"))
        number = worse.put_step(bad("worse"))
        worse.when_durable(number, told.append)
        worse.put_step(step_row("worse", "1"))
        best.put_step(step_row("best", "0"))
    good.wait(good.latest)
    best.wait(best.latest)
    with pytest.raises(JournalDataError, match="run 'worse' cannot be recorded") as caught:
        worse.wait(number)
    assert caught.value.run_id == "worse"
    assert isinstance(worse.error, JournalDataError)
    worse.put_step(step_row("worse", "2"))
    with pytest.raises(JournalDataError):
        worse.wait(worse.latest)
    with pytest.raises(JournalDataError):
        worse.end()
    began = time.monotonic()
    while not told:
        assert time.monotonic() - began < WAIT
    assert isinstance(told[0], JournalDataError)
    assert len(told) == 1
    good.end()
    best.end()
    worse.release()
    assert paths(journal, "good") == ["0"]
    assert paths(journal, "best") == ["0"]
    assert paths(journal, "worse") == []
    later = journal.lease("worse")
    later.wait(later.put_step(step_row("worse", "3")))
    later.end()
    assert paths(journal, "worse") == ["3"]


def test_a_text_that_a_database_has_no_sign_for_is_spelled_out(journal):
    lane = lane_of(journal, "r1")
    lane.put_step(step_row("r1", "0", error_text="a\0b\ud800c", step_id="s\udc80"))
    lane.put_group(("r1", "0", "group", 0, 1, "g\udc80", "failed", None, 1.0, 2.0, None, False))
    lane.put_run(error_text="\ud800")
    lane.end()
    (step,) = journal.steps("r1")
    assert (step.error_text, step.step_id) == ("a\\x00b\\ud800c", "s\\udc80")
    assert journal.groups("r1")[0].name == "g\\udc80"
    assert journal.run("r1").error_text == "\\ud800"
    other = journal.create_run(NewRun(run_id="r2", name="n\0\ud800", tags=("\0", "\ud800")))
    other.end()
    run = journal.run("r2")
    assert (run.name.startswith("n"), run.tags) == (True, ("\0", "\ud800"))
    assert [found.run_id for found in journal.runs(tag="\ud800")] == ["r2"]


def test_an_interrupted_thread_leaves_its_batch_to_the_next(sqlite_journal, monkeypatch):
    lane = lane_of(sqlite_journal, "r1")
    from task_pipeline.journal.batch import put_down as plain

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        plain(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, "put_down", interrupted)
    number = lane.put_step(step_row("r1", "0"))
    with pytest.raises(KeyboardInterrupt):
        lane.wait(number)
    monkeypatch.undo()
    lane.wait(number)
    assert paths(sqlite_journal, "r1") == ["0"]
    assert calls
    lane.end()


def test_ctrl_c_at_any_moment_loses_nothing(tmp_path):
    """The main thread writes, and is interrupted over and over."""
    url = sqlite_url(tmp_path)
    script = f"""
import os, signal, threading
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import step_row

journal = open_journal({url!r}, patience=3.0)
lane = journal.create_run(NewRun(run_id="r1"))
stop = threading.Event()
def interrupt():
    while not stop.wait(0.005):
        os.kill(os.getpid(), signal.SIGINT)
interrupts = done = 0
pest = threading.Thread(target=interrupt)
pest.start()
while done < 3000:
    try:
        number = lane.put_step(step_row("r1", str(done), seq=done))
        while not lane.is_durable(number):
            try:
                lane.wait(number)
            except KeyboardInterrupt:
                interrupts += 1
        done += 1
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
stop.set()
pest.join()
lane.end()
assert interrupts > 10, interrupts
assert {{step.path for step in journal.steps("r1")}} == {{str(n) for n in range(3000)}}
journal.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_queued_at_exit_is_written(database_url):
    script = f"""
from task_pipeline.journal import keeper
from task_pipeline.journal import lane as lane_module
keeper.TICK = 600.0
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun

journal = open_journal({database_url!r})
lane = journal.create_run(NewRun(run_id="r1"))
lane.put_event(0, "last words")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=50)
    with open_journal(database_url) as journal:
        assert list(journal.events("r1")) == ["last words"]
        assert journal.run("r1").state == "interrupted"


def test_a_forked_child_has_a_connection_and_a_thread_of_its_own(database_url, journal):
    lane = lane_of(journal, "r1")
    with Held(journal):  # as another thread may have the turn, at the moment of the fork
        child = os.fork()
        if child == 0:
            code = 1
            try:
                try:
                    lane.wait(lane.put_event(0, "child"))
                except JournalError as error:
                    code = 2 if "forked from" in str(error) else 3
                own = journal.create_run(NewRun(run_id="child"))
                own.wait(own.put_event(0, "child"))
                own.end()
                code = 0 if code == 2 else code
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    lane.wait(lane.put_event(0, "parent"))
    lane.end()
    assert list(journal.events("r1")) == ["parent"]
    assert list(journal.events("child")) == ["child"]


def test_an_idle_journal_lets_go_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "IDLE", 0.02)
    url = sqlite_url(tmp_path)
    with open_journal(url) as journal:
        for run_id in ("r1", "r2"):
            lane_of(journal, run_id).end()
            began = time.monotonic()
            while journal._store.writer.link is not None:
                assert time.monotonic() - began < WAIT
            assert not journal._store.writer.is_tended
            while [file.suffix for file in tmp_path.iterdir()] != [".db"]:
                assert time.monotonic() - began < WAIT
        assert len(journal.runs()) == 2


def test_a_child_that_is_killed_loses_nothing_that_was_durable(database_url):
    """SIGKILL at any moment: what a lane has waited for stands there, and nothing in part."""
    script = f"""
import sys
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.databases import step_row

journal = open_journal({database_url!r})
lane = journal.create_run(NewRun(run_id=sys.argv[1]))
for number in range(100000):
    lane.put_event(number, str(number))
    lane.wait(lane.put_step(step_row(sys.argv[1], str(number), seq=number)))
    print(number, flush=True)
"""
    with open_journal(database_url) as journal:
        for turn in range(4):
            child = subprocess.Popen(
                [sys.executable, "-c", script, f"r{turn}"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parent.parent,
            )
            assert child.stdout is not None
            for _ in range(20 + 7 * turn):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            said = int((child.stdout.read().split() or ["0"])[-1])
            child.stdout.close()
            child.wait(WAIT)
            numbers = [step.seq for step in journal.steps(f"r{turn}")]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > said
            assert len(list(journal.events(f"r{turn}"))) >= len(numbers)
            assert journal.run(f"r{turn}").state == "interrupted"
            journal.lease(f"r{turn}").end()


def test_the_file_of_a_journal_is_a_plain_sqlite_file(tmp_path):
    url = sqlite_url(tmp_path)
    content = b"x" * 10
    with open_journal(url) as journal:
        lane = lane_of(journal, "r1")
        lane.put_large(digest_of_content(content), content)
        lane.end()
    file = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert file.execute("SELECT size, content FROM large_values").fetchall() == [(10, content)]
    file.close()
