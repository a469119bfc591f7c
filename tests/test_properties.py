"""Random nested pipelines against a plain recursive interpreter, in every completion order.

The simulator makes the orders; real pools of 1, 2 and 8 workers make some of their own.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import MergeConflictError, ParallelGroupError, Pipeline, ReducerError
from task_pipeline.events import GroupStarted
from task_pipeline.testing import SimulatedRun, Simulator
from tests.interpreter import Ended, Group, GroupFailed, Interpretation
from tests.pipelines import EARLY, STARTS, Ledger, build, trees
from tests.three_way import Disagreement, Unmerged, World

CASES = settings().max_examples
SCHEDULES = [(0, 1), (1, 2), (2, 3), (3, 16)]
"""Seeds and numbers of workers that every pipeline is simulated with."""

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
    if isinstance(error, ParallelGroupError):
        parts = [plain_error(inner) for inner in error.exceptions]
        return ("group failed", [str(outcome) for outcome in error.outcomes.values()], parts)
    if isinstance(error, GroupFailed):
        parts = [plain_error(ending.failure) for ending in error.failed]
        return ("group failed", list(error.outcomes), parts)
    if isinstance(error, MergeConflictError | Disagreement):
        return ("disagreement", error.key, error.branches)
    if isinstance(error, ReducerError):
        return plain_error(error.__cause__)
    if isinstance(error, Unmerged):
        return OneOf([plain_error(reason) for reason in error.reasons])
    if error is None:
        return None
    return (type(error).__name__, str(error), getattr(error, "__notes__", []))


def plain_context(context: Any) -> dict[str, Any]:
    fields = ("results", "errors", "total", "tags")
    return {name: plain(getattr(context, name)) for name in fields}


def compare(wanted: Interpretation, context: Any, error: BaseException | None) -> None:
    assert plain_context(context) == plain_context(wanted.world)
    assert plain_error(error) == plain_error(wanted.failure)


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
        assert run.outcomes == wanted.outcomes


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
        wanted = Interpretation(tree, World(copy.deepcopy(start)), ended(run))
        compare(wanted, run.context, run.error)
        assert run.outcomes == wanted.outcomes


def simulate(
    pipeline: Pipeline, start: dict[str, Any], seed: int, workers: int, **rates: float
) -> SimulatedRun:
    return Simulator(pipeline, seed, workers, **rates).run(ledger(start))


def ended(run: SimulatedRun) -> Ended:
    """What the interpreter is told of a run: which steps were cancelled, which groups began."""
    cancelled = {step_id for step_id, outcome in run.outcomes.items() if outcome == "cancelled"}
    begun = {
        tuple(map(int, event.path.split(".")))
        for event in run.events
        if type(event) is GroupStarted
    }
    return Ended(frozenset(cancelled), frozenset(begun))
