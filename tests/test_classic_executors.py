"""The executors of the classic interface: thin over the engine, and the same in all they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import task_pipeline.executors
from task_pipeline import (
    ContextTypeError,
    ErrorStrategy,
    LogicOperator,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    ParallelTaskExecutor,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    PipelineExecutor,
    PipelineStep,
    ProgressTracker,
    Serial,
    StepReturnError,
    StepTimeoutError,
    TaskExecutor,
    step,
)
from task_pipeline.steps import read_step
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]
Execute = Callable[[Any, Any], Any]


def one(context: Context) -> int:
    return 1


def fails(context: Context) -> None:
    raise ValueError("boom")


def adds(context: Context) -> None:
    context.results["sum"] = context.results.get("sum", 0) + 1


class Logs(TaskExecutor):
    """An executor of the user's: takes note, and goes on as ever."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def execute(self, step: Any, context: Any) -> Any:
        self.seen.append(step)
        return super().execute(step, context)


class Calls:
    """An executor that owes nothing to ours."""

    def execute(self, step: Any, context: Any) -> Any:
        context.results["called"] = context.results.get("called", 0) + 1
        step(context)
        return context


def test_they_are_importable_from_both_places() -> None:
    for kind in (TaskExecutor, ParallelTaskExecutor, PipelineExecutor):
        assert getattr(task_pipeline.executors, kind.__name__) is kind


# One step


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (one, {"one": 1}),
        ([one, adds], {"one": 1, "sum": 1}),
        (Serial([adds, adds]), {"sum": 2}),
        (Parallel([adds, adds]), {"sum": 2}),
        (Pipeline([adds, one]), {"sum": 1, "one": 1}),
    ],
)
def test_a_task_executor_runs_one_step_on_the_context(what: Any, expected: Any) -> None:
    context: Context = PipelineContext()
    assert TaskExecutor().execute(what, context) is context
    assert context.results == expected


def test_a_task_executor_raises_what_the_step_raises() -> None:
    context: Context = PipelineContext()
    with pytest.raises(ValueError, match="boom") as caught:
        TaskExecutor().execute(fails, context)
    assert context.errors == [caught.value]
    with pytest.raises(PipelineDefinitionError, match="path 0: 5 is not a step"):
        TaskExecutor().execute(5, context)  # type: ignore[arg-type]  # a mistake


def test_a_task_executor_keeps_timeouts_retries_and_isolation() -> None:
    tried = []

    @step(retries=2)
    def third_time(context: Context) -> None:
        tried.append(context.attempt)
        context.results.setdefault("tried", []).append(context.attempt)
        if context.attempt < 3:
            raise ValueError

    assert TaskExecutor().execute(third_time, PipelineContext()).results == {"tried": [3]}
    assert tried == [1, 2, 3]

    gate, clock = Gate(), ManualClock()

    @step(timeout=5)
    def waits(context: Context) -> None:
        clock.advance(5)
        gate.wait()

    with clock.installed(), pytest.raises(StepTimeoutError):
        TaskExecutor().execute(waits, PipelineContext())
    gate.open()


# One group


def test_a_parallel_executor_keeps_the_task_executor_it_was_given() -> None:
    for mine in (TaskExecutor(), Logs(), Calls()):
        assert ParallelTaskExecutor(task_executor=mine).task_executor is mine
        assert ParallelTaskExecutor(mine).task_executor is mine
    assert type(ParallelTaskExecutor().task_executor) is TaskExecutor


def test_a_parallel_executor_runs_the_steps_as_one_group() -> None:
    context: Context = PipelineContext(results={"sum": 10})
    steps: list[Any] = [adds, [adds, adds], Parallel([adds, one]), Serial([adds])]
    assert ParallelTaskExecutor().execute(steps, context) is context
    assert context.results == {"sum": 15, "one": 1}
    with pytest.raises(ParallelGroupError) as caught:
        ParallelTaskExecutor().execute([one, fails], context)
    assert str(caught.value).startswith("Parallel group failed: 'parallel_group' needs every")
    assert caught.value.outcomes == {"one": "succeeded", "fails": "failed"}


def test_a_parallel_executor_goes_by_its_config() -> None:
    either = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)
    context: Context = ParallelTaskExecutor().execute([fails, one], PipelineContext(), either)
    assert context.results == {"one": 1}
    with pytest.raises(PipelineDefinitionError, match="quorum 3 is more than its 1 branches"):
        ParallelTaskExecutor().execute(
            [one], context, ParallelConfig(operator=LogicOperator.QUORUM, quorum=3)
        )
    wrong: Any = PipelineConfig()
    with pytest.raises(PipelineDefinitionError, match="config must be a ParallelConfig"):
        ParallelTaskExecutor().execute([one], context, wrong)


