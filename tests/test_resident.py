"""Values that are elsewhere until somebody reads them."""

from __future__ import annotations

import collections
import copy
import json
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from task_pipeline import MergeConflictError, PipelineContext
from task_pipeline.context import SOURCE
from task_pipeline.errors import ExecutorError
from task_pipeline.state.copying import Comparison, unchanged
from task_pipeline.state.delta import DELETED, Delta, adopt, apply, delta_of
from task_pipeline.state.fork import Fork, ForkPoint, cut
from task_pipeline.state.merge import Branch, MergeRules, merge
from task_pipeline.state.resident import Resident, fetched, kind_of, referring
from task_pipeline.state.results import ForkedResults, ResidentResults


class Elsewhere:
    """Holds a value, and counts how often it is asked for."""

    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self.value = value
        self.error = error
        self.times = 0

    def fetch(self) -> Any:
        self.times += 1
        if self.error is not None:
            raise self.error
        return self.value


def resident(value: Any) -> tuple[Resident, Elsewhere]:
    holder = Elsewhere(value)
    return Resident(holder, kind_of(value), 1_000_000), holder


def context_with(**values: Any) -> tuple[PipelineContext[Any], dict[str, Elsewhere]]:
    """A context into which a step's delta has brought values that are elsewhere."""
    made = {key: resident(value) for key, value in values.items()}
    context: PipelineContext[Any] = PipelineContext(results={"here": 1})
    apply(context, Delta({key: one for key, (one, _) in made.items()}))
    return context, {key: holder for key, (_, holder) in made.items()}


def test_nothing_is_fetched_by_asking_what_there_is() -> None:
    context, holders = context_with(x=[1, 2], y={"a": 1})
    results = context.results
    assert len(results) == 3
    assert list(results) == list(results.keys()) == ["here", "x", "y"]
    assert "x" in results and "z" not in results
    assert results["here"] == 1
    assert "1,000,000 bytes, not fetched" in repr(results)
    results["new"] = 5
    del results["new"]
    assert [holder.times for holder in holders.values()] == [0, 0]


