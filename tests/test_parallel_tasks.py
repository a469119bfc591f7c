"""What a dynamic group takes: tasks of every kind, their names, and its options."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from task_pipeline import (
    ExecutionResult,
    RetryPolicy,
    TaskGroup,
    TaskGroupError,
    map_parallel,
    parallel,
)


async def answer(value: Any = 42) -> Any:
    return value


@pytest.fixture(autouse=True)
def _every_coroutine_is_awaited_or_closed() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in seen] == []


class Callable_:
    def __call__(self, value: int) -> int:
        return value + 1

    def method(self, value: int) -> int:
        return value + 2

    async def amethod(self, value: int) -> int:
        return value + 3


class AsyncCallable:
    async def __call__(self, value: int) -> int:
        return value + 4


class Awaitable_:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()  # the step's work
        return 5


async def named(name: str) -> str:
    return f"named {name}"


@pytest.mark.parametrize(
    ("work", "args", "expected"),
    [
        (Callable_(), (0,), 1),
        (Callable_().method, (0,), 2),
        (Callable_().amethod, (0,), 3),
        (AsyncCallable(), (0,), 4),
        (functools.partial(AsyncCallable(), 0), (), 4),
        (functools.partial(Callable_().amethod, value=0), (), 3),
        (functools.partial(functools.partial(pow, 2), 3), (), 8),
        (functools.partial(named, name="n"), (), "named n"),
        (lambda: answer(6), (), 6),
        (functools.partial(answer, 7), (), 7),
        (Awaitable_, (), 5),
        (len, ([1, 2],), 2),
        (dict, (), {}),
        (str.upper, ("a",), "A"),
        ([].append, (1,), None),
        (lambda: None, (), None),
        (lambda: ExecutionResult(result=3), (), 3),
        (answer, (ExecutionResult(result=3),), 3),
    ],
)
def test_whatever_can_be_called_is_called_and_awaited(
    work: Callable[..., Any], args: tuple[Any, ...], expected: Any
) -> None:
    with parallel() as group:
        group.add(work, *args)
        assert group.gather()[0].unwrap() == expected


def test_coroutines_and_awaitables_are_awaited_and_keywords_passed_on() -> None:
    with parallel() as group:
        group.add(answer(), name="coroutine")
        group.add(Awaitable_())
        group.add(int, "11", base=2)
        group.add(answer, value="keyword")
        assert [result.unwrap() for result in group.gather()] == [42, 5, 3, "keyword"]


def refused(group: TaskGroup, work: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(TaskGroupError) as raised:
        group.add(work, *args, **kwargs)
    return str(raised.value)


def test_what_cannot_be_a_task_is_refused_and_leaves_nothing_behind() -> None:
    with parallel(name="docs") as group:
        for wrong in (3, None, "text", [pow]):
            assert f"not a {type(wrong).__name__}: write add(function," in refused(group, wrong)
        assert "no further arguments" in refused(group, answer(), 3)
        assert "not empty, not ''" in refused(group, pow, 2, 3, name="")
        assert "not 5" in refused(group, pow, 2, 3, name=5)
        assert "a coroutine takes" in refused(group, answer(), 1, name="free")
        assert group.add(pow, 2, 3, name="free") == 0
        assert "'docs' has a task 'free' already" in refused(group, answer(), name="free")
        assert group.add(pow, 2, 4) == 1
        assert len(group.gather()) == 2


def test_a_name_that_is_an_index_takes_that_index() -> None:
    with parallel() as group:
        group.add(pow, 2, 3, name="1")
        assert "'1' already" in refused(group, pow, 2, 3)
        group.add(pow, 2, 4, name="other")
        assert group.add(pow, 2, 5) == 2
        assert list(group.gather_dict()) == ["1", "other", "2"]
    with parallel() as group:
        group.add(pow, 2, 3)
        assert "'0' already" in refused(group, pow, 2, 3, name="0")


def test_nothing_can_be_added_after_a_gather_or_a_stream() -> None:
    with parallel(name="docs") as group:
        group.gather()
        assert "group 'docs' has been gathered, or left" in refused(group, answer())
    assert "open another one" in refused(group, pow, 2, 3)
    with parallel() as group:
        group.add(pow, 2, 3)
        results = group.stream()
        assert "has been gathered" in refused(group, pow, 2, 3)
        assert next(results).unwrap() == 8


def test_a_bare_coroutine_cannot_be_tried_again() -> None:
    with parallel(max_retries=1) as group:
        text = refused(group, answer())
    assert "write add(function, argument)" in text and "max_retries at 0" in text


def test_a_group_is_entered_once() -> None:
    opened = parallel(name="docs")
    with opened:
        pass
    with pytest.raises(TaskGroupError, match="'docs' was entered before"), opened:
        pass


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("max_workers", value) for value in (0, -1, 2.0, True, "3", None)],
        *[("timeout", value) for value in (0, -1.0, float("inf"), "1")],
        ("error_strategy", "FAIL_SOON"),
        ("name", ""),
        ("max_retries", -1),
        ("retry_delay", -0.1),
        ("retry_delay", float("nan")),
        ("circuit_breaker_threshold", 0),
        ("circuit_breaker_timeout", 0),
        ("circuit_breaker", 5),
        ("max_worker", 3),
    ],
)
def test_options_without_meaning_are_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=rf"\n( *Value error, )?{option}\b") as raised:
        parallel(**{option: value})
    assert isinstance(raised.value, ValueError)


def test_options_of_every_good_kind_are_taken() -> None:
    policy = RetryPolicy(attempts=2, delay=0.0)
    for options in (
        {"timeout": 1, "error_strategy": "FAIL_FAST", "retry_delay": 1},
        {"max_retries": policy},
        {"retry_delay": policy},
        {"circuit_breaker_threshold": None, "circuit_breaker": "shared"},
    ):
        with parallel(**options) as group:
            group.add(pow, 2, 3)
            assert group.gather()[0].unwrap() == 8


def test_map_parallel_refuses_the_same_options() -> None:
    with pytest.raises(ValidationError, match="max_workers"):
        map_parallel(abs, [1], max_workers=0)
