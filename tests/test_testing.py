"""The public tools for testing: the manual clock, gates, and the simulator."""

from __future__ import annotations

import itertools
import threading
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
    RetryPolicy,
    RunCancelledError,
    TaskPipelineError,
    step,
)
from task_pipeline.events import RunSucceeded, StepStarted, StepSucceeded
from task_pipeline.testing import Gate, ManualClock, SimulatedFailure, Simulator
from tests.event_order import check_events

Context = PipelineContext[Any]
PATIENCE = 30.0


def named(step_id: str, **attributes: Any) -> Any:
    def work(context: Context) -> None:
        context.results.setdefault("order", []).append(step_id)

    return step(step_id=step_id, **attributes)(work)


a, b, c, d = map(named, "abcd")


# The clock


def test_a_clock_calls_what_comes_due_in_order() -> None:
    clock, called = ManualClock(start=100.0), []
    for seconds, name in ((3, "c"), (1, "a"), (2, "b"), (1, "a too"), (9, "late")):
        clock.call_later(seconds, lambda n=name: called.append((n, clock.monotonic())))  # type: ignore[misc]  # the default is a str
    assert clock.next_timer() == 1.0
    clock.advance(0.5)
    assert called == [] and clock.monotonic() == 100.5 and clock.next_timer() == 0.5
    clock.advance(2.5)
    assert called == [("a", 101.0), ("a too", 101.0), ("b", 102.0), ("c", 103.0)]
    assert clock.monotonic() == 103.0 and clock.next_timer() == 6.0
    clock.advance(0)
    assert called[-1] == ("c", 103.0)


def test_a_timer_set_by_a_timer_comes_due_in_the_same_move() -> None:
    clock, called = ManualClock(), []

    def again() -> None:
        called.append(clock.monotonic())
        if len(called) < 4:
            clock.call_later(2, again)

    clock.call_later(1, again)
    clock.advance(6)
    assert called == [1.0, 3.0, 5.0] and clock.next_timer() == 1.0


def test_time_does_not_go_back() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="time does not go back: -1"):
        clock.advance(-1)
    assert clock.monotonic() == 0.0


def test_a_cancelled_timer_is_forgotten() -> None:
    clock, called = ManualClock(), []
    first = clock.call_later(1, lambda: called.append(1))
    clock.call_later(2, lambda: called.append(2))
    first.cancel()
    first.cancel()
    assert clock.next_timer() == 2.0
    clock.advance(5)
    assert called == [2] and clock.next_timer() is None


def test_the_inner_of_two_installed_clocks_holds() -> None:
    outer, inner = ManualClock(10.0), ManualClock(20.0)
    pipeline = Pipeline([a])
    times: list[float] = []
    pipeline.subscribe(lambda event: times.append(event.monotonic))
    with outer.installed() as given:
        assert given is outer
        with inner.installed():
            pipeline.run()
        pipeline.run()
    pipeline.run()
    assert times[:4] == [20.0] * 4 and times[4:8] == [10.0] * 4
    assert not {10.0, 20.0} & set(times[8:])


def timers_set(clock: ManualClock, pipeline: Pipeline, kind: str) -> threading.Semaphore:
    """Released when an event of this kind is told: what it sets a timer for has been set."""
    told = threading.Semaphore(0)
    pipeline.subscribe(lambda event: told.release() if type(event).__name__ == kind else None)
    return told


def test_retries_wait_by_the_clock() -> None:
    attempts: list[float] = []
    clock = ManualClock()

    @step(retries=RetryPolicy(attempts=3, delay=60, backoff="linear"))
    def fickle(context: Context) -> None:
        attempts.append(clock.monotonic())
        if context.attempt < 3:
            raise OSError("again")

    pipeline = Pipeline([fickle])
    retrying = timers_set(clock, pipeline, "StepRetrying")
    with clock.installed():
        run = pipeline.start()
    for wait in (60, 120):
        assert retrying.acquire(timeout=PATIENCE)
        assert clock.next_timer() == wait
        clock.advance(wait)
    run.result(PATIENCE)
    assert attempts == [0.0, 60.0, 180.0]


