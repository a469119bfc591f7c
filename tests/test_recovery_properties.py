"""Random pipelines whose record is cut after any of its entries, and which then go on.

A process that dies leaves the entries that were durable by then, and they become so in the
order in which they were put: a prefix of them. So every prefix is tried that chance picks,
in one process, without killing anybody; `test_crash` does kill.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import (
    GroupTimeoutError,
    JournalError,
    Pipeline,
    RunTimeoutError,
    StepTimeoutError,
    open_journal,
)
from task_pipeline.events import Event, StepRecovered
from task_pipeline.journal import lifecycle
from task_pipeline.journal.lane import END, EVENT, Lane
from task_pipeline.journal.records import NewRun, StepRecord
from task_pipeline.journal.store import Journal
from task_pipeline.journal.writer import Writer
from task_pipeline.testing import ManualClock
from tests import building, step_work
from tests.building import Built, Ledger, build
from tests.drawn import Group
from tests.event_order import course_of
from tests.interpreted_course import Course
from tests.interpreter import Interpretation
from tests.pipelines import EARLY, LATE, STARTS, trees
from tests.test_properties import POOLS, plain_context, plain_error
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
    """What is written into journals, and which steps are called."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.calls: list[Call] = []
        self.passes_time: Callable[[], object] = lambda: None

    def told(self, work: Any, context: Any, *attempt: int) -> Any:
        """As `building.told`, which it stands in for."""
        path = context.idempotency_key.split("/")[1]
        self.calls.append((path, not attempt))
        self.passes_time()
        return _told(work, context, *attempt)

    def take(self) -> tuple[list[Call], list[Entry]]:
        taken = self.calls, self.entries
        self.calls, self.entries = [], []
        return taken


_told = building.told
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
        observed.entries.append((SUPERSEDED, (list(steps), list(groups), columns)))
        _supersede(link, run_id, steps, groups, columns)

    logger = logging.getLogger("task_pipeline")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "told", observed.told)
        patch.setitem(step_work.WHOLE, "tell", tell)
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
    events: list[Event]

    @property
    def steps(self) -> set[str]:
        """Paths of the steps that were called."""
        return {path for path, chooses in self.calls if not chooses}

    @property
    def says(self) -> Any:
        return in_order(plain_context(self.context)), plain_error(self.error)


def in_order(said: dict[str, Any]) -> dict[str, Any]:
    """A plain context with the keys of dicts inside the results in the order of the alphabet.

    A dict whose keys have only changed places is the same to a journal, as it is to `==`. That
    of `results` itself is kept.
    """

    def inner(value: Any) -> Any:
        if not isinstance(value, tuple) or value[0] not in ("dict", "list"):
            return value
        if value[0] == "list":
            return ("list", [inner(item) for item in value[1]])
        return ("dict", sorted((key, inner(item)) for key, item in value[1]))

    kind, items = said["results"]
    return {**said, "results": (kind, [(key, inner(value)) for key, value in items])}


def compare(wanted: Interpretation, ended: Ended) -> None:
    """What a run has come to is what the interpreter says."""
    failure = plain_error(wanted.ending.failure)
    assert ended.says == (in_order(plain_context(wanted.world)), failure)


def tell(context: Any, way: str) -> None:
    """As the edit of that name, but for the order in which dicts inside the results are told."""
    told = step_work.READS[way](context.results)
    told.pop("told", None)
    lines = [f"{key}: {json.dumps(told[key], default=sorted, sort_keys=True)}" for key in told]
    context.results["told"] = "\n".join(lines)


