"""Limits compose: runs and groups inside steps run in those steps' stead, at any depth.

Guarantees 1, 2 and 7 for nested runs: never more at once than any limit around says, no
deadlock, and afterwards every place is free again.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    RunCancelledError,
    SharedThreadPoolExecutor,
    TaskPipelineError,
    map_parallel,
    parallel,
    step,
)
from task_pipeline.engine.tasks import TaskRun
from task_pipeline.testing import Gate

PATIENCE = 20.0


class Boom(Exception):
    """What a task raises."""


@pytest.fixture(autouse=True)
def _threads_change_often() -> Iterator[None]:
    logging.getLogger("task_pipeline").setLevel(logging.ERROR)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Gauge:
    """Counts how many are at work at once. A step that only waits for others is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = self.peak = self.calls = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1

    def work(self, context: Any = None) -> int:
        with self.at_work():
            threading.Event().wait(0.0002)  # long enough for others to be called, if they may
        return 1

    async def awork(self, context: Any = None) -> int:
        with self.at_work():
            for _ in range(3):
                await asyncio.sleep(0)  # the step's work
        return 1


def settled(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        threading.Event().wait(0.001)


# Ways to run `calls` side by side inside a step; each returns the sum of what they return.


def by_gather(calls: list[Any]) -> int:
    with parallel(max_workers=3) as group:
        for call in calls:
            group.add(call)
        return sum(result.unwrap() for result in group.gather())


def by_stream(calls: list[Any]) -> int:
    with parallel(max_workers=3) as group:
        for call in calls:
            group.add(call)
        return sum([result.unwrap() for result in group.stream()])


def by_map(calls: list[Any]) -> int:
    return sum([result.unwrap() for result in map_parallel(_call, calls, max_workers=3)])


def by_run(calls: list[Any]) -> int:
    steps = [lambda context, call=call: call() for call in calls]
    results = Pipeline([steps]).run().results
    return sum(results.values())


def by_start(calls: list[Any]) -> int:
    steps = [lambda context, call=call: call() for call in calls]
    return sum(Pipeline([steps]).start().result(PATIENCE).results.values())


def by_asyncio_run(calls: list[Any]) -> int:
    async def main() -> int:
        async with parallel(max_workers=3) as group:
            for call in calls:
                group.add(call)
            return sum([result.unwrap() async for result in group.stream()])

    return asyncio.run(main())


def by_arun(calls: list[Any]) -> int:
    steps = [lambda context, call=call: call() for call in calls]
    return sum(asyncio.run(Pipeline([steps]).arun()).results.values())


def _call(call: Callable[[], int]) -> int:
    return call()


WAYS = [by_gather, by_stream, by_map, by_run, by_start, by_asyncio_run, by_arun]


def nested(ways: Iterator[Callable[[list[Any]], int]], depth: int, work: Any) -> Callable[[], int]:
    if depth == 0:
        return lambda: work()
    way = next(ways)
    return lambda: way([nested(ways, depth - 1, work) for _ in range(2)])


@pytest.mark.parametrize("pool_size", [1, 2, 6])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_never_more_at_once_than_the_runs_limit_and_all_is_done(
    way: Callable[[list[Any]], int], workers: int, pool_size: int
) -> None:
    gauge = Gauge()
    pool = SharedThreadPoolExecutor(pool_size)
    branches = [
        lambda context: way([lambda: way([gauge.work, gauge.work]), gauge.work]) for _ in range(3)
    ]
    pipeline = Pipeline([branches], config=PipelineConfig(max_workers=workers), executor=pool)
    for _ in range(3):
        assert sum(pipeline.run().results.values()) == 9
    assert gauge.calls == 27 and gauge.peak <= workers
    settled(lambda: pool.active == 0)


@pytest.mark.parametrize("first", range(len(WAYS)))
@pytest.mark.parametrize("limited_by", ["run", "group", "name"])
def test_all_ways_mixed_five_deep_under_each_kind_of_limit(first: int, limited_by: str) -> None:
    gauge = Gauge()
    pool = SharedThreadPoolExecutor(3)
    order = itertools.cycle(WAYS[first:] + WAYS[:first])
    calls = [nested(order, 4, gauge.work) for _ in range(3)]
    steps: Any = [lambda context, call=call: call() for call in calls]
    config = PipelineConfig()
    if limited_by == "run":
        config = PipelineConfig(max_workers=2)
    elif limited_by == "group":
        steps = Parallel(steps, config=ParallelConfig(max_workers=2))
    else:
        steps = [step(limit="scarce")(one) for one in steps]
        config = PipelineConfig(limits={"scarce": 2})
    assert sum(Pipeline([steps], config=config, executor=pool).run().results.values()) == 48
    assert gauge.calls == 48 and gauge.peak <= 2
    settled(lambda: pool.active == 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_coroutines_in_steps_count_as_well(workers: int) -> None:
    gauge = Gauge()

    async def crawl(context: Any) -> int:
        async with parallel(max_workers=3) as group:
            group.add(gauge.awork)
            group.add(gauge.awork())
            group.add(gauge.work)
            group.add(deeper)
            return sum([result.unwrap() for result in await group.gather()])

    async def deeper() -> int:
        async with parallel() as group:
            for _ in range(3):
                group.add(gauge.awork())
            return sum([result.unwrap() async for result in group.stream()])

    config = PipelineConfig(max_workers=workers)
    pipeline = Pipeline([[crawl, crawl, gauge.awork]], config=config)
    for _ in range(5):
        assert list(pipeline.run().results.values()) == [6, 6, 1]
        assert list(asyncio.run(pipeline.arun()).results.values()) == [6, 6, 1]
    assert gauge.peak <= workers


def test_a_free_place_is_used_by_the_group() -> None:
    """Limits are kept, but nothing less than they allow is done either."""
    together = threading.Barrier(3, timeout=PATIENCE)

    def crawl(context: Any) -> None:
        with context.parallel(max_workers=5) as group:
            for _ in range(3):
                group.add(together.wait)
            assert all(result.ok for result in group.gather())

    pool = SharedThreadPoolExecutor(5)
    Pipeline([crawl], config=PipelineConfig(max_workers=3), executor=pool).run()
    inner = Pipeline([[lambda context: together.wait() >= 0] * 3])
    outer = [lambda context: inner.run().results["lambda"]]
    Pipeline([outer], config=PipelineConfig(max_workers=3), executor=pool).run()


def test_a_place_that_becomes_free_is_given_to_a_group_that_waits_for_one() -> None:
    """A sibling step ends; the second task of the group then starts beside the first."""
    sibling, together = Gate(), threading.Barrier(2, timeout=PATIENCE)
    began = threading.Event()

    def first() -> None:
        began.set()
        together.wait()

    def crawl(context: Any) -> None:
        with context.parallel(max_workers=2) as group:
            group.add(first)
            group.add(together.wait)
            assert all(result.ok for result in group.gather())

    pool = SharedThreadPoolExecutor(4)
    pipeline = Pipeline(
        [[lambda context: sibling.wait(), crawl]],
        config=PipelineConfig(max_workers=2),
        executor=pool,
    )
    run = pipeline.start()
    assert began.wait(PATIENCE)
    sibling.wait_until_reached()
    sibling.open()
    run.result(PATIENCE)


def test_a_step_that_waits_for_a_place_gets_it_when_a_group_ends() -> None:
    order: list[str] = []

    def crawl(context: Any) -> None:
        with context.parallel() as group:
            for _ in range(3):
                group.add(order.append, "task")

    config = PipelineConfig(max_workers=1)
    for _ in range(50):
        order.clear()
        branches = [crawl, lambda context: order.append("sibling"), crawl]
        Pipeline([branches], config=config, executor=SharedThreadPoolExecutor(3)).run()
        assert sorted(order) == ["sibling"] + ["task"] * 6


@pytest.mark.parametrize("starts", ["stream", "map"])
def test_a_step_that_goes_on_does_not_lend_its_place(starts: str) -> None:
    gauge = Gauge()

    def crawl(context: Any) -> None:
        with parallel(max_workers=3) as group:
            for _ in range(4):
                group.add(gauge.work)
            mapped = map_parallel(lambda item: gauge.work(), range(4), max_workers=3)
            results = group.stream() if starts == "stream" else mapped
            with gauge.at_work():
                threading.Event().wait(0.002)
            for _ in results:
                pass

    pool = SharedThreadPoolExecutor(4)
    Pipeline([crawl], config=PipelineConfig(max_workers=1), executor=pool).run()
    assert gauge.peak == 1


# Whatever happens inside


def crawl_that_fails(gauge: Gauge, gate: Gate) -> Callable[[Any], None]:
    def boom() -> None:
        with gauge.at_work():
            raise Boom

    def stuck() -> None:
        gate.wait()

    def crawl(context: Any) -> None:
        options: list[dict[str, Any]] = [
            {"error_strategy": ErrorStrategy.FAIL_FAST},
            {"timeout": 0.002},
            {"max_retries": 2, "retry_delay": 0.001, "circuit_breaker_threshold": None},
            {"circuit_breaker_threshold": 1},
        ]
        for option in options:
            with suppress(Boom), parallel(max_workers=2, **option) as group:
                group.add(gauge.work)
                group.add(stuck if "timeout" in option else boom)
                group.add(gauge.work)
                group.add(gauge.awork)
                next(iter(group.stream()))
            with suppress(Boom, TaskPipelineError), parallel(max_workers=2, **option) as group:
                for _ in range(2):
                    group.add(stuck if "timeout" in option else boom)
                    group.add(lambda: Pipeline([[gauge.work, gauge.work]]).run())

    return crawl


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_failures_timeouts_retries_and_cancellations_give_every_place_back(workers: int) -> None:
    gauge, gate = Gauge(), Gate()
    pool = SharedThreadPoolExecutor(3)
    crawl = crawl_that_fails(gauge, gate)
    config = PipelineConfig(max_workers=workers)
    pipeline = Pipeline([[crawl, gauge.work, crawl], [crawl, crawl]], config=config, executor=pool)
    for _ in range(5):
        pipeline.run()
    gate.open()
    settled(lambda: pool.active == gauge.inside == 0)
    together = threading.Barrier(3, timeout=PATIENCE)
    Pipeline([[lambda context: together.wait() >= 0] * 3], executor=pool).run()


@pytest.mark.parametrize("way", WAYS)
def test_runs_that_are_cancelled_in_the_middle_give_every_place_back(way: Any) -> None:
    pool = SharedThreadPoolExecutor(2)
    gauge = Gauge()
    config = PipelineConfig(max_workers=1)
    inner = [lambda: way([gauge.work] * 4)] * 3
    pipeline = Pipeline(
        [[lambda context: way(inner), lambda context: way(inner)]], config=config, executor=pool
    )
    for wait in range(20):
        run = pipeline.start()
        threading.Event().wait(wait / 10_000)
        run.cancel()
        with suppress(RunCancelledError):
            run.result(PATIENCE)
    settled(lambda: pool.active == 0 and gauge.inside == 0)
    assert sum(pipeline.run().results.values()) == 24


def test_a_group_that_was_left_frees_its_places_for_siblings_at_once() -> None:
    """Its stuck thread is abandoned, and counts for nothing any more."""
    gate, reached = Gate(), threading.Event()

    def crawl(context: Any) -> None:
        with context.parallel(max_workers=2, timeout=0.02) as group:
            group.add(gate.wait)
            group.add(gate.wait)
        reached.set()

    pool = SharedThreadPoolExecutor(2)
    config = PipelineConfig(max_workers=2)
    pipeline = Pipeline([[crawl, crawl], lambda context: reached.is_set()], config=config)
    pipeline = Pipeline([pipeline], executor=pool)
    assert pipeline.run().results["lambda"] is True
    gate.open()
    settled(lambda: pool.active == 0)


def test_a_retry_of_the_step_has_its_place_back() -> None:
    gauge = Gauge()

    @step(retries=2)
    def crawl(context: Any) -> int:
        total = by_gather([gauge.work] * 3)
        if context.attempt < 3:
            raise Boom
        return total

    config = PipelineConfig(max_workers=1)
    results = Pipeline([[crawl, crawl]], config=config).run().results
    assert list(results.values()) == [3, 3] and gauge.peak == 1


def test_two_groups_of_one_step_in_two_threads_share_its_one_place() -> None:
    gauge = Gauge()

    async def crawl(context: Any) -> int:
        first = asyncio.to_thread(by_gather, [gauge.work] * 5)
        second = asyncio.to_thread(by_stream, [gauge.work] * 5)
        return sum(await asyncio.gather(first, second))

    config = PipelineConfig(max_workers=1)
    for _ in range(10):
        assert Pipeline([crawl], config=config).run().results["crawl"] == 10
    assert gauge.peak == 1


def test_a_group_of_a_step_that_has_ended_is_held_by_nothing() -> None:
    """A thread that the step has left behind; whoever has the only place now waits for it."""
    ended, together = threading.Event(), threading.Barrier(2, timeout=PATIENCE)
    threads: list[threading.Thread] = []
    found: list[bool] = []

    def late() -> None:
        ended.wait(PATIENCE)
        with parallel(max_workers=2) as group:
            group.add(together.wait)
            group.add(together.wait)
            found.extend(result.ok for result in group.gather())

    def first(context: Any) -> None:
        inherited = contextvars.copy_context()
        threads.append(threading.Thread(target=inherited.run, args=(late,), daemon=True))
        threads[0].start()

    def second(context: Any) -> None:
        ended.set()
        threads[0].join(PATIENCE)

    pool = SharedThreadPoolExecutor(4)
    Pipeline([first, second], config=PipelineConfig(max_workers=1), executor=pool).run()
    assert found == [True, True]


@pytest.mark.parametrize("way", [by_gather, by_stream, by_map])
def test_a_limit_by_name_holds_in_runs_inside_steps_and_in_their_groups(way: Any) -> None:
    gauge = Gauge()
    pool = SharedThreadPoolExecutor(4)
    ask = step(limit="scarce")(lambda context: gauge.work())
    inner = Pipeline([[ask, ask]], executor=pool)

    def crawl(context: Any) -> int:
        total: int = way([lambda: sum(inner.run().results.values())] * 3)
        return total

    config = PipelineConfig(limits={"scarce": 1})
    pipeline = Pipeline([[ask, crawl, crawl]], config=config, executor=pool)
    for _ in range(5):
        assert sum(pipeline.run().results.values()) == 13
    assert gauge.calls == 65 and gauge.peak == 1
    settled(lambda: pool.active == 0)


@pytest.mark.parametrize("workers", [None, 1])
@pytest.mark.parametrize("streams", [False, True])
def test_a_group_of_a_step_that_was_left_begins_nothing_more(
    streams: bool, workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between the end of the step and the moment in which the group hears of it."""
    inside, told = Gate(), Gate()
    started: list[int] = []
    first_ended = threading.Event()
    cancel = TaskRun.cancel

    def cancel_late(run: TaskRun, error: BaseException | None = None) -> None:
        told.wait()
        cancel(run, error)

    def first() -> None:
        inside.wait()
        first_ended.set()

    def crawl(context: Any) -> None:
        with context.parallel(max_workers=1) as group:
            group.add(first)
            for number in range(3):
                group.add(started.append, number)
            list(group.stream()) if streams else group.gather()

    pool = SharedThreadPoolExecutor(3)
    run = Pipeline([crawl], config=PipelineConfig(max_workers=workers), executor=pool).start()
    inside.wait_until_reached()
    monkeypatch.setattr(TaskRun, "cancel", cancel_late)
    canceller = threading.Thread(target=run.cancel, daemon=True)
    canceller.start()
    told.wait_until_reached()  # the step has its end; its group has not heard of that
    inside.open()
    assert first_ended.wait(PATIENCE)
    threading.Event().wait(0.02)
    told.open()
    canceller.join(PATIENCE)
    settled(lambda: pool.active == 0)
    assert started == []


def test_a_gather_behind_a_stream_leaves_a_steps_only_worker_to_the_tasks() -> None:
    pool = SharedThreadPoolExecutor(1)

    async def main() -> int:
        async with parallel() as group:
            group.add(pow, 2, 3)
            stream = group.stream()  # it has begun, and nobody takes from it
            (result,) = await group.gather()
            del stream
            return int(result.unwrap())

    pipeline = Pipeline([lambda context: asyncio.run(main())], executor=pool)
    assert pipeline.run().results == {"lambda": 8}
    assert pool.active == 0
