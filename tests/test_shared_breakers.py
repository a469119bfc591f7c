"""Circuit breakers that steps of a pipeline share by their name."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from task_pipeline import (
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    Loop,
    Map,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineDefinitionError,
    PipelineStep,
    step,
)
from task_pipeline.events import (
    Event,
    StepFailed,
)
from task_pipeline.testing import Gate, ManualClock


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


def test_a_name_is_the_same_circuit_in_every_step_and_pipeline(clock: ManualClock) -> None:
    breaker = search(3)

    class Find(PipelineStep):
        circuit_breaker = "search"
        critical = False

        def run(self, context: Any) -> None:
            raises()

    find = step(circuit_breaker=breaker, critical=False)(raises)
    Pipeline([[Find(), find]]).run()
    assert breaker.failures == 2
    Pipeline([Loop(Find(), times=1)]).run()
    assert breaker.state is CircuitState.OPEN
    errors = Pipeline([Map(find, range(3)), Find(), [find, Find()]]).run().errors
    assert [type(error) for error in errors] == [CircuitOpenError] * 6


def test_of_a_half_open_circuit_one_item_is_the_probe(clock: ManualClock) -> None:
    breaker, gate = opened(clock), Gate()
    clock.advance(60.0)
    rejected: list[int] = []

    @step(circuit_breaker="search", critical=False)
    def find(context: Any) -> int:
        gate.wait()
        return int(context.results["item"])

    def tell(event: Event) -> None:
        if isinstance(event, StepFailed):
            rejected.append(1)
            if len(rejected) == 9:
                gate.open()

    pipeline = Pipeline([Map(find, range(10))])
    with pipeline.subscribe(tell):
        context = pipeline.start().result(timeout=30.0)
    assert gate.arrived == 1
    assert len([value for value in context.results["find"] if value is not None]) == 1
    assert [error.circuit for error in context.errors] == ["search"] * 9
    assert breaker.state is CircuitState.CLOSED


def test_items_after_the_threshold_are_rejected(clock: ManualClock) -> None:
    search(3)
    called: list[int] = []

    @step(circuit_breaker="search")
    def find(context: Any) -> None:
        called.append(context.results["item"])
        raises()

    config = ParallelConfig(max_workers=1)
    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([Map(find, range(10), config=config)]).run()
    assert called == [0, 1, 2]
    kinds = [type(error) for error in caught.value.exceptions]
    assert kinds == [OSError] * 3 + [CircuitOpenError] * 7


def test_coroutine_steps_go_through_it_as_well(clock: ManualClock) -> None:
    breaker, called = search(2), list[int]()

    @step(circuit_breaker="search", critical=False)
    async def find(context: Any) -> None:
        called.append(1)
        await asyncio.sleep(0)  # the step's work
        raises()

    pipeline = Pipeline([find, find, find])
    errors = pipeline.run().errors
    assert [type(error) for error in errors] == [OSError, OSError, CircuitOpenError]
    assert breaker.state is CircuitState.OPEN
    errors = asyncio.run(pipeline.arun()).errors
    assert [type(error) for error in errors] == [CircuitOpenError] * 3
    assert len(called) == 2


def test_a_step_without_one_is_not_held_up(clock: ManualClock) -> None:
    opened(clock)
    rejected = fails_until(1, critical=False)
    context = Pipeline([[rejected, fails_until(1, circuit_breaker=None)]]).run()
    assert context.results == {"find#2": 1}


def test_a_pipeline_with_one_can_be_pickled(clock: ManualClock) -> None:
    breaker = search(4)
    pipeline: Pipeline = pickle.loads(pickle.dumps(Pipeline([Pickled(), Pickled()])))
    assert len(pipeline.run().errors) == 2
    assert breaker.failures == 2


class Pickled(PipelineStep):
    critical = False
    circuit_breaker = "search"

    def run(self, context: Any) -> None:
        raises()


@pytest.mark.parametrize("wrong", ["", " ", 5, True, object()])
def test_a_mistake_is_found_when_the_pipeline_is_made(clock: ManualClock, wrong: Any) -> None:
    text = "circuit_breaker must be a CircuitBreaker, the name of one, or None, not"
    marked = step(circuit_breaker=wrong)(finds)
    with pytest.raises(PipelineDefinitionError, match=text) as caught:
        Pipeline([marked, Map(marked, [1])])
    assert len(caught.value.problems) == 2
