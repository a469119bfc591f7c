"""Guarantee 6: a deadline is kept by leaving, whatever user code does; what is left is cut off."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    LogicOperator,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunTimeoutError,
    Serial,
    SharedThreadPoolExecutor,
    StepTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]
TIMEOUT = 0.1
GRACE = 0.05
FAIL_FAST = ErrorStrategy.FAIL_FAST
WHOLE = PipelineConfig(timeout=TIMEOUT)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is opened when the test is over, so that no thread stays behind at it."""
    gate = Gate()
    yield gate
    gate.open()


def seconds_taken(call: Callable[[], object], limit: float, tries: int = 5) -> float:
    """How long a call takes, at best: that the machine is busy elsewhere is no fault of its."""
    best = float("inf")
    for _ in range(tries):
        before = time.monotonic()
        call()
        best = min(best, time.monotonic() - before)
        if best <= limit:
            break
    return best


DRIVERS: dict[str, Callable[[Pipeline], object]] = {
    "run": lambda pipeline: pipeline.run(),
    "start": lambda pipeline: pipeline.start().result(),
    "arun": lambda pipeline: asyncio.run(pipeline.arun()),
}

PLACES: dict[str, tuple[type[Exception], Callable[[Callable[[Any], Any]], Pipeline]]] = {
    "step": (StepTimeoutError, lambda work: Pipeline([step(timeout=TIMEOUT)(work)])),
    "step in a branch": (
        ParallelGroupError,
        lambda work: Pipeline([[idle, [idle, step(timeout=TIMEOUT)(work), idle]]]),
    ),
    "group": (GroupTimeoutError, lambda work: Pipeline([limited([idle, work])])),
    "group around groups": (
        GroupTimeoutError,
        lambda work: Pipeline([limited([idle, Serial([idle, Parallel([idle, [work, idle]])])])]),
    ),
    "run": (RunTimeoutError, lambda work: Pipeline([idle, work], WHOLE)),
    "run around groups": (RunTimeoutError, lambda work: Pipeline([[idle, [[work]]]], WHOLE)),
    "nested pipeline": (RunTimeoutError, lambda work: Pipeline([Pipeline([idle, work], WHOLE)])),
}


def idle(context: Any) -> None:
    """A step that is done at once."""


def limited(children: list[TaskStep], **more: Any) -> Parallel:
    return Parallel(children, name="limited", config=ParallelConfig(timeout=TIMEOUT, **more))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_guarantee_6_every_deadline_is_honoured_within_50_ms(
    place: str, driver: str, gate: Gate
) -> None:
    expected, build = PLACES[place]
    pipeline = build(lambda context: gate.wait())

    def call() -> None:
        with pytest.raises(expected):
            DRIVERS[driver](pipeline)

    taken = seconds_taken(call, TIMEOUT + GRACE)
    assert TIMEOUT <= taken <= TIMEOUT + GRACE


