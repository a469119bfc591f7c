"""Dynamic groups in plain code: what goes in, what comes out, and in which order."""

from __future__ import annotations

import contextvars
import gc
import json
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from typing import Any

import pytest
from pydantic import ValidationError

from task_pipeline import (
    ErrorStrategy,
    ExecutionResult,
    GroupInfo,
    GroupStatus,
    GroupTimeoutError,
    Outcome,
    TaskGroup,
    TaskGroupError,
    parallel,
)
from task_pipeline.testing import Gate

FAIL_FAST = ErrorStrategy.FAIL_FAST


class Boom(Exception):
    """What a task raises."""


def boom() -> None:
    raise Boom("burst")


async def answer(value: Any = 42) -> Any:
    return value


@pytest.fixture(autouse=True)
def _every_coroutine_is_awaited_or_closed() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in seen] == []


# What comes out


def test_results_come_in_the_order_added_whatever_the_order_of_ends() -> None:
    first, second = Gate(), Gate()

    def late() -> str:
        first.wait()
        second.open()
        return "late"

    with parallel(max_workers=3) as group:
        assert [group.add(late), group.add(second.wait), group.add(first.open)] == [0, 1, 2]
        results = group.gather()
    assert [result.index for result in results] == [0, 1, 2]
    assert [result.result for result in results] == ["late", None, None]
    assert all(result.ok and result.status is Outcome.SUCCEEDED for result in results)


def test_a_result_tells_what_became_of_its_task() -> None:
    with parallel() as group:
        group.add(divmod, 7, 2, name="good")
        group.add(int, "x")
        good, bad = group.gather()
    assert good == ExecutionResult(
        True, (3, 1), None, "", "good", 0, 1, good.execution_time, Outcome.SUCCEEDED
    )
    assert 0 < good.execution_time < 5
    assert good.unwrap() == (3, 1)
    assert (bad.ok, bad.result, bad.name, bad.index) == (False, None, None, 1)
    assert (bad.attempts, bad.status) == (1, Outcome.FAILED)
    assert bad.error_message == str(bad.error) == "invalid literal for int() with base 10: 'x'"
    with pytest.raises(ValueError, match="invalid literal") as raised:
        bad.unwrap()
    assert raised.value is bad.error
    with pytest.raises(AttributeError):
        bad.ok = True  # type: ignore[misc]  # that it cannot be set is what is tried


def test_gather_dict_has_names_and_the_indices_of_those_without_one_as_text() -> None:
    with parallel() as group:
        group.add(pow, 2, 1)
        group.add(pow, 2, 2, name="second")
        group.add(pow, 2, 3)
        by_name = group.gather_dict()
    assert list(by_name) == ["0", "second", "2"]
    assert [result.unwrap() for result in by_name.values()] == [2, 4, 8]


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_stream_gives_each_result_when_it_is_there(timeout: float | None) -> None:
    gates = [Gate(), Gate(), Gate()]
    with parallel(max_workers=3, timeout=timeout) as group:
        for gate in gates:
            group.add(gate.wait)
        results = group.stream()
        order = []
        for index in (1, 2, 0):  # nobody else may end before
            gates[index].wait_until_reached()
            gates[index].open()
            order.append(next(results).index)
        assert order == [1, 2, 0]
        assert list(results) == []


def test_a_stream_of_failures_has_them_as_results() -> None:
    with parallel(max_workers=1) as group:
        group.add(boom)
        group.add(pow, 2, 3)
        assert [(result.ok, result.index) for result in group.stream()] == [(False, 0), (True, 1)]


def test_gather_dict_after_stream_has_the_right_names() -> None:
    gate = Gate()
    with parallel(max_workers=2) as group:
        group.add(gate.wait, name="slow")
        group.add(pow, 2, 3)
        group.add(gate.open, name="opener")
        assert len(list(group.stream())) == 3
        by_name = group.gather_dict()
    assert {name: result.index for name, result in by_name.items()} == {
        "slow": 0,
        "1": 1,
        "opener": 2,
    }
    assert by_name["1"].result == 8


