"""Guarantees 3, 4, 5, 9, 10, 11 and 12: what a run says, shows and keeps apart."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RetryPolicy,
    RunCancelledError,
    SharedThreadPoolExecutor,
    TaskPipelineError,
    TaskStep,
    step,
)
from task_pipeline.events import AbandonedThreadEnded, Event, RunEnded, StepEvent, StepStarted
from task_pipeline.testing import Gate
from tests.event_order import check_events

Context = PipelineContext[Any]
FAST = ErrorStrategy.FAIL_FAST
PATIENCE = 10.0


def idle(context: Any) -> None:
    """A step that is done at once."""


def fails(context: Any) -> None:
    raise ValueError("fails")


def named(name: str, work: Callable[[Any], Any] = idle, **attributes: Any) -> TaskStep:
    return step(step_id=name, **attributes)(lambda context: work(context))


# 3. One outcome for every step, one start and one end for every attempt, no gap in seq.


class Recorder:
    """All events of a pipeline's runs, and a way to wait for one."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events: list[Event] = []
        self._changed = threading.Condition()
        pipeline.subscribe(self._note)

    def _note(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, kind: type[Event], name: str) -> None:
        def told() -> bool:
            return any(type(event) is kind and event.name == name for event in list(self.events))

        with self._changed:
            assert self._changed.wait_for(told, PATIENCE), f"no {kind.__name__} of {name}"

    def check(self) -> dict[str, Outcome]:
        """Guarantee 3 of a run that is over; returns each step's outcome."""
        details = self.pipeline.get_status()["step_details"]
        paths = {e.path: e.name for e in self.events if isinstance(e, StepEvent)}
        assert sorted(paths.values()) == sorted(details)
        outcomes = {path: Outcome(details[name]["status"]) for path, name in paths.items()}
        check_events(self.events, outcomes)
        return {paths[path]: outcome for path, outcome in outcomes.items()}


def test_guarantee_3_every_kind_of_end_is_told_once_and_in_order() -> None:
    gate = Gate()
    left = Parallel(
        [named("left", lambda c: gate.wait()), named("quick")],
        config=ParallelConfig(operator=LogicOperator.OR, error_strategy=FAST),
    )
    late = Parallel([named("late", lambda c: gate.wait())], config=ParallelConfig(timeout=0.05))
    again = named("again", fails, retries=2)
    series: TaskStep = [[named("bad", fails), named("skipped")]]
    pipeline = Pipeline([named("good"), left, late, again, series], PipelineConfig(fail_fast=False))
    recorder = Recorder(pipeline)
    pipeline.run()
    gate.open()
    recorder.wait_for(AbandonedThreadEnded, "left")
    recorder.wait_for(AbandonedThreadEnded, "late")
    assert recorder.check() == {
        "good": Outcome.SUCCEEDED,
        "left": Outcome.CANCELLED,
        "quick": Outcome.SUCCEEDED,
        "late": Outcome.TIMED_OUT,
        "again": Outcome.FAILED,
        "bad": Outcome.FAILED,
        "skipped": Outcome.SKIPPED,
    }
    starts = [
        e.attempt for e in recorder.events if isinstance(e, StepStarted) and e.name == "again"
    ]
    assert starts == [1, 2, 3]


@pytest.mark.parametrize("lingers", [False, True], ids=["waits to retry", "lingers"])
def test_guarantee_3_a_step_left_between_two_attempts_ends_neither_of_them_twice(
    lingers: bool,
) -> None:
    gate, failed = Gate(), Gate()
    again = (
        named("again", lambda c: gate.wait(), timeout=0.05, retries=2)
        if lingers
        else named("again", fails, retries=RetryPolicy(attempts=2, delay=60.0))
    )

    def fails_after(context: Any) -> None:
        failed.wait()
        fails(context)

    group = Parallel(
        [again, named("other", fails_after)], config=ParallelConfig(error_strategy=FAST)
    )
    pipeline = Pipeline([group])
    recorder = Recorder(pipeline)
    pipeline.subscribe(lambda e: failed.open() if getattr(e, "error", None) else None)
    with pytest.raises(TaskPipelineError):
        pipeline.run()
    gate.open()
    assert recorder.check() == {"again": Outcome.CANCELLED, "other": Outcome.FAILED}