def test_launches_are_delayed_by_the_clock() -> None:
    clock, times = ManualClock(), []
    launch = step(step_id="launch")(lambda context: times.append(clock.monotonic()))
    pipeline = Pipeline([Parallel([launch] * 3, config=ParallelConfig(delay=5))])
    ended = timers_set(clock, pipeline, "StepSucceeded")
    with clock.installed():
        run = pipeline.start()
    for _ in range(2):
        assert ended.acquire(timeout=PATIENCE)
        assert clock.next_timer() == 5.0
        clock.advance(5)
    run.result(PATIENCE)
    assert times == [0.0, 5.0, 10.0]


def test_a_step_sees_what_remains_by_the_clock() -> None:
    gate, clock = Gate(), ManualClock()
    seen: list[float | None] = []

    @step(timeout=100)
    def look(context: Context) -> None:
        seen.append(context.remaining)
        gate.wait()
        seen.append(context.remaining)

    with clock.installed():
        run = Pipeline([look]).start()
    gate.wait_until_reached()
    clock.advance(40)
    gate.open()
    run.result(PATIENCE)
    assert seen == [100.0, 60.0]
    assert clock.next_timer() is None


# Gates


def test_a_gate_counts_and_lets_through() -> None:
    gate = Gate()
    assert gate.arrived == 0
    run = Pipeline([[lambda context: gate.wait()] * 2]).start()
    gate.wait_until_reached(2)
    assert gate.arrived == 2 and not run.done
    gate.open()
    gate.wait()
    assert gate.arrived == 3
    run.result(PATIENCE)


def test_a_gate_loses_its_patience() -> None:
    gate = Gate(patience=0.01)
    with pytest.raises(TimeoutError, match=r"0 of 2 threads came to the gate within 0\.01 s"):
        gate.wait_until_reached(2)
    with pytest.raises(TimeoutError, match=r"the gate was not opened within 0\.01 s"):
        gate.wait()
    assert gate.arrived == 1


# The simulator

MIXED = [a, [b, [c, [a, b, c]], d], Parallel([a, b], config=ParallelConfig(delay=2)), d]


def story(pipeline: Pipeline, seed: int, **rates: Any) -> Any:
    run = Simulator(pipeline, seed, **rates).run()
    facts = [(type(event).__name__, event.path, event.monotonic) for event in run.events]
    return run.trace, facts, run.outcomes, run.context.results, repr(run.error)


RATES: dict[str, Any] = {"failure_rate": 0.2, "timeout_rate": 0.2, "cancel_rate": 0.05}


def test_the_same_seed_gives_the_same_run() -> None:
    limits = ParallelConfig(timeout=1, error_strategy=ErrorStrategy.FAIL_FAST)
    retried = named("retried", retries=RetryPolicy(attempts=3, delay=1), timeout=4)
    pipeline = Pipeline([*MIXED, Parallel([a, retried, b], config=limits)])
    for seed in range(30):
        assert story(pipeline, seed, **RATES) == story(pipeline, seed, **RATES)
    assert len({repr(story(pipeline, seed, **RATES)) for seed in range(30)}) > 10


def test_guarantee_4_completion_orders_differ_and_results_do_not() -> None:
    pipeline = Pipeline([[a, b, c, d]])
    runs = [Simulator(pipeline, seed).run() for seed in range(200)]
    orders = {tuple(name for what, name in run.trace if what == "end") for run in runs}
    assert orders == set(itertools.permutations("abcd"))
    assert all(run.context.results == {"order": ["a", "b", "c", "d"]} for run in runs)


def test_one_worker_keeps_the_written_order() -> None:
    for seed in range(20):
        run = Simulator(Pipeline([a, [b, [c, d]], a]), seed, workers=1).run()
        assert run.trace == [
            (what, name) for name in ("a", "b", "c", "d", "a#2") for what in ("start", "end")
        ]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_guarantee_2_no_more_steps_are_under_way_than_workers(workers: int) -> None:
    for seed in range(50):
        under_way = most = 0
        for what, _ in Simulator(Pipeline([[a] * 8]), seed, workers).run().trace:
            under_way += {"start": 1, "end": -1}[what]
            most = max(most, under_way)
        assert most == workers


