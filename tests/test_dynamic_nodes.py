"""`Map`, `Branch` and `Loop` in each other and at any depth: names, events, status, mistakes."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    ParallelTaskExecutor,
    Pipeline,
    PipelineContext,
    PipelineExecutor,
    ProgressTracker,
    Serial,
    SharedThreadPoolExecutor,
    TaskExecutor,
    TaskStep,
)
from task_pipeline.events import Event, GroupEvent, RunStarted
from task_pipeline.testing import Simulator
from tests.event_order import check_events, told_by_path


def double(context: Any) -> Any:
    return context.results["item"] * 2


def negate(context: Any) -> Any:
    return -context.results["item"]


def add(context: Any) -> None:
    context.results["n"] = context.results.get("n", 0) + 1


def feed_back(context: Any) -> None:
    context.results["xs"] = context.results["double"]


def is_odd(context: Any) -> bool:
    return bool(context.results["item"] % 2)


def nothing(context: Any) -> None:
    """A step that does nothing."""


ROWS = {"rows": [[1, 2], [], [3]]}
ODD_OR_EVEN = Branch(is_odd, double, otherwise=negate)
NESTED: dict[str, tuple[TaskStep, dict[str, Any]]] = {
    "map in map": (
        Map([Map(double, "row")], "rows", item_key="row", result_key="double"),
        {"double": [[2, 4], [], [6]]},
    ),
    "map in map without a list": (Map(Map(double, "row"), "rows", "row"), {"double": [2, 4, 6]}),
    "map in map by the same key": (
        Map([Map(double, "item"), nothing], "rows", result_key="double"),
        {"double": [[2, 4], [], [6]]},
    ),
    "branch in map": (
        Map([Map([ODD_OR_EVEN], "row", result_key="double")], "rows", "row", "double"),
        {"double": [[2, None], [], [6]], "negate": -2},
    ),
    "loop in branch of map": (
        Map(
            [Branch(is_odd, Loop([add, add], times=2), Loop(add, times=3))], [1, 2, 3], "item", "n"
        ),
        {"n": [4, 3, 4]},
    ),
    "branch in loop": (
        Loop(
            Branch(lambda context: context.results.get("n", 0) < 2, add, Loop(add, times=5)),
            times=4,
        ),
        {"n": 12},
    ),
    "pipeline in map": (
        Map(Pipeline([add, [double, negate]], name="each"), [1, 2], result_key="double"),
        {"double": [2, 4], "n": 2, "negate": -3},
    ),
    "parallel in map": (
        Map(Parallel([double, [negate, add]]), [5], "item", "n"),
        {"n": [1], "double": 10, "negate": -5},
    ),
    "map in parallel": (
        Parallel([Map(double, [1]), Serial([add, Map(negate, [2, 3])])]),
        {"double": [2], "n": 1, "negate": [-2, -3]},
    ),
    "map in loop": (
        Loop([Map(double, "xs"), feed_back], times=3),
        {"xs": [8], "double": [8]},
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_they_nest_at_any_depth_and_come_to_the_same_in_any_order(name: str) -> None:
    node, expected = NESTED[name]
    start = {"rows": ROWS["rows"], "xs": [1]}
    pipeline = Pipeline([nothing, node])
    for seed in range(20):
        context: Any = PipelineContext(results=copy.deepcopy(start))
        run = Simulator(pipeline, seed, workers=1 + seed % 4).run(context)
        assert run.error is None
        assert run.context.results == {**start, **expected}
        check_events(run.events, told_by_path(run.events))


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("workers", [1, 3])
def test_guarantee_1_they_run_on_any_number_of_workers(name: str, workers: int) -> None:
    node, expected = NESTED[name]
    start = {"rows": ROWS["rows"], "xs": [1]}
    pool = SharedThreadPoolExecutor(workers)
    pipeline = Pipeline([node], executor=pool)
    context: Any = PipelineContext(results=copy.deepcopy(start))
    assert pipeline.start(context).result().results == {**start, **expected}
    context = PipelineContext(results=copy.deepcopy(start))
    assert asyncio.run(pipeline.arun(context)).results == {**start, **expected}
    pool.shutdown()


def test_200_levels_of_each_in_the_other() -> None:
    steps: list[TaskStep] = [add]
    for _ in range(100):
        steps = [Map([Branch("on", [Loop(steps, times=1)])], [0])]
    assert Pipeline(steps).run(PipelineContext(results={"on": True})).results["n"] == 1


# The classic executors


@pytest.mark.parametrize("name", NESTED)
def test_the_classic_executors_run_them(name: str) -> None:
    node, expected = NESTED[name]
    start = {"rows": ROWS["rows"], "xs": [1]}
    for execute in (
        lambda context: TaskExecutor().execute(node, context),
        lambda context: PipelineExecutor().execute([node], context),
        lambda context: ParallelTaskExecutor().execute([node, nothing], context),
        lambda context: ParallelTaskExecutor(Logged()).execute([node], context),
    ):
        context: Any = PipelineContext(results=copy.deepcopy(start))
        assert execute(context).results == {**start, **expected}


class Logged(TaskExecutor):
    """An executor of the user's own."""


