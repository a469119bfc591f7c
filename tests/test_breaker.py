"""Circuit breakers: when they open, who gets through half-open, and whose word counts."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from task_pipeline import (
    CircuitOpenError,
    ConfigurationError,
    SkipStep,
    StepCancelledError,
    StepTimeoutError,
    StopPipeline,
    step,
)
from task_pipeline.engine.breaker import CircuitBreaker
from task_pipeline.engine.circuit import Admission
from task_pipeline.engine.circuit_states import Change, CircuitState
from task_pipeline.engine.failures import Settings, Share
from task_pipeline.testing import Gate, ManualClock

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
THREADS, ROUNDS, PATIENCE = 50, 200, 30.0
ERROR = ConnectionError("line busy")


@pytest.fixture(autouse=True)
def _no_circuit_is_known() -> Iterator[None]:
    CircuitBreaker.forget_all()
    yield
    CircuitBreaker.forget_all()


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    with ManualClock(1000.0).installed() as installed:
        yield installed


def fail(breaker: CircuitBreaker, times: int = 1) -> list[Change | None]:
    return [breaker.admit().failed(ERROR) for _ in range(times)]


def succeed(breaker: CircuitBreaker, times: int = 1) -> list[Change | None]:
    return [breaker.admit().succeeded() for _ in range(times)]


def rejection(breaker: CircuitBreaker) -> CircuitOpenError:
    with pytest.raises(CircuitOpenError) as caught:
        breaker.admit()
    return caught.value


def half_open(clock: ManualClock, probes: int = 1) -> CircuitBreaker:
    breaker = CircuitBreaker.private("api", failure_threshold=1, half_open_max_calls=probes)
    fail(breaker)
    clock.advance(60.0)
    return breaker


# Closed


def test_it_opens_at_the_threshold_of_failures_in_a_row(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=3)
    assert fail(breaker, 2) == [None, None]
    assert (breaker.state, breaker.failures, breaker.retry_after) == (CLOSED, 2, 0.0)
    assert fail(breaker) == [Change("api", OPEN, 3, 60.0)]
    assert (breaker.state, breaker.failures, breaker.retry_after) == (OPEN, 3, 60.0)


def test_two_failures_and_a_success_do_not_open_a_threshold_of_three(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=3)
    for _ in range(10):
        assert fail(breaker, 2) == [None, None]
        assert succeed(breaker) == [None]
        assert (breaker.state, breaker.failures) == (CLOSED, 0)


def test_only_failures_within_the_window_count(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=3, window=10.0)
    for _ in range(20):
        assert fail(breaker) == [None]
        clock.advance(5.5)
    assert (breaker.state, breaker.failures) == (CLOSED, 1)
    clock.advance(100)
    assert breaker.failures == 0
    assert fail(breaker) == [None]
    clock.advance(4.0)
    assert fail(breaker) == [None]
    clock.advance(6.0)  # the first is 10 seconds old: it counts still
    assert fail(breaker) == [Change("api", OPEN, 3, 60.0)]


def test_with_a_rate_it_opens_when_that_share_has_failed_of_enough(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=10, failure_rate=0.3)
    assert {*fail(breaker, 2), *succeed(breaker, 7)} == {None}
    assert (breaker.state, breaker.failures) == (CLOSED, 2)
    assert fail(breaker) == [Change("api", OPEN, 3, 60.0)]
    assert "open after 3 failed attempts of 10; " in str(rejection(breaker))


def test_with_a_rate_too_few_attempts_show_nothing(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=10, failure_rate=0.3)
    assert set(fail(breaker, 9)) == {None}
    # The tenth is a success, and with it there are enough of them to see that nine failed.
    assert succeed(breaker) == [Change("api", OPEN, 9, 60.0)]


@pytest.mark.parametrize(("failures", "of"), [(3, 10), (1, 10), (7, 10), (2, 3), (7, 100)])
def test_a_rate_is_reached_to_the_attempt(clock: ManualClock, failures: int, of: int) -> None:
    rate = {(2, 3): 2 / 3}.get((failures, of), float(f"{failures / of}"))
    breaker = CircuitBreaker("api", failure_threshold=of, failure_rate=rate)
    assert {*fail(breaker, failures - 1), *succeed(breaker, of - failures)} == {None}
    assert fail(breaker) == [Change("api", OPEN, failures, 60.0)]


def test_with_a_rate_attempts_before_the_window_are_forgotten(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=4, failure_rate=0.5, window=20.0)
    fail(breaker, 3)
    clock.advance(18.9)
    assert breaker.failures == 3
    clock.advance(1.2)
    assert breaker.failures == 0
    assert {*succeed(breaker, 3), *fail(breaker, 2)} == {None}
    assert fail(breaker) == [Change("api", OPEN, 3, 60.0)]


def test_a_busy_circuit_takes_no_more_memory_than_a_quiet_one(clock: ManualClock) -> None:
    by_rate = Share(Settings(window=10.0), 0.9)
    for count in range(20_000):
        by_rate.add(count % 2 == 0, clock)
        clock.advance(0.01)
    assert len(by_rate._parts) <= 20
    assert 480 <= by_rate.failures() <= 500
    in_a_row = CircuitBreaker.private("api", failure_threshold=10**30, window=1.0)
    for _ in range(2_000):
        fail(in_a_row)
        clock.advance(0.1)
    assert in_a_row.failures <= 10


@pytest.mark.parametrize("rate", [None, 0.5])
def test_attempts_by_another_clock_do_not_count_together(rate: float | None) -> None:
    breaker = CircuitBreaker("api", failure_threshold=3, failure_rate=rate, window=10.0)
    late, early = ManualClock(1e6), ManualClock(0.0)
    for clock in (late, late, early, early):
        assert breaker.admit(clock).failed(ERROR) is None
    assert breaker.failures == 2
    assert breaker.admit(early).failed(ERROR) == Change("api", OPEN, 3, 60.0)
    early.advance(59)
    assert breaker.retry_after == 1.0  # whoever asks, by `early`


# Open


def test_an_open_circuit_rejects_at_once_and_says_when_to_try_again(clock: ManualClock) -> None:
    breaker = CircuitBreaker("openai", recovery_timeout=60.0)
    fail(breaker, 5)
    clock.advance(18.0)
    error = rejection(breaker)
    assert (error.circuit, error.retry_after) == ("openai", 42.0)
    assert str(error) == (
        "circuit 'openai' is open after 5 failed attempts in a row; try again in 42.0 s"
    )
    clock.advance(41.95)
    assert str(rejection(breaker)).endswith("; try again in 0.050 s")
    called: list[int] = []
    with pytest.raises(CircuitOpenError):
        breaker.call(called.append, 1)
    assert called == [] and breaker.state is OPEN


@pytest.mark.parametrize("start", [0.1, 1 / 3, 7e5 / 9, 3e8 / 7])
@pytest.mark.parametrize("wait", [0.1, 0.7, 60.3, 1e5 / 3])
def test_who_waits_as_long_as_it_was_told_is_let_through(start: float, wait: float) -> None:
    for part in (0.0, 0.1, 1 / 3, 0.77):
        clock = ManualClock(start)
        breaker = CircuitBreaker.private("api", failure_threshold=1, recovery_timeout=wait)
        breaker.admit(clock).failed(ERROR)
        clock.advance(wait * part)
        with pytest.raises(CircuitOpenError) as caught:
            breaker.admit(clock)
        clock.advance(caught.value.retry_after)
        breaker.admit(clock)


def test_what_was_admitted_before_it_opened_changes_nothing_later(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=2)
    before = [breaker.admit() for _ in range(8)]
    fail(breaker, 2)
    clock.advance(30)
    assert before[0].failed(ERROR) is None and before[1].succeeded() is None
    assert (breaker.state, breaker.retry_after, breaker.failures) == (OPEN, 30.0, 2)
    clock.advance(30)
    probe = breaker.admit()
    assert before[2].failed(ERROR) is None and before[3].succeeded() is None
    assert breaker.state is HALF_OPEN
    assert probe.succeeded() == Change("api", CLOSED)
    assert before[4].failed(ERROR) is None and before[5].failed(ERROR) is None
    assert (breaker.state, breaker.failures) == (CLOSED, 0)
    assert fail(breaker) == [None]
    assert before[6].succeeded() is None
    assert breaker.failures == 1


@pytest.mark.parametrize("rate", [None, 1.0])
def test_what_led_to_an_opening_is_forgotten_when_it_closes(
    clock: ManualClock, rate: float | None
) -> None:
    breaker = CircuitBreaker(
        "api", failure_threshold=3, failure_rate=rate, window=1000.0, recovery_timeout=1.0
    )
    fail(breaker, 3)
    clock.advance(1.0)
    assert succeed(breaker) == [Change("api", CLOSED)]
    assert breaker.failures == 0
    assert fail(breaker, 2) == [None, None]
    assert breaker.state is CLOSED


# Half-open


def test_it_reads_half_open_from_when_it_would_let_one_through(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=2)
    fail(breaker, 2)
    clock.advance(59.9)
    assert breaker.state is OPEN
    clock.advance(0.1)
    assert (breaker.state, breaker.retry_after, breaker.failures) == (HALF_OPEN, 0.0, 2)
    probe = breaker.admit()
    assert probe.change == Change("api", HALF_OPEN, 2)
    assert (breaker.state, breaker.failures) == (HALF_OPEN, 2)


def test_a_failed_probe_opens_it_again_for_the_whole_time(clock: ManualClock) -> None:
    breaker = half_open(clock)
    probe = breaker.admit()
    clock.advance(7.0)
    assert probe.failed(ERROR) == Change("api", OPEN, 2, 60.0)
    assert (breaker.state, breaker.retry_after, breaker.failures) == (OPEN, 60.0, 2)
    assert "'api' is open after a failed probe; try again in 60.0 s" in str(rejection(breaker))


def test_it_closes_when_all_of_its_probes_have_succeeded(clock: ManualClock) -> None:
    breaker = half_open(clock, probes=3)
    first, second, third = (breaker.admit() for _ in range(3))
    assert [probe.change for probe in (first, second, third)] == [
        Change("api", HALF_OPEN, 1),
        None,
        None,
    ]
    assert second.succeeded() is None
    rejection(breaker)  # no more than three are risked
    assert first.succeeded() is None
    rejection(breaker)
    assert third.succeeded() == Change("api", CLOSED)
    assert breaker.state is CLOSED


def test_its_probes_may_come_one_after_another(clock: ManualClock) -> None:
    breaker = half_open(clock, probes=3)
    probes = []
    for end in (None, None, Change("api", CLOSED)):
        probes.append(breaker.admit())
        assert probes[-1].succeeded() == end


def test_one_failed_probe_of_several_is_enough(clock: ManualClock) -> None:
    breaker = half_open(clock, probes=3)
    first, second, third = (breaker.admit() for _ in range(3))
    assert first.succeeded() is None
    assert second.failed(ERROR) == Change("api", OPEN, 2, 60.0)
    clock.advance(30.0)
    assert third.failed(ERROR) is None and breaker.retry_after == 30.0
    clock.advance(30.0)
    assert breaker.admit().change == Change("api", HALF_OPEN, 2)


def test_who_finds_no_place_is_told_to_wait_as_long_again(clock: ManualClock) -> None:
    breaker = half_open(clock)
    probe = breaker.admit()
    waits = []
    for age in (0.0, 5.0, 5.0, 10.0, 30.0, 50.0):
        clock.advance(age)
        waits.append(rejection(breaker).retry_after)
        assert breaker.retry_after == waits[-1]
    assert waits == [6.0, 6.0, 10.0, 20.0, 50.0, 60.0]
    assert str(rejection(breaker)) == (
        "circuit 'api' is half-open, and the attempts that try it are under way; "
        "try again in 60.0 s"
    )
    assert probe.succeeded() == Change("api", CLOSED)


@pytest.mark.parametrize(
    "leave",
    [
        lambda probe: probe.released(),
        lambda probe: probe.failed(asyncio.CancelledError()),
        lambda probe: probe.failed(KeyboardInterrupt()),
        lambda probe: probe.failed(GeneratorExit()),
        lambda probe: probe.failed(StepCancelledError("left")),
        lambda probe: probe.failed(SkipStep()),
        lambda probe: probe.failed(StopPipeline()),
        lambda probe: probe.failed(CircuitOpenError("another circuit")),
    ],
)
def test_a_probe_that_is_left_gives_its_place_back(
    clock: ManualClock, leave: Callable[[Admission], None]
) -> None:
    breaker = half_open(clock)
    for _ in range(3):
        probe = breaker.admit()
        rejection(breaker)
        assert leave(probe) is None  # type: ignore[func-returns-value]  # but `failed` does return one
        assert (breaker.state, breaker.retry_after) == (HALF_OPEN, 0.0)
        assert probe.failed(ERROR) is None and probe.succeeded() is None  # it comes too late
        assert breaker.state is HALF_OPEN
    assert succeed(breaker) == [Change("api", CLOSED)]


def test_a_probe_that_nobody_holds_any_more_gives_its_place_back(clock: ManualClock) -> None:
    breaker = half_open(clock)
    probe = breaker.admit()
    rejection(breaker)
    del probe
    gc.collect()
    assert succeed(breaker) == [Change("api", CLOSED)]


def test_a_probe_that_times_out_has_failed(clock: ManualClock) -> None:
    breaker = half_open(clock)
    late = breaker.admit()
    assert late.failed(StepTimeoutError("timed out")) == Change("api", OPEN, 2, 60.0)
    assert late.succeeded() is None
    assert breaker.state is OPEN


def test_only_the_first_word_of_an_attempt_counts(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=2)
    attempt = breaker.admit()
    attempt.failed(ERROR)
    attempt.failed(ERROR)
    attempt.succeeded()
    attempt.released()
    assert (breaker.state, breaker.failures) == (CLOSED, 1)
    attempt = breaker.admit()
    attempt.released()
    attempt.failed(ERROR)
    attempt.succeeded()
    assert (breaker.state, breaker.failures) == (CLOSED, 1)


# Many threads


@pytest.fixture
def _threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Crowd:
    """Fifty threads that all ask in each round, and begin each round together."""

    def __init__(self, rounds: int, ask: Callable[[int], object]) -> None:
        self.answers: list[list[object]] = [[] for _ in range(rounds)]
        self._ask = ask
        self._barrier = threading.Barrier(THREADS + 1, timeout=PATIENCE)
        self._threads = [threading.Thread(target=self._take_part) for _ in range(THREADS)]
        self._failed: list[BaseException] = []

    def _take_part(self) -> None:
        try:
            for number, answers in enumerate(self.answers):
                self._barrier.wait()
                answers.append(self._ask(number))
                self._barrier.wait()
        except BaseException as error:
            self._failed.append(error)
            self._barrier.abort()

    def run(self, before: Callable[[], object], after: Callable[[list[Any]], object]) -> None:
        for thread in self._threads:
            thread.start()
        try:
            for answers in self.answers:
                before()
                self._barrier.wait()
                self._barrier.wait()
                after(answers)
        except threading.BrokenBarrierError:
            assert self._failed == []
            raise
        finally:
            self._barrier.abort()
            for thread in self._threads:
                thread.join(PATIENCE)


def admission_or_error(
    breaker: CircuitBreaker, clock: ManualClock | None = None
) -> Admission | CircuitOpenError:
    try:
        return breaker.admit(clock)
    except CircuitOpenError as error:
        return error


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.usefixtures("_threads_change_often")
def test_of_fifty_threads_exactly_as_many_as_there_are_places_get_through(places: int) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("api", failure_threshold=1, half_open_max_calls=places)
    breaker.admit(clock).failed(ERROR)
    rounds = ROUNDS if places == 1 else ROUNDS // 4

    def ask(number: int) -> Admission | CircuitOpenError:
        return admission_or_error(breaker, clock)

    ends: list[Change | None] = []

    def check(answers: list[Any]) -> None:
        probes = [answer for answer in answers if isinstance(answer, Admission)]
        rejected = [answer for answer in answers if isinstance(answer, CircuitOpenError)]
        assert (len(probes), len(rejected)) == (places, THREADS - places)
        assert {error.retry_after for error in rejected} <= {6.0}
        assert [probe.change.state for probe in probes if probe.change] == [HALF_OPEN]
        if len(ends) % 2:
            assert [probe.succeeded() for probe in probes][-1] == Change("api", CLOSED)
            breaker.admit(clock).failed(ERROR)
        else:
            probes[0].failed(ERROR)
        ends.append(None)
        answers.clear()

    Crowd(rounds, ask).run(before=lambda: clock.advance(60.0), after=check)
    assert len(ends) == rounds


@pytest.mark.usefixtures("_threads_change_often")
def test_places_that_fifty_threads_give_back_are_never_more_than_there_are() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("api", failure_threshold=1, half_open_max_calls=2)
    breaker.admit(clock).failed(ERROR)
    inside: list[int] = []

    def ask(number: int) -> int:
        """Come and go until let through five times; returns the most that were inside."""
        most = got = 0
        for _ in range(20_000):
            try:
                probe = breaker.admit(clock)
            except CircuitOpenError:
                continue
            inside.append(1)
            most = max(most, len(inside))
            inside.pop()
            probe.released()
            got += 1
            if got == 5:
                break
        return most

    def check(answers: list[Any]) -> None:
        assert max(answers) in {1, 2}
        assert breaker.state is HALF_OPEN
        breaker.admit(clock).failed(ERROR)
        answers.clear()

    Crowd(5, ask).run(before=lambda: clock.advance(60.0), after=check)


@pytest.mark.usefixtures("_threads_change_often")
@pytest.mark.parametrize("rate", [None, 1.0])
def test_of_fifty_threads_that_fail_at_once_one_opens_it(rate: float | None) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("api", failure_threshold=3, failure_rate=rate)
    attempts: list[Admission] = []

    def admit() -> None:
        breaker.reset()
        attempts.extend(breaker.admit(clock) for _ in range(THREADS))

    def ask(number: int) -> Change | None:
        return attempts.pop().failed(ERROR)

    def check(answers: list[Any]) -> None:
        assert [end for end in answers if end is not None] == [Change("api", OPEN, 3, 60.0)]

    Crowd(ROUNDS // 2, ask).run(before=admit, after=check)


@pytest.mark.usefixtures("_threads_change_often")
@pytest.mark.parametrize("rate", [None, 1.0])
def test_no_failure_of_fifty_threads_is_lost(rate: float | None) -> None:
    clock = ManualClock()
    threshold = THREADS * 20
    breaker = CircuitBreaker("api", failure_threshold=threshold, failure_rate=rate)

    def ask(number: int) -> list[Change]:
        ends = [breaker.admit(clock).failed(ERROR) for _ in range(20)]
        return [end for end in ends if end is not None]

    def check(answers: list[Any]) -> None:
        assert [end for ends in answers for end in ends] == [Change("api", OPEN, threshold, 60.0)]
        breaker.reset()

    Crowd(5, ask).run(before=lambda: None, after=check)


class MeetingClock(ManualClock):
    """Two threads that ask for the time at once meet, unless a lock keeps them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(2)
        self.met: list[bool] = []

    def monotonic(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            try:
                self.meeting.wait(0.1)
                self.met.append(True)
            except threading.BrokenBarrierError:
                self.met.append(False)
        return super().monotonic()


@pytest.mark.parametrize("rate", [None, 1.0])
@pytest.mark.parametrize("when", ["closed", "open"])
def test_two_threads_are_never_in_the_middle_of_a_change_at_once(
    rate: float | None, when: str
) -> None:
    clock, breaker = MeetingClock(), CircuitBreaker("api", failure_threshold=1, failure_rate=rate)
    attempts = [breaker.admit(clock) for _ in range(2)]

    def ask() -> object:
        if when == "closed":
            return attempts.pop().failed(ERROR)
        return admission_or_error(breaker, clock)

    if when == "open":
        attempts.pop().failed(ERROR)
        clock.advance(60.0)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert clock.met and not any(clock.met)


def test_no_lock_is_held_during_a_call(clock: ManualClock) -> None:
    breaker = half_open(clock)
    answers: list[object] = []

    def other_thread() -> None:
        answers.append(admission_or_error(breaker))
        answers.append(breaker.state)
        answers.append(CircuitBreaker("another").state)

    def work(answer: int) -> int:
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return answer

    assert breaker.call(work, 1) == 1  # the probe
    assert isinstance(answers[0], CircuitOpenError) and answers[1:] == [HALF_OPEN, CLOSED]
    answers.clear()
    assert breaker.call(work, 2) == 2  # closed
    assert isinstance(answers[0], Admission) and answers[1:] == [CLOSED, CLOSED]


def test_calls_of_one_circuit_run_at_the_same_time() -> None:
    together = threading.Barrier(8, timeout=PATIENCE)
    breaker = CircuitBreaker("api")
    threads = [threading.Thread(target=breaker.call, args=(together.wait,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not together.broken and breaker.failures == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork as POSIX has it")
def test_a_forked_child_has_fresh_locks_and_its_places_back() -> None:
    script = """
import os, signal, threading, warnings
from task_pipeline.engine import breaker as module
from task_pipeline.engine.breaker import CircuitBreaker
from task_pipeline.testing import ManualClock
warnings.simplefilter("ignore")
clock = ManualClock()
busy = CircuitBreaker("busy", failure_threshold=1)
private = CircuitBreaker.private("private")
busy.admit(clock).failed(OSError())
clock.advance(60)
held, done = threading.Event(), threading.Event()
def hold():
    probe = busy.admit(clock)
    with module._lock, busy._current().lock, private._current().lock:
        held.set()
        done.wait(20)
thread = threading.Thread(target=hold)
thread.start()
held.wait(20)
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    assert busy.admit(clock).succeeded().state == "closed"
    assert private.call(lambda: 1) == 1
    assert CircuitBreaker("new").state == "closed"
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
done.set()
thread.join()
print(code)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.stdout, ended.returncode) == ("0\n", 0), ended.stderr


# Calls and decorators


def test_a_call_passes_arguments_results_and_errors_through(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=2)
    assert breaker.call(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        breaker.call(int, "x")
    assert breaker.failures == 1
    with pytest.raises(KeyboardInterrupt):
        breaker.call(raises(KeyboardInterrupt()))
    with pytest.raises(SkipStep):
        breaker.call(raises(SkipStep()))
    assert breaker.failures == 1
    breaker.call(int)
    assert breaker.failures == 0


def raises(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_the_failure_that_opens_it_comes_out_as_it_is(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=1)
    with pytest.raises(ConnectionError) as caught:
        breaker.call(raises(ERROR))
    assert caught.value is ERROR and caught.value.__cause__ is None
    assert breaker.state is OPEN


def test_coroutine_functions_are_counted_by_what_they_come_to(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=2)

    async def answer(value: int) -> int:
        await asyncio.sleep(0)  # the step's work
        if value < 0:
            raise ERROR
        return value

    async def use() -> None:
        assert await breaker.acall(answer, 3) == 3
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await breaker.acall(answer, value=-1)
        with pytest.raises(CircuitOpenError):
            await breaker.acall(answer, 1)
        clock.advance(60)
        assert await breaker.acall(answer, 4) == 4

    asyncio.run(use())
    assert breaker.state is CLOSED


def test_a_cancelled_coroutine_gives_its_place_back(clock: ManualClock) -> None:
    breaker = half_open(clock)

    async def use() -> None:
        never = asyncio.Event()
        task = asyncio.create_task(breaker.acall(never.wait))
        await asyncio.sleep(0)  # the step's work
        rejection(breaker)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (breaker.state, breaker.retry_after) == (HALF_OPEN, 0.0)

        dropped = breaker.acall(never.wait)
        dropped.send(None)
        rejection(breaker)
        dropped.close()
        assert (breaker.state, breaker.retry_after) == (HALF_OPEN, 0.0)

    asyncio.run(use())


def test_it_goes_on_functions_coroutine_functions_and_methods(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=1)

    @breaker
    def plain(value: int) -> int:
        """What it does."""
        return value + 1

    @breaker
    async def later(value: int) -> int:
        return value + 2

    class Client:
        @breaker
        def get(self, value: int) -> int:
            return value + 3

    @breaker
    @step(step_id="marked")
    def marked(context: object) -> None:
        raise ERROR

    assert plain(1) == 2 and (plain.__name__, plain.__doc__) == ("plain", "What it does.")
    assert inspect.iscoroutinefunction(later) and not inspect.iscoroutinefunction(plain)
    assert asyncio.run(later(1)) == 3
    assert Client().get(1) == 4
    assert marked.__dict__["__task_step__"] == {"step_id": "marked"}
    with pytest.raises(ConnectionError):
        marked(None)
    for call in (lambda: plain(1), lambda: asyncio.run(later(1)), lambda: Client().get(1)):
        with pytest.raises(CircuitOpenError):
            call()


def test_what_would_be_counted_before_it_has_begun_is_refused(clock: ManualClock) -> None:
    breaker = half_open(clock)

    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def generates() -> Any:
        yield 1

    with pytest.raises(TypeError, match="is a coroutine function: use acall") as caught:
        breaker.call(coroutine)  # type: ignore[unused-coroutine]  # it never comes to be one
    assert (breaker.state, breaker.retry_after) == (HALF_OPEN, 0.0), caught.traceback
    for wrong in (generator, generates):
        with pytest.raises(TypeError, match="is a generator function: use admit"):
            breaker(wrong)
    for no_function in (int, "search"):
        with pytest.raises(TypeError, match="a circuit breaker goes on a function, not on "):
            breaker(no_function)  # type: ignore[type-var]  # which is the point


# Settings and names


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(
            "api",
            failure_threshold=0,
            failure_rate=1.5,
            window=-1.0,
            recovery_timeout=math.inf,
            half_open_max_calls=True,
        )
    text = str(caught.value)
    assert text.startswith("5 mistakes in circuit breaker 'api':\n  failure_threshold: ")
    for part in ("not 0\n", "not 1.5\n", "not -1.0\n", "not inf\n", "half_open_max_calls: "):
        assert part in text
    assert CircuitBreaker("api", failure_threshold=2).failures == 0  # nothing of it was kept


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("api", {"failure_threshold": 1.0}),
        ("api", {"failure_threshold": True}),
        ("api", {"failure_rate": 0}),
        ("api", {"failure_rate": math.nan}),
        ("api", {"window": 0.0}),
        ("api", {"window": "10"}),
        ("api", {"recovery_timeout": 0}),
        ("api", {"half_open_max_calls": 0}),
        ("", {}),
        (" ", {}),
        (None, {}),
    ],
)
def test_each_setting_is_checked(name: Any, given: dict[str, Any]) -> None:
    for make in (CircuitBreaker, CircuitBreaker.private):
        with pytest.raises(ConfigurationError, match="1 mistake in circuit breaker"):
            make(name, **given)


def test_its_signature_says_the_defaults_that_it_has() -> None:
    parameters = inspect.signature(CircuitBreaker).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "name": inspect.Parameter.empty,
        **Settings().model_dump(),
    }
    with pytest.raises(TypeError, match="unexpected keyword argument 'threshold'"):
        CircuitBreaker("api", threshold=3)  # type: ignore[call-arg]  # which is the point
    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        CircuitBreaker()  # type: ignore[call-arg]  # which is the point


def test_breakers_of_one_name_share_one_circuit(clock: ManualClock) -> None:
    one = CircuitBreaker("api", 2, window=30.0)
    others = [
        CircuitBreaker("api"),
        CircuitBreaker("api", failure_threshold=2),
        CircuitBreaker("api", window=30),
        CircuitBreaker("api", 2, None, 30.0, 60.0, 1),
        CircuitBreaker.named("api"),
    ]
    stranger = CircuitBreaker("mail", failure_threshold=2)
    fail(one)
    fail(others[0])
    assert {breaker.state for breaker in [one, *others]} == {OPEN}
    assert stranger.state is CLOSED and stranger.name == "mail"
    one.reset()
    assert {breaker.state for breaker in [one, *others]} == {CLOSED}
    assert "failure_threshold=2, failure_rate=None, window=30.0" in repr(others[4])
    assert repr(one).startswith("<CircuitBreaker 'api': closed, ")


def test_other_settings_for_the_same_name_are_an_error() -> None:
    CircuitBreaker("api", failure_threshold=3, window=30.0)
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker("api", failure_threshold=5, recovery_timeout=10.0, window=30.0)
    assert str(caught.value).startswith(
        "circuit breaker 'api' exists and has failure_threshold=3, not 5; "
        "recovery_timeout=60.0, not 10.0: give its settings in one place"
    )
    # Written out, the defaults are settings like any others.
    with pytest.raises(ConfigurationError, match="has failure_threshold=3, not 5: "):
        CircuitBreaker("api", 5)


def test_who_gives_a_name_alone_may_come_before_who_gives_the_settings(
    clock: ManualClock,
) -> None:
    first = CircuitBreaker.named("api")
    fail(first, 3)
    CircuitBreaker("api", failure_threshold=2)
    assert (first.failures, first.state) == (0, CLOSED)  # a new count for new settings
    fail(first, 2)
    assert first.state is OPEN
    with pytest.raises(ConfigurationError, match="has failure_threshold=2, not 4"):
        CircuitBreaker("api", failure_threshold=4)


def test_an_open_circuit_that_is_given_settings_stays_open(clock: ManualClock) -> None:
    first = CircuitBreaker.named("api")
    fail(first, 5)
    CircuitBreaker("api", recovery_timeout=10.0, half_open_max_calls=2)
    assert (first.state, first.retry_after) == (OPEN, 10.0)


def test_all_circuits_can_be_forgotten(clock: ManualClock) -> None:
    old = CircuitBreaker("api", failure_threshold=1)
    late = old.admit()
    fail(old)
    CircuitBreaker.forget_all()
    CircuitBreaker("mail", failure_threshold=7)
    assert late.failed(ERROR) is None
    assert old.state is CLOSED
    fail(CircuitBreaker("api"))  # which has the settings of `old` again
    assert old.state is OPEN
    CircuitBreaker.forget_all()
    new = CircuitBreaker("api", failure_threshold=9)
    fail(old, 8)
    assert (old.state, new.failures) == (CLOSED, 8)
    assert fail(new) == [Change("api", OPEN, 9, 60.0)]


def test_a_private_breaker_shares_its_circuit_with_nobody(clock: ManualClock) -> None:
    one = CircuitBreaker.private("api", failure_threshold=1)
    other = CircuitBreaker.private("api", failure_threshold=2)
    shared = CircuitBreaker("api", failure_threshold=3)
    assert fail(one) == [Change("api", OPEN, 1, 60.0)]
    assert (one.state, other.state, shared.state) == (OPEN, CLOSED, CLOSED)
    CircuitBreaker.forget_all()
    assert one.state is OPEN
    with pytest.raises(ConfigurationError, match="thresholds: Extra inputs are not permitted"):
        CircuitBreaker.private("api", thresholds=1)


def test_a_copy_means_the_same_circuit(clock: ManualClock) -> None:
    breaker = CircuitBreaker("api", failure_threshold=1)
    private = CircuitBreaker.private("own", failure_threshold=1)
    fail(breaker)
    fail(private)
    for again in (
        copy.copy(breaker),
        copy.deepcopy([breaker])[0],
        pickle.loads(pickle.dumps(breaker)),
        copy.copy(private),
        copy.deepcopy([private])[0],
    ):
        assert again.state is OPEN
    elsewhere = pickle.dumps([breaker, private])
    CircuitBreaker.forget_all()
    shared, own = pickle.loads(elsewhere)
    assert (shared.state, shared.name, own.state, own.name) == (CLOSED, "api", CLOSED, "own")
    assert fail(CircuitBreaker.named("api")) == [Change("api", OPEN, 1, 60.0)]
    assert shared.state is OPEN
    assert fail(own) == [Change("own", OPEN, 1, 60.0)]


@pytest.mark.usefixtures("_threads_change_often")
def test_fifty_threads_that_name_a_circuit_first_get_the_same_one() -> None:
    def ask(number: int) -> CircuitBreaker:
        return CircuitBreaker(f"api {number}")

    def check(answers: list[Any]) -> None:
        answers[0].admit().failed(ERROR)
        assert {breaker.failures for breaker in answers} == {1}

    Crowd(20, ask).run(before=lambda: None, after=check)


def test_by_default_time_is_that_of_the_system() -> None:
    breaker = CircuitBreaker("api", failure_threshold=1, recovery_timeout=1e-9)
    fail(breaker)
    assert succeed(breaker) == [Change("api", CLOSED)]
    slow = CircuitBreaker("slow", failure_threshold=1, recovery_timeout=3600.0)
    fail(slow)
    assert 3500 < rejection(slow).retry_after <= 3600


def test_a_thread_that_is_held_in_a_probe_keeps_its_place(clock: ManualClock) -> None:
    breaker, gate = half_open(clock), Gate()
    thread = threading.Thread(target=breaker.call, args=(gate.wait,))
    thread.start()
    gate.wait_until_reached()
    clock.advance(1e6)
    rejection(breaker)
    gate.open()
    thread.join(PATIENCE)
    assert breaker.state is CLOSED


# Any sequence, against a plain account of it


@dataclass
class Account:
    """What the rules say, from a full list of what has happened in each state."""

    threshold: int
    rate: float | None
    places: int
    window: float = 20.0
    recovery: float = 10.0
    now: float = 0.0
    state: str = "closed"
    era: int = 0
    counted: list[tuple[float, bool]] = field(default_factory=list)
    opened_at: float = 0.0
    probed_at: float = 0.0
    led: int = 0
    good: int = 0
    inside: set[int] = field(default_factory=set)

    def change(self, state: str) -> None:
        self.state, self.era = state, self.era + 1
        self.good, self.inside = 0, set()
        if state == "open":
            self.opened_at = self.now
        if state == "closed":
            self.counted = []

    def failures(self) -> int:
        if self.state != "closed":
            return self.led
        return sum(failed for failed in self.relevant())

    def relevant(self) -> list[bool]:
        if self.rate is not None:
            part = self.window / 20
            return [failed for at, failed in self.counted if at // part > self.now // part - 20]
        last = [index for index, (_, failed) in enumerate(self.counted) if not failed]
        row = self.counted[last[-1] + 1 :] if last else self.counted
        return [failed for at, failed in row if self.now - at <= self.window]

    def wait(self) -> float:
        if self.state == "open":
            return max(0.0, self.opened_at + self.recovery - self.now)
        if self.state == "half_open" and self.good + len(self.inside) >= self.places:
            return min(self.recovery, max(self.now - self.probed_at, self.recovery / 10))
        return 0.0

    def seen(self) -> str:
        return "half_open" if self.state == "open" and not self.wait() else self.state

    def end(self, failed: bool) -> str | None:
        """Count an attempt of the present era; returns the new state, if it is one."""
        if self.state == "half_open":
            self.good += not failed
            if failed:
                self.led += 1
                self.change("open")
                return "open"
            if self.good == self.places:
                self.change("closed")
                return "closed"
            return None
        self.counted.append((self.now, failed))
        relevant = self.relevant()
        enough = len(relevant) >= self.threshold
        if not enough or sum(relevant) < (self.rate or 0) * len(relevant):
            return None
        self.led = sum(relevant)
        self.change("open")
        return "open"


class AnySequence(RuleBasedStateMachine):
    @initialize(
        threshold=st.integers(1, 4),
        rate=st.sampled_from([None, None, 0.25, 0.5, 1.0]),
        places=st.integers(1, 3),
    )
    def begin(self, threshold: int, rate: float | None, places: int) -> None:
        self.clock = ManualClock()
        self.account = Account(threshold, rate, places)
        self.breaker = CircuitBreaker.private(
            "api",
            failure_threshold=threshold,
            failure_rate=rate,
            window=20.0,
            recovery_timeout=10.0,
            half_open_max_calls=places,
        )
        self.attempts: list[tuple[int, Admission, int]] = []
        self.count = 0

    @rule()
    def ask(self) -> None:
        account = self.account
        wait = account.wait()
        admission = admission_or_error(self.breaker, self.clock)
        if isinstance(admission, CircuitOpenError):
            assert admission.retry_after == wait > 0
            return
        assert wait == 0
        expected = None
        if account.state == "open":
            account.change("half_open")
            expected = Change("api", HALF_OPEN, account.led)
        assert admission.change == expected
        self.count += 1
        if account.state == "half_open":
            account.inside.add(self.count)
            account.probed_at = account.now
        self.attempts.append((self.count, admission, account.era))

    @precondition(lambda self: self.attempts)
    @rule(
        index=st.integers(0, 10**6),
        word=st.sampled_from(["failed", "failed", "failed", "succeeded", "released", "cancelled"]),
        keeps=st.booleans(),
    )
    def end(self, index: int, word: str, keeps: bool) -> None:
        number, admission, era = self.attempts.pop(index % len(self.attempts))
        account, new = self.account, None
        if era == account.era:
            account.inside.discard(number)
            if word in {"failed", "succeeded"}:
                new = account.end(word == "failed")
        change = {
            "failed": lambda: admission.failed(ERROR),
            "succeeded": admission.succeeded,
            "released": admission.released,
            "cancelled": lambda: admission.failed(StepCancelledError("left")),
        }[word]()
        if new is None:
            assert change is None
        else:
            assert change == Change(
                "api",
                CircuitState(new),
                account.led if new == "open" else 0,
                10.0 if new == "open" else None,
            )
        if keeps:  # another word, later: it must not matter
            self.attempts.append((0, admission, -1))

    @rule(index=st.integers(0, 10**6))
    @precondition(lambda self: self.attempts)
    def drop(self, index: int) -> None:
        number, admission, era = self.attempts.pop(index % len(self.attempts))
        del admission
        if era == self.account.era:
            self.account.inside.discard(number)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 19.75, 20.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.account.now += seconds

    @rule()
    def wait_as_told(self) -> None:
        self.wait(self.breaker.retry_after)

    @rule(times=st.integers(1, 5))
    def fail_some(self, times: int) -> None:
        for _ in range(times):
            before = len(self.attempts)
            self.ask()
            if len(self.attempts) > before:
                self.end(before, "failed", keeps=False)

    @precondition(lambda self: self.count > 5)
    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.account.change("closed")

    @invariant()
    def agrees(self) -> None:
        account, breaker = self.account, self.breaker
        assert breaker.state == account.seen()
        assert breaker.failures == account.failures()
        assert breaker.retry_after == account.wait()


AnySequence.TestCase.settings = settings(stateful_step_count=60)
test_any_sequence_is_as_the_account_says = AnySequence.TestCase
