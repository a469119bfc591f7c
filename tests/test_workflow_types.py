"""Steps of the user's own types in workflows, and of the library's own groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline import DocumentError, PipelineStep
from task_pipeline.documents import STEP_REGISTRY, StepConfig
from tests.workflow_documents import Context, agent, loaded, results_of, wrong_steps


class SetsConfig(StepConfig):
    """What to set."""

    values: dict[str, Any]
    times: int = 1


class Sets(PipelineStep):
    """Sets keys of the results."""

    config: SetsConfig

    def run(self, context: Any) -> None:
        for key in list(context.results):
            context.results[key]  # that it is read is no change
        context.results.update(self.config.values)


class Later(PipelineStep):
    """Says later what it is given."""

    def __init__(self, text: str, fails: bool = False) -> None:
        self.text = text
        self.fails = fails

    async def run(self, context: Any) -> Any:
        if self.fails:
            raise ValueError(self.text)
        context.results["later"] = self.text


class Back(PipelineStep):
    """Gives its context back."""

    timeout = 7.0

    def run(self, context: Any) -> Any:
        context.results["back"] = context.results.get("back", 0)
        return context


class WaysConfig(StepConfig):
    """One of two."""

    either: str | list[str]


class Ways(PipelineStep):
    """Says what it is given."""

    config: WaysConfig

    def run(self, context: Any) -> Any:
        context.results["either"] = self.config.either


@pytest.fixture(autouse=True)
def types() -> Iterator[None]:
    kinds: dict[str, type[PipelineStep]] = {
        "test_sets": Sets,
        "test_ways": Ways,
        "test_later": Later,
        "test_back": Back,
    }
    for name, kind in kinds.items():
        STEP_REGISTRY[name] = kind
    yield
    for name in kinds:
        del STEP_REGISTRY[name]


def sets(values: Any, **more: Any) -> dict[str, Any]:
    return {"type": "test_sets", "config": {"values": values}, **more}


@pytest.mark.parametrize(
    ("values", "output"),
    [
        ({"x": 1}, 1),
        ({"x": 1, "y": [2]}, {"x": 1, "y": [2]}),
        ({}, None),
        ({"a": "own"}, "own"),
        ({"a": "own", "x": 1}, {"a": "own", "x": 1}),
        ({"old": {"k": 2}}, {"k": 2}),
    ],
)
def test_its_output_is_what_it_sets(values: Any, output: Any) -> None:
    given = {"old": {"k": 1}, "other": [1]}
    results = results_of({"a": sets(values)}, given)
    assert results["a"] == output
    assert "workflow" not in results
    # In a branch reading a value makes a copy of it, which is no change.
    block = {"type": "parallel", "parallel_steps": ["a", "b"]}
    results = results_of({"block": block, "a": sets(values), "b": agent(1)}, given, start="block")
    assert results["block"]["a"] == output


def test_what_it_replaces_of_the_input_is_kept() -> None:
    steps = {"a": sets({"a": "new"}, next_step="b"), "b": agent("${workflow.input.a}")}
    results = results_of(steps, {"a": "old"})
    assert (results["a"], results["b"]) == ("new", "old")


def test_asynchronous_types() -> None:
    step = {"type": "test_later", "config": {"text": "<${workflow.input.n}>"}}
    assert results_of({"a": step}, {"n": 3})["a"] == "<3>"
    step["config"] = {"text": "bad", "fails": True}
    with pytest.raises(ValueError, match="bad"):
        results_of({"a": step})
    step["config"] = {"text": "${workflow.input.missing}"}
    with pytest.raises(LookupError, match=r"step 'a', field config\.text"):
        results_of({"a": step})


def test_a_type_that_gives_its_context_back() -> None:
    results = results_of({"a": {"type": "test_back"}}, {"back": 5})
    assert results == {"back": 5, "a": None}
    (spec,) = loaded({"a": {"type": "test_back"}})._plan.specs
    assert spec.timeout == 7.0
    (spec,) = loaded({"a": {"type": "test_back", "timeout": 3}})._plan.specs
    assert spec.timeout == 3.0


def test_what_references_come_to_is_checked_when_it_is_there() -> None:
    steps = {
        "a": {"type": "test_sets", "config": {"values": {"x": 1}, "times": "${workflow.input.n}"}}
    }
    assert results_of(steps, {"n": 3})["a"] == 1
    with pytest.raises(DocumentError, match=r"steps.a.config.times: must be a whole number"):
        results_of(steps, {"n": "many"})
    (mistake,) = wrong_steps({"a": {"type": "test_sets", "config": {"values": {}, "times": "x"}}})
    assert "steps.a.config.times: must be a whole number" in mistake


# The library's own groups


def test_groups_of_the_library_in_each_other() -> None:
    steps: dict[str, Any] = {}
    for n in range(200):
        kind = "serial" if n % 2 else "parallel"
        steps[f"g{n}"] = {"type": "group", "group": kind, "steps": [f"g{n + 1}"]}
    steps["g200"] = agent("deep")
    assert results_of(steps, start="g0") == {"g200": "deep"}


def test_mistakes_in_groups_of_the_library() -> None:
    group = {"type": "group", "group": "serial", "steps": ["a", "zzz"]}
    (mistake,) = wrong_steps({"x": group, "a": agent(1)}, "x")
    assert "steps.x.steps[1]: there is no step 'zzz'" in mistake
    branch = {"type": "group", "group": "branch", "condition": "k", "then": ["a"]}
    ways = {**branch, "otherwise": ["b"]}
    steps = {
        "x": ways,
        "a": agent(1, next_step="c"),
        "b": agent(2, next_step="c"),
        "c": agent("end"),
    }
    # Only one of the ways is taken, so what follows both runs once.
    assert results_of(steps, {"k": True}, start="x")["c"] == "end"
    steps["x"] = {"type": "group", "group": "parallel", "steps": ["a", "b"]}
    (mistake,) = wrong_steps(steps, "x")
    assert "the step 'c' would run more than once" in mistake
    (mistake,) = wrong_steps({"x": {"type": "group", "group": "ring", "steps": []}})
    assert "there is no kind of group called" in mistake


def test_an_agent_in_a_map_of_the_library_finds_the_item() -> None:
    steps = {
        "x": {"type": "group", "group": "map", "over": "l", "steps": ["a"], "result_key": "a"},
        "a": agent(["${item}"]),
    }
    assert results_of(steps, {"l": [1, 2]}, start="x")["a"] == [[1], [2]]


def test_retries_and_attributes_of_functions() -> None:
    calls: list[int] = []

    def flaky(context: Any) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return len(calls)

    step = {"type": "function", "function": "flaky", "retry": 2, "attributes": {"weight": 2.0}}
    pipeline = loaded({"a": step}, functions={"flaky": flaky})
    assert pipeline.run(Context()).results == {"a": 3}
    assert pipeline._plan.specs[0].weight == 2.0


def test_a_number_is_written_as_text_where_there_must_be_one() -> None:
    def output(text: Any, given: Any) -> Any:
        config = {"text": text}
        return results_of({"s": {"type": "test_later", "config": config}}, {"n": given})["s"]

    assert output("${workflow.input.n}", 3) == "3"
    assert output("${workflow.input.n}", True) == "true"
    assert output("${workflow.input.n}", 0.5) == "0.5"
    assert output("${workflow.input.n}", "x") == "x"
    for wrong in (None, [1], {"a": 1}):
        with pytest.raises(DocumentError, match="must be a text"):
            output("${workflow.input.n}", wrong)


@pytest.mark.parametrize("command", ["${workflow.input.c}", ["echo", "${workflow.input.c[1]}"]])
def test_numbers_in_a_list_of_texts_too(command: Any) -> None:
    config = {"command": command, "output_key": "said"}
    steps = {"s": {"type": "shell", "config": config}}
    results = results_of(steps, {"c": ["echo", 7]}, allow={"shell"})
    assert results["s"]["stdout"] == "7\n"


def test_what_a_type_takes_in_several_ways_is_still_told() -> None:
    config = {"either": "${workflow.input.n}"}
    steps = {"s": {"type": "test_ways", "config": config}}
    assert results_of(steps, {"n": ["x"]})["s"] == ["x"]
    with pytest.raises(DocumentError, match=r"steps\.s\.either|steps\.s\.config\.either"):
        results_of(steps, {"n": 3})
