"""The simulation against runs of the real thing, here."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.cluster import local_cluster
from benchmarks.executors import turns_of
from benchmarks.harness import expect
from benchmarks.journal import folder
from benchmarks.memory import growing
from benchmarks.reference import PROCESSES, cores
from benchmarks.scaling_model import Executor, Place, Program, Rates, simulate
from benchmarks.steps import Crunching, NoOp, Noting, crunch
from benchmarks.worker import MeasurementError, Task, measure
from task_pipeline import Pipeline, PipelineConfig, PipelineContext, ProcessExecutor, open_journal

COLUMNS = "{:<44} {:>9} {:>11} {:>11} {:>7}  {:>9} {:>9} {:>7}"
PROGRAMS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("a group on threads", {}, 1_000_000),
    ("a group on threads, each writes a key", {"writes": 1}, 1_000_000),
    ("a series on threads", {"width": 1}, 1_000_000),
    ("groups of 1,000, each writes a key", {"writes": 1, "width": 1_000}, 100_000),
    ("a group on threads, SQLite", {"writes": 1, "journal": "sqlite"}, 100_000),
    ("a series on threads, SQLite", {"writes": 1, "journal": "sqlite", "width": 1}, 10_000),
    ("a group on process", {"executor": "process"}, 100_000),
    ("a group on process, 2 ms each", {"executor": "process", "seconds": 0.002}, 10_000),
    ("a series on process", {"executor": "process", "width": 1}, 10_000),
    ("a group on Dask, here", {"executor": "dask"}, 100_000),
    ("a group on Dask, here, 10 ms each", {"executor": "dask", "seconds": 0.01}, 1_000),
)
"""What is run: what it is called, what of it is not as usual, and how many steps at most."""


def check(rates: Rates, most: int, only: str = "") -> int:
    """Run programs with 1,000 steps, ten times as many and so on, and print what was expected.

    `only` those whose name has this in it.
    """
    print(f"load {os.getloadavg()[0]:.1f} on {cores()} cores")
    print(
        COLUMNS.format(
            *("", "steps", "simulated", "measured", "off"), *("simulated", "measured", "off")
        )
    )
    for label, told, at_most in PROGRAMS:
        count = 1_000
        while only in label and count <= min(most, at_most):
            _compare(label, told, count, rates)
            count *= 10
    return 0


def _compare(label: str, told: dict[str, Any], count: int, rates: Rates) -> None:
    width = told.get("width", count)
    name = Executor(told.get("executor", "thread"))
    workers = PROCESSES if name is not Executor.THREAD else 8
    program = Program(count, width, told.get("seconds", 0.0), writes=told.get("writes", 0))
    place = Place(name, workers, cores(), journal=told.get("journal", "none"))
    expected = simulate(program, place, rates)
    arguments = {key: value for key, value in told.items() if key != "width"}
    try:
        taken = measure(
            Task("scaling_check", "real", {"count": count, "width": width, **arguments}),
            patience=900.0,
        )
    except MeasurementError as error:
        print(f"{label:<44} {count:>9,}  {error}", flush=True)
        return
    memory = sum(expected.memory.values())
    print(
        COLUMNS.format(
            label,
            f"{count:,}",
            f"{expected.seconds:.3f} s",
            f"{taken['seconds']:.3f} s",
            f"{expected.seconds / taken['seconds'] - 1:+.0%}",
            f"{memory / 1e6:.1f} MB",
            f"{taken['bytes'] / 1e6:.1f} MB",
            f"{memory / max(taken['bytes'], 1) - 1:+.0%}",
        ),
        flush=True,
    )


def real(
    count: int,
    width: int,
    seconds: float = 0.0,
    writes: int = 0,
    executor: str = "thread",
    journal: str = "none",
) -> dict[str, float]:
    """Run it, and say how many seconds it took, and how many bytes plan and run did at the peak."""
    with ExitStack() as stack:
        options: dict[str, Any] = {}
        if executor == "process":
            options["executor"] = stack.enter_context(ProcessExecutor(PROCESSES))
        elif executor == "dask":
            options["executor"] = stack.enter_context(local_cluster())
        else:
            options["config"] = PipelineConfig(max_workers=8)
        if journal != "none":
            place = stack.enter_context(folder())
            options["journal"] = stack.enter_context(open_journal(f"sqlite:///{place}/runs.db"))
        make = _maker(seconds, writes)
        Pipeline([[make("a"), make("b")]], **options).run(PipelineContext())  # all is started
        kept: list[Any] = []
        taken: list[float] = []

        def run() -> None:
            groups = [[make(f"{n}_{i}") for i in range(width)] for n in range(count // width)]
            steps: list[Any] = [step for (step,) in groups] if width == 1 else list(groups)
            pipeline = Pipeline(steps, **options)
            started = time.perf_counter()
            context: PipelineContext[Any] = pipeline.run(PipelineContext())
            taken.append(time.perf_counter() - started)
            kept.append((pipeline, context))

        grown = growing(run)
        left = len(kept[0][1].results)
        expect(left == (count if writes or seconds else 0), f"{left} keys for {count} steps")
    return {"seconds": taken[0], "bytes": grown}


def _maker(seconds: float, writes: int) -> Callable[[str], NoOp]:
    if seconds:
        turns = turns_of(seconds)
        crunch(turns)
        return lambda step_id: Crunching(step_id, turns)
    return Noting if writes else NoOp
