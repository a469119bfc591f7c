"""Groups of calls whose number is known only when the program runs.

    python examples/parallel_basic.py

Plain functions in a `with`, coroutines in an `async with`, and the same inside a
step of a pipeline, where the group is part of the run.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from task_pipeline import (
    ExecutionState,
    Pipeline,
    PipelineContext,
    PipelineStep,
    map_parallel,
    parallel,
)

CITIES = {"Oslo": 4, "Rome": 19, "Cairo": 28, "Lima": 18, "Hanoi": 31, "Perth": 22}


def look_up(city: str) -> int:
    """Waits as a request would, then knows the temperature."""
    time.sleep(0.1)
    return CITIES[city]


async def fetch(city: str) -> int:
    """The same as a coroutine."""
    await asyncio.sleep(0.1)
    return CITIES[city]


def plain_functions() -> None:
    """Results come in the order in which the calls were added."""
    started = time.perf_counter()
    with parallel(max_workers=6) as group:
        for city in CITIES:
            group.add(look_up, city)
        results = group.gather()
    seconds = time.perf_counter() - started
    print(f"six waits of 0.1 s took {seconds:.2f} s: {[result.unwrap() for result in results]}")
    assert [result.result for result in results] == list(CITIES.values())
    assert seconds < 0.5


async def coroutines() -> None:
    """A coroutine can be added as it is, or as a function with its arguments."""
    async with parallel(max_workers=3, timeout=10.0, name="weather") as group:
        group.add(fetch("Oslo"), name="north")
        group.add(fetch, "Lima", name="south")
        group.add(look_up, "Cairo")  # plain functions never block the loop
        by_name = await group.gather_dict()
    print(f"by name: { {name: result.result for name, result in by_name.items()} }")
    assert {name: result.result for name, result in by_name.items()} == {
        "north": 4,
        "south": 18,
        "2": 28,  # without a name it is the index
    }
    info = group.group
    print(f"group {info.name!r}: {info.completed} of {info.total}, {info.status}")


def one_function_for_many_items() -> None:
    """`map_parallel` takes items as it needs them, so there may be any number."""
    warm = [
        result.result
        for result in map_parallel(fetch, CITIES, max_workers=4)  # a coroutine function will do
        if result.unwrap() > 20
    ]
    print(f"warm: {warm}")
    assert warm == [28, 31, 22]


class Forecast(PipelineStep):
    """Opens a group as part of its run: of its pool, its progress, its events, its deadline."""

    timeout = 10.0

    def run(self, context: PipelineContext[Any]) -> None:
        with context.parallel(max_workers=4, name="cities") as group:
            for city in context.results["cities"]:
                group.add(look_up, city, name=city)
            found = group.gather_dict()
        context.results["forecast"] = {city: each.unwrap() for city, each in found.items()}


def in_a_step() -> None:
    """The number of calls depends on what a step before has found."""
    pipeline = Pipeline([lambda context: context.results.update(cities=list(CITIES)), Forecast()])
    context = pipeline.run()
    print(f"in a step: {context.results['forecast']}")
    assert context.results["forecast"] == CITIES


def without_a_pipeline() -> None:
    """A program that has no pipeline keeps its history and metrics in an `ExecutionState`."""
    state = ExecutionState()
    for part in ("morning", "evening"):
        with state.parallel(max_workers=3, name=part) as group:
            for city in CITIES:
                group.add(look_up, city)
    calls = state.metrics.steps["evening.look_up"]
    print(
        f"{len(state.history)} events; evening: {calls.count} calls, "
        f"{calls.run_time.mean or 0.0:.2f} s each, the longest queue {calls.queue_time.max:.2f} s, "
        f"workers {state.metrics.utilisation:.0%} busy"
    )
    assert calls.succeeded == 6 and state.metrics.total.succeeded == 12


def main() -> None:
    """Runs all of them."""
    plain_functions()
    asyncio.run(coroutines())
    one_function_for_many_items()
    in_a_step()
    without_a_pipeline()


if __name__ == "__main__":
    main()
