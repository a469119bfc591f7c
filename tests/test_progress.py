"""Progress: how it is added up, that it never goes backwards, and who is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
import threading
from collections.abc import Callable
from typing import Any, assert_type

import pytest

from task_pipeline import (
    LogicOperator,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    ProgressTracker,
    Serial,
    step,
    with_progress_callback,
)
from task_pipeline.testing import Gate, Simulator

Context = PipelineContext[Any]
Call = tuple[int, int, str, float]


def named(step_id: str, **attributes: Any) -> Any:
    return step(step_id=step_id, **attributes)(lambda context: None)


a, b, c, d, e = map(named, "abcde")


# The tracker


def test_the_split_of_three_items_one_of_them_a_group_of_three() -> None:
    details = ProgressTracker([a, [b, c, d], e]).get_step_details()
    shares = {name: detail["max_weight"] for name, detail in details.items()}
    assert shares == pytest.approx(
        {"a": 33.33, "b": 11.11, "c": 11.11, "d": 11.11, "e": 33.33}, 1e-3
    )
    assert sum(shares.values()) == pytest.approx(100.0)


def test_a_tracker_adds_up_contributions() -> None:
    tracker = ProgressTracker([a, [b, named("w", weight=3)], a])
    assert tracker.get_overall_progress() == 0.0
    tracker.update_step_progress("a", 50)
    tracker.update_step_progress("w", 100)
    tracker.update_step_progress("a#2", 10.0)
    details = tracker.get_step_details()
    assert details["a"] == {
        "internal_progress": 50,
        "max_weight": pytest.approx(100 / 3),
        "contribution": pytest.approx(100 / 6),
    }
    assert details["w"]["contribution"] == pytest.approx(25.0)
    assert details["b"]["contribution"] == 0.0
    assert tracker.get_overall_progress() == pytest.approx(100 / 6 + 25 + 100 / 30)
    assert tracker.get_overall_progress() == pytest.approx(
        sum(detail["contribution"] for detail in details.values())
    )


def test_guarantee_9_a_tracker_never_goes_backwards_nor_beyond() -> None:
    tracker = ProgressTracker([a, b])
    for percent, overall in [(50, 25), (20, 25), (-5, 25), (60, 30), (1000, 50), (99, 50)]:
        tracker.update_step_progress("a", percent)
        assert tracker.get_overall_progress() == overall
    tracker.update_step_progress("b", float("inf"))
    assert tracker.get_overall_progress() == 100.0


@pytest.mark.parametrize("count", [1, 3, 7, 12, 23, 49, 97, 1000])
def test_guarantee_9_a_tracker_reaches_exactly_100(count: int) -> None:
    tracker = ProgressTracker([a] * count)
    ids = list(tracker.get_step_details())
    for percent in (33.3, 66.6, 100.0):
        for step_id in ids:
            tracker.update_step_progress(step_id, percent)
            last = percent == 100.0 and step_id == ids[-1]
            assert (tracker.get_overall_progress() == 100.0) is last
    tracker.complete()
    assert tracker.get_overall_progress() == 100.0


def test_a_tracker_that_is_complete_says_so_of_every_step() -> None:
    tracker = ProgressTracker([a, [b, c], d])
    tracker.update_step_progress("b", 50)
    tracker.complete()
    tracker.update_step_progress("d", 70)
    details = tracker.get_step_details()
    assert [detail["internal_progress"] for detail in details.values()] == [100.0] * 4
    assert sum(detail["contribution"] for detail in details.values()) == pytest.approx(100.0)
    assert tracker.get_overall_progress() == 100.0


def test_a_tracker_refuses_what_is_no_progress() -> None:
    tracker = ProgressTracker([a, b])
    with pytest.raises(KeyError, match="there is no step 'x'; there are a, b"):
        tracker.update_step_progress("x", 50)
    with pytest.raises(ValueError, match="not nan"):
        tracker.update_step_progress("a", float("nan"))
    assert tracker.get_overall_progress() == 0.0


def test_a_tracker_of_nothing() -> None:
    tracker = ProgressTracker([])
    assert (tracker.get_overall_progress(), tracker.get_step_details()) == (0.0, {})
    tracker.complete()
    assert tracker.get_overall_progress() == 100.0


def test_a_tracker_may_be_used_from_many_threads() -> None:
    tracker = ProgressTracker([a] * 8)
    ids = list(tracker.get_step_details())
    met = threading.Barrier(4, timeout=30)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        met.wait()
        for percent in range(101):
            for step_id in chance.sample(ids, len(ids)):
                tracker.update_step_progress(step_id, percent)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.get_overall_progress() == 100.0


# A run's


def test_guarantee_9_progress_in_steps_reaches_the_status() -> None:
    gates = [Gate(), Gate()]

    def work(context: Context) -> None:
        context.update_step_progress(40)
        context.update_step_progress(20)
        gates[0].wait()
        context.update_step_progress(500)
        gates[1].wait()

    pipeline = Pipeline([work, a])
    assert pipeline.get_status()["progress"] == 0.0
    run = pipeline.start()
    gates[0].wait_until_reached()
    assert pipeline.get_status()["progress"] == pytest.approx(20.0)
    detail = pipeline.get_status()["step_details"]["work"]
    assert (detail["internal_progress"], detail["max_weight"]) == (40.0, 50.0)
    assert (detail["contribution"], detail["status"]) == (20.0, "running")
    gates[0].open()
    gates[1].wait_until_reached()
    assert pipeline.get_status()["progress"] == pytest.approx(50.0)
    gates[1].open()
    run.result()
    assert pipeline.get_status()["progress"] == 100.0


SHAPES: dict[str, Any] = {
    "thirds": [a, [b, c, d], e],
    "sevenths": [a, b, c, d, e, a, b],
    "deep": [[a, [b, [c, [d, e], a]], b, c], d],
    "nothing": [],
    "empty groups": [[], [[], []], Serial([])],
    "weights": [named("w", weight=0.1), [named("v", weight=7), named("u", weight=0)], a],
}


@pytest.mark.parametrize("steps", SHAPES.values(), ids=SHAPES)
def test_guarantee_9_a_run_reaches_exactly_100(steps: Any) -> None:
    pipeline = Pipeline(steps)
    pipeline.run()
    assert pipeline.get_status()["progress"] == 100.0


def fails(context: Context) -> None:
    raise ValueError


def test_what_will_not_run_any_more_counts_as_behind_us() -> None:
    either = ParallelConfig(operator=LogicOperator.OR)
    tolerant = PipelineConfig(fail_fast=False, parallel_config=either)
    pipeline = Pipeline([[fails, [fails, b], a], fails, [fails, b], c], tolerant)
    pipeline.run()
    assert pipeline.get_status()["progress"] == 100.0


def test_a_run_that_failed_stays_where_it_was() -> None:
    pipeline = Pipeline([a, fails, b, c])
    with pytest.raises(ValueError):
        pipeline.run()
    assert pipeline.get_status()["progress"] == 25.0


# The callback


def calls_of(steps: Any, seed: int | None = None, **settings: Any) -> list[Call]:
    calls: list[Call] = []
    pipeline = Pipeline(steps, PipelineConfig(**settings), lambda *args: calls.append(args))
    if seed is not None:
        Simulator(pipeline, seed).run()
        return calls
    with contextlib.suppress(ValueError):
        pipeline.run()
    return calls


def test_the_callback_is_told_when_each_item_ends() -> None:
    named_group = Parallel([b, c], name="io")
    calls = calls_of([a, [b, c], named_group, Pipeline([d]), []])
    assert [call[:3] for call in calls] == [
        *[(0, 5, "a"), (1, 5, "parallel_group_1"), (2, 5, "io")],
        *[(3, 5, "serial_group_3"), (4, 5, "parallel_group_4")],
    ]
    assert [call[3] for call in calls] == [*map(pytest.approx, (25, 50, 75, 100)), 100.0]


@pytest.mark.parametrize("seed", range(5))
def test_the_callback_is_told_the_same_in_every_order(seed: int) -> None:
    steps = [a, [b, [c, [d, e]]], a]
    assert calls_of(steps, seed) == calls_of(steps)
    percents = [call[3] for call in calls_of(steps, seed)]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0


def test_the_callback_is_told_of_a_failed_item_too() -> None:
    assert [call[2] for call in calls_of([a, fails, b])] == ["a", "fails"]
    assert calls_of([a, fails, b], fail_fast=False) == [
        *[(0, 3, "a", pytest.approx(100 / 3)), (1, 3, "fails", pytest.approx(200 / 3))],
        (2, 3, "b", 100.0),
    ]


def test_guarantee_11_a_callback_that_raises_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def raises(*args: object) -> None:
        raise RuntimeError("not today")

    with caplog.at_level(logging.ERROR, logger="task_pipeline"):
        context = Pipeline([lambda context: 1, [a, b]], progress_callback=raises).run()
    assert (context.results, context.errors) == ({"lambda": 1}, [])
    assert caplog.messages == ["an observer raised; the run goes on"] * 2
    assert {record.exc_info[0] for record in caplog.records if record.exc_info} == {RuntimeError}


# with_progress_callback


def told(callback: Callable[..., object]) -> list[object]:
    """What a callback gives back for a call."""
    return [callback(1, 2, "name", 50.0)]


@with_progress_callback
def plain(items: list[int], progress_callback: Any) -> list[object]:
    """Pass it on."""
    return [items, *told(progress_callback)]


@with_progress_callback
def with_default(items: list[int], progress_callback: Any = None) -> list[object]:
    return [items, *told(progress_callback)]


@with_progress_callback
def keyword_only(*items: int, progress_callback: Any) -> list[object]:
    return [list(items), *told(progress_callback)]


@with_progress_callback
def any_keywords(items: list[int], **keywords: Any) -> list[object]:
    return [items, *told(keywords["progress_callback"])]


@with_progress_callback
async def coroutine(items: list[int], progress_callback: Any = None) -> list[object]:
    return [items, *told(progress_callback)]


def awaited(*args: Any, **keywords: Any) -> Any:
    return asyncio.run(coroutine(*args, **keywords))


def given(*args: object) -> str:
    return "told"


PASSED: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *((plain, ([1],)), (with_default, ([1],)), (keyword_only, (1,)), (any_keywords, ([1],))),
    (awaited, ([1],)),
]


@pytest.mark.parametrize(("function", "args"), PASSED)
def test_a_callback_that_is_not_passed_does_nothing(
    function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    assert function(*args) == [[1], None]
    assert function(*args, progress_callback=None) == [[1], None]
    assert function(*args, progress_callback=given) == [[1], "told"]


@pytest.mark.parametrize("function", [plain, with_default, awaited])
def test_a_callback_may_be_passed_by_its_place(function: Callable[..., Any]) -> None:
    assert function([1], given) == [[1], "told"]
    assert function([1], None) == [[1], None]
    assert function(items=[1]) == [[1], None]


def test_arguments_beside_the_callback_stay_what_they_are() -> None:
    items: Any = (1, None, 3)
    assert keyword_only(*items) == [[1, None, 3], None]  # type: ignore[call-arg]  # it is filled in
    with pytest.raises(TypeError, match="items"):
        with_default()  # type: ignore[call-arg]  # the function's own mistakes stay its own
    with pytest.raises(TypeError, match="positional argument"):
        with_default([1], given, 3)  # type: ignore[call-arg]  # the same


def test_the_function_keeps_its_name_type_and_kind() -> None:
    assert (plain.__name__, plain.__doc__) == ("plain", "Pass it on.")
    assert_type(with_default([1]), list[object])
    assert inspect.iscoroutinefunction(coroutine)
    assert not inspect.iscoroutinefunction(plain)


def test_a_function_that_takes_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="takes no progress_callback to be filled in"):
        with_progress_callback(len)
    with pytest.raises(TypeError, match="takes no progress_callback to be filled in"):
        with_progress_callback(lambda items: items)
