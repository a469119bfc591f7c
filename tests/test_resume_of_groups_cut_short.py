"""Groups that a deadline has cut short, or that hold no steps, in a run that is taken up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    GroupTimeoutError,
    LogicOperator,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    RunTimeoutError,
    Serial,
    step,
)
from task_pipeline.events import StepStarted
from task_pipeline.testing import ManualClock


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def load(context: Any) -> int:
    return 0


def test_groups_without_steps_before_a_step_are_joined_again(url: str) -> None:
    nothing: list[Any] = []
    any_of_none = Parallel([nothing, nothing], config=ParallelConfig(operator=LogicOperator.OR))

    def made() -> Pipeline:
        several: list[Any] = [
            nothing,
            nothing,
            Serial([load, load, nothing, load]),
            any_of_none,
            nothing,
        ]
        return Pipeline([load, nothing, several, load], journal=url)

    made().run(run_id="r")
    calls: list[Any] = []
    resumed = made()
    resumed.subscribe(calls.append, kinds=StepStarted)
    assert list(resumed.resume("r").results) == ["load", "load#2", "load#3", "load#4", "load#5"]
    assert calls == []


def test_a_group_that_a_deadline_found_beginning_has_timed_out_in_a_resumed_run_too(
    url: str,
) -> None:
    clock = ManualClock()

    def slow_items(context: Any) -> list[int]:
        clock.advance(1.5)
        return []

    def made() -> Pipeline:
        branches: list[Any] = [load, Map(load, over=slow_items), load]
        group = Parallel(branches, config=ParallelConfig(timeout=1.0, max_workers=1))
        return Pipeline([group], PipelineConfig(fail_fast=False), journal=url)

    with clock.installed():
        errors = [*made().run(run_id="r").errors, *made().resume("r").errors]
    assert [type(error) for error in errors] == [GroupTimeoutError] * 2
    outcomes = [list(error.outcomes.values()) for error in errors]
    assert outcomes == [["succeeded", "timed_out", "cancelled"]] * 2


def test_a_branch_that_had_timed_out_by_itself_does_not_stand_for_the_next(url: str) -> None:
    clock = ManualClock()

    @step(timeout=1.0)
    def slow(context: Any) -> None:
        clock.advance(1.5)

    def made() -> Pipeline:
        first = Pipeline([slow], PipelineConfig(timeout=100.0), name="first")
        group = Parallel([first, load], config=ParallelConfig(timeout=4.0, delay=50.0))

        def until_the_deadline(context: Any) -> None:
            clock.advance(10.0)

        beside: list[Any] = [until_the_deadline]
        return Pipeline([Parallel([group, beside])], PipelineConfig(fail_fast=False), journal=url)

    with clock.installed():
        made().run(run_id="r")
        (found,) = [e for e in made().resume("r").errors if isinstance(e, GroupTimeoutError)]
    assert list(found.outcomes.values()) == ["timed_out", "cancelled"]


def test_a_group_that_was_ended_with_the_run_is_recorded_anew_when_it_goes_on(
    url: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    slow = [True]

    def work(context: Any) -> None:
        if slow[0]:
            clock.advance(5.0)

    def made(at: str) -> Pipeline:
        inner = Parallel([load, [work, load]], name="inner")
        return Pipeline([inner], PipelineConfig(timeout=2.0), journal=at)

    with clock.installed():
        first = made(url)
        with pytest.raises(RunTimeoutError):
            first.run(run_id="r")
        assert first.journal is not None
        document = first.journal.export_run("r")
        # As if the process had died after the group's row, and before the run's.
        document["run"] |= dict.fromkeys(("ended_at", "error_type", "error_text"), None)
        document["run"] |= {"status": "running", "error_traceback": None}
        other = f"sqlite:///{tmp_path}/other.db"
        slow[0] = False
        again = made(other)
        assert again.journal is not None
        again.journal.import_run(document)
        again.resume("r")
    assert {group.name: group.status for group in again.journal.groups("r")} == {
        "inner": "succeeded"
    }
