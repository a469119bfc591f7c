"""Who subscribes is told of everything, in order, and is in nobody's way."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    EventBus,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    SharedThreadPoolExecutor,
)
from task_pipeline import events as ev
from task_pipeline.engine import courier
from task_pipeline.engine.feed import Told
from task_pipeline.engine.mailbox import Mailbox
from task_pipeline.events import Event
from task_pipeline.testing import Gate

Context = PipelineContext[Any]
PATIENCE = 30.0


def a(context: Context) -> int:
    return 1


def b(context: Context) -> int:
    return 2


def fails(context: Context) -> None:
    raise ValueError("boom")


def kinds_of(events: Any) -> list[str]:
    return [type(event).__name__ for event in events]


def couriers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "task_pipeline-events"]


@pytest.fixture(autouse=True)
def _threads_of_earlier_tests_have_gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(courier, "IDLE", 0.01)
    yield
    for thread in couriers():
        thread.join(PATIENCE)
    assert couriers() == []


# Who is told of what


def test_each_subscriber_is_told_of_everything_in_order() -> None:
    bus = EventBus()
    told: list[list[Any]] = [[], [], []]
    for one in told:
        bus.subscribe(one.append)
    pipeline = Pipeline([a, [b, [a, b], a]], event_bus=bus)
    for _ in range(20):
        pipeline.run()
    assert told[0] == told[1] == told[2] == list(bus.history)
    for run in range(20):
        events = told[0][run * 16 : (run + 1) * 16]
        assert [event.seq for event in events] == list(range(16))
        assert len({event.run_id for event in events}) == 1


def test_events_of_runs_at_the_same_time_keep_their_order_each() -> None:
    bus, pool = EventBus(history=0), SharedThreadPoolExecutor(4)
    told: list[Any] = []
    bus.subscribe(told.append)
    pipeline = Pipeline([[a] * 20], event_bus=bus, executor=pool)
    for run in [pipeline.start() for _ in range(10)]:
        run.result(PATIENCE)
    by_run: dict[str, list[int]] = {}
    for event in told:
        by_run.setdefault(event.run_id, []).append(event.seq)
    assert len(by_run) == 10
    assert all(seqs == list(range(44)) for seqs in by_run.values())


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (ev.StepSucceeded, ["StepSucceeded"]),
        (ev.AttemptEnded, ["StepSucceeded", "StepFailed"]),
        ((ev.RunStarted, ev.RunEnded), ["RunStarted", "RunFailed"]),
        (iter([ev.RunFailed]), ["RunFailed"]),
        (ev.StepTimedOut, []),
    ],
)
def test_a_subscriber_of_some_kinds_is_told_of_those_and_what_is_below_them(
    kinds: Any, names: list[str]
) -> None:
    bus = EventBus()
    told: list[Any] = []
    bus.subscribe(told.append, kinds)
    with pytest.raises(ValueError, match="boom"):
        Pipeline([a, fails], event_bus=bus).run()
    assert kinds_of(told) == names


@pytest.mark.parametrize(
    "kinds", [int, (ev.RunEnded, int), "RunEnded", (), 5, ev.RunEnded.__name__]
)
def test_what_is_no_kind_of_event_is_refused(kinds: Any) -> None:
    bus = EventBus()
    for subscribe in (
        lambda: bus.subscribe(print, kinds),
        lambda: Pipeline([a]).subscribe(print, kinds),
        lambda: bus.stream(kinds),
        lambda: bus.stream(until=kinds),
    ):
        with pytest.raises(ConfigurationError, match=r"must be classes of task_pipeline\.events"):
            subscribe()
    assert not bus.couriers()


def test_settings_that_make_no_sense_are_refused() -> None:
    wrong: Any
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(ConfigurationError, match="history"):
            EventBus(history=wrong)
    for wrong in (-0.1, float("nan"), True, None, "1"):
        with pytest.raises(ConfigurationError, match="flush_timeout"):
            EventBus(flush_timeout=wrong)
    with pytest.raises(ConfigurationError, match="callable"):
        EventBus().subscribe("print")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(PipelineDefinitionError, match="event_bus must be an EventBus, not a list"):
        Pipeline([a], event_bus=[])  # type: ignore[arg-type]  # what is refused


def test_the_history_has_the_latest_events() -> None:
    bus = EventBus(history=3)
    Pipeline([a, b], event_bus=bus).run()
    assert [event.seq for event in bus.history] == [3, 4, 5]
    nothing = EventBus(history=0)
    Pipeline([a, b], event_bus=nothing).run()
    assert nothing.history == ()


def test_two_subscribers_and_the_history_share_each_event() -> None:
    bus = EventBus()
    one: list[Any] = []
    bus.subscribe(one.append)
    Pipeline([a], event_bus=bus).run()
    assert all(mine is kept for mine, kept in zip(one, bus.history, strict=True))


def test_an_event_of_ones_own_is_published_like_any_other() -> None:
    bus = EventBus()
    told: list[Any] = []
    Pipeline([a], event_bus=bus).run()
    recorded = [Event.from_json(event.to_json()) for event in bus.history]
    bus.subscribe(told.append, ev.RunEnded)
    for event in recorded:
        bus.publish(event)
    assert bus.flush(PATIENCE)
    assert told == recorded[-1:]


def test_who_subscribes_to_a_pipeline_is_told_of_its_runs_from_then_on() -> None:
    bus, gate = EventBus(), Gate()
    mine, others = (
        Pipeline([lambda context: gate.wait()], event_bus=bus, name=name) for name in ("m", "o")
    )
    told: list[Any] = []
    early = mine.start()
    gate.wait_until_reached()
    mine.subscribe(told.append, (ev.RunStarted, ev.RunEnded))
    gate.open()
    early.result(PATIENCE)
    others.run()
    assert told == []
    mine.run()
    assert [(event.name, type(event).__name__) for event in told] == [
        ("m", "RunStarted"),
        ("m", "RunSucceeded"),
    ]
    assert len(bus.history) == 12


def test_a_run_that_began_with_nobody_there_tells_nobody() -> None:
    bus, gate = EventBus(history=0), Gate()
    run = Pipeline([lambda context: gate.wait()], event_bus=bus).start()
    gate.wait_until_reached()
    told: list[Any] = []
    bus.subscribe(told.append)
    gate.open()
    run.result(PATIENCE)
    assert bus.flush(PATIENCE)
    assert told == []


# Unsubscribing


def test_what_was_published_before_unsubscribing_is_delivered_and_nothing_after() -> None:
    bus, gate = EventBus(flush_timeout=0.0), Gate()
    told: list[Any] = []
    delivered = threading.Event()

    def slow(event: Event) -> None:
        gate.wait()
        told.append(event)
        if isinstance(event, ev.RunEnded):
            delivered.set()

    pipeline = Pipeline([a], event_bus=bus)
    with bus.subscribe(slow) as subscription:
        pipeline.run()
    pipeline.run()
    subscription.unsubscribe()
    gate.open()
    assert delivered.wait(PATIENCE)
    assert told == list(bus.history[:4])


def test_who_unsubscribes_from_a_pipeline_is_told_nothing_more_of_the_run_under_way() -> None:
    pipeline, gate = Pipeline([lambda context: gate.wait()]), Gate()
    told: list[Any] = []
    gone = pipeline.subscribe(told.append)
    stays: list[Any] = []
    pipeline.subscribe(stays.append)
    run = pipeline.start()
    gate.wait_until_reached()
    gone.unsubscribe()
    gate.open()
    run.result(PATIENCE)
    for thread in couriers():
        thread.join(PATIENCE)
    assert kinds_of(told) == ["RunStarted", "StepStarted"] and len(stays) == 4


def test_a_subscriber_may_unsubscribe_and_subscribe_others_while_it_is_called() -> None:
    bus = EventBus()
    first: list[Any] = []
    second: list[Any] = []

    def once(event: Event) -> None:
        first.append(event)
        subscription.unsubscribe()
        bus.subscribe(second.append)

    subscription = bus.subscribe(once, ev.RunEnded)
    pipeline = Pipeline([a], event_bus=bus)
    for _ in range(2):
        pipeline.run()
    assert kinds_of(first) == ["RunSucceeded"]
    assert kinds_of(second) == ["RunStarted", "StepStarted", "StepSucceeded", "RunSucceeded"]


def test_after_close_nothing_is_published_and_what_was_is_delivered() -> None:
    bus, gate = EventBus(flush_timeout=0.0), Gate()
    told: list[Any] = []
    delivered = threading.Event()

    def slow(event: Event) -> None:
        gate.wait()
        told.append(event)
        if isinstance(event, ev.RunEnded):
            delivered.set()

    bus.subscribe(slow)
    pipeline = Pipeline([a], event_bus=bus)
    pipeline.run()
    bus.close()
    bus.close()
    pipeline.run()
    bus.publish(bus.history[0])
    gate.open()
    assert delivered.wait(PATIENCE)
    assert told == list(bus.history) and len(told) == 4
    with pytest.raises(ConfigurationError, match="was closed"):
        bus.subscribe(told.append)
    with pytest.raises(ConfigurationError, match="was closed"):
        bus.stream()


# Nobody is in the way


def test_a_slow_subscriber_delays_nothing_and_catches_up(caplog: pytest.LogCaptureFixture) -> None:
    bus, gate = EventBus(flush_timeout=0.01), Gate()
    told: list[Any] = []
    quick: list[Any] = []

    def slow(event: Event) -> None:
        gate.wait()
        told.append(event)

    bus.subscribe(slow)
    bus.subscribe(quick.append)
    context: Context = PipelineContext()
    Pipeline([a, [b, a]], event_bus=bus).run(context)
    assert context.results == {"a": 1, "b": 2, "a#2": 1}
    assert told == [] and quick == list(bus.history)
    (record,) = [record for record in caplog.records if record.name == "task_pipeline.events"]
    assert record.levelno == logging.WARNING
    assert "slow" in record.getMessage() and "is 10 events behind" in record.getMessage()
    gate.open()
    assert bus.flush(PATIENCE)
    assert told == quick


@pytest.mark.parametrize("way", ["raises", "exits", "result", "arun"])
def test_every_way_to_wait_for_a_run_waits_for_subscribers(way: str) -> None:
    import asyncio

    bus = EventBus(flush_timeout=PATIENCE)
    told: list[Any] = []
    over = threading.Event()

    def behind(event: Event) -> None:
        assert over.wait(PATIENCE)
        told.append(event)

    bus.subscribe(behind)
    error = SystemExit if way == "exits" else ValueError
    if way in ("raises", "exits"):

        def end(context: Context) -> None:
            over.set()
            raise error("boom")

        with pytest.raises(error, match="boom"):
            Pipeline([end], event_bus=bus).run()
    elif way == "result":
        Pipeline([lambda context: over.set()], event_bus=bus).start().result(PATIENCE)
    else:
        asyncio.run(Pipeline([lambda context: over.set()], event_bus=bus).arun())
    assert told == list(bus.history) and isinstance(told[-1], ev.RunEnded)


def test_the_result_waits_but_once_for_who_is_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, gate = EventBus(flush_timeout=0.01), Gate()
    bus.subscribe(lambda event: gate.wait())
    run = Pipeline([a], event_bus=bus).start()
    run.result(PATIENCE)
    run.result(PATIENCE)
    assert sum("events behind" in record.message for record in caplog.records) == 1
    gate.open()


@pytest.mark.parametrize("is_here", [True, False])
def test_an_interrupt_waits_for_no_subscriber(
    is_here: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bus, gate = EventBus(flush_timeout=PATIENCE), Gate(patience=5.0)
    waiting = threading.Event()

    def interrupted(context: Context) -> None:
        assert waiting.wait(PATIENCE)
        raise KeyboardInterrupt

    def slow(event: Event) -> None:
        waiting.set()
        gate.wait()

    bus.subscribe(slow)
    pipeline = Pipeline([interrupted], event_bus=bus)
    with pytest.raises(KeyboardInterrupt):
        if is_here:
            pipeline.run()
        else:
            pipeline.start().result(PATIENCE)
    gate.open()
    assert bus.flush(PATIENCE)
    assert "raised" not in caplog.text  # it would have waited until the gate's patience ended


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_subscriber_raises_is_logged_with_its_name(
    error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(event: Event) -> None:
        raise error

    async def async_odd(event: Event) -> None:
        raise error

    bus = EventBus()
    told: list[Any] = []
    bus.subscribe(async_odd if is_async else odd)
    bus.subscribe(told.append)
    context: Context = PipelineContext()
    with pytest.raises(ParallelGroupError):
        Pipeline([a, [b, fails]], event_bus=bus).run(context)
    assert context.results == {"a": 1, "b": 2} and len(context.errors) == 1
    assert told == list(bus.history)
    records = [record for record in caplog.records if "an observer raised" in record.message]
    assert len(records) == len(told)
    assert {record.name for record in records} == {"task_pipeline.events"}
    assert all(record.exc_info and record.exc_info[1] is error for record in records)
    assert all("odd" in record.message for record in records)


def test_a_log_that_raises_stops_no_subscriber() -> None:
    bus = EventBus()
    told: list[Any] = []

    def odd(event: Event) -> None:
        told.append(event)
        raise ValueError

    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError("the log is broken")

    bus.subscribe(odd)
    courier.logger.addFilter(broken)
    try:
        Pipeline([a], event_bus=bus).run()
    finally:
        courier.logger.removeFilter(broken)
    assert len(told) == 4


def test_a_subscriber_that_asks_for_the_status_waits_for_nobody() -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    pipeline = Pipeline([a, [a, b]], event_bus=bus)
    seen: list[float] = []
    bus.subscribe(lambda event: seen.append(pipeline.get_status()["progress"]))
    pipeline.run()
    assert seen == sorted(seen) and seen[-1] == 100.0 and len(seen) == 10


def test_a_pipeline_that_runs_in_a_subscriber_does_not_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = EventBus(flush_timeout=PATIENCE)
    names: list[str] = []

    def again(event: Event) -> None:
        names.append(event.name)
        if event.name == "outer":
            Pipeline([a], event_bus=bus, name="inner").run()
            names.append("flushed" if bus.flush(0.0) else "behind")

    bus.subscribe(again, ev.RunEnded)
    Pipeline([a], event_bus=bus, name="outer").run()
    assert bus.flush(PATIENCE)
    assert names == ["outer", "flushed", "inner"]
    assert "behind" not in caplog.text


def test_a_step_is_not_held_up_by_who_the_run_around_it_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, gate = EventBus(flush_timeout=PATIENCE), Gate(patience=5.0)
    bus.subscribe(lambda event: gate.wait())

    def nested(context: Context) -> None:
        Pipeline([a], event_bus=bus).run()
        gate.open()

    Pipeline([nested], event_bus=bus).run()
    assert bus.flush(0.0)
    assert "raised" not in caplog.text  # it would have waited until the gate's patience ended


# Threads


def test_a_thread_without_events_goes_and_another_comes() -> None:
    bus = EventBus()
    names: list[threading.Thread] = []
    bus.subscribe(lambda event: names.append(threading.current_thread()), ev.RunEnded)
    pipeline = Pipeline([a], event_bus=bus)
    for _ in range(3):
        pipeline.run()
        names[-1].join(PATIENCE)
        assert not names[-1].is_alive()
    assert len(set(names)) == 3


def test_a_bus_that_nobody_holds_is_let_go() -> None:
    bus = EventBus()
    bus.subscribe(lambda event: None)
    Pipeline([a], event_bus=bus).run()
    gone = weakref.ref(bus)
    for thread in couriers():
        thread.join(PATIENCE)
    del bus
    gc.collect()
    assert gone() is None


def test_a_burst_from_many_threads_is_delivered_to_the_last_event() -> None:
    """Each event may find its reader at any point of falling asleep."""
    bus = EventBus()
    Pipeline([a], event_bus=bus).run()
    event, told = bus.history[0], [0]

    def count(event: Event) -> None:
        told[0] += 1

    bus.subscribe(count)

    def publish() -> None:
        for _ in range(300):
            bus.publish(event)
            assert bus.flush(PATIENCE)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert told == [1200]


class Late(list[Any]):
    """Where a reader leaves its waker: an event comes at the moment that it does, unseen."""

    def __init__(self, box: Mailbox, moment: int, item: Any) -> None:
        super().__init__(box.sleeping)
        self._box = box
        self._left = moment
        self._item = item

    def append(self, waker: Any) -> None:
        self._left -= 1
        if self._left == 0:  # put there by who has looked before whether anybody sleeps
            self._box.items.append(self._item)
        super().append(waker)


@pytest.mark.parametrize("moment", [1, 2])
def test_an_event_that_comes_while_its_reader_falls_asleep_is_delivered(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment it begins to wait, and at the moment the thread goes."""
    if moment == 1:  # not to be had by the look that the thread takes when it goes
        monkeypatch.setattr(courier, "IDLE", PATIENCE)
    bus = EventBus()
    told: list[Event] = []
    both = threading.Event()

    def note(event: Event) -> None:
        told.append(event)
        if len(told) == 2:
            both.set()

    Pipeline([a], event_bus=bus).run()
    event = bus.history[0]
    bus.subscribe(note)
    box = bus.couriers()[0].mailbox
    box.sleeping = Late(box, moment, Told(type(event), None, event))
    bus.publish(event)
    assert both.wait(PATIENCE / 2)
    monkeypatch.setattr(courier, "IDLE", 0.01)
    bus.publish(event)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_each_process_delivers_its_own_events() -> None:
    bus, gate = EventBus(flush_timeout=0.0), Gate()
    reader, writer = os.pipe()

    def note(event: Event) -> None:
        gate.wait()
        os.write(writer, f"{os.getpid()} {event.name}\n".encode())

    bus.subscribe(note, ev.RunStarted)
    for _ in range(2):  # the first is being delivered, the second waits
        Pipeline([a], event_bus=bus, name="before").run()
    child = os.fork()
    if child == 0:
        try:
            gate.open()
            Pipeline([a], event_bus=bus, name="child").run()
            os._exit(0 if bus.flush(PATIENCE) else 1)
        finally:  # whatever it raises, the child does not go on with the tests
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    gate.open()
    assert bus.flush(PATIENCE)
    os.close(writer)
    with os.fdopen(reader) as lines:
        before = f"{os.getpid()} before\n"
        assert sorted(lines) == sorted([f"{child} child\n", before, before])


# Copies


def test_a_copy_of_a_pipeline_tells_its_bus_and_not_who_subscribed() -> None:
    bus = EventBus()
    told: list[Any] = []
    pipeline = Pipeline([a], event_bus=bus)
    pipeline.subscribe(told.append)
    copies: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
    for make in copies:
        before = len(bus.history)
        make(pipeline).run()
        assert len(bus.history) == before + 4 and told == []
    pipeline.run()
    assert len(told) == 4
    pickled = pickle.loads(pickle.dumps(pipeline))
    pickled.run()
    assert len(told) == 4 and len(bus.history) == 12


def test_a_pickled_bus_has_the_settings_and_nobody_there() -> None:
    bus = EventBus(history=7, flush_timeout=3)
    bus.subscribe(print)
    again = pickle.loads(pickle.dumps(bus))
    assert again.flush_timeout == 3.0 and not again.couriers()
    Pipeline([[a] * 5], event_bus=again).run()
    assert len(again.history) == 7
