"""Dynamic groups: against what one would write without them, and against the bare call.

Every function here runs in a process of its own (see `benchmarks.worker`).
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any

from benchmarks.harness import Rounds, Subject, expect, interleave
from benchmarks.memory import growing
from benchmarks.reference import WORKERS, submitting
from task_pipeline import parallel

AT_ONCE = 100
WORK_SECONDS = 0.001
CALLS = 10
"""How many calls of 1 ms an event loop makes before it is left: entering it is not measured."""
SAMPLE = 0.03
STEADY_SAMPLE = 0.05
"""For what is bounded within a few percent."""

Call = Callable[[int], Coroutine[Any, Any, int]]


async def returns(number: int) -> int:
    """End at the first line."""
    return number


async def yields(number: int) -> int:
    """Let the loop go round once, as what waits for something does."""
    await asyncio.sleep(0)
    return number


CALLED: dict[str, Call] = {"returns": returns, "yields": yields}


async def in_group(call: Call, count: int) -> list[Any]:
    """So many calls, `AT_ONCE` of them side by side, in a group."""
    async with parallel(max_workers=AT_ONCE) as group:
        for number in range(count):
            group.add(call, number)
        return await group.gather()


async def in_semaphore(call: Call, count: int) -> list[int]:
    """The same by hand."""
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def bounded(number: int) -> int:
        async with semaphore:
            return await call(number)

    return await asyncio.gather(*[bounded(number) for number in range(count)])


def coroutines(kind: str, count: int, rounds: int) -> Rounds:
    """Many coroutines in a group, against a bare semaphore with `gather`."""
    call = CALLED[kind]
    loop = asyncio.new_event_loop()
    ours: list[Any] = loop.run_until_complete(in_group(call, count))
    expect([result.unwrap() for result in ours] == list(range(count)), "wrong results")
    expect(loop.run_until_complete(in_semaphore(call, count)) == list(range(count)), "wrong too")
    try:
        return interleave(
            Subject(lambda: loop.run_until_complete(in_group(call, count)), count),
            Subject(lambda: loop.run_until_complete(in_semaphore(call, count)), count),
            rounds=rounds,
            sample=SAMPLE,
        )
    finally:
        loop.close()


def growth(kind: str, side: str, count: int) -> int:
    """Bytes that many coroutines take at their peak, in a group or by hand.

    All results are kept on both sides, as `gather` and `gather` give them.
    """
    work = {"group": in_group, "semaphore": in_semaphore}[side]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work(CALLED[kind], 10))  # so that everything is imported
    results: list[Any] = []
    grown = growing(lambda: results.extend(loop.run_until_complete(work(CALLED[kind], count))))
    expect(len(results) == count, "results are missing")
    loop.close()
    return grown


def functions(count: int, rounds: int) -> Rounds:
    """Many plain functions in a group, against as many round trips of `submit`."""

    def run() -> list[Any]:
        with parallel(max_workers=WORKERS) as group:
            for number in range(count):
                group.add(abs, number)
            return group.gather()

    expect([result.unwrap() for result in run()] == list(range(count)), "wrong results")
    with submitting(count) as reference:
        return interleave(Subject(run, count), reference, rounds=rounds, sample=SAMPLE)


def one_function(rounds: int) -> Rounds:
    """A group of one plain function that takes 1 ms, against calling it."""
    turns = _turns()

    def run() -> Any:
        with parallel() as group:
            group.add(_work, turns)
            return group.gather()

    return interleave(
        Subject(run, 1), Subject(lambda: _work(turns), 1), rounds=rounds, sample=STEADY_SAMPLE
    )


def one_coroutine(rounds: int) -> Rounds:
    """A group of one coroutine function that takes 1 ms, against awaiting it."""
    turns = _turns()
    loop = asyncio.new_event_loop()

    async def work() -> int:
        return _work(turns)

    async def grouped() -> Any:
        async with parallel() as group:
            group.add(work)
            return await group.gather()

    async def often(call: Callable[[], Awaitable[Any]]) -> None:
        for _ in range(CALLS):
            await call()

    try:
        return interleave(
            Subject(lambda: loop.run_until_complete(often(grouped)), CALLS),
            Subject(lambda: loop.run_until_complete(often(work)), CALLS),
            rounds=rounds,
            sample=STEADY_SAMPLE,
        )
    finally:
        loop.close()


def _work(turns: int) -> int:
    """So much work that it takes 1 ms; not a sleep, which hides what happens beside it."""
    total = 0
    for number in range(turns):
        total += number
    return total


def _turns() -> int:
    """How many turns of `_work` take 1 ms here and now."""
    turns = 20_000
    for _ in range(3):  # the interpreter gets used to it, and the machine to being busy
        typical = statistics.median(_seconds(turns) for _ in range(100))
        turns = max(1, round(turns * WORK_SECONDS / typical))
    return turns


def _seconds(turns: int) -> float:
    started = perf_counter()
    _work(turns)
    return perf_counter() - started
