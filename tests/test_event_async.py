"""Subscribers that are coroutines, and events for an `async for`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from task_pipeline import EventBus, Pipeline, PipelineContext
from task_pipeline import events as ev
from task_pipeline.engine import courier
from task_pipeline.events import Event
from task_pipeline.testing import Gate

Context = PipelineContext[Any]
PATIENCE = 30.0


def a(context: Context) -> int:
    return 1


def kinds_of(events: Any) -> list[str]:
    return [type(event).__name__ for event in events]


ALL = ["RunStarted", "StepStarted", "StepSucceeded", "RunSucceeded"]


# Coroutines


def test_a_coroutine_is_awaited_on_the_loop_it_subscribed_on_one_event_after_another() -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    story: list[Any] = []

    async def listen(event: Event) -> None:
        story.append(("begins", event.seq, asyncio.get_running_loop()))
        await asyncio.sleep(0)  # the step's work
        story.append(("ends", event.seq, asyncio.get_running_loop()))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bus.subscribe(listen)
        await Pipeline([a], event_bus=bus).arun()
        assert story == [(what, seq, loop) for seq in range(4) for what in ("begins", "ends")]

    asyncio.run(main())


class Awaits:
    """A callable that returns something to be awaited."""

    def __init__(self, story: list[Any]) -> None:
        self._story = story

    def __call__(self, event: Event) -> Awaitable[None]:
        async def listen() -> None:
            await asyncio.sleep(0)  # the step's work
            self._story.append((type(event).__name__, threading.current_thread().name))

        return listen()


def test_without_a_loop_it_is_awaited_on_one_of_its_own() -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    story: list[Any] = []
    bus.subscribe(Awaits(story))
    Pipeline([a], event_bus=bus).run()
    assert story == [(kind, "task_pipeline-events") for kind in ALL]


def test_when_its_loop_has_ended_it_goes_on_with_one_of_its_own() -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    story: list[Any] = []

    async def main() -> None:
        bus.subscribe(Awaits(story))
        await Pipeline([a], event_bus=bus).arun()

    asyncio.run(main())
    assert [thread for _, thread in story] == [threading.current_thread().name] * 4
    Pipeline([a], event_bus=bus).run()
    assert [thread for _, thread in story[4:]] == ["task_pipeline-events"] * 4


def test_its_own_loop_outlives_its_thread_and_goes_with_it_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "IDLE", 0.01)
    bus = EventBus(flush_timeout=PATIENCE)
    loops: list[asyncio.AbstractEventLoop] = []
    threads: list[threading.Thread] = []

    async def listen(event: Event) -> None:
        loops.append(asyncio.get_running_loop())
        threads.append(threading.current_thread())

    bus.subscribe(listen)
    pipeline = Pipeline([a], event_bus=bus)
    for _ in range(2):
        pipeline.run()
        threads[-1].join(PATIENCE)
    assert len(set(threads)) == 2 and len(set(loops)) == 1
    assert not loops[0].is_closed()
    del bus, pipeline
    gc.collect()
    assert loops[0].is_closed()


def test_a_loop_that_the_run_itself_blocks_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = EventBus(flush_timeout=10 * PATIENCE)  # to wait for it would end the test
    told: list[Event] = []

    async def listen(event: Event) -> None:
        told.append(event)

    async def main() -> None:
        bus.subscribe(listen)
        Pipeline([a], event_bus=bus).run()
        assert told == []
        assert await bus.aflush(PATIENCE)

    asyncio.run(main())
    assert [type(event).__name__ for event in told] == ALL
    assert "behind" not in caplog.text


def test_what_turns_out_to_await_a_blocked_loop_is_not_waited_for_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = EventBus(flush_timeout=0.05)
    story: list[Any] = []

    async def main() -> None:
        bus.subscribe(Awaits(story))
        Pipeline([a], event_bus=bus).run()
        assert story == []
        assert await bus.aflush(PATIENCE)

    asyncio.run(main())
    assert [kind for kind, _ in story] == ALL
    assert "is 4 events behind" in caplog.text


def test_a_loop_that_stops_before_a_call_is_stood_in_for() -> None:
    bus = EventBus(flush_timeout=0.05)
    story: list[Any] = []

    async def main() -> None:
        bus.subscribe(Awaits(story))
        Pipeline([a], event_bus=bus).run()  # on the loop, which ends without having come to it

    asyncio.run(main())
    assert bus.flush(PATIENCE)
    assert [kind for kind, _ in story] == ALL


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_loop_that_stops_in_the_middle_of_a_call_costs_that_call(
    is_closed: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PATIENCE", 0.1)
    bus = EventBus(flush_timeout=0.0)
    told: list[str] = []

    async def main() -> None:
        inside = asyncio.Event()

        async def listen(event: Event) -> None:
            if isinstance(event, ev.RunStarted):
                inside.set()
                await asyncio.Event().wait()
            told.append(type(event).__name__)

        bus.subscribe(listen)
        await Pipeline([a], event_bus=bus).arun()
        await inside.wait()

    if is_closed:
        asyncio.run(main())
    else:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    assert bus.flush(PATIENCE)
    assert told == ALL[1:]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "an observer raised" in record.message
    if not is_closed:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))  # the step's work
        loop.close()


def test_an_exit_in_a_coroutine_does_not_end_the_loop() -> None:
    bus = EventBus(flush_timeout=PATIENCE)

    async def leave(event: Event) -> None:
        raise SystemExit(3)

    async def main() -> str:
        bus.subscribe(leave)
        await Pipeline([a], event_bus=bus).arun()
        return "here"

    assert asyncio.run(main()) == "here"


def test_the_loop_goes_on_while_a_run_waits_for_subscribers() -> None:
    bus, gate = EventBus(flush_timeout=PATIENCE), Gate()
    bus.subscribe(lambda event: gate.wait())

    async def main() -> None:
        run = asyncio.ensure_future(Pipeline([a], event_bus=bus).arun())
        while not bus.history or not isinstance(bus.history[-1], ev.RunEnded):
            await asyncio.sleep(0)  # the step's work
        await asyncio.sleep(0.01)  # the step's work
        assert not run.done()
        assert not await bus.aflush(0.0)
        gate.open()
        await run
        assert await bus.aflush()

    asyncio.run(main())


def test_an_arun_in_a_coroutine_subscriber_does_not_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    names: list[str] = []

    async def again(event: Event) -> None:
        names.append(event.name)
        if event.name == "outer":
            await Pipeline([a], event_bus=bus, name="inner").arun()

    async def main() -> None:
        bus.subscribe(again, ev.RunEnded)
        await Pipeline([a], event_bus=bus, name="outer").arun()
        await bus.aflush(PATIENCE)

    asyncio.run(main())
    assert names == ["outer", "inner"]
    assert "behind" not in caplog.text


def test_an_arun_that_is_cancelled_leaves_a_slow_subscriber_alone() -> None:
    bus, gate, inside = EventBus(flush_timeout=PATIENCE), Gate(), threading.Event()
    told: list[Any] = []
    bus.subscribe(told.append)

    async def stays(context: Context) -> None:
        inside.set()
        await asyncio.Event().wait()

    async def main() -> None:
        run = asyncio.ensure_future(Pipeline([stays], event_bus=bus).arun())
        await asyncio.to_thread(inside.wait, PATIENCE)
        bus.subscribe(lambda event: gate.wait())
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(run, PATIENCE / 2)

    asyncio.run(main())
    gate.open()
    assert bus.flush(PATIENCE)
    assert told == list(bus.history) and "RunCancelled" in kinds_of(told)


# Streams


def streamed(read: Callable[[EventBus], Any]) -> Any:
    """What `read` makes of a bus while a pipeline runs."""
    bus = EventBus()

    async def main() -> Any:
        reading = asyncio.ensure_future(read(bus))
        await asyncio.sleep(0)  # the step's work
        run = Pipeline([a, a], event_bus=bus).start()
        result = await asyncio.wait_for(reading, PATIENCE)
        run.result(PATIENCE)
        return result

    result = asyncio.run(main())
    assert not bus._readers
    return result


def test_a_stream_has_the_events_in_order_until_the_one_it_is_to_end_with() -> None:
    async def read(bus: EventBus) -> list[Event]:
        return [event async for event in bus.stream(until=ev.RunEnded)]

    events = streamed(read)
    assert [event.seq for event in events] == list(range(6))


def test_a_stream_of_some_kinds() -> None:
    async def read(bus: EventBus) -> list[Event]:
        kinds = (ev.StepSucceeded, ev.RunEnded)
        return [event async for event in bus.stream(kinds, until=(ev.RunFailed, ev.RunSucceeded))]

    assert kinds_of(streamed(read)) == ["StepSucceeded"] * 2 + ["RunSucceeded"]


def test_a_stream_that_is_left_takes_nothing_more() -> None:
    async def read(bus: EventBus) -> list[str]:
        seen = []
        async for event in bus.stream():
            seen.append(type(event).__name__)
            if len(seen) == 2:
                break
        return seen

    assert streamed(read) == ["RunStarted", "StepStarted"]


def test_a_stream_begins_when_it_is_made() -> None:
    bus = EventBus()

    async def main() -> list[Event]:
        events = bus.stream(until=ev.RunEnded)
        await Pipeline([a], event_bus=bus).arun()
        return [event async for event in events]

    assert kinds_of(asyncio.run(main())) == ALL


def test_a_closed_bus_ends_its_streams_after_what_was_published() -> None:
    bus = EventBus()

    async def main() -> list[list[str]]:
        waiting = bus.stream()
        readers = [asyncio.ensure_future(all_of(waiting)) for _ in range(2)]
        late = bus.stream()
        await asyncio.sleep(0)  # the step's work
        await Pipeline([a], event_bus=bus).arun()
        bus.close()
        both = await asyncio.wait_for(asyncio.gather(*readers), PATIENCE)
        return [sorted(both[0] + both[1]), await all_of(late)]

    shared, late = asyncio.run(main())
    assert shared == sorted(ALL) and late == ALL


async def all_of(stream: Any) -> list[str]:
    return [type(event).__name__ async for event in stream]


def test_a_stream_that_is_closed_is_over_for_whoever_waits_at_it() -> None:
    bus = EventBus()

    async def main() -> None:
        stream = bus.stream()
        reading = asyncio.ensure_future(all_of(stream))
        await asyncio.sleep(0)  # the step's work
        async with contextlib.aclosing(stream):
            pass
        assert await asyncio.wait_for(reading, PATIENCE) == []

    asyncio.run(main())
    assert not bus.history and not bus._readers


def test_a_reader_that_is_cancelled_takes_no_event_from_the_others() -> None:
    bus = EventBus()
    Pipeline([a], event_bus=bus).run()
    event = bus.history[0]

    async def main() -> None:
        stream = bus.stream()
        one, two = (asyncio.ensure_future(anext(stream)) for _ in range(2))
        await asyncio.sleep(0)  # the step's work
        bus.publish(event)  # it wakes one of them, which is cancelled before it can look
        two.cancel()
        assert await asyncio.wait_for(one, PATIENCE) is event
        with pytest.raises(asyncio.CancelledError):
            await two

    asyncio.run(main())


def test_a_stream_holds_up_no_run() -> None:
    bus = EventBus(flush_timeout=PATIENCE)

    async def main() -> None:
        stream = bus.stream()
        await asyncio.wait_for(Pipeline([a], event_bus=bus).arun(), PATIENCE / 2)
        await stream.aclose()
        assert bus.flush(0.0)

    asyncio.run(main())
