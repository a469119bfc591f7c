"""Steps of classes, dumped: by their types, with their fields."""

from __future__ import annotations

import enum
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from task_pipeline import Pipeline, PipelineDefinitionError, PipelineStep, RetryPolicy
from task_pipeline.documents import (
    STEP_REGISTRY,
    StepConfig,
    dump_pipeline,
    load_pipeline,
    register_step,
)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = set(STEP_REGISTRY)
    yield
    for name in STEP_REGISTRY.keys() - before:
        del STEP_REGISTRY[name]


class Shout(PipelineStep):
    """Say it louder."""

    timeout: float | None = 5.0
    version = "1"

    def __init__(self, text: str, times: int = 1) -> None:
        self.text = text
        self.times = times
        self._lock = threading.Lock()  # no field, and never equal to another one

    def run(self, context: Any) -> None:
        context.results["shout"] = self.text.upper() * self.times


class Color(enum.Enum):
    RED = "red"


class PaintConfig(StepConfig):
    color: str = "red"
    layers: list[dict[str, Any]] = Field(default_factory=list)
    by: str | None = Field(None, alias="from")


class Paint(PipelineStep):
    config: PaintConfig

    def __init__(self, config: PaintConfig) -> None:
        self.config = config

    async def run(self, context: Any) -> None:
        context.results["paint"] = self.config.model_dump()


class Bare(PipelineStep):
    config: PaintConfig

    def run(self, context: Any) -> None:
        context.results["bare"] = self.config.color


def dumped(step: PipelineStep) -> dict[str, Any]:
    """The step's entry."""
    (entry,) = dump_pipeline(Pipeline([step]))["steps"].values()
    found: dict[str, Any] = entry
    return found


def problem_of(step: PipelineStep) -> str:
    with pytest.raises(PipelineDefinitionError) as caught:
        dump_pipeline(Pipeline([step]))
    (problem,) = caught.value.problems
    return problem


def run_again(*steps: PipelineStep) -> tuple[Any, Any]:
    """The results of a pipeline, and of the one that is loaded from its document."""
    pipeline = Pipeline(list(steps))
    loaded = load_pipeline(json.dumps(dump_pipeline(pipeline)))
    return pipeline.run().results, loaded.run().results


def test_fields_are_what_init_takes() -> None:
    register_step("shout")(Shout)
    text = "${a.output} $${b} {{ c }}"
    assert dumped(Shout(text, 2)) == {
        "type": "step",
        "step_type": "shout",
        "config": {"text": text, "times": 2},
    }
    one, other = run_again(Shout(text, 2))
    assert one == other == {"shout": text.upper() * 2}


def test_fields_are_a_model() -> None:
    register_step("paint")(Paint)
    register_step("bare")(Bare)
    config = PaintConfig.model_validate({"layers": [{"a": [None, 1.5]}], "from": "me"})
    bare = Bare()
    bare.config = PaintConfig.model_validate({})
    assert dumped(Paint(config))["config"] == {"layers": [{"a": [None, 1.5]}], "from": "me"}
    assert dumped(bare) == {"type": "step", "step_type": "bare"}
    one, other = run_again(Paint(config), bare)
    assert one == other and one["bare"] == "red"


def test_attributes_are_written_where_the_class_says_something_else() -> None:
    register_step("shout")(Shout)
    step = Shout("a")
    step.timeout, step.retries, step.critical = None, RetryPolicy(attempts=2, jitter=1), False
    step.description, step.version, step.step_id = "Louder", "2", "Shout it"
    entry = dumped(step)
    assert entry == {
        "type": "step",
        "step_type": "shout",
        "config": {"text": "a", "times": 1},
        "retry": {"max_attempts": 2, "jitter": 1.0},
        "timeout": None,
        "critical": False,
        "attributes": {"step_id": "Shout it", "description": "Louder", "version": "2"},
    }
    loaded = load_pipeline(dump_pipeline(Pipeline([step])))
    (spec,), (wanted,) = loaded._plan.specs, Pipeline([step])._plan.specs
    for name in ("step_id", "description", "timeout", "policy", "critical", "isolated"):
        assert getattr(spec, name) == getattr(wanted, name)
    assert spec.version is not None and spec.version.startswith("2 ")


