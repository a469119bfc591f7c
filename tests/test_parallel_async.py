"""Dynamic groups on an event loop: `async with parallel()`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from task_pipeline import (
    AsyncTaskGroup,
    CircuitOpenError,
    ErrorStrategy,
    GroupStatus,
    GroupTimeoutError,
    Outcome,
    StepCancelledError,
    StopPipeline,
    TaskGroupError,
    parallel,
)
from task_pipeline.testing import Gate, ManualClock

FAIL_FAST = ErrorStrategy.FAIL_FAST


class Boom(Exception):
    """What a task raises."""


class Harsh(BaseException):
    """What no `except Exception` catches."""


async def boom() -> None:
    raise Boom("burst")


async def answer(value: Any = 42) -> Any:
    return value


async def for_ever() -> None:
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _every_coroutine_is_awaited_or_closed() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in seen] == []


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on an event loop, and look that it leaves no task there."""

    async def run() -> None:
        async with asyncio.timeout(20):
            await test()
        await asyncio.sleep(0)  # the step's work
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set()

    def wrapper() -> None:
        asyncio.run(run())

    wrapper.__name__ = test.__name__
    return wrapper


# As in plain code


@on_loop
async def test_coroutines_and_functions_give_results_in_the_order_added() -> None:
    here = threading.get_ident()

    async def thread() -> int:
        return threading.get_ident()

    async with parallel(max_workers=5, timeout=30.0, name="docs") as group:
        assert isinstance(group, AsyncTaskGroup)
        assert group.add(answer(1)) == 0
        group.add(answer, 2, name="first")
        group.add(pow, 2, 3)
        group.add(thread)
        group.add(threading.get_ident)
        results = await group.gather()
        values = [result.unwrap() for result in results]
        assert values[:4] == [1, 2, 8, here] and values[4] != here
        assert [result.index for result in results] == list(range(5))
        assert list(await group.gather_dict()) == ["0", "first", "2", "3", "4"]
        assert await group.gather() == results
        assert [result async for result in group.stream()] == results
    assert group.group.status is GroupStatus.COMPLETED


@on_loop
async def test_plain_functions_do_not_block_the_loop() -> None:
    gate = Gate()
    async with parallel() as group:
        group.add(gate.wait)
        asyncio.get_running_loop().call_later(0.001, gate.open)  # the loop has to go on for that
        assert (await group.gather())[0].ok


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_stream_gives_each_result_when_it_is_there(timeout: float | None) -> None:
    @on_loop
    async def test() -> None:
        events = [asyncio.Event() for _ in range(3)]
        gate = Gate()
        async with parallel(timeout=timeout) as group:
            for event in events:
                group.add(event.wait())
            group.add(gate.wait)
            results = group.stream()
            for index in (1, 2, 0):
                events[index].set()
                assert (await anext(results)).index == index
            gate.open()
            assert [result.index async for result in results] == [3]

    test()


@on_loop
async def test_leaving_the_block_gathers_if_nobody_did() -> None:
    calls: list[int] = []
    async with parallel() as group:
        group.add(calls.append, 1)
        group.add(answer())
    assert calls == [1]
    assert [result.ok for result in await group.gather()] == [True, True]
    with pytest.raises(Boom):
        async with parallel(error_strategy=FAIL_FAST) as group:
            group.add(boom())


@on_loop
async def test_an_exception_in_the_block_starts_nothing() -> None:
    calls: list[int] = []
    with pytest.raises(Boom):
        async with parallel() as group:
            group.add(calls.append, 1)
            group.add(answer())
            await boom()
    assert group.group.status is GroupStatus.CANCELLED
    with pytest.raises(TaskGroupError, match="left"):
        await group.gather()
    assert calls == []


@pytest.mark.parametrize("way", ["break", "raise"])
def test_leaving_a_stream_cancels_the_rest(way: str) -> None:
    @on_loop
    async def test() -> None:
        started, ended = asyncio.Event(), []

        async def sibling() -> None:
            try:
                started.set()
                await for_ever()
            finally:
                ended.append("sibling")

        with suppress(Boom):
            async with parallel(max_workers=2) as group:
                group.add(answer())
                group.add(sibling())
                group.add(for_ever())
                group.add(boom())
                async for result in group.stream():
                    assert result.unwrap() == 42
                    await started.wait()
                    if way == "raise":
                        await boom()
                    break
        assert ended == ["sibling"]  # by the end of the block
        assert group.group.status is GroupStatus.CANCELLED
        statuses = [result.status for result in await group.gather()]
        assert statuses == [Outcome.SUCCEEDED] + [Outcome.CANCELLED] * 3

    test()


@on_loop
async def test_a_stream_that_is_closed_cancels_the_rest_within_the_block() -> None:
    async with parallel(max_workers=1) as group:
        group.add(answer())
        group.add(for_ever())
        results = group.stream()
        await anext(results)
        await results.aclose()  # type: ignore[attr-defined]  # as of an async generator
        assert group.group.status is GroupStatus.CANCELLED