def test_guarantee_3_a_step_that_never_got_a_thread_has_an_end_and_no_attempt() -> None:
    gate = Gate()

    async def fails_later(context: Any) -> None:
        gate.wait_until_reached()
        raise ValueError("later")

    group = Parallel(
        [named("first", lambda c: gate.wait()), named("second"), fails_later],
        config=ParallelConfig(error_strategy=FAST),
    )
    pipeline = Pipeline([group], executor=SharedThreadPoolExecutor(1))
    recorder = Recorder(pipeline)
    with pytest.raises(TaskPipelineError):
        pipeline.run()
    gate.open()
    outcomes = recorder.check()
    assert outcomes["second"] is Outcome.CANCELLED
    assert [type(e).__name__ for e in recorder.events if e.name == "second"] == ["StepCancelled"]


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_guarantee_3_holds_for_a_run_that_is_cancelled(moment: str) -> None:
    gate = Gate()
    steps = [[named("a", lambda c: gate.wait()), named("b", lambda c: gate.wait()), named("c")]]
    pipeline = Pipeline([*steps, named("d")], executor=SharedThreadPoolExecutor(2))
    recorder = Recorder(pipeline)
    if moment == "after":
        gate.open()
    run = pipeline.start()
    if moment == "within":
        gate.wait_until_reached(2)
    elif moment == "after":
        run.result(PATIENCE)
    run.cancel()
    gate.open()
    if moment != "after":
        with pytest.raises(RunCancelledError):
            run.result(PATIENCE)
    recorder.check()
    assert isinstance(recorder.events[-1], RunEnded | AbandonedThreadEnded)


# 4. The merged context is the same for every completion order and worker count.


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_guarantee_4_the_result_is_the_same_for_any_order_and_number_of_workers(
    workers: int,
) -> None:
    def adds(number: int) -> TaskStep:
        def work(context: Context) -> None:
            time.sleep(random.random() / 1000)  # the step's work
            context.results["list"].append(number)
            context.results["sum"] += number
            context.results["last"] = number
            context.results.setdefault("new", {})[number] = [number]

        return named(f"adds {number}", work)

    steps: list[TaskStep] = [[adds(1), [adds(2), [adds(3), adds(4)], adds(5)]], [adds(6), adds(7)]]
    pipeline = Pipeline(steps, executor=SharedThreadPoolExecutor(workers))
    for _ in range(10):
        results = pipeline.run(PipelineContext(results={"list": [], "sum": 0})).results
        assert results == {
            "list": [1, 2, 3, 4, 5, 6, 7],
            "sum": 28,
            "last": 7,
            "new": {number: [number] for number in range(1, 8)},
        }
        assert list(results["new"]) == [1, 2, 3, 4, 5, 6, 7]


# 5. A branch never sees a sibling's change; the parent never sees one before the join.


def test_guarantee_5_no_branch_and_no_parent_sees_a_change_before_the_join() -> None:
    given: Context = PipelineContext(results={"n": 0, "list": []})
    wrote, looked = Gate(), Gate()
    seen: list[Any] = []

    def writes(context: Context) -> None:
        context.results["n"] = 1
        context.results["list"].append(1)
        context.errors.append("note")
        wrote.open()
        looked.wait()

    def looks(context: Context) -> None:
        wrote.wait()
        seen.append((context.results["n"], context.results["list"], list(context.errors)))
        seen.append((given.results["n"], given.results["list"], list(given.errors)))
        looked.open()

    Pipeline([[writes, looks]]).run(given)
    assert seen == [(0, [], []), (0, [], [])]
    assert (given.results, given.errors) == ({"n": 1, "list": [1]}, ["note"])


# 9. get_status() from any thread never goes backwards and reaches exactly 100.0.


def test_guarantee_9_status_polled_from_many_threads_never_goes_backwards() -> None:
    def works(context: Context) -> None:
        for percent in range(0, 101, 20):
            context.update_step_progress(percent)

    parts: list[TaskStep] = [[works] * 7, works, [[works, [works] * 3]] * 3, works]
    pipeline = Pipeline(parts)
    over = threading.Event()

    def poll() -> list[float]:
        seen = []
        while not over.is_set():
            status = pipeline.get_status()
            assert 0.0 <= status["progress"] <= 100.0
            seen.append(status["progress"])
        return seen

    with ThreadPoolExecutor(4) as watchers:
        for _ in range(20):
            over.clear()
            run = pipeline.start()
            polls = [watchers.submit(poll) for _ in range(4)]
            run.result(PATIENCE)
            assert pipeline.get_status()["progress"] == 100.0
            over.set()
            assert all((seen := future.result()) == sorted(seen) for future in polls)


