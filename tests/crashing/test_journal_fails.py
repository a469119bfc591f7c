"""A journal that cannot be written any more: the run stops before its next step, and says so."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    JournalError,
    Parallel,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    TaskStep,
    open_journal,
    step,
)
from task_pipeline.journal import database
from task_pipeline.journal.store import Journal
from tests.crashing.parent import Children
from tests.databases import PostgreSQL, sqlite_url

PATIENCE = 30.0
WAYS = ["run", "arun", "start"]


class Spoilt:
    """A pipeline in the middle of which something happens to its journal."""

    def __init__(self, journal: Journal, spoil: Callable[[], object], **how: Any) -> None:
        self.called: list[str] = []
        self.spoil = spoil
        self.on_call: Callable[[str], object] = lambda name: None
        self.journal = journal
        self.is_coroutine = how.get("coroutines", False)
        steps = [
            self._step("before"),
            self._step("spoils"),
            *how.get("then", [self._step("after")]),
        ]
        config = PipelineConfig(fail_fast=how.get("fail_fast", True))
        self.pipeline = Pipeline(steps, config, journal=journal)

    def _step(self, name: str) -> TaskStep:
        def work(context: Any) -> str:
            self.called.append(name)
            self.on_call(name)
            context.results.setdefault("order", []).append(name)
            if name == "spoils":
                self.spoil()
            return name

        async def coroutine(context: Any) -> str:
            return work(context)

        return step(step_id=name)(coroutine if self.is_coroutine else work)

    def go(self, way: str) -> PipelineContext[Any]:
        if way == "arun":
            return asyncio.run(self.pipeline.arun(run_id="one"))
        if way == "start":
            return self.pipeline.start(run_id="one").result(PATIENCE)
        return self.pipeline.run(run_id="one")

    def goes_on(self, *repeated: str) -> None:
        """Resumed, it runs these steps, and comes to what it should have."""
        self.spoil = lambda: None
        record = self.journal.run("one")
        assert (record.status, record.is_live, record.ended_at) == ("running", False, None)
        rows = self.journal.steps("one", superseded=True)
        assert {row.step_id for row in rows} <= set(self.called)
        self.called.clear()
        names = ["before", "spoils", "after"][: len(self.pipeline.steps)]
        context = self.pipeline.resume("one")
        assert context.results == {"order": names, **{name: name for name in names}}
        assert self.called == list(repeated)
        assert self.journal.run("one").status == "succeeded"


class Locked:
    """Somebody else keeps the file locked, until he is told to go."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path)


