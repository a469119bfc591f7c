"""What a step that has been left behind can still do with its context: stop, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import json
import operator
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from task_pipeline import (
    GroupTimeoutError,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunTimeoutError,
    StepAbandonedError,
    StepCancelledError,
    StepTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate, ManualClock


@dataclass
class Order(PipelineContext[Any]):
    total: int = 5
    items: list[int] = field(default_factory=list)

    def doubled(self) -> int:
        return 2 * self.total


@dataclass(slots=True)
class SlottedOrder(PipelineContext[Any]):
    total: int = 5
    items: list[int] = field(default_factory=list)

    def doubled(self) -> int:
        return 2 * self.total


KINDS = [PipelineContext, Order, SlottedOrder]


def nothing(context: Any) -> None:
    """A step beside it."""


def group(work: TaskStep) -> Pipeline:
    config = ParallelConfig(timeout=5)
    return Pipeline([Parallel([work, nothing], config=config)])


WAYS_TO_LEAVE: dict[str, tuple[Callable[[Any], Pipeline], type[Exception]]] = {
    "step": (lambda work: Pipeline([step(timeout=5)(work)]), StepTimeoutError),
    "branch": (lambda work: Pipeline([[step(timeout=5)(work), nothing]]), ParallelGroupError),
    "isolated": (lambda work: Pipeline([step(timeout=5, isolated=True)(work)]), StepTimeoutError),
    "group": (group, GroupTimeoutError),
    "series in a group": (lambda work: group([work, nothing]), GroupTimeoutError),
    "run": (lambda work: Pipeline([work], PipelineConfig(timeout=5)), RunTimeoutError),
}


def left_behind(
    late: Callable[[Any, Any], object], context: Any, how: str = "step"
) -> tuple[Any, Any]:
    """What a step's late use of its context, and of its results, comes to."""
    make, error = WAYS_TO_LEAVE[how]
    gate, over, found, clock = Gate(), Gate(), [], ManualClock()

    def work(mine: Any) -> None:
        results = mine.results
        results["early"] = 1
        gate.wait()
        try:
            found.append(late(mine, results))
        except BaseException as raised:
            found.append(raised)
        over.wait()

    with clock.installed():
        run = make(work).start(context)
    gate.wait_until_reached()
    clock.advance(5)
    with pytest.raises(error):
        run.result(timeout=30)
    gate.open()
    over.wait_until_reached()
    over.open()
    return found[0], context


TOUCHES: dict[str, Callable[[Any, Any], object]] = {
    "results": lambda context, results: context.results,
    "errors": lambda context, results: context.errors,
    "app_config": lambda context, results: context.app_config,
    "shared": lambda context, results: context.shared,
    "logger": lambda context, results: context.logger,
    "logger_instance": lambda context, results: context.logger_instance,
    "an unknown attribute": lambda context, results: context.nothing,
    "setting": lambda context, results: setattr(context, "results", {}),
    "setting a new one": lambda context, results: setattr(context, "new", 1),
    "repr": lambda context, results: repr(context),
    "copy": lambda context, results: copy.copy(context),
    "deepcopy": lambda context, results: copy.deepcopy(context),
    "replace": lambda context, results: dataclasses.replace(context),
    "pickle": lambda context, results: pickle.dumps(context),
    "results []": lambda context, results: results["early"],
    "results [] = ": lambda context, results: operator.setitem(results, "late", 1),
    "results del": lambda context, results: operator.delitem(results, "early"),
    "results get": lambda context, results: results.get("early"),
    "results in": lambda context, results: "early" in results,
    "results len": lambda context, results: len(results),
    "results bool": lambda context, results: bool(results),
    "results iter": lambda context, results: list(results),
    "results keys": lambda context, results: results.keys(),
    "results items": lambda context, results: results.items(),
    "results update": lambda context, results: results.update(late=1),
    "results |": lambda context, results: results | {},
    "results | on the right": lambda context, results: {} | results,
    "results |=": lambda context, results: operator.ior(results, {}),
    "results ==": lambda context, results: results == {},
    "results dict": lambda context, results: dict(results),
    "results **": lambda context, results: {**results},
    "results json": lambda context, results: json.dumps(results),
    "results pickle": lambda context, results: pickle.dumps(results),
    "results copy": lambda context, results: copy.copy(results),
    "results deepcopy": lambda context, results: copy.deepcopy(results),
    "results repr": lambda context, results: repr(results),
    "results format": lambda context, results: "{early}".format_map(results),
}
MORE_TOUCHES: dict[str, Callable[[Any, Any], object]] = {
    "total": lambda context, results: context.total,
    "items": lambda context, results: context.items,
    "total = ": lambda context, results: setattr(context, "total", 1),
    "a method": lambda context, results: context.doubled(),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_a_step_that_was_left_cannot_touch_its_context(
    touch: Callable[[Any, Any], object], make: Callable[[], Any]
) -> None:
    raised, context = left_behind(touch, make())
    assert type(raised) is StepAbandonedError, raised
    assert "is cut off" in str(raised) or "are cut off" in str(raised)
    assert "early" not in context.results
    assert "late" not in context.results


@pytest.mark.parametrize("make", KINDS[1:])
@pytest.mark.parametrize("touch", MORE_TOUCHES.values(), ids=MORE_TOUCHES)
def test_nor_the_fields_of_a_subclass(
    touch: Callable[[Any, Any], object], make: Callable[[], Any]
) -> None:
    raised, context = left_behind(touch, make())
    assert type(raised) is StepAbandonedError, raised
    assert (context.total, context.items) == (5, [])


@pytest.mark.parametrize("how", WAYS_TO_LEAVE)
def test_it_is_cut_off_whatever_it_was_left_for(how: str) -> None:
    raised, context = left_behind(lambda context, results: context.results, Order(), how)
    assert type(raised) is StepAbandonedError
    assert (raised.step_id, raised.attempt) == ("work", 1)
    assert "step 'work' passed its deadline or was cancelled" in str(raised)
    assert "early" not in context.results


STOPS: dict[str, Callable[[Any, Any], object]] = {
    "raise_if_cancelled": lambda context, results: context.raise_if_cancelled(),
    "update_step_progress": lambda context, results: context.update_step_progress(50),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_it_is_stopped_where_it_cooperates(
    stop: Callable[[Any, Any], object], make: Callable[[], Any]
) -> None:
    raised, _ = left_behind(stop, make())
    assert type(raised) is StepCancelledError
    assert (raised.step_id, raised.path, raised.attempt) == ("work", "0", 1)
    assert "step 'work' at path 0 was asked to stop" in str(raised)


@pytest.mark.parametrize("make", KINDS)
def test_it_can_still_ask_what_it_is(make: Callable[[], Any]) -> None:
    def late(context: Any, results: Any) -> object:
        return context.cancelled, context.step_id, context.attempt, context.remaining

    assert left_behind(late, make())[0] == (True, "work", 1, 0.0)
