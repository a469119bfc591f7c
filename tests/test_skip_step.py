"""`SkipStep` gives up a turn: from wherever it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    SkipStep,
    TaskPipelineError,
    TaskStep,
    step,
)
from task_pipeline.events import (
    Event,
    StepSkipped,
)
from task_pipeline.testing import Simulator
from tests.event_order import check_events, outcomes_of, told_by_path


def a(context: Any) -> str:
    return "a"


def b(context: Any) -> str:
    return "b"


def skip(context: Any) -> None:
    context.results["before"] = True
    raise SkipStep("nothing to do")


def simulate(steps: list[TaskStep], seed: int = 0) -> Any:
    run = Simulator(Pipeline(steps), seed, workers=1 + seed % 4).run()
    check_events(run.events, told_by_path(run.events))
    return run


@pytest.mark.parametrize(
    ("steps", "results"),
    [
        ([a, skip, b], {"a": "a", "before": True, "b": "b"}),
        ([[a, skip], b], {"a": "a", "before": True, "b": "b"}),
        ([[a, [skip, b]]], {"a": "a", "before": True, "b": "b"}),
        ([Pipeline([skip, a])], {"a": "a", "before": True}),
        ([Loop([skip, a], times=2)], {"a": "a", "before": True}),
        ([Branch(skip, a, b), a], {"before": True, "a#2": "a"}),
        ([Loop(a, while_=skip), b], {"before": True, "b": "b"}),
        ([Map(a, skip), b], {"before": True, "a": [], "b": "b"}),
        ([Map([skip, a], [1, 2], result_key="a")], {"before": True, "a": ["a", "a"]}),
    ],
    ids=range(9),
)
def test_a_step_that_skips_itself_is_skipped_and_the_run_goes_on(
    steps: list[TaskStep], results: dict[str, Any]
) -> None:
    for seed in range(5):
        run = simulate(steps, seed=seed)
        assert (run.error, run.context.errors) == (None, [])
        assert run.context.results == results
        told = [event for event in run.events if isinstance(event, StepSkipped) and event.attempt]
        assert [event.reason for event in told] == ["nothing to do"] * len(told)
        outcomes = outcomes_of(run.events)
        assert {name for name, outcome in outcomes.items() if name.startswith("skip")} == {
            event.step_id for event in told
        }


def test_it_counts_as_a_success() -> None:
    def fails(context: Any) -> None:
        raise ValueError

    config = ParallelConfig(operator=LogicOperator.QUORUM, quorum=2)
    context = Pipeline([Parallel([skip, fails, a], config=config)]).run()
    assert context.results == {"before": True, "a": "a"}


def test_it_is_not_tried_again_and_an_isolated_step_leaves_nothing() -> None:
    tries: list[int] = []

    @step(retries=3)
    def gives_up(context: Any) -> None:
        context.results["half"] = True
        tries.append(context.attempt)
        if context.attempt == 2:
            raise SkipStep("on the second")
        raise OSError

    pipeline = Pipeline([gives_up, b])
    events: list[Event] = []
    with pipeline.subscribe(events.append):
        assert pipeline.run().results == {"b": "b"}
    assert tries == [1, 2]
    [told] = [event for event in events if isinstance(event, StepSkipped)]
    assert (told.attempt, told.reason, told.step_id) == (2, "on the second", "gives_up")
    detail = pipeline.get_status()["step_details"]["gives_up"]
    assert (detail["status"], detail["attempts"], detail["internal_progress"]) == (
        "skipped",
        2,
        100,
    )


def test_a_coroutine_and_a_timed_step_skip_themselves_too() -> None:
    @step(timeout=30.0)
    async def slowly(context: Any) -> None:
        await asyncio.sleep(0)  # the step's work
        raise SkipStep("nothing")

    timed = step(timeout=30.0)(skip)
    pipeline = Pipeline([slowly, [timed, slowly], b])
    for context in (pipeline.run(), asyncio.run(pipeline.arun())):
        assert context.results == {"before": True, "b": "b"}
        statuses = [detail["status"] for detail in pipeline.get_status()["step_details"].values()]
        assert statuses == ["skipped"] * 3 + ["succeeded"]


def test_it_is_no_error_of_the_library_and_keeps_its_reason() -> None:
    assert not issubclass(SkipStep, TaskPipelineError)
    assert (SkipStep("why").reason, SkipStep().reason) == ("why", "")
