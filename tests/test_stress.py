"""Thousands of runs with timeouts and cancellations leave the process as it was."""

from __future__ import annotations

import gc
import logging
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    Parallel,
    ParallelConfig,
    Pipeline,
    SharedThreadPoolExecutor,
    TaskPipelineError,
    step,
)

RUNS = 10_000 if os.environ.get("TASK_PIPELINE_STRESS") == "1" else 1_000
PATIENCE = 20.0


class Boom(Exception):
    """What a step raises."""


def idle(context: Any) -> None:
    context.results["n"] = context.results.get("n", 0) + 1


def brief(context: Any) -> None:
    time.sleep(0.001)  # the step's work


def fails(context: Any) -> None:
    raise Boom


def pipelines(pool: SharedThreadPoolExecutor) -> list[Pipeline]:
    late = step(timeout=0.0005)(lambda context: brief(context))
    again = step(timeout=0.0005, retries=1)(lambda context: brief(context))
    short = ParallelConfig(timeout=0.001)
    fast = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    inner = Pipeline([[brief, idle]], executor=pool)
    nests = step(timeout=0.001)(lambda context: inner.run(context))
    lists: list[list[Any]] = [
        [idle, [idle, late], idle],
        [[again, idle]],
        [Parallel([brief, brief, idle], config=short)],
        [Parallel([brief, fails, idle], config=fast)],
        [[nests, idle]],
        [[idle] * 3, idle],
    ]
    return [Pipeline(steps, executor=pool) for steps in lists]


def run_many(count: int, made: list[Pipeline], chance: random.Random) -> None:
    for _ in range(count):
        run = chance.choice(made).start()
        if chance.random() < 0.3:
            run.cancel()
        try:
            run.result(PATIENCE)
        except (TaskPipelineError, Boom):
            continue


def settle(pool: SharedThreadPoolExecutor, made: list[Pipeline]) -> None:
    """Have every thread that was left come to its end."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if not pool.active and not any(one.get_status()["abandoned"] for one in made):
            break
        brief(None)
    gc.collect()


def leave_everything_as_it_was() -> None:
    """Many runs, and then a count of what is left of them."""
    logging.getLogger("task_pipeline").disabled = True
    logging.getLogger("task_pipeline.run").disabled = True
    pool = SharedThreadPoolExecutor(4)
    made = pipelines(pool)
    chance = random.Random(11)
    run_many(RUNS // 10, made, chance)
    settle(pool, made)
    threads, objects = threading.active_count(), len(gc.get_objects())
    run_many(RUNS, made, chance)
    settle(pool, made)
    assert pool.active == 0
    assert pool.thread_count <= 4
    assert threading.active_count() <= threads + 4
    assert len(gc.get_objects()) - objects < RUNS // 4
    together = threading.Barrier(4, timeout=PATIENCE)
    Pipeline([[lambda context: together.wait() >= 0] * 4], executor=pool).run()


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_guarantee_7_thousands_of_runs_that_are_cut_short_leave_everything_as_it_was() -> None:
    # In a process of its own: what other tests leave to the collector would be counted too.
    ended = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=280, check=False
    )
    assert ended.returncode == 0, ended.stderr


if __name__ == "__main__":
    leave_everything_as_it_was()
