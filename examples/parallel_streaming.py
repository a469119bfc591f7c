"""Results as they come: the first when it is there, not when all are.

    python examples/parallel_streaming.py

`group.stream()` gives each result as its task ends, `map_parallel` those of
endless items with only a few of them under way. Leaving the loop cancels the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator

from task_pipeline import map_parallel, parallel

DELAYS = {"slow": 0.4, "quick": 0.05, "middling": 0.2}


def answer(server: str) -> str:
    """Takes as long as its server does."""
    time.sleep(DELAYS[server])
    return f"{server} server"


def in_the_order_they_end() -> None:
    """The quick one is there long before the slow one is."""
    order = []
    with parallel(max_workers=3) as group:
        for server in DELAYS:
            group.add(answer, server, name=server)
        started = time.perf_counter()
        for result in group.stream():
            order.append(result.name)
            print(f"  {time.perf_counter() - started:.2f} s  {result.unwrap()}")
    assert order == ["quick", "middling", "slow"]
    # A second look at what is known: the same results, in the order added.
    assert list(group.gather_dict()) == list(DELAYS)


async def the_first_that_succeeds() -> None:
    """Leaving the loop cancels the others, and none of them goes on behind the scenes."""
    cancelled = []

    async def ask(mirror: str, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(mirror)
            raise
        if mirror == "broken":
            raise ConnectionError("refused")
        return f"the file, from {mirror}"

    async with parallel(max_workers=4) as group:
        for mirror, seconds in {"broken": 0.01, "near": 0.05, "far": 5.0, "away": 9.0}.items():
            group.add(ask, mirror, seconds)
        async for result in group.stream():
            if result.ok:
                break
    print(f"{result.result}; not waited for: {cancelled}")
    assert result.result == "the file, from near" and cancelled == ["far", "away"]


def endless_items() -> None:
    """Only `look_ahead` items are taken from the source before their results are."""
    taken = itertools.count()

    def numbers() -> Iterator[int]:
        yield from taken

    def square(number: int) -> int:
        return number * number

    squares = map_parallel(square, numbers(), max_workers=4, look_ahead=8)
    first = [next(squares).unwrap() for _ in range(5)]
    squares.close()
    print(f"the first squares of all numbers: {first}; {next(taken)} numbers were taken")
    assert first == [0, 1, 4, 9, 16]
    assert next(taken) < 5 + 2 * 8


def as_completed() -> None:
    """With `ordered=False`, one slow item does not hold up the others' results."""
    gate = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            gate.wait(10)
        return number

    seen = []
    for result in map_parallel(work, range(6), max_workers=2, ordered=False):
        seen.append(result.unwrap())
        if len(seen) == 3:
            gate.set()
    print(f"as they ended: {seen}")
    assert sorted(seen) == list(range(6)) and seen[0] != 0


def main() -> None:
    """Runs all of them."""
    print("in the order they end:")
    in_the_order_they_end()
    asyncio.run(the_first_that_succeeds())
    endless_items()
    as_completed()


if __name__ == "__main__":
    main()