@pytest.fixture
def journal(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """One that waits for a lock for a moment only."""
    monkeypatch.setattr(database, "BUSY", 0.01)
    with open_journal(url, patience=0.05) as opened:
        assert opened.runs() == []
        yield opened


@pytest.fixture
def lock(url: str, journal: Journal) -> Iterator[Locked]:
    assert journal is not None  # the file is there
    with closing(Locked(Path(url.removeprefix("sqlite:///")))) as made:
        yield made


@pytest.mark.parametrize("coroutines", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_stays_locked_ends_the_run_before_the_next_step(
    journal: Journal, lock: Locked, way: str, coroutines: bool
) -> None:
    spoilt = Spoilt(journal, lock.begin, coroutines=coroutines)
    with pytest.raises(JournalError, match=r"run 'one' cannot be recorded: .*locked") as caught:
        spoilt.go(way)
    assert caught.value.run_id == "one"
    assert spoilt.called == ["before", "spoils"]
    lock.end()
    spoilt.goes_on("spoils", "after")


@pytest.mark.parametrize("coroutines", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_journal_that_fails_at_the_very_end_fails_the_run(
    journal: Journal, lock: Locked, way: str, coroutines: bool
) -> None:
    spoilt = Spoilt(journal, lock.begin, then=[], coroutines=coroutines)
    with pytest.raises(JournalError, match="run 'one' cannot be recorded"):
        spoilt.go(way)
    assert spoilt.called == ["before", "spoils"]
    lock.end()
    spoilt.goes_on("spoils")


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_goes_on_after_failures_does_not_go_on_after_this_one(
    journal: Journal, lock: Locked, way: str
) -> None:
    spoilt = Spoilt(journal, lock.begin, fail_fast=False)
    with pytest.raises(JournalError):
        spoilt.go(way)
    assert spoilt.called == ["before", "spoils"]
    lock.end()
    spoilt.goes_on("spoils", "after")


@pytest.mark.parametrize("way", WAYS)
def test_a_group_ends_by_it_and_what_comes_behind_does_not_begin(
    journal: Journal, lock: Locked, way: str
) -> None:
    spoilt = Spoilt(journal, lambda: None)
    spoilt.pipeline = Pipeline(
        [
            spoilt._step("before"),
            Parallel([[lambda context: lock.begin(), spoilt._step("behind")]]),
            spoilt._step("after"),
        ],
        journal=journal,
    )
    with pytest.raises(JournalError):
        spoilt.go(way)
    assert spoilt.called == ["before"]
    lock.end()


@pytest.mark.parametrize("way", WAYS)
def test_tables_that_are_gone_end_the_run(journal: Journal, lock: Locked, way: str) -> None:
    spoilt = Spoilt(
        journal, lambda: lock._connection.execute("ALTER TABLE step_executions RENAME TO gone")
    )
    with pytest.raises(JournalError, match="the tables are not as they should be"):
        spoilt.go(way)
    assert spoilt.called == ["before", "spoils"]
    lock._connection.execute("ALTER TABLE gone RENAME TO step_executions")
    spoilt.goes_on("spoils", "after")


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_cannot_be_begun_runs_nothing(journal: Journal, lock: Locked, way: str) -> None:
    spoilt = Spoilt(journal, lambda: None)
    lock.begin()
    with pytest.raises(JournalError):
        spoilt.go(way)
    lock.end()
    assert spoilt.called == []
    assert journal.runs() == []


@pytest.mark.parametrize("where", ["before", "spoils", "after"])
@pytest.mark.parametrize("coroutines", [False, True])
def test_an_event_loop_goes_on_while_the_journal_is_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch, coroutines: bool, where: str
) -> None:
    """It is a task of the same loop that takes the lock away."""
    monkeypatch.setattr(database, "BUSY", 0.01)
    with open_journal(url, patience=PATIENCE) as journal:
        assert journal.runs() == []
        with closing(Locked(Path(url.removeprefix("sqlite:///")))) as lock:
            spoilt = Spoilt(journal, lambda: None, coroutines=coroutines)
            is_locked = threading.Event()

            async def unlock() -> None:
                while not is_locked.is_set():
                    await asyncio.sleep(0)  # the step's work
                for _ in range(100):
                    await asyncio.sleep(0)  # the step's work
                lock.end()

            def locks(name: str) -> None:
                if name == where:
                    lock.begin()
                    is_locked.set()

            async def both() -> PipelineContext[Any]:
                unlocking = asyncio.create_task(unlock())
                context = await spoilt.pipeline.arun()
                await unlocking
                return context

            spoilt.on_call = locks
            assert asyncio.run(both()).results["order"] == ["before", "spoils", "after"]


# A server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One of its own, as it is stopped."""
    made = PostgreSQL()
    yield made
    made.remove()


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_stays_away_ends_the_run(server: PostgreSQL, way: str) -> None:
    with open_journal(server.fresh(), patience=0.2) as journal:
        spoilt = Spoilt(journal, server.stop)
        with pytest.raises(JournalError, match="is it running"):
            spoilt.go(way)
        assert spoilt.called == ["before", "spoils"]
        server.start()
        spoilt.goes_on("spoils", "after")


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_comes_back_in_time_is_waited_for(server: PostgreSQL, way: str) -> None:
    def restart() -> None:
        server.stop()
        server.start()

    with open_journal(server.fresh()) as journal:
        spoilt = Spoilt(journal, restart)
        assert spoilt.go(way).results["order"] == ["before", "spoils", "after"]
        assert journal.run("one").status == "succeeded"
        assert [row.step_id for row in journal.steps("one")] == ["before", "spoils", "after"]


# A disk


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits and fork as POSIX has it")
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_is_full_ends_the_run_and_leaves_a_journal_to_go_on_from(
    tmp_path: Path, url: str, way: str
) -> None:
    with Children(tmp_path) as children, open_journal(url) as journal:
        command = {"url": url, "run_id": "full", "pipeline": "filling", "way": way}
        child = children.ask(does="run", fills=True, **command)
        assert child.answer["raised"] == "JournalError"
        assert "run 'full' cannot be recorded" in child.answer["text"]
        called = children.called("full")
        rows = {row.path for row in journal.steps("full")}
        assert rows < set(called) == {str(at) for at in range(len(called))}
        assert journal.run("full").status == "running"
        again = children.ask(does="resume", **command)
        assert again.context["results"]["sum"] == 60
        repeated = children.called("full", again.pid)
        assert set(repeated) == {str(at) for at in range(60)} - rows
