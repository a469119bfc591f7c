"""Coroutine steps: in a loop and without one, thousands at once, really cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    RunTimeoutError,
    SharedThreadPoolExecutor,
    StepCancelledError,
    StepTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]
Way = Callable[[Pipeline, Context], Context]
PATIENCE = 30.0


def by_run(pipeline: Pipeline, context: Context) -> Context:
    return pipeline.run(context)


def by_arun(pipeline: Pipeline, context: Context) -> Context:
    return asyncio.run(pipeline.arun(context))


def by_start(pipeline: Pipeline, context: Context) -> Context:
    return pipeline.start(context).result(PATIENCE)


def by_run_in_a_loop(pipeline: Pipeline, context: Context) -> Context:
    async def cell() -> Context:
        return pipeline.run(context)

    return asyncio.run(cell())


def by_eager_tasks(pipeline: Pipeline, context: Context) -> Context:
    """From 3.12 on with the factory that runs a task's first part at once."""

    async def main() -> Context:
        factory = getattr(asyncio, "eager_task_factory", None)
        asyncio.get_running_loop().set_task_factory(factory)
        return await pipeline.arun(context)

    return asyncio.run(main())


every_way = pytest.mark.parametrize(
    "way", [by_run, by_arun, by_start, by_run_in_a_loop, by_eager_tasks]
)


class Fetch(PipelineStep):
    async def run(self, context: Any) -> None:
        await asyncio.sleep(0)  # the step's work
        context.results["fetched"] = threading.current_thread().name


async def number(context: Context) -> int:
    await asyncio.sleep(0)  # the step's work
    return 7


def plain(context: Context) -> str:
    return threading.current_thread().name


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()  # the step's work
        return "later"


