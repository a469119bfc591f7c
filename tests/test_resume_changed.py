"""A pipeline that is not what it was: what is an error, what runs again, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    JournalDataError,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    PipelineConfig,
    PipelineContext,
    PlanChangedError,
    RetryPolicy,
    Serial,
    TaskStep,
)
from tests.journaled import Runs, Work, everything, quiet, row, statuses


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def fail_at(runs: Runs, work: Work, name: str, steps: list[TaskStep], **options: Any) -> None:
    """Have a run fail at a step."""
    work.fail(name)
    with quiet():
        runs.pipeline(steps, **options).run(run_id="r")
    assert name in work.ran()


def test_a_changed_plan_is_an_error_that_says_what_changed(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [work("a"), work.all("x y"), work("z")])
    before = everything(runs.journal)
    changed = runs.pipeline([work("a"), work.all("x n"), work("z")])
    with pytest.raises(PlanChangedError) as raised:
        changed.resume("r")
    text = str(raised.value)
    for part in ("'r'", "1.1", "'n'", "'y'", "rerun_changed", "ignore"):
        assert part in text
    assert raised.value.run_id == "r"
    assert work.ran() == []
    assert everything(runs.journal)[1:] == before[1:]
    assert runs.journal.run("r").status == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": 60.0},
        {"retries": RetryPolicy(attempts=3)},
        {"weight": 5.0},
        {"limit": "io"},
        {"description": "other"},
        {"isolated": True},
        {"idempotent": False},
    ],
)
def test_limits_and_the_like_are_no_change(runs: Runs, work: Work, change: dict[str, Any]) -> None:
    fail_at(runs, work, "z", [work("a"), work("z")], limits={"io": 1})
    same = runs.pipeline([work("a"), work("z", **change)], limits={"io": 1}, name=None)
    same.resume("r")
    assert work.ran() == ["z"]


def test_more_workers_or_time_are_no_change(runs: Runs, work: Work) -> None:
    config = ParallelConfig(timeout=60.0)
    fail_at(runs, work, "z", [Parallel(work.all("a b"), config=config), work("z")])
    more = PipelineConfig(max_workers=3, timeout=60.0)
    config = ParallelConfig(max_workers=2, timeout=None)
    runs.pipeline([Parallel(work.all("a b"), config=config), work("z")], config=more).resume("r")
    assert work.ran() == ["z"]


@pytest.mark.parametrize(
    "now",
    [
        lambda work: [work("a", version="2"), work("z")],
        lambda work: [work("a", critical=False), work("z")],
        lambda work: [work("b"), work("z")],
        lambda work: [work("z")],
        lambda work: [[work("a"), work("z")]],
        lambda work: [Serial([work("a")]), work("z")],
    ],
)
def test_what_decides_the_results_is_a_change(runs: Runs, work: Work, now: Any) -> None:
    fail_at(runs, work, "z", [work("a"), work("z")])
    with pytest.raises(PlanChangedError):
        runs.pipeline(now(work)).resume("r")
    runs.pipeline(now(work)).resume("r", on_changed="rerun_changed")
    assert runs.journal.run("r").status == "succeeded"
    assert len(work.ran()) >= 1


def test_another_operator_is_a_change_of_the_group(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [work("s"), work.all("a b"), work("z")])
    one = ParallelConfig(operator=LogicOperator.OR)
    changed = runs.pipeline([work("s"), Parallel(work.all("a b"), config=one), work("z")])
    with pytest.raises(PlanChangedError, match="operator=OR"):
        changed.resume("r")
    changed.resume("r", on_changed="rerun_changed")
    assert sorted(work.ran()) == ["a", "b", "z"]


# rerun_changed


def test_a_changed_step_and_all_after_it_runs_again(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", work.all("a b c z"))
    changed = runs.pipeline([work("a"), work("b", version="2"), work("c"), work("z")])
    context = changed.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["b", "c", "z"]
    assert context.results == {"log": ["a", "b", "c", "z"]}


def test_a_finished_run_can_be_brought_up_to_date(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b")).run(run_id="r")
    work.ran()
    longer = runs.pipeline(work.all("a b c"))
    with pytest.raises(PlanChangedError, match="'c' was added"):
        longer.resume("r")
    assert longer.resume("r", on_changed="rerun_changed").results["log"] == ["a", "b", "c"]
    assert work.ran() == ["c"]
    longer.resume("r")  # it is what the run is of now
    assert work.ran() == []


def test_what_was_removed_at_the_end_is_forgotten(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b c")).run(run_id="r")
    work.ran()
    shorter = runs.pipeline(work.all("a b"))
    with pytest.raises(PlanChangedError, match="'c' was removed"):
        shorter.resume("r")
    context = shorter.resume("r", on_changed="rerun_changed")
    assert work.ran() == []
    assert context.results == {"log": ["a", "b"]}
    assert statuses(runs.journal) == {"a": "succeeded", "b": "succeeded"}


def test_branches_are_found_wherever_they_stand_now(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [work("a"), work.all("x y w"), work("z")])
    now = [work("new"), work("w"), work("x"), work("y", version="2")]
    changed = runs.pipeline([work("a"), now, work("z")])
    context = changed.resume("r", on_changed="rerun_changed")
    assert sorted(work.ran()) == ["new", "y", "z"]
    assert context.results == {"log": ["a", "new", "w", "x", "y", "z"]}
    places = {name: row(runs.journal, name) for name in ["w", "x", "new", "y"]}
    assert {name: step.path for name, step in places.items()} == {
        "new": "1.0",
        "w": "1.1",
        "x": "1.2",
        "y": "1.3",
    }
    assert {name: step.parallel_index for name, step in places.items()} == {
        "new": 0,
        "w": 1,
        "x": 2,
        "y": 3,
    }
    assert changed.resume("r").results == context.results
    assert work.ran() == []


def test_two_branches_change_places_and_back(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [work.all("x y"), work("z")])
    work.fail("z")
    swapped = runs.pipeline([work.all("y x"), work("z")])
    with pytest.raises(ValueError, match="z"):
        swapped.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["z"]
    back = runs.pipeline([work.all("x y"), work("z")])
    context = back.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["z"]
    assert context.results == {"log": ["x", "y", "z"]}


def test_maps_that_change_places_keep_their_items(runs: Runs, work: Work) -> None:
    def mapped(name: str, items: list[int]) -> Map:
        return Map(work(name), over=lambda context: items, name=name)

    first = mapped("p", [1, 2])
    fail_at(runs, work, "z", [[first, mapped("q", [1, 2, 3])], work("z")])
    swapped = runs.pipeline([[mapped("q", [1, 2, 3]), first], work("z")])
    swapped.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["z"]
    assert swapped.resume("r").results == swapped.replay("r").context.results  # type: ignore[union-attr]  # NORMAL has one


def test_a_changed_branch_leaves_the_others_alone(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [[work.all("a b"), work.all("c d")], work("z")])
    changed = runs.pipeline([[work.all("a b2"), work.all("c d")], work("z")])
    changed.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["b2", "z"]


def test_a_changed_template_is_run_for_each_item_again(runs: Runs, work: Work) -> None:
    def mapped(version: str) -> Map:
        return Map(work("m", version=version), over=lambda context: [1, 2], name="each")

    fail_at(runs, work, "z", [mapped("1"), work("z")])
    runs.pipeline([mapped("2"), work("z")]).resume("r", on_changed="rerun_changed")
    assert work.ran() == ["m", "m", "z"]


# ignore


def test_ignore_uses_what_still_fits(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", work.all("a b z"))
    changed = runs.pipeline([work("a"), work("b", version="2"), work("z")])
    assert changed.resume("r", on_changed="ignore").results == {"log": ["a", "b", "z"]}
    assert work.ran() == ["z"]


def test_ignore_takes_no_step_for_another(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", work.all("a b z"))
    changed = runs.pipeline(work.all("a new b z"))
    context = changed.resume("r", on_changed="ignore")
    assert work.ran() == ["new", "b", "z"]
    assert context.results == {"log": ["a", "new", "b", "z"]}
    assert changed.resume("r").results == context.results
    assert work.ran() == []


def test_ignore_forgets_what_is_nowhere_any_more(runs: Runs, work: Work) -> None:
    fail_at(runs, work, "z", [work("a"), Loop(work("l"), times=2), work("z")])
    changed = runs.pipeline(work.all("a z"))
    context = changed.resume("r", on_changed="ignore")
    assert work.ran() == ["z"]
    assert context.results == {"log": ["a", "z"]}
    assert statuses(runs.journal) == {"a": "succeeded", "z": "succeeded"}


def test_ignore_of_a_finished_run(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b")).run(run_id="r")
    work.ran()
    context = runs.pipeline([work("a"), work("b", version="2")]).resume("r", on_changed="ignore")
    assert work.ran() == []
    assert context.results == {"log": ["a", "b"]}


# Another pipeline, another input


def test_another_pipeline_is_a_changed_one(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b")).run(run_id="r")
    with pytest.raises(PlanChangedError, match=r"step 'x', where it was step 'a'"):
        runs.pipeline(work.all("x y")).resume("r")


def test_another_input_runs_everything_again(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b"))
    pipeline.run(PipelineContext(results={"in": 1}), run_id="r")
    work.ran()
    given: PipelineContext[Any] = PipelineContext(results={"in": 1})
    assert pipeline.resume("r", given) is given
    assert given.results == {"in": 1, "log": ["a", "b"]}
    assert work.ran() == []
    other: PipelineContext[Any] = PipelineContext(results={"in": 2})
    assert pipeline.resume("r", other) is other
    assert work.ran() == ["a", "b"]
    assert other.results == {"in": 2, "log": ["a", "b"]}
    assert pipeline.resume("r").results == other.results  # it is the run's input now
    assert work.ran() == []


def test_a_damaged_plan_is_an_error(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b")).run(run_id="r")
    document = runs.journal.export_run("r")
    for plan in ("{", "[]", '{"step":"a"}'):
        damaged = runs.opened()
        damaged.import_run({**document, "run": {**document["run"], "plan": plan}})
        with pytest.raises(JournalDataError, match="'r'"):
            runs.pipeline(work.all("a b"), journal=damaged).resume("r")