def test_progress_of_a_classic_executor_is_told_for_the_whole_map() -> None:
    steps: list[TaskStep] = [Map(double, [1, 2]), nothing]
    tracker = ProgressTracker([steps, nothing])
    assert tracker.get_step_details().keys() == {"double", "nothing", "nothing#2"}
    ParallelTaskExecutor().execute(steps, PipelineContext(), progress_tracker=tracker)
    assert tracker.get_overall_progress() == 50.0
    assert tracker.get_step_details()["double"]["internal_progress"] == 100.0


# Copies, and several runs


@pytest.mark.parametrize("name", NESTED)
def test_a_copy_runs_as_the_original_does(name: str) -> None:
    node, expected = NESTED[name]
    start = {"rows": ROWS["rows"], "xs": [1]}
    pipeline = Pipeline([node])
    for other in (pipeline, copy.copy(pipeline), copy.deepcopy(pipeline), pipeline):
        context: Any = PipelineContext(results=copy.deepcopy(start))
        assert other.run(context).results == {**start, **expected}


def test_one_that_asks_for_keys_or_named_functions_can_be_pickled() -> None:
    steps: list[TaskStep] = [
        Map(double, "xs", config=ParallelConfig(max_workers=1), name="twice"),
        Branch("xs.0", [Loop(add, while_="xs", times=2)], otherwise=nothing),
        Map([Branch(is_odd, add)], (1, 2, 3), result_key="odd"),
        Map(Map(double, [4]), range(1)),
    ]
    pipeline: Pipeline = pickle.loads(pickle.dumps(Pipeline(steps)))
    found = pipeline.run(PipelineContext(results={"xs": [1, 2]})).results
    assert found == {"xs": [1, 2], "double": [2, 4], "n": 4, "odd": [None] * 3, "double#2": [8]}


def test_guarantee_12_concurrent_runs_of_one_pipeline_do_not_see_each_other() -> None:
    together = threading.Barrier(4, timeout=30.0)

    def meet(context: Any) -> Any:
        if context.results["item"] == 0:
            together.wait()
        return (context.results["number"], context.results["item"])

    pipeline = Pipeline([Map(meet, "xs"), Loop(add, times=3), Branch("xs.3", add)])
    contexts: list[PipelineContext[Any]] = [
        PipelineContext(results={"number": number, "xs": list(range(number + 1))})
        for number in range(4)
    ]
    runs = [pipeline.start(context) for context in contexts]
    for number, run in enumerate(runs):
        found = run.result().results
        assert found["meet"] == [(number, item) for item in range(number + 1)]
        assert found["n"] == 3 + (number == 3)


# Names and events


def told(pipeline: Pipeline, start: dict[str, Any] | None = None) -> list[Event]:
    events: list[Event] = []
    with pipeline.subscribe(events.append):
        pipeline.run(PipelineContext(results=dict(start or {})))
    return events


