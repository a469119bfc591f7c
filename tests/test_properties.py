"""Random nested pipelines against a plain recursive interpreter, in every completion order.

The simulator makes the orders; real pools of 1, 2 and 8 workers make some of their own.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import (
    GroupTimeoutError,
    MergeConflictError,
    Outcome,
    ParallelGroupError,
    Pipeline,
    ReducerError,
    RunCancelledError,
    RunTimeoutError,
    SharedThreadPoolExecutor,
)
from task_pipeline.events import Event
from task_pipeline.testing import SimulatedRun, Simulator
from tests.building import Built, Ledger, build
from tests.drawn import Group, known_before
from tests.event_order import by_path, check_events, course_of, outcomes_of, told_by_path
from tests.interpreted_course import LEFT, GroupFailed, Imposed, PipelineTimedOut
from tests.interpreter import Interpretation
from tests.pipelines import ANYWHERE, EARLY, LATE, STARTS, trees
from tests.three_way import Disagreement, Unmerged, World

CASES = settings().max_examples
SCHEDULES = [(0, 1), (1, 2), (2, 3), (3, 16)]
"""Seeds and numbers of workers that every pipeline is simulated with."""

RATES = st.fixed_dictionaries(
    {
        "failure_rate": st.sampled_from([0.0, 0.2]),
        "timeout_rate": st.sampled_from([0.0, 0.1, 0.5]),
        "cancel_rate": st.sampled_from([0.0, 0.05]),
    }
)
POOLS = {workers: SharedThreadPoolExecutor(workers) for workers in (1, 2, 8)}

pytestmark = pytest.mark.stress


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of runs with conflicts and retries: their warnings are kept out of reports."""
    logger = logging.getLogger("task_pipeline")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


# What is compared


class OneOf(list[Any]):
    """Equal to each of its items."""

    def __eq__(self, other: object) -> bool:
        return any(item == other for item in self)

    __hash__ = list.__hash__


def plain(value: Any) -> Any:
    """A value with all its types, and the order of its keys, as something `==` compares."""
    if isinstance(value, dict):
        return ("dict", [(key, plain(item)) for key, item in value.items()])
    if isinstance(value, list):
        return ("list", [plain(item) for item in value])
    if isinstance(value, set):
        return ("set", sorted(value))
    return plain_error(value) if isinstance(value, Exception) else (type(value).__name__, value)


def plain_error(error: Any) -> Any:
    """An error as something that `==` compares; equal for the engine's and the interpreter's."""
    if error is None:
        return None
    if isinstance(error, ParallelGroupError):
        parts = [plain_error(inner) for inner in error.exceptions]
        return ("group failed", [str(outcome) for outcome in error.outcomes.values()], parts)
    if isinstance(error, GroupTimeoutError):
        parts = [plain_error(inner) for inner in error.errors]
        return ("group timed out", [str(outcome) for outcome in error.outcomes.values()], parts)
    if isinstance(error, GroupFailed):
        parts = [plain_error(branch.ending.failure) for branch in error.failed]
        return (f"group {'failed' if error.in_time else 'timed out'}", error.outcomes, parts)
    if isinstance(error, MergeConflictError | Disagreement):
        return ("disagreement", error.key, error.branches)
    if isinstance(error, ReducerError):
        return plain_error(error.__cause__)
    if isinstance(error, Unmerged):
        return OneOf([plain_error(reason) for reason in error.reasons])
    if isinstance(error, RunTimeoutError | PipelineTimedOut):
        return "timed out"
    if error is LEFT or isinstance(error, RunCancelledError):
        return "cancelled"
    kind = error.kind if isinstance(error, Imposed) else type(error).__name__
    return (kind, str(error), getattr(error, "__notes__", []))


def plain_context(context: Any) -> dict[str, Any]:
    fields = ("results", "errors", "total", "tags")
    return {name: plain(getattr(context, name)) for name in fields}


def compare(wanted: Interpretation, context: Any, error: BaseException | None) -> None:
    assert plain_context(context) == plain_context(wanted.world)
    failure = wanted.ending.failure
    assert plain_error(error) == plain_error(failure)
    if isinstance(failure, GroupFailed) and failure.in_time:
        assert str(error).startswith("Parallel group failed")
        assert [item.name for item in failure.failed if repr(item.name) not in str(error)] == []


