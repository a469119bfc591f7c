"""Guarantees 1, 2 and 7: nesting on a bounded pool ends, keeps its bounds, and leaks nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    RunTimeoutError,
    Serial,
    SharedThreadPoolExecutor,
    StepTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate

FAIL_FAST = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
PATIENCE = 10.0


def nothing(context: Any) -> None:
    """A step that does nothing."""


def one(context: Any) -> None:
    """A step that every branch's copy of can be counted by."""
    context.results["count"] = context.results.get("count", 0) + 1


def nested(depth: int) -> TaskStep:
    """A list in a list in a list: parallel and serial in turn, with two steps beside each."""
    inner: TaskStep = one
    for _ in range(depth):
        inner = [one, inner, one]
    return inner


class Gauge:
    """Counts how many threads are inside its step at once; `meet` waits until that many are."""

    def __init__(self, meet: int = 1) -> None:
        self._lock = threading.Lock()
        self._together = threading.Barrier(meet, timeout=PATIENCE)
        self.inside = self.peak = self.calls = 0

    def step(self, context: Any) -> None:
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        self._together.wait()
        with self._lock:
            self.inside -= 1


# 1. Any nesting completes on one worker; so does run() inside a step.


@pytest.mark.parametrize("started", [False, True], ids=["run", "start"])
def test_guarantee_1_two_hundred_levels_nested_alternately_complete_on_one_worker(
    started: bool,
) -> None:
    pipeline = Pipeline([nested(200)], executor=SharedThreadPoolExecutor(1))
    context = pipeline.start().result(PATIENCE) if started else pipeline.run()
    assert context.results["count"] == 401
    assert pipeline.get_status()["progress"] == 100.0


def runs_inside_steps(depth: int, width: int, pool: SharedThreadPoolExecutor) -> Pipeline:
    """A pipeline whose steps run pipelines whose steps run pipelines, `depth` deep."""
    steps: Sequence[TaskStep] = [one] * width
    for _ in range(depth - 1):
        steps = [hand_over(Pipeline([list(steps)], executor=pool))] * width
    return Pipeline([list(steps)], executor=pool)


def hand_over(inner: Pipeline) -> Callable[[Any], Any]:
    def run(context: Any) -> None:
        count = inner.run().results["count"]
        context.results["count"] = context.results.get("count", 0) + count

    return run


@pytest.mark.parametrize("workers", [1, 2])
def test_guarantee_1_run_inside_steps_four_deep_completes_on_few_workers(workers: int) -> None:
    pipeline = runs_inside_steps(depth=4, width=4, pool=SharedThreadPoolExecutor(workers))
    assert pipeline.run().results["count"] == 4**4


def test_guarantee_1_runs_inside_steps_of_runs_in_the_background_complete_on_two_workers() -> None:
    pool = SharedThreadPoolExecutor(2)
    runs = [runs_inside_steps(depth=3, width=3, pool=pool).start() for _ in range(8)]
    assert [run.result(PATIENCE).results["count"] for run in runs] == [27] * 8


LEAVABLE: dict[str, Callable[[], Sequence[TaskStep]]] = {
    "fail fast": lambda: [Parallel([one, one, one], config=FAIL_FAST)],
    "group timeout": lambda: [Parallel([one, one, one], config=ParallelConfig(timeout=PATIENCE))],
    "step timeout": lambda: [step(timeout=PATIENCE)(lambda context: one(context)), one, one],
    "pipeline timeout": lambda: [Pipeline([one, one, one], PipelineConfig(timeout=PATIENCE))],
}


@pytest.mark.parametrize("kind", LEAVABLE)
def test_guarantee_1_steps_that_the_caller_may_not_run_complete_on_one_worker(kind: str) -> None:
    pool = SharedThreadPoolExecutor(1)
    inner = Pipeline(LEAVABLE[kind](), executor=pool)
    assert inner.run().results["count"] == 3
    assert Pipeline([[hand_over(inner)] * 3], executor=pool).run().results["count"] == 9
    assert inner.start().result(PATIENCE).results["count"] == 3


def test_guarantee_1_a_plain_step_beside_a_coroutine_that_waits_for_it_on_one_worker() -> None:
    told = threading.Event()

    async def waits(context: Any) -> None:
        while not told.is_set():
            await asyncio.sleep(0.001)  # the step's work

    group = Parallel([lambda context: told.set(), nothing, waits], config=FAIL_FAST)
    Pipeline([group], executor=SharedThreadPoolExecutor(1)).run()
    assert told.is_set()