def brief(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """The kind, the path, and of a group how many it has."""
    return [
        (
            type(event).__name__,
            event.path,
            *([event.total] if isinstance(event, GroupEvent) else []),
        )
        for event in events
    ]


def test_the_events_of_a_map_tell_of_each_item_at_its_path() -> None:
    config = ParallelConfig(max_workers=1)
    events = told(Pipeline([nothing, Map(double, [1, 2], config=config, name="all")]))
    assert brief(events) == [
        ("RunStarted", ""),
        *(("StepStarted", "0"), ("StepSucceeded", "0")),
        *(("GroupStarted", "1", 0), ("GroupExpanded", "1", 2)),
        *(("StepStarted", "1.0"), ("StepSucceeded", "1.0")),
        *(("StepStarted", "1.1"), ("StepSucceeded", "1.1")),
        *(("GroupSucceeded", "1", 2), ("RunSucceeded", "")),
    ]
    items = [event for event in events if event.path.startswith("1.")]
    assert [event.step_id for event in items] == [
        "double[0]",
        "double[0]",
        "double[1]",
        "double[1]",
    ]
    assert [event.parallel_index for event in items] == [0, 0, 1, 1]
    assert {(event.group_id, event.is_parallel) for event in items} == {("1", True)}
    groups = [event for event in events if isinstance(event, GroupEvent)]
    assert {(event.name, event.group_id, event.parallel) for event in groups} == {
        ("all", "1", True)
    }
    assert isinstance(events[0], RunStarted) and events[0].total == 1


def test_the_events_of_a_loop_and_a_branch_are_those_of_a_series() -> None:
    events = told(Pipeline([Loop(Branch("on", nothing), times=2)]), {"on": 1})
    assert brief(events) == [
        *(("RunStarted", ""), ("GroupStarted", "0", 0), ("GroupExpanded", "0", 1)),
        *(("GroupStarted", "0.0", 1), ("StepStarted", "0.0.0"), ("StepSucceeded", "0.0.0")),
        *(("GroupSucceeded", "0.0", 1), ("GroupExpanded", "0", 2)),
        *(("GroupStarted", "0.1", 1), ("StepStarted", "0.1.0"), ("StepSucceeded", "0.1.0")),
        *(("GroupSucceeded", "0.1", 1), ("GroupSucceeded", "0", 2), ("RunSucceeded", "")),
    ]
    assert not any(event.is_parallel for event in events)


def test_paths_and_ids_are_the_same_in_two_runs() -> None:
    pipeline = Pipeline([[NESTED["branch in map"][0], NESTED["loop in branch of map"][0]]])
    found = []
    for seed in range(30):
        run = Simulator(pipeline, seed, workers=1 + seed % 5)
        events = run.run(PipelineContext(results=copy.deepcopy(ROWS))).events
        found.append({(event.path, event.step_id, event.name, event.group_id) for event in events})
    assert all(each == found[0] for each in found)
    paths = {step_id: path for path, step_id, *_ in found[0]}
    assert paths["double[2][0]"] == "0.0.2.0.0.0.0"


def test_ids_are_numbered_in_the_order_written() -> None:
    steps: list[TaskStep] = [
        Loop(add, times=1),
        add,
        Map([add, Branch("x", add)], [1]),
        Map(add, [1]),
        Map(add, [1], name="add"),
    ]
    events = told(Pipeline(steps), {"x": 1})
    names = {event.path: event.step_id for event in events if event.step_id}
    assert names == {
        "0.0": "add[0]",
        "1": "add#2",
        "2.0.0": "add#3[0]",
        "2.0.1.0": "add#4[0]",
        "3.0": "add#5[0]",
        "4.0": "add#7[0]",
    }


def test_a_group_in_an_instance_is_called_after_its_place_or_number() -> None:
    pair = Parallel([add, add], name="pair")
    events = told(Pipeline([Map([add, [add, add], pair], [1, 2], name="all")]))
    names = {event.path: event.name for event in events if event.step_id is None}
    assert names == {
        "": "pipeline",
        "0": "all",
        "0.0": "serial_group_0.0",
        "0.1": "serial_group_0.1",
        "0.0.1": "parallel_group_0.0.1",
        "0.1.1": "parallel_group_0.1.1",
        "0.0.2": "pair[0]",
        "0.1.2": "pair[1]",
    }
