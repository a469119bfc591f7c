"""What an `ExecutionState` says of all groups that it has had."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    ExecutionState,
    Metrics,
    Pipeline,
    PipelineContext,
)
from task_pipeline.engine.measure import measured
from task_pipeline.testing import Gate
from tests.metered import Clock, times
from tests.prometheus_text import parse


@pytest.fixture
def clock():
    with Clock().installed() as clock:
        yield clock


def test_a_state_adds_its_groups_up(clock):
    state = ExecutionState()
    for _ in range(3):
        with state.parallel(max_workers=1, name="docs") as group:
            group.add(clock.advance, 2.0)
            group.add(clock.advance, 3.0, name="second")
    metrics = state.metrics
    assert (metrics.workers, metrics.elapsed, metrics.busy) == (1, 15.0, 15.0)
    assert list(metrics.steps) == ["docs.advance"] and list(metrics.groups) == ["docs"]
    assert times(metrics.steps["docs.advance"].run_time) == (6, 15.0, 2.0, 3.0, 2.5)
    assert times(metrics.steps["docs.advance"].queue_time) == (6, 6.0, 0.0, 2.0, 1.0)
    assert times(metrics.groups["docs"].run_time) == (3, 15.0, 5.0, 5.0, 5.0)
    parse(metrics.to_prometheus())


def test_a_state_counts_failures_and_retries():
    state = ExecutionState()
    with state.parallel(name="docs", max_retries=2, retry_delay=0.0) as group:
        group.add(int, "x")
        group.add(int, "1")
    with (
        pytest.raises(ValueError, match="invalid"),
        state.parallel(name="fast", max_workers=1, error_strategy=ErrorStrategy.FAIL_FAST) as group,
    ):
        group.add(int, "x")
        group.add(int, "1")
    steps = state.metrics.steps
    slow, fast = steps["docs.int"], steps["fast.int"]
    assert (slow.succeeded, slow.failed, slow.retried) == (1, 1, 2)
    assert (fast.failed, fast.cancelled, fast.run_time.count) == (1, 1, 1)
    assert state.metrics.groups["fast"].failed == 1


def test_a_state_is_asked_while_a_group_is_under_way(clock):
    state, gate = ExecutionState(), Gate()
    asked: list[Metrics] = []

    def ask():
        gate.wait_until_reached()
        clock.advance(4)
        asked.append(state.metrics)
        gate.open()

    with state.parallel(max_workers=2, name="docs") as group:
        group.add(ask)
        group.add(gate.wait)
    (metrics,) = asked
    assert metrics.groups["docs"].running == 1 and metrics.groups["docs"].count == 0
    assert metrics.steps["docs.wait"].running == 1
    assert metrics.busy >= 4.0
    assert state.metrics.total.succeeded == 2 and state.metrics.total.running == 0


def test_coroutines_are_known_by_their_function():
    state = ExecutionState()

    async def fetch(number):
        await asyncio.sleep(0)  # the step's work

    async def main():
        async with state.parallel() as group:
            group.add(fetch(1))
            group.add(fetch, 2, name="second")

    asyncio.run(main())
    assert state.metrics.steps["parallel_group.fetch"].succeeded == 2


def test_groups_without_a_name_are_one():
    state = ExecutionState()
    for _ in range(20):
        with state.parallel() as group:
            group.add(int, "1")
    assert list(state.metrics.groups) == ["parallel_group"]
    assert state.metrics.groups["parallel_group"].succeeded == 20


def test_a_state_keeps_no_more_than_so_many_names(monkeypatch):
    monkeypatch.setattr("task_pipeline.engine.measure.MOST_ENTRIES", 5)
    state = ExecutionState(history=0)
    for number in range(12):
        with state.parallel(name=f"batch-{number}") as group:
            group.add(int, "1")
    with state.parallel(name="batch-1") as group:
        group.add(int, "1")
    metrics = state.metrics
    assert len(metrics.groups) == len(metrics.steps) == 6
    assert metrics.groups["(others)"].count == metrics.steps["(others)"].succeeded == 7
    assert metrics.groups["batch-1"].count == 2
    assert metrics.total.count == 13
    parse(metrics.to_prometheus())


def test_a_map_that_drops_its_results_is_counted(clock):
    state = ExecutionState()
    results = state.parallel(max_workers=1, name="squares").map(clock.advance, [1.0] * 50)
    assert sum(result.ok for result in results) == 50
    entry = state.metrics.steps["squares.advance"]
    assert (entry.count, entry.run_time.total) == (50, 50.0)
    # An item waits for the one item at most that was taken with it, not since the beginning.
    assert entry.queue_time.max is not None and entry.queue_time.max <= 2.0


def test_a_group_that_has_let_its_tasks_go_is_known_all_the_same():
    """Whoever asked a moment before it ended counts it as one that is under way."""
    state = ExecutionState()
    with state.parallel(name="docs") as group:
        group.add(int, "1")
        group.gather()
    run: Any = group._core.run
    assert run.steps == [] and measured(run) == state.metrics


def test_a_group_that_was_left_is_counted():
    state = ExecutionState()
    with pytest.raises(KeyError), state.parallel(max_workers=1, name="docs") as group:
        group.add(int, "1")
        group.add(int, "2")
        for _ in group.stream():
            raise KeyError("enough")
    total = state.metrics.total
    assert total.count == 2 and total.running == 0
    assert state.metrics.groups["docs"].count == 1


def test_a_run_that_breaks_off_in_the_middle_leaves_nothing_running(monkeypatch):
    state = ExecutionState()
    monkeypatch.setattr("task_pipeline.engine.core.RunCore.cancel", lambda run, error=None: None)
    with pytest.raises(SystemExit), state.parallel(max_workers=1, name="docs") as group:
        group.add(sys.exit)
        group.add(int, "1")
    total = state.metrics.total
    assert (total.running, total.cancelled, total.count) == (0, 2, 2)
    assert state.metrics.groups["docs"].failed == 1


def test_a_group_of_a_state_in_a_step_is_the_states_and_not_the_runs():
    state = ExecutionState()

    def opens(context):
        with state.parallel(name="docs") as group:
            group.add(int, "1")
        with context.parallel() as group:
            group.add(int, "1")

    pipeline = Pipeline([opens])
    pipeline.run(PipelineContext())
    assert state.metrics.total.count == 1
    assert pipeline.metrics().total.count == 1


def test_many_threads_and_one_state():
    state = ExecutionState(history=0)
    stop = threading.Event()
    seen: list[int] = []

    def watch():
        while not stop.is_set():
            seen.append(state.metrics.total.count)

    def work():
        for _ in range(30):
            with state.parallel(max_workers=2, name="docs") as group:
                for _ in range(5):
                    group.add(int, "1")

    watcher = threading.Thread(target=watch)
    watcher.start()
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stop.set()
    watcher.join()
    assert seen == sorted(seen), "a count went back"
    assert state.metrics.total.count == 450
    assert state.metrics.groups["docs"].count == 90
