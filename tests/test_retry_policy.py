"""When a failed attempt is followed by another, after what wait, and what that wait holds up."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    StepTimeoutError,
    events,
    step,
)
from task_pipeline.engine.retry import longest, retry_after
from task_pipeline.testing import Gate, ManualClock, Simulator

Context = PipelineContext[Any]


def waits(policy: RetryPolicy, error: Exception | None = None) -> list[float]:
    """The waits after each failed attempt, until there is no further one."""
    found: list[float] = []
    error = ValueError() if error is None else error
    while (wait := retry_after(policy, len(found) + 1, error, sum(found))) is not None:
        found.append(wait)
    return found


# The decision


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(attempts=1), []),
        (RetryPolicy(attempts=4, backoff="constant", delay=2), [2, 2, 2]),
        (RetryPolicy(attempts=5, backoff="linear", delay=2), [2, 4, 6, 8]),
        (RetryPolicy(attempts=5, backoff="linear", delay=2, max_delay=5), [2, 4, 5, 5]),
        (RetryPolicy(attempts=6, backoff="exponential", delay=2), [2, 4, 8, 16, 32]),
        (RetryPolicy(attempts=6, backoff="exponential", delay=2, max_delay=9), [2, 4, 8, 9, 9]),
        (RetryPolicy(attempts=4, delay=0.5), [0.5, 1, 2]),
        (RetryPolicy(attempts=3, delay=0), [0, 0]),
        (RetryPolicy(attempts=3, delay=0, backoff="linear"), [0, 0]),
        (RetryPolicy(attempts=3, delay=0, backoff="constant"), [0, 0]),
        (RetryPolicy(attempts=9, backoff="constant", delay=2, total_time=7), [2, 2, 2]),
        (RetryPolicy(attempts=9, backoff="constant", delay=2, total_time=6), [2, 2]),
        (RetryPolicy(attempts=9, delay=1, total_time=0.5), []),
    ],
)
def test_the_waits_of_each_backoff(policy: RetryPolicy, expected: list[float]) -> None:
    assert waits(policy) == pytest.approx(expected)


def test_an_exponential_wait_without_a_cap_stays_a_number() -> None:
    policy = RetryPolicy(attempts=5000, delay=1)
    assert retry_after(policy, 4999, ValueError(), 0.0) == 1e9
    assert longest(policy, 1.0) < float("inf")


@pytest.mark.parametrize("backoff", ["constant", "linear", "exponential"])
def test_jitter_is_added_on_top_and_varies(backoff: Any) -> None:
    policy = RetryPolicy(attempts=2, backoff=backoff, delay=2, max_delay=2, jitter=0.5)
    found = {wait for _ in range(200) for wait in waits(policy)}
    assert len(found) > 50
    assert min(found) >= 2
    assert max(found) <= 2.5


class Special(ConnectionError):
    pass


@pytest.mark.parametrize(
    ("retry_on", "never_on", "error", "again"),
    [
        ((Exception,), (), KeyError(), True),
        ((OSError,), (), ConnectionError(), True),
        ((OSError,), (), ValueError(), False),
        ((OSError, ValueError), (), ValueError(), True),
        ((OSError,), (ConnectionError,), Special(), False),
        ((OSError,), (Special,), ConnectionError(), True),
        ((Exception,), (ValueError, KeyError), KeyError(), False),
        ((), (), ValueError(), False),
        ((ExceptionGroup,), (), ExceptionGroup("g", [ValueError()]), True),
        ((ValueError,), (), ExceptionGroup("g", [ValueError()]), False),
    ],
)
def test_which_errors_are_tried_again(
    retry_on: Any, never_on: Any, error: Exception, again: bool
) -> None:
    policy = RetryPolicy(attempts=2, retry_on=retry_on, never_on=never_on)
    assert (retry_after(policy, 1, error, 0.0) is not None) is again


def test_what_is_no_exception_is_never_tried_again() -> None:
    policy = RetryPolicy(attempts=3)
    assert retry_after(policy, 1, KeyboardInterrupt(), 0.0) is None
    assert retry_after(policy, 1, None, 0.0) is None
    assert retry_after(None, 1, ValueError(), 0.0) is None
    assert retry_after(policy, 3, ValueError(), 0.0) is None


@pytest.mark.parametrize(
    ("policy", "timeout", "expected"),
    [
        (RetryPolicy(attempts=1), 5, 5),
        (RetryPolicy(attempts=3, backoff="constant", delay=2), 5, 15 + 2 + 2),
        (RetryPolicy(attempts=4, backoff="linear", delay=2, max_delay=5), 5, 20 + 2 + 4 + 5),
        (RetryPolicy(attempts=4, delay=2, jitter=1), 5, 20 + 2 + 4 + 8 + 3),
        (RetryPolicy(attempts=9, delay=2, total_time=10), 5, 10 + 5),
    ],
)
def test_the_longest_a_step_may_take(policy: RetryPolicy, timeout: float, expected: float) -> None:
    assert longest(policy, timeout) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(attempts=10**9, backoff="constant", delay=2), 5e9 + 2 * (1e9 - 1)),
        (RetryPolicy(attempts=10**9, backoff="linear", delay=1, max_delay=3), 5e9 + 3e9 - 6),
        (RetryPolicy(attempts=10**9, delay=1, max_delay=10), 5e9 + 15 + 10 * (1e9 - 5)),
        (RetryPolicy(attempts=10**9, delay=0, jitter=1), 5e9 + 1e9 - 1),
        (RetryPolicy(attempts=10**9, delay=1, total_time=60), 65),
    ],
)
def test_the_longest_is_known_at_once_however_many_attempts(
    policy: RetryPolicy, expected: float
) -> None:
    assert longest(policy, 5) == pytest.approx(expected)


# In a run


class Fails(PipelineStep):
    """Fails its first attempts."""

    def __init__(self, times: int, retries: int | RetryPolicy, error: Any = ValueError) -> None:
        self.times, self.retries, self.error = times, retries, error

    def run(self, context: Any) -> None:
        context.shared.setdefault("tried", []).append(context.attempt)
        context.results["attempt"] = context.attempt
        if context.attempt <= self.times:
            raise self.error(f"attempt {context.attempt}")


@pytest.mark.parametrize(
    ("times", "retries", "attempts"),
    [
        (0, 3, [1]),
        (2, 3, [1, 2, 3]),
        (3, 3, [1, 2, 3, 4]),
        (4, RetryPolicy(attempts=5, delay=0), [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("shape", [lambda it: [it], lambda it: [[it, it]], lambda it: [[[it]]]])
def test_a_step_is_tried_until_it_succeeds(
    times: int, retries: Any, attempts: list[int], shape: Callable[[Any], Any]
) -> None:
    steps = shape(Fails(times, retries))
    pipeline = Pipeline(steps)
    context = pipeline.run()
    assert sorted(context.shared["tried"]) == sorted(attempts * len(pipeline._plan.steps))
    assert context.results["attempt"] == attempts[-1] * len(pipeline._plan.steps)
    assert context.errors == []


@pytest.mark.parametrize(
    "policy",
    [
        *(2, RetryPolicy(attempts=3, delay=0)),
        RetryPolicy(attempts=9, delay=0, never_on=(LookupError,)),
    ],
)
def test_the_last_attempts_error_is_the_steps(policy: Any) -> None:
    context: Context = PipelineContext()
    errors = {1: ValueError, 2: ValueError, 3: KeyError}
    fails = Fails(9, policy)
    fails.error = lambda text: errors[len(context.shared["tried"])](text)
    with pytest.raises(KeyError, match="attempt 3"):
        Pipeline([fails]).run(context)
    assert context.shared["tried"] == [1, 2, 3]
    assert [type(error) for error in context.errors] == [KeyError]
    assert context.results == {}


def test_each_wait_is_waited_and_told() -> None:
    clock, told = ManualClock(), queue.SimpleQueue[float]()

    def watch(event: events.Event) -> None:
        if isinstance(event, events.StepRetrying):
            told.put(event.delay)

    pipeline = Pipeline([Fails(3, RetryPolicy(attempts=4, backoff="linear", delay=3))])
    pipeline.subscribe(watch)
    with clock.installed():
        run = pipeline.start()
    for number, delay in enumerate((3.0, 6.0, 9.0), 1):
        assert told.get(timeout=30) == delay
        clock.advance(delay - 0.25)
        assert run.status()["step_details"]["fails"]["attempts"] == number
        clock.advance(0.25)
    assert run.result(timeout=30).shared["tried"] == [1, 2, 3, 4]


def test_the_time_that_attempts_take_counts_for_the_total() -> None:
    clock = ManualClock()
    tried = []

    @step(retries=RetryPolicy(attempts=9, backoff="constant", delay=0, total_time=10))
    def slow(context: Context) -> None:
        tried.append(context.attempt)
        clock.advance(4)
        raise ValueError(context.attempt)

    with clock.installed(), pytest.raises(ValueError, match="3"):
        Pipeline([slow]).run()
    assert tried == [1, 2, 3]


def test_a_wait_holds_no_worker() -> None:
    clock, gate = ManualClock(), Gate()
    fails = Fails(1, RetryPolicy(attempts=2, backoff="constant", delay=10))
    pipeline = Pipeline([[fails, lambda context: gate.wait()]], PipelineConfig(max_workers=1))
    with clock.installed():
        run = pipeline.start()
    gate.wait_until_reached()  # on the one worker, while the other step waits
    details = run.status()["step_details"]
    assert (details["fails"]["status"], details["fails"]["attempts"]) == ("retrying", 1)
    assert run.status()["running_steps"] == ["lambda"]
    clock.advance(10)
    gate.open()
    assert run.result(timeout=30).shared["tried"] == [1, 2]


def test_a_retry_is_logged_with_its_attempt_error_and_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="task_pipeline"):
        Pipeline([[Fails(1, RetryPolicy(attempts=2, delay=0))]]).run()
    assert caplog.messages == [
        "step 'fails' at path 0.0 failed in attempt 1 with ValueError('attempt 1'); again in 0 s"
    ]


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_guarantee_3_every_attempt_has_one_start_and_one_end(attempts: int) -> None:
    policy = RetryPolicy(attempts=attempts, backoff="linear", delay=2)
    run = Simulator(Pipeline([Fails(9, policy)], PipelineConfig(fail_fast=False))).run()
    told = [event for event in run.events if isinstance(event, events.StepEvent)]
    kinds = [events.StepRetrying] * (attempts - 1) + [events.StepFailed]
    assert [type(event) for event in told[::2]] == [events.StepStarted] * attempts
    assert [type(event) for event in told[1::2]] == kinds
    assert [event.attempt for event in told] == sorted([*range(1, attempts + 1)] * 2)
    delays = [event.delay for event in told if isinstance(event, events.StepRetrying)]
    assert delays == [2.0, 4.0, 6.0][: attempts - 1]


def test_a_result_of_the_wrong_type_is_tried_again_like_any_failure() -> None:
    class Wrong(PipelineStep):
        retries = 1

        def run(self, context: Any) -> Any:
            return 5 if context.attempt == 1 else None

    assert Pipeline([Wrong()]).run().errors == []


def test_an_attempt_that_timed_out_is_tried_again_once_it_has_ended() -> None:
    clock, gates = ManualClock(), {1: Gate(), 2: Gate()}

    @step(timeout=5, retries=1)
    def slow(context: Context) -> None:
        attempt = context.attempt
        context.results["attempt"] = attempt
        gates[attempt].wait()

    with clock.installed():
        run = Pipeline([slow]).start()
    gates[1].wait_until_reached()
    clock.advance(5)
    assert gates[2].arrived == 0
    assert not run.done
    gates[1].open()
    gates[2].wait_until_reached()
    gates[2].open()
    assert run.result(timeout=30).results == {"attempt": 2}


def test_an_attempt_that_timed_out_and_never_ends_fails_in_the_end() -> None:
    clock, gate = ManualClock(), Gate()

    @step(timeout=5, retries=RetryPolicy(attempts=3, backoff="constant", delay=1))
    def hangs(context: Context) -> None:
        gate.wait()

    with clock.installed():
        run = Pipeline([hangs]).start()
    gate.wait_until_reached()
    clock.advance(5)
    clock.advance(3 * 5 + 2 * 1 - 5 - 0.25)
    assert not run.done
    clock.advance(0.25)
    with pytest.raises(StepTimeoutError, match=r"timed out after 5\.0 s in attempt 1"):
        run.result(timeout=30)
    gate.open()
