"""Circuit breakers on the steps of a pipeline: `PipelineStep.circuit_breaker`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from task_pipeline import (
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    ErrorStrategy,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    RunCancelledError,
    RunTimeoutError,
    SharedThreadPoolExecutor,
    SkipStep,
    StepTimeoutError,
    StopPipeline,
    TaskStep,
    step,
)
from task_pipeline.events import (
    AbandonedThreadEnded,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    StepFailed,
    StepRetrying,
    StepStarted,
)
from task_pipeline.testing import Gate, ManualClock

AT_ONCE = RetryPolicy(attempts=9, backoff="constant", delay=0.0)


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    """Moved by hand; and no test finds what another one has left of a circuit."""
    CircuitBreaker.forget_all()
    with ManualClock().installed() as moved:
        yield moved
    CircuitBreaker.forget_all()


def search(threshold: int = 3, **settings: Any) -> CircuitBreaker:
    return CircuitBreaker("search", failure_threshold=threshold, **settings)


def opened(clock: ManualClock, **settings: Any) -> CircuitBreaker:
    breaker = search(1, **settings)
    with pytest.raises(OSError):
        breaker.call(raises)
    assert breaker.state is CircuitState.OPEN
    return breaker


def raises(*args: object) -> None:
    raise OSError("refused")


def fails_until(number: int, **marks: Any) -> Callable[[Any], Any]:
    """A step that fails in all attempts before that one."""

    @step(**{"step_id": "find", "circuit_breaker": "search", **marks})
    def find(context: Any) -> int:
        context.shared.setdefault("called", []).append(context.attempt)
        if context.attempt < number:
            raise OSError(f"attempt {context.attempt}")
        return int(context.attempt)

    return find


def finds(context: Any) -> str:
    return "found"


class Told:
    """Waits until a pipeline has told of so many events of a kind."""

    def __init__(self, pipeline: Pipeline, kind: type[Event], count: int = 1) -> None:
        self._enough = threading.Event()
        self._missing = count
        pipeline.subscribe(self._hear, kinds=[kind])

    def _hear(self, event: Event) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._enough.set()

    def wait(self) -> None:
        """For the test."""
        assert self._enough.wait(30.0)


def circuits(events: list[Event]) -> list[tuple[type[Event], str, int]]:
    found = [event for event in events if isinstance(event, CircuitEvent)]
    assert {event.circuit for event in found} <= {"search"}
    return [(type(event), event.path, event.attempt) for event in found]


# What is counted, what is rejected


def test_each_attempt_counts_and_a_rejected_one_is_tried_when_the_breaker_says(
    clock: ManualClock,
) -> None:
    breaker, events = search(3), list[Event]()
    pipeline = Pipeline([[fails_until(5, retries=AT_ONCE), finds]])
    pipeline.subscribe(events.append)
    waiting = Told(pipeline, StepRetrying, 4)
    run = pipeline.start()
    waiting.wait()
    assert run.status()["step_details"]["find"]["status"] == "retrying"
    assert clock.next_timer() == breaker.retry_after == 60.0
    clock.advance(59.0)
    assert not run.done and breaker.retry_after == 1.0
    clock.advance(1.0)
    context = run.result(timeout=30.0)
    assert context.results == {"find": 5, "finds": "found"}
    assert context.shared["called"] == [1, 2, 3, 5]
    assert circuits(events) == [
        (CircuitOpened, "0.0", 3),
        (CircuitHalfOpened, "0.0", 5),
        (CircuitClosed, "0.0", 5),
    ]
    waits = [event.delay for event in events if isinstance(event, StepRetrying)]
    assert waits == [0.0, 0.0, 0.0, 60.0]
    assert breaker.state is CircuitState.CLOSED


def test_what_is_rejected_is_not_called_and_fails_at_once(clock: ManualClock) -> None:
    opened(clock, recovery_timeout=30.0)
    clock.advance(10.0)
    context: Any = PipelineContext()
    pipeline = Pipeline([fails_until(1), lambda context: None])
    with pytest.raises(CircuitOpenError, match="circuit 'search' is open") as caught:
        pipeline.run(context)
    assert (caught.value.circuit, caught.value.retry_after) == ("search", 20.0)
    assert caught.value.__notes__ == ["step 'find' at path 0, attempt 1 of 1"]
    assert context.shared == {} and context.errors == [caught.value]
    detail = pipeline.get_status()["step_details"]["find"]
    assert (detail["status"], detail["attempts"]) == ("failed", 1)


def test_a_rejected_attempt_has_its_events_as_any_other(clock: ManualClock) -> None:
    opened(clock)
    events: list[Event] = []
    pipeline = Pipeline([fails_until(1)])
    with pipeline.subscribe(events.append), pytest.raises(CircuitOpenError):
        pipeline.run()
    kinds = [type(event) for event in events]
    assert kinds[1:-1] == [StepStarted, StepFailed]
    assert isinstance(events[2].error, CircuitOpenError)


@pytest.mark.parametrize(
    ("policy", "recovery", "waits"),
    [
        (RetryPolicy(attempts=2, backoff="constant", delay=5.0), 3.0, 5.0),
        (RetryPolicy(attempts=2, backoff="constant", delay=5.0), 8.0, 8.0),
        (RetryPolicy(attempts=2, backoff="constant", delay=5.0, total_time=9.0), 8.0, 8.0),
        (RetryPolicy(attempts=2, backoff="constant", delay=5.0, total_time=7.0), 8.0, None),
        (RetryPolicy(attempts=2, never_on=(CircuitOpenError,)), 8.0, None),
        (RetryPolicy(attempts=2, retry_on=(OSError,)), 8.0, None),
        (1, 8.0, 8.0),
        (0, 8.0, None),
    ],
)
def test_the_wait_is_the_longer_of_the_policys_and_the_breakers(
    clock: ManualClock, policy: Any, recovery: float, waits: float | None
) -> None:
    opened(clock, recovery_timeout=recovery)
    pipeline = Pipeline([fails_until(1, retries=policy)])
    waiting = Told(pipeline, StepRetrying)
    run = pipeline.start()
    if waits is None:
        with pytest.raises(CircuitOpenError):
            run.result(timeout=30.0)
        return
    waiting.wait()
    assert run.status()["running_steps"] == []
    assert clock.next_timer() == waits
    clock.advance(waits)
    assert run.result(timeout=30.0).results == {"find": 2}


def test_a_rejected_step_holds_no_thread_and_no_place_while_it_waits(clock: ManualClock) -> None:
    opened(clock)
    seen = Gate()
    seen.open()

    @step(limit="search")
    def other(context: Any) -> None:
        seen.wait()

    pool = SharedThreadPoolExecutor(1)
    rejected = fails_until(1, retries=1, limit="search")
    run = Pipeline([[rejected, [other, other]]], executor=pool, limits={"search": 1}).start()
    seen.wait_until_reached(2)
    assert not run.done
    clock.advance(60.0)
    assert run.result(timeout=30.0).results == {"find": 2}
    pool.shutdown()


@pytest.mark.parametrize(
    ("raised", "counts"),
    [
        (OSError("refused"), True),
        (ExceptionGroup("all", [OSError("refused")]), True),
        (SkipStep("nothing to do"), False),
        (StopPipeline("enough"), False),
        (CircuitOpenError("another one"), False),
    ],
)
def test_what_says_nothing_about_the_circuit_is_not_counted(
    clock: ManualClock, raised: Exception, counts: bool
) -> None:
    breaker = search(2)

    @step(circuit_breaker=breaker, critical=False)
    def find(context: Any) -> None:
        raise raised

    Pipeline([find]).run()
    assert breaker.failures == int(counts)


def test_what_fails_behind_the_call_does_not_count(clock: ManualClock) -> None:
    """The attempt has done its work; what it returned is of no use to the pipeline."""
    breaker = search(1)

    class Find(PipelineStep):
        circuit_breaker = "search"

        def run(self, context: Any) -> Any:
            return "not a context"

    with pytest.raises(TypeError, match="returned a str"):
        Pipeline([Find()]).run()
    assert breaker.state is CircuitState.CLOSED


# Deadlines, and being left


def test_an_attempt_that_passes_its_timeout_is_a_failure_and_only_one(clock: ManualClock) -> None:
    gate, breaker = Gate(), search(2)

    @step(circuit_breaker="search", timeout=5.0, critical=False)
    def find(context: Any) -> None:
        gate.wait()

    pipeline = Pipeline([[find, find], lambda context: breaker.state])
    late = Told(pipeline, AbandonedThreadEnded, 2)
    run = pipeline.start()
    gate.wait_until_reached(2)
    clock.advance(5.0)
    context = run.result(timeout=30.0)
    assert [type(error) for error in context.errors] == [StepTimeoutError] * 2
    assert context.results == {"lambda": CircuitState.OPEN}
    gate.open()
    late.wait()
    assert (breaker.state, breaker.failures) == (CircuitState.OPEN, 2)


@pytest.mark.parametrize("way", ["cancel", "fail fast", "deadline", "stop"])
@pytest.mark.parametrize("kind", ["thread", "coroutine"])
def test_a_probe_that_is_left_gives_its_place_back(clock: ManualClock, way: str, kind: str) -> None:
    breaker, gate = opened(clock), Gate()
    clock.advance(60.0)

    @step(circuit_breaker=breaker)
    def find(context: Any) -> None:
        gate.wait()

    @step(circuit_breaker=breaker)
    async def find_slowly(context: Any) -> None:
        await asyncio.to_thread(gate.wait)

    def end(context: Any) -> None:
        gate.wait_until_reached()
        if way == "fail fast":
            raise ValueError
        if way == "stop":
            raise StopPipeline

    strategy = ErrorStrategy.FAIL_FAST if way == "fail fast" else ErrorStrategy.FAIL_SLOW
    steps: list[TaskStep] = [find if kind == "thread" else find_slowly, end]
    config = PipelineConfig(timeout=5.0 if way == "deadline" else None, fail_fast=False)
    run = Pipeline(
        [Parallel(steps, config=ParallelConfig(error_strategy=strategy))], config
    ).start()
    gate.wait_until_reached()
    if way in ("cancel", "deadline"):
        with pytest.raises(CircuitOpenError, match="half-open"):
            breaker.admit()
        run.cancel() if way == "cancel" else clock.advance(5.0)
    try:
        run.result(timeout=30.0)
    except (RunCancelledError, RunTimeoutError):
        assert way in ("cancel", "deadline")
    assert breaker.retry_after == 0.0
    assert breaker.call(pow, 2, 3) == 8
    assert breaker.state is CircuitState.CLOSED
    gate.open()


def test_a_late_success_does_not_close_a_circuit(clock: ManualClock) -> None:
    gate, breaker = Gate(), opened(clock)
    clock.advance(60.0)

    @step(circuit_breaker="search", timeout=1.0)
    def find(context: Any) -> None:
        gate.wait()

    pipeline = Pipeline([find])
    late = Told(pipeline, AbandonedThreadEnded)
    run = pipeline.start()
    gate.wait_until_reached()
    clock.advance(1.0)
    with pytest.raises(StepTimeoutError):
        run.result(timeout=30.0)
    gate.open()
    late.wait()
    assert breaker.state is CircuitState.OPEN