class Recorded:
    """A drawn pipeline with a journal: run once, then cut and resumed at will."""

    def __init__(
        self, journal: Journal, seen: Observed, tree: Group, start: dict[str, Any], how: Built
    ) -> None:
        self.journal = journal
        self.run_id = f"run{next(_numbers)}"
        self._seen = seen
        self._start = start
        self._how = how
        self.pipeline = self.built(tree)

    def built(self, tree: Group) -> Pipeline:
        made = build(tree, self._how)
        pool = self._how.executor
        return Pipeline(list(made.steps), made.config, executor=pool, journal=self.journal)

    def run(self, way: str = "run") -> Ended:
        def go(context: Ledger) -> Any:
            if way == "arun":
                return asyncio.run(self.pipeline.arun(context, run_id=self.run_id))
            if way == "start":
                return self.pipeline.start(context, run_id=self.run_id).result(30.0)
            return self.pipeline.run(context, run_id=self.run_id)

        return self._ended(go)

    def resume(self, way: str = "run", **how: Any) -> Ended:
        """With a context like the first one, as that is where a failed run leaves its data."""

        def go(context: Ledger) -> Any:
            if way == "arun":
                return asyncio.run(self.pipeline.aresume(self.run_id, context, **how))
            return self.pipeline.resume(self.run_id, context, **how)

        return self._ended(go)

    def _ended(self, go: Callable[[Ledger], Any]) -> Ended:
        self._seen.take()
        context = Ledger(results=copy.deepcopy(self._start))
        error: BaseException | None = None
        events: list[Event] = []
        with self.pipeline.subscribe(events.append):
            try:
                assert go(context) is context
            except Exception as wrong:
                error = wrong
        assert not isinstance(error, TimeoutError | JournalError) or _is_of_the_run(error), error
        return Ended(context, error, *self._seen.take(), events)

    def cut(self, entries: Sequence[Entry]) -> None:
        """Have the journal hold these entries of the run, and no more."""
        journal = self.journal
        record = journal.run(self.run_id)
        known = {
            field.name: getattr(record, field.name)
            for field in fields(NewRun)
            if field.name != "large"
        }
        journal.delete(self.run_id)
        lane = journal.create_run(NewRun(**known))
        for kind, row in entries:
            if kind != SUPERSEDED:
                lane.queue.put(lane, kind, row)
                continue
            steps, groups, columns = row
            changed = {name: value for name, value in columns.items() if name != "resumes"}
            journal.supersede(lane, steps, groups, **changed)
        lane.end()
        self._seen.take()

    def rows(self) -> dict[str, StepRecord]:
        """What counts of each step: its last attempt."""
        found: dict[str, StepRecord] = {}
        for row in self.journal.steps(self.run_id):
            if row.path not in found or row.attempt > found[row.path].attempt:
                found[row.path] = row
        return found

    def ended(self) -> set[str]:
        """Paths of steps that have come to an end of their own, by what is recorded."""
        return {
            path
            for path, row in self.rows().items()
            if row.attempt > 0
            and (row.status in ("succeeded", "failed", "skipped") or row.error is not None)
        }

    def failed(self) -> set[str]:
        """Of a run that has failed, the steps that did: what a resume may run again."""
        if self.journal.run(self.run_id).status in ("running", "succeeded"):
            return set()
        return {path for path, row in self.rows().items() if row.error is not None}

    def check_rows(self) -> None:
        """Every row of a run that has ended has a final status, and a number of its own."""
        run = self.journal.run(self.run_id)
        assert run.status in FINAL
        assert run.ended_at is not None
        assert run.lease_until is None
        rows = self.journal.steps(self.run_id, superseded=True)
        groups = self.journal.groups(self.run_id, superseded=True)
        assert [(row.path, row.status) for row in rows if row.status not in FINAL] == []
        assert [(row.path, row.status) for row in groups if row.status not in FINAL] == []
        numbers = [*(row.seq for row in rows), *(group.seq for group in groups)]
        assert len(numbers) == len(set(numbers)), sorted(numbers)


def _is_of_the_run(error: BaseException) -> bool:
    return isinstance(error, GroupTimeoutError | RunTimeoutError | StepTimeoutError)


def cut_and_resume(one: Recorded, entries: list[Entry], part: float, way: str = "run") -> Ended:
    """Resume from a part of a run's entries; nothing recorded is repeated, and all else is run."""
    kept = entries[: round(part * len(entries))]
    note(f"cut after {len(kept)} of {len(entries)}: {kept[-1:]}")
    one.cut(kept)
    recorded, failed = one.ended(), one.failed()
    resumed = one.resume(way)
    assert resumed.steps & recorded <= failed
    assert one.ended() - recorded <= resumed.steps
    one.check_rows()
    return resumed._replace(entries=kept + resumed.entries)


CUTS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4)
WORKERS = st.sampled_from([1, 2, 8])
WAYS = st.sampled_from(["run", "run", "arun", "start"])


@settings(max_examples=CASES)
@given(trees(), STARTS, CUTS, st.tuples(WORKERS, WAYS, st.booleans()))
def test_guarantee_14_cut_anywhere_a_run_comes_to_what_the_interpreter_says(
    seen: Observed,
    journal: Journal,
    tree: Group,
    start: dict[str, Any],
    cuts: list[float],
    run: tuple[int, str, bool],
) -> None:
    """Also when it is cut again while it is resumed, and once more."""
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    workers, way, coroutines = run
    how = Built(waits=False, coroutines=coroutines, executor=POOLS[workers])
    one = Recorded(journal, seen, tree, start, how)
    ended = one.run(way)
    compare(wanted, ended)
    for part in cuts:
        ended = cut_and_resume(one, ended.entries, part, way)
        compare(wanted, ended)
        again = one.resume()
        compare(wanted, again)
        one.check_rows()
        if wanted.ending.failure is None:
            assert again.calls == []
    journal.delete(one.run_id)


