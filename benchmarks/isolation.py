"""What isolation costs when the context is big: 50 branches against 50 deep copies."""

import copy
import gc
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks.harness import Rounds, Subject, expect, interleave, spread
from benchmarks.reference import WORKERS
from benchmarks.steps import Touching
from task_pipeline import Pipeline, PipelineConfig, PipelineContext

BRANCHES = 50
COPY_SECONDS = 0.060
Results = dict[str, Any]


def few_large(size: int) -> Results:
    """Four values, each a list of `size` records."""
    return {
        f"table_{table}": [{"id": row, "name": str(row), "tags": ["a"]} for row in range(size)]
        for table in range(4)
    }


def many_small(size: int) -> Results:
    """`size` keys, each with a small value that a branch could change in place."""
    return {f"key_{index}": [index, str(index)] for index in range(size)}


def many_plain(size: int) -> Results:
    """`size` keys with plain numbers: as many keys as the copying time can hold."""
    return {f"key_{index}": index for index in range(size)}


SHAPES: dict[str, Callable[[int], Results]] = {
    "few_large": few_large,
    "many_small": many_small,
    "many_plain": many_plain,
}


def touching(shape: str, rounds: int) -> Rounds:
    """One branch that changes one small key, against one `copy.deepcopy` of everything.

    Per item on both sides, so the ratio is that of 50 branches to 50 deep copies.
    """
    big = _calibrated(SHAPES[shape])
    results = big | {f"step_{index}": {"count": 0} for index in range(BRANCHES)}
    steps = [Touching(f"step_{index}") for index in range(BRANCHES)]
    pipeline = Pipeline([steps], config=PipelineConfig(max_workers=WORKERS))
    # Each run goes on from the context of the one before, made once: putting a big
    # context together is the caller's business, not part of isolating a branch.
    latest: PipelineContext[Any] = PipelineContext(results=results)
    runs = 0

    def run() -> None:
        nonlocal latest, runs
        latest = pipeline.run(latest)
        runs += 1

    deep_copy = Subject(lambda: copy.deepcopy(results), 1)
    measured = interleave(Subject(run, BRANCHES), deep_copy, rounds=rounds)
    counts = {latest.results[f"step_{index}"]["count"] for index in range(BRANCHES)}
    expect(counts == {runs}, f"{runs} runs left these counts: {sorted(counts)}")
    return measured


def _calibrated(shape: Callable[[int], Results]) -> Results:
    """Build `shape` in the size that this machine deep-copies in `COPY_SECONDS`."""
    size = 1_000
    results = shape(size)
    for _ in range(4):
        taken = _copy_seconds(results)
        size = max(1, round(size * COPY_SECONDS / taken))
        results = shape(size)
    return results


def _copy_seconds(results: Results) -> float:
    durations: list[float] = []
    for _ in range(5):
        gc.collect()  # as before every timed sample, or the copies would come out shorter there
        started = perf_counter()
        copied = copy.deepcopy(results)
        durations.append(perf_counter() - started)
        del copied
    return spread(durations).median