def test_guarantee_1_run_inside_steps_across_two_pools_of_one_worker() -> None:
    first, second = SharedThreadPoolExecutor(1), SharedThreadPoolExecutor(1)
    pipeline = Pipeline([[one, one]], executor=first)
    for pool in (second, first, second):
        pipeline = Pipeline([[hand_over(pipeline), one]], executor=pool)
    assert pipeline.run().results["count"] == 5
    assert (first.active, second.active) == (0, 0)


def test_guarantee_1_a_worker_that_waits_for_a_future_of_its_own_pool_is_stood_in_for() -> None:
    pool = SharedThreadPoolExecutor(1)

    def power(depth: int) -> int:
        return 1 if depth == 0 else 2 * pool.submit(power, depth - 1).result(PATIENCE)

    def waits(context: Any) -> int:
        failed = pool.submit(int, "x").exception(PATIENCE)
        assert isinstance(failed, ValueError)
        return power(20) + sum(pool.map(power, [1, 2]))

    assert Pipeline([[waits, nothing]], executor=pool).run().results["waits"] == 2**20 + 6
    assert pool.submit(power, 20).result(PATIENCE) == 2**20


def test_guarantee_1_a_step_that_waits_for_a_run_in_the_background_is_stood_in_for() -> None:
    pool = SharedThreadPoolExecutor(1)
    inner = Pipeline([one, [one, one]], executor=pool)

    def waits(context: Any) -> int:
        return int(inner.start().result(PATIENCE).results["count"])

    context = Pipeline([[waits, waits], waits], executor=pool).run()
    assert set(context.results.values()) == {3}


def test_guarantee_1_a_future_of_one_pool_waited_for_inside_a_run_on_another() -> None:
    first, second = SharedThreadPoolExecutor(1), SharedThreadPoolExecutor(1)
    inner = Pipeline([lambda context: first.submit(pow, 2, 5).result(PATIENCE)], executor=second)
    outer = Pipeline([lambda context: inner.run().results["lambda"]], executor=first)
    assert outer.run().results["lambda"] == 32


# 2. Never more than max_workers steps of a group, a run or the pool at once.


def deep(leaf: Callable[[Any], None], count: int) -> TaskStep:
    """`count` * 4 leaves side by side, at three depths."""
    return Parallel([leaf, Parallel([leaf, Serial([[leaf]])]), leaf] * count)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_guarantee_2_a_group_never_runs_more_steps_at_once_than_it_may(limit: int) -> None:
    gauge = Gauge(limit)
    group = Parallel([deep(gauge.step, limit)], config=ParallelConfig(max_workers=limit))
    Pipeline([group], executor=SharedThreadPoolExecutor(8)).run()
    assert (gauge.peak, gauge.calls) == (limit, limit * 4)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_guarantee_2_a_run_never_runs_more_steps_at_once_than_it_may(limit: int) -> None:
    gauge = Gauge(limit)
    config = PipelineConfig(max_workers=limit)
    pool = SharedThreadPoolExecutor(8)
    Pipeline([[deep(gauge.step, limit), deep(gauge.step, limit)]], config, executor=pool).run()
    assert (gauge.peak, gauge.calls) == (limit, limit * 8)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("started", [False, True], ids=["run", "start"])
def test_guarantee_2_a_pool_never_runs_more_steps_at_once_than_it_has_workers(
    limit: int, started: bool
) -> None:
    gauge = Gauge(limit)
    pipeline = Pipeline([deep(gauge.step, limit)], executor=SharedThreadPoolExecutor(limit))
    _ = pipeline.start().result(PATIENCE) if started else pipeline.run()
    assert (gauge.peak, gauge.calls) == (limit, limit * 4)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_guarantee_2_holds_for_all_runs_of_a_pool_together_and_for_runs_inside_steps(
    limit: int,
) -> None:
    gauge, pool = Gauge(limit), SharedThreadPoolExecutor(limit)
    inner = Pipeline([[gauge.step] * 4], executor=pool)
    pipelines = [Pipeline([[gauge.step, lambda c: inner.run()]], executor=pool)] * limit
    with ThreadPoolExecutor(limit) as callers:
        list(callers.map(lambda pipeline: pipeline.run(), pipelines))
    direct = [pool.submit(gauge.step, None) for _ in range(limit)]
    for future in direct:
        future.result(PATIENCE)
    assert (gauge.peak, gauge.calls) == (limit, limit * 6)


def test_guarantee_2_the_smallest_of_several_limits_over_a_step_holds() -> None:
    inner, free = Gauge(2), Gauge()
    group = Parallel([inner.step] * 8, config=ParallelConfig(max_workers=2))
    config = PipelineConfig(max_workers=3)
    Pipeline([[group, free.step, free.step]], config, executor=SharedThreadPoolExecutor(8)).run()
    assert inner.peak == 2
    assert (inner.calls, free.calls) == (8, 2)


