"""Runs whose workers are killed in the middle, and what may come of them."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import psutil

from task_pipeline import (
    Event,
    EventBus,
    Map,
    Parallel,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    RetryPolicy,
    Serial,
    WorkerDiedError,
    step,
)
from task_pipeline.events import StepStarted

ROUNDS = 300


def load(context: Any) -> None:
    context.results["numbers"] = list(range(4))


def work(context: Any) -> None:
    """A little of it, so that there is a middle for somebody to be killed in."""
    total = 0
    for number in range(20_000):
        total += number % 7
    context.results["sum"] = context.results.get("sum", 0) + total
    context.results.setdefault("log", []).append(total)


def square(context: Any) -> int:
    return int(context.results["item"]) ** 2


def add_up(context: Any) -> int:
    return int(sum(context.results["squares"])) + len(context.results["log"])


def nested(executor: Any, retries: RetryPolicy | int, bus: EventBus | None = None) -> Pipeline:
    """Groups in groups, a `Map`, and what comes before and after."""
    again = step(retries=retries)
    steps: list[Any] = [
        again(load),
        [
            [again(work), [again(work), again(work)], again(work)],
            Serial([again(work), Parallel([again(work), again(work)])]),
            Map(again(square), over="numbers", result_key="squares"),
        ],
        again(add_up),
    ]
    return Pipeline(steps, executor=executor, event_bus=bus)


def expected() -> dict[str, Any]:
    """What such a run gives, whoever calls its steps."""
    return nested("thread", 0).run().results


class Enemy:
    """Kills a worker at a step's beginning, one that is drawn."""

    def __init__(self, seed: int, workers: Callable[[], Iterable[int]]) -> None:
        self._random = random.Random(seed)
        self._workers = workers
        self._lock = threading.Lock()
        self.killed = 0

    def appears(self) -> Callable[[Event], None]:
        """What to subscribe with: it strikes once or twice in the course of a run."""
        moments = {self._random.randrange(16) for _ in range(self._random.choice((1, 1, 2)))}
        begun = iter(range(ROUNDS))

        def strike(event: Event) -> None:
            if isinstance(event, StepStarted) and next(begun) in moments:
                self._kill()

        return strike

    def _kill(self) -> None:
        with self._lock:
            alive = sorted(self._workers())
            if alive:
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(alive), signal.SIGKILL)
                    self.killed += 1


def run_among_enemies(pipeline: Pipeline, bus: EventBus, enemy: Enemy, right: Any) -> str:
    """Run it once; "right", or the name of the error it has ended with, which is a clear one."""
    with bus.subscribe(enemy.appears()):
        context: PipelineContext[Any] = PipelineContext()
        wrong: BaseException | None = None
        try:
            pipeline.run(context)
        except (WorkerDiedError, ParallelGroupError) as error:
            wrong = error
    if wrong is None:
        assert context.results == right
        return "right"
    assert all(isinstance(each, WorkerDiedError) for each in leaves(wrong)), wrong
    assert all(each.step_id in str(each) for each in leaves(wrong))
    return type(wrong).__name__


def leaves(error: BaseException) -> list[Any]:
    """The exceptions in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


def traces() -> dict[str, Any]:
    """What a process has that an executor could leave behind: for one look, and another later."""
    resource_tracker.ensure_running()  # Python's own, which stays with the process
    process = psutil.Process()
    places = {Path("/dev/shm"), Path(tempfile.gettempdir())}
    return {
        "processes": {child.pid for child in process.children(recursive=True)},
        "files": {
            str(file) for place in places for file in place.glob(f"task_pipeline-*{os.getpid()}*")
        },
        "open files": process.num_fds(),
    }