class Forever:
    """A coroutine step that ends only by being cancelled, and takes note of it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.over = threading.Event()

    async def __call__(self, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        finally:
            self.seen.append("finally")
            self.over.set()

    def check(self) -> None:
        assert self.over.wait(PATIENCE)
        assert self.seen == ["cancelled", "finally"]


def forever() -> tuple[Forever, Any]:
    state = Forever()

    @step(step_id="forever")
    async def stay(context: Context) -> None:
        await state(context)

    return state, stay


# What a coroutine step is


@every_way
def test_each_kind_of_coroutine_step(way: Way) -> None:
    inner = step(step_id="lazy")(lambda context: number(context))
    returned = step(step_id="later")(lambda context: Later())
    other = step(step_id="other")(lambda context: number(context))
    steps: list[TaskStep] = [Fetch(), number, [inner, returned, [plain, other]]]
    given: Context = PipelineContext()
    context = way(Pipeline(steps), given)
    assert context is given and context.errors == []
    assert {"fetched", "plain"} < set(context.results)
    assert context.results["number"] == context.results["lazy"] == context.results["other"] == 7
    assert context.results["later"] == "later"


@every_way
def test_coroutine_branches_merge_in_the_written_order(way: Way) -> None:
    def adder(index: int) -> Any:
        async def add(context: Context) -> None:
            for _ in range(3 - index):
                await asyncio.sleep(0)  # the step's work
            context.results["count"] += index
            context.results["seen"].append(index)

        return add

    context: Context = PipelineContext(results={"count": 10, "seen": [9]})
    way(Pipeline([[adder(0), adder(1), [adder(2), adder(3)]]]), context)
    assert context.results == {"count": 16, "seen": [9, 0, 1, 2, 3]}


@every_way
def test_a_coroutine_that_raises(way: Way) -> None:
    boom = ValueError("boom")

    async def fail(context: Context) -> None:
        await asyncio.sleep(0)  # the step's work
        context.results["dropped"] = True
        raise boom

    context: Context = PipelineContext()
    with pytest.raises(ParallelGroupError) as caught:
        way(Pipeline([[fail, number], plain]), context)
    assert caught.value.exceptions == (boom,) and context.errors == [boom]
    assert context.results == {"number": 7}
    with pytest.raises(ValueError, match="boom"):
        way(Pipeline([fail]), PipelineContext())
    harmless = Pipeline([[step(critical=False)(fail), number], plain])
    after = way(harmless, PipelineContext())
    assert after.errors == [boom] and "plain" in after.results


# Where they run


def test_arun_has_coroutines_on_the_callers_loop_and_plain_steps_elsewhere() -> None:
    threads: dict[str, int] = {}

    def work(context: Context) -> None:
        threads[str(context.step_id)] = threading.get_ident()

    async def on_loop(context: Context) -> None:
        threads["coroutine"] = threading.get_ident()

    async def main() -> None:
        await Pipeline([work, [work, work, on_loop], work]).arun()

    asyncio.run(main())
    here = threading.get_ident()
    assert threads.pop("coroutine") == here
    assert len(threads) == 4 and here not in threads.values()


@pytest.mark.no_cover
@pytest.mark.parametrize("way", [by_run, by_arun])
def test_five_thousand_coroutines_at_once_take_no_threads(way: Way) -> None:
    count = 5_000
    inside = 0
    most_threads = 0
    together: list[asyncio.Event] = []

    async def branch(context: Context) -> None:
        nonlocal inside, most_threads
        if not together:
            together.append(asyncio.Event())
        inside += 1
        if inside == count:
            most_threads = threading.active_count()
            together[0].set()
        await together[0].wait()
        context.results["sum"] = context.results.get("sum", 0) + 1

    before = threading.active_count()
    context: Context = PipelineContext()
    way(Pipeline([[branch] * count]), context)
    assert context.results == {"sum": count}
    assert most_threads <= before + 4


@pytest.mark.parametrize("place", ["group", "run", "pool"])
def test_guarantee_2_max_workers_limits_coroutine_steps(place: str) -> None:
    now = most = 0

    async def branch(context: Context) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(3):
            await asyncio.sleep(0)  # the step's work
        now -= 1

    group = ParallelConfig(max_workers=3 if place == "group" else None)
    config = PipelineConfig(max_workers=3 if place == "run" else None)
    pool = SharedThreadPoolExecutor(3)
    steps = [Parallel([branch] * 12, config=group)]
    Pipeline(steps, config, executor=pool if place == "pool" else None).run()
    # A coroutine holds no thread of the pool: only a group and a run limit them.
    assert most == (12 if place == "pool" else 3)


@pytest.mark.parametrize("way", [by_run, by_arun, by_start])
def test_guarantee_1_a_run_of_coroutines_inside_a_coroutine_step(way: Way) -> None:
    innermost = Pipeline([[number, plain]])
    middle = Pipeline([number, lambda context: context.results.update(innermost.run().results)])

    async def outer(context: Context) -> int:
        blocking = middle.run().results["number"]
        awaited = (await innermost.arun()).results["number"]
        return int(blocking + awaited)

    pool = SharedThreadPoolExecutor(1)
    context: Context = PipelineContext()
    way(Pipeline([[outer, number]], executor=pool), context)
    assert context.results == {"outer": 14, "number": 7}


# contextvars

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@every_way
def test_guarantee_10_coroutines_see_the_callers_variables_and_leak_nothing(way: Way) -> None:
    seen: list[str] = []

    async def change(context: Context) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("changed")
        await asyncio.sleep(0)  # the step's work
        seen.append(VARIABLE.get())

    def returns(context: Context) -> Any:
        return change(context)

    token = VARIABLE.set("caller's")
    try:
        way(Pipeline([change, [change, returns], lambda c: seen.append(VARIABLE.get())]), Context())
        assert VARIABLE.get() == "caller's"
    finally:
        VARIABLE.reset(token)
    assert sorted(seen) == ["caller's"] * 4 + ["changed"] * 3
    assert seen[-1] == "caller's"


# Deadlines, retries, cancellation


@pytest.mark.parametrize("place", ["step", "group", "run"])
@pytest.mark.parametrize("way", [by_run, by_arun])
def test_guarantee_6_a_deadline_really_cancels_a_coroutine(place: str, way: Way) -> None:
    state, stay = forever()
    timeout = 0.2
    if place == "step":
        stay = step(timeout=timeout)(stay)
    group = ParallelConfig(timeout=timeout if place == "group" else None)
    config = PipelineConfig(timeout=timeout if place == "run" else None)
    pipeline = Pipeline([Parallel([stay, number], config=group)], config)
    expected = {"step": ParallelGroupError, "group": GroupTimeoutError, "run": RunTimeoutError}
    context: Context = PipelineContext()
    started = time.monotonic()
    with pytest.raises(expected[place]):
        way(pipeline, context)
    assert time.monotonic() - started < timeout + 0.5
    state.check()
    # At the run's deadline nothing was merged yet, or what had ended was: never the step's.
    assert context.results in ({}, {"number": 7})
    assert pipeline.get_status()["step_details"]["forever"]["status"] == "timed_out"


def test_an_attempt_of_a_coroutine_that_timed_out_is_tried_again() -> None:
    attempts: list[int] = []
    ended: list[int] = []
    clock = ManualClock()
    inside = threading.Semaphore(0)

    @step(timeout=10, retries=RetryPolicy(attempts=3, delay=5, backoff="constant"))
    async def slow(context: Context) -> int:
        attempts.append(context.attempt)
        inside.release()
        try:
            if context.attempt < 3:
                await asyncio.Event().wait()
        finally:
            ended.append(attempts[-1])
        return context.attempt

    retried = threading.Semaphore(0)
    pipeline = Pipeline([slow])
    pipeline.subscribe(
        lambda event: retried.release() if type(event).__name__ == "AbandonedThreadEnded" else None
    )
    with clock.installed():
        run = pipeline.start()
    for _ in range(2):
        assert inside.acquire(timeout=PATIENCE)
        clock.advance(10)
        assert retried.acquire(timeout=PATIENCE)
        clock.advance(5)
    assert run.result(PATIENCE).results == {"slow": 3}
    assert attempts == ended == [1, 2, 3]


@pytest.mark.parametrize("way", [by_run, by_arun])
def test_fail_fast_cancels_the_other_coroutines(way: Way) -> None:
    state, stay = forever()

    async def fail(context: Context) -> None:
        raise OSError("first")

    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    with pytest.raises(ParallelGroupError, match="first") as caught:
        way(Pipeline([Parallel([stay, fail], config=config)]), PipelineContext())
    assert caught.value.outcomes == {"forever": Outcome.CANCELLED, "fail": Outcome.FAILED}
    state.check()


@every_way
def test_a_coroutine_that_cancels_itself_fails(way: Way) -> None:
    async def give_up(context: Context) -> None:
        raise asyncio.CancelledError

    context: Context = PipelineContext()
    with pytest.raises(StepCancelledError, match="something other than its run"):
        way(Pipeline([give_up]), context)
    assert [type(error) for error in context.errors] == [StepCancelledError]


def test_a_coroutine_that_blocks_its_loop_does_not_keep_later_runs_from_theirs() -> None:
    gate = Gate()

    @step(timeout=0.05)
    async def stuck(context: Context) -> None:
        gate.wait()

    with pytest.raises(StepTimeoutError):
        Pipeline([stuck]).run()
    assert Pipeline([number]).start().result(PATIENCE).results == {"number": 7}
    gate.open()


@pytest.mark.parametrize("way", [by_run, by_start, by_run_in_a_loop])
def test_system_exit_out_of_a_coroutine_ends_the_run(way: Way) -> None:
    async def leave(context: Context) -> None:
        raise SystemExit(3)

    pipeline = Pipeline([[leave, number], plain])
    with pytest.raises(SystemExit, match="3"):
        way(pipeline, PipelineContext())
    assert pipeline.get_status()["state"] == "failed"
    assert Pipeline([number]).run().results == {"number": 7}