def compare_steps(wanted: Interpretation, events: Sequence[Event]) -> None:
    """Each step there was has one outcome and its events, in their order, at its path."""
    assert outcomes_of(events) == wanted.outcomes
    check_events(events, by_path(wanted.paths, wanted.outcomes))


def known(outcomes: Mapping[str, Any], tree: Group) -> dict[str, Any]:
    """The outcomes of those that were known before the run."""
    ids = known_before(tree)
    return {step_id: outcome for step_id, outcome in outcomes.items() if step_id in ids}


def ledger(start: dict[str, Any]) -> Ledger:
    return Ledger(results=copy.deepcopy(start))


# Properties


@settings(max_examples=6 * CASES)
@given(trees(), STARTS, st.integers(4, 2**32))
def test_guarantee_4_every_completion_order_comes_to_what_the_interpreter_says(
    tree: Group, start: dict[str, Any], seed: int
) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    pipeline = build(tree)
    for chance, workers in [*SCHEDULES, (seed, 1 + seed % 8)]:
        run = simulate(pipeline, start, chance, workers)
        compare(wanted, run.context, run.error)
        compare_steps(wanted, run.events)
        assert known(run.outcomes, tree) == known(wanted.outcomes, tree)
        assert run.outcomes.items() <= wanted.outcomes.items()


@settings(max_examples=4 * CASES)
@given(trees(EARLY), STARTS, st.integers(0, 2**32))
def test_guarantee_4_a_run_that_ended_groups_early_is_what_its_cancelled_steps_leave(
    tree: Group, start: dict[str, Any], seed: int
) -> None:
    """Which steps are cancelled depends on the order; all else follows from which ones were."""
    note(f"{tree} on {start}")
    pipeline = build(tree)
    for chance, workers in [*SCHEDULES, (seed, 1 + seed % 8)]:
        run = simulate(pipeline, start, chance, workers)
        course = course_of(run.events)
        wanted = Interpretation(tree, World(copy.deepcopy(start)), course)
        compare(wanted, run.context, run.error)
        compare_steps(wanted, run.events)


@settings(max_examples=4 * CASES)
@given(trees(LATE), STARTS, st.integers(0, 2**32), RATES)
def test_guarantee_3_whatever_befalls_a_run_it_ends_and_tells_of_every_step_and_attempt(
    tree: Group, start: dict[str, Any], seed: int, rates: dict[str, float]
) -> None:
    """Failures, passing time and cancellations at any moment: the simulator's chaos."""
    note(f"{tree} on {start}")
    pipeline = build(tree)
    for chance in range(seed, seed + 4):
        run = simulate(pipeline, start, chance, 1 + chance % 5, **rates)
        wanted = Interpretation(tree, World(copy.deepcopy(start)), course_of(run.events))
        compare(wanted, run.context, run.error)
        compare_steps(wanted, run.events)
        errors = [id(error) for error in run.context.errors if isinstance(error, Exception)]
        assert len(errors) == len(set(errors))


@settings(max_examples=2 * CASES)
@given(trees(ANYWHERE), STARTS, st.integers(0, 2**32), RATES)
def test_guarantee_3_holds_where_any_step_or_condition_may_end_the_run(
    tree: Group, start: dict[str, Any], seed: int, rates: dict[str, float]
) -> None:
    note(f"{tree} on {start}")
    pipeline = build(tree)
    steps = {node.step_id for node in pipeline._plan.steps if not node.chooses}
    for chance in range(seed, seed + 4):
        run = simulate(pipeline, start, chance, 1 + chance % 5, **rates)
        check_events(run.events, told_by_path(run.events))
        told = outcomes_of(run.events)
        assert run.outcomes.items() <= told.items()
        assert told.keys() >= steps == known_before(tree) & steps
        assert (run.error is None) is (run.outcome is Outcome.SUCCEEDED)


