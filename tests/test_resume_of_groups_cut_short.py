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
    Serial,
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