def test_a_second_gather_and_a_stream_after_it_give_the_same_results() -> None:
    calls: list[int] = []
    with parallel() as group:
        group.add(calls.append, 1)
        group.add(boom)
        results = group.gather()
        again = group.gather()
        assert all(one is other for one, other in zip(results, again, strict=True))
        again.clear()  # a list of the caller's own
        assert list(group.stream()) == results
        assert list(group.gather_dict().values()) == results
    assert group.gather() == results
    assert calls == [1]


def test_leaving_the_block_gathers_if_nobody_did() -> None:
    calls: list[int] = []
    with parallel() as group:
        group.add(calls.append, 1)
        group.add(calls.append, 2)
        assert group.group.status is GroupStatus.PENDING
        assert calls == []
    assert sorted(calls) == [1, 2]
    assert [result.ok for result in group.gather()] == [True, True]


def test_leaving_the_block_raises_the_first_error_of_a_group_that_fails_fast() -> None:
    with pytest.raises(Boom), parallel(error_strategy=FAIL_FAST) as group:
        group.add(boom)


@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_a_group_without_tasks_is_done_at_once(strategy: ErrorStrategy) -> None:
    with parallel(error_strategy=strategy, timeout=1.0, name="none") as group:
        assert group.gather() == []
        assert group.gather_dict() == {}
        assert list(group.stream()) == []
    assert (group.group.status, group.group.success_rate) == (GroupStatus.COMPLETED, 1.0)
    with parallel() as other:
        assert list(other.stream()) == []


@pytest.mark.no_cover
def test_ten_thousand_tasks() -> None:
    with parallel(max_workers=4) as group:
        for number in range(10_000):
            group.add(abs, -number)
        assert [result.unwrap() for result in group.gather()] == list(range(10_000))


# Leaving early


def test_an_exception_in_the_block_starts_nothing() -> None:
    calls: list[int] = []
    with pytest.raises(Boom), parallel() as group:
        group.add(calls.append, 1)
        group.add(answer())
        boom()
    assert group.group.status is GroupStatus.CANCELLED
    with pytest.raises(TaskGroupError, match="left"):
        group.add(calls.append, 2)
    with suppress(TaskGroupError):
        group.gather()
    assert calls == []


@pytest.mark.parametrize("way", ["raise", "break", "close", "return"])
def test_leaving_a_stream_cancels_the_rest(way: str) -> None:
    gate = Gate()
    calls: list[int] = []

    def leave() -> None:
        with parallel(max_workers=2) as group:
            groups.append(group)
            group.add(pow, 2, 3)
            group.add(gate.wait)
            group.add(gate.wait)
            group.add(calls.append, 1)
            group.add(answer())
            stream = group.stream()
            for _ in stream:
                gate.wait_until_reached(2)
                if way == "raise":
                    boom()
                if way == "return":
                    return
                break
            if way == "close":
                stream.close()  # type: ignore[attr-defined]  # as of a generator
                assert group.group.status is GroupStatus.CANCELLED
            del stream
            while group.group.status is not GroupStatus.CANCELLED:  # not only with the block
                threading.Event().wait(0.001)

    groups: list[TaskGroup] = []
    with suppress(Boom):
        leave()
    assert groups[0].group.status is GroupStatus.CANCELLED
    assert groups[0].group.completed == 1
    first, *rest = groups[0].gather()
    assert first.unwrap() == 8
    assert {result.status for result in rest} == {Outcome.CANCELLED}
    gate.open()
    assert calls == []


def test_an_exception_after_a_gather_changes_nothing() -> None:
    with pytest.raises(Boom), parallel() as group:
        group.add(pow, 2, 3)
        group.gather()
        boom()
    assert group.group.status is GroupStatus.COMPLETED
    assert group.gather()[0].unwrap() == 8