# FAIL_FAST, timeouts, retries, breakers


@on_loop
async def test_fail_fast_leaves_siblings_at_once_and_starts_none_of_100() -> None:
    started: list[int] = []
    cancelled = []

    async def sibling() -> None:
        try:
            await asyncio.sleep(5)  # the step's work
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    gate = Gate()
    before = time.monotonic()
    with pytest.raises(Boom) as raised:
        async with parallel(max_workers=3, error_strategy=FAIL_FAST, name="docs") as group:
            group.add(sibling)
            group.add(gate.wait)
            group.add(boom(), name="culprit")
            for number in range(100):
                group.add(answer(number))
            for number in range(100):
                group.add(started.append, number)
            await group.gather()
    assert time.monotonic() - before < 0.1
    assert raised.value.__notes__ == ["task 'culprit' of group 'docs' at path 0, attempt 1"]
    assert cancelled == [True]
    gate.open()
    await asyncio.sleep(0)  # the step's work
    assert started == [] and group.group.completed == 0


@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_a_timeout(strategy: ErrorStrategy) -> None:
    @on_loop
    async def test() -> None:
        clock = ManualClock()
        options: Any = {"timeout": 30.0, "error_strategy": strategy, "name": "docs"}
        with clock.installed():
            async with parallel(max_workers=2, **options) as group:
                group.add(answer())
                group.add(for_ever())
                group.add(for_ever())
                group.add(answer())
                results = group.stream()
                assert (await anext(results)).unwrap() == 42
                clock.advance(30.0)
                text = (
                    "group 'docs' timed out after 30.0s, completed 1 of 4, "
                    "consider a larger timeout or max_workers"
                )
                if strategy is FAIL_FAST:
                    with pytest.raises(GroupTimeoutError) as raised:
                        await anext(results)
                    assert str(raised.value) == text
                else:
                    assert [result.error_message async for result in results] == [text] * 3
        assert group.group.status is GroupStatus.FAILED

    test()


@on_loop
async def test_retries_of_coroutine_functions() -> None:
    failures = iter([Boom("1"), Boom("2")])

    async def work() -> str:
        for error in failures:
            raise error
        return "at last"

    async with parallel(max_retries=2, retry_delay=0.001) as group:
        group.add(work)
        group.add(boom)
        with pytest.raises(TaskGroupError, match="awaited once only"):
            group.add(answer())
        good, bad = await group.gather()
    assert (good.unwrap(), good.attempts, bad.attempts) == ("at last", 3, 3)


@on_loop
async def test_the_groups_breaker_rejects_coroutines_after_failures_in_a_row() -> None:
    async with parallel(max_workers=1, circuit_breaker_threshold=2) as group:
        for _ in range(2):
            group.add(boom())
        for _ in range(3):
            group.add(answer())
        results = await group.gather()
    assert [type(result.error) for result in results] == [Boom] * 2 + [CircuitOpenError] * 3


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_no_exception_ends_the_group_and_is_raised(is_async: bool) -> None:
    async def afail() -> None:
        raise Harsh

    def fail() -> None:
        raise Harsh

    @on_loop
    async def test() -> None:
        with pytest.raises(Harsh):
            async with parallel(max_workers=1) as group:
                group.add(afail if is_async else fail)
                group.add(answer())
                await group.gather()
        assert group.group.status is GroupStatus.CANCELLED

    test()


@on_loop
async def test_a_task_may_stop_what_is_around_it() -> None:
    async def stop() -> None:
        raise StopPipeline(5)

    with pytest.raises(StopPipeline):
        async with parallel(max_workers=1) as group:
            group.add(stop)
            group.add(for_ever())
            await group.gather()


# Cancellation by the loop


@pytest.mark.parametrize("streams", [False, True], ids=["gather", "stream"])
def test_a_group_that_is_cancelled_from_outside_cancels_its_tasks(streams: bool) -> None:
    @on_loop
    async def test() -> None:
        started: list[int] = []
        ended: list[str] = []
        inside = asyncio.Event()
        gate = Gate()

        async def sibling() -> None:
            try:
                inside.set()
                await for_ever()
            finally:
                ended.append("sibling")

        async def run() -> None:
            async with parallel(max_workers=2) as group:
                groups.append(group)
                group.add(sibling())
                group.add(gate.wait)
                group.add(started.append, 1)
                group.add(for_ever())
                if streams:
                    async for _ in group.stream():
                        pass
                else:
                    await group.gather()

        groups: list[AsyncTaskGroup] = []
        task = asyncio.create_task(run())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["sibling"] and groups[0].group.status is GroupStatus.CANCELLED
        gate.open()
        assert started == []

    test()


