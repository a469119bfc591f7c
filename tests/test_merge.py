"""Merging: three-way, against the fork point, in the order the branches are written."""

from __future__ import annotations

import copy
import datetime
import enum
import logging
import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from task_pipeline import (
    MergeConflictError,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    ReducerError,
    TaskStep,
    step,
)
from task_pipeline.testing import Simulator

Change = Callable[[dict[Any, Any]], object]
SEEDS = range(6)
NOON = datetime.datetime(2024, 5, 6, 12, tzinfo=datetime.UTC)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


def put(value: Any) -> Change:
    return lambda mapping: mapping.update(k=value)


def add(amount: Any) -> Change:
    return lambda mapping: mapping.update(k=mapping.get("k", 0) + amount)


def extend(*items: Any) -> Change:
    return lambda mapping: mapping.setdefault("k", []).extend(items)


def inside(change: Callable[[Any], object]) -> Change:
    """A change made in place to the value of "k"."""
    return lambda mapping: change(mapping["k"])


def insert(item: Any) -> Change:
    return inside(lambda items: items.insert(0, item))


def set_m(value: Any) -> Change:
    return inside(lambda mapping: mapping.update(m=value))


def carry(mapping: dict[Any, Any]) -> None:
    """Read the old value and write it back: no change."""
    if "k" in mapping:
        mapping["k"] = mapping["k"]


def delete(mapping: dict[Any, Any]) -> None:
    del mapping["k"]


def leave(mapping: dict[Any, Any]) -> None:
    """Touch nothing."""


def merged(base: dict[Any, Any], changes: list[Change], depth: int = 0, **settings: Any) -> Any:
    """What branches making these changes come to; asserts that the order of ends is no matter."""
    results, place = copy.deepcopy(base), ["outer", "middle", "inner"][:depth]
    for name in reversed(place):
        results = {name: results}

    def branch(number: int, change: Change) -> TaskStep:
        def work(context: PipelineContext[Any]) -> None:
            target: Any = context.results
            for name in place:
                target = target[name]
            change(target)

        return step(step_id=f"branch_{number}")(work)

    branches = [branch(number, change) for number, change in enumerate(changes)]
    pipeline = Pipeline([branches], PipelineConfig(**settings))
    found = []
    for seed in SEEDS:
        run = Simulator(pipeline, seed).run(PipelineContext(results=copy.deepcopy(results)))
        assert run.error is None
        value: Any = run.context.results
        for name in place:
            assert value.keys() == {name}
            value = value[name]
        found.append(value)
    assert all(value == found[0] for value in found)
    return found[0]


