"""What runs say in numbers; times are those of a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    ErrorStrategy,
    GroupTimeoutError,
    Loop,
    Map,
    Metrics,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    RetryPolicy,
    Serial,
    SkipStep,
    step,
)
from task_pipeline.engine.scheduler import Scheduler
from task_pipeline.testing import Gate
from tests.metered import ONE, Clock, fails, len_of, times, works
from tests.prometheus_text import parse


@pytest.fixture
def clock():
    with Clock().installed() as clock:
        yield clock


# Steps and groups of a run


def test_steps_in_series(clock):
    pipeline = Pipeline([works(clock, 1, "a"), works(clock, 3, "b")], ONE, name="etl")
    pipeline.run()
    metrics = pipeline.metrics()
    assert (metrics.name, metrics.workers, metrics.elapsed, metrics.busy) == ("etl", 1, 4.0, 4.0)
    assert metrics.utilisation == 1.0
    assert [(path, each.name) for path, each in metrics.steps.items()] == [("0", "a"), ("1", "b")]
    assert times(metrics.steps["1"].run_time) == (1, 3.0, 3.0, 3.0, 3.0)
    assert times(metrics.steps["1"].queue_time) == (1, 0.0, 0.0, 0.0, 0.0)
    assert metrics.groups == {}
    total = metrics.total
    assert (total.count, total.succeeded, total.running) == (2, 2, 0)
    assert times(total.run_time) == (2, 4.0, 1.0, 3.0, 2.0)


def test_branches_that_wait_for_a_worker(clock):
    pipeline = Pipeline([works(clock, 5, "first"), [works(clock, 2, name) for name in "abc"]], ONE)
    pipeline.run()
    metrics = pipeline.metrics()
    waits = [metrics.steps[path].queue_time.total for path in ("0", "1.0", "1.1", "1.2")]
    assert waits == [0.0, 0.0, 2.0, 4.0]
    assert times(metrics.total.queue_time) == (4, 6.0, 0.0, 4.0, 1.5)
    group = metrics.groups["1"]
    assert (group.path, group.name, group.succeeded) == ("1", "parallel_group_1", 1)
    assert times(group.run_time) == (1, 6.0, 6.0, 6.0, 6.0)


def test_a_series_in_a_branch_waits_once(clock):
    """Its first step for a worker, the others for nobody: what is before them is no queue."""
    series = Serial([works(clock, 1, "a"), [works(clock, 1, "b")], works(clock, 1, "c")])
    pipeline = Pipeline([[works(clock, 10, "long"), series]], ONE)
    pipeline.run()
    steps = pipeline.metrics().steps
    assert [each.queue_time.total for each in steps.values()] == [0.0, 10.0, 0.0, 0.0]
    assert [each.name for each in steps.values()] == ["long", "a", "b", "c"]


def test_a_step_after_one_that_timed_out_has_not_waited_for_it(clock):
    gate = Gate()

    @step(timeout=5, critical=False)
    def hangs(context):
        gate.wait()

    pipeline = Pipeline([hangs, works(clock, 1, "next"), [works(clock, 1, "after")]])
    run = pipeline.start()
    gate.wait_until_reached()
    clock.advance(5)
    run.result(timeout=30)
    metrics = run.metrics()
    assert (metrics.steps["0"].timed_out, metrics.steps["0"].abandoned) == (1, 1)
    assert times(metrics.steps["0"].run_time) == (1, 5.0, 5.0, 5.0, 5.0)
    assert metrics.steps["1"].queue_time.total == metrics.steps["2.0"].queue_time.total == 0.0
    gate.open()


def test_retries_count_and_the_waits_between_them_do_not(clock):
    attempts = []

    @step(retries=RetryPolicy(attempts=4, delay=10, backoff="constant"))
    def flaky(context):
        clock.advance(2)
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionError("busy")

    run = Pipeline([flaky, works(clock, 1)]).start()
    for _ in range(3):
        assert clock.timers.acquire(timeout=30)
        clock.advance(10)
    run.result(timeout=30)
    flaked, after = run.metrics().steps.values()
    assert (flaked.count, flaked.succeeded, flaked.failed, flaked.retried) == (1, 1, 0, 3)
    assert flaked.run_time.total == 8.0
    assert (flaked.queue_time.total, after.queue_time.total) == (0.0, 0.0)
    assert run.metrics().elapsed == 39.0


def test_a_step_left_between_two_attempts_has_run_no_longer_than_it_did(clock):
    @step(retries=RetryPolicy(attempts=2, delay=10, backoff="constant"))
    def flaky(context):
        clock.advance(2)
        raise ConnectionError("busy")

    run = Pipeline([flaky]).start()
    assert clock.timers.acquire(timeout=30)
    clock.advance(5)
    waiting = run.metrics().steps["0"]
    assert (waiting.running, waiting.count, waiting.retried) == (1, 0, 0)
    assert run.metrics().busy == 2.0
    run.cancel()
    left = run.metrics().steps["0"]
    assert (left.running, left.cancelled, left.run_time.total) == (0, 1, 2.0)


def test_an_attempt_that_timed_out_is_abandoned_and_tried_again(clock):
    gate = Gate()
    attempts = []

    @step(timeout=5, retries=RetryPolicy(attempts=2, delay=0))
    def slow(context):
        attempts.append(1)
        if len(attempts) == 1:
            gate.wait()

    run = Pipeline([slow]).start()
    gate.wait_until_reached()
    clock.advance(5)  # its time is over
    assert run.metrics().steps["0"].abandoned == 1
    clock.advance(1)  # the thread is inside all the same
    gate.open()
    run.result(timeout=30)
    slow_one = run.metrics().steps["0"]
    assert (slow_one.succeeded, slow_one.retried, slow_one.abandoned) == (1, 1, 1)
    assert slow_one.run_time.total == 5.0


def test_every_outcome_is_counted(clock):
    gate = Gate()

    def skips(context):
        raise SkipStep("nothing to do")

    def hangs(context):
        gate.wait()

    group = Parallel([fails, skips, hangs], config=ParallelConfig(timeout=5))
    run = Pipeline([works(clock, 1), group, works(clock, 1, "never")]).start()
    gate.wait_until_reached()
    clock.advance(5)
    with pytest.raises(GroupTimeoutError):
        run.result(timeout=30)
    gate.open()
    metrics = run.metrics()
    total = metrics.total
    assert (total.succeeded, total.failed, total.timed_out, total.skipped) == (1, 1, 1, 2)
    assert total.count == 5 and total.cancelled == 0
    never = metrics.steps["2"]
    assert times(never.run_time) == times(never.queue_time) == (0, 0.0, None, None, None)
    assert (metrics.groups["1"].timed_out, metrics.groups["1"].run_time.max) == (1, 5.0)


def test_what_was_cancelled_before_it_began(clock):
    group = Parallel(
        [fails, works(clock, 1)], config=ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    )
    pipeline = Pipeline([group], ONE)
    with pytest.raises(RuntimeError):
        pipeline.run()
    metrics = pipeline.metrics()
    assert [each.cancelled for each in metrics.steps.values()] == [0, 1]
    assert metrics.steps["0.1"].run_time.count == 0
    assert metrics.groups["0"].failed == 1


def test_utilisation_is_of_the_workers_there_are(clock):
    barrier, moved = threading.Barrier(2), threading.Event()

    def one(context):
        barrier.wait(30)
        clock.advance(6)
        moved.set()

    def other(context):
        barrier.wait(30)
        assert moved.wait(30)

    pipeline = Pipeline([[one, other]], PipelineConfig(max_workers=4))
    pipeline.run()
    metrics = pipeline.metrics()
    assert (metrics.workers, metrics.elapsed, metrics.capacity) == (4, 6.0, 24.0)
    assert (metrics.busy, metrics.utilisation) == (12.0, 0.5)


# Dynamic nodes: one entry for all instances


def test_items_of_a_map_are_one_entry(clock):
    @step(step_id="fetch")
    def fetch(context):
        clock.advance(context.results["item"])

    pipeline = Pipeline([Map([fetch, [fetch, fetch]], over=[1, 2, 3])], ONE)
    pipeline.run()
    metrics = pipeline.metrics()
    assert list(metrics.steps) == ["0.*.0", "0.*.1.0", "0.*.1.1"]
    assert [each.name for each in metrics.steps.values()] == ["fetch", "fetch#2", "fetch#3"]
    assert times(metrics.steps["0.*.0"].run_time) == (3, 6.0, 1.0, 3.0, 2.0)
    assert metrics.total.succeeded == 9
    assert {path: each.count for path, each in metrics.groups.items()} == {
        "0": 1,
        "0.*": 3,
        "0.*.1": 3,
    }
    assert metrics.groups["0.*.1"].name == "parallel_group_0.*.1"


def test_items_wait_for_a_worker_from_when_they_are_known(clock):
    def over(context):
        clock.advance(7)
        return [1, 2]

    pipeline = Pipeline([Map(works(clock, 2), over=over)], ONE)
    pipeline.run()
    assert times(pipeline.metrics().steps["0.*"].queue_time) == (2, 2.0, 0.0, 2.0, 1.0)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_rounds_of_a_loop_are_one_entry(clock, rounds):
    """Rounds take each other's places in a run; none is forgotten, none counted twice."""
    loop = Loop([works(clock, 1, "poll"), [works(clock, 1, "a"), works(clock, 1, "b")]], times=5)
    pipeline = Pipeline([Loop([loop], times=rounds)], ONE)
    pipeline.run()
    metrics = pipeline.metrics()
    assert {path: each.succeeded for path, each in metrics.steps.items()} == {
        "0.*.0.*.0": 5 * rounds,
        "0.*.0.*.1.0": 5 * rounds,
        "0.*.0.*.1.1": 5 * rounds,
    }
    assert metrics.total.run_time.total == metrics.elapsed == 15.0 * rounds
    # In each round the second branch waits for the first.
    assert metrics.total.queue_time.total == 5.0 * rounds
    assert metrics.groups["0.*.0.*.1"].succeeded == 5 * rounds


