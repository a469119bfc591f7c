"""Runs shown while they go on; needs the extra `display`.

    python examples/parallel_with_printer.py

In a terminal it is a tree that is redrawn in place. Where there is none, such as in a
pipe or in CI, it is a line for each group. Then comes a summary.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from task_pipeline import (
    EventBus,
    ExecutionState,
    Map,
    Parallel,
    ParallelConfig,
    ParallelDisplayMode,
    ParallelEventPrinter,
    Pipeline,
    PipelineContext,
    step,
)

Context = PipelineContext[Any]
CHAPTERS = [f"chapter {number}" for number in range(1, 9)]


def load(context: Context) -> None:
    """Finds the chapters."""
    time.sleep(0.1)
    context.results["chapters"] = CHAPTERS


def check(what: str, failures: int = 0) -> Callable[[Context], None]:
    """Returns a step that reports how far it is, and may fail a few times before it succeeds."""
    tries = 0

    @step(step_id=what, retries=2)
    def checking(context: Context) -> None:
        nonlocal tries
        tries += 1
        for percent in range(0, 101, 10):
            time.sleep(0.02)
            context.update_step_progress(percent)
        if tries <= failures:
            raise ConnectionError("the dictionary is busy")

    return checking


def translate(context: Context) -> str:
    """Works on one chapter; what it prints goes above the tree."""
    time.sleep(random.uniform(0.05, 0.2))
    if context.results["item"] == CHAPTERS[0]:
        print("the first chapter is done")
    return str(context.results["item"]).upper()


def book() -> Pipeline:
    """Returns a pipeline with a group of everything that a display can show."""
    checks = Parallel([check("spelling", failures=1), check("grammar")], name="checks")
    chapters = Map(
        translate,
        over="chapters",
        result_key="translated",
        name="chapters",
        config=ParallelConfig(max_workers=3),
    )
    return Pipeline([load, checks, chapters, check("print")], name="book")


def the_short_way() -> None:
    """`display=True` shows one run, as is best where it runs."""
    context = book().run(display=True)
    assert context.results["translated"] == [chapter.upper() for chapter in CHAPTERS]


def with_a_printer() -> None:
    """A printer shows whatever it is attached to, and knows in numbers what it has shown."""
    pipeline = book()
    with ParallelEventPrinter(ParallelDisplayMode.PROGRESS, step_output="prefix") as printer:
        printer.attach(pipeline)
        pipeline.run()
    summary = printer.summary
    assert summary is not None
    slowest = summary.slowest[0]
    print(f"{summary.steps} steps, the slowest was {slowest.name!r} with {slowest.seconds:.2f} s")
    assert (summary.failed, summary.retried) == (0, 1)


def groups_without_a_pipeline() -> None:
    """Groups that are opened in plain code are shown by the bus of their state."""
    bus = EventBus()
    state = ExecutionState(event_bus=bus)
    with ParallelEventPrinter(ParallelDisplayMode.REALTIME) as printer:
        printer.attach(bus)
        with state.parallel(max_workers=2, name="greetings") as group:
            for name in ("Ada", "Alan", "Grace"):
                group.add(time.sleep, 0.05, name=name)
        bus.flush()
    assert state.metrics.groups["greetings"].succeeded == 1


def main() -> None:
    """Runs all of them."""
    the_short_way()
    with_a_printer()
    groups_without_a_pipeline()


if __name__ == "__main__":
    main()