# fmt: off
RULES: list[tuple[str, dict[str, Any], list[Change], dict[str, Any]]] = [
    # Only one branch changed it, or deleted it.
    ("one-first", {"k": "old"}, [put("new"), carry], {"k": "new"}),
    ("one-last", {"k": "old"}, [carry, put("new")], {"k": "new"}),
    ("one-of-four", {"k": "old"}, [carry, leave, put("new"), carry], {"k": "new"}),
    ("one-changes-its-kind", {"k": [1]}, [put(None), carry], {"k": None}),
    ("one-deletes-first", {"k": "old"}, [delete, carry], {}),
    ("one-deletes-last", {"k": [1]}, [carry, delete], {}),
    ("one-decrement", {"k": 5}, [carry, add(-2)], {"k": 3}),
    ("one-reset-to-0", {"k": 5}, [put(0), carry], {"k": 0}),
    ("new-0", {}, [put(0), leave], {"k": 0}),
    ("new-negative", {}, [leave, put(-3)], {"k": -3}),
    ("new-None", {}, [put(None), leave], {"k": None}),
    ("new-False", {}, [leave, put(False)], {"k": False}),
    ("new-empty", {}, [put([]), leave], {"k": []}),
    ("one-inserts", {"k": [1, 2]}, [insert(0), carry], {"k": [0, 1, 2]}),
    ("one-sorts", {"k": [2, 1]}, [carry, inside(list.sort)], {"k": [1, 2]}),
    ("none", {"k": [1]}, [carry, leave, carry], {"k": [1]}),
    # Numbers: base + the sum of all increments.
    ("increments", {"k": 10}, [add(1), add(2), carry], {"k": 13}),
    ("decrements", {"k": 10}, [add(-3), add(1)], {"k": 8}),
    ("reset-and-increment", {"k": 5}, [put(0), add(2)], {"k": 2}),
    ("same-number-twice", {"k": 5}, [put(7), put(7)], {"k": 9}),
    ("floats", {"k": 1.0}, [add(0.5), add(0.25)], {"k": 1.75}),
    ("int-and-float", {"k": 1}, [add(1), add(0.5)], {"k": 2.5}),
    ("decimals", {"k": Decimal("0.1")}, [add(Decimal("0.2")), add(1)], {"k": Decimal("1.3")}),
    ("fractions", {"k": Fraction(1, 3)}, [add(Fraction(1, 3)), add(1)], {"k": Fraction(5, 3)}),
    ("complex", {"k": 1j}, [add(1), add(2j)], {"k": 1 + 3j}),
    ("new-numbers", {}, [put(2), put(3), put(-1)], {"k": 4}),
    ("new-zeros", {}, [put(0), put(0)], {"k": 0}),
    # Lists that kept base as a prefix.
    ("appends", {"k": [1]}, [extend(2), extend(3, 4), carry, extend(5)], {"k": [1, 2, 3, 4, 5]}),
    ("new-lists", {}, [extend("a"), extend("b")], {"k": ["a", "b"]}),
    ("equal-additions", {"k": [1]}, [extend(2), extend(2)], {"k": [1, 2, 2]}),
    ("replaced-but-kept", {"k": [1]}, [put([1, 2]), extend(3)], {"k": [1, 2, 3]}),
    ("lists-of-lists", {"k": [[1]]}, [extend([2]), extend([3])], {"k": [[1], [2], [3]]}),
    # Dicts: key by key, by these same rules.
    ("dict-new", {}, [put({"x": 1}), put({"y": 2})], {"k": {"x": 1, "y": 2}}),
    ("dict-new-numbers", {}, [put({"x": 1}), put({"x": 2})], {"k": {"x": 3}}),
    ("dict-keys", {"k": {}}, [inside(put("a")), inside(leave)], {"k": {"k": "a"}}),
    ("dict-numbers", {"k": {"k": 5}}, [inside(add(1)), inside(add(-3))], {"k": {"k": 3}}),
    ("dict-lists", {"k": {}}, [inside(extend(2)), inside(extend(3))], {"k": {"k": [2, 3]}}),
    ("dict-delete", {"k": {"k": 1, "l": 2}}, [inside(delete), inside(leave)], {"k": {"l": 2}}),
    ("dict-delete-and-add", {"k": {"k": 1}}, [inside(delete), set_m(3)], {"k": {"m": 3}}),
    ("dict-both-delete", {"k": {"k": 1}}, [inside(delete), inside(delete)], {"k": {}}),
    ("dict-cleared", {"k": {"k": 1}}, [inside(dict.clear), inside(carry)], {"k": {}}),
    ("dict-conflict", {"k": {"k": 1}}, [inside(put("a")), inside(put("b"))], {"k": {"k": "b"}}),
    # Sets: base + all additions − all removals.
    ("set-additions", {"k": {1}}, [put({1, 2}), put({1, 3})], {"k": {1, 2, 3}}),
    ("set-both", {"k": {1, 2}}, [put({2}), put({1, 2, 3})], {"k": {2, 3}}),
    ("set-removals", {"k": {1, 2, 3}}, [put({2, 3}), put({1, 3})], {"k": {3}}),
    ("set-same-removal", {"k": {1, 2}}, [put({2}), put({2, 4})], {"k": {2, 4}}),
    ("set-in-place", {"k": set()}, [inside(lambda it: it.add(1)), put({2})], {"k": {1, 2}}),
    ("set-new", {}, [put({1}), put({2})], {"k": {1, 2}}),
    ("frozenset", {"k": frozenset({1})}, [put(frozenset({1, 2})), put(frozenset())], {"k": {2}}),
    # All changed it to equal values.
    ("equal-texts", {"k": "old"}, [put("new"), put("new"), carry], {"k": "new"}),
    ("equal-None", {"k": 1}, [put(None), put(None)], {"k": None}),
    ("equal-bools", {"k": False}, [put(True), put(True)], {"k": True}),
    ("equal-tuples", {}, [put((1, [2])), put((1, [2]))], {"k": (1, [2])}),
    ("equal-times", {}, [put(NOON), put(NOON.replace())], {"k": NOON}),
    ("equal-shorter-lists", {"k": [1, 2]}, [inside(list.pop), inside(list.pop)], {"k": [1]}),
    ("all-delete", {"k": 1}, [delete, delete, carry], {}),
]
CONFLICTS: list[tuple[str, dict[str, Any], list[Change], Any, Any]] = [
    ("texts", {"k": "old"}, [put("a"), carry, put("b")], "a", "b"),
    ("new-texts", {}, [put("a"), put("b")], "a", "b"),
    ("bools", {}, [put(True), put(False)], True, False),
    ("number-and-text", {"k": 1}, [put(2), put("b")], 2, "b"),
    ("number-and-bool", {"k": 5}, [put(6), put(True)], 6, True),
    ("number-without-a-sum", {"k": 0}, [put(1.5), put(10**400)], 1.5, 10**400),
    ("infinities", {"k": Decimal(0)}, [put(Decimal("Inf")), put(-Decimal("Inf"))],
     Decimal("Inf"), -Decimal("Inf")),
    ("decimal-and-float", {"k": Decimal(1)}, [put(Decimal(2)), put(0.5)], Decimal(2), 0.5),
    ("enum-members", {"k": Level.LOW}, [put(Level.HIGH), put(7)], Level.HIGH, 7),
    ("list-and-None", {"k": [1]}, [extend(2), put(None)], [1, 2], None),
    ("list-and-dict", {}, [put([1]), put({"x": 1})], [1], {"x": 1}),
    ("insert-and-append", {"k": [1]}, [insert(0), extend(2)], [0, 1], [1, 2]),
    ("element-changed", {"k": [[1]]}, [put([[2]]), extend(3)], [[2]], [[1], 3]),
    ("tuples", {"k": (1,)}, [put((1, 2)), put((1, 3))], (1, 2), (1, 3)),
    ("set-and-list", {"k": {1}}, [put({2}), put([3])], {2}, [3]),
]
# fmt: on


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize(
    ("base", "changes", "expected"), [pytest.param(*row, id=name) for name, *row in RULES]
)
def test_each_line_of_the_merge_table(
    base: dict[str, Any], changes: list[Change], expected: dict[str, Any], depth: int
) -> None:
    assert merged(base, changes, depth, on_conflict="last") == expected


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(
    ("base", "changes", "first", "last"), [pytest.param(*row, id=name) for name, *row in CONFLICTS]
)
def test_what_does_not_merge_goes_to_the_last_or_the_first_branch(
    base: dict[str, Any], changes: list[Change], first: Any, last: Any, depth: int
) -> None:
    assert merged(base, changes, depth) == {"k": last}
    assert merged(base, changes, depth, on_conflict="last") == {"k": last}
    assert merged(base, changes, depth, on_conflict="first") == {"k": first}


