"""Several processes and threads at one journal: one of them has a run, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from task_pipeline import open_journal
from task_pipeline.journal.store import Journal
from tests.crashing.parent import KILLED, Children, wait_for_server
from tests.databases import database_url

__all__ = ["database_url"]

STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
STEPS = ["0", "1.0", "1.1", "2"]
RACES = 50 if STRESS else 5

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(1_500 if STRESS else 120),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork as POSIX has it"),
]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path) as process:
        yield process


@pytest.fixture
def journal(database_url: str) -> Iterator[Journal]:
    with open_journal(database_url) as opened:
        yield opened


def test_of_two_processes_that_resume_a_run_at_once_exactly_one_runs(
    children: Children, journal: Journal
) -> None:
    assert journal.runs() == []  # the tables are there now
    for number in range(RACES):
        run_id = f"race-{number}"
        command = {"url": journal.url, "run_id": run_id, "pipeline": "racing"}
        # Dead with its first step under way, so that this is the one that the winner begins with.
        killed = children.ask(does="run", commit=2, single=True, **command)
        assert killed.code == KILLED
        wait_for_server(journal.url)
        # The one that has the run waits inside its first step for the other one's refusal.
        ends = children.together([{"does": "resume", "waits": True, **command}] * 2)
        assert sorted(end.answer.get("raised", "") for end in ends) == ["", "RunLeasedError"]
        loser, winner = sorted(ends, key=lambda end: "raised" not in end.answer)
        assert children.called(run_id, loser.pid) == []
        assert sorted(children.called(run_id, winner.pid)) == STEPS
        assert f"process {winner.pid} on" in loser.answer["text"]
        record = journal.run(run_id)
        assert (record.status, record.resumes) == ("succeeded", 1)


def test_of_two_processes_that_begin_a_run_of_the_same_id_exactly_one_does(
    children: Children, journal: Journal
) -> None:
    command = {"url": journal.url, "run_id": "taken", "pipeline": "racing", "does": "run"}
    ends = children.together([{"waits": True, **command}] * 2)
    assert sorted(end.answer.get("raised", "") for end in ends) == ["", "RunExistsError"]
    assert sorted(children.called("taken")) == STEPS


@pytest.mark.parametrize(
    ("processes", "threads", "count"), [(8, 8, 10 if STRESS else 2)], ids=["8×8"]
)
def test_processes_and_threads_that_write_runs_at_once_lose_nothing(
    children: Children, journal: Journal, processes: int, threads: int, count: int
) -> None:
    """The tables are not there yet: they make those at once, too."""
    ends = children.together(
        [
            {
                "does": "write",
                "url": journal.url,
                "run_id": f"write-{at}",
                "threads": threads,
                "count": count,
            }
            for at in range(processes)
        ]
    )
    assert [end.answer["problems"] for end in ends] == [[]] * processes
    runs = journal.runs()
    assert len(runs) == processes * threads * count
    for run in runs:
        assert (run.status, run.is_live, run.lease_until) == ("succeeded", False, None)
        rows = journal.steps(run.run_id, superseded=True)
        groups = journal.groups(run.run_id, superseded=True)
        assert {row.path: row.status for row in rows} == dict.fromkeys(STEPS, "succeeded")
        assert [(group.path, group.status) for group in groups] == [("1", "succeeded")]
        assert sorted([*(row.seq for row in rows), *(group.seq for group in groups)]) == [
            0,
            1,
            2,
            3,
            4,
        ]