def test_a_loop_that_its_condition_ends_counts_its_last_round(clock):
    def count(context):
        context.results["n"] = context.results.get("n", 0) + 1

    def more(context):
        return context.results.get("n", 0) < 3

    def odd(context):
        return context.results["n"] % 2

    pipeline = Pipeline([Loop([count, Branch(odd, works(clock, 1, "odd"))], while_=more)], ONE)
    pipeline.run()
    metrics = pipeline.metrics()
    assert metrics.steps["0.*.0"].succeeded == 3
    odd_ones = metrics.steps["0.*.1.0"]
    assert (odd_ones.succeeded, odd_ones.skipped, odd_ones.run_time.total) == (2, 1, 2.0)


def test_a_loop_that_finds_out_may_be_asked_meanwhile(clock):
    """What a condition answers with is the user's code: nobody waits for it."""
    gate = Gate()
    asked: list[int] = []

    class Slow:
        def __bool__(self):
            if asked:
                gate.wait()
            return len(asked) < 2

    def more(context):
        return Slow()

    def work(context):
        asked.append(1)

    run = Pipeline([Loop([work, [len_of, len_of]], while_=more)]).start()
    gate.wait_until_reached()
    assert run.metrics().total.succeeded == 3
    gate.open()
    run.result(timeout=30)
    assert run.metrics().total.succeeded == 6