class Stubborn:
    """Code that does everything but end, until the test is over."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.over = threading.Event()

    def swallows(self, context: Context) -> None:
        while not self.over.wait(0.001):
            try:
                context.update_step_progress(50.0)
                context.results["x"] = 1
            except BaseException:
                continue

    def spins(self, context: Context) -> None:
        while not self.over.is_set():
            pass

    def returns_what_is_slow_to_compare(self, context: Context) -> None:
        context.results["old"].append(SlowToCompare(self.gate))

    def nests(self, context: Context) -> None:
        Pipeline([[lambda c: self.gate.wait(), self.swallows]]).run(context)

    def starts(self, context: Context) -> None:
        Pipeline([lambda c: self.gate.wait()]).start().result()


class SlowToCompare:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __deepcopy__(self, memo: dict[int, Any]) -> SlowToCompare:
        self._gate.wait()
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._gate.wait()
        return super().__reduce_ex__(protocol)


@pytest.mark.parametrize(
    "name", ["swallows", "spins", "returns_what_is_slow_to_compare", "nests", "starts"]
)
def test_guarantee_6_whatever_user_code_does(name: str, gate: Gate) -> None:
    stubborn = Stubborn(gate)
    context: Context = PipelineContext(results={"old": [SlowToCompare(gate)]})
    pipeline = Pipeline([idle, step(timeout=TIMEOUT)(getattr(stubborn, name)), idle])

    def call() -> None:
        with pytest.raises(StepTimeoutError):
            pipeline.run(context)

    try:
        assert seconds_taken(call, TIMEOUT + GRACE) <= TIMEOUT + GRACE
    finally:
        stubborn.over.set()


def test_guarantee_6_a_reducer_that_does_not_end_does_not_hold_a_run_beyond_its_deadline(
    gate: Gate,
) -> None:
    def never(first: Any, second: Any) -> Any:
        gate.wait()

    config = PipelineConfig(timeout=TIMEOUT, reducers={"n": never})
    branch = step(step_id="branch")(lambda context: context.results.update(n=1))
    pipeline = Pipeline([[branch, branch]], config)

    def call() -> None:
        with pytest.raises(RunTimeoutError):
            pipeline.start().result(5.0)

    assert seconds_taken(call, TIMEOUT + GRACE, tries=2) <= TIMEOUT + GRACE


def test_guarantee_6_also_for_a_run_that_gets_no_worker(gate: Gate) -> None:
    pool = SharedThreadPoolExecutor(1)
    pool.submit(gate.wait)
    gate.wait_until_reached()
    pipeline = Pipeline([[idle, idle]], WHOLE, executor=pool)

    def call() -> None:
        with pytest.raises(RunTimeoutError):
            pipeline.run()

    assert seconds_taken(call, TIMEOUT + GRACE) <= TIMEOUT + GRACE
    details = pipeline.get_status()["step_details"].values()
    assert [detail["status"] for detail in details] == ["cancelled", "cancelled"]


def test_guarantee_6_the_deadline_of_a_run_inside_a_step_is_kept_inside_that_step(
    gate: Gate,
) -> None:
    pool = SharedThreadPoolExecutor(1)
    inner = Pipeline([lambda context: gate.wait()], WHOLE, executor=pool)
    taken: list[float] = []

    def outer(context: Context) -> str:
        def call() -> None:
            with pytest.raises(RunTimeoutError):
                inner.run()

        taken.append(seconds_taken(call, TIMEOUT + GRACE))
        return "went on"

    assert Pipeline([outer], executor=pool).run().results == {"outer": "went on"}
    assert TIMEOUT <= taken[0] <= TIMEOUT + GRACE


# What ends a group early ends it at once.

EARLY: dict[str, tuple[dict[str, Any], type[Exception] | None]] = {
    "AND, a failure": ({"operator": LogicOperator.AND}, ParallelGroupError),
    "OR, a success": ({"operator": LogicOperator.OR}, None),
    "QUORUM reached": ({"operator": LogicOperator.QUORUM, "quorum": 2}, None),
    "QUORUM out of reach": ({"operator": LogicOperator.QUORUM, "quorum": 4}, ParallelGroupError),
}


@pytest.mark.parametrize("kind", EARLY)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_group_that_fails_fast_is_over_at_once_while_a_sibling_sleeps(
    kind: str, driver: str, gate: Gate
) -> None:
    fields, expected = EARLY[kind]

    def works(context: Context) -> None:
        gate.wait_until_reached()
        context.results["done"] = context.results.get("done", 0) + 1

    def fails(context: Context) -> None:
        gate.wait_until_reached()
        raise ValueError("fails")

    @step(step_id="sleeps")
    def sleeps(context: Context) -> None:
        gate.wait()

    decided: list[TaskStep] = [fails] if expected and "AND" in kind else [works, works, fails]
    group = Parallel([sleeps, *decided], config=ParallelConfig(error_strategy=FAIL_FAST, **fields))
    pipeline = Pipeline([group], executor=SharedThreadPoolExecutor(4))
    before = time.monotonic()
    if expected is None:
        DRIVERS[driver](pipeline)
    else:
        with pytest.raises(expected, match="Parallel group failed"):
            DRIVERS[driver](pipeline)
    assert time.monotonic() - before < 5.0, "it waited for the sibling"
    status = pipeline.get_status()
    assert status["step_details"]["sleeps"]["status"] == "cancelled"
    assert status["abandoned"] == 1


# A group at its deadline is judged on what has ended.


def ends(name: str) -> Callable[[Context], None]:
    return step(step_id=name)(lambda context: context.results.update({name: True}))


@contextmanager
def at_the_deadline(pipeline: Pipeline, gate: Gate, *, done: list[str]) -> Iterator[Any]:
    """A run whose group's time is over when the named steps have ended and the rest waits."""
    clock, told = ManualClock(), Gate()
    missing = set(done)

    def note(event: Any) -> None:
        missing.discard(event.name if type(event).__name__ == "StepSucceeded" else "")
        if not missing:
            told.open()

    with clock.installed(), pipeline.subscribe(note):
        run = pipeline.start()
        gate.wait_until_reached()
        told.wait()
        clock.advance(TIMEOUT)
        yield run