# What the group says of itself


def test_group_describes_the_group_from_before_its_start_to_its_end() -> None:
    first, second = Gate(), Gate()
    with parallel(max_workers=1, name="docs", timeout=60.0) as group:
        group.add(first.wait)
        group.add(boom)
        group.add(second.wait)
        before = group.group
        assert isinstance(before, GroupInfo)
        assert (before.id, before.name, before.total, before.start) == ("0", "docs", 3, None)
        assert (before.status, before.success_rate, before.duration) == ("pending", 1.0, 0.0)
        results = group.stream()
        first.wait_until_reached()
        assert group.group.status is GroupStatus.RUNNING
        first.open()
        next(results), next(results)
        second.wait_until_reached()
        running = group.group
        assert (running.completed, running.failed, running.success_rate) == (1, 1, 0.5)
        assert (running.status, running.end) == (GroupStatus.RUNNING, None)
        assert [str(error) for error in running.errors] == ["burst"]
        second.open()
        list(results)
        info = group.group
    assert (info.completed, info.failed, info.status) == (2, 1, GroupStatus.FAILED)
    assert info.success_rate == pytest.approx(2 / 3)
    assert info.start is not None and info.end is not None
    assert info.start.tzinfo is UTC and info.end >= info.start
    assert info.duration == (info.end - info.start).total_seconds()
    assert (info.max_workers, info.timeout, info.error_strategy) == (1, 60.0, "FAIL_SLOW")
    assert before.total == 3 and before.status == "pending"  # a picture, not a window
    with pytest.raises(ValidationError):
        info.total = 4
    told = json.loads(info.model_dump_json())
    assert told["errors"] == ["Boom: burst"] and told["status"] == "failed"
    assert info.model_dump()["completed"] == 2


def test_group_status_of_each_way_to_end() -> None:
    with parallel() as good:
        good.add(pow, 2, 3)
    with parallel() as bad:
        bad.add(boom)
    with pytest.raises(Boom), parallel(error_strategy=FAIL_FAST) as fast:
        fast.add(boom)
    gate = Gate()
    with parallel(timeout=0.01) as late:
        late.add(gate.wait)
    gate.open()
    with suppress(GroupTimeoutError), parallel(timeout=0.01, error_strategy=FAIL_FAST) as later:
        later.add((gate := Gate()).wait)
    gate.open()
    groups = (good, bad, fast, late, later)
    assert [group.group.status for group in groups] == ["completed", *["failed"] * 4]


# What is around it


def test_context_variables_of_the_caller_are_seen_and_a_tasks_own_leak_nowhere() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("callers")

    def spoil() -> str:
        before = variable.get()
        variable.set("spoilt")
        return before

    async def aspoil() -> str:
        return spoil()

    with parallel(max_workers=1) as group:
        variable.set("at gather")
        for work in (spoil, aspoil, spoil, aspoil):
            group.add(work)
        assert [result.unwrap() for result in group.gather()] == ["at gather"] * 4
    assert variable.get() == "at gather"


def test_no_more_tasks_run_at_once_than_max_workers() -> None:
    lock, inside, peak = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=10)

    def count() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        together.wait()
        with lock:
            inside -= 1

    with parallel(max_workers=3) as group:
        for _ in range(30):
            group.add(count)
    assert all(result.ok for result in group.gather())
    assert peak == 3


def test_a_group_lets_go_of_everything_once_nobody_has_it() -> None:
    class Data:
        pass

    def use(data: Data) -> Data:
        return Data()

    gone: list[weakref.ref[Any]] = []

    def run() -> None:
        data = Data()
        with parallel() as group:
            group.add(use, data)
            group.add(boom)
            results = group.gather()
        gone.extend(map(weakref.ref, (data, results[0].result, group)))

    run()
    gc.collect()
    assert [one() for one in gone] == [None] * 3
