"""Executors that answer anything at any moment, from many threads: no run suffers by it."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    EventBus,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RetryPolicy,
    Serial,
    SkipStep,
    StepAbandonedError,
    StopPipeline,
    step,
)
from task_pipeline.engine.calling import Call, Capabilities, Reply
from task_pipeline.events import AbandonedThreadEnded, StepAbandoned, StepSucceeded
from task_pipeline.plan import StepNode
from task_pipeline.testing import ManualClock
from tests.event_order import by_path, check_events, paths_of
from tests.held_calls import sets

IS_STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
SEEDS = range(5_000 if IS_STRESS else 300)
THREADS = 4
PATIENCE = 30.0


class Boom(Exception):
    """What a step, or an executor, raises."""


class Erratic:
    """Does with calls what an executor may do, and what it must not, as a seed has it.

    Each call gets several of: it begins, gets on, logs, ends, fails, all of it once or twice, in
    this order or another, in a thread of its own choice or in the one that hands it over.
    Some say nothing before they are stopped.
    """

    name = "erratic"

    def __init__(self, seed: int, answers: queue.SimpleQueue[Any]) -> None:
        self._chance = random.Random(seed)
        self._answers = answers
        self._lock = threading.Lock()
        self._given: dict[int, tuple[Any, bool]] = {}  # calls, and whether they only hang
        self.capabilities = Capabilities(
            tells_start=self._chance.random() < 0.7, kills=self._chance.random() < 0.5
        )
        self.max_calls = self._chance.choice((None, 1, 2, 5))

    def problems(self, node: StepNode) -> list[str]:
        return []

    def preflight(self, steps: Sequence[StepNode], context: Any) -> list[str]:
        return []

    def submit(self, calls: Sequence[Call]) -> None:
        raises = self._draw() < 0.05
        for call in calls:
            hangs = self._draw() < 0.15
            with self._lock:
                self._given[id(call)] = call, hangs
            doings = self._doings(call, ends=not hangs)
            if self._draw() < 0.2:
                for do in doings:
                    do()
            elif self._draw() < 0.2:
                for do in doings:  # each in whatever thread is there first
                    self._answers.put(do)
            else:
                self._answers.put(partial(in_order, doings))
        if raises:
            raise Boom("not taken")

    def stop(self, calls: Sequence[Call]) -> None:
        for call in calls:
            how = self._draw()
            ending = self._ending(call)
            if how < 0.3:
                ending()
            elif how < 0.9:
                self._answers.put(ending)
            # or it forgets, and the call comes to its end later
        if self._draw() < 0.1:
            raise Boom("not stopped")

    def release(self) -> None:
        """Have all that was ever given come to its end."""
        with self._lock:
            given = list(self._given.values())
        for call, _ in given:
            self._answers.put(self._ending(call))

    def _draw(self) -> float:
        with self._lock:
            return self._chance.random()

    def _doings(self, call: Any, ends: bool) -> list[Any]:
        some = [call.begins, call.begins, partial(self._progress, call), partial(log, call)]
        with self._lock:
            chosen = [do for do in some if self._chance.random() < 0.5]
            self._chance.shuffle(chosen)
        if ends:
            chosen.append(self._ending(call))
            if self._draw() < 0.3:
                with self._lock:
                    self._chance.shuffle(chosen)
            if self._draw() < 0.3:
                chosen.append(self._ending(call))
        return chosen

    def _progress(self, call: Any) -> None:
        call.progressed(100 * self._draw())

    def _ending(self, call: Any) -> Any:
        kind = self._draw()
        name = call.node.step_id
        if kind < 0.6:
            return partial(bring, call, name)
        if kind < 0.7:
            return partial(call.ended, Reply(None, Boom(name)))
        if kind < 0.8:
            return partial(call.failed, Boom(name))
        if kind < 0.85:
            return partial(call.ended, Reply(None, SkipStep("not now")))
        if kind < 0.88:
            return partial(call.ended, Reply(None, StopPipeline()))
        return partial(call.ended, Reply())


def in_order(doings: list[Any]) -> None:
    for do in doings:
        do()


def bring(call: Any, name: str) -> None:
    """End a call with what its step would have changed: its own key, and a count of all."""
    try:
        counted = call.context.results.get("n", 0) + 1
    except StepAbandonedError:
        counted = 1
    call.ended(sets(**{name: call.attempt, "n": counted}))


def log(call: Any) -> None:
    record = logging.LogRecord("tests.erratic", logging.DEBUG, __file__, 1, "on", None, None)
    call.logged(record)


def work(context: Any) -> None: ...


def drawn_step(chance: random.Random) -> Any:
    about: dict[str, Any] = {}
    if chance.random() < 0.4:
        about["timeout"] = chance.choice((1, 2, 5))
    if chance.random() < 0.4:
        delay = chance.choice((0, 0, 1))
        about["retries"] = RetryPolicy(attempts=chance.choice((2, 3)), delay=delay)
    if chance.random() < 0.2:
        about["critical"] = False
    if chance.random() < 0.1:
        about["executor"] = "thread"
    return step(**about)(work) if about else work


def drawn_group(chance: random.Random, depth: int) -> Any:
    kinds: list[Any] = [drawn_step(chance) for _ in range(chance.randrange(1, 5))]
    if depth:
        kinds += [drawn_group(chance, depth - 1) for _ in range(chance.randrange(3))]
        chance.shuffle(kinds)
    if chance.random() < 0.3:
        return Serial(kinds)
    config: dict[str, Any] = {"operator": chance.choice(("AND", "AND", "OR"))}
    if chance.random() < 0.3:
        config["timeout"] = chance.choice((1, 3))
    if chance.random() < 0.4:
        config["error_strategy"] = ErrorStrategy.FAIL_FAST
    if chance.random() < 0.3:
        config["max_workers"] = chance.choice((1, 2))
    return Parallel(kinds, config=ParallelConfig(**config))


def drawn_pipeline(chance: random.Random, executor: Any, bus: EventBus | None) -> Pipeline:
    config = PipelineConfig(
        fail_fast=chance.random() < 0.7, timeout=chance.choice((None, None, 2, 8))
    )
    steps = [drawn_group(chance, 2) for _ in range(chance.randrange(1, 4))]
    return Pipeline(steps, executor=executor, event_bus=bus, config=config)


@pytest.fixture(scope="module")
def answers() -> Iterator[queue.SimpleQueue[Any]]:
    """What is put into it is done by one of several threads, which are switched very often."""
    given: queue.SimpleQueue[Any] = queue.SimpleQueue()
    wrong: list[BaseException] = []

    def do_all() -> None:
        while (do := given.get()) is not None:
            try:
                do()
            except BaseException as error:  # whatever it is, the test is to see it
                wrong.append(error)

    interval = sys.getswitchinterval()
    threads = [threading.Thread(target=do_all) for _ in range(THREADS)]
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    yield given
    sys.setswitchinterval(interval)
    for _ in threads:
        given.put(None)
    for thread in threads:
        thread.join()
    assert wrong == []


def all_done(answers: queue.SimpleQueue[Any]) -> None:
    """Wait until each of the threads has done what it had taken, and nothing waits."""
    meeting = threading.Barrier(THREADS + 1)
    for _ in range(THREADS):
        answers.put(partial(meeting.wait, PATIENCE))
    meeting.wait(PATIENCE)


@pytest.mark.stress
@pytest.mark.timeout(3600 if IS_STRESS else 60)
def test_whatever_executors_answer_a_run_keeps_its_guarantees(
    answers: queue.SimpleQueue[Any],
) -> None:
    for seed in SEEDS:
        try:
            play(seed, answers)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def play(seed: int, answers: queue.SimpleQueue[Any]) -> None:
    """One run, with deadlines that pass and maybe a cancellation in its midst."""
    chance = random.Random(seed)
    clock, bus = ManualClock(), EventBus()
    executor = Erratic(seed, answers)
    pipeline = drawn_pipeline(chance, executor, bus)
    context: PipelineContext[Any] = PipelineContext()
    cancels_at = chance.choice((None, None, 0, 1, 3))
    with clock.installed():
        run = pipeline.start(context)
    for round_ in itertools.count():
        if run.done:
            break
        if round_ == cancels_at:
            run.cancel()
        clock.advance(chance.choice((0, 0, 0.5, 1)))
        if round_ > 5:
            all_done(answers)
        if round_ > 20:
            executor.release()
        assert round_ < 1_000, run.status()
    _result(run)
    for _ in range(2):
        executor.release()
        all_done(answers)
    pause = threading.Event()
    for _ in range(3_000):  # what is late is told in a thread of the pool's
        if told_of_all_that_was_left(bus):
            break
        pause.wait(0.01)
    check(run, context, bus)


def told_of_all_that_was_left(bus: EventBus) -> bool:
    bus.flush()
    kinds = [type(event) for event in bus.history]
    return kinds.count(StepAbandoned) == kinds.count(AbandonedThreadEnded)


def _result(run: Any) -> None:
    try:
        run.result(PATIENCE)
    except Exception:  # how it ends is none of this test's concern
        pass


def check(run: Any, context: PipelineContext[Any], bus: EventBus) -> None:
    bus.flush()
    events = list(bus.history)
    status = run.status()
    details = status["step_details"]
    outcomes = {step_id: detail["status"] for step_id, detail in details.items()}
    check_events(events, by_path(paths_of(events), outcomes))
    assert told_of_all_that_was_left(bus)
    assert status["abandoned"] == 0
    assert status["running_steps"] == []
    if run.outcome is Outcome.SUCCEEDED:
        assert status["progress"] == 100.0
    brought = {key for key in context.results if key != "n"}
    succeeded = {event.step_id for event in events if isinstance(event, StepSucceeded)}
    assert brought <= succeeded
    assert context.results.get("n", 0) == len(brought)