@on_loop
async def test_a_timeout_of_asyncio_around_a_group() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), parallel() as group:
            group.add(for_ever())
            await group.gather()
    assert group.group.status is GroupStatus.CANCELLED


@on_loop
async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_group() -> None:
    stubborn, over = asyncio.Event(), asyncio.Event()

    async def ignores() -> None:
        while not stubborn.is_set():
            with suppress(asyncio.CancelledError):
                await stubborn.wait()
        over.set()

    before = time.monotonic()
    async with parallel(timeout=0.02) as group:
        group.add(ignores())
        (result,) = await group.gather()
    assert result.status is Outcome.TIMED_OUT and time.monotonic() - before < 1
    stubborn.set()
    await over.wait()
    await asyncio.sleep(0)  # the step's work


@on_loop
async def test_a_coroutine_that_another_cancels_has_failed() -> None:
    async with parallel() as group:
        task = asyncio.create_task(for_ever())
        group.add(task)
        group.add(answer())
        asyncio.get_running_loop().call_soon(task.cancel)
        cancelled, good = await group.gather()
    assert isinstance(cancelled.error, StepCancelledError) and good.ok


# What goes in


@on_loop
async def test_futures_and_tasks_of_the_loop_are_awaited_and_cancelled_with_the_group() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_soon(future.set_result, "future")
    async with parallel() as group:
        group.add(asyncio.create_task(answer("task")))
        group.add(future)
        group.add(lambda: answer("returned"))
        group.add(asyncio.to_thread, pow, 2, 3)
        assert [result.unwrap() for result in await group.gather()] == [
            *("task", "future", "returned", 8)
        ]
    running = asyncio.create_task(for_ever())
    async with parallel(timeout=0.01) as group:
        group.add(running)
        await group.gather()
    with pytest.raises(asyncio.CancelledError):
        await running


@on_loop
async def test_context_variables() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def spoil() -> str:
        before = variable.get()
        variable.set("spoilt")
        await asyncio.sleep(0)  # the step's work
        return before

    variable.set("callers")
    async with parallel(max_workers=1) as group:
        group.add(spoil)
        group.add(spoil())
        group.add(variable.get)
        assert [result.unwrap() for result in await group.gather()] == ["callers"] * 3
    assert variable.get() == "callers"


@on_loop
async def test_no_more_coroutines_run_at_once_than_max_workers() -> None:
    inside, peaks = 0, []

    async def count() -> None:
        nonlocal inside
        inside += 1
        peaks.append(inside)
        await asyncio.sleep(0)  # the step's work
        inside -= 1

    async with parallel(max_workers=7) as group:
        for number in range(100):
            group.add(count() if number % 2 else count)
    assert max(peaks) == 7 and len(peaks) == 100


@on_loop
async def test_ten_thousand_coroutines() -> None:
    async with parallel(max_workers=100) as group:
        for number in range(10_000):
            group.add(answer(number))
        assert [result.result for result in await group.gather()] == list(range(10_000))


@on_loop
async def test_groups_inside_groups_with_one_worker_each() -> None:
    async def deep(level: int) -> int:
        if level == 0:
            return 1
        async with parallel(max_workers=1) as group:
            group.add(deep(level - 1))
            group.add(plain, level - 1)
            return sum([result.unwrap() async for result in group.stream()])

    def plain(level: int) -> int:
        if level == 0:
            return 1
        with parallel(max_workers=1) as group:
            group.add(deep, level - 1)
            group.add(plain, level - 1)
            return sum(result.unwrap() for result in group.gather())

    assert await deep(5) == 32
    assert await asyncio.to_thread(plain, 5) == 32


@on_loop
async def test_two_gathers_at_once_give_the_same_results() -> None:
    event = asyncio.Event()
    async with parallel() as group:
        group.add(event.wait())
        group.add(boom())
        first = asyncio.create_task(group.gather())
        second = asyncio.create_task(group.gather_dict())
        third = asyncio.ensure_future(anext(group.stream()))
        asyncio.get_running_loop().call_soon(event.set)
        results = await first
        assert list((await second).values()) == results
        assert await third in results


def test_a_loop_that_is_closed_under_a_group_leaves_the_rest_of_the_process_alone() -> None:
    gate = Gate()
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[AsyncTaskGroup, Any]:
        group = await parallel(max_workers=2).__aenter__()
        group.add(gate.wait)
        group.add(gate.wait)
        group.add(answer())
        return group, group.stream()

    group, results = loop.run_until_complete(begin())
    gate.wait_until_reached(2)
    loop.close()
    gate.open()
    results.close()
    assert group.group.status in (GroupStatus.CANCELLED, GroupStatus.FAILED)
    assert asyncio.run(answer()) == 42
    with parallel() as other:
        other.add(pow, 2, 3)
    assert other.gather()[0].ok
