"""The scripts by which the reference document proves each of its phases, in this library's names.

They print at their end; here they assert what they wanted somebody to look at.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    Event,
    EventBus,
    ExecutionResult,
    ExecutionState,
    GroupInfo,
    GroupStatus,
    GroupTimeoutError,
    ParallelDisplayMode,
    ParallelEventPrinter,
    ParallelGroupTracker,
    parallel,
)
from task_pipeline.events import GroupEvent, StepEvent
from task_pipeline.testing import ManualClock


async def double(number: int) -> int:
    await asyncio.sleep(0.001)  # the step's work
    return number * 2


async def fail() -> None:
    await asyncio.sleep(0.001)  # the step's work
    raise ValueError("as intended")


async def succeed() -> str:
    await asyncio.sleep(0.002)  # the step's work
    return "well"


def on_loop(script: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(script(), 20))

    run.__name__ = script.__name__
    return run


# Phase 1: data models


def test_models_exist_and_serialise() -> None:
    assert [status.name for status in GroupStatus] == [
        *("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
    ]
    assert {strategy.name for strategy in ErrorStrategy} == {"FAIL_SLOW", "FAIL_FAST"}
    assert {mode.name for mode in ParallelDisplayMode} == {"REALTIME", "PROGRESS"}
    info = GroupInfo(id="0", name="docs", total=3)
    assert (info.status, info.completed, info.failed) == (GroupStatus.PENDING, 0, 0)
    assert (info.error_strategy, info.max_workers, info.timeout) == ("FAIL_SLOW", 5, None)
    assert GroupInfo.model_validate_json(info.model_dump_json()) == info


# Phase 2: results, limits, errors


@on_loop
async def test_basic_parallel() -> None:
    state = ExecutionState()
    async with state.parallel(max_workers=3) as group:
        for number in (1, 2, 3):
            group.add(double(number))
        results = await group.gather()
    assert len(results) == 3
    assert [result.result for result in results] == [2, 4, 6]


@on_loop
async def test_the_limit_is_one_for_the_group() -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)  # the step's work
        inside -= 1

    async with ExecutionState().parallel(max_workers=3) as group:
        for _ in range(20):
            group.add(work())
        assert all(result.ok for result in await group.gather())
    assert most == 3


@on_loop
async def test_the_block_gathers_if_nobody_did() -> None:
    async with ExecutionState().parallel() as group:
        group.add(double(1))
    assert group.group.status is GroupStatus.COMPLETED and group.group.completed == 1


# Phase 3: the state's history


@on_loop
async def test_state_integration() -> None:
    state = ExecutionState()

    async def act(given: str, context: dict[str, Any], state: ExecutionState) -> str:
        await asyncio.sleep(0)  # the step's work
        return f"processed {given}"

    async with state.parallel(max_workers=2) as group:
        group.add(act("one", {}, state))
        group.add(act("two", {}, state))
        results = await group.gather()
    assert [result.unwrap() for result in results] == ["processed one", "processed two"]
    assert len(state.history.events) >= 2
    of_tasks = [event for event in state.history.events if isinstance(event, StepEvent)]
    assert {event.path for event in of_tasks} == {"0.0", "0.1"}
    for event in of_tasks:
        assert (event.group_id, event.is_parallel) == ("0", True)
        assert event.parallel_index == int(event.path[-1])


# Phase 4: other ways to have results


@on_loop
async def test_advanced_modes() -> None:
    state = ExecutionState()
    async with state.parallel(max_workers=3) as group:
        for number in range(5):
            group.add(double(number))
        results = [result async for result in group.stream()]
    assert len(results) == 5
    assert sorted(result.unwrap() for result in results) == [0, 2, 4, 6, 8]

    async with state.parallel(max_workers=2) as group:
        group.add(double(1), name="first")
        group.add(double(2), name="second")
        by_name = await group.gather_dict()
    assert by_name["first"].result == 2 and by_name["second"].result == 4


@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_a_timeout_with_and_without_what_has_finished(strategy: ErrorStrategy) -> None:
    @on_loop
    async def script() -> None:
        clock = ManualClock()
        options: Any = {"timeout": 30.0, "name": "docs", "error_strategy": strategy}
        with clock.installed():
            async with ExecutionState().parallel(**options) as group:
                group.add(double(1))
                group.add(asyncio.Event().wait())
                results = group.stream()
                assert (await anext(results)).unwrap() == 2
                clock.advance(30.0)
                if strategy is ErrorStrategy.FAIL_FAST:
                    with pytest.raises(GroupTimeoutError, match=r"'docs' timed out after 30\.0s"):
                        await anext(results)
                    return
                late = await anext(results)
        assert not late.ok and "completed 1 of 2" in late.error_message
        assert "larger timeout or max_workers" in late.error_message

    script()


# Phase 5: errors


@on_loop
async def test_error_handling() -> None:
    state = ExecutionState()
    async with state.parallel(max_workers=2) as group:
        group.add(fail())
        group.add(succeed())
        results = await group.gather()
    assert len(results) == 2
    assert not results[0].ok and results[0].error_message == "as intended"
    assert results[1].ok and results[1].unwrap() == "well"

    with pytest.raises(ValueError, match="as intended"):
        async with state.parallel(max_workers=2, error_strategy=ErrorStrategy.FAIL_FAST) as group:
            group.add(fail())
            group.add(succeed())
            await group.gather()


@on_loop
async def test_retries_and_a_breaker_that_recovers() -> None:
    clock = ManualClock()
    calls = 0

    async def fails_twice() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError
        return "at last"

    async with parallel(max_retries=2, retry_delay=0.001) as group:
        group.add(fails_twice)
        (result,) = await group.gather()
    assert (result.unwrap(), result.attempts) == ("at last", 3)

    with clock.installed():
        async with parallel(
            max_workers=1,
            max_retries=1,
            retry_delay=0.0,
            circuit_breaker_threshold=2,
            circuit_breaker_timeout=60.0,
        ) as group:
            group.add(fail)
            group.add(succeed)
            results = group.stream()
            assert not (await anext(results)).ok
            while clock.next_timer() != 60.0:  # it is open, and waited for
                await asyncio.sleep(0)  # the step's work
            clock.advance(60.0)
            assert (await anext(results)).unwrap() == "well"


# Phases 6 and 7: printers


@asynccontextmanager
async def printed(mode: ParallelDisplayMode, shown: io.StringIO) -> AsyncIterator[ExecutionState]:
    bus = EventBus()
    with ParallelEventPrinter(parallel_mode=mode, file=shown) as printer:
        bus.subscribe(printer.print_event)
        yield ExecutionState(event_bus=bus)
        await bus.aflush()


@pytest.mark.parametrize("mode", ParallelDisplayMode)
def test_printers(mode: ParallelDisplayMode) -> None:
    shown = io.StringIO()

    @on_loop
    async def script() -> None:
        async with (
            printed(mode, shown) as state,
            state.parallel(max_workers=3, name="Processing docs") as group,
        ):
            for number in range(10):
                group.add(double(number), name=f"doc{number}")
            await group.gather()

    script()
    assert "Processing docs" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()  # no terminal, no control codes


@on_loop
async def test_a_tracker_alone() -> None:
    state = ExecutionState()
    tracker = ParallelGroupTracker()
    async with state.parallel(max_workers=2) as group:
        group.add(double(1))
        group.add(fail())
        await group.gather()
    for event in state.history.events:
        tracker.note(event)
    assert (tracker.started, tracker.completed, tracker.failed) == (2, 1, 1)
    assert tracker.completion_percentage == 100.0 and tracker.is_complete
    assert tracker.elapsed_time > 0


# Phase 8 and 9: all together, and the edges


@on_loop
async def test_five_times_faster_for_five_that_wait() -> None:
    together = threading.Barrier(5, timeout=10)
    async with parallel(max_workers=5) as group:
        for _ in range(5):
            group.add(together.wait)  # no one of them ends before all have begun
        results = await group.gather()
    assert sorted(result.unwrap() for result in results) == [0, 1, 2, 3, 4]


@on_loop
async def test_edges() -> None:
    state = ExecutionState()
    async with state.parallel() as group:
        assert await group.gather() == []
    async with state.parallel() as group:
        group.add(double(1))
        (only,) = await group.gather()
    assert isinstance(only, ExecutionResult) and only.unwrap() == 2

    async def nested() -> list[Any]:
        async with state.parallel(max_workers=1) as inner:
            inner.add(double(1))
            inner.add(double(2))
            return [result.unwrap() for result in await inner.gather()]

    async with state.parallel(max_workers=1) as group:
        group.add(nested())
        group.add(nested())
        assert [result.unwrap() for result in await group.gather()] == [[2, 4]] * 2


@on_loop
async def test_cancellation_in_the_middle() -> None:
    state = ExecutionState()
    started = asyncio.Event()

    async def stuck() -> None:
        started.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with state.parallel() as group:
            group.add(stuck())
            await group.gather()

    task = asyncio.create_task(run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ends = [event for event in state.history.events if isinstance(event, GroupEvent)]
    assert [type(event).__name__ for event in ends] == ["GroupStarted", "GroupCancelled"]


@on_loop
async def test_a_bus_under_load_loses_nothing() -> None:
    bus = EventBus()
    seen: list[Event] = []

    async def listen(event: Event) -> None:
        await asyncio.sleep(0)  # the step's work
        seen.append(event)

    bus.subscribe(listen)
    state = ExecutionState(event_bus=bus)
    async with state.parallel(max_workers=50) as group:
        for number in range(300):
            group.add(double(number))
        await group.gather()
    await bus.aflush()
    assert [event.seq for event in seen] == list(range(602))
