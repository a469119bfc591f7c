"""`StopPipeline` ends a run early, and well: from wherever it comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    ErrorStrategy,
    LogicOperator,
    Loop,
    Map,
    MergeConflictError,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    SharedThreadPoolExecutor,
    StopPipeline,
    TaskPipelineError,
    TaskStep,
    step,
)
from task_pipeline.events import (
    Event,
    RunSucceeded,
    StepCancelled,
    StepRetrying,
)
from task_pipeline.testing import Gate, ManualClock, Simulator
from tests.event_order import check_events, outcomes_of, told_by_path


def a(context: Any) -> str:
    return "a"


def b(context: Any) -> str:
    return "b"


def stop(context: Any) -> None:
    context.results["before"] = True
    raise StopPipeline("enough")


def stop_on_2(context: Any) -> int:
    if context.results["item"] == 2:
        raise StopPipeline(-2)
    return int(context.results["item"])


async def stop_slowly(context: Any) -> None:
    await asyncio.sleep(0)  # the step's work
    raise StopPipeline("enough")


class Stop(PipelineStep):
    def run(self, context: Any) -> None:
        raise StopPipeline("enough")


class StopWithContext(PipelineStep):
    def run(self, context: Any) -> None:
        other = PipelineContext[Any](results={"mine": 1})
        raise StopPipeline(other)


class StopWithNothing(PipelineStep):
    def run(self, context: Any) -> None:
        context.results["mine"] = 1
        raise StopPipeline


def simulate(steps: list[TaskStep], config: PipelineConfig | None = None, seed: int = 0) -> Any:
    run = Simulator(Pipeline(steps, config), seed, workers=1 + seed % 4).run()
    check_events(run.events, told_by_path(run.events))
    assert [event for event in run.events if event.path == ""][-1].error is run.error
    return run


# StopPipeline


STOPS: dict[str, tuple[list[TaskStep], dict[str, Any], dict[str, str]]] = {
    "in the series": (
        [a, stop, b, [b, b]],
        {"a": "a", "before": True, "stop": "enough"},
        {"a": "succeeded", "stop": "succeeded", "b": "skipped", "b#2": "skipped", "b#3": "skipped"},
    ),
    "class step": ([Stop(), a], {"stop": "enough"}, {"stop": "succeeded", "a": "skipped"}),
    "class step with a context": (
        [StopWithContext(), a],
        {"mine": 1},
        {"stop_with_context": "succeeded", "a": "skipped"},
    ),
    "class step with nothing": (
        [StopWithNothing(), a],
        {"mine": 1},
        {"stop_with_nothing": "succeeded", "a": "skipped"},
    ),
    "nested pipeline": (
        [Pipeline([a, stop, b], name="inner"), b],
        {"a": "a", "before": True, "stop": "enough"},
        {"a": "succeeded", "stop": "succeeded", "b": "skipped", "b#2": "skipped"},
    ),
    "round": (
        [Loop([a, Branch("a", stop), b], times=3), b],
        {"a": "a", "before": True, "stop": "enough"},
        {"a[0]": "succeeded", "stop[0]": "succeeded", "b[0]": "skipped", "b#2": "skipped"},
    ),
    "condition of a branch": (
        [a, Branch(stop, a, [b]), b],
        {"a": "a", "before": True},
        {"a": "succeeded", "a#2": "skipped", "b": "skipped", "b#2": "skipped"},
    ),
    "condition of a loop": (
        [a, Loop(a, while_=stop), b],
        {"a": "a", "before": True},
        {"a": "succeeded", "b": "skipped"},
    ),
    "items of a map": (
        [a, Map(a, stop), b, Map(b, "b"), Loop(b, times=1), Branch("a", b)],
        {"a": "a", "before": True},
        {"a": "succeeded", "b": "skipped", "b#4": "skipped"},
    ),
}


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.parametrize("fail_fast", [True, False])
def test_the_run_ends_well_and_what_has_not_begun_is_skipped(name: str, fail_fast: bool) -> None:
    steps, results, outcomes = STOPS[name]
    run = simulate(steps, PipelineConfig(fail_fast=fail_fast))
    assert (run.error, run.outcome) == (None, Outcome.SUCCEEDED)
    assert run.context.results == results
    assert run.context.errors == []
    assert outcomes_of(run.events) == outcomes
    assert isinstance(run.events[-1], RunSucceeded)


@pytest.mark.parametrize("name", STOPS)
def test_it_does_so_on_threads_and_loops(name: str) -> None:
    steps, results, _ = STOPS[name]
    pipeline = Pipeline(steps)
    assert pipeline.run().results == results
    assert pipeline.start().result().results == results
    assert asyncio.run(pipeline.arun()).results == results
    status = pipeline.get_status()
    assert (status["state"], status["progress"]) == ("succeeded", 100.0)
    assert not {"pending", "running"} & {
        detail["status"] for detail in status["step_details"].values()
    }


@pytest.mark.parametrize(
    ("steps", "results"),
    [
        ([[a, stop, b], b], {"before": True, "stop": "enough"}),
        ([[[a, [stop, b], b], [b, b]], b], {"before": True, "stop": "enough"}),
        ([Map(stop_on_2, [1, 2, 3]), b], {"stop_on_2": [1, -2, 3]}),
        ([Map([stop_on_2, a], [2, 2], result_key="stop_on_2"), b], {"stop_on_2": [-2, -2]}),
        ([Parallel([a, Loop([stop, b], times=2)]), b], {"before": True, "stop": "enough"}),
        ([Parallel([a, Branch(stop, a, b)]), b], {}),
        ([Pipeline([[a, Pipeline([stop])]]), b], {"before": True, "stop": "enough"}),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_in_a_branch_it_ends_all_groups_around_and_keeps_what_has_finished(
    steps: list[TaskStep], results: dict[str, Any], strategy: ErrorStrategy
) -> None:
    config = PipelineConfig(parallel_config=ParallelConfig(error_strategy=strategy))
    for seed in range(40):
        run = simulate(steps, config, seed)
        assert (run.error, run.outcome) == (None, Outcome.SUCCEEDED)
        found = run.context.results
        for key, value in results.items():
            if isinstance(value, list):  # what had not begun has no value
                pairs = zip(found[key], value, strict=True)
                assert all(one in (other, None) for one, other in pairs) and -2 in found[key]
            else:
                assert found[key] == value
        outcomes = outcomes_of(run.events)
        assert set(outcomes.values()) <= {"succeeded", "skipped", "cancelled"}
        assert [name for name in outcomes if outcomes[name] == "skipped"][-1].startswith("b")
        for name, outcome in outcomes.items():
            assert name not in found or isinstance(found[name], list) or outcome == "succeeded"


@pytest.mark.parametrize("way", ["start", "run"])
def test_what_runs_beside_it_is_left_and_leaves_nothing(way: str) -> None:
    """run() comes back when a step on its own thread does, as nothing said it was to be left."""
    gate = Gate()

    def slow(context: Any) -> str:
        context.results["half"] = True
        gate.wait()
        return "late"

    def stop_then(context: Any) -> None:
        gate.wait_until_reached()
        raise StopPipeline("enough")

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepCancelled):
            gate.open()

    events: list[Event] = []
    pipeline = Pipeline([a, [slow, stop_then, [a, slow]], b])
    with pipeline.subscribe(tell):
        context = pipeline.run() if way == "run" else pipeline.start().result(timeout=30.0)
    assert context.results.items() >= {"a": "a", "stop_then": "enough"}.items()
    assert context.results.keys() <= {"a", "stop_then", "a#2"}
    assert {event.step_id for event in events if isinstance(event, StepCancelled)} >= {"slow"}


def test_a_failure_before_it_stays_recorded_and_the_run_still_ends_well() -> None:
    def fails(context: Any) -> None:
        raise ValueError("before")

    one_at_a_time = ParallelConfig(max_workers=1)
    run = simulate([Parallel([fails, stop, a], config=one_at_a_time), b])
    assert (run.error, run.outcome) == (None, Outcome.SUCCEEDED)
    assert list(map(str, run.context.errors)) == ["before"]
    assert run.context.results == {"before": True, "stop": "enough"}
    assert outcomes_of(run.events)["a"] == "skipped"


def test_branches_that_do_not_merge_fail_a_run_that_was_ended() -> None:
    def write(context: Any) -> None:
        context.results["k"] = "one"

    @step(step_id="stops")
    def write_and_stop(context: Any) -> None:
        context.results["k"] = "other"
        raise StopPipeline

    config = ParallelConfig(max_workers=1, on_conflict="error")
    run = simulate([Parallel([write, write_and_stop], config=config), b])
    assert isinstance(run.error, MergeConflictError)
    assert run.context.results == {}


def test_it_is_not_an_attempt_that_failed() -> None:
    @step(retries=3)
    def flaky(context: Any) -> None:
        context.results["tries"] = context.attempt
        if context.attempt == 1:
            raise OSError
        raise StopPipeline("on the second")

    run = simulate([flaky, b])
    assert run.context.results == {"tries": 2, "flaky": "on the second"}
    assert [type(event) for event in run.events if isinstance(event, StepRetrying)] != []
    assert run.outcomes == {"flaky": Outcome.SUCCEEDED, "b": Outcome.SKIPPED}


def test_a_step_that_waits_for_its_retry_does_not_keep_the_run() -> None:
    clock = ManualClock()

    @step(retries=1, step_id="flaky")
    def fails_first(context: Any) -> str:
        if context.attempt == 1:
            raise OSError
        return "never"

    config = ParallelConfig(max_workers=1)
    with clock.installed():
        context = Pipeline([Parallel([fails_first, stop], config=config)]).run()
    assert context.results["stop"] == "enough"


@pytest.mark.parametrize("operator", LogicOperator)
def test_it_ends_a_group_well_whatever_its_operator(operator: LogicOperator) -> None:
    quorum = 3 if operator is LogicOperator.QUORUM else None
    config = ParallelConfig(operator=operator, quorum=quorum)
    for seed in range(10):
        assert simulate([Parallel([a, stop, b], config=config), b], seed=seed).error is None


def test_coroutines_stop_a_run_too() -> None:
    pipeline = Pipeline([a, stop_slowly, b])
    for context in (pipeline.run(), asyncio.run(pipeline.arun())):
        assert context.results == {"a": "a", "stop_slowly": "enough"}


def test_a_run_inside_a_step_is_ended_alone() -> None:
    def outer(context: Any) -> Any:
        return Pipeline([stop, a]).run().results

    assert Pipeline([outer, b]).run().results == {
        "outer": {"before": True, "stop": "enough"},
        "b": "b",
    }


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_guarantee_7_no_worker_is_lost_by_it(workers: int) -> None:
    pool = SharedThreadPoolExecutor(workers)
    pipeline = Pipeline([[[a, stop_on(number), b] for number in range(6)], b], executor=pool)
    for number in range(20):
        pipeline.run(PipelineContext(results={"item": number % 6}))
        assert pipeline.get_status()["step_details"]["b#7"]["status"] == "skipped"
    together = threading.Barrier(workers, timeout=30.0)
    for future in [pool.submit(together.wait) for _ in range(workers)]:
        future.result(timeout=30.0)
    pool.shutdown()


def stop_on(number: int) -> Callable[[Any], None]:
    @step(step_id=f"stop_on_{number}")
    def maybe(context: Any) -> None:
        if context.results["item"] == number:
            raise StopPipeline

    return maybe


def test_it_is_no_error_of_the_library_and_keeps_what_it_was_given() -> None:
    assert not issubclass(StopPipeline, TaskPipelineError)
    assert (StopPipeline(5).result, StopPipeline().result) == (5, None)
    assert simulate([step(critical=False)(stop), b]).context.results["stop"] == "enough"
