"""Guarantee 14: what is recorded survives `kill -9`, is not repeated, and nothing is lost.

Children are killed at random moments and around every commit; see `crashing`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import open_journal
from task_pipeline.journal.store import Journal
from tests.crashing.parent import (
    FINAL,
    KILLED,
    Child,
    Children,
    ended_steps,
    has_run,
    wait_for_server,
)
from tests.databases import database_url

__all__ = ["database_url"]

STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
KILLS = 100 if STRESS else 3

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


class Crashing:
    """One run of a pipeline, which is killed and resumed until it has ended."""

    def __init__(self, children: Children, journal: Journal, pipeline: str, run_id: str) -> None:
        self.children = children
        self.journal = journal
        self.pipeline = pipeline
        self.run_id = run_id
        self.kills = 0

    def go(self, **how: Any) -> Child:
        """Run, or resume; what was recorded before must not happen again, all else must."""
        there = has_run(self.journal, self.run_id)
        before = self.journal.run(self.run_id) if there else None
        ended = ended_steps(self.journal, self.run_id) if there else set()
        if before is not None and before.status == "failed":
            ended -= {row.path for row in self.journal.steps(self.run_id) if row.error is not None}
        child = self.children.ask(
            does="resume" if there else "run",
            url=self.journal.url,
            run_id=self.run_id,
            pipeline=self.pipeline,
            **how,
        )
        self.check_nothing_is_repeated(child, ended)
        if child.code == KILLED:
            self.kills += 1
            wait_for_server(self.journal.url)
            if has_run(self.journal, self.run_id):
                self.check_nothing_is_made_up()
        else:
            self.check_nothing_is_lost(child, ended)
        return child

    def check_nothing_is_repeated(self, child: Child, ended: set[str]) -> None:
        called = self.children.called(self.run_id, child.pid)
        assert set(called) & ended == set()

    def check_nothing_is_made_up(self) -> None:
        """What is recorded as having ended has been called, and come to its end."""
        there = set(self.children.called(self.run_id, sign="-"))
        assert ended_steps(self.journal, self.run_id) - there == set()
        self.check_order()

    def check_order(self) -> None:
        """Whatever has begun, all of the items before it are recorded to have come to an end."""
        begun = set(self.children.called(self.run_id))
        last = max((item_of(path) for path in begun), default=0)
        rows = self.journal.steps(self.run_id)
        settled = {row.path for row in rows if row.status in FINAL}
        assert {path for path in begun if item_of(path) < last} - settled == set()

    def check_nothing_is_lost(self, child: Child, ended: set[str]) -> None:
        """Whatever else has ended was called now, and every row has come to its end."""
        self.check_nothing_is_made_up()
        now = ended_steps(self.journal, self.run_id)
        assert now - ended == now & set(self.children.called(self.run_id, child.pid, sign="-"))
        run = self.journal.run(self.run_id)
        assert run.status in FINAL and run.ended_at is not None and not run.is_live
        rows = self.journal.steps(self.run_id, superseded=True)
        assert [(row.path, row.status) for row in rows if row.status not in FINAL] == []
        groups = self.journal.groups(self.run_id)
        assert [(group.path, group.status) for group in groups if group.status not in FINAL] == []


def item_of(path: str) -> int:
    """The item of the pipeline's own list that a step is in; they come one after another."""
    return int(path.partition(".")[0])


class Uncut:
    """A run that nobody kills: what it has come to, and how long it has taken."""

    def __init__(self, children: Children, journal: Journal, pipeline: str, **how: Any) -> None:
        run_id = f"uncut-{pipeline}"
        self.child = children.ask(
            does="run", url=journal.url, run_id=run_id, pipeline=pipeline, **how
        )
        self.seconds: float = self.child.answer["seconds"]
        self.context = self.child.context
        self.steps = ended_steps(journal, run_id)
        self.commits: int = self.child.answer["commits"]


@pytest.mark.parametrize("pipeline", ["nested", "stopping"])
def test_guarantee_14_killed_around_any_commit_a_run_goes_on_where_its_record_ends(
    children: Children, journal: Journal, pipeline: str
) -> None:
    wanted = Uncut(children, journal, pipeline, single=True)
    points = [(n, when) for n in range(1, wanted.commits + 1) for when in ("before", "after")]
    for number, when in points[:: 1 if STRESS else len(points) // 4]:
        crashing = Crashing(children, journal, pipeline, f"{pipeline}-{number}-{when}")
        child = crashing.go(commit=number, when=when, single=True)
        if child.code == KILLED:
            child = crashing.go()
        assert child.context == wanted.context
        assert ended_steps(journal, crashing.run_id) == wanted.steps


@pytest.mark.parametrize("way", ["run", "arun"])
def test_guarantee_14_killed_at_random_moments_a_run_and_its_resumes_lose_and_repeat_nothing(
    children: Children, journal: Journal, way: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown if it fails; when a signal comes is not up to it
    chance = random.Random(seed)
    wanted = Uncut(children, journal, "nested", way=way)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        crashing = Crashing(children, journal, "nested", f"random-{way}-{runs}")
        child = crashing.go(way=way, delay=chance.uniform(0.0, wanted.seconds))
        while child.code == KILLED:
            # The second resume may be killed as well, at times the third one.
            cut = chance.uniform(0.0, wanted.seconds) if chance.random() < 0.5 else None
            child = crashing.go(way=way, delay=cut, single=chance.random() < 0.3)
        assert child.context == wanted.context, crashing.run_id
        assert ended_steps(journal, crashing.run_id) == wanted.steps
        kills += crashing.kills


def test_guarantee_14_a_failed_run_that_is_killed_while_it_is_resumed_repeats_only_what_failed(
    children: Children, journal: Journal
) -> None:
    healthy = Uncut(children, journal, "failing", healed=True, single=True)
    for number in range(1, healthy.commits + 1, 1 if STRESS else 4):
        crashing = Crashing(children, journal, "failing", f"failing-{number}")
        child = crashing.go()
        assert child.answer["raised"] == "ParallelGroupError"
        failed = journal.run(crashing.run_id)
        assert failed.status == "failed"
        child = crashing.go(healed=True, commit=number, single=True)
        if child.code == KILLED:
            child = crashing.go(healed=True)
        assert child.context == healthy.context
        assert ended_steps(journal, crashing.run_id) == healthy.steps
        calls = children.called(crashing.run_id)
        assert calls.count("1.0.0.1") >= 2  # what failed
        assert [path for path in ("0", "1.0.0.0", "1.1") if calls.count(path) != 1] == []
