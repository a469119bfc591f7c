"""Our side of the lines that are priced per step or per branch.

Every function here runs in a process of its own (see `benchmarks.worker`).
"""

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Rounds, Subject, expect, interleave
from benchmarks.reference import WORKERS, submitting, submitting_at_once
from benchmarks.steps import NoOp, Writing
from task_pipeline import Pipeline, PipelineConfig, PipelineContext

WIDE = 10_000
NARROW = 100
WIDE_SAMPLE = 0.03


def branches(count: int, rounds: int) -> Rounds:
    """A parallel group of `count` no-ops against as many round trips of `submit`."""
    return _against_submit([_noops(count)], count, rounds)


def serial(count: int, rounds: int) -> Rounds:
    """A serial pipeline of `count` no-ops against as many round trips of `submit`."""
    return _against_submit(list(_noops(count)), count, rounds)


def against_all_at_once(count: int, rounds: int) -> Rounds:
    """As `branches`, against submitting all no-ops before taking the first result."""
    with submitting_at_once(count) as reference:
        return interleave(_running(_pipeline([_noops(count)]), count), reference, rounds=rounds)


def writing_branches(count: int, rounds: int) -> Rounds:
    """As `branches`, but each branch writes one key and reports its progress."""
    steps = [Writing(f"step_{index}") for index in range(count)]
    merged: PipelineContext[Any] = _pipeline([steps]).run(PipelineContext())
    expect(len(merged.results) == count, "a branch's key is missing after the merge")
    return _against_submit([steps], count, rounds)


def observed_branches(count: int, subscribers: int, rounds: int) -> Rounds:
    """As `branches`, with `subscribers` callbacks that count what they are told."""
    pipeline = _pipeline([_noops(count)])
    told = [0] * subscribers

    def subscriber(index: int) -> Callable[[object], None]:
        def on_event(event: object) -> None:
            told[index] += 1

        return on_event

    for index in range(subscribers):
        pipeline.subscribe(subscriber(index))
    with submitting(count) as reference:
        measured = interleave(_running(pipeline, count), reference, rounds=rounds)
    # Two events for each branch of each run: fewer means they were not delivered in time.
    expect(
        all(seen >= 2 * count * rounds for seen in told),
        f"subscribers were told only {told} events",
    )
    return measured


def width(rounds: int) -> Rounds:
    """The cost of one branch among 10,000 against one among 100, on the same pool."""
    wide, narrow = (_running(_pipeline([_noops(n)]), n) for n in (WIDE, NARROW))
    return interleave(wide, narrow, rounds=rounds, sample=WIDE_SAMPLE)


def _noops(count: int) -> list[Any]:
    return [NoOp(f"step_{index}") for index in range(count)]


def _pipeline(steps: list[Any]) -> Pipeline:
    # As many workers as the pool it is compared with.
    return Pipeline(steps, config=PipelineConfig(max_workers=WORKERS))


def _running(pipeline: Pipeline, items: int) -> Subject:
    """Each call is one whole run, its fresh context included."""
    return Subject(lambda: pipeline.run(PipelineContext()), items)


def _against_submit(steps: list[Any], count: int, rounds: int) -> Rounds:
    with submitting(count) as reference:
        return interleave(_running(_pipeline(steps), count), reference, rounds=rounds)