READS = {
    "[]": lambda results: {"x": results["x"]},
    "get": lambda results: {"x": results.get("x")},
    "items": lambda results: dict(results.items()),
    "values": lambda results: dict(zip(results, results.values(), strict=True)),
    "pop": lambda results: {"x": results.pop("x")},
    "popitem": lambda results: dict([results.popitem()]),
    "setdefault": lambda results: {"x": results.setdefault("x", 0)},
    "copy": lambda results: results.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda results: pickle.loads(pickle.dumps(results)),
    "json": lambda results: json.loads(json.dumps(results)),
    "dict": lambda results: dict(results),
    "**": lambda results: {**results},
    "|": lambda results: results | {},
    "r|": lambda results: {} | results,
    "comprehension": lambda results: {key: results[key] for key in results},
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whatever_way_it_is_read_the_value_comes_and_comes_once(read) -> None:
    context, holders = context_with(x=[1, 2])
    got = read(context.results)
    assert type(got) is dict
    assert got["x"] == [1, 2]
    assert type(got["x"]) is list
    assert holders["x"].times == 1


def test_it_is_equal_to_a_plain_dict_from_both_sides() -> None:
    context, _ = context_with(x=[1, 2], y={"a": 1})
    plain = {"here": 1, "x": [1, 2], "y": {"a": 1}}
    assert context.results == plain
    assert plain == context.results
    assert context.results != {**plain, "x": [1]}
    other, _ = context_with(x=[1, 2], y={"a": 1})
    assert context.results == other.results


def test_what_was_read_is_the_users_own_and_the_same_each_time() -> None:
    context, holders = context_with(x=[1, 2])
    context.results["x"].append(3)
    assert context.results["x"] == [1, 2, 3]
    assert dict.__getitem__(context.results, "x") == [1, 2, 3]
    assert holders["x"].times == 1


def test_a_whole_context_is_copied_and_pickled_with_its_values() -> None:
    context, _ = context_with(x=[1, 2])
    for other in (copy.deepcopy(context), pickle.loads(pickle.dumps(context))):
        assert type(other.results) is dict
        assert other.results == {"here": 1, "x": [1, 2]}
    shallow = copy.copy(context)
    assert shallow.results["x"] is context.results["x"]


def test_the_rule_for_missing_keys_of_a_dict_that_was_replaced_is_kept() -> None:
    context: PipelineContext[Any] = PipelineContext(results=collections.defaultdict(list))
    apply(context, Delta({"x": resident(7)[0]}))
    context.results["fresh"].append(1)
    assert context.results == {"x": 7, "fresh": [1]}
    assert type(context.results) is ResidentResults


def test_a_plain_value_leaves_the_users_dict_in_its_place() -> None:
    mine: dict[str, Any] = {}
    context: PipelineContext[Any] = PipelineContext(results=mine)
    apply(context, Delta({"x": 1}))
    assert context.results is mine


def test_a_fork_fetches_on_first_touch_and_has_a_copy_of_its_own() -> None:
    context, holders = context_with(x=[1, 2])
    point = ForkPoint(context)
    one, two = Fork(point).context(), Fork(point).context()
    assert holders["x"].times == 0
    one.results["x"].append(3)
    assert one.results["x"] == [1, 2, 3]
    assert two.results["x"] == [1, 2]
    assert holders["x"].times == 1
    held = point.results["x"]
    assert type(held) is Resident and not held.is_here  # what is elsewhere still counts
    changed, untouched = delta_of(one), delta_of(two)
    assert changed is not None and changed.results == {"x": [1, 2, 3]}
    assert untouched is None


def test_a_view_hands_the_value_itself_out_and_what_is_elsewhere_counts_no_more() -> None:
    context, _ = context_with(x=[1, 2])
    held = dict.__getitem__(context.results, "x")
    view = Fork(ForkPoint(context), copies=False).context()
    view.results["x"].append(3)
    assert held.is_here
    assert delta_of(view) is None  # its parent's own object, as ever
    assert context.results["x"] == [1, 2, 3]


def test_what_a_branch_got_from_a_cluster_is_fetched_when_its_next_step_reads_it() -> None:
    fork = Fork(ForkPoint(PipelineContext())).context()
    one, holder = resident({"a": 1})
    apply(fork, Delta({"x": one}))
    assert holder.times == 0
    delta = delta_of(fork)
    assert delta is not None and delta.results["x"] is one
    assert fork.results["x"] == {"a": 1}
    assert type(fork.results["x"]) is dict
    assert holder.times == 1


def test_reading_all_of_a_fork_fetches_what_it_was_given_too() -> None:
    fork = Fork(ForkPoint(PipelineContext())).context()
    apply(fork, Delta({"x": resident([1])[0]}))
    assert list(fork.results.values()) == [[1]]
    assert all(type(value) is not Resident for value in fork.results.copy().values())


def test_moving_a_key_to_the_end_fetches_nothing() -> None:
    context, holders = context_with(x=[1], y=[2])
    apply(context, Delta(moved=("x",)))
    assert list(context.results) == ["here", "y", "x"]
    fork = Fork(ForkPoint(context)).context()
    apply(fork, Delta(moved=("y",)))
    assert list(fork.results) == ["here", "x", "y"]
    assert holders["x"].times == holders["y"].times == 0


def test_deleting_and_overwriting_fetch_nothing() -> None:
    context, holders = context_with(x=[1], y=[2])
    point = ForkPoint(context)
    fork = Fork(point).context()
    del fork.results["x"]
    fork.results["y"] = 5  # of another type: there is nothing to compare
    delta = delta_of(fork)
    assert delta is not None and delta.results == {"x": DELETED, "y": 5}
    assert holders["x"].times == holders["y"].times == 0


def test_an_equal_value_in_its_place_is_no_change() -> None:
    context, holders = context_with(x=[1, 2])
    fork = Fork(ForkPoint(context)).context()
    fork.results["x"] = [1, 2]
    assert delta_of(fork) is None
    assert holders["x"].times == 1


def test_a_value_in_the_place_of_a_lost_one_is_a_change() -> None:
    one = Resident(Elsewhere(None, ExecutorError("gone")), "builtins.list", 9)
    assert not unchanged(one, [1])


def test_two_that_are_elsewhere_are_the_same_only_if_they_are_one() -> None:
    one, holder = resident([1])
    two, other = resident([1])
    assert not unchanged(one, two)
    assert unchanged(one, Resident(holder, one.kind, 1))
    assert Comparison().same([one], [one])
    assert holder.times == other.times == 0


def test_a_cut_off_fork_does_not_fetch() -> None:
    context, holders = context_with(x=[1])
    fork = Fork(ForkPoint(context)).context()
    results = fork.results
    cut(fork)
    with pytest.raises(Exception, match="cut off"):
        results["x"]
    assert holders["x"].times == 0


def branches(*values: Any) -> list[Branch]:
    return [Branch(f"b{n}", Delta({"x": value})) for n, value in enumerate(values)]


def merged(base: dict[str, Any], *values: Any, **rules: Any) -> Any:
    point = ForkPoint(PipelineContext())
    point.results = base
    outcome = merge(point, branches(*values), MergeRules(**rules))
    if outcome.error is not None:
        raise outcome.error
    return outcome.delta.results["x"]


def test_a_merge_passes_on_what_only_one_branch_has_changed() -> None:
    one, holder = resident([1])
    assert merged({}, one) is one
    assert holder.times == 0


def test_a_merge_fetches_what_it_must_combine_and_nothing_else() -> None:
    base, old = resident([0])
    one, _ = resident([0, 1])
    other, bystander = resident("large")
    point = ForkPoint(PipelineContext())
    point.results = {"x": base, "y": other}
    assert merge(point, branches(one, [0, 2]), MergeRules()).delta.results == {"x": [0, 1, 2]}
    assert old.times == 1
    assert bystander.times == 0


@pytest.mark.parametrize(
    ("base", "values", "expected"),
    [
        (5, (6, 8), 9),
        ({"a": 1}, ({"a": 1, "b": 2}, {"a": 1, "c": 3}), {"a": 1, "b": 2, "c": 3}),
        ({1}, ({1, 2}, {1, 3}), {1, 2, 3}),
    ],
)
def test_the_rules_of_merging_hold_for_values_that_are_elsewhere(base, values, expected) -> None:
    given = [resident(value)[0] for value in values]
    assert merged({"x": resident(base)[0]}, *given) == expected


def test_equal_values_of_several_branches_stay_elsewhere() -> None:
    one, two = resident(np.ones(3))[0], resident(np.ones(3))[0]
    assert merged({}, one, two) is one


def test_a_conflict_is_won_by_a_value_that_stays_elsewhere() -> None:
    one, two = resident("a")[0], resident("b")[0]
    assert merged({}, one, two) is two
    assert merged({}, one, two, on_conflict="first") is one
    with pytest.raises(MergeConflictError):
        merged({}, one, two, on_conflict="error")


def test_a_reducer_gets_the_values() -> None:
    one, two = resident(np.ones(2))[0], resident(np.ones(2))[0]
    total = merged({}, one, two, reducers={"x": lambda a, b: a + b})
    assert list(total) == [2.0, 2.0]


def test_what_cannot_be_fetched_ends_the_merge_with_its_error() -> None:
    lost = Resident(Elsewhere(None, ExecutorError("results['x'] is lost")), "builtins.list", 9)
    with pytest.raises(ExecutorError, match="is lost"):
        merged({}, lost, [1])


def test_a_failed_fetch_is_tried_again_at_the_next_reading() -> None:
    context, holders = context_with(x=[1])
    holders["x"].error = ExecutorError("not now")
    with pytest.raises(ExecutorError, match="not now"):
        context.results["x"]
    holders["x"].error = None
    assert context.results["x"] == [1]


def test_threads_that_read_at_once_fetch_once() -> None:
    one, holder = resident([1])
    barrier = threading.Barrier(4)
    got = []

    def read() -> None:
        barrier.wait()
        got.append(one.fetched())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holder.times == 1
    assert all(value is holder.value for value in got)


def test_adopting_a_context_takes_the_values() -> None:
    context, _ = context_with(x=[1])
    mine: PipelineContext[Any] = PipelineContext()
    adopt(mine, context)
    assert mine.results == {"here": 1, "x": [1]}
    assert SOURCE not in mine.__dict__


def test_what_it_is_compared_and_shown_as() -> None:
    one, holder = resident(np.ones(2))
    assert repr(one) == "<ndarray of 1,000,000 bytes, not fetched>"
    assert not one.was_fetched
    assert (one == np.ones(2)).all()
    assert (np.ones(2) == one).all()
    assert one.was_fetched
    assert "array" in repr(one)
    assert list(copy.copy(one)) == list(copy.deepcopy(one)) == [1.0, 1.0]
    assert fetched(one) is holder.value
    assert fetched(5) == 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_pickling_refers_to_it_where_that_is_wanted() -> None:
    one, holder = resident([1])
    two, other = resident([2])
    with referring(lambda held: (str, ("a reference",)) if held is one else None):
        packed = pickle.dumps([one, two, one])
    assert holder.times == 0
    assert other.times == 1
    assert pickle.loads(packed) == ["a reference", [2], "a reference"]
    assert pickle.loads(pickle.dumps(one)) == [1]


def test_the_dict_in_its_place_is_a_fork_of_nothing() -> None:
    context, _ = context_with(x=[1])
    assert isinstance(context.results, ForkedResults)
    assert type(type(context.results)(a=1)) is dict  # for code that makes another of its type