@pytest.mark.parametrize("depth", [0, 2])
def test_a_deletion_and_a_change_are_a_conflict(depth: int) -> None:
    assert merged({"k": 1}, [delete, put(2)], depth) == {"k": 2}
    assert merged({"k": 1}, [put(2), delete], depth) == {}
    assert merged({"k": 1}, [delete, put(2)], depth, on_conflict="first") == {}
    assert merged({"k": {"x": 1}}, [inside(lambda it: it.update(y=1)), delete], depth) == {}


def test_1_and_True_are_not_the_same_value() -> None:
    assert merged({}, [put(1), put(True)])["k"] is True
    assert merged({}, [put(1), put(True)], on_conflict="first")["k"] == 1
    assert merged({"k": 1}, [put(True), carry])["k"] is True


def test_list_additions_arrive_once_through_three_levels_of_nesting() -> None:
    def appends(name: str) -> TaskStep:
        return step(step_id=name)(lambda context: context.results["seen"].append(name))

    # branch ∥ (… → (branch ∥ (… → (branch ∥ branch) → …)) → …): three parallel groups in each other
    innermost: list[TaskStep] = [appends("e"), appends("f")]
    middle: list[TaskStep] = [appends("c"), [appends("d"), innermost, appends("g")]]
    pipeline = Pipeline([[appends("a"), [appends("b"), middle, appends("h")], appends("i")]])
    for seed in range(100):
        context: PipelineContext[Any] = PipelineContext(results={"seen": ["base"]})
        Simulator(pipeline, seed).run(context)
        assert context.results["seen"] == ["base", *"abcdefghi"]


