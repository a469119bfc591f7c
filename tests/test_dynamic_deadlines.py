"""What dynamic groups do while a deadline passes, a run is cancelled, or somebody looks on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    GroupTimeoutError,
    LogicOperator,
    Loop,
    Map,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunCancelledError,
    RunTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.events import Event, GroupEnded, StepEvent
from task_pipeline.testing import Gate, ManualClock
from tests.event_order import check_events, told_by_path

START = {"fetch": "old", "item": "mine"}


def fetch(context: Any) -> Any:
    return context.results["item"]


def after(context: Any) -> None:
    context.results["after"] = True


def asking(gate: Gate) -> dict[str, tuple[TaskStep, str]]:
    """Each kind of group that waits at the gate to know what it is to run, and its id."""

    def hangs(context: Any) -> Any:
        gate.wait()
        return [1]

    async def hangs_on_the_loop(context: Any) -> Any:
        while not gate.arrived:
            await asyncio.to_thread(gate.wait)
        return [1]

    return {
        "map": (Map(fetch, hangs), "fetch"),
        "map of a coroutine": (Map([fetch], hangs_on_the_loop, name="fetch"), "fetch"),
        "branch": (Branch(hangs, fetch, otherwise=[fetch]), "branch_0"),
        "loop": (Loop(fetch, while_=hangs, times=2), "loop_0"),
        "loop in map": (Map(Loop(fetch, while_=hangs), [1], name="all"), "all"),
    }


KINDS = [*asking(Gate())]


@pytest.mark.parametrize("kind", KINDS)
def test_guarantee_6_a_deadline_is_kept_over_what_is_asked(kind: str) -> None:
    gate, clock = Gate(), ManualClock()
    node, name = asking(gate)[kind]
    pipeline = Pipeline([node, after], PipelineConfig(timeout=5.0))
    events: list[Event] = []
    context: Any = PipelineContext(results=dict(START))
    with clock.installed(), pipeline.subscribe(events.append):
        run = pipeline.start(context)
        gate.wait_until_reached()
        clock.advance(5.0)
        with pytest.raises(RunTimeoutError):
            run.result()
    assert context.results == START
    status = run.status()
    assert status["state"] == "timed_out"
    assert status["abandoned"] == 1 or "coroutine" in kind  # which is really cancelled
    assert status["step_details"][name]["status"] == "timed_out"
    assert status["step_details"]["after"]["status"] == "cancelled"
    ends = {event.path: type(event).__name__ for event in events if isinstance(event, GroupEnded)}
    assert set(ends.values()) == {"GroupTimedOut"} and "0" in ends
    check_events(events, told_by_path(events))
    gate.open()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_can_be_cancelled_while_something_is_asked(kind: str) -> None:
    gate = Gate()
    node, name = asking(gate)[kind]
    pipeline = Pipeline([node, after])
    events: list[Event] = []
    context: Any = PipelineContext(results=dict(START))
    with pipeline.subscribe(events.append):
        run = pipeline.start(context)
        gate.wait_until_reached()
        run.cancel()
        with pytest.raises(RunCancelledError):
            run.result()
    assert context.results == START
    assert run.status()["step_details"][name]["status"] == "cancelled"
    assert {type(event).__name__ for event in events if isinstance(event, StepEvent)} == {
        "StepCancelled"
    }
    check_events(events, told_by_path(events))
    gate.open()


@pytest.mark.parametrize("operator", LogicOperator)
def test_guarantee_6_a_map_that_never_learns_its_items_times_out(operator: LogicOperator) -> None:
    gate, clock = Gate(), ManualClock()
    quorum = 1 if operator is LogicOperator.QUORUM else None
    config = ParallelConfig(timeout=2.0, operator=operator, quorum=quorum)

    def hangs(context: Any) -> Any:
        gate.wait()
        return [1]

    context: Any = PipelineContext(results=dict(START))
    with clock.installed():
        run = Pipeline([Map(fetch, hangs, config=config)]).start(context)
    gate.wait_until_reached()
    clock.advance(2.0)
    with pytest.raises(GroupTimeoutError, match=r"group 'fetch' at path 0 timed out after 2.0 s"):
        run.result()
    assert context.results == START
    gate.open()


def test_guarantee_7_an_answer_that_comes_late_changes_nothing() -> None:
    gate, clock = Gate(), ManualClock()
    asked: list[Any] = []

    def hangs(context: Any) -> Any:
        gate.wait()
        asked.append(context)
        context.results["late"] = True
        return [1]

    nested = Pipeline([Map(fetch, hangs)], PipelineConfig(timeout=2.0), name="inner")
    context: Any = PipelineContext(results=dict(START))
    with clock.installed():
        run = Pipeline([nested, after], PipelineConfig(fail_fast=False)).start(context)
    gate.wait_until_reached()
    clock.advance(2.0)
    assert run.result() is context
    gate.open()
    assert context.results == {**START, "after": True}
    assert [type(error) for error in context.errors] == [RunTimeoutError]


def test_guarantee_6_a_loop_is_left_in_the_middle_of_a_round() -> None:
    gate, clock = Gate(), ManualClock()

    def count(context: Any) -> Any:
        context.results["n"] = context.results.get("n", 0) + 1
        if context.results["n"] == 3:
            gate.wait()
        return context.results["n"]

    context: Any = PipelineContext()
    with clock.installed():
        pipeline = Pipeline([Loop([count, after], times=9)], PipelineConfig(timeout=1.0))
        run = pipeline.start(context)
    gate.wait_until_reached()
    assert run.status()["running_steps"] == ["count[2]"]
    clock.advance(1.0)
    with pytest.raises(RunTimeoutError):
        run.result()
    assert context.results == {"n": 2, "count": 2, "after": True}
    gate.open()


def test_cancelling_keeps_what_finished_items_have_brought() -> None:
    gate = Gate()

    def check(context: Any) -> Any:
        return gate.wait() if context.results["item"] == 2 else context.results["item"]

    config = ParallelConfig(max_workers=1)
    context: Any = PipelineContext()
    run = Pipeline([Map(check, [0, 1, 2, 3], config=config)]).start(context)
    gate.wait_until_reached()
    run.cancel()
    with pytest.raises(RunCancelledError):
        run.result()
    assert context.results == {"check": [0, 1, None, None]}
    gate.open()


# While it runs


def test_guarantee_9_the_status_tells_of_a_map_that_runs() -> None:
    gates = {number: Gate() for number in range(4)}

    def check(context: Any) -> None:
        gates[context.results["item"]].wait()

    @step(weight=3.0)
    def last(context: Any) -> None:
        """The rest."""

    pipeline = Pipeline([Map(check, [0, 1, 2, 3], config=ParallelConfig(max_workers=2)), last])
    idle = pipeline.get_status()["step_details"]
    assert [detail["max_weight"] for detail in idle.values()] == pytest.approx([25, 75])
    run = pipeline.start()
    seen = []
    for number in range(3):
        gates[number].wait_until_reached()
        gates[number + 1].wait_until_reached()  # by then the one before them has ended
        status = run.status()
        detail = status["step_details"]["check"]
        assert (detail["status"], detail["attempts"]) == ("running", 1)
        assert status["current_step"] == "check"
        assert status["running_steps"] == [f"check[{number}]", f"check[{number + 1}]"]
        seen.append((status["progress"], detail["internal_progress"], detail["contribution"]))
        gates[number].open()
    gates[3].open()
    run.result()
    assert seen == [pytest.approx((6.25 * n, 25 * n, 6.25 * n)) for n in range(3)]
    status = run.status()
    assert status["progress"] == 100.0
    assert status["step_details"]["check"]["internal_progress"] == 100.0


def seen_by(pipeline: Pipeline, start: dict[str, Any] | None = None) -> list[float]:
    """The progress after each step."""
    seen: list[float] = []

    def look(event: Event) -> None:
        seen.append(pipeline.get_status()["progress"])

    run_context: Any = PipelineContext(results=dict(start or {}))
    with pipeline.subscribe(look):
        pipeline.run(run_context)
    return seen


def reported(percent: float) -> Callable[[Any], None]:
    def report(context: Any) -> None:
        context.update_step_progress(percent)
        context.results.setdefault("seen", []).append(context.shared["of"].get_status()["progress"])

    return report


@pytest.mark.parametrize(
    ("node", "seen"),
    [
        (Map(reported(50.0), [1, 2], config=ParallelConfig(max_workers=1)), [12.5, 37.5]),
        (Map([reported(100.0)] * 2, [1], config=ParallelConfig(max_workers=1)), [25.0, 50.0]),
        (Loop(reported(50.0), times=4), [6.25, 18.75, 31.25, 43.75]),
        (Loop([reported(100.0), reported(0.0)], times=2), [12.5, 12.5, 37.5, 37.5]),
        (Branch("no", after, otherwise=reported(50.0)), [25.0]),
        (Branch("no", after), []),
        (
            Map(
                Branch("no", after, [reported(50.0)]),
                range(2),
                config=ParallelConfig(max_workers=1),
            ),
            [12.5, 37.5],
        ),
        (Map(Loop(reported(50.0), times=2), [1]), [12.5, 37.5]),
        (Map(after, []), []),
        (Loop(after, times=0), []),
    ],
    ids=range(10),
)
def test_guarantee_9_each_part_of_a_dynamic_group_has_its_share(
    node: TaskStep, seen: list[float]
) -> None:
    """The group is half of the whole, and behind it that half is done."""

    def behind(context: Any) -> Any:
        return context.shared["of"].get_status()["progress"]

    pipeline = Pipeline([node, behind])
    found = pipeline.run(PipelineContext(shared={"of": pipeline})).results
    assert found.get("seen", []) == seen
    assert found["behind"] == 50.0
    assert pipeline.get_status()["progress"] == 100.0


def test_guarantee_9_progress_never_goes_back_and_ends_at_100() -> None:
    rounds = Loop([Map(fetch, "xs"), Branch("no", fetch, [after])], times=3)
    pipeline = Pipeline([Map([rounds, after], [1, 2, 3]), Loop(after, while_="no"), after])
    seen = seen_by(pipeline, {"xs": [1, 2]})
    assert seen == sorted(seen) and seen[-1] == 100.0


def test_a_callback_is_told_of_a_dynamic_group_as_of_any_item() -> None:
    told: list[tuple[Any, ...]] = []
    steps: list[TaskStep] = [
        Map(fetch, [1, 2]),
        Branch("no", fetch, name="either"),
        Loop(after, times=2),
        after,
    ]
    Pipeline(steps, progress_callback=lambda *args: told.append(args)).run()
    assert told == [
        (0, 4, "fetch", 25.0),
        (1, 4, "either", 50.0),
        (2, 4, "loop_2", 75.0),
        (3, 4, "after#2", 100.0),
    ]