def test_a_condition_that_raises_after_a_round_loses_none(clock):
    rounds: list[int] = []

    def more(context):
        if len(rounds) == 2:
            raise ZeroDivisionError
        return True

    pipeline = Pipeline([Loop(lambda context: rounds.append(1), while_=more)])
    with pytest.raises(ZeroDivisionError):
        pipeline.run()
    assert pipeline.metrics().total.succeeded == 2
    assert pipeline.metrics().groups["0"].failed == 1


def test_a_loop_keeps_no_more_for_a_thousand_rounds_than_for_ten():
    def kept(rounds: int) -> int:
        pipeline = Pipeline([Loop([[len_of, len_of]], times=rounds)])
        pipeline.run()
        assert pipeline.metrics().total.succeeded == 2 * rounds
        assert pipeline.metrics().groups["0.*.0"].succeeded == rounds
        execution: Any = pipeline._latest
        return len(execution.ended_groups)

    assert kept(10) == 21
    assert kept(1000) < 500


# While it runs, and from wherever


def test_a_run_is_asked_while_it_goes_on(clock):
    gate = Gate()

    def waits(context):
        gate.wait()

    run = Pipeline([works(clock, 1, "a"), [waits, waits], len_of], name="p").start()
    gate.wait_until_reached(2)
    clock.advance(3)
    metrics = run.metrics()
    assert [(each.running, each.count) for each in metrics.steps.values()] == [
        (0, 1),
        (1, 0),
        (1, 0),
    ]
    assert metrics.groups["1"].running == 1 and metrics.groups["1"].count == 0
    assert (metrics.elapsed, metrics.busy) == (4.0, 7.0)
    assert metrics.total.run_time.count == 1
    parse(metrics.to_prometheus())
    gate.open()
    run.result(timeout=30)
    assert run.metrics().busy == 7.0
    assert run.metrics().total.running == 0