@settings(max_examples=max(CASES // 2, 1))
@given(trees(), STARTS, st.data(), WORKERS)
def test_run_again_from_any_step_it_comes_to_the_same(
    seen: Observed, journal: Journal, tree: Group, start: dict[str, Any], data: Any, workers: int
) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    one = Recorded(journal, seen, tree, start, Built(waits=False, executor=POOLS[workers]))
    one.run()
    there = sorted({row.step_id for row in one.rows().values()})
    for _ in range(2 if there else 0):
        step_id = data.draw(st.sampled_from(there))
        marked = {row.path for row in one.rows().values() if row.step_id == step_id}
        again = one.resume(from_step=step_id)
        compare(wanted, again)
        one.check_rows()
        assert marked & one.ended() <= again.steps
    journal.delete(one.run_id)


@settings(max_examples=max(CASES // 2, 1))
@given(trees(), STARTS, CUTS, WORKERS)
def test_a_run_that_failed_repeats_what_it_failed_of_and_no_more(
    seen: Observed,
    journal: Journal,
    tree: Group,
    start: dict[str, Any],
    cuts: list[float],
    workers: int,
) -> None:
    """What was broken is mended by then: unless something still fails, it is as if it never was."""
    note(f"{tree} on {start}")
    mended = _mended(tree)
    wanted = Interpretation(mended, World(copy.deepcopy(start)))
    one = Recorded(journal, seen, tree, start, Built(waits=False, executor=POOLS[workers]))
    first = one.run()
    broken, ended = one.failed(), one.ended()
    absorbed = {path for path, row in one.rows().items() if row.error is not None}
    one.pipeline = one.built(mended)
    resumed = one.resume()
    assert resumed.steps & ended <= broken
    one.check_rows()
    # A failure that was part of how it went on stays so; here only those can be told apart that
    # none of that kind is among.
    if first.error is None:
        assert resumed.calls == []
    elif absorbed <= resumed.steps:
        compare(wanted, resumed)
        # Cut somewhere behind the resume, the failure is not part of the record any more.
        entries = first.entries + resumed.entries
        since = 1 + [kind for kind, _ in entries].index(SUPERSEDED)
        for part in cuts:
            share = (since + part * (len(entries) - since)) / len(entries)
            resumed = cut_and_resume(one, entries, share)
            compare(wanted, resumed)
            entries = resumed.entries
    journal.delete(one.run_id)


def _mended(tree: Group) -> Group:
    """The same, with no step that fails in all of its attempts."""
    done: dict[int, Any] = {}

    def mend(node: Any) -> Any:
        if id(node) in done:
            return done[id(node)]
        if isinstance(node, Group):
            made: Any = replace(node, children=tuple(mend(child) for child in node.children))
        else:
            fails = node.work.fails
            in_vain = fails >= node.attempts or (fails and node.work.error in node.never_on)
            made = replace(node, work=replace(node.work, fails=0)) if in_vain else node
        done[id(node)] = made
        return made

    return mend(tree)  # type: ignore[no-any-return]  # it is a group as given


@settings(max_examples=max(CASES // 2, 1))
@given(trees(EARLY), STARTS, CUTS)
def test_guarantee_14_holds_where_groups_end_early(
    seen: Observed, journal: Journal, tree: Group, start: dict[str, Any], cuts: list[float]
) -> None:
    """Which steps are cancelled depends on the order; all else follows from which ones were."""
    note(f"{tree} on {start}")
    one = Recorded(journal, seen, tree, start, Built(waits=False, executor=POOLS[1]))
    ended = one.run()
    for part in cuts:
        ended = cut_and_resume(one, ended.entries, part)
        if ended.events:  # of a run that was over, there is nothing to tell
            wanted = Interpretation(tree, World(copy.deepcopy(start)), course(ended.events))
            compare(wanted, ended)
        again = one.resume()
        if ended.error is None:
            assert (again.calls, again.says) == ([], ended.says)
        one.check_rows()
    journal.delete(one.run_id)


@settings(max_examples=max(CASES // 2, 1))
@given(trees(LATE), STARTS, CUTS, st.integers(0, 2**32))
def test_guarantee_14_holds_where_time_passes_and_steps_and_groups_have_deadlines(
    seen: Observed,
    journal: Journal,
    tree: Group,
    start: dict[str, Any],
    cuts: list[float],
    seed: int,
) -> None:
    note(f"{tree} on {start}")
    one = Recorded(journal, seen, tree, start, Built(waits=False, executor=POOLS[1]))
    chance, clock = random.Random(seed), ManualClock()
    seen.passes_time = lambda: clock.advance(chance.choice((0.0, 0.0, 0.5, 1.5)))
    try:
        with clock.installed():
            ended = one.run()
            for part in cuts:
                ended = cut_and_resume(one, ended.entries, part)
                if ended.events:
                    told = course(ended.events)
                    wanted = Interpretation(tree, World(copy.deepcopy(start)), told)
                    compare(wanted, ended)
                again = one.resume()
                if ended.error is None:
                    assert (again.calls, again.says) == ([], ended.says)
                one.check_rows()
    finally:
        seen.passes_time = lambda: None
    journal.delete(one.run_id)


def course(events: Sequence[Event]) -> Course:
    """What the interpreter has to be told of a run that was resumed."""
    found = course_of(events)
    for event in events:
        if isinstance(event, StepRecovered) and event.step_id is not None:
            found.ended[event.step_id] = event.attempt
            if isinstance(event.error, StepTimeoutError):
                # Those before it as well: of them only the last one's error matters.
                told = (type(event.error).__name__, str(event.error))
                for attempt in range(1, event.attempt + 1):
                    found.imposed[event.step_id, attempt] = told
    return found