# A task executor of the user's


def test_the_task_executor_is_called_in_each_steps_place() -> None:
    mine = Logs()
    named = step(step_id="named", weight=3.0)(lambda context: None)
    inner = Pipeline([adds])
    steps: list[Any] = [one, [named, [adds, Parallel([adds, adds])]], Serial([adds]), inner]
    context: Context = ParallelTaskExecutor(mine).execute(steps, PipelineContext())
    assert context.results == {"one": 1, "sum": 5}
    ids = sorted(spec.step_id for item in mine.seen if (spec := read_step(item)[0]))
    assert ids == ["adds", "adds#2", "adds#3", "named", "one"]
    assert {one, named, adds} <= set(mine.seen)


def test_a_task_executor_that_owes_nothing_to_ours() -> None:
    context: Context = PipelineContext(results={"sum": 1})
    assert ParallelTaskExecutor(Calls()).execute([adds, [adds, one]], context) is context
    assert context.results == {"called": 3, "sum": 3}


def test_what_a_step_says_holds_for_such_a_task_executor_too() -> None:
    class Logger:
        def __init__(self) -> None:
            self.names: list[tuple[str, str]] = []

        def set_task_context(self, step_id: str, task_name: str) -> None:
            self.names.append((step_id, task_name))

        def clear_task_context(self) -> None:
            self.names.append(("", ""))

    tolerated = step(critical=False, description="May fail.")(fails)
    context: Context = PipelineContext(logger_instance=Logger())
    ParallelTaskExecutor(Calls()).execute([tolerated], context)
    assert [type(error) for error in context.errors] == [ValueError]
    assert context.logger.names == [("fails", "May fail."), ("", "")]


def test_a_task_executor_returns_a_context_or_nothing() -> None:
    class Returns:
        def execute(self, step: Any, context: Any) -> Any:
            return step(context)

    with pytest.raises(ParallelGroupError) as caught:
        ParallelTaskExecutor(Returns()).execute([one, adds], PipelineContext())
    [error] = caught.value.exceptions
    assert isinstance(error, StepReturnError)
    assert "step 'one' at path 0 returned a int" in str(error)


@pytest.mark.parametrize("make", [TaskExecutor, Logs])
def test_a_task_executor_changes_nothing_that_a_step_says(make: Callable[[], Any]) -> None:
    tried = []

    class Fetch(PipelineStep):
        retries = 2
        weight = 3.0

        def run(self, context: Any) -> None:
            tried.append(context.attempt)
            raise ValueError

    executor = ParallelTaskExecutor(make())
    context: Context = PipelineContext()
    with pytest.raises(ParallelGroupError):
        executor.execute([Fetch(), one], context)
    assert tried == [1, 2, 3]
    assert [type(error) for error in context.errors] == [ValueError]
    assert executor.execute([step(critical=False)(lambda context: 1 / 0)], context) is context
    assert [type(error) for error in context.errors] == [ValueError, ZeroDivisionError]


@pytest.mark.parametrize("make", [TaskExecutor, Logs])
def test_one_step_twice_is_two_steps_for_a_task_executor_too(make: Callable[[], Any]) -> None:
    ids = []

    def note(context: Context) -> int:
        ids.append(context.step_id)
        return 1

    context: Context = ParallelTaskExecutor(make()).execute([note, note], PipelineContext())
    assert context.results == {"note": 1, "note#2": 1}
    assert sorted(map(str, ids)) == ["note", "note#2"]


@pytest.mark.parametrize("make", [TaskExecutor, Logs])
@pytest.mark.parametrize("fixed", [True, False])
def test_one_object_twice_is_still_one_object(make: Callable[[], Any], fixed: bool) -> None:
    class Counts(PipelineStep):
        def __init__(self) -> None:
            self.ids: list[str] = []
            self.calls = 0

        def run(self, context: Any) -> None:
            self.ids.append(context.step_id)
            self.calls += 1

    class Fixed(Counts):
        @property
        def step_id(self) -> str:
            return "counts"

    counts = Fixed() if fixed else Counts()
    ParallelTaskExecutor(make()).execute([[counts], [[counts, counts]]], PipelineContext())
    assert counts.calls == 3
    assert sorted(counts.ids) == ["counts", "counts#2", "counts#3"]