def test_a_step_may_ask_for_the_metrics_of_its_own_run():
    asked: list[Metrics] = []
    pipeline = Pipeline([[lambda context: asked.append(pipeline.metrics())]])
    pipeline.run()
    assert asked[0].total.running == 1 and asked[0].groups["0"].running == 1


def test_counts_never_go_back_while_a_loop_runs():
    """Each round takes the places of the one before; nobody sees it between the two."""
    switch = sys.getswitchinterval()
    pipeline = Pipeline([Loop([len_of, [len_of, len_of]], times=300)])
    seen: list[int] = []
    sys.setswitchinterval(1e-5)
    try:
        run = pipeline.start()
        while not run.done:
            seen.append(run.metrics().total.succeeded)
    finally:
        sys.setswitchinterval(switch)
    run.result(timeout=30)
    assert seen == sorted(seen)
    assert run.metrics().total.succeeded == 900


def test_a_round_is_counted_in_the_very_moment_another_takes_its_places(monkeypatch):
    supplied, seen = Scheduler.supplied, []

    def supplied_and_asked(self, group, *args):
        supplied(self, group, *args)
        seen.append(pipeline.metrics().total.succeeded)

    monkeypatch.setattr(Scheduler, "supplied", supplied_and_asked)
    pipeline = Pipeline([Loop([len_of, [len_of, len_of]], times=3)])
    pipeline.run()
    assert seen[:3] == [0, 3, 6]


def test_a_pipeline_that_was_never_run_has_nothing_to_tell():
    metrics = Pipeline([len_of], name="idle").metrics()
    assert metrics == Metrics("idle")
    assert (metrics.utilisation, metrics.total.count) == (0.0, 0)
    parse(metrics.to_prometheus())
    assert json.loads(metrics.to_json())["total"]["run_time"]["mean"] is None


def test_metrics_are_of_the_latest_run():
    pipeline = Pipeline([len_of])
    for _ in range(3):
        pipeline.run()
    assert pipeline.metrics().total.count == 1


def test_coroutine_steps_count_too(clock):
    async def waits(context):
        await asyncio.sleep(0)  # the step's work

    pipeline = Pipeline([[waits, waits, len_of]])
    asyncio.run(pipeline.arun())
    metrics = pipeline.metrics()
    assert metrics.total.succeeded == 3 and metrics.groups["0"].succeeded == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_can_ask():
    pipeline = Pipeline([[len_of, len_of]])
    pipeline.run()
    execution: Any = pipeline._latest
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with execution.lock:
            held.set()
            go_on.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # rather than waiting for a lock that nobody holds
        os._exit(pipeline.metrics().total.succeeded)
    go_on.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
