"""Copies of a context, in a step and outside of one; what a branch's changes are told by."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import operator
import pickle
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import Pipeline, PipelineConfig, PipelineContext, PipelineStep, step

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


# Only changes count


class Level(enum.Enum):
    LOW = 1


class Plain:
    def __init__(self, value: Any = None) -> None:
        self.value: Any = [] if value is None else value


class EqualById(Plain):
    """Its `==` looks at an id only, as database models do."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EqualById)

    __hash__ = None  # type: ignore[assignment]  # mutable, like the rest


class NeverTrue(Plain):
    """Its `==` has no single truth, as with arrays."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]  # mutable, like the rest


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: list[int] = []


class NotPicklable(Plain):
    def __deepcopy__(self, memo: dict[int, Any]) -> NotPicklable:
        return type(self)(copy.deepcopy(self.value, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("no pickling")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotPicklable) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # mutable, like the rest


class WithLock(Plain):
    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> WithLock:
        return WithLock(copy.deepcopy(self.value, memo))


class Tagged(list[int]):
    tag: list[int]


def ring() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def tagged() -> Tagged:
    items = Tagged([1])
    items.tag = []
    return items


def push(thing: Any) -> None:
    thing.value.append(1)


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "an object": (Plain, push),
    "an object that says it is equal": (EqualById, push),
    "an object whose == raises": (NeverTrue, push),
    "an object with slots": (Slotted, push),
    "an object that does not pickle": (NotPicklable, push),
    "an object with a lock": (WithLock, push),
    "an object in an object": (lambda: Plain(Plain()), lambda thing: push(thing.value)),
    "a dataclass": (lambda: Order(items=[1]), lambda thing: thing.items.append(2)),
    "1 to True": (lambda: [1], lambda thing: operator.setitem(thing, 0, True)),
    "1 to 1.0": (lambda: [1], lambda thing: operator.setitem(thing, 0, 1.0)),
    "a list in itself": (ring, lambda thing: thing[1].insert(0, 0)),
    "a list with attributes": (tagged, lambda thing: thing.tag.append(1)),
    "a deque": (lambda: collections.deque([1]), lambda thing: thing.append(2)),
    "an ordered dict": (
        lambda: collections.OrderedDict(a=1, b=2),
        lambda thing: thing.move_to_end("a"),
    ),
    "a defaultdict": (lambda: collections.defaultdict(list), lambda thing: thing["new"]),
    "a counter": (lambda: collections.Counter("ab"), lambda thing: thing.update("a")),
    "a set": (lambda: {1, 2}, lambda thing: thing.discard(1)),
    "a dict": (lambda: {1: {2: 3}}, lambda thing: thing[1].update({2: 4})),
    "another key": (lambda: {1: 2}, lambda thing: (thing.clear(), thing.update({2: 2}))),
    "bytes": (lambda: bytearray(b"a"), lambda thing: thing.extend(b"b")),
    "a tuple": (lambda: ([],), lambda thing: thing[0].append(1)),
    "objects in a set": (lambda: {Plain(), Plain()}, lambda thing: thing.pop()),
    "objects as keys": (lambda: {Plain(): 1}, lambda thing: thing.update(more=1)),
}
SAME: dict[str, Callable[[], Any]] = {
    "not a number": lambda: [float("nan")],
    "a decimal": lambda: decimal.Decimal("NaN"),
    "an enum": lambda: [Level.LOW],
    "a path": lambda: [Path("a")],
    "a time": lambda: [datetime.datetime.now(datetime.UTC)],
    "a pattern": lambda: [re.compile("a")],
    "an error": lambda: [ValueError("a")],
    "a function": lambda: [len, push, Plain, functools.partial(push, [1])],
    "a frozenset": lambda: {frozenset({1}): [frozenset()]},
    "a singleton": lambda: [None, ..., NotImplemented],
    "nothing": object,
    "a random state": lambda: random.Random(1),
}


def touch(thing: Any) -> None:
    """Change nothing."""


@pytest.mark.parametrize(("make", "change"), CHANGES.values(), ids=CHANGES)
def test_a_change_in_place_is_seen(make: Callable[[], Any], change: Callable[[Any], Any]) -> None:
    original = make()
    context: Context = PipelineContext(results={"k": original})
    steps: list[Any] = [lambda mine: change(mine.results["k"]) and None, lambda mine: None]
    Pipeline([steps], PipelineConfig(on_conflict="error")).run(context)
    assert context.results["k"] is not original
    assert type(context.results["k"]) is type(original)


@pytest.mark.parametrize(
    "make", [*(make for make, _ in CHANGES.values()), *SAME.values()], ids=[*CHANGES, *SAME]
)
def test_what_is_only_read_is_not_changed(make: Callable[[], Any]) -> None:
    original = make()
    context: Context = PipelineContext(results={"k": original})

    def branch(mine: Context) -> None:
        mine.results["k"] = mine.results["k"]
        assert mine.results.items()

    Pipeline([[branch, [branch, branch]]], PipelineConfig(on_conflict="error")).run(context)
    assert context.results["k"] is original


@pytest.mark.parametrize("make", [Plain, EqualById, NotPicklable, Slotted])
def test_two_branches_that_make_it_the_same_agree(make: Callable[[], Any]) -> None:
    def branch(mine: Context) -> None:
        mine.results["k"] = make()
        push(mine.results["k"])

    context: Context = PipelineContext()
    Pipeline([[branch, branch]], PipelineConfig(on_conflict="error")).run(context)
    assert context.results["k"].value == [1]


def test_objects_in_sets_and_keys_are_not_doubled() -> None:
    thing = Plain()

    def branch(mine: Context) -> None:
        mine.results["set"].add(mine.step_id)
        mine.results["dict"][mine.step_id] = 1

    context: Context = PipelineContext(results={"set": {thing}, "dict": {thing: 1}})
    Pipeline([[branch, branch]]).run(context)
    assert len(context.results["set"]) == 3
    assert [*context.results["dict"].values()] == [1, 1, 1]
    assert [type(key) for key in context.results["dict"]] == [Plain, str, str]


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