def test_and_at_its_deadline_says_how_many_ended_and_names_the_others(gate: Gate) -> None:
    stuck = step(step_id="stuck")(lambda context: gate.wait())
    group = limited([ends("a"), stuck, ends("b")])
    with (
        at_the_deadline(Pipeline([group]), gate, done=["a", "b"]) as run,
        pytest.raises(GroupTimeoutError) as caught,
    ):
        run.result(10.0)
    assert isinstance(caught.value, TimeoutError)
    assert "2 of 3 branches ended" in str(caught.value)
    assert "'stuck' at path 0.1" in str(caught.value)
    assert caught.value.outcomes == {
        "a": Outcome.SUCCEEDED,
        "stuck": Outcome.TIMED_OUT,
        "b": Outcome.SUCCEEDED,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"operator": LogicOperator.OR},
        {"operator": LogicOperator.QUORUM, "quorum": 2},
    ],
    ids=["OR", "QUORUM"],
)
def test_a_group_whose_operator_is_satisfied_at_its_deadline_succeeds(
    fields: dict[str, Any], gate: Gate
) -> None:
    stuck = step(step_id="stuck")(lambda context: gate.wait())
    pipeline = Pipeline([limited([stuck, ends("a"), ends("b")], **fields), ends("after")])
    with at_the_deadline(pipeline, gate, done=["a", "b"]) as run:
        assert run.result(10.0).results == {"a": True, "b": True, "after": True}
        assert run.outcome is Outcome.SUCCEEDED
        assert run.status()["step_details"]["stuck"]["status"] == "timed_out"


def test_a_quorum_that_is_not_reached_at_the_deadline_times_out(gate: Gate) -> None:
    stuck = step(step_id="stuck")(lambda context: gate.wait())
    group = limited([stuck, ends("a")], operator=LogicOperator.QUORUM, quorum=2)
    with (
        at_the_deadline(Pipeline([group]), gate, done=["a"]) as run,
        pytest.raises(GroupTimeoutError, match="1 succeeded, and it needs at least 2"),
    ):
        run.result(10.0)


def test_a_missed_deadline_without_fail_fast_is_recorded_once_and_the_run_goes_on(
    gate: Gate,
) -> None:
    stuck = step(step_id="stuck", timeout=TIMEOUT)(lambda context: gate.wait())
    pipeline = Pipeline([stuck, ends("after")], PipelineConfig(fail_fast=False))
    context = pipeline.run()
    assert [type(error) for error in context.errors] == [StepTimeoutError]
    assert context.results == {"after": True}


# What a step sees of the deadlines over it.


def test_remaining_is_the_time_to_the_nearest_deadline_also_inside_a_run_in_a_step() -> None:
    clock, seen = ManualClock(), {}

    def look(name: str) -> Callable[[Context], None]:
        return step(step_id=name)(lambda context: seen.update({name: context.remaining}))

    @step(timeout=4.0)
    def short(context: Context) -> None:
        clock.advance(1.0)
        seen["short"] = context.remaining
        Pipeline([look("inner"), Pipeline([look("shorter")], PipelineConfig(timeout=2.0))]).run()

    group = Parallel([look("branch")], config=ParallelConfig(timeout=5.0))
    whole = PipelineConfig(timeout=9.0)
    with clock.installed():
        Pipeline([look("none")]).run()
        Pipeline([look("run"), short, group, look("after")], whole).run()
    assert seen == {
        "none": None,
        "run": 9.0,
        "short": 3.0,
        "inner": 3.0,
        "shorter": 2.0,
        "branch": 5.0,
        "after": 8.0,
    }


def test_remaining_is_never_negative() -> None:
    clock, seen = ManualClock(), []
    left = Gate()

    @step(timeout=1.0)
    def late(context: Context) -> None:
        left.wait()
        seen.append(context.remaining)

    with clock.installed():
        run = Pipeline([late]).start()
        left.wait_until_reached()
        clock.advance(3.0)
        with pytest.raises(StepTimeoutError):
            run.result(10.0)
        left.open()
        while run.status()["abandoned"]:
            pass
    assert seen == [0.0]
