"""A run in the background, how it is waited for and cancelled, and what subscribers are told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from typing import Any

import pytest

from task_pipeline import (
    GroupTimeoutError,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    RetryPolicy,
    Run,
    RunCancelledError,
    Serial,
    SharedThreadPoolExecutor,
    step,
)
from task_pipeline import events as ev
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]
PATIENCE = 30.0


def a(context: Context) -> int:
    return 1


def b(context: Context) -> int:
    return 2


@step(step_id="boom")
def boom(context: Context) -> None:
    raise ValueError("boom")


def at(gate: Gate, step_id: str = "held", **attributes: Any) -> Any:
    return step(step_id=step_id, **attributes)(lambda context: gate.wait())


# The handle


def test_a_result_that_is_waited_for_too_short_a_time() -> None:
    gate = Gate()
    given: Context = PipelineContext()
    run = Pipeline([at(gate), a], name="patient").start(given)
    gate.wait_until_reached()
    with pytest.raises(TimeoutError, match=r"the run of 'patient' is not over after 0\.01 s"):
        run.result(timeout=0.01)
    assert not run.done and run.outcome is None
    assert run.status()["running_steps"] == ["held"] and run.status()["current_step"] == "held"
    gate.open()
    assert run.result(PATIENCE) is given and run.result() is given
    assert run.done and run.outcome is Outcome.SUCCEEDED
    assert run.status()["state"] == "succeeded" and run.status()["progress"] == 100.0


def test_a_failed_run_raises_the_same_error_each_time() -> None:
    run = Pipeline([a, boom]).start()
    errors = []
    for _ in range(2):
        with pytest.raises(ValueError, match="boom") as caught:
            run.result(PATIENCE)
        errors.append(caught.value)
    assert errors[0] is errors[1] and run.done and run.outcome is Outcome.FAILED


def test_each_run_has_an_id_that_stays() -> None:
    pipeline = Pipeline([a])
    runs = [pipeline.start() for _ in range(20)]
    ids = [run.run_id for run in runs]
    for run in runs:
        run.result(PATIENCE)
    assert len(set(ids)) == 20 and all(ids)
    assert [run.run_id for run in runs] == ids


@pytest.mark.parametrize("from_thread", [False, True])
def test_cancelling_a_run(from_thread: bool) -> None:
    gate = Gate()
    context: Context = PipelineContext()
    run = Pipeline([a, [at(gate), b], b]).start(context)
    gate.wait_until_reached()
    if from_thread:
        thread = threading.Thread(target=run.cancel)
        thread.start()
        thread.join(PATIENCE)
    else:
        run.cancel()
    with pytest.raises(RunCancelledError):
        run.result(PATIENCE)
    assert run.done and run.outcome is Outcome.CANCELLED
    details = run.status()["step_details"]
    assert details["held"]["status"] == "cancelled" and run.status()["state"] == "cancelled"
    assert context.results["a"] == 1 and "b#2" not in context.results
    run.cancel()
    gate.open()


def test_cancelling_a_run_that_is_over_changes_nothing() -> None:
    run = Pipeline([a]).start()
    run.result(PATIENCE)
    run.cancel()
    assert run.outcome is Outcome.SUCCEEDED and run.result().results == {"a": 1}


def test_cancelling_from_a_callback() -> None:
    first, last = Gate(), Gate()
    handles: list[Any] = []

    def callback(*_: object) -> None:
        handles[0].cancel()

    steps = [at(first, "first"), at(last, "last"), b]
    handles.append(Pipeline(steps, progress_callback=callback).start())
    first.open()
    with pytest.raises(RunCancelledError):
        handles[0].result(PATIENCE)
    details = handles[0].status()["step_details"]
    assert handles[0].done and details["first"]["status"] == "succeeded"
    assert details["last"]["status"] == "cancelled"
    last.open()


def test_guarantee_1_waiting_for_a_run_inside_a_step_of_the_same_pool_of_one() -> None:
    pool = SharedThreadPoolExecutor(1)
    inner = Pipeline([[a, b], a], executor=pool)

    def outer(context: Context) -> int:
        return len(inner.start().result(PATIENCE).results)

    run = Pipeline([[outer, outer]], executor=pool).start()
    assert run.result(PATIENCE).results == {"outer": 3, "outer#2": 3}


def test_guarantee_12_each_handle_tells_of_its_own_run() -> None:
    gate = Gate()
    pipeline = Pipeline([step(step_id="s")(lambda context: context.shared["gate"].wait())])
    opened = Gate()
    opened.open()
    slow: Run[Context] = pipeline.start(PipelineContext(shared={"gate": gate}))
    quick: Run[Context] = pipeline.start(PipelineContext(shared={"gate": opened}))
    quick.result(PATIENCE)
    assert pipeline.get_status() == quick.status() and not pipeline.is_running()
    assert slow.status()["is_running"] and not slow.done
    gate.open()
    slow.result(PATIENCE)


def test_before_any_run() -> None:
    pipeline = Pipeline([a, [b, b]])
    assert pipeline.get_current_step() is None and not pipeline.is_running()
    status = pipeline.get_status()
    assert (status["state"], status["progress"], status["elapsed"]) == ("pending", 0.0, 0.0)
    assert (status["current_step"], status["running_steps"], status["abandoned"]) == (None, [], 0)
    assert list(status["step_details"]) == ["a", "b", "b#2"]
    assert status["step_details"]["a"]["status"] == "pending"
    assert status["step_details"]["a"]["started_at"] is None


def test_the_current_step_is_the_top_level_item() -> None:
    gate = Gate()
    pipeline = Pipeline([a, [at(gate), b]])
    run = pipeline.start()
    gate.wait_until_reached()
    assert pipeline.get_current_step() == "parallel_group_1" and pipeline.is_running()
    gate.open()
    run.result(PATIENCE)
    assert pipeline.get_current_step() is None and not pipeline.is_running()


# A run in a loop that ends before it


def test_cancelling_the_task_of_arun_cancels_the_run_and_its_coroutines() -> None:
    gate = Gate()
    ended: list[str] = []

    @step(step_id="stay")
    async def stay(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(str(context.step_id))

    pipeline = Pipeline([[stay, stay, at(gate)], a])

    async def main() -> None:
        task = asyncio.create_task(pipeline.arun())
        await asyncio.to_thread(gate.wait_until_reached)
        while len(pipeline.get_status()["running_steps"]) < 3:
            await asyncio.sleep(0)  # the step's work
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == ["stay", "stay#2"]

    asyncio.run(main())
    status = pipeline.get_status()
    assert status["state"] == "cancelled" and not pipeline.is_running()
    assert status["step_details"]["a"]["status"] in {"cancelled", "skipped"}
    gate.open()


def test_a_loop_that_is_closed_while_a_cancelled_runs_thread_is_still_inside() -> None:
    gate = Gate()

    async def coroutine(context: Context) -> int:
        return 7

    pipeline = Pipeline([[at(gate), a], coroutine])
    loop = asyncio.new_event_loop()
    task = loop.create_task(pipeline.arun())
    loop.run_until_complete(asyncio.to_thread(gate.wait_until_reached))
    loop.run_until_complete(loop.shutdown_default_executor())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    gate.open()
    assert not pipeline.is_running()
    assert Pipeline([a, coroutine]).run().results == {"a": 1, "coroutine": 7}


# Subscribers


def events_of(pipeline: Pipeline, context: Context | None = None) -> list[Any]:
    told: list[ev.Event] = []
    with pipeline.subscribe(told.append), contextlib.suppress(Exception):
        pipeline.run(context)
    return told


def test_guarantee_3_events_come_in_order_without_a_gap() -> None:
    told = events_of(Pipeline([a, [[b, [a, b, [a, b]]], boom], b]))
    assert [event.seq for event in told] == list(range(len(told)))
    assert all(one.monotonic <= two.monotonic for one, two in itertools.pairwise(told))
    assert type(told[0]) is ev.RunStarted and type(told[-1]) is ev.RunFailed
    assert len({event.run_id for event in told}) == 1


def test_subscribing_and_unsubscribing() -> None:
    pipeline = Pipeline([a])
    first: list[ev.Event] = []
    second: list[ev.Event] = []
    subscription = pipeline.subscribe(first.append)
    with pipeline.subscribe(second.append) as inside:
        pipeline.run()
        inside.unsubscribe()
        pipeline.run()
    assert len(second) == 4 and len(first) == 8
    subscription.unsubscribe()
    subscription.unsubscribe()
    pipeline.run()
    assert len(second) == 4 and len(first) == 8


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(2), asyncio.CancelledError()])
@pytest.mark.parametrize("fails", [False, True])
def test_guarantee_11_a_subscriber_that_raises_is_logged_and_changes_nothing(
    error: BaseException, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(*_: object) -> None:
        raise error

    told: list[ev.Event] = []
    pipeline = Pipeline([a, [b, boom] if fails else [b, a]], progress_callback=odd)
    pipeline.subscribe(odd)
    pipeline.subscribe(told.append)
    context: Context = PipelineContext()
    with contextlib.ExitStack() as stack:
        if fails:
            stack.enter_context(pytest.raises(ParallelGroupError))
        pipeline.run(context)
    assert context.results["b"] == 2 and len(context.errors) == fails
    assert [event.seq for event in told] == list(range(len(told)))
    records = [record for record in caplog.records if "an observer raised" in record.message]
    # One for each event, and one for each top-level item.
    assert len(records) == len(told) + 2
    assert all(record.exc_info and record.exc_info[1] is error for record in records)


def test_a_subscriber_may_ask_for_the_status_and_cancel() -> None:
    first, last = Gate(), Gate()
    pipeline = Pipeline([at(first), a, at(last)])
    progress: list[float] = []
    handles: list[Any] = []

    def observe(event: ev.Event) -> None:
        progress.append(pipeline.get_status()["progress"])
        if isinstance(event, ev.StepSucceeded) and event.name == "a":
            handles[0].cancel()

    pipeline.subscribe(observe)
    handles.append(pipeline.start())
    first.open()
    with pytest.raises(RunCancelledError):
        handles[0].result(PATIENCE)
    assert progress == sorted(progress) and max(progress) == pytest.approx(200 / 3, abs=0.1)
    last.open()


def fields_of(event: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in names)


def the(kind: type[Any], told: list[Any]) -> Any:
    (event,) = [event for event in told if type(event) is kind]
    return event


def test_the_events_of_a_run_that_succeeds_after_a_retry() -> None:
    def fickle(context: Context) -> None:
        if context.attempt == 1:
            raise OSError("first")

    policy = RetryPolicy(attempts=2, delay=0.001, backoff="constant")
    told = events_of(Pipeline([[step(retries=policy)(fickle)]], name="whole"))
    names = [type(event).__name__ for event in told]
    assert names == [
        *("RunStarted", "GroupStarted", "StepStarted", "StepRetrying", "StepStarted"),
        *("StepSucceeded", "GroupSucceeded", "RunSucceeded"),
    ]
    assert fields_of(told[0], "path", "name") == ("", "whole")
    facts = fields_of(told[1], "path", "name", "parallel", "total")
    assert facts == ("0", "parallel_group_0", True, 1)
    assert fields_of(told[2], "path", "name", "attempt") == ("0.0", "fickle", 1)
    assert fields_of(told[3], "attempt", "delay") == (1, 0.001)
    assert isinstance(told[3].error, OSError) and told[3].duration >= 0
    assert fields_of(told[5], "attempt", "error") == (2, None)
    assert told[6].parallel and told[6].error is None and told[6].duration > 0
    assert told[7].error is None and told[7].duration >= told[6].duration


def test_the_events_of_a_run_that_fails() -> None:
    told = events_of(Pipeline([Serial([boom, a], name="rest"), b]))
    failed = the(ev.StepFailed, told)
    assert fields_of(failed, "path", "name", "attempt") == ("0.0", "boom", 1)
    skipped = [event for event in told if type(event) is ev.StepSkipped]
    assert [fields_of(event, "path", "attempt") for event in skipped] == [("0.1", 0), ("1", 0)]
    assert fields_of(the(ev.GroupFailed, told), "parallel", "name") == (False, "rest")
    assert the(ev.RunFailed, told).error is failed.error


def test_the_events_of_a_group_that_times_out_and_one_that_is_cancelled() -> None:
    gate, clock, ended = Gate(), ManualClock(), threading.Event()
    told: list[Any] = []

    def observe(event: ev.Event) -> None:
        told.append(event)
        if isinstance(event, ev.AbandonedThreadEnded):
            ended.set()

    config = ParallelConfig(timeout=9, max_workers=1)
    pipeline = Pipeline([Parallel([[at(gate, "held")], b], config=config)])
    pipeline.subscribe(observe)
    with clock.installed():
        run = pipeline.start()
    gate.wait_until_reached()
    clock.advance(9)
    with pytest.raises(GroupTimeoutError) as caught:
        run.result(PATIENCE)
    gate.open()
    assert ended.wait(PATIENCE)
    late = the(ev.StepTimedOut, told)
    assert fields_of(late, "path", "attempt", "duration", "error") == ("0.0.0", 1, 9.0, None)
    assert fields_of(the(ev.StepCancelled, told), "path", "attempt", "duration") == ("0.1", 0, 0.0)
    groups = [event for event in told if type(event) is ev.GroupTimedOut]
    assert groups[-1].error is caught.value and groups[-1].duration == 9.0
    assert fields_of(the(ev.AbandonedThreadEnded, told), "name", "attempt") == ("held", 1)


def test_the_events_of_a_run_that_is_cancelled() -> None:
    gate = Gate()
    told: list[Any] = []
    pipeline = Pipeline([[at(gate)]])
    pipeline.subscribe(told.append)
    run = pipeline.start()
    gate.wait_until_reached()
    run.cancel()
    with pytest.raises(RunCancelledError) as caught:
        run.result(PATIENCE)
    assert fields_of(the(ev.StepCancelled, told), "attempt", "name") == (1, "held")
    assert the(ev.GroupCancelled, told).parallel
    assert the(ev.RunCancelled, told).error is caught.value
    gate.open()
