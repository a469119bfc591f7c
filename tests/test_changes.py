"""What counts as a change of a value: its state, all the way down, and nothing else."""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import enum
import functools
import operator
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    step,
)

Context = PipelineContext[Any]


@dataclass
class Order(PipelineContext[Any]):
    total: int = 0
    items: list[int] = field(default_factory=list)


@dataclass
class Collection(PipelineContext[Any]):
    things: set[Any] = field(default_factory=set)
    by_thing: dict[Any, Any] = field(default_factory=dict)


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


class Dumb(NotPicklable):  # noqa: PLW1641  # as its base: not to be hashed
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


class Singleton:
    """Copied and pickled by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name


ON, OFF = Singleton("ON"), Singleton("OFF")


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

    def branch(mine: Context) -> None:
        change(mine.results["k"])

    steps: list[Any] = [branch, lambda mine: None]
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


def test_a_singleton_and_what_cannot_be_told_apart_at_all() -> None:
    def branch(mine: Context) -> None:
        mine.results["state"] = OFF
        mine.results["dumb"].value.append(1)

    context: Context = PipelineContext(results={"state": ON, "dumb": Dumb()})
    Pipeline([[branch, lambda mine: None]]).run(context)
    assert context.results["state"] is OFF
    assert context.results["dumb"].value == [1]


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


def test_objects_in_fields_are_not_doubled_either() -> None:
    thing = Plain()

    def branch(mine: Collection) -> None:
        assert len(mine.things) == len(mine.app_config) == 1
        mine.by_thing[mine.step_id] = 1

    context = Collection(app_config={thing}, things={thing}, by_thing={thing: 1})
    Pipeline([[branch, branch]]).run(context)
    assert (context.things, context.app_config) == ({thing}, {thing})
    assert [type(key) for key in context.by_thing] == [Plain, str, str]


def test_a_step_with_a_deadline_is_given_what_cannot_be_copied_as_it_is() -> None:
    lock, items = threading.Lock(), [1]

    @step(timeout=30.0)
    def timed(mine: Context) -> None:
        assert mine.results["lock"] is lock
        assert mine.app_config is lock
        assert mine.results["items"] is not items
        mine.results["items"].append(2)
        mine.results["lock"] = mine.results["lock"]

    context: Context = PipelineContext(app_config=lock, results={"lock": lock, "items": items})
    Pipeline([timed]).run(context)
    assert context.results == {"lock": lock, "items": [1, 2]}
    assert context.app_config is lock
    branches: list[Any] = [timed, [touch, timed], [timed, touch]]
    for branch in branches:
        with pytest.raises(
            ParallelGroupError, match=r"ContextCopyError: results\['lock'\] holds a"
        ):
            Pipeline([[branch, touch]]).run(context)