def test_what_init_makes_of_its_fields_is_no_field() -> None:
    class Timed(PipelineStep):
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds
            self.timeout = seconds
            self.half = seconds / 2

        def run(self, context: Any) -> None: ...

    register_step("timed")(Timed)
    entry = dumped(Timed(4.0))
    assert entry["config"] == {"seconds": 4.0} and entry["timeout"] == 4.0
    changed = Timed(4.0)
    changed.half = 3.0
    assert "it has half set to what its fields do not make of it" in problem_of(changed)
    extended = Timed(4.0)
    extended.more = [1]  # type: ignore[attr-defined]  # as a user may do
    assert "it has more set to what its fields do not make of it" in problem_of(extended)


def test_a_class_must_be_registered() -> None:
    problem = problem_of(Shout("a"))
    assert problem.startswith("path 0, step 'shout': its class Shout is no registered type")
    assert '@register_step("shout")' in problem


def test_a_subclass_is_another_class() -> None:
    class Louder(Shout):
        pass

    register_step("shout")(Shout)
    assert "its class Louder is no registered type" in problem_of(Louder("a"))


def test_fields_must_be_kept_under_their_names() -> None:
    class Hidden(PipelineStep):
        def __init__(self, text: str) -> None:
            self._text = text

        def run(self, context: Any) -> None: ...

    register_step("hidden")(Hidden)
    problem = problem_of(Hidden("a"))
    assert "it has no attribute text" in problem and "under the same names" in problem


def test_fields_must_be_what_they_are_declared_to_be() -> None:
    register_step("shout")(Shout)
    step = Shout("a")
    step.times = "many"  # type: ignore[assignment]  # as a user may do
    assert "its attributes are not what its fields may be" in problem_of(step)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Path, Path("a")), (Color, Color.RED), (tuple[int, ...], (1,)), (Any, (1,)), (Any, {1})],
)
def test_fields_that_a_document_cannot_hold_are_refused(kind: Any, value: Any) -> None:
    class Odd(PipelineStep):
        def __init__(self, field: kind) -> None:
            self.field = field

        def run(self, context: Any) -> None: ...

    Odd.__init__.__annotations__["field"] = kind
    register_step("odd")(Odd)
    assert "cannot be written as JSON and read again" in problem_of(Odd(value))


def test_fields_that_json_would_change_are_refused() -> None:
    register_step("shout")(Shout)

    class Number(PipelineStep):
        def __init__(self, value: float) -> None:
            self.value = value

        def run(self, context: Any) -> None: ...

    register_step("number")(Number)
    assert "config.value cannot be written: JSON has no inf" in problem_of(Number(float("inf")))


def test_a_class_of_which_there_is_only_one_is_told() -> None:
    class Only(PipelineStep):
        made = 0

        def __init__(self, text: str) -> None:
            if Only.made:
                raise RuntimeError("there is one already")
            Only.made += 1
            self.text = text

        def run(self, context: Any) -> None: ...

    register_step("only")(Only)
    problem = problem_of(Only("a"))
    assert "making another one of its fields raised RuntimeError: there is one already" in problem


def test_values_that_cannot_be_compared_are_refused() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise TypeError("not to be compared")

        __hash__ = None  # type: ignore[assignment]  # nor hashed

    class Holder(PipelineStep):
        def __init__(self, value: Any) -> None:
            self.value = value

        def run(self, context: Any) -> None: ...

    register_step("holder")(Holder)
    assert "cannot be written as JSON" in problem_of(Holder(Odd()))
    assert "cannot be written as JSON" in problem_of(Holder(float("nan")))
