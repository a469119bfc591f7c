"""Guarantee 14: what is recorded survives `kill -9`, is not repeated, and nothing is lost.

Children are killed at random moments and around every commit; see `crashing`.
"""

from __future__ import annotations

import os
import random
import time
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
KILLS = 200 if STRESS else 14
STRIDE = 1 if STRESS else 9
PATIENCE = 40.0

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
        there = self.kills > 0 and has_run(self.journal, self.run_id)
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


def uncut(children: Children, url: str, pipeline: str, **how: Any) -> tuple[Child, set[str]]:
    """A run that nobody kills, and the steps that ended in it."""
    run_id = f"uncut-{pipeline}-{how.get('single', False)}"
    child = children.ask(does="run", url=url, run_id=run_id, pipeline=pipeline, **how)
    with open_journal(url) as journal:
        return child, ended_steps(journal, run_id)


WAYS = ["run", "arun"]


@pytest.mark.parametrize("pipeline", ["nested", "stopping"])
def test_killed_around_any_commit_a_run_goes_on_where_its_record_ends(
    children: Children, journal: Journal, pipeline: str
) -> None:
    wanted, steps = uncut(children, journal.url, pipeline, single=True)
    commits = wanted.answer["commits"]
    points = [(n, when) for n in range(1, commits + 1) for when in ("before", "after")]
    begun = time.monotonic()
    for number, when in points[:: STRIDE if pipeline == "nested" else 1]:
        run_id = f"{pipeline}-{number}-{when}"
        crashing = Crashing(children, journal, pipeline, run_id)
        first = crashing.go(commit=number, when=when, single=True)
        print(run_id, first.code, time.monotonic() - begun)
        last = crashing.go() if first.code == KILLED else first
        assert last.context == wanted.context
        assert ended_steps(journal, run_id) == steps
