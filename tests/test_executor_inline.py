"""The inline executor: one thread, one step at a time, and no step that would have to be left."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    RunCancelledError,
    Serial,
    TaskStep,
    step,
)
from task_pipeline.engine.calling import Reply, StepExecutor
from task_pipeline.errors import ExecutorError
from task_pipeline.executors import InlineExecutor
from task_pipeline.testing import Gate

Context = PipelineContext[Any]
FAST = ErrorStrategy.FAIL_FAST


def nothing(context: Context) -> None:
    pass


def here(context: Context) -> int:
    return threading.get_ident()


def depth(context: Context) -> None:
    """How deep on the stack the steps are, at most."""
    frame, count = inspect.currentframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    context.results["depth"] = max(context.results.get("depth", 0), count)


def test_it_is_an_executor() -> None:
    executor = InlineExecutor()
    assert isinstance(executor, StepExecutor)
    assert (executor.name, executor.max_calls) == ("inline", 1)
    assert repr(executor) == "InlineExecutor()"
    with executor as entered:
        assert entered is executor
    assert Pipeline([lambda c: 1], executor=executor).run().results == {"lambda": 1}


# One thread


@pytest.mark.parametrize("executor", ["inline", InlineExecutor()])
def test_all_steps_run_in_the_thread_that_called_run(executor: Any) -> None:
    steps: list[TaskStep] = [here, [here, [here, here]], Map(here, over=[1, 2], result_key="there")]
    results = Pipeline(steps, executor=executor).run().results
    there = results.pop("there")
    assert {*results.values(), *there} == {threading.get_ident()}
    assert (len(results), len(there)) == (4, 2)


def test_a_step_can_be_inline_in_a_pipeline_on_threads() -> None:
    order: list[str] = []
    inline = step(executor="inline", step_id="inline")(lambda context: order.append("inline"))
    thread = step(step_id="thread")(lambda context: order.append("thread"))
    Pipeline([thread, inline, [inline, thread]]).run()
    assert sorted(order) == ["inline", "inline", "thread", "thread"]


@pytest.mark.parametrize(
    "steps",
    [
        [depth] * 10_000,
        [[depth] * 3_000],
        [Loop([nothing, [depth]], times=1_000)],
        [Map(Serial([nothing, depth]), over=range(500))],
    ],
    ids=["series", "branches", "rounds", "items"],
)
def test_thousands_of_steps_do_not_pile_up_on_the_stack(steps: Any) -> None:
    context: Context = Pipeline(
        steps, PipelineConfig(reducers={"depth": max}), executor="inline"
    ).run(PipelineContext(results={"depth": 0}))
    assert 0 < context.results["depth"] < 300 < sys.getrecursionlimit()


def test_it_holds_up_no_other_executor() -> None:
    """While a step runs inline, those beside it are begun, now and later."""
    first, second = Gate(), Gate()

    def waits(context: Context) -> None:
        first.wait()
        second.wait()

    with ThreadPoolExecutor(1) as threads:
        beside = Serial(
            [lambda context: first.open(), lambda context: second.open()], executor=threads
        )
        Pipeline([[step(executor="inline")(waits), beside]]).run()
    assert first.arrived == second.arrived == 1


def test_a_run_in_the_background_does_not_keep_who_starts_it() -> None:
    gate = Gate()
    run = Pipeline([lambda context: gate.wait(), here], executor="inline").start()
    gate.wait_until_reached()
    assert run.status()["running_steps"] == ["lambda"]
    gate.open()
    assert run.result(10).results["here"] != threading.get_ident()


def test_a_run_on_an_event_loop_does_not_block_it() -> None:
    gate = Gate()

    async def main() -> Context:
        task = asyncio.create_task(Pipeline([lambda c: gate.wait()], executor="inline").arun())
        while not gate.arrived:
            await asyncio.sleep(0)  # the step's work: to let the loop turn
        gate.open()
        return await task

    assert asyncio.run(main()).errors == []


def test_what_has_not_begun_when_the_run_is_cancelled_never_does() -> None:
    gate, begun = Gate(), []
    run = Pipeline(
        [[lambda context: gate.wait(), lambda context: begun.append(1)]], executor="inline"
    ).start()
    gate.wait_until_reached()
    run.cancel()
    gate.open()
    with pytest.raises(RunCancelledError):
        run.result(10)
    assert begun == []


# Runs inside of steps


def test_a_run_inside_a_step_is_not_put_off_until_the_step_ends() -> None:
    inner = Pipeline([nothing, [nothing, lambda context: 42]], executor="inline")

    def outer(context: Context) -> Any:
        return inner.run().results["lambda"]

    assert Pipeline([[outer, outer], outer], executor="inline").run().results["outer#3"] == 42


def test_not_even_one_of_the_same_id_or_without_context_variables() -> None:
    def innermost(context: Context) -> Any:
        return Pipeline([here], executor="inline").run(run_id="same").results["here"]

    def outer(context: Context) -> Any:
        inner = Pipeline([innermost], executor="inline")
        results = contextvars.Context().run(inner.run, run_id="other").results
        return [results["innermost"], Pipeline([here], executor="inline").run(run_id="same")]

    seen = Pipeline([outer], executor="inline").run(run_id="same").results["outer"]
    assert (seen[0], seen[1].results) == (threading.get_ident(), {"here": threading.get_ident()})


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_the_run_and_the_thread_goes_on(kind: Any) -> None:
    def interrupted(context: Context) -> None:
        raise kind

    with pytest.raises(kind):
        Pipeline([nothing, [interrupted, nothing]], executor="inline").run()
    assert Pipeline([lambda c: 1, lambda c: 2], executor="inline").run().results == {
        "lambda": 1,
        "lambda#2": 2,
    }


# What it refuses


timed = step(timeout=3.0)(nothing)


@pytest.mark.parametrize(
    ("steps", "config", "why"),
    [
        ([nothing, timed], None, "step 'nothing#2' at path 1 on inline: has a timeout of 3 s"),
        (
            [Parallel([nothing], name="io", config=ParallelConfig(timeout=2.5))],
            None,
            "is in the group 'io' at path 0, which has a timeout of 2.5 s",
        ),
        (
            [nothing],
            PipelineConfig(timeout=60),
            "is in the pipeline 'pipeline', which has a timeout of 60 s",
        ),
        (
            [Pipeline([nothing], PipelineConfig(timeout=1), name="part")],
            None,
            "is in the group 'part' at path 0, which has a timeout of 1 s",
        ),
        (
            [Parallel([nothing, [nothing]], config=ParallelConfig(error_strategy=FAST))],
            None,
            "is in the group 'parallel_group_0' at path 0, which ends early (error_strategy FAIL",
        ),
        (
            [Map(nothing, over=[1], config=ParallelConfig(error_strategy=FAST))],
            None,
            "which ends early (error_strategy FAIL_FAST)",
        ),
    ],
)
def test_a_step_that_may_have_to_be_left_is_refused(steps: Any, config: Any, why: str) -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline(steps, config, executor="inline")
    assert why in str(caught.value)
    assert "executor='thread' or 'process'" in str(caught.value)


def test_every_reason_is_told() -> None:
    group = Parallel([timed, nothing], config=ParallelConfig(error_strategy=FAST, timeout=2))
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([group], executor="inline")
    assert len(caught.value.problems) == 5  # three of the first branch, two of the second


def test_even_if_it_is_not_seen_what_may_end_it() -> None:
    node = Pipeline([nothing])._plan.steps[0]
    assert InlineExecutor().problems(node) == []
    node.leavable = True
    (problem,) = InlineExecutor().problems(node)
    assert problem.startswith("may be ended early by what is around it; a thread cannot be left")


def test_what_no_deadline_lies_over_is_not_refused() -> None:
    alone = Parallel([nothing], config=ParallelConfig(error_strategy=FAST))
    beside = Parallel([step(executor="thread")(timed)], config=ParallelConfig(timeout=3))
    Pipeline([alone, [nothing, nothing], beside], executor="inline").run()


def test_it_knows_no_options() -> None:
    with pytest.raises(PipelineDefinitionError, match=r"executor_options \('priority'\)"):
        Pipeline([step(executor="inline", executor_options={"priority": 1})(nothing)])


@pytest.mark.parametrize("executor", ["inline", InlineExecutor()])
def test_a_pipeline_on_it_can_be_copied_and_pickled(executor: Any) -> None:
    pipeline = Pipeline([here], executor=executor)
    for other in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert other.run().results == {"here": threading.get_ident()}


# What the engine does not do on its own accord


class ByHand:
    """A call as an executor sees it, without a run."""

    run_id = "by hand"
    node: Any = Pipeline([nothing])._plan.steps[0]

    def __init__(self, told: list[str], name: str, wanted: bool = True, error: Any = None) -> None:
        self._told, self._name, self._error = told, name, error
        self.is_wanted = wanted

    def perform(self) -> None:
        self._told.append(f"{self._name} performed")
        if self._error is not None:
            raise self._error

    def ended(self, reply: Reply) -> None:
        self._told.append(f"{self._name} ended {reply.error}")

    def failed(self, error: Exception) -> None:
        self._told.append(f"{self._name} failed: {error}")
        assert isinstance(error, ExecutorError)


@pytest.fixture
def told() -> list[str]:
    return []


def test_a_call_that_is_not_wanted_any_more_is_passed_over(told: list[str]) -> None:
    executor: Any = InlineExecutor()
    calls = [ByHand(told, "one"), ByHand(told, "two", wanted=False), ByHand(told, "three")]
    executor.stop(calls)
    executor.submit([])
    executor.submit(calls)
    assert told == ["one performed", "two ended None", "three performed"]


def test_an_interrupt_fails_what_waits(told: list[str]) -> None:
    executor: Any = InlineExecutor()
    with pytest.raises(KeyboardInterrupt):
        executor.submit([ByHand(told, "one", error=KeyboardInterrupt()), ByHand(told, "two")])
    assert told[0] == "one performed"
    assert told[1].startswith("two failed: step 'nothing' at path 0 was not begun")
    executor.submit([ByHand(told, "three")])
    assert told[2] == "three performed"