def test_the_merged_dict_is_of_the_kind_it_was() -> None:
    class Bag(dict[str, int]):
        pass

    changes = [put(Bag(x=1, z=0)), put(Bag(y=2, z=0))]
    for base, keys in (({"k": Bag(z=0)}, "zxy"), ({}, "xzy")):
        result = merged(base, changes)["k"]
        assert type(result) is Bag
        assert [*result] == [*keys]
        assert result == {"z": 0, "x": 1, "y": 2}


# The order of the branches as written, never that in which they end


@pytest.mark.no_cover
def test_guarantee_4_the_written_order_decides_in_1000_shuffled_runs() -> None:
    def work(number: int) -> TaskStep:
        def branch(context: PipelineContext[Any]) -> None:
            results = context.results
            results["list"].append(number)
            results["count"] += number
            results["last"] = f"written by {number}"
            results["stats"]["seen"].append(number)
            results[f"new_{number}"] = number
            results["set"].add(number)
            raise ValueError(number)

        return step(step_id=f"branch_{number}", critical=False)(branch)

    def ignore(context: PipelineContext[Any]) -> None:
        context.results["list"].append("two")

    inner: list[TaskStep] = [work(3), [work(4), work(5)]]
    pipeline = Pipeline([[work(0), work(1), [ignore, inner], work(6), work(7)]])
    order = [0, 1, 3, 4, 5, 6, 7]
    traces = set()
    for seed in range(1000):
        base = {"list": [], "count": 100, "last": "", "stats": {"seen": []}, "set": set()}
        run = Simulator(pipeline, seed, workers=6).run(PipelineContext(results=base))
        traces.add(tuple(run.trace))
        results = run.context.results
        assert results["list"] == [0, 1, "two", 3, 4, 5, 6, 7]
        assert results["stats"] == {"seen": order}
        assert (results["count"], results["last"]) == (126, "written by 7")
        assert results["set"] == set(order)
        assert list(results)[5:] == [f"new_{number}" for number in order]
        assert [error.args[0] for error in run.context.errors] == order
    assert len(traces) > 500


def test_a_reducer_is_folded_in_the_written_order_whatever_ends_first() -> None:
    branches = [
        step(step_id=name)(lambda context, name=name: put(name)(context.results)) for name in "abc"
    ]
    pipeline = Pipeline([branches], PipelineConfig(reducers={"k": "{}+{}".format}))
    for seed in range(100):
        assert Simulator(pipeline, seed).run().context.results == {"k": "a+b+c"}


# Conflicts


def test_a_conflict_is_logged_with_its_key_and_branches(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="task_pipeline"):
        merged({"k": {"k": "old"}}, [inside(put("a")), inside(carry), inside(put("c"))])
    assert len(caplog.records) == len(SEEDS)
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    text = (
        "group 'parallel_group_0' at path 0: key 'k.k' was changed by the branches 'branch_0', "
        "'branch_2' in ways that do not merge; the value of 'branch_2' was taken"
    )
    assert set(caplog.messages) == {text}