def test_what_a_simulated_run_says() -> None:
    given: Context = PipelineContext(results={"order": ["given"]})
    run = Simulator(Pipeline([a, [b, c]]), seed=3).run(given)
    assert run.context is given and given.results == {"order": ["given", "a", "b", "c"]}
    assert (run.error, run.outcome) == (None, Outcome.SUCCEEDED)
    assert run.outcomes == dict.fromkeys("abc", Outcome.SUCCEEDED)
    assert isinstance(run.events[-1], RunSucceeded)
    assert sum(isinstance(event, StepStarted) for event in run.events) == 3
    assert sum(isinstance(event, StepSucceeded) for event in run.events) == 3


def test_a_failure_rate_of_one_fails_every_step() -> None:
    run = Simulator(Pipeline([[a, b], c]), failure_rate=1.0).run()
    assert isinstance(run.error, ParallelGroupError) and run.outcome is Outcome.FAILED
    assert [type(error) for error in run.context.errors] == [SimulatedFailure] * 2
    assert run.outcomes == {"a": Outcome.FAILED, "b": Outcome.FAILED, "c": Outcome.SKIPPED}
    assert run.context.results == {}
    assert isinstance(run.error.exceptions[0], TaskPipelineError)


def test_a_steps_own_error_is_in_the_report() -> None:
    error = ValueError("own")

    def fail(context: Context) -> None:
        raise error

    assert Simulator(Pipeline([a, fail])).run().error is error


def test_a_timeout_rate_of_one_lets_every_deadline_pass() -> None:
    group = Parallel([a, b], config=ParallelConfig(timeout=7))
    run = Simulator(Pipeline([group, c]), timeout_rate=1.0).run()
    assert isinstance(run.error, GroupTimeoutError) and run.outcome is Outcome.TIMED_OUT
    assert run.outcomes["a"] is Outcome.TIMED_OUT and run.outcomes["c"] is Outcome.SKIPPED
    assert ("time", "") in run.trace and run.events[-1].monotonic == 7.0


def test_a_cancel_rate_of_one_cancels_the_run() -> None:
    run = Simulator(Pipeline([[a, b], c]), cancel_rate=1.0).run()
    assert isinstance(run.error, RunCancelledError) and run.outcome is Outcome.CANCELLED
    assert run.trace[-1] == ("cancel", "") and run.context.results == {}
    assert set(run.outcomes.values()) <= {Outcome.CANCELLED, Outcome.SKIPPED}


def test_guarantee_3_the_events_of_any_simulated_run() -> None:
    retried = named("retried", retries=RetryPolicy(attempts=3, delay=1), timeout=4)
    quorum = ParallelConfig(
        operator=LogicOperator.QUORUM,
        quorum=2,
        timeout=3,
        error_strategy=ErrorStrategy.FAIL_FAST,
    )
    pipeline = Pipeline([a, Parallel([b, retried, [c, d]], config=quorum), retried, a])
    paths = {"a": "0", "b": "1.0", "retried": "1.1", "c": "1.2.0", "d": "1.2.1"}
    paths |= {"retried#2": "2", "a#2": "3"}
    for seed in range(200):
        run = Simulator(pipeline, seed, **RATES).run()
        check_events(run.events, {paths[name]: end for name, end in run.outcomes.items()})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [1, 2])
def test_limits_and_delays_never_block_a_simulated_run(workers: int, limit: int) -> None:
    config = ParallelConfig(max_workers=limit, delay=3)
    inner = Parallel([a, [b, [c, d]]], config=config)
    pipeline = Pipeline([Parallel([inner, a, inner], config=config)], PipelineConfig(max_workers=2))
    for seed in range(30):
        run = Simulator(pipeline, seed, workers=workers).run()
        assert run.error is None and set(run.outcomes.values()) == {Outcome.SUCCEEDED}


def test_the_simulator_refuses_coroutine_steps() -> None:
    async def coroutine(context: Context) -> None: ...

    with pytest.raises(TaskPipelineError, match="no event loop"):
        Simulator(Pipeline([coroutine])).run()
    run = Simulator(Pipeline([lambda context: coroutine(context)])).run()
    assert isinstance(run.error, TaskPipelineError) and "no event loop" in str(run.error)


def test_a_simulated_run_inside_a_step_is_a_run_of_its_own() -> None:
    def inner(context: Context) -> int:
        return len(Simulator(Pipeline([[a, b]]), seed=1).run().trace)

    assert Pipeline([inner]).run().results == {"inner": 4}
