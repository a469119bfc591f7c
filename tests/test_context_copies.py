"""Copies of a context, in a step and outside of one; the contexts and dicts that steps put in."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from task_pipeline import Pipeline, PipelineContext, PipelineStep, step

Context = PipelineContext[Any]


@dataclass
class Order(PipelineContext[Any]):
    total: int = 0
    items: list[int] = field(default_factory=list)


@dataclass(slots=True)
class SlottedOrder(PipelineContext[Any]):
    total: int = 0
    items: list[int] = field(default_factory=list)


# Copies


def original() -> Order:
    shared = {"lock": threading.Lock(), "list": [1]}
    results = {"list": [1], "shared list": shared["list"]}
    return Order(results=results, errors=[ValueError("v")], shared=shared, items=[1])


def outside(work: Callable[[Any], Any]) -> tuple[Any, Any]:
    context = original()
    return context, work(context)


def inside(work: Callable[[Any], Any]) -> tuple[Any, Any]:
    context, found = original(), []
    Pipeline([[lambda mine: found.append(work(mine)), lambda mine: None]]).run(context)
    return context, found[0]


@pytest.mark.parametrize("where", [outside, inside])
def test_deepcopy_shares_what_must_be_shared_and_copies_the_rest(where: Any) -> None:
    context, twin = where(copy.deepcopy)
    assert type(twin) is Order
    assert twin == context
    assert twin.shared is context.shared
    assert twin.logger is context.logger
    assert twin.errors[0] is context.errors[0]
    assert twin.results["shared list"] is context.shared["list"]
    for ours, theirs in [
        (twin.results, context.results),
        (twin.results["list"], context.results["list"]),
        (twin.items, context.items),
        (twin.errors, context.errors),
    ]:
        assert ours is not theirs
    assert (twin.step_id, twin.attempt, twin.total) == (None, 0, 0)
    twin.results["new"] = twin.total = 1
    assert ("new" in context.results, context.total) == (False, 0)


@pytest.mark.parametrize("where", [outside, inside])
def test_a_shallow_copy_is_another_context_with_the_same_values(where: Any) -> None:
    context, twin = where(copy.copy)
    assert twin == context
    assert twin is not context
    assert twin.step_id is None
    assert twin.errors[0] is context.errors[0]


@pytest.mark.parametrize("make", [Order, SlottedOrder])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_context_can_be_pickled(make: Callable[[], Any], protocol: int) -> None:
    context = make()
    context.results, context.items, context.total = {"a": [1]}, [2], 3

    def pickled(mine: Any) -> None:
        twin = pickle.loads(pickle.dumps(mine, protocol))
        mine.shared["twins"].append(twin)

    context.shared["twins"] = []
    twin = pickle.loads(pickle.dumps(context, protocol))
    assert twin == context
    assert twin.logger is context.logger
    context.shared["twins"] = []
    Pipeline([pickled, [lambda mine: pickled(mine), lambda mine: None]]).run(context)
    for twin in context.shared["twins"]:
        assert type(twin) is type(context)
        assert type(twin.results) is dict
        assert (twin.results, twin.items, twin.total) == ({"a": [1]}, [2], 3)
        assert twin.step_id is None


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_copies_have_attributes_that_are_no_fields_too(through: Callable[[Any], Any]) -> None:
    def work(mine: Any) -> None:
        twin = through(mine)
        mine.shared["twins"] += [(twin.more, twin.results)]

    context: Any = PipelineContext(results={"a": [1]}, shared={"twins": []})
    context.more = [2]
    Pipeline([[work, [lambda mine: None, [work, work]]], step(isolated=True)(work)]).run(context)
    assert context.shared["twins"] == [([2], {"a": [1]})] * 4


class Returns(PipelineStep):
    """Returns what a function makes of its context."""

    def __init__(self, make: Callable[[Any], Any], isolated: bool | None = None) -> None:
        self.make, self.isolated = make, isolated

    def run(self, context: Any) -> Any:
        return self.make(context)


@pytest.mark.parametrize("where", ["series", "isolated", "branch", "isolated branch"])
@pytest.mark.parametrize("maker", ["the same", "another", "a copy", "a deep copy", "replaced"])
def test_a_step_may_return_another_context(maker: str, where: str) -> None:
    def make(context: Order) -> Order:
        mine: Order = {
            "the same": lambda: context,
            "another": lambda: Order(results={"old": [1]}, total=context.total),
            "a copy": lambda: copy.copy(context),
            "a deep copy": lambda: copy.deepcopy(context),
            "replaced": lambda: dataclasses.replace(context),
        }[maker]()
        mine.results["new"] = [2]
        mine.results["old"].append(2)
        mine.total += 3
        return mine

    made = Returns(make, isolated=where.startswith("isolated") or None)
    nothing = Returns(lambda context: None)
    steps: list[Any] = [made, nothing] if "branch" not in where else [[made, nothing]]
    context = Order(results={"old": [1]}, total=1)
    shared = context.shared
    assert Pipeline(steps).run(context) is context
    assert (context.results, context.total) == ({"old": [1, 2], "new": [2]}, 4)
    assert type(context.results) is dict
    assert context.shared is shared


# Dicts that make up what they have not


@pytest.mark.parametrize("isolated", [True, None])
def test_a_defaultdict_of_results_goes_on_making_values(isolated: bool | None) -> None:
    def branch(mine: Context) -> None:
        assert mine.results.default_factory is list  # type: ignore[attr-defined]  # a defaultdict
        mine.results["seen"].append(1)
        assert mine.results.get("other") is None
        assert "other" not in mine.results

    context: Context = PipelineContext(results=collections.defaultdict(list, old=[0]))
    marked = step(isolated=isolated)(branch)
    Pipeline([marked, [marked, [marked, [marked, marked]]]]).run(context)
    assert context.results == {"old": [0], "seen": [1] * 5}
    assert type(context.results) is collections.defaultdict


def test_a_counter_of_results_goes_on_counting() -> None:
    def branch(mine: Context) -> None:
        assert mine.results["none"] == 0
        mine.results["seen"] += 1

    context: Context = PipelineContext(results=collections.Counter(old=2))
    Pipeline([branch, [branch, [branch, [branch, branch]]]]).run(context)
    assert context.results == collections.Counter(old=2, seen=5)
    assert type(context.results) is collections.Counter


# What a branch does to the list of errors


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda errors: errors.append("new"), ["old", "new", "new"]),
        (lambda errors: errors.insert(0, "new"), ["old", "new", "new"]),
        (lambda errors: errors.clear(), ["old"]),
        (lambda errors: errors.reverse(), ["old"]),
    ],
)
def test_a_branch_can_only_add_to_the_errors(change: Any, expected: list[str]) -> None:
    def branch(mine: Context) -> None:
        change(mine.errors)

    def replaces(mine: Context) -> None:
        mine.errors = list(mine.errors)
        change(mine.errors)

    context: Context = PipelineContext(errors=["old"])
    Pipeline([[branch, replaces]]).run(context)
    assert context.errors == expected


@pytest.mark.parametrize("isolated", [True, None])
def test_a_step_may_return_the_context_of_another(isolated: bool | None) -> None:
    def keep(mine: Context) -> None:
        mine.results["list"].append(1)
        mine.shared["kept"] = mine

    def change(mine: Context) -> None:
        mine.results["x"] = "changed"
        mine.results["y"] = "new"

    def give(mine: Context) -> Any:
        return mine.shared["kept"]

    steps: list[Any] = [Returns(keep, isolated=True), change, Returns(give, isolated=isolated)]
    in_a_branch: list[Any] = [[steps, Returns(lambda mine: None)]]
    for shape in (steps, in_a_branch):
        context: Context = PipelineContext(results={"list": [], "x": "old"})
        Pipeline(shape).run(context)
        assert context.results == {"list": [1], "x": "old"}
        assert type(context.results) is dict


@pytest.mark.parametrize("attributes", [{}, {"isolated": True}, {"timeout": 30.0}])
@pytest.mark.parametrize("how", [Pipeline.run, lambda it, context: it.start(context).result()])
def test_a_key_that_is_put_in_anew_comes_last(attributes: dict[str, Any], how: Any) -> None:
    def put_in_anew(mine: Context) -> None:
        mine.results["n"] = 1
        mine.results["a"] = mine.results.pop("a")
        mine.results["b"] = 2

    context: Context = PipelineContext(results={"a": [1], "b": 1, "c": 3})
    how(Pipeline([step(**attributes)(put_in_anew)]), context)
    assert [*context.results.items()] == [("b", 2), ("c", 3), ("n", 1), ("a", [1])]
