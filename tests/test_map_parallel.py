"""`map_parallel`: a function over any iterable, lazily, with only some items under way."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from task_pipeline import (
    CircuitOpenError,
    ConfigurationError,
    EventBus,
    ExecutionResult,
    GroupTimeoutError,
    Outcome,
    Pipeline,
    PipelineConfig,
    SharedThreadPoolExecutor,
    map_parallel,
    parallel,
)
from task_pipeline.testing import Gate, ManualClock

PATIENCE = 10.0


class Boom(Exception):
    """What a call raises."""


def fails_on(*numbers: int) -> Callable[[int], int]:
    def work(number: int) -> int:
        if number in numbers:
            raise Boom(f"at {number}")
        return number

    return work


def after(gate: Gate, value: Any) -> Any:
    """A value, once the gate is open."""
    gate.wait()
    return value


async def adouble(number: int) -> int:
    await asyncio.sleep(0)  # the step's work
    return 2 * number


class Counted:
    """Endless items, and how many of them were taken; closed when nobody wants any more."""

    def __init__(self, end: int | None = None) -> None:
        self.taken = 0
        self.is_closed = False
        self._end = end

    def __iter__(self) -> Iterator[int]:
        try:
            for number in itertools.count():
                if number == self._end:
                    return
                self.taken += 1
                yield number
        finally:
            self.is_closed = True


def values(results: Any) -> list[Any]:
    return [result.unwrap() for result in results]


def settled(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        threading.Event().wait(0.001)


# Order


def test_results_come_in_the_order_of_the_items() -> None:
    gates = [Gate() for _ in range(3)]

    def work(number: int) -> int:
        gates[number].wait()
        if number:
            gates[number - 1].open()
        return number

    gates[2].open()
    results = list(map_parallel(work, range(3), max_workers=3))
    assert [(result.index, result.result) for result in results] == [(0, 0), (1, 1), (2, 2)]
    assert all(type(result) is ExecutionResult and result.attempts == 1 for result in results)


def test_results_come_as_calls_end_if_that_is_wished() -> None:
    gates = [Gate() for _ in range(3)]
    results = map_parallel(lambda n: after(gates[n], n), range(3), max_workers=3, ordered=False)
    order = []
    for number in (2, 0, 1):
        gates[number].open()
        order.append(next(results).unwrap())
    assert order == [2, 0, 1]
    assert list(results) == []


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 9, 500])
def test_every_item_has_its_result_once(count: int, ordered: bool) -> None:
    found = values(map_parallel(abs, range(count), max_workers=2, ordered=ordered))
    assert (found if ordered else sorted(found)) == list(range(count))


def test_coroutine_functions_and_functions_of_every_kind() -> None:
    assert values(map_parallel(adouble, range(5))) == [0, 2, 4, 6, 8]
    assert values(map_parallel(lambda n: adouble(n), (1, 2))) == [2, 4]
    assert values(map_parallel(str.upper, "ab")) == ["A", "B"]
    assert values(map_parallel(len, {"a": 1, "bc": 2})) == [1, 2]
    assert list(map_parallel(print, [])) == []
    assert values(map_parallel([].append, iter([1]))) == [None]


# Laziness


@pytest.mark.parametrize("look_ahead", [None, 1, 3, 10])
def test_only_as_many_items_are_taken_as_look_ahead_says(look_ahead: int | None) -> None:
    items, most = Counted(), 4 if look_ahead is None else look_ahead
    results = map_parallel(abs, items, max_workers=2, look_ahead=look_ahead)
    assert items.taken == 0  # nothing before the first result is asked for
    for given in range(1, 30):
        assert next(results).unwrap() == given - 1
        assert items.taken <= most + given
    results.close()


def test_the_look_ahead_is_used_while_the_first_result_is_waited_for() -> None:
    items, gate = Counted(), Gate()
    results = map_parallel(lambda n: after(gate, n), items, max_workers=2, look_ahead=5)
    thread = threading.Thread(target=lambda: next(results), daemon=True)
    thread.start()
    gate.wait_until_reached(2)
    assert items.taken == 5
    gate.open()
    thread.join(PATIENCE)
    results.close()


def test_no_more_calls_run_at_once_than_max_workers() -> None:
    lock, inside, peak = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=PATIENCE)

    def work(number: int) -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        together.wait()
        with lock:
            inside -= 1

    assert len(list(map_parallel(work, range(30), max_workers=3, look_ahead=30))) == 30
    assert peak == 3


@pytest.mark.no_cover
def test_memory_is_bounded_over_20_000_items() -> None:
    class Item:
        def __init__(self) -> None:
            self.weight = bytes(10_000)

    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Item]:
        nonlocal most
        for _ in range(20_000):
            item = Item()
            alive.add(item)
            most = max(most, len(alive))
            yield item

    results = map_parallel(lambda item: item, items(), max_workers=4)
    next(results)
    tracemalloc.start()
    try:
        for count, result in enumerate(results):
            del result
            if count == 1000:
                before, _ = tracemalloc.get_traced_memory()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del results
    assert most < 30
    assert after - before < 2_000_000 and peak < 4_000_000
    settled(lambda: gc.collect() >= 0 and len(alive) == 0)


def test_items_are_let_go_in_a_step_that_is_watched_too() -> None:
    class Item:
        pass

    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Item]:
        nonlocal most
        for _ in range(2_000):
            item = Item()
            alive.add(item)
            most = max(most, len(alive))
            if len(alive) % 100 == 0:
                bus.flush()  # what waits for the subscriber is kept until it is called
            yield item

    def crawl(context: Any) -> None:
        for _ in context.parallel(max_workers=2).map(lambda item: None, items()):
            pass

    bus = EventBus(history=10)
    pipeline = Pipeline([crawl], event_bus=bus)
    with bus.subscribe(lambda event: event.path):
        pipeline.run()
    assert most < 300
    settled(lambda: gc.collect() >= 0 and len(alive) == 0)


# Ending early


@pytest.mark.parametrize("way", ["break", "close", "raise", "drop"])
def test_leaving_early_cancels_the_rest_and_closes_the_items(way: str) -> None:
    items, gate, calls = Counted(), Gate(), []

    def work(number: int) -> int:
        calls.append(number)
        if number:
            gate.wait()
        return number

    def leave() -> None:
        results = map_parallel(work, iter(items), max_workers=2, look_ahead=6)
        for result in results:
            assert result.unwrap() == 0
            gate.wait_until_reached(2)
            if way == "close":
                results.close()
                assert list(results) == []
                assert items.is_closed
            if way == "raise":
                raise Boom
            break

    if way == "raise":
        with pytest.raises(Boom):
            leave()
    elif way == "drop":
        results = map_parallel(work, iter(items), max_workers=2, look_ahead=6)
        next(results)
        gate.wait_until_reached(2)
        del results
    else:
        leave()
    settled(lambda: items.is_closed)
    gate.open()
    values(map_parallel(abs, range(20), max_workers=2))
    assert sorted(calls) == [0, 1, 2]


def test_results_that_nobody_asked_for_begin_nothing() -> None:
    items = Counted()
    results = map_parallel(abs, items)
    results.close()
    assert list(results) == [] and items.taken == 0


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_iterable_that_raises_cancels_the_rest_and_raises(after: int) -> None:
    def items() -> Iterator[int]:
        yield from range(after)
        raise Boom("in the items")

    results = map_parallel(abs, items(), max_workers=1, look_ahead=2)
    with pytest.raises(Boom, match="in the items"):
        values(results)
    assert list(results) == []


def test_items_that_are_taken_from_a_map_in_turn() -> None:
    inner = map_parallel(abs, range(20), max_workers=2)
    outer = map_parallel(lambda result: result.unwrap() + 1, inner, max_workers=2)
    assert values(outer) == list(range(1, 21))


# Failures


@pytest.mark.parametrize("ordered", [True, False])
def test_failures_are_collected(ordered: bool) -> None:
    results = list(map_parallel(fails_on(1, 3), range(5), max_workers=1, ordered=ordered))
    assert [result.ok for result in results] == [True, False, True, False, True]
    assert results[1].error_message == "at 1" and results[3].status is Outcome.FAILED


@pytest.mark.parametrize("ordered", [True, False])
def test_failures_are_skipped(ordered: bool) -> None:
    results = map_parallel(fails_on(0, 1, 4), range(5), on_error="skip", ordered=ordered)
    assert sorted(values(results)) == [2, 3]
    everything = fails_on(*range(50))
    assert list(map_parallel(everything, range(50), on_error="skip", ordered=ordered)) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_the_first_failure_is_raised_and_cancels_the_rest(ordered: bool) -> None:
    items, found = Counted(), itertools.count()
    results = map_parallel(
        fails_on(7, 8), items, max_workers=1, on_error="fail_fast", ordered=ordered
    )
    with pytest.raises(Boom, match="at 7") as raised:
        for result in results:
            assert result.unwrap() == next(found)
    assert items.taken < 20 and (next(found) == 7 or not ordered)
    assert "task 'work[7]' of group" in raised.value.__notes__[0]


def test_a_failure_is_raised_without_waiting_for_calls_before_it_if_order_does_not_matter() -> None:
    gate = Gate()

    def work(number: int) -> None:
        if number == 0:
            gate.wait()
        raise Boom

    results = map_parallel(work, range(2), max_workers=2, ordered=False, on_error="fail_fast")
    with pytest.raises(Boom):
        next(results)
    assert list(results) == []
    gate.open()


def test_a_map_has_no_breaker_unless_it_is_given_one() -> None:
    everything = fails_on(*range(20))
    plain = list(map_parallel(everything, range(20), max_workers=1))
    assert {type(result.error) for result in plain} == {Boom}
    guarded = list(map_parallel(everything, range(20), max_workers=1, circuit_breaker_threshold=2))
    assert [type(result.error) for result in guarded] == [Boom] * 2 + [CircuitOpenError] * 18


def test_retries_and_names_of_options() -> None:
    failures = iter([Boom(), Boom()])

    def work(number: int) -> int:
        for error in failures:
            raise error
        return number

    (result,) = map_parallel(work, [5], max_retries=2, retry_delay=0.0, name="docs")
    assert (result.unwrap(), result.attempts) == (5, 3)


def test_a_timeout_marks_what_has_not_ended() -> None:
    gate, clock = Gate(), ManualClock()
    with clock.installed():
        results = map_parallel(
            lambda number: number and after(gate, 1), range(3), max_workers=1, timeout=30.0
        )
        assert next(results).ok
        gate.wait_until_reached()
        clock.advance(30.0)
        rest = list(results)
    gate.open()
    assert all(isinstance(result.error, GroupTimeoutError) for result in rest) and rest


@pytest.mark.parametrize(
    ("function", "items", "options", "text"),
    [
        (None, [1], {}, "function must be callable"),
        (abs, 5, {}, "items must be iterable, not a int"),
        (abs, [1], {"on_error": "ignore"}, 'on_error must be "collect"'),
        (abs, [1], {"look_ahead": 0}, "look_ahead must be a whole number from 1"),
        (abs, [1], {"look_ahead": True}, "not True"),
        (abs, [1], {"look_ahead": 2.5}, "not 2.5"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    function: Any, items: Any, options: Any, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        map_parallel(function, items, **options)


def test_the_map_of_a_group_is_the_same() -> None:
    results = parallel(max_workers=2).map(
        fails_on(2), range(5), ordered=False, on_error="skip", look_ahead=1
    )
    assert values(results) == [0, 1, 3, 4]


# On an event loop


def test_async_for_takes_results_and_leaves_the_loop_free() -> None:
    gate = Gate()

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        results = map_parallel(lambda n: after(gate, n), range(5), max_workers=2)
        loop.call_later(0.001, gate.open)
        found = [result.unwrap() async for result in results]
        found += [result.unwrap() async for result in map_parallel(adouble, range(3))]
        return found

    assert asyncio.run(run()) == [0, 1, 2, 3, 4, 0, 2, 4]


def test_coroutines_run_on_the_loop_that_takes_their_results() -> None:
    async def thread(_: int) -> int:
        return threading.get_ident()

    async def run() -> set[int]:
        return {result.unwrap() async for result in map_parallel(thread, range(5))}

    assert asyncio.run(run()) == {threading.get_ident()}


@pytest.mark.parametrize("way", ["break", "cancel", "aclose"])
def test_leaving_async_for_early_cancels_the_rest(way: str) -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(60 if number else 0)  # the step's work
        finally:
            ended.append(number)

    async def run() -> None:
        items = Counted()
        kept = [map_parallel(work, items, max_workers=3)]

        async def take() -> None:
            async for _ in kept[0]:
                if way != "cancel":
                    break

        task = asyncio.create_task(take())
        while len(ended) < 1:
            await asyncio.sleep(0)  # the step's work
        if way == "cancel":
            await asyncio.sleep(0.01)  # the step's work
            task.cancel()
        await asyncio.wait([task])
        if way == "aclose":
            await kept[0].aclose()
        kept.clear()
        while len(asyncio.all_tasks()) > 2:  # with the one that waits for this
            await asyncio.sleep(0)  # the step's work

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert ended[0] == 0 and len(ended) >= 3


def test_every_way_to_fail_on_a_loop() -> None:
    async def work(number: int) -> int:
        return fails_on(2)(number)

    async def run(on_error: Any) -> list[Any]:
        found: list[Any] = []
        results = map_parallel(work, range(4), max_workers=1, on_error=on_error)
        try:
            while True:
                found.append((await anext(results)).ok)
        except StopAsyncIteration:
            return found
        except Boom as error:
            return [*found, str(error)]

    assert asyncio.run(run("collect")) == [True, True, False, True]
    assert asyncio.run(run("skip")) == [True, True, True]
    assert asyncio.run(run("fail_fast")) == [True, True, "at 2"]


async def numbers() -> AsyncIterator[int]:
    yield 1


def test_an_async_iterable_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="items must be iterable, not a async_generator"):
        map_parallel(abs, numbers())  # type: ignore[arg-type]  # that it is wrong is what is tried


# Inside a step


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_in_a_step_keeps_the_limits_of_the_run(workers: int) -> None:
    lock, inside, peak = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        threading.Event().wait(0.0002)
        with lock:
            inside -= 1
        return number

    def crawl(context: Any) -> int:
        return sum(values(context.parallel(max_workers=4).map(work, range(20))))

    config = PipelineConfig(max_workers=workers)
    pipeline = Pipeline([[crawl, crawl]], config=config, executor=SharedThreadPoolExecutor(1))
    assert list(pipeline.run().results.values()) == [190, 190]
    assert peak <= workers


def test_the_group_of_a_map_in_a_step_is_told_of() -> None:
    bus = EventBus()

    def crawl(context: Any) -> list[int]:
        return values(context.parallel(name="docs", max_workers=1).map(abs, range(3)))

    Pipeline([crawl], event_bus=bus).run()
    told = [(type(event).__name__, event.path) for event in bus.history if event.path > "0"]
    assert told == [
        ("GroupStarted", "0.0"),
        *[(kind, f"0.0.{n}") for n in range(3) for kind in ("StepStarted", "StepSucceeded")],
        ("GroupSucceeded", "0.0"),
    ]
    assert [event.seq for event in bus.history] == list(range(len(bus.history)))
