"""Groups that collect from their branches in place of merging them, and groups that may fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    Map,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    SubstepError,
)
from task_pipeline.collectors import BranchEnd, Collector
from task_pipeline.outcome import Outcome
from task_pipeline.testing import Gate

FAIL_FAST = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)


class Ends(Collector):
    """Keeps how each branch ended."""

    def __init__(self, key: str = "ends") -> None:
        self.key = key

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        return {
            self.key: [
                (end.index, end.name, end.outcome, repr(end.error), dict(end.results), end.item)
                for end in ends
            ]
        }


class Renaming(Ends):
    def failure(self, error: Exception, ends: Sequence[BranchEnd]) -> Exception:
        first = next(end for end in ends if end.error is not None)
        renamed = SubstepError(f"branch {first.index}", [ValueError("inside")])
        renamed.__cause__ = first.error
        return renamed


class Spread(Map):
    spreads = True


class Scope(Spread):
    begins_anew = True


def collecting(group: Any, collector: Collector | None = None, **attributes: Any) -> Any:
    group.collector = collector or Ends()
    for name, value in attributes.items():
        setattr(group, name, value)
    return group


def one(context: PipelineContext) -> None:
    context.results["one"] = 1
    context.results["seen"].append(1)


def two(context: PipelineContext) -> None:
    context.results["two"] = 2
    del context.results["gone"]


def boom(context: PipelineContext) -> None:
    raise ValueError("boom")


def started() -> PipelineContext:
    return PipelineContext(results={"seen": [], "gone": 0})


def test_nothing_comes_back_but_what_the_collector_gives() -> None:
    context = Pipeline([collecting(Parallel([one, two]))]).run(started())
    assert context.results == {
        "seen": [],
        "gone": 0,
        "ends": [
            (0, "one", Outcome.SUCCEEDED, "None", {"one": 1, "seen": [1]}, None),
            (1, "two", Outcome.SUCCEEDED, "None", {"two": 2}, None),
        ],
    }


def test_a_collector_sees_what_the_branches_began_with() -> None:
    class Base(Collector):
        def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
            return {"keys": sorted(base)}

    context = Pipeline([collecting(Parallel([one, two]), Base())]).run(started())
    assert context.results["keys"] == ["gone", "seen"]


def test_what_a_branch_that_failed_has_set_is_lost_and_its_error_is_kept() -> None:
    group = collecting(Parallel([[one, boom], two]))
    context = started()
    with pytest.raises(ParallelGroupError):
        Pipeline([group]).run(context)
    (first, second) = context.results["ends"]
    assert first[2:5] == (Outcome.FAILED, "ValueError('boom')", {})
    assert second[2:5] == (Outcome.SUCCEEDED, "None", {"two": 2})
    assert [str(error) for error in context.errors] == ["boom"]


def test_a_branch_that_never_began_has_no_outcome() -> None:
    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST, max_workers=1)
    context = started()
    with pytest.raises(ParallelGroupError):
        Pipeline([collecting(Parallel([boom, two], config=config))]).run(context)
    assert context.results["ends"][1] == (1, "two", None, "None", {}, None)


def test_a_collector_says_what_the_group_raises() -> None:
    with pytest.raises(SubstepError, match="branch 1") as caught:
        Pipeline([collecting(Parallel([one, boom]), Renaming())]).run(started())
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value.__cause__) == "boom"
    assert caught.group_contains(ValueError, match="inside")


def test_what_a_collector_raises_fails_the_group_and_names_it() -> None:
    class Wrong(Collector):
        def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
            raise KeyError("wrong")

    with pytest.raises(KeyError, match="wrong") as caught:
        Pipeline([collecting(Parallel([one, two], name="both"), Wrong())]).run(started())
    assert "'both'" in caught.value.__notes__[0]


def test_a_group_that_is_not_critical_fails_and_what_is_around_it_goes_on() -> None:
    group = collecting(Parallel([one, boom], name="both"), critical=False)
    pipeline = Pipeline([group, two])
    told: list[tuple[str, Any]] = []
    pipeline.subscribe(lambda event: told.append((type(event).__name__, event)))
    context = pipeline.run(started())
    assert context.results["two"] == 2
    assert [str(error) for error in context.errors] == ["boom"]
    (ended,) = [event for kind, event in told if kind == "GroupFailed"]
    assert ended.name == "both"
    assert pipeline.get_status()["state"] == "succeeded"
    assert pipeline.get_status()["progress"] == 100.0


def test_a_branch_goes_on_after_a_group_in_it_that_is_not_critical() -> None:
    inner = collecting(Parallel([one, boom]), Ends("inner"), critical=False)
    context = Pipeline([[[inner, two], one]]).run(started())
    assert context.results["two"] == 2
    assert [end[2] for end in context.results["inner"]] == [Outcome.SUCCEEDED, Outcome.FAILED]


def test_a_group_that_is_not_critical_may_miss_its_deadline() -> None:
    gate = Gate()

    def waits(context: PipelineContext) -> None:
        gate.wait()

    config = ParallelConfig(timeout=0.05)
    group = collecting(Parallel([one, waits], config=config), critical=False)
    context = started()
    try:
        Pipeline([group, two]).run(context)
    finally:
        gate.open()
    assert context.results["two"] == 2
    assert [type(error) for error in context.errors] == [GroupTimeoutError]
    assert context.results["ends"][1][2] is None


def test_a_group_that_tolerates_failures_succeeds_with_none_left() -> None:
    pipeline = Pipeline([collecting(Parallel([boom, boom]), tolerates_failures=True), two])
    context = pipeline.run(started())
    assert [end[2] for end in context.results["ends"]] == [Outcome.FAILED, Outcome.FAILED]
    assert [str(error) for error in context.errors] == ["boom", "boom"]
    assert context.results["two"] == 2


def test_a_map_that_tolerates_failures_and_fails_fast_still_runs_all() -> None:
    def picky(context: PipelineContext) -> None:
        if context.results["item"] == 1:
            raise ValueError("one")
        context.results["done"] = context.results["item"]

    group = collecting(Map(picky, over=[0, 1, 2]), tolerates_failures=True)
    context = Pipeline([group]).run()
    assert [end[4] for end in context.results["ends"]] == [
        {"done": 0},
        {},
        {"done": 2},
    ]


def test_branches_begin_with_every_key_of_an_item_that_spreads() -> None:
    def look(context: PipelineContext) -> None:
        context.results["sum"] = context.results["a"] + context.results["b"]

    group = collecting(Spread(look, over=[{"a": 1, "b": 2}, {"a": 10}]))
    context: PipelineContext = Pipeline([group]).run(PipelineContext(results={"b": 5}))
    assert [end[4] for end in context.results["ends"]] == [{"sum": 3}, {"sum": 15}]
    assert [end[5] for end in context.results["ends"]] == [{"a": 1, "b": 2}, {"a": 10}]
    assert context.results["b"] == 5


def test_an_item_that_spreads_is_each_branchs_own() -> None:
    shared: list[int] = []

    def grow(context: PipelineContext) -> None:
        context.results["list"].append(1)
        context.results["length"] = len(context.results["list"])

    group = collecting(Spread(grow, over=[{"list": shared}, {"list": shared}]))
    context = Pipeline([group]).run()
    assert [end[4]["length"] for end in context.results["ends"]] == [1, 1]
    assert shared == []


def test_a_scope_of_its_own_begins_with_its_item_alone() -> None:
    def look(context: PipelineContext) -> None:
        context.results["keys"] = sorted(context.results)

    group = collecting(Scope(look, over=[{"a": 1}]))
    context: PipelineContext = Pipeline([group]).run(PipelineContext(results={"outside": 1}))
    assert context.results["ends"][0][4] == {"keys": ["a"]}


def test_a_collector_is_told_of_no_items_at_all() -> None:
    context = Pipeline([collecting(Map(one, over=[]))]).run(started())
    assert context.results["ends"] == []


def test_nothing_is_collected_if_nobody_knows_what_there_is() -> None:
    def no_items(context: PipelineContext) -> list[int]:
        raise ValueError("no items")

    context = started()
    with pytest.raises(ValueError, match="no items"):
        Pipeline([collecting(Map(one, over=no_items))]).run(context)
    assert "ends" not in context.results


@pytest.mark.parametrize("workers", [1, 4])
def test_a_resumed_run_collects_again(tmp_path: Any, workers: int) -> None:
    attempts: list[str] = []

    def fragile(context: PipelineContext) -> None:
        attempts.append("fragile")
        if len(attempts) == 1:
            raise ValueError("not yet")
        context.results["fragile"] = True

    def pipeline() -> Pipeline:
        group = collecting(Spread([one], over=[{"i": 1}, {"i": 2}]))
        may_fail = collecting(Parallel([boom, two]), Ends("failed"), critical=False)
        tolerant = collecting(Parallel([boom, one]), Ends("tolerant"), tolerates_failures=True)
        return Pipeline(
            [group, may_fail, tolerant, fragile],
            PipelineConfig(max_workers=workers),
            journal=f"sqlite:///{tmp_path}/runs.db",
        )

    first = pipeline()
    context = started()
    with pytest.raises(ValueError, match="not yet"):
        first.run(context, run_id="r")
    resumed = pipeline().resume("r")
    assert attempts == ["fragile", "fragile"]
    assert {k: v for k, v in resumed.results.items() if k != "fragile"} == context.results
    assert resumed.results["fragile"] is True
    assert first.journal is not None
    statuses = {group.name: group.status for group in first.journal.groups("r")}
    assert sorted(statuses.values()).count("failed") == 1