@pytest.mark.parametrize("count", [3, 7, 12, 23, 49])
def test_guarantee_9_exactly_100_however_the_parts_are_rounded(count: int) -> None:
    reported: list[float] = []
    weights = [named(f"s{i}", weight=0.1 * (i + 1)) for i in range(count)]
    pipeline = Pipeline(
        [*weights, list(weights)], progress_callback=lambda *about: reported.append(about[3])
    )
    pipeline.run()
    status = pipeline.get_status()
    assert status["progress"] == 100.0
    assert reported == sorted(reported)
    assert reported[-1] == 100.0


def test_guarantee_9_a_run_that_went_on_after_failures_reaches_100_too() -> None:
    (pipeline := Pipeline([fails, [fails, idle]], PipelineConfig(fail_fast=False))).run()
    assert pipeline.get_status()["progress"] == 100.0


# 10. contextvars of the caller are seen in every step; a step's own changes leak nowhere.

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def looks_async(context: Any) -> str:
    seen = variable.get()
    variable.set("changed by a coroutine")
    return seen


def looks(context: Any) -> str:
    seen = variable.get()
    variable.set("changed by a step")
    return seen


@pytest.mark.parametrize("driver", ["run", "start", "arun"])
def test_guarantee_10_contextvars_come_in_and_do_not_go_out(driver: str) -> None:
    inner = Pipeline([looks, looks_async, looks])

    def nests(context: Any) -> Any:
        variable.set("by the outer step")
        return list(inner.run().results.values())

    again = named("again", lambda context: looks(context), timeout=PATIENCE, retries=1)
    pipeline = Pipeline([looks, [looks, looks_async, nests, again], looks])
    token = variable.set("the caller's")
    try:
        if driver == "run":
            context = pipeline.run()
        elif driver == "start":
            context = pipeline.start().result(PATIENCE)
        else:
            context = asyncio.run(pipeline.arun())
        assert variable.get() == "the caller's"
    finally:
        variable.reset(token)
    assert context.results.pop("nests") == ["by the outer step"] * 3
    assert set(context.results.values()) == {"the caller's"}
    on_a_worker = SharedThreadPoolExecutor(1).submit(variable.get)
    assert on_a_worker.result(PATIENCE) == "unset"


# 11. An observer that raises is logged, and changes nothing.


class Broken:
    """A logger whose extra methods raise."""

    def set_task_context(self, step_id: str, task_name: str) -> None:
        raise RuntimeError("the logger is broken")

    def clear_task_context(self) -> None:
        raise RuntimeError("the logger is broken")


@pytest.mark.parametrize("driver", ["run", "start", "arun"])
def test_guarantee_11_observers_that_raise_change_nothing(
    driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*about: object) -> None:
        raise RuntimeError("the observer is broken")

    heard: list[int] = []
    inner = Pipeline([idle, idle], progress_callback=broken)
    pipeline = Pipeline([idle, [idle, inner, looks_async]], progress_callback=broken)
    pipeline.subscribe(broken)
    pipeline.subscribe(lambda event: heard.append(event.seq))
    context: Context = PipelineContext(logger_instance=Broken(), results={"kept": 1})
    with caplog.at_level(logging.ERROR, "task_pipeline"):
        if driver == "run":
            pipeline.run(context)
        elif driver == "start":
            pipeline.start(context).result(PATIENCE)
        else:
            asyncio.run(pipeline.arun(context))
    assert context.results == {"kept": 1, "looks_async": "unset"}
    assert context.errors == []
    assert pipeline.get_status()["progress"] == 100.0
    assert heard == list(range(len(heard))) and heard
    assert "an observer raised" in caplog.text


# 12. Concurrent run() calls on one Pipeline do not see each other.


def test_guarantee_12_runs_of_one_pipeline_at_the_same_time_do_not_see_each_other() -> None:
    together = threading.Barrier(8, timeout=PATIENCE)

    def mark(context: Context) -> None:
        together.wait()
        context.results["seen"].append((context.app_config, context.step_id))

    steps: list[TaskStep] = [mark, [named("left", mark), named("right", idle)], idle]
    pipeline = Pipeline(steps, executor=SharedThreadPoolExecutor(16))
    ids: set[str] = set()
    pipeline.subscribe(lambda event: ids.add(event.run_id))
    contexts: list[Context] = [
        PipelineContext(app_config=n, results={"seen": []}) for n in range(8)
    ]
    with ThreadPoolExecutor(8) as callers:
        returned = list(callers.map(pipeline.run, contexts))
    assert [id(context) for context in returned] == [id(context) for context in contexts]
    for number, context in enumerate(contexts):
        assert context.results == {"seen": [(number, "mark"), (number, "left")]}
    assert len(ids) == 8
