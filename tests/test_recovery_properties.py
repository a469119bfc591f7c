"""Random pipelines whose record is cut after any of its entries, and which then go on.

A process that dies leaves the entries that were durable by then, and they become so in the
order in which they were put: a prefix of them. So every prefix is tried that chance picks,
in one process, without killing anybody; `test_crash` does kill.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import Pipeline, open_journal
from task_pipeline.events import Event
from task_pipeline.journal import lifecycle
from task_pipeline.journal.lane import END, EVENT, RUN, Lane
from task_pipeline.journal.records import NewRun, StepRecord
from task_pipeline.journal.store import Journal
from task_pipeline.journal.writer import Writer
from tests import building
from tests.building import Built, Ledger, build
from tests.drawn import Group
from tests.interpreter import Interpretation
from tests.pipelines import STARTS, trees
from tests.test_properties import POOLS, plain_context
from tests import test_properties

from tests.three_way import World


CASES = settings().max_examples
FINAL = {"succeeded", "failed", "timed_out", "cancelled", "skipped"}
SUPERSEDED = -1
"""The kind of an entry that is a whole transaction of a resume."""

pytestmark = pytest.mark.stress

Entry = tuple[int, Any]
Call = tuple[str, bool]
"""What was called: at a path, and whether it was to find out what a dynamic group runs."""


class Observed:
    """What is written into journals, and which steps are called, while somebody looks."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.calls: list[Call] = []
        self.healed = False

    def told(self, work: Any, context: Any, *attempt: int) -> Any:
        """As `building.told`, which it stands in for."""
        path = context.idempotency_key.split("/")[1]
        self.calls.append((path, not attempt))
        if self.healed and attempt:
            attempt = (10,)
        return _told(work, context, *attempt)

    def take_calls(self) -> list[Call]:
        calls, self.calls = self.calls, []
        return calls

    def take_entries(self) -> list[Entry]:
        entries, self.entries = self.entries, []
        return entries


_told = building.told

def plain_error(error):
    if type(error).__name__ in ("ValueError","KeyError","OSError"):
        return str(error)
    return str(type(error))
def compare(wanted, context, error):
    def strip(x):
        if isinstance(x, tuple) and len(x)==3 and isinstance(x[2], list) and isinstance(x[0], str):
            return (x[0], x[1], [])  if x[0].endswith("Error") else tuple(map(strip,x))
        if isinstance(x, test_properties.OneOf): return test_properties.OneOf(map(strip,x))
        if isinstance(x,(list,tuple)): return type(x)(map(strip,x))
        if isinstance(x, dict): return {k: strip(v) for k,v in x.items()}
        return x
    assert strip(plain_context(context)) == strip(plain_context(wanted.world))
    assert strip(test_properties.plain_error(error)) == strip(test_properties.plain_error(wanted.ending.failure))
_put = Writer.put
_supersede = lifecycle.supersede


@pytest.fixture(scope="module")
def seen() -> Iterator[Observed]:
    """Steps and entries of every run in this module."""
    observed = Observed()

    def put(writer: Writer, lane: Lane, kind: int, row: Any) -> int:
        if kind not in (END, EVENT):
            observed.entries.append((kind, row))
        return _put(writer, lane, kind, row)

    def supersede(link: Any, run_id: str, steps: Any, groups: Any, columns: Any) -> None:
        observed.entries.append((SUPERSEDED, (steps, groups, columns)))
        _supersede(link, run_id, steps, groups, columns)

    logger = logging.getLogger("task_pipeline")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "told", observed.told)
        patch.setattr(Writer, "put", put)
        patch.setattr(lifecycle, "supersede", supersede)
        yield observed
    logger.setLevel(before)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with open_journal(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'runs.db'}") as opened:
        yield opened


_numbers = itertools.count()


class Ended(NamedTuple):
    """What a run, or what was resumed of it, has come to."""

    context: Any
    error: BaseException | None
    calls: list[Call]
    entries: list[Entry]

    @property
    def says(self) -> Any:
        return plain_context(self.context), plain_error(self.error)


