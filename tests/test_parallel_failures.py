"""Dynamic groups in which something goes wrong: strategies, timeouts, retries, breakers."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from task_pipeline import (
    CircuitBreaker,
    CircuitOpenError,
    ErrorStrategy,
    ExecutionResult,
    GroupTimeoutError,
    Outcome,
    RetryPolicy,
    SkipStep,
    StepCancelledError,
    StopPipeline,
    TaskGroupError,
    map_parallel,
    parallel,
)
from task_pipeline.testing import Gate, ManualClock

FAIL_FAST, FAIL_SLOW = ErrorStrategy.FAIL_FAST, ErrorStrategy.FAIL_SLOW
PATIENCE = 10.0


class Boom(Exception):
    """What a task raises."""


class Harsh(BaseException):
    """What no `except Exception` catches."""


def boom() -> None:
    raise Boom("burst")


def raising_after(gate: Any) -> None:
    gate.wait()
    boom()


async def aboom() -> None:
    boom()


async def answer(value: Any = 42) -> Any:
    return value


def raising(error: BaseException, is_async: bool) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    async def afail() -> None:
        raise error

    return afail if is_async else fail


def advance_to(clock: ManualClock, seconds: float) -> None:
    """Wait until exactly this wait is the next that is waited for, and let it pass."""
    until = time.monotonic() + PATIENCE
    while clock.next_timer() != pytest.approx(seconds):
        assert time.monotonic() < until, f"{clock.next_timer()} is waited for, not {seconds}"
        threading.Event().wait(0.0005)
    clock.advance(seconds)


# FAIL_FAST and FAIL_SLOW


@pytest.mark.parametrize("work", [boom, aboom, aboom()], ids=["plain", "async", "coroutine"])
def test_fail_fast_raises_the_first_error_with_its_tasks_name(work: Any) -> None:
    gate = Gate()
    with (
        pytest.raises(Boom) as raised,
        parallel(max_workers=2, error_strategy=FAIL_FAST, name="docs") as group,
    ):
        group.add(gate.wait, name="sibling")
        group.add(work, name="culprit")
        group.gather()
    assert raised.value.__notes__ == ["task 'culprit' of group 'docs' at path 0, attempt 1"]
    assert group.group.failed == 1
    gate.open()
    with pytest.raises(Boom):
        group.gather()
    with pytest.raises(Boom):
        group.gather_dict()
    with pytest.raises(Boom):
        list(group.stream())


@pytest.mark.parametrize("streams", [False, True], ids=["gather", "stream"])
def test_fail_fast_leaves_a_sibling_of_5_seconds_at_once_and_starts_none_of_100(
    streams: bool,
) -> None:
    started: list[int] = []
    inside = threading.Event()
    failed_at = 0.0

    def sibling() -> None:
        inside.set()
        time.sleep(5)  # the step's work

    def fail() -> None:
        nonlocal failed_at
        assert inside.wait(PATIENCE)
        failed_at = time.monotonic()
        boom()

    with pytest.raises(Boom), parallel(max_workers=2, error_strategy=FAIL_FAST) as group:
        group.add(sibling)
        group.add(fail)
        for number in range(100):
            group.add(started.append, number)
        list(group.stream()) if streams else group.gather()
    assert time.monotonic() - failed_at < 0.1
    assert started == []
    with parallel(max_workers=4) as other:  # whoever was to start them has had a turn since
        for number in range(20):
            other.add(abs, number)
    assert started == []


def test_fail_fast_cancels_coroutines_that_run() -> None:
    running, ended = threading.Event(), threading.Event()

    async def sibling() -> None:
        try:
            running.set()
            await asyncio.sleep(60)  # the step's work
        finally:
            ended.set()

    with pytest.raises(Boom), parallel(error_strategy=FAIL_FAST) as group:
        group.add(sibling)
        group.add(raising_after, running)
    assert ended.wait(PATIENCE)


def test_a_stream_that_fails_fast_gives_what_was_there_before_and_then_raises() -> None:
    with parallel(max_workers=1, error_strategy=FAIL_FAST) as group:
        gate = Gate()
        group.add(pow, 2, 3)
        group.add(raising_after, gate)
        results = group.stream()
        assert next(results).unwrap() == 8
        gate.open()
        with pytest.raises(Boom):
            next(results)


def test_fail_slow_raises_nothing_and_has_all_results() -> None:
    with parallel(max_workers=2, circuit_breaker_threshold=None) as group:
        for number in range(20):
            group.add(pow, number, 2) if number % 2 else group.add(boom)
        results = group.gather()
    assert [result.ok for result in results] == [False, True] * 10
    assert (group.group.completed, group.group.failed) == (10, 10)
    assert len(group.group.errors) == 10


def test_a_result_that_is_returned_counts_as_what_it_says() -> None:
    own = Boom("own")
    with parallel() as group:
        group.add(ExecutionResult, False, None, own)
        group.add(ExecutionResult, False, error_message="said")
        group.add(ExecutionResult, False)
        group.add(answer(ExecutionResult(ok=False, error=own)))
        group.add(ExecutionResult, True, 5)
        first, second, third, fourth, fifth = group.gather()
    assert first.error is fourth.error is own
    assert isinstance(second.error, TaskGroupError) and second.error_message == "said"
    assert third.error_message == "the task has failed"
    assert (fifth.ok, fifth.unwrap(), fifth.index) == (True, 5, 4)
    assert (group.group.failed, group.group.completed) == (4, 1)
    with pytest.raises(TaskGroupError, match="said"):
        second.unwrap()
    with pytest.raises(TaskGroupError, match="said"), parallel(error_strategy=FAIL_FAST) as fast:
        fast.add(ExecutionResult, False, error_message="said")


# Timeouts


def test_a_timeout_keeps_what_has_finished_and_marks_the_rest() -> None:
    gate, clock = Gate(), ManualClock()
    with clock.installed(), parallel(max_workers=3, timeout=30.0, name="docs") as group:
        for number in range(6):
            group.add(pow, number, 2)
        group.add(boom)
        for _ in range(3):
            group.add(gate.wait)
        group.add(pow, 2, 2)
        results = group.stream()
        seen = [next(results).index for _ in range(7)]
        gate.wait_until_reached(3)
        clock.advance(30.0)
        seen += [result.index for result in results]
        assert seen[:7] == sorted(seen[:7]) and sorted(seen) == list(range(11))
        results_ = group.gather()
    gate.open()
    assert [result.ok for result in results_] == [True] * 6 + [False] * 5
    text = (
        "group 'docs' timed out after 30.0s, completed 7 of 11, "
        "consider a larger timeout or max_workers"
    )
    assert [result.error_message for result in results_[7:]] == [text] * 4
    assert all(isinstance(result.error, GroupTimeoutError) for result in results_[7:])
    assert [result.status for result in results_[7:]] == ["timed_out"] * 3 + ["cancelled"]
    assert [result.execution_time for result in results_[7:]] == [30.0, 30.0, 30.0, 0.0]
    assert [result.attempts for result in results_[7:]] == [1, 1, 1, 0]
    info = group.group
    assert (info.total, info.completed, info.failed) == (11, 6, 4)  # three were in the middle
    assert info.status == "failed" and info.success_rate == pytest.approx(6 / 11)


def test_a_timeout_raises_under_fail_fast() -> None:
    gate, clock = Gate(), ManualClock()
    with (
        pytest.raises(TimeoutError) as raised,
        parallel(max_workers=1, timeout=7, error_strategy=FAIL_FAST, name="docs") as group,
    ):
        group.add(pow, 2, 3)
        group.add(gate.wait)
        group.add(answer())
        with clock.installed():
            results = group.stream()
            assert next(results).unwrap() == 8
            gate.wait_until_reached()
            clock.advance(7)
            list(results)
    gate.open()
    assert isinstance(raised.value, GroupTimeoutError)
    assert str(raised.value) == (
        "group 'docs' timed out after 7.0s, completed 1 of 3, "
        "consider a larger timeout or max_workers"
    )
    with pytest.raises(GroupTimeoutError):
        group.gather()


def test_a_timeout_is_kept_whatever_the_tasks_do() -> None:
    started = time.monotonic()
    with parallel(max_workers=2, timeout=0.1) as group:
        for _ in range(4):
            group.add(time.sleep, 3)  # the step's work
        results = group.gather()
    assert 0.1 <= time.monotonic() - started < 0.2
    assert [result.ok for result in results] == [False] * 4


# Retries


@pytest.mark.parametrize("is_async", [False, True])
def test_retries_wait_twice_as_long_each_time(is_async: bool) -> None:
    clock, failures = ManualClock(), iter([Boom("1"), Boom("2"), Boom("3")])

    def work() -> str:
        for error in failures:
            raise error
        return "at last"

    async def awork() -> str:
        return work()

    with clock.installed(), parallel(max_retries=3, retry_delay=10.0) as group:
        group.add(awork if is_async else work)
        results = group.stream()
        for delay in (10.0, 20.0, 40.0):
            advance_to(clock, delay)
        result = next(results)
    assert (result.unwrap(), result.attempts, result.execution_time) == ("at last", 4, 70.0)


@pytest.mark.parametrize("option", ["max_retries", "retry_delay"])
def test_a_retry_policy_is_taken_under_either_name(option: str) -> None:
    policy = RetryPolicy(attempts=3, delay=0.0, retry_on=(Boom,))
    options: Any = {option: policy}
    with parallel(**options) as group:
        group.add(boom)
        group.add(int, "x")
        tried, not_tried = group.gather()
    assert (tried.attempts, not_tried.attempts) == (3, 1)
    assert isinstance(tried.error, Boom)


def test_retries_are_per_task_and_the_last_error_counts() -> None:
    calls: dict[str, int] = {}
    lock = threading.Lock()

    def work(name: str, fails: int) -> str:
        with lock:
            calls[name] = number = calls.get(name, 0) + 1
        if number <= fails:
            raise Boom(f"{name}{number}")
        return name

    with parallel(max_retries=2, retry_delay=0.0, circuit_breaker_threshold=None) as group:
        for fails in range(5):
            group.add(work, f"task{fails}", fails)
        results = group.gather()
    assert [result.attempts for result in results] == [1, 2, 3, 3, 3]
    assert [result.error_message for result in results] == ["", "", "", "task33", "task43"]


def test_a_task_that_waits_for_its_retry_holds_no_place_and_the_timeout_ends_the_wait() -> None:
    clock = ManualClock()
    with (
        clock.installed(),
        parallel(max_workers=1, max_retries=1, retry_delay=100.0, timeout=50.0) as group,
    ):
        group.add(boom)
        group.add(pow, 2, 3)
        results = group.stream()
        assert next(results).unwrap() == 8
        clock.advance(50.0)
        last = next(results)
    assert not last.ok and "completed 1 of 2" in last.error_message


# Circuit breakers


def test_a_group_stops_trying_after_so_many_failures_in_a_row() -> None:
    with parallel(max_workers=1, circuit_breaker_threshold=3, name="docs") as group:
        for _ in range(5):
            group.add(boom)
        group.add(answer())
        results = group.gather()
    assert [isinstance(result.error, Boom) for result in results] == [True] * 3 + [False] * 3
    assert all(isinstance(result.error, CircuitOpenError) for result in results[3:])
    assert "circuit 'docs' is open after 3 failed attempts in a row" in results[5].error_message


def test_a_threshold_of_3_and_a_task_that_fails_twice_and_then_succeeds_do_not_open() -> None:
    failures = iter([Boom(), Boom()])

    def work() -> None:
        for error in failures:
            raise error

    clock = ManualClock()
    with (
        clock.installed(),
        parallel(max_workers=1, max_retries=2, retry_delay=0, circuit_breaker_threshold=3) as group,
    ):
        group.add(work)
        group.add(boom)
        group.add(pow, 2, 3)
        results = group.stream()
        first, second = next(results), next(results)
        assert first.ok and first.attempts == second.attempts == 3
        assert isinstance(second.error, Boom)
        advance_to(clock, 60.0)  # now it is open, and not asked again before it is worth it
        assert next(results).attempts == 2


def test_a_breaker_by_name_is_shared_with_others() -> None:
    CircuitBreaker.forget_all()
    breaker = CircuitBreaker("shared", failure_threshold=2)
    for given in ("shared", breaker):
        with parallel(max_workers=1, circuit_breaker=given) as group:
            group.add(boom)
    with parallel(circuit_breaker="shared") as group:
        group.add(pow, 2, 3)
    assert isinstance(group.gather()[0].error, CircuitOpenError)
    with parallel() as group:  # its own is another
        group.add(pow, 2, 3)
    assert group.gather()[0].ok
    CircuitBreaker.forget_all()


# What is no failure, and what is more than one


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_a_task_may_give_up_its_turn(is_async: bool, strategy: ErrorStrategy) -> None:
    with parallel(error_strategy=strategy, max_retries=3, retry_delay=50.0) as group:
        group.add(raising(SkipStep("nothing to do"), is_async))
        (result,) = group.gather()
    assert (result.ok, result.status, result.result) == (True, Outcome.SKIPPED, None)
    assert (group.group.status, group.group.completed) == ("completed", 1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_may_stop_what_is_around_it(is_async: bool) -> None:
    with pytest.raises(StopPipeline) as raised, parallel(max_workers=1) as group:
        group.add(raising(StopPipeline("done"), is_async))
        group.add(answer())
        group.gather()
    assert raised.value.result == "done"


@pytest.mark.parametrize("strategy", ErrorStrategy)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [Harsh, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_ends_the_group_and_is_raised(
    error: type[BaseException], is_async: bool, strategy: ErrorStrategy
) -> None:
    started: list[int] = []
    with pytest.raises(error), parallel(max_workers=1, error_strategy=strategy) as group:
        group.add(raising(error("harsh"), is_async))
        group.add(started.append, 1)
        group.add(answer())
        group.gather()
    assert started == []
    assert group.group.status == "cancelled"
    with parallel() as other:
        other.add(pow, 2, 3)
    assert other.gather()[0].ok


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_that_was_cancelled_by_others_has_failed(is_async: bool) -> None:
    with parallel() as group:
        group.add(raising(asyncio.CancelledError(), is_async))
        group.add(answer())
        cancelled, good = group.gather()
    assert isinstance(cancelled.error, StepCancelledError)
    assert good.unwrap() == 42


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_an_error_that_would_end_an_iteration_does_not_do_so_silently(kind: Any) -> None:
    with pytest.raises((RuntimeError, kind)), parallel(error_strategy=FAIL_FAST) as group:
        group.add(raising(kind("over"), False))
        list(group.stream())
        pytest.fail("the stream ended as if nothing had happened")
    with pytest.raises((RuntimeError, kind)):
        list(map_parallel(lambda item: raising(kind(), False)(), [1, 2], on_error="fail_fast"))
        pytest.fail("the results ended as if there were no more")


# No coroutine is left without a word


def gathered(group: Any) -> None:
    group.gather()


def streamed(group: Any) -> None:
    list(group.stream())


def broken_off(group: Any) -> None:
    for _ in group.stream():
        break


def raised_in(group: Any) -> None:
    for _ in group.stream():
        boom()


def not_gathered(group: Any) -> None:
    boom()


def left_alone(group: Any) -> None:
    pass


@pytest.fixture
def warned() -> Iterator[list[str]]:
    found: list[str] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield found
        gc.collect()
        found += [str(one.message) for one in seen]
    assert found == []


@pytest.mark.parametrize(
    "way", [gathered, streamed, broken_off, raised_in, not_gathered, left_alone]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"error_strategy": FAIL_FAST}, {"timeout": 0.02}, {"circuit_breaker_threshold": 1}],
    ids=["slow", "fast", "timeout", "breaker"],
)
def test_no_coroutine_is_ever_left_unawaited(
    way: Callable[[Any], None], options: dict[str, Any], warned: list[str]
) -> None:
    async def slow() -> None:
        await asyncio.sleep(0.1)  # the step's work

    def run() -> None:
        with parallel(max_workers=1, **options) as group:
            group.add(answer())
            group.add(aboom())
            group.add(slow())
            group.add(answer())
            way(group)

    with suppress(Boom, GroupTimeoutError):
        run()
