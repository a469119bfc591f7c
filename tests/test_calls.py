"""What a run makes of an executor's answers, whatever they are and whenever they come."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    EventBus,
    ExecutorError,
    Loop,
    Map,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    RetryPolicy,
    RunCancelledError,
    Serial,
    SkipStep,
    StepTimeoutError,
    StopPipeline,
    WorkerDiedError,
    step,
)
from task_pipeline.engine.calling import Capabilities, Reply
from task_pipeline.executors.shipping import shipment_of
from task_pipeline.state.resident import Resident, kind_of
from task_pipeline.testing import ManualClock
from tests.held_calls import Held, sets


def a(context: Any) -> None: ...
def b(context: Any) -> None: ...


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def kinds(bus: EventBus, step_id: str) -> list[str]:
    bus.flush()
    return [type(event).__name__ for event in bus.history if event.step_id == step_id]


def seen(pipeline: Pipeline) -> tuple[Any, ...]:
    """What the status says of step "a"."""
    status = pipeline.get_status()
    detail = status["step_details"]["a"]
    running, attempts = status["running_steps"], detail["attempts"]
    return running, detail["status"], attempts, detail["started_at"]


def test_calls_are_handed_over_in_one_batch_and_what_they_change_is_merged() -> None:
    held = Held()
    run = Pipeline([[a, b, a]], executor=held).start()
    calls = held.wait_for(3)
    assert held.batches == [3]
    assert [call.node.step_id for call in calls] == ["a", "b", "a#2"]
    for value, call in enumerate(calls):
        call.ended(sets(**{call.node.step_id: value}, n=1))
    assert run.result(10).results == {"a": 0, "b": 1, "a#2": 2, "n": 3}


def test_no_more_calls_than_the_executor_takes_are_handed_over_at_once() -> None:
    held = Held(max_calls=2)
    run = Pipeline([[a] * 5], executor=held).start()
    for ended in range(5):
        calls = held.wait_for(min(ended + 2, 5))
        assert len(calls) == min(ended + 2, 5)
        calls[ended].ended(sets())
    assert run.result(10).results == {}


def test_the_limit_of_an_executor_does_not_make_steps_on_threads_wait() -> None:
    held = Held(max_calls=1)
    done = threading.Event()
    mixed: list[Any] = [a, b, step(executor="thread")(lambda context: done.set())]
    run = Pipeline([mixed], executor=held).start()
    assert done.wait(10)
    held.wait_for(1)[0].ended(sets())
    held.wait_for(2)[1].ended(sets())
    run.result(10)


def test_a_call_begins_when_its_executor_says_so(bus: EventBus) -> None:
    clock = ManualClock()
    held = Held()
    with clock.installed():
        pipeline = Pipeline([step(timeout=5)(a)], executor=held, event_bus=bus)
        run = pipeline.start()
        [call] = held.wait_for(1)
        clock.advance(100)  # it waits in the executor: that is none of the step's time
        assert kinds(bus, "a") == []
        assert seen(pipeline) == ([], "pending", 0, None)
        assert call.remaining() == 5
        assert call.begins()
        assert kinds(bus, "a") == ["StepStarted"]
        assert seen(pipeline) == (["a"], "running", 1, 100.0)
        clock.advance(4)
        assert call.remaining() == 1
        assert held.stopped == []
        clock.advance(1.5)
        assert held.wait_for_stops(1) == [call]
        assert not call.begins()
        call.failed(WorkerDiedError("killed"))
        with pytest.raises(StepTimeoutError):
            run.result(10)
    assert kinds(bus, "a") == [
        "StepStarted",
        "StepTimedOut",
        "StepAbandoned",
        "AbandonedThreadEnded",
    ]


def test_a_call_that_is_never_said_to_begin_has_begun_when_it_ends(bus: EventBus) -> None:
    held = Held()
    run = Pipeline([step(timeout=5)(a)], executor=held, event_bus=bus).start()
    held.wait_for(1)[0].ended(sets())
    run.result(10)
    assert kinds(bus, "a") == ["StepStarted", "StepSucceeded"]


def test_a_timed_out_step_is_tried_again_once_its_call_is_over(bus: EventBus) -> None:
    clock = ManualClock()
    held = Held()
    again = step(timeout=1, retries=RetryPolicy(attempts=2, delay=0))(a)
    with clock.installed():
        pipeline = Pipeline([again], executor=held, event_bus=bus)
        run = pipeline.start()
        [first] = held.wait_for(1)
        first.begins()
        clock.advance(1)
        held.wait_for_stops(1)
        assert len(held.calls) == 1
        assert pipeline.get_status()["abandoned"] == 1
        first.failed(WorkerDiedError("killed"))
        _, second = held.wait_for(2)
        assert pipeline.get_status()["abandoned"] == 0
        assert (second.attempt, second.is_wanted, first.is_wanted) == (2, True, False)
        second.begins()
        first.ended(sets(late=True))  # a second answer changes nothing
        second.ended(sets(done=True))
        assert run.result(10).results == {"done": True}


def test_what_has_not_begun_is_taken_back_without_a_trace(bus: EventBus) -> None:
    held = Held()
    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    pipeline = Pipeline([Parallel([a, b], config=config)], executor=held, event_bus=bus)
    run = pipeline.start()
    first, second = held.wait_for(2)
    first.begins()
    first.failed(WorkerDiedError("gone"))
    assert held.wait_for_stops(1) == [second]
    assert not second.begins()
    second.failed(RuntimeError("taken back"))
    with pytest.raises(RuntimeError, match="gone"):
        run.result(10)
    assert kinds(bus, "b") == ["StepCancelled"]
    assert pipeline.get_status()["abandoned"] == 0


def test_a_cancelled_run_stops_its_calls_and_drops_what_they_bring() -> None:
    held = Held()
    context: PipelineContext[Any] = PipelineContext()
    pipeline = Pipeline([[a, b]], executor=held)
    run = pipeline.start(context)
    first, second = held.wait_for(2)
    first.begins()
    run.cancel()
    assert set(held.wait_for_stops(2)) == {first, second}
    with pytest.raises(RunCancelledError):
        run.result(10)
    first.ended(sets(late=1))
    second.ended(sets(late=2))
    assert context.results == {}
    assert pipeline.get_status()["abandoned"] == 0


@pytest.mark.parametrize("is_on_thread", [False, True])
def test_skips_and_stops_mean_what_they_mean_on_threads(is_on_thread: bool) -> None:
    held = Held(Capabilities(shares_memory=is_on_thread, needs_pickling=not is_on_thread))

    def skips(context: Any) -> None:
        raise SkipStep("no")

    def stops(context: Any) -> None:
        raise StopPipeline("enough")

    pipeline = Pipeline([skips, stops, a], executor=held)
    run = pipeline.start()
    for number, reply in enumerate((SkipStep("no"), StopPipeline("enough"))):
        call = held.wait_for(number + 1)[number]
        if is_on_thread:
            call.perform()
        else:
            call.ended(Reply(None, reply))
    assert run.result(10).results == {"stops": "enough"}
    details = pipeline.get_status()["step_details"]
    assert [details[name]["status"] for name in ("skips", "stops", "a")] == [
        *("skipped", "succeeded", "skipped")
    ]


def test_an_isolated_step_that_fails_leaves_nothing() -> None:
    held = Held()
    context: PipelineContext[Any] = PipelineContext(results={"n": 1})
    pipeline = Pipeline([step(isolated=True)(a)], PipelineConfig(fail_fast=False), executor=held)
    run = pipeline.start(context)
    reply = sets(n=2, more=3)
    reply.error = ValueError("half done")
    held.wait_for(1)[0].ended(reply)
    run.result(10)
    assert context.results == {"n": 1}
    assert [str(error) for error in context.errors] == ["half done"]


def test_a_step_that_fails_leaves_what_it_did_as_on_a_thread() -> None:
    held = Held()
    context: PipelineContext[Any] = PipelineContext(results={"n": 1})
    run = Pipeline([a], executor=held).start(context)
    reply = sets(n=2)
    reply.error = ValueError("half done")
    held.wait_for(1)[0].ended(reply)
    with pytest.raises(ValueError, match="half done"):
        run.result(10)
    assert context.results == {"n": 2}


def test_an_exit_is_raised_by_the_run() -> None:
    held = Held()
    run = Pipeline([[a, b]], executor=held).start()
    first, _ = held.wait_for(2)
    first.ended(Reply(None, SystemExit(3)))
    with pytest.raises(SystemExit):
        run.result(10)


def test_progress_and_log_records_come_while_a_call_runs(
    bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    pipeline = Pipeline([a], executor=held, event_bus=bus)
    run = pipeline.start()
    [call] = held.wait_for(1)
    call.progressed(40)  # so it has begun
    assert pipeline.get_status()["progress"] == 40
    with caplog.at_level(logging.INFO, "shop"):
        record = {"name": "shop", "levelno": logging.INFO, "msg": "sold", "step_id": "a"}
        call.logged(logging.makeLogRecord(record))
        call.logged(logging.makeLogRecord({**record, "levelno": logging.DEBUG, "msg": "quiet"}))
    assert [(each.name, each.getMessage()) for each in caplog.records] == [("shop", "sold")]
    call.ended(sets())
    run.result(10)
    call.progressed(50)
    assert kinds(bus, "a") == ["StepStarted", "StepProgressed", "StepSucceeded"]
    assert pipeline.get_status()["progress"] == 100


def test_events_from_elsewhere_get_their_place_among_the_runs(bus: EventBus) -> None:
    other = EventBus()
    Pipeline([[b]], event_bus=other).run()
    other.flush()
    held = Held()
    run = Pipeline([a], executor=held, event_bus=bus).start()
    [call] = held.wait_for(1)
    call.begins()
    for event in other.history:
        call.told(event)
    call.ended(sets())
    run.result(10)
    call.told(other.history[0])  # too late
    bus.flush()
    assert [event.seq for event in bus.history] == list(range(len(bus.history)))
    assert {event.run_id for event in bus.history} == {run.run_id}
    times = [event.monotonic for event in bus.history]
    assert times == sorted(times)
    assert len(bus.history) == len(other.history) + 4


def test_what_an_executor_raises_is_the_failure_of_the_calls_it_was_given() -> None:
    class Broken(Held):
        def submit(self, calls: Any) -> None:
            raise OSError("no more files")

    with pytest.raises(OSError, match="no more files") as caught:
        Pipeline([a], executor=Broken()).run()
    assert caught.value.__notes__ == ["step 'a' at path 0, attempt 1 of 1"]


def test_an_executor_that_cannot_stop_calls_has_them_end() -> None:
    class Stubborn(Held):
        def stop(self, calls: Any) -> None:
            raise OSError("no")

    held = Stubborn()
    pipeline = Pipeline([a], executor=held)
    run = pipeline.start()
    held.wait_for(1)[0].begins()
    run.cancel()
    with pytest.raises(RunCancelledError):
        run.result(10)
    assert pipeline.get_status()["abandoned"] == 0


def test_steps_of_every_kind_of_group_are_called() -> None:
    held = Held()

    def answers() -> None:
        for number in range(6):
            call = held.wait_for(number + 1)[number]
            call.ended(sets(**{call.node.step_id: number}))

    thread = threading.Thread(target=answers)
    thread.start()
    steps: list[Any] = [
        Loop(a, times=2),
        Serial([b], name="s"),
        Map(a, over=[1, 2, 3], config=ParallelConfig(max_workers=1)),
    ]
    context = Pipeline(steps, executor=held).run()
    thread.join(10)
    assert set(context.results) >= {"b"}
    assert len(held.calls) == 6


def test_the_nearest_executor_calls_a_step() -> None:
    outer, inner, own = Held(), Held(), Held()

    @step(executor=own)
    def mine(context: Any) -> None: ...

    group = Parallel([b, mine], executor=inner)
    nested = Pipeline([a], executor=inner)
    run = Pipeline([a, group, nested], executor=outer).start()
    outer.wait_for(1)[0].ended(sets())
    inner.wait_for(1)[0].ended(sets())
    own.wait_for(1)[0].ended(sets())
    inner.wait_for(2)[1].ended(sets())
    run.result(10)
    assert [call.node.step_id for call in inner.calls] == ["b", "a#2"]


def test_what_an_executor_cannot_do_is_refused_with_all_else_that_is_wrong() -> None:
    held = Held(refuses="has a face that it does not like")

    @step(executor="mine")
    def other(context: Any) -> None: ...

    @step(executor_options={"priority": 1}, executor="thread")
    def on_a_thread(context: Any) -> None: ...

    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([[a, other], on_a_thread], executor=held)
    assert caught.value.problems == (
        "step 'a' at path 0.0 on held: has a face that it does not like",
        (
            "step 'other' at path 0.1, executor: there is no executor 'mine'; it is one of "
            "'thread', 'inline', 'process', or an object"
        ),
        (
            "step 'on_a_thread' at path 1: it has executor_options, and runs on a thread, which "
            "takes none; say which executor they are for"
        ),
    )


def test_an_event_loop_goes_on_while_calls_run() -> None:
    held = Held()

    async def main() -> Any:
        task = asyncio.create_task(Pipeline([[a, b]], executor=held).arun())
        calls = await asyncio.to_thread(held.wait_for, 2)
        for call in calls:
            call.ended(sets(n=1))
        return await task

    assert asyncio.run(main()).results == {"n": 2}


def test_a_journaled_run_hands_over_what_is_safe(tmp_path: Any) -> None:
    held = Held()
    pipeline = Pipeline(
        [a, step(idempotent=False)(b)], executor=held, journal=f"sqlite:///{tmp_path}/j.db"
    )
    run = pipeline.start()
    held.wait_for(1)[0].ended(sets(a=1))
    held.wait_for(2)[1].ended(sets(b=2))
    assert run.result(10).results == {"a": 1, "b": 2}
    assert pipeline.resume(run.run_id).results == {"a": 1, "b": 2}
    assert len(held.calls) == 2
    assert pipeline.journal is not None
    pipeline.journal.close()


def test_a_breaker_keeps_calls_from_being_made() -> None:
    from task_pipeline import CircuitBreaker, CircuitOpenError

    breaker = CircuitBreaker.private("shop", failure_threshold=1)
    held = Held()
    pipeline = Pipeline([step(circuit_breaker=breaker)(a)], executor=held)
    run = pipeline.start()
    held.wait_for(1)[0].failed(OSError("down"))
    with pytest.raises(OSError, match="down"):
        run.result(10)
    with pytest.raises(CircuitOpenError):
        pipeline.run()
    assert len(held.calls) == 1
    assert run.outcome is Outcome.FAILED


def test_a_copy_of_a_pipeline_is_called_by_the_same_executor() -> None:
    inner, outer = Held(), Held()
    pipeline = Pipeline([Parallel([a], executor=inner), b], executor=outer, name="both")
    copied = copy.deepcopy(pipeline)
    assert copied is not pipeline
    assert copied.name == "both"
    run = copied.start()
    inner.wait_for(1)[0].ended(sets())
    outer.wait_for(1)[0].ended(sets())
    run.result(10)


def test_a_call_that_is_left_while_it_is_handed_over_is_stopped_after_that() -> None:
    class Slow(Held):
        def submit(self, calls: Any) -> None:
            for call in calls:
                call.begins()
            run.cancel()
            assert self.wait_for_stops(1) == calls
            super().submit(calls)

    held = Slow()
    may_go = threading.Event()
    pipeline = Pipeline(
        [step(executor="thread")(lambda context: may_go.wait(10)), a], executor=held
    )
    run = pipeline.start()
    may_go.set()
    with pytest.raises(RunCancelledError):
        run.result(10)
    assert len(held.wait_for_stops(2)) == 2
    assert len(held.wait_for(1)) == 1


def test_a_step_that_is_left_before_it_is_handed_over_is_not() -> None:
    held, other = Held(), Held()

    class Cancels(Held):
        def submit(self, calls: Any) -> None:
            run.cancel()
            super().submit(calls)

    first = Cancels()
    may_go = threading.Event()
    wait = step(executor="thread")(lambda context: may_go.wait(10))
    group: list[Any] = [step(executor=first)(a), step(executor=held)(b), step(executor=other)(b)]
    run = Pipeline([wait, group]).start()
    may_go.set()
    with pytest.raises(RunCancelledError):
        run.result(10)
    assert first.wait_for_stops(1)
    assert held.calls == other.calls == held.stopped == []


class Far:
    """Whoever has a value that is elsewhere, or has lost it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def fetch(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def elsewhere(value: Any) -> Resident:
    return Resident(Far(value), kind_of(value), 8)


def test_a_map_lists_the_values_themselves_wherever_they_are() -> None:
    held = Held()
    run = Pipeline([Map(a, over=[1, 2], result_key="a")], executor=held).start()
    first, second = held.wait_for(2)
    first.ended(sets(a=elsewhere([1])))
    second.ended(sets(a=2))
    assert run.result(10).results == {"a": [[1], 2]}
    assert type(run.result(10).results["a"][0]) is list


def test_a_value_that_is_lost_fails_the_group_that_is_to_list_it() -> None:
    held = Held()
    run = Pipeline([Map(a, over=[1], result_key="a")], executor=held).start()
    held.wait_for(1)[0].ended(sets(a=elsewhere(ExecutorError("its worker is gone"))))
    with pytest.raises(ExecutorError, match="its worker is gone"):
        run.result(10)


def test_a_journal_writes_the_value_itself(tmp_path: Any) -> None:
    held = Held()
    pipeline = Pipeline([a, b], executor=held, journal=f"sqlite:///{tmp_path}/j.db")
    run = pipeline.start()
    held.wait_for(1)[0].ended(sets(a=elsewhere({"deep": [1]})))
    held.wait_for(2)[1].failed(OSError("cut here"))
    with pytest.raises(OSError, match="cut here"):
        run.result(10)
    again = threading.Thread(target=lambda: held.wait_for(3)[2].ended(sets()))
    again.start()
    context = pipeline.resume(run.run_id)
    again.join(10)
    assert context.results == {"a": {"deep": [1]}}
    assert pipeline.journal is not None
    pipeline.journal.close()


def test_what_branches_have_done_before_goes_with_a_call_in_its_order() -> None:
    held = Held()

    @step(executor="thread")
    def before(context: Any) -> None:
        first = context.results.pop("first")
        context.results["new"] = 1
        context.results["first"] = first
        del context.results["gone"]

    start: PipelineContext[Any] = PipelineContext(results={"first": 0, "second": 0, "gone": 0})
    run = Pipeline([[[before, a]]], executor=held).start(start)
    [call] = held.wait_for(1)
    shipment = shipment_of(call)
    point = shipment.base.image().point(shipment.about.overlay)
    assert list(point.results) == ["second", "new", "first"]
    call.ended(sets())
    run.result(10)


def test_events_from_elsewhere_never_go_back_in_time(bus: EventBus) -> None:
    clock = ManualClock()
    other = EventBus()
    Pipeline([[b]], event_bus=other).run()
    other.flush()
    held = Held()
    with clock.installed():
        run = Pipeline([a], executor=held, event_bus=bus).start()
        [call] = held.wait_for(1)
        clock.advance(5)
        call.told(other.history[0])
        call.ended(sets())
        run.result(10)
    bus.flush()
    told = bus.history[-4:]
    assert [event.monotonic for event in told] == [told[0].monotonic] * 4
    assert told[0].monotonic > bus.history[0].monotonic


@pytest.mark.parametrize(
    ("group", "steps"),
    [
        (lambda: Map(a, over=list(range(20))), 20),
        (lambda: Map([a, b], over=list(range(20))), 40),
        (lambda: [[a, b] for _ in range(20)], 40),
        (lambda: [[a, [b, b]] for _ in range(20)], 60),
    ],
)
def test_branches_are_begun_as_the_executor_takes_them(group: Any, steps: int) -> None:
    held = Held(max_calls=2)
    run = Pipeline([group()], executor=held).start()
    most = 0
    for number in range(steps):
        call = held.wait_for(number + 1)[number]
        scheduler = run._execution.scheduler
        with run._execution.lock:
            most = max(most, len(scheduler.open_groups()) + len(scheduler.places.waiting()))
        call.ended(sets())
    run.result(10)
    assert most <= 12


def test_a_group_with_a_step_on_a_thread_does_not_wait_for_the_executor() -> None:
    held = Held(max_calls=1)
    reached = threading.Event()
    here = step(executor="thread")(lambda context: reached.set())
    run = Pipeline([[[a], [Serial([a]), here], [here, a]]], executor=held).start()
    held.wait_for(1)
    assert reached.wait(10)
    for number in range(3):
        held.wait_for(number + 1)[number].ended(sets())
    run.result(10)