def test_what_merges_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="task_pipeline"):
        merged({"k": 1}, [add(1), add(2), carry])
    assert caplog.messages == []


def conflicting(config: PipelineConfig, group: ParallelConfig | None = None) -> Pipeline:
    one = step(step_id="one")(lambda context: context.results.update(k="a", other=1))
    two = step(step_id="two")(lambda context: context.results.update(k="b"))
    return Pipeline([Parallel([one, two], name="both", config=group)], config)


@pytest.mark.parametrize("fail_fast", [True, False])
def test_on_conflict_error_raises_and_merges_nothing(fail_fast: bool) -> None:
    context: PipelineContext[Any] = PipelineContext(results={"k": "old"})
    pipeline = conflicting(PipelineConfig(on_conflict="error", fail_fast=fail_fast))
    if fail_fast:
        with pytest.raises(MergeConflictError):
            pipeline.run(context)
    else:
        pipeline.run(context)
    [error] = context.errors
    assert isinstance(error, MergeConflictError)
    assert (error.key, error.branches) == ("k", ("one", "two"))
    assert "key 'k' was changed by the branches 'one', 'two'" in str(error)
    assert error.__notes__ == ["found in group 'both' at path 0"]
    assert context.results == {"k": "old"}


def test_a_group_may_settle_conflicts_its_own_way() -> None:
    first = conflicting(PipelineConfig(on_conflict="error"), ParallelConfig(on_conflict="first"))
    assert first.run().results["k"] == "a"
    error = conflicting(PipelineConfig(on_conflict="first"), ParallelConfig(on_conflict="error"))
    with pytest.raises(MergeConflictError):
        error.run()


# Reducers


@pytest.mark.parametrize(
    ("reducer", "base", "changes", "expected"),
    [
        pytest.param(max, {"k": 1}, [put(5), put(3)], {"k": 5}, id="instead of a sum"),
        pytest.param(min, {}, [put(5), put(3), carry], {"k": 3}, id="a new key"),
        pytest.param(operator.or_, {}, [put({1}), put({2})], {"k": {1, 2}}, id="an operator"),
        pytest.param(operator.truediv, {}, [put(5)], {"k": 5}, id="one branch: not called"),
        pytest.param(operator.add, {"k": 1}, [put(2), delete, put(3)], {"k": 5}, id="a deletion"),
        pytest.param(operator.truediv, {"k": 1}, [delete, delete], {}, id="only deletions"),
        pytest.param(operator.truediv, {"k": 1}, [delete, put(2)], {"k": 2}, id="one is left"),
    ],
)
def test_a_reducer_goes_before_the_rules(
    reducer: Any, base: dict[str, Any], changes: list[Change], expected: dict[str, Any]
) -> None:
    assert merged(base, changes, reducers={"k": reducer}, on_conflict="error") == expected


def test_a_reducer_below_a_key_is_named_by_its_dotted_path() -> None:
    base, changes = {"k": {"k": 1}}, [inside(put(5)), inside(put(3))]
    assert merged(base, changes, reducers={"k.k": max}) == {"k": {"k": 5}}
    assert merged(base, changes, reducers={"other": max, "k.other": max}) == {"k": {"k": 7}}
    deeper = {"outer.middle.k": max}
    assert merged({"k": 1}, [put(5), put(3)], 2, reducers=deeper) == {"k": 5}


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_reducer_that_raises_fails_the_group(fail_fast: bool) -> None:
    context: PipelineContext[Any] = PipelineContext(results={"k": "old"})
    config = PipelineConfig(reducers={"k": operator.sub}, fail_fast=fail_fast)
    if fail_fast:
        with pytest.raises(ReducerError, match="the reducer of key 'k' raised TypeError"):
            conflicting(config).run(context)
    else:
        conflicting(config).run(context)
    [error] = context.errors
    assert isinstance(error, ReducerError)
    assert isinstance(error.__cause__, TypeError)
    assert "merging the branches 'one', 'two'" in str(error)
    assert error.__notes__ == ["merging group 'both' at path 0"]
    assert context.results == {"k": "old"}