def test_guarantee_2_a_run_that_kept_a_deadline_inside_a_step_waits_for_its_worker_again() -> None:
    pool, gauge, stuck = SharedThreadPoolExecutor(1), Gauge(), Gate()
    late = Pipeline([lambda context: stuck.wait()], PipelineConfig(timeout=0.1), executor=pool)
    after = Pipeline([gauge.step] * 20, executor=pool)
    others = Pipeline([gauge.step] * 20, executor=pool)

    def outer(context: Any) -> None:
        background = others.start()
        with pytest.raises(RunTimeoutError):
            late.run()
        after.run()
        background.result(PATIENCE)

    Pipeline([outer], executor=pool).run()
    stuck.open()
    assert (gauge.peak, gauge.calls) == (1, 40)


# 7. After any run the pool's capacity is what it was; nothing leaks.


def fill(pool: SharedThreadPoolExecutor) -> None:
    """As many steps at once as the pool has workers: hangs if there is one fewer."""
    gauge = Gauge(pool.max_workers)
    Pipeline([[gauge.step] * pool.max_workers], executor=pool).run()
    assert gauge.peak == pool.max_workers


def wait_until_idle(pool: SharedThreadPoolExecutor) -> None:
    """Have everything that is under way in the pool come to its end."""
    deadline = time.monotonic() + PATIENCE
    while pool.active and time.monotonic() < deadline:
        pool.submit(int).result(PATIENCE)
    assert pool.active == 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_guarantee_7_abandoned_threads_take_no_capacity_away(workers: int) -> None:
    pool, gate = SharedThreadPoolExecutor(workers), Gate()
    stuck = step(timeout=0.05)(lambda context: gate.wait())
    pipeline = Pipeline([[stuck] * workers], executor=pool)
    for _ in range(3):
        with pytest.raises(ParallelGroupError) as caught:
            pipeline.run()
        assert all(isinstance(error, StepTimeoutError) for error in caught.value.exceptions)
        fill(pool)
    assert pool.thread_count <= workers
    gate.open()
    wait_until_idle(pool)
    fill(pool)


def test_guarantee_7_the_threads_of_abandoned_steps_end_with_them() -> None:
    pool, gate = SharedThreadPoolExecutor(4, thread_name_prefix="leaves"), Gate()
    threads: list[threading.Thread] = []

    def stuck(context: Any) -> None:
        threads.append(threading.current_thread())
        gate.wait()

    group = Parallel([stuck] * 4, config=ParallelConfig(timeout=0.05))
    with pytest.raises(GroupTimeoutError):
        Pipeline([group], executor=pool).run()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(threads) == 4
    assert not any(thread.is_alive() for thread in threads)


def test_guarantee_7_a_run_inside_a_step_that_was_left_gives_everything_back() -> None:
    pool, gate = SharedThreadPoolExecutor(3), Gate()
    ended = threading.Event()
    inner = Pipeline([[lambda c: gate.wait(), nothing, lambda c: gate.wait()]], executor=pool)

    @step(timeout=0.1)
    def outer(context: Any) -> None:
        try:
            inner.run(context)
        finally:
            ended.set()

    pipeline = Pipeline([outer], executor=pool)
    with pytest.raises(StepTimeoutError):
        pipeline.run()
    fill(pool)
    gate.open()
    assert ended.wait(PATIENCE), "the run inside was not ended with the step that it is in"
    wait_until_idle(pool)


def test_guarantee_7_a_run_in_a_left_step_that_ends_at_that_very_moment_leaks_no_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = SharedThreadPoolExecutor(2)

    def writes_and_fails(context: Any) -> None:
        context.results["x"] = 1
        time.sleep(0.002)  # the step's work
        raise ValueError("at the deadline")

    inner = Pipeline([[writes_and_fails, writes_and_fails]], executor=pool)
    outer = step(timeout=0.002)(lambda context: inner.run(context))
    for _ in range(100):
        with pytest.raises((StepTimeoutError, ParallelGroupError)):
            Pipeline([outer], executor=pool).run()
    wait_until_idle(pool)
    fill(pool)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_guarantee_7_a_coroutine_that_blocks_its_loop_does_not_keep_it_from_other_runs() -> None:
    gate = Gate()

    @step(timeout=0.1)
    async def blocks(context: Any) -> None:
        gate.wait()

    async def later(context: Any) -> str:
        return "ran"

    with pytest.raises(StepTimeoutError):
        Pipeline([blocks]).run()
    after = Pipeline([later], PipelineConfig(timeout=5.0)).run()
    gate.open()
    assert after.results == {"later": "ran"}
