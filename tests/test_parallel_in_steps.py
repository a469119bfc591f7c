"""Dynamic groups inside a step: on its run's pool, in its progress, events and deadline."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    EventBus,
    ExecutionState,
    GroupTimeoutError,
    Map,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RunCancelledError,
    RunTimeoutError,
    SharedThreadPoolExecutor,
    StepAbandonedError,
    StepCancelledError,
    StepTimeoutError,
    StopPipeline,
    TaskGroup,
    map_parallel,
    parallel,
    step,
)
from task_pipeline.events import (
    Event,
    GroupCancelled,
    GroupEvent,
    GroupFailed,
    GroupStarted,
    GroupTimedOut,
    StepCancelled,
    StepEvent,
    StepRetrying,
    StepStarted,
)
from task_pipeline.testing import Gate, ManualClock

FAIL_FAST = ErrorStrategy.FAIL_FAST
PATIENCE = 10.0


class Boom(Exception):
    """What a task raises."""


def boom() -> None:
    raise Boom("burst")


def one(number: int = 1) -> int:
    return number


async def aone(number: int = 1) -> int:
    return number


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("task_pipeline").setLevel(logging.ERROR)


def story(events: Any) -> list[tuple[Any, ...]]:
    return [
        (type(event).__name__, event.path, event.name, event.group_id, event.parallel_index)
        for event in events
    ]


# Results


class Crawl(PipelineStep):
    """Finds out how much there is to do as it runs."""

    def run(self, context: Any) -> None:
        with context.parallel(max_workers=8) as group:
            for number in range(context.results["count"]):
                group.add(pow, number, 2)
            results = group.gather()
        context.results["squares"] = [result.unwrap() for result in results]


def test_a_step_opens_a_group_by_its_context() -> None:
    context: PipelineContext[Any] = Pipeline([Crawl()]).run(PipelineContext(results={"count": 5}))
    assert context.results["squares"] == [0, 1, 4, 9, 16]


def test_a_coroutine_step_opens_a_group_by_its_context() -> None:
    async def crawl(context: Any) -> list[Any]:
        async with context.parallel(max_workers=2) as group:
            group.add(aone(3))
            group.add(one, 4)
            return [result.unwrap() async for result in group.stream()]

    assert sorted(Pipeline([crawl]).run().results["crawl"]) == [3, 4]
    assert sorted(asyncio.run(Pipeline([crawl]).arun()).results["crawl"]) == [3, 4]


def test_the_error_of_a_group_is_the_steps_own_with_notes_of_both() -> None:
    def crawl(context: Any) -> None:
        with context.parallel(error_strategy=FAIL_FAST, name="docs") as group:
            group.add(boom, name="culprit")

    with pytest.raises(Boom) as raised:
        Pipeline([crawl]).run()
    assert raised.value.__notes__ == [
        "task 'culprit' of group 'docs' at path 0.0, attempt 1",
        "step 'crawl' at path 0, attempt 1 of 1",
    ]


def test_a_task_that_stops_the_pipeline_stops_the_run() -> None:
    def stop() -> None:
        raise StopPipeline("enough")

    def crawl(context: Any) -> None:
        with context.parallel(max_workers=1) as group:
            group.add(stop)
            group.add(never.append, 1)

    never: list[int] = []
    context = Pipeline([crawl, lambda context: never.append(2)]).run()
    assert context.results == {"crawl": "enough"} and never == []


def test_map_in_a_step_by_its_context() -> None:
    def crawl(context: Any) -> list[int]:
        results = context.parallel(max_workers=2).map(lambda item: item + 1, range(5))
        return [result.unwrap() for result in results]

    assert Pipeline([crawl]).run().results["crawl"] == [1, 2, 3, 4, 5]


# Events


def test_three_at_once_have_the_right_paths_one_group_id_and_their_indices() -> None:
    def run() -> list[Event]:
        together = threading.Barrier(3, timeout=PATIENCE)
        bus = EventBus()

        def crawl(context: Any) -> None:
            with context.parallel(max_workers=3, name="docs") as group:
                for index in range(3):
                    group.add(together.wait, name=f"doc{index}")

        pool = SharedThreadPoolExecutor(4)
        Pipeline([one_, [crawl, one_]], event_bus=bus, executor=pool).run()
        return list(bus.history)

    events = run()
    assert {event.run_id for event in events} == {events[0].run_id}
    assert [event.seq for event in events] == list(range(len(events)))
    tasks = [event for event in events if isinstance(event, StepEvent) and "doc" in event.name]
    assert len(tasks) == 6
    for event in tasks:
        index = int(event.name[-1])
        assert (event.path, event.step_id) == (f"1.0.0.{index}", f"doc{index}")
        assert (event.group_id, event.is_parallel, event.parallel_index) == ("1.0.0", True, index)
    groups = [event for event in events if isinstance(event, GroupEvent) and event.name == "docs"]
    assert [(event.path, event.group_id, event.total) for event in groups] == [
        ("1.0.0", "1.0.0", 3)
    ] * 2
    assert {event.parallel_index for event in groups} == {0}  # of the branch it is in
    assert sorted(story(run()), key=str) == sorted(story(events), key=str)


def one_(context: Any) -> None:
    """A step that does nothing."""


def test_nested_children_stand_under_their_own_parents() -> None:
    def inner(number: int) -> None:
        for _ in range(2):
            with parallel(name=f"inner{number}") as group:
                group.add(one, name=f"leaf{number}")

    def crawl(context: Any) -> None:
        with context.parallel(name="outer") as group:
            for number in range(2):
                group.add(inner, number, name=f"task{number}")

    bus = EventBus()
    Pipeline([crawl], event_bus=bus).run()
    started = [event for event in bus.history if isinstance(event, StepStarted | GroupStarted)]
    assert sorted((event.path, event.name, event.group_id) for event in started) == [
        ("0", "crawl", None),
        ("0.0", "outer", "0.0"),
        ("0.0.0", "task0", "0.0"),
        ("0.0.0.0", "inner0", "0.0.0.0"),
        ("0.0.0.0.0", "leaf0", "0.0.0.0"),
        ("0.0.0.1", "inner0", "0.0.0.1"),
        ("0.0.0.1.0", "leaf0", "0.0.0.1"),
        ("0.0.1", "task1", "0.0"),
        ("0.0.1.0", "inner1", "0.0.1.0"),
        ("0.0.1.0.0", "leaf1", "0.0.1.0"),
        ("0.0.1.1", "inner1", "0.0.1.1"),
        ("0.0.1.1.0", "leaf1", "0.0.1.1"),
    ]


def test_a_second_attempt_of_the_step_has_the_same_ids() -> None:
    @step(retries=1)
    def crawl(context: Any) -> None:
        with context.parallel(name="docs", error_strategy=FAIL_FAST) as group:
            group.add(one if context.attempt == 2 else boom, name="task")

    bus = EventBus()
    Pipeline([crawl], event_bus=bus).run()
    paths = [(event.path, event.attempt) for event in bus.history if event.name == "task"]
    assert paths == [("0.0.0", 1)] * 4
    assert [type(event) for event in bus.history if isinstance(event, StepRetrying)]


def test_events_of_a_group_that_fails_is_left_or_times_out() -> None:
    gate = Gate()

    def crawl(context: Any) -> None:
        with (
            pytest.raises(Boom),
            context.parallel(max_workers=1, name="fails", error_strategy=FAIL_FAST) as group,
        ):
            group.add(boom)
            group.add(one)
        with context.parallel(max_workers=2, name="left") as group:
            group.add(one)
            group.add(gate.wait)
            group.add(gate.wait)
            group.add(one)
            next(iter(group.stream()))
        with context.parallel(name="late", timeout=0.01) as group:
            group.add(gate.wait)

    bus = EventBus()
    Pipeline([crawl], event_bus=bus).run()
    gate.open()
    ends = {event.name: type(event) for event in bus.history if isinstance(event, GroupEvent)}
    assert ends == {"fails": GroupFailed, "left": GroupCancelled, "late": GroupTimedOut}
    never = [event for event in bus.history if isinstance(event, StepCancelled)]
    assert {(event.path, event.attempt) for event in never} >= {("0.0.1", 0), ("0.1.3", 0)}
    seqs = [event.seq for event in bus.history]
    assert seqs == list(range(len(seqs)))


def test_the_path_of_a_line_of_the_log_is_the_tasks() -> None:
    def crawl(context: Any) -> list[Any]:
        with context.parallel() as group:
            group.add(path_of_the_log)
            group.add(path_of_the_log)
            return [result.unwrap() for result in group.gather()]

    def path_of_the_log() -> str:
        from task_pipeline import StepLogFilter

        record = logging.LogRecord("a", 10, "b", 1, "c", (), None)
        StepLogFilter().filter(record)
        return f"{record.path} {record.step_id}"  # type: ignore[attr-defined]  # the filter's

    assert Pipeline([crawl]).run().results["crawl"] == [
        "0.0.0 path_of_the_log[0]",
        "0.0.1 path_of_the_log[1]",
    ]


# Progress


def test_the_group_is_part_of_the_steps_progress() -> None:
    seen: list[float] = []

    def look() -> None:
        seen.append(pipeline.get_status()["step_details"]["crawl"]["internal_progress"])

    def crawl(context: Any) -> None:
        context.update_step_progress(10)
        for _ in range(2):
            with context.parallel(max_workers=1) as group:
                for _ in range(3):
                    group.add(look)
        look()

    pipeline = Pipeline([crawl])
    pipeline.run()
    assert seen == sorted(seen) and len(set(seen)) == 7
    assert seen[0] == 10 and seen[-1] < 100
    assert pipeline.get_status()["progress"] == 100.0


# Deadlines and cancellation


def blocked(gate: Gate, caught: list[BaseException]) -> Callable[[Any], None]:
    def crawl(context: Any) -> None:
        try:
            with context.parallel(max_workers=1) as group:
                group.add(gate.wait)
                group.add(caught.append, AssertionError("it was started"))
                group.gather()
        except BaseException as error:
            caught.append(error)
            raise

    return crawl


@pytest.mark.parametrize("of", ["run", "group", "step"])
def test_a_deadline_over_the_step_leaves_the_groups_tasks(of: str) -> None:
    gate, clock, bus = Gate(), ManualClock(), EventBus()
    caught: list[BaseException] = []
    crawl: Any = blocked(gate, caught)
    config = PipelineConfig(timeout=60) if of == "run" else PipelineConfig()
    if of == "group":
        crawl = Parallel([crawl], config=ParallelConfig(timeout=60))
    if of == "step":
        crawl = step(timeout=60)(crawl)
    errors = {"run": RunTimeoutError, "group": GroupTimeoutError, "step": StepTimeoutError}
    pool = SharedThreadPoolExecutor(2)
    with clock.installed():
        run = Pipeline([crawl], config=config, event_bus=bus, executor=pool).start()
    gate.wait_until_reached()
    clock.advance(60)
    with pytest.raises(errors[of]):
        run.result(PATIENCE)
    gate.open()  # the thread of the step is in the task, if it gathers
    settled(lambda: not run.status()["abandoned"] and pool.active == 0)
    assert len(caught) == 1
    assert isinstance(caught[0], RunCancelledError | StepCancelledError)


@pytest.mark.parametrize("streams", ["gather", "stream", "map"])
def test_cancelling_the_run_leaves_the_groups_tasks(streams: str) -> None:
    gate, ended = Gate(), threading.Event()
    started: list[int] = []

    def work(number: int) -> None:
        started.append(number)
        gate.wait()

    def crawl(context: Any) -> None:
        try:
            if streams == "map":
                list(map_parallel(work, range(5), max_workers=2))
                return
            with context.parallel(max_workers=2) as group:
                for number in range(5):
                    group.add(work, number)
                list(group.stream()) if streams == "stream" else group.gather()
        finally:
            ended.set()

    pool = SharedThreadPoolExecutor(3)
    run = Pipeline([crawl], executor=pool).start()
    gate.wait_until_reached(2)
    run.cancel()
    with pytest.raises(RunCancelledError):
        run.result(PATIENCE)
    if streams != "gather":  # else the thread of the step is in a task
        assert ended.wait(PATIENCE)
    gate.open()
    assert ended.wait(PATIENCE)
    settled(lambda: pool.active == 0)
    assert sorted(started) == [0, 1]


def test_a_step_that_was_left_opens_no_group_that_runs() -> None:
    gate = Gate()
    started: list[int] = []
    caught: list[BaseException] = []

    @step(timeout=0.02)
    def crawl(context: Any) -> None:
        gate.wait()
        try:
            with parallel() as group:
                group.add(started.append, 1)
        except BaseException as error:
            caught.append(error)
            raise

    run = Pipeline([crawl]).start()
    with pytest.raises(StepTimeoutError):
        run.result(PATIENCE)
    gate.open()
    settled(lambda: not run.status()["abandoned"])
    assert started == []
    assert [type(error) for error in caught] == [StepCancelledError]
    assert not issubclass(StepCancelledError, StepAbandonedError)


def test_a_task_sees_the_nearest_deadline_over_it() -> None:
    clock = ManualClock()
    seen: list[float | None] = []

    def crawl(context: Any) -> None:
        with context.parallel(timeout=50) as group:
            group.add(lambda: Pipeline([look]).run())
        with context.parallel(timeout=500) as group:
            group.add(lambda: Pipeline([look]).run())

    def look(context: Any) -> None:
        seen.append(context.remaining)

    with clock.installed():
        Pipeline([crawl], config=PipelineConfig(timeout=100)).run()
    assert seen == [50, 100]


def settled(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        threading.Event().wait(0.001)


# What is around


def test_context_variables_of_the_step_are_seen_and_leak_nowhere() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    def spoil() -> str:
        before = variable.get()
        variable.set("spoilt")
        return before

    def crawl(context: Any) -> list[str]:
        variable.set("the step's")
        with context.parallel(max_workers=1) as group:
            group.add(spoil)
            group.add(spoil)
            return [result.unwrap() for result in group.gather()] + [variable.get()]

    results = Pipeline([crawl, lambda context: variable.get()]).run().results
    assert results == {"crawl": ["the step's"] * 3, "lambda": "unset"}


def test_groups_in_branches_of_a_map_node() -> None:
    def square_all(context: Any) -> list[int]:
        with context.parallel(max_workers=2) as group:
            for number in context.results["item"]:
                group.add(pow, number, 2)
            return [result.unwrap() for result in group.gather()]

    pipeline = Pipeline([Map(square_all, over="lists", result_key="squares")])
    context: PipelineContext[Any] = pipeline.run(
        PipelineContext(results={"lists": [[1, 2], [], [3]]})
    )
    assert context.results["squares"] == [[1, 4], [], [9]]


def test_a_thread_that_a_step_has_started_opens_groups_of_its_own() -> None:
    def crawl(context: Any) -> None:
        def of_its_own() -> None:
            with parallel() as group:
                group.add(one, 5)
            values.extend(result.unwrap() for result in group.gather())

        inherited = contextvars.copy_context()
        threads = [
            threading.Thread(target=of_its_own),
            threading.Thread(target=inherited.run, args=(of_its_own,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    values: list[int] = []
    bus = EventBus()
    pipeline = Pipeline([crawl], event_bus=bus, executor=SharedThreadPoolExecutor(2))
    pipeline.run()
    assert values == [5, 5]
    # The one that has the step's context variables counts as part of it.
    assert [event.path for event in bus.history if isinstance(event, GroupStarted)] == ["0.0"]


def test_a_group_outlives_the_step_that_has_opened_it() -> None:
    kept: list[TaskGroup] = []

    def crawl(context: Any) -> None:
        kept.append(context.parallel().__enter__())
        kept[0].add(one, 5)

    Pipeline([crawl]).run()
    assert [result.unwrap() for result in kept[0].gather()] == [5]
    assert kept[0].group.status == "completed"


def test_a_state_in_a_step_has_the_events_and_the_step_the_limits() -> None:
    state, bus = ExecutionState(), EventBus()

    def crawl(context: Any) -> None:
        with state.parallel(name="docs") as group:
            group.add(one)

    Pipeline([[crawl, one_]], event_bus=bus).run()
    assert [event.path for event in state.history] == ["0", "0.0", "0.0", "0"]
    assert [event for event in bus.history if event.name == "docs"] == []


def test_the_result_of_a_task_of_a_group_in_a_step_has_its_status() -> None:
    def crawl(context: Any) -> list[Outcome]:
        with context.parallel(max_workers=1, timeout=0.02) as group:
            group.add(one)
            group.add(boom)
            group.add(time.sleep, 0.1)  # the step's work
            group.add(one)
            return [result.status for result in group.gather()]

    assert Pipeline([crawl]).run().results["crawl"] == [
        *("succeeded", "failed", "timed_out", "cancelled")
    ]
