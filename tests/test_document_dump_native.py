"""Steps of workflows that stand for the library's own, as somebody writes them by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline import (
    DocumentError,
    NotAllowedError,
    ParallelGroupError,
    PipelineContext,
    PipelineStep,
)
from task_pipeline.documents import STEP_REGISTRY, load_pipeline, register_step


def one(context: Any) -> int:
    return 1


def add(context: Any, by: int = 1) -> None:
    context.results["n"] = context.results.get("n", 0) + by


def fail(context: Any) -> None:
    raise ValueError("no")


def items(context: Any) -> list[int]:
    return [1, 2]


def double(context: Any) -> int:
    return 2 * int(context.results["item"])


def small(context: Any) -> bool:
    return int(context.results.get("n", 0)) < 3


FUNCTIONS = {function.__name__: function for function in (one, add, fail, items, double, small)} | {
    "larger": max
}


class Greet(PipelineStep):
    def __init__(self, name: str, times: int = 1) -> None:
        self.name = name
        self.times = times

    def run(self, context: Any) -> None:
        context.results["greeting"] = f"Hello, {self.name}" * self.times


@pytest.fixture(autouse=True)
def _greets() -> Iterator[None]:
    register_step("greet")(Greet)
    yield
    del STEP_REGISTRY["greet"]


def workflow(*, config: Any = None, **steps: Any) -> str:
    document: dict[str, Any] = {"start_step": "start", "steps": steps}
    if config is not None:
        document["config"] = config
    return json.dumps(document, indent=1)


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": name, **fields}


def group(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "group", "group": kind, **fields}


def run(document: str, **results: Any) -> dict[str, Any]:
    pipeline = load_pipeline(document, functions=FUNCTIONS)
    return pipeline.run(PipelineContext(results=results)).results


def problems(document: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_pipeline(document, functions=FUNCTIONS)
    return list(caught.value.problems)


def test_groups_are_called_by_their_ids_if_they_say_nothing_else() -> None:
    pipeline = load_pipeline(
        workflow(
            start=group("parallel", steps=["a", "b"], next_step="named"),
            a=function("add"),
            b=function("add", args={"by": 5}),
            named=group("serial", steps=["c"], name="Named", next_step="unnamed"),
            c=function("one"),
            unnamed=group("serial", steps=["d"], name=None),
            d=function("one"),
        ),
        functions=FUNCTIONS,
    )
    names = [group.name for group in pipeline._plan.groups]
    assert names == ["pipeline", "start", "Named", "serial_group_2"]
    assert pipeline.run().results == {"n": 6, "c": 1, "d": 1}


def test_branches_are_merged_as_in_python() -> None:
    text = workflow(
        config={"reducers": {"n": "larger"}},
        start=group("parallel", steps=["a", "b"]),
        a=function("add", args={"by": 3}),
        b=function("add", args={"by": 5}),
    )
    assert run(text, n=1) == {"n": 6}


def test_a_map_and_a_loop_and_both_ways_of_a_branch() -> None:
    text = workflow(
        start=group("map", over={"function": "items"}, steps=["double"], next_step="again"),
        double=function("double"),
        again=group("loop", **{"while": {"function": "small"}}, steps=["add"], next_step="way"),
        add=function("add"),
        way=group("branch", condition="n", then=["yes", "more"], otherwise=["no"]),
        yes=function("one"),
        more=function("add", args={"by": 10}),
        no=function("one"),
    )
    assert run(text) == {"double": [2, 4], "n": 13, "yes": 1}


def test_a_condition_may_be_an_expression() -> None:
    text = workflow(
        start=function("one", next_step="way"),
        way=group("branch", condition={"expression": "${start.output} > 1"}, then=["a"]),
        a=function("fail"),
    )
    assert run(text) == {"start": 1}


def test_a_wrong_expression_is_told_with_its_place() -> None:
    for field, kind in (("condition", "branch"), ("while", "loop")):
        steps = {"then": ["a"]} if kind == "branch" else {"steps": ["a"]}
        way = group(kind, **{field: {"expression": "1 >"}}, **steps)
        (problem,) = problems(workflow(start=way, a=function("one")))
        assert f"steps.start.{field}.expression" in problem


def test_a_pipeline_without_settings_is_a_series() -> None:
    text = workflow(start=group("pipeline", steps=["a"]), a=function("one"))
    assert run(text) == {"a": 1}


def test_a_pipeline_has_settings_of_its_own() -> None:
    text = workflow(
        start=group("pipeline", steps=["fail", "add"], config={"fail_fast": False}),
        fail=function("fail"),
        add=function("add"),
    )
    pipeline = load_pipeline(text, functions=FUNCTIONS)
    context = pipeline.run()
    assert context.results == {"n": 1} and [str(error) for error in context.errors] == ["no"]


def test_a_group_that_is_not_critical_may_fail() -> None:
    parallel = group("parallel", steps=["fail", "one"], next_step="add")
    steps = {"fail": function("fail"), "one": function("one"), "add": function("add")}
    with pytest.raises(ParallelGroupError):
        run(workflow(start=parallel, **steps))
    assert run(workflow(start={**parallel, "critical": False}, **steps))["n"] == 1
    assert run(workflow(start={**parallel, "tolerates_failures": True}, **steps))["n"] == 1


def test_a_step_of_a_class_has_no_references_in_its_fields() -> None:
    text = workflow(start={"type": "step", "step_type": "greet", "config": {"name": "${x} $${y}"}})
    assert run(text) == {"greeting": "Hello, ${x} $${y}"}


def test_names_and_descriptions_for_people_change_nothing() -> None:
    about = {"name": "For people", "description": "What it does", "metadata": {"any": [1]}}
    text = workflow(
        start={**function("one", next_step="group"), **about},
        group={**group("serial", steps=["greet"]), **about},
        greet={"type": "step", "step_type": "greet", "config": {"name": "x"}, **about},
    )
    assert run(text)["start"] == 1


def test_every_mistake_is_told_with_its_place() -> None:
    text = workflow(
        start=function("onne", next_step="groups"),
        groups=group("serial", steps=["a", "b", "c", "d", "e", "f", "g"], nam="x"),
        a=group("paralel", steps=[]),
        b=group("parallel", steps=["h"], config={"operator": "QUORUM", "quorum": 2}),
        c=group("map", over={"function": "itemz"}, steps=["i"], item_key="x", result_key="x"),
        d=group("loop", steps=["j"]),
        e=group("branch", condition=3, then="k"),
        f={"type": "group", "steps": []},
        g={"type": "step", "step_type": "greeet", "config": {}},
        h=function("one"),
        i=function("one"),
        j=function("one"),
        k=function("one"),
    )
    found = problems(text)
    for part in (
        "steps.start.function: no function is registered as the text 'onne'; did you mean 'one'?",
        "steps.groups.nam: unknown key; did you mean 'name'?",
        "steps.a.group: there is no kind of group called the text 'paralel'",
        "steps.b.config.quorum: is 2, and the group has 1 steps; it must be 1 or less",
        "item_key and result_key are both 'x'",
        "a loop needs `while` or `times`, or it would never end",
        "steps.e.condition",
        "steps.e.then",
        "steps.f: 'group' is missing",
        "steps.g.step_type: no class is registered as the text 'greeet'; did you mean 'greet'?",
    ):
        assert any(part in problem for problem in found), (part, found)
    assert all(problem.startswith("<text>:") for problem in found)


def test_a_class_s_fields_are_checked_with_their_places() -> None:
    wrong = {"name": 3, "tims": 1}
    found = problems(workflow(start={"type": "step", "step_type": "greet", "config": wrong}))
    assert any("steps.start.config.name" in problem for problem in found)
    assert any("tims" in problem and "did you mean 'times'?" in problem for problem in found)


@pytest.mark.parametrize(
    ("step_type", "part"),
    [
        ("parallel", "the text 'parallel' is a type of step of recipes"),
        ("nothing-like-it", '@register_step("nothing-like-it")'),
    ],
)
def test_types_that_are_not_of_workflows(step_type: str, part: str) -> None:
    (problem,) = problems(workflow(start={"type": "step", "step_type": step_type, "config": {}}))
    assert part in problem


def test_what_is_not_allowed_is_not_allowed_here_either() -> None:
    config = {"command": ["true"]}
    text = workflow(start={"type": "step", "step_type": "shell", "config": config})
    with pytest.raises((DocumentError, NotAllowedError), match="shell"):
        load_pipeline(text)
    load_pipeline(text, allow={"shell"})


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ({"timeout": 3}, "timeout"),
        ({"retry": 2}, "retry"),
        ({"attributes": {"weight": 2}}, "attributes"),
    ],
)
def test_a_group_takes_nothing_that_it_would_not_heed(field: dict[str, Any], key: str) -> None:
    (problem,) = problems(workflow(start=group("serial", steps=["a"], **field), a=function("one")))
    assert f"a group has no '{key}'" in problem


def test_items_and_results_need_keys_of_their_own() -> None:
    text = workflow(start=group("map", over=[1], steps=["item"]), item=function("one"))
    (problem,) = problems(text)
    assert "items and results would both stand under 'item'" in problem
    text = workflow(
        start=group("map", over=[1], steps=["item"], result_key="all"), item=function("one")
    )
    assert run(text) == {"all": [1]}


def test_the_workflow_s_own_settings_are_checked() -> None:
    start = function("one")
    config: dict[str, Any] = {"timeout": 0, "limit": {}, "parallel_config": {"quorum": 1}}
    found = problems(workflow(config=config, start=start))
    for part in ("config.timeout", "config.limit", "config.parallel_config"):
        assert any(part in problem for problem in found)
    (problem,) = problems(workflow(config={"reducers": {"a": "lager"}}, start=start))
    assert "config.reducers.a" in problem and "did you mean 'larger'?" in problem
    assert "register it" in problem


def test_reducers_of_a_group_are_checked() -> None:
    config = {"reducers": {"a": "lager"}}
    text = workflow(start=group("pipeline", steps=["a"], config=config), a=function("one"))
    (problem,) = problems(text)
    assert "steps.start.config.reducers.a" in problem