@settings(max_examples=3 * CASES)
@given(trees(), STARTS)
def test_guarantee_4_real_workers_come_to_what_the_interpreter_says(
    tree: Group, start: dict[str, Any]
) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    for workers, pool in POOLS.items():
        pipeline = build(tree, Built(waits=False, executor=pool))
        for way in (run_here, run_in_background):
            events: list[Event] = []
            with pipeline.subscribe(events.append):
                context, error = way(pipeline, ledger(start))
            note(f"{workers} workers, {way.__name__}")
            compare(wanted, context, error)
            compare_steps(wanted, events)
            expected = known({**wanted.dynamic, **wanted.outcomes}, tree)
            assert status_outcomes(pipeline) == expected


@settings(max_examples=CASES)
@given(trees(), STARTS)
def test_guarantee_4_coroutine_steps_among_others_come_to_what_the_interpreter_says(
    tree: Group, start: dict[str, Any]
) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    pipeline = build(tree, Built(waits=False, coroutines=True, executor=POOLS[2]))
    for way in (run_here, run_in_background, run_on_a_loop):
        context, error = way(pipeline, ledger(start))
        note(way.__name__)
        compare(wanted, context, error)
        expected = known({**wanted.dynamic, **wanted.outcomes}, tree)
        assert status_outcomes(pipeline) == expected


@settings(max_examples=CASES)
@given(trees(EARLY), STARTS)
def test_guarantee_3_holds_with_real_workers_where_groups_end_early(
    tree: Group, start: dict[str, Any]
) -> None:
    """With one worker, the order is the plan's, and the interpreter can follow."""
    note(f"{tree} on {start}")
    for workers, pool in POOLS.items():
        pipeline = build(tree, Built(waits=False, executor=pool))
        events: list[Event] = []
        with pipeline.subscribe(events.append):
            context, error = run_here(pipeline, ledger(start))
        check_events(events, told_by_path(events))
        if workers == 1:
            wanted = Interpretation(tree, World(copy.deepcopy(start)), course_of(events))
            compare(wanted, context, error)
            compare_steps(wanted, events)
            outcomes = status_outcomes(pipeline)
            assert outcomes.items() >= known(wanted.outcomes, tree).items()


@settings(max_examples=CASES)
@given(trees(), STARTS, st.integers(0, 2**32))
def test_every_key_that_does_not_merge_is_warned_of(
    tree: Group, start: dict[str, Any], seed: int
) -> None:
    note(f"{tree} on {start}")
    wanted = Interpretation(tree, World(copy.deepcopy(start)))
    with warnings_logged() as texts:
        simulate(build(tree), start, seed, workers=3)
    found = [text for text in texts if "do not merge" in text]
    assert len(found) >= len(wanted.conflicts)
    for key, branches in wanted.conflicts:
        told = f"key {key!r} was changed by the branches {', '.join(map(repr, branches))} in ways"
        assert any(told in text for text in found), told


# Ways to run


def simulate(
    pipeline: Pipeline, start: dict[str, Any], seed: int, workers: int, **rates: float
) -> SimulatedRun:
    return Simulator(pipeline, seed, workers, **rates).run(ledger(start))


def run_here(pipeline: Pipeline, context: Ledger) -> tuple[Ledger, BaseException | None]:
    try:
        assert pipeline.run(context) is context
    except Exception as error:
        return context, error
    return context, None


def run_in_background(pipeline: Pipeline, context: Ledger) -> tuple[Ledger, BaseException | None]:
    try:
        assert pipeline.start(context).result(timeout=30.0) is context
    except Exception as error:
        return context, error
    return context, None


def run_on_a_loop(pipeline: Pipeline, context: Ledger) -> tuple[Ledger, BaseException | None]:
    try:
        assert asyncio.run(pipeline.arun(context)) is context
    except Exception as error:
        return context, error
    return context, None


def status_outcomes(pipeline: Pipeline) -> dict[str, Any]:
    details = pipeline.get_status()["step_details"]
    return {step_id: Outcome(detail["status"]) for step_id, detail in details.items()}


@contextmanager
def warnings_logged() -> Iterator[list[str]]:
    """The library's warnings, while they are turned on."""
    texts: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]  # shorter than a class
    logger = logging.getLogger("task_pipeline")
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.ERROR)
