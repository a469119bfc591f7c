"""`Map`: items that fail, that are tried again, that take too long; what ends one early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    LogicOperator,
    Map,
    Outcome,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    step,
)
from task_pipeline.testing import Gate, ManualClock

QUORUM_OF_2 = ParallelConfig(operator=LogicOperator.QUORUM, quorum=2)
ANY = ParallelConfig(operator=LogicOperator.OR)
FAIL_FAST = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)


def nothing(context: Any) -> None:
    """A step that does nothing."""


def fails_on(*bad: Any) -> Callable[[Any], Any]:
    """A step that fails with some items, and returns the others."""

    @step(step_id="check")
    def check(context: Any) -> Any:
        if context.results["item"] in bad:
            raise ValueError(f"bad {context.results['item']}")
        return context.results["item"]

    return check


@pytest.mark.parametrize(
    ("config", "items", "succeeds"),
    [
        (None, [1, 2, 3], True),
        (None, [1, -1, 3], False),
        (ANY, [-1, -2, 3], True),
        (ANY, [-1, -2], False),
        (QUORUM_OF_2, [1, -1, 3], True),
        (QUORUM_OF_2, [1, -1, -2], False),
    ],
)
def test_the_operator_says_how_many_items_must_succeed(
    config: ParallelConfig | None, items: list[int], succeeds: bool
) -> None:
    context: Any = PipelineContext()
    pipeline = Pipeline([Map(fails_on(-1, -2), "items", config=config)])
    context.results["items"] = items
    if succeeds:
        pipeline.run(context)
    else:
        with pytest.raises(ParallelGroupError, match="'check' at path 0 needs") as caught:
            pipeline.run(context)
        assert list(caught.value.outcomes) == [f"check[{index}]" for index in range(len(items))]
    values = [None if item < 0 else item for item in items]
    assert context.results.get("check", values) == values
    assert ("check" in context.results) is any(values)
    assert [str(error) for error in context.errors] == [f"bad {item}" for item in items if item < 0]
    for error in context.errors:
        index = items.index(int(str(error).removeprefix("bad ")))
        assert error.__notes__ == [f"step 'check[{index}]' at path 0.{index}, attempt 1 of 1"]


def test_a_quorum_that_there_are_not_items_enough_for_fails_the_map() -> None:
    begun: list[Any] = []
    pipeline = Pipeline([Map(begun.append, [1], config=QUORUM_OF_2, name="few")])
    context: Any = PipelineContext()
    with pytest.raises(ValueError, match="quorum 2 is more than its 1 items can reach") as caught:
        pipeline.run(context)
    assert context.errors == [caught.value] and begun == []
    assert caught.value.__notes__ == ["step 'few' at path 0, attempt 1 of 1"]


def test_without_fail_fast_a_run_goes_on_behind_items_that_failed() -> None:
    pipeline = Pipeline([Map(fails_on(2), [1, 2, 3]), nothing], PipelineConfig(fail_fast=False))
    context = pipeline.run()
    assert context.results == {"check": [1, None, 3]}
    assert list(map(str, context.errors)) == ["bad 2"]


def test_fail_fast_leaves_the_items_that_run_wherever_they_run() -> None:
    """The first branch is the calling thread's, if it may be."""
    gate = Gate()

    def check(context: Any) -> Any:
        if context.results["item"] == 0:
            return gate.wait()
        gate.wait_until_reached()
        raise ValueError("decided")

    pipeline = Pipeline([Map(check, [0, 1, 2], config=FAIL_FAST)])
    with pytest.raises(ParallelGroupError, match="decided") as caught:
        pipeline.run()
    assert caught.value.outcomes["check[0]"] is Outcome.CANCELLED
    gate.open()


def test_an_item_has_its_own_attempts_and_isolation() -> None:
    @step(retries=2)
    def flaky(context: Any) -> Any:
        context.results["tries"] = context.results.get("tries", 0) + 1
        if context.attempt <= context.results["item"]:
            raise OSError(context.attempt)
        return context.attempt

    context: Any = PipelineContext()
    config = ParallelConfig(operator=LogicOperator.OR)
    Pipeline([Map(flaky, [0, 1, 2, 3], config=config)]).run(context)
    assert context.results == {"flaky": [1, 2, 3, None], "tries": 3}
    assert [str(error) for error in context.errors] == ["3"]


@pytest.mark.parametrize("config", [ANY, None])
def test_guarantee_6_an_item_and_the_whole_map_have_deadlines(
    config: ParallelConfig | None,
) -> None:
    gate, clock = Gate(), ManualClock()

    @step(timeout=5.0)
    def fetch(context: Any) -> Any:
        return gate.wait() if context.results["item"] else "at once"

    with clock.installed():
        run = Pipeline([Map(fetch, [0, 1, 2], config=config)]).start()
    gate.wait_until_reached(2)
    clock.advance(5.0)
    if config is None:
        with pytest.raises(ParallelGroupError, match=r"'fetch\[1\]' at path 0.1: StepTimeoutError"):
            run.result()
    else:
        assert run.result().results == {"fetch": ["at once", None, None]}
    assert run.status()["abandoned"] == 2
    gate.open()


@pytest.mark.parametrize(
    ("operator", "succeeds"), [(LogicOperator.AND, False), (LogicOperator.OR, True)]
)
def test_guarantee_6_at_its_deadline_a_map_is_judged_on_what_has_ended(
    operator: LogicOperator, succeeds: bool
) -> None:
    gate, clock = Gate(), ManualClock()

    def fetch(context: Any) -> Any:
        return gate.wait() if context.results["item"] else "at once"

    config = ParallelConfig(timeout=3.0, operator=operator)
    context: Any = PipelineContext()
    with clock.installed():
        run = Pipeline([Map(fetch, [0, 1], config=config)]).start(context)
    gate.wait_until_reached()
    clock.advance(3.0)
    if succeeds:
        run.result()
    else:
        with pytest.raises(GroupTimeoutError) as caught:
            run.result()
        assert "Not ended: 'fetch[1]' at path 0.1." in str(caught.value)
        assert caught.value.outcomes == {
            "fetch[0]": Outcome.SUCCEEDED,
            "fetch[1]": Outcome.TIMED_OUT,
        }
    assert context.results == {"fetch": ["at once", None]}
    gate.open()
