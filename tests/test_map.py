"""`Map`: where its items come from, what its branches see, what is collected and merged."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Map,
    MergeConflictError,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    TaskStep,
    step,
)
from task_pipeline.testing import Simulator

QUORUM_OF_2 = ParallelConfig(operator=LogicOperator.QUORUM, quorum=2)
ANY = ParallelConfig(operator=LogicOperator.OR)
FAIL_FAST = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)


def results_of(steps: list[TaskStep], start: dict[str, Any] | None = None, **settings: Any) -> Any:
    context: Any = PipelineContext(results={} if start is None else start)
    return Pipeline(steps, PipelineConfig(**settings)).run(context).results


def double(context: Any) -> Any:
    return context.results["item"] * 2


def nothing(context: Any) -> None:
    """A step that does nothing."""


def read(name: str, *keys: str) -> Callable[[Any], Any]:
    """A step that returns what it sees under some keys."""

    @step(step_id=name)
    def look(context: Any) -> Any:
        return [context.results.get(key, "nothing") for key in keys]

    return look


def fails_on(*bad: Any) -> Callable[[Any], Any]:
    """A step that fails with some items, and returns the others."""

    @step(step_id="check")
    def check(context: Any) -> Any:
        if context.results["item"] in bad:
            raise ValueError(f"bad {context.results['item']}")
        return context.results["item"]

    return check


# Where the items come from


async def from_afar(context: Any) -> Any:
    await asyncio.sleep(0)  # the step's work
    return context.results["xs"]


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("xs", [2, 4, 6]),
        ("data.0.xs", [8, 10]),
        ("a.b", [12]),
        ("data.-1.xs", [8, 10]),
        ([7, 8], [14, 16]),
        ((7,), [14]),
        (range(3), [0, 2, 4]),
        (lambda context: context.results["xs"][1:], [4, 6]),
        (lambda context: (number for number in context.results["xs"]), [2, 4, 6]),
        (lambda context: {1: "one"}, [(1, "one", 1, "one")]),
        (lambda context: iter([]), []),
        (from_afar, [2, 4, 6]),
    ],
    ids=str,
)
def test_items_come_from_a_key_a_path_a_function_or_a_list(over: Any, expected: Any) -> None:
    start = {"xs": [1, 2, 3], "data": [{"xs": [4, 5]}], "a.b": [6], "a": {"b": "not this"}}
    pipeline = Pipeline([Map(double, over)])
    context: Any = PipelineContext(results=dict(start))
    assert pipeline.run(context).results == {**start, "double": expected}
    context = PipelineContext(results=dict(start))
    assert asyncio.run(pipeline.arun(context)).results == {**start, "double": expected}


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def test_guarantee_10_a_generator_of_items_sees_the_callers_context_variables() -> None:
    def over(context: Any) -> Any:
        return (tenant.get() for _ in range(2))

    pipeline = Pipeline([Map(double, over)])
    token = tenant.set("me")
    try:
        assert pipeline.run().results == {"double": ["meme", "meme"]}
        assert pipeline.start().result().results == {"double": ["meme", "meme"]}
    finally:
        tenant.reset(token)


def test_items_are_those_that_are_there_when_it_is_reached() -> None:
    def find(context: Any) -> None:
        context.results["xs"].append(len(context.results["xs"]))

    steps: list[TaskStep] = [find, Map(double, "xs"), find, Map(double, "xs", result_key="again")]
    assert results_of(steps, {"xs": [5]}) == {
        "xs": [5, 1, 2],
        "double": [10, 2],
        "again": [10, 2, 4],
    }


@pytest.mark.parametrize(
    ("over", "error", "text"),
    [
        ("ys", KeyError, "over='ys': there is no 'ys' in results"),
        ("data.1", KeyError, "over='data.1': there is no '1' in results['data']"),
        ("data.0.xs.y", KeyError, "no 'y' in results['data']['0']['xs']"),
        ("text", TypeError, "`over` must lead to a list of items, not to str 'abc'"),
        ("number", TypeError, "not to int 5"),
        ("none", TypeError, "not to None"),
        (lambda context: 1 / 0, ZeroDivisionError, "division"),
        (lambda context: (1 // number for number in [1, 0]), ZeroDivisionError, "division"),
    ],
)
@pytest.mark.parametrize("fail_fast", [True, False])
def test_what_does_not_lead_to_items_fails_the_map(
    over: Any, error: type[Exception], text: str, fail_fast: bool
) -> None:
    start = {"data": [{"xs": [4, 5]}], "text": "abc", "number": 5, "none": None}
    pipeline = Pipeline([Map(double, over, name="all")], PipelineConfig(fail_fast=fail_fast))
    context: Any = PipelineContext(results=dict(start))
    if fail_fast:
        with pytest.raises(error) as caught:
            pipeline.run(context)
        assert caught.value is context.errors[0]
    else:
        pipeline.run(context)
    [found] = context.errors
    assert type(found) is error and text in str(found)
    assert found.__notes__ == ["step 'all' at path 0, attempt 1 of 1"]
    assert context.results == start


@pytest.mark.parametrize("config", [None, ANY, QUORUM_OF_2, FAIL_FAST])
def test_without_items_a_map_does_nothing_well(config: ParallelConfig | None) -> None:
    pipeline = Pipeline([Map([double, double], [], result_key="all", config=config), nothing])
    assert pipeline.run().results == {"all": []}
    assert pipeline.get_status()["step_details"]["map_0"]["status"] == "succeeded"


# What a branch sees


def test_a_branch_sees_its_item_and_not_what_was_there_under_its_own_keys() -> None:
    start = {"item": "before", "look": "before", "other": 1}
    found = results_of(
        [Map(read("look", "item", "look", "other"), [1, 2]), read("last", "item")], start
    )
    assert found == {
        "item": "before",
        "look": [[1, "nothing", 1], [2, "nothing", 1]],
        "other": 1,
        "last": ["before"],
    }


def test_the_item_may_have_another_key() -> None:
    found = results_of([Map(read("look", "page", "item"), [1], item_key="page")], {"item": "mine"})
    assert found == {"item": "mine", "look": [[1, "mine"]]}


def test_guarantee_5_a_map_takes_nothing_from_its_siblings() -> None:
    """They begin after its branches have been given their own view of the same keys."""
    one_at_a_time = ParallelConfig(max_workers=1)
    sibling = read("sibling", "item", "double")
    start = {"item": "I", "double": "D"}
    nodes: list[TaskStep] = [
        Parallel([Map(double, [1, 2]), [nothing, sibling]], config=one_at_a_time),
        [[nothing, [Map(double, [1, 2]), [nothing, nothing, sibling]]], nothing],
    ]
    for node in nodes:
        found = results_of([node], dict(start))
        assert found["sibling"] == ["I", "D"]
        assert (found["item"], found["double"]) == ("I", [2, 4])


@pytest.mark.parametrize("reads_all", [False, True])
@pytest.mark.parametrize("over", ["xs", lambda context: context.results["xs"], "literal"])
def test_guarantee_5_an_item_is_its_branchs_own(over: Any, reads_all: bool) -> None:
    literal = [[1], [2]]

    def change(context: Any) -> Any:
        if reads_all:
            dict(context.results.items())
        context.results["item"].append(9)
        return list(context.results["item"])

    start = {"xs": [[1], [2]]}
    found = results_of([Map(change, literal if over == "literal" else over)], start)
    assert found == {"xs": [[1], [2]], "change": [[1, 9], [2, 9]]}
    assert literal == [[1], [2]]


def test_guarantee_5_one_object_as_two_items_is_two_in_the_branches() -> None:
    same: list[int] = []

    def change(context: Any) -> Any:
        context.results["item"].append(len(context.results["item"]))
        return list(context.results["item"])

    assert results_of([Map(change, [same, same])]) == {"change": [[0], [0]]}
    assert same == []


def test_fields_of_the_context_are_isolated_and_merged_as_ever() -> None:
    @dataclass
    class Order(PipelineContext[None]):
        total: int = 0
        lines: list[str] = field(default_factory=list)

    def add(context: Any) -> None:
        context.total += context.results["item"]
        context.lines.append(f"{context.results['item']} of {context.total}")

    order = Pipeline([Map(add, [1, 2, 3])]).run(Order(total=10))
    assert order.total == 16
    assert order.lines == ["1 of 11", "2 of 12", "3 of 13"]
    assert order.results == {}


# What is collected, and what is merged


def test_values_are_collected_in_the_order_of_the_items_in_every_order_of_ends() -> None:
    def last(context: Any) -> None:
        context.results["log"] = [context.results["item"]]

    pipeline = Pipeline([Map([double, [nothing, last], nothing], range(5), result_key="double")])
    for seed in range(50):
        run = Simulator(pipeline, seed, workers=1 + seed % 6).run()
        assert run.context.results == {"log": [0, 1, 2, 3, 4], "double": [0, 2, 4, 6, 8]}


class Store(PipelineStep):
    def run(self, context: Any) -> None:
        if context.results["item"] != 2:
            context.results["stored"] = -context.results["item"]


class Nowhere(PipelineStep):
    def run(self, context: Any) -> None:
        context.results["n"] = context.results.get("n", 0) + context.results["item"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Map(double, [1, 2]), {"double": [2, 4]}),
        (Map(double, [1, 2], result_key="all"), {"all": [2, 4]}),
        (Map(nothing, [1, 2]), {}),
        (Map(nothing, [1, 2], result_key="all"), {"all": [None, None]}),
        (Map(Store(), [1, 2, 3], result_key="stored"), {"stored": [-1, None, -3]}),
        (Map(Nowhere(), [1, 2, 3]), {"n": 6}),
        (Map(fails_on(), [1, None, 3]), {"check": [1, None, 3]}),
        (Map([double, Nowhere()], [1, 2], result_key="n"), {"n": [1, 2], "double": 6}),
        (Map([double, double], [1, 2], result_key="double#2"), {"double": 6, "double#2": [2, 4]}),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [{}, {"double": 0, "all": "old", "stored": "old"}])
def test_what_the_branches_have_under_the_result_key_becomes_a_list(
    node: Map, expected: dict[str, Any], before: dict[str, Any]
) -> None:
    assert results_of([node], dict(before)) == {**before, **expected}


def test_what_else_the_branches_change_merges_as_in_any_group() -> None:
    def write(context: Any) -> None:
        item = context.results["item"]
        context.results["total"] += item
        context.results["names"].append(str(item))
        context.results["by_name"][str(item)] = item
        context.results["best"] = item

    start = {"total": 100, "names": ["0"], "by_name": {}, "best": 0}
    found = results_of([Map(write, [3, 1, 2])], start, reducers={"best": max})
    assert found == {
        "total": 106,
        "names": ["0", "3", "1", "2"],
        "by_name": {"3": 3, "1": 1, "2": 2},
        "best": 3,
    }


def test_a_conflict_names_the_branches_by_their_ids() -> None:
    def write(context: Any) -> None:
        context.results["k"] = str(context.results["item"])

    config = ParallelConfig(on_conflict="error")
    context: Any = PipelineContext()
    with pytest.raises(MergeConflictError) as caught:
        Pipeline([Map(write, [1, 2], config=config, result_key="all")]).run(context)
    assert (caught.value.key, caught.value.branches) == ("k", ("write[0]", "write[1]"))
    assert context.results == {}