@pytest.mark.parametrize("make", [TaskExecutor, Logs])
def test_mistakes_are_found_before_anything_runs(make: Callable[[], Any]) -> None:
    around: list[Any] = [one]
    around.append([around])
    mistakes: list[tuple[list[Any], list[str]]] = [
        ([PipelineStep], ["path 0: PipelineStep is a class"]),
        ([Parallel("ab")], ["path 0: a group's children must be a list"]),
        (around, ["path 1.0: this list contains itself"]),
        ([5, one, step(timeout=-1)(lambda context: None)], ["path 0: 5 is", "path 2, step"]),
    ]
    context: Context = PipelineContext()
    for steps, texts in mistakes:
        with pytest.raises(PipelineDefinitionError) as caught:
            ParallelTaskExecutor(make()).execute(steps, context)
        assert len(caught.value.problems) == len(texts)
        for problem, text in zip(caught.value.problems, texts, strict=True):
            assert problem.startswith(text)
    assert context.results == {}


# A tracker of a larger whole


@pytest.mark.parametrize("make", [TaskExecutor, Logs])
def test_a_progress_tracker_is_told_by_step_id(make: Callable[[], Any]) -> None:
    tracker = ProgressTracker([adds, [one, adds], fails])
    executor = ParallelTaskExecutor(make())
    gate = Gate()

    def not_in_it(context: Context) -> None:
        gate.wait_until_reached()
        assert tracker.get_overall_progress() == pytest.approx(100 / 6 * 0.4)
        gate.open()

    @step(step_id="one")
    def one_of_it(context: Context) -> None:
        context.update_step_progress(40)
        gate.wait()

    if make is Logs:  # a run of its own inside the step has progress of its own
        executor.execute([one], PipelineContext(), None, tracker)
    else:
        executor.execute([one_of_it, not_in_it], PipelineContext(), progress_tracker=tracker)
    details = tracker.get_step_details()
    assert details["one"]["internal_progress"] == 100.0
    assert details["adds"]["internal_progress"] == 0.0
    assert tracker.get_overall_progress() == pytest.approx(100 / 6)
    executor.execute([adds], PipelineContext(), None, tracker)
    assert tracker.get_overall_progress() == pytest.approx(100 / 2)


def test_a_progress_tracker_is_told_of_what_is_behind_us() -> None:
    tracker = ProgressTracker([one, fails])
    either = ParallelConfig(operator=LogicOperator.OR)
    ParallelTaskExecutor().execute([one, fails], PipelineContext(), either, tracker)
    assert tracker.get_overall_progress() == 100.0


# A pipeline


def test_a_pipeline_executor_runs_lists_as_a_pipeline_does() -> None:
    context: Context = PipelineContext()
    steps: list[Any] = [adds, [adds, [adds, one]], Pipeline([adds])]
    assert PipelineExecutor().execute(steps, context) is context
    assert context.results == {"sum": 4, "one": 1}
    assert PipelineExecutor().execute([], context) is context


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_pipeline_executor_goes_by_its_config(fail_fast: bool) -> None:
    context: Context = PipelineContext()
    config = PipelineConfig(fail_fast=fail_fast, max_workers=1)
    if fail_fast:
        with pytest.raises(ValueError, match="boom"):
            PipelineExecutor().execute([fails, adds], context, config)
    else:
        PipelineExecutor().execute([fails, adds], context, config)
    assert context.results == ({} if fail_fast else {"sum": 1})
    assert len(context.errors) == 1


def test_guarantee_1_executors_run_inside_steps() -> None:
    def nested(context: Context) -> None:
        inner: Context = PipelineContext()
        PipelineExecutor().execute([adds, [adds, adds]], inner, PipelineConfig(max_workers=1))
        ParallelTaskExecutor(Logs()).execute([adds, adds], inner, ParallelConfig(max_workers=1))
        TaskExecutor().execute(adds, inner)
        context.results["sum"] = context.results.get("sum", 0) + inner.results["sum"]

    context: Context = PipelineContext()
    PipelineExecutor().execute([[nested, [nested, nested]]], context, PipelineConfig(max_workers=1))
    assert context.results == {"sum": 6 * 3}


EXECUTES: dict[str, Execute] = {
    "task": lambda context, config: TaskExecutor().execute(one, context),
    "parallel": lambda context, config: ParallelTaskExecutor().execute([one], context, config),
    "pipeline": lambda context, config: PipelineExecutor().execute([one], context, config),
}


@pytest.mark.parametrize("execute", EXECUTES.values(), ids=EXECUTES)
@pytest.mark.parametrize("given", [{}, 5, "context"])
def test_what_is_no_context_is_refused(execute: Execute, given: Any) -> None:
    with pytest.raises(ContextTypeError, match="takes a PipelineContext"):
        execute(given, None)


@pytest.mark.parametrize("name", ["parallel", "pipeline"])
def test_what_is_no_config_is_refused(name: str) -> None:
    with pytest.raises(PipelineDefinitionError, match=r"config must be a P\w+Config, not \{\}"):
        EXECUTES[name](PipelineContext(), {})
