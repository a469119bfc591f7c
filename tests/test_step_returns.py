"""What a step may return, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from task_pipeline import (
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    StepReturnError,
    step,
)

Context = PipelineContext[Any]


@pytest.mark.parametrize("value", [0, "", False, [], 1.5, {"a": 1}, (), object(), ValueError])
def test_what_a_function_returns_is_stored_under_its_id(value: Any) -> None:
    def give(context: Context) -> Any:
        return value

    results = Pipeline([give, [give, [give, step(step_id="named", isolated=True)(give)]]]).run()
    assert list(results.results) == ["give", "give#2", "give#3", "named"]
    first, *others = results.results.values()
    assert first is value
    assert [type(other) for other in others] == [type(value)] * 3


def test_none_and_the_context_are_not_stored() -> None:
    steps: list[Any] = [lambda context: None, lambda context: context]
    assert Pipeline([*steps, steps]).run().results == {}


class Gives(PipelineStep):
    def __init__(self, value: Any) -> None:
        self.value = value

    def run(self, context: Any) -> Any:
        return self.value


@pytest.mark.parametrize("value", [0, False, "text", {"a": 1}, [], PipelineContext])
@pytest.mark.parametrize("attributes", [{}, {"retries": 1}, {"timeout": 30.0}])
def test_a_class_step_returns_a_context_or_nothing(value: Any, attributes: dict[str, Any]) -> None:
    gives = Gives(value)
    vars(gives).update(attributes)
    context: Context = PipelineContext()
    with pytest.raises(StepReturnError) as caught:
        Pipeline([len_of_results, gives]).run(context)
    error = caught.value
    assert isinstance(error, TypeError)
    assert (error.step_id, error.path) == ("gives", "1")
    assert f"step 'gives' at path 1 returned a {type(value).__name__}" in str(error)
    assert context.errors == [error]
    assert context.results == {"len_of_results": 0}


def len_of_results(context: Context) -> int:
    return len(context.results)


def test_a_pipeline_is_a_step() -> None:
    inner = Pipeline([len_of_results, lambda context: None])
    context = Pipeline([len_of_results, inner, [inner, len_of_results]]).run()
    assert context.results == {
        "len_of_results": 0,
        "len_of_results#2": 1,
        "len_of_results#3": 2,
        "len_of_results#4": 2,
    }


@pytest.mark.parametrize("isolated", [True, None])
def test_what_has_failed_before_is_not_undone_by_another_context(isolated: bool | None) -> None:
    boom, late = ValueError("boom"), KeyError("late")

    def fails(context: Context) -> None:
        raise boom

    class GivesAnother(PipelineStep):
        def __init__(self) -> None:
            self.isolated = isolated

        def run(self, context: Context) -> Context:
            return PipelineContext(results={"new": 1}, errors=[boom, late])

    steps: list[Any] = [fails, GivesAnother(), lambda context: None]
    config = PipelineConfig(fail_fast=False)
    context: Context = Pipeline(steps, config).run(PipelineContext(results={"old": 1}))
    assert context.errors == [boom, late]
    assert context.results == {"new": 1}