class Recorded:
    """A drawn pipeline with a journal: run once, then cut and resumed at will."""

    def __init__(self, journal: Journal, seen: Observed, tree: Group, how: Built) -> None:
        self.journal = journal
        self.run_id = f"run{next(_numbers)}"
        self._seen = seen
        made = build(tree, how)
        self.pipeline = Pipeline(
            list(made.steps), made.config, executor=how.executor, journal=journal
        )

    def run(self, start: dict[str, Any]) -> Ended:
        self._take()
        context = Ledger(results=copy.deepcopy(start))
        error = None
        try:
            self.pipeline.run(context, run_id=self.run_id)
        except Exception as wrong:
            error = wrong
        return Ended(context, error, *self._take())

    def resume(self, start: dict[str, Any]) -> Ended:
        """With a context like the first one, as that is where a failed run leaves its data."""
        self._take()
        context = Ledger(results=copy.deepcopy(start))
        error = None
        try:
            assert self.pipeline.resume(self.run_id, context) is context
        except Exception as wrong:
            error = wrong
        return Ended(context, error, *self._take())

    def _take(self) -> tuple[list[Call], list[Entry]]:
        return self._seen.take_calls(), self._seen.take_entries()

    def cut(self, entries: Sequence[Entry]) -> None:
        """Have the journal hold these entries of the run, and no more."""
        journal = self.journal
        before = journal.run(self.run_id)
        known = {field.name: getattr(before, field.name) for field in fields(NewRun)
                 if field.name != "large"}
        journal.delete(self.run_id)
        lane = journal.create_run(NewRun(**known))
        for kind, row in entries:
            if kind == SUPERSEDED:
                lane.wait(lane.latest) if lane.latest else None
                journal.supersede(lane, row[0], row[1], **{k: v for k, v in row[2].items() if k not in ("resumes",)})
            else:
                lane.queue.put(lane, kind, row)
        lane.end()
        self._take()

    def rows(self) -> dict[str, StepRecord]:
        """The last attempt of each step that counts."""
        found: dict[str, StepRecord] = {}
        for row in self.journal.steps(self.run_id):
            if row.path not in found or row.attempt > found[row.path].attempt:
                found[row.path] = row
        return found

    def ended(self) -> set[str]:
        """Paths of steps whose end is recorded."""
        return {
            path
            for path, row in self.rows().items()
            if row.attempt > 0 and row.status in ("succeeded", "failed", "skipped", "timed_out")
        }


def check_rows(one: Recorded) -> None:
    run = one.journal.run(one.run_id)
    assert run.status in ("succeeded", "failed", "timed_out", "cancelled")
    assert run.ended_at is not None
    assert run.lease_until is None
    rows = one.journal.steps(one.run_id, superseded=True)
    assert [(row.path, row.status) for row in rows if row.status not in FINAL] == []
    seqs = [row.seq for row in rows] + [group.seq for group in one.journal.groups(one.run_id, superseded=True)]
    assert len(seqs) == len(set(seqs)), sorted(seqs)


def check_resumed(one: Recorded, resumed: Ended, recorded: set[str], choices: set) -> None:
    called = {path for path, chooses in resumed.calls if not chooses}
    assert called & recorded == set()
    rows = one.rows()
    ended = one.ended()
    assert ended - recorded <= called, (ended - recorded, called)


CUTS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4)


@settings(max_examples=CASES * 2)
@given(trees(), STARTS, CUTS, st.sampled_from([1, 2, 8]))
def test_cut(seen, journal, tree, start, cuts, workers) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    one = Recorded(journal, seen, tree, Built(waits=False, executor=POOLS[workers]))
    whole = one.run(start)
    compare(wanted, whole.context, whole.error)
    entries = whole.entries
    for part in cuts:
        kept = entries[: round(part * len(entries))]
        note(f"cut after {len(kept)} of {len(entries)}: {entries[len(kept) - 1] if kept else None}")
        one.cut(kept)
        status = one.journal.run(one.run_id).status
        recorded = one.ended()
        failed = {path for path, row in one.rows().items() if row.status in ("failed", "timed_out")}
        resumed = one.resume(start)
        compare(wanted, resumed.context, resumed.error)
        check_rows(one)
        may = failed if status not in ("running", "succeeded") else set()
        called = {path for path, chooses in resumed.calls if not chooses}
        assert called & recorded <= may
        assert one.ended() - recorded <= called
        entries = kept + resumed.entries
        again = one.resume(start)
        compare(wanted, again.context, again.error)
        if wanted.ending.failure is None:
            assert again.calls == []
        check_rows(one)
    journal.delete(one.run_id)
