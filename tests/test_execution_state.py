"""`ExecutionState`: events and history for programs that have groups but no pipeline."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from typing import Any

import pytest
from pydantic import ValidationError

from task_pipeline import (
    ErrorStrategy,
    Event,
    EventBus,
    ExecutionState,
    GroupTimeoutError,
    SkipStep,
    TaskGroupError,
    map_parallel,
    parallel,
)
from task_pipeline.events import (
    CircuitOpened,
    GroupCancelled,
    GroupEnded,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    GroupTimedOut,
    StepCancelled,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)
from task_pipeline.testing import Gate

PATIENCE = 10.0


class Boom(Exception):
    """What a task raises."""


def boom() -> None:
    raise Boom("burst")


async def answer(value: Any = 42) -> Any:
    return value


def places(events: Any) -> list[tuple[Any, ...]]:
    return [
        (type(event), event.path, event.group_id, event.is_parallel, event.parallel_index)
        for event in events
    ]


def test_events_of_a_group() -> None:
    state = ExecutionState()
    with state.parallel(max_workers=1, name="docs") as group:
        group.add(answer())
        group.add(boom, name="bad")
        group.gather()
    assert places(state.history) == [
        (GroupStarted, "0", "0", True, None),
        (StepStarted, "0.0", "0", True, 0),
        (StepSucceeded, "0.0", "0", True, 0),
        (StepStarted, "0.1", "0", True, 1),
        (StepFailed, "0.1", "0", True, 1),
        (GroupFailed, "0", "0", True, None),
    ]
    assert [event.name for event in state.history] == [
        *("docs", "answer[0]", "answer[0]", "bad", "bad", "docs")
    ]
    assert str(state.history[4].error) == "burst"
    assert group.group.id == "0"


def test_all_groups_have_one_run_id_and_count_on() -> None:
    state = ExecutionState()
    for _ in range(3):
        with state.parallel() as group:
            group.add(answer())
    events = state.history
    assert {event.run_id for event in events} == {state.run_id}
    assert [event.seq for event in events] == list(range(12))
    assert [event.path for event in events if isinstance(event, GroupStarted)] == ["0", "1", "2"]
    assert [event.name for event in events if isinstance(event, GroupEnded)] == [
        *("parallel_group_0", "parallel_group_1", "parallel_group_2")
    ]
    assert ExecutionState().run_id != state.run_id


def test_ids_are_the_same_in_two_runs() -> None:
    def run() -> list[tuple[Any, ...]]:
        state = ExecutionState()

        def deeper(number: int) -> None:
            with parallel(max_workers=1, name=f"deeper{number}") as group:
                group.add(answer, number)

        for _ in range(2):
            with state.parallel(max_workers=3) as group:
                for number in range(3):
                    group.add(deeper, number)
        return sorted(places(state.history), key=str)

    first = run()
    assert first == run()
    assert (GroupStarted, "1.2.0", "1.2.0", True, 2) in first
    assert (StepStarted, "1.2.0.0", "1.2.0", True, 0) in first


def test_history_is_a_tuple_of_events_that_keeps_the_latest() -> None:
    state = ExecutionState(history=5)
    with state.parallel() as group:
        for _ in range(10):
            group.add(answer())
    assert isinstance(state.history, tuple) and len(state.history) == 5
    assert state.history.events == state.history  # as it is often asked for
    assert state.history[-1].seq == 21
    assert all(Event.from_json(event.to_json()) == event for event in state.history)


def test_a_bus_is_told_of_everything() -> None:
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(seen.append)
    state = ExecutionState(event_bus=bus)
    assert state.event_bus is bus
    with state.parallel() as group:
        group.add(answer())
        group.gather()
        assert [event.seq for event in seen] == [0, 1, 2, 3]  # all, when gather() returns
    assert tuple(seen) == tuple(state.history) == bus.history
    own = ExecutionState()
    assert isinstance(own.event_bus, EventBus)
    later: list[Event] = []
    own.event_bus.subscribe(later.append)
    with own.parallel() as group:
        group.add(answer())
    own.event_bus.flush()
    assert len(later) == 4


def test_a_subscriber_that_raises_changes_nothing() -> None:
    bus = EventBus()

    def fail(event: Event) -> None:
        raise Boom

    bus.subscribe(fail)
    with ExecutionState(bus).parallel() as group:
        group.add(answer())
    assert group.gather()[0].unwrap() == 42


def test_on_an_event_loop() -> None:
    state = ExecutionState()

    async def deeper() -> int:
        async with parallel() as group:
            group.add(answer(1))
            group.add(pow, 2, 3)
            return sum(result.unwrap() for result in await group.gather())

    async def run() -> list[Any]:
        async with state.parallel(name="docs", max_workers=2) as group:
            group.add(deeper())
            group.add(deeper)
            return [result.unwrap() async for result in group.stream()]

    assert asyncio.run(run()) == [9, 9]
    assert [event.seq for event in state.history] == list(range(len(state.history)))
    groups = {event.path for event in state.history if isinstance(event, GroupStarted)}
    assert groups == {"0", "0.0.0", "0.1.0"}


def test_how_groups_end() -> None:
    state = ExecutionState()
    gate = Gate()
    fast = ErrorStrategy.FAIL_FAST
    with pytest.raises(Boom), state.parallel(max_workers=1, error_strategy=fast) as group:
        group.add(boom)
        group.add(answer())
    with state.parallel(timeout=0.01, max_workers=1) as group:
        group.add(gate.wait)
        group.add(answer())
    late: Any = {"timeout": 0.01, "error_strategy": fast}
    with pytest.raises(GroupTimeoutError), state.parallel(**late) as group:
        group.add(gate.wait)
    with state.parallel() as group:
        group.add(answer())
        group.add(gate.wait)
        next(iter(group.stream()))
    with state.parallel():
        pass
    gate.open()
    ended = [type(event) for event in state.history if isinstance(event, GroupEnded)]
    assert ended == [GroupFailed, GroupTimedOut, GroupTimedOut, GroupCancelled, GroupSucceeded]
    by_path = {event.path: type(event) for event in state.history if event.attempt <= 1}
    assert by_path["0.1"] is StepCancelled and by_path["1.1"] is StepCancelled
    assert StepTimedOut in [type(event) for event in state.history if event.path == "1.0"]


def test_retries_skips_and_circuits_are_told_of() -> None:
    def skip() -> None:
        raise SkipStep("nothing to do")

    state = ExecutionState()
    with state.parallel(
        max_workers=1, max_retries=1, retry_delay=0.0, circuit_breaker_threshold=2
    ) as group:
        group.add(skip)
        group.add(boom)
    kinds = [type(event) for event in state.history]
    assert kinds.count(StepRetrying) == 1 and CircuitOpened in kinds
    skipped = [event for event in state.history if isinstance(event, StepSkipped)]
    assert [event.reason for event in skipped] == ["nothing to do"]


def test_groups_of_many_threads_share_one_gapless_count() -> None:
    state = ExecutionState(history=100_000)

    def run() -> None:
        for _ in range(10):
            with state.parallel(max_workers=2) as group:
                for _ in range(5):
                    group.add(answer)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    events = state.history
    assert [event.seq for event in events] == list(range(40 * 12))
    assert all(one.monotonic <= two.monotonic for one, two in itertools.pairwise(events))
    paths = [event.path for event in events if isinstance(event, GroupStarted)]
    assert sorted(paths, key=int) == [str(number) for number in range(40)]
    for path in paths:
        mine = [event for event in events if event.path.startswith(f"{path}.")]
        assert [type(event) for event in mine].count(StepSucceeded) == 5


def test_maps_of_a_state() -> None:
    state = ExecutionState()
    results = state.parallel(max_workers=2, name="docs").map(abs, range(-3, 0))
    assert [result.unwrap() for result in results] == [3, 2, 1]
    assert [event.path for event in state.history if isinstance(event, StepSucceeded)]
    assert {event.path for event in state.history} == {"0", "0.0", "0.1", "0.2"}
    assert [result.ok for result in map_parallel(abs, [1])] == [True]
    assert {event.path for event in state.history} == {"0", "0.0", "0.1", "0.2"}


def test_options_are_those_of_parallel() -> None:
    state = ExecutionState()
    with pytest.raises(ValidationError, match="max_workers"):
        state.parallel(max_workers=0)
    opened = state.parallel(name="docs")
    with opened:
        pass
    with pytest.raises(TaskGroupError):
        opened.__enter__()
    assert [event.path for event in state.history] == ["0", "0"]


def test_a_state_lets_go_of_what_its_tasks_were_given() -> None:
    class Data:
        pass

    def nested(data: Data) -> None:
        with parallel() as group:
            group.add(lambda data: None, data)

    def some() -> None:
        data = Data()
        gone.append(weakref.ref(data))
        with state.parallel() as group:
            group.add(lambda data: None, data)
            group.add(nested, data)

    gone: list[weakref.ref[Data]] = []
    state = ExecutionState()
    some()
    assert [event.path for event in state.history]
    some()
    gc.collect()
    assert gone[0]() is None
    assert state.history  # until somebody looks, the latest events have their tasks
    gc.collect()
    assert gone[1]() is None
