"""What observers, the status and the metrics know of a run that was taken up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Event,
    EventBus,
    Loop,
    Map,
    Outcome,
    Pipeline,
    PipelineConfig,
    TaskStep,
)
from task_pipeline.events import (
    GroupStarted,
    RunEnded,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StepEvent,
    StepRecovered,
    StepStarted,
    StepSucceeded,
)
from task_pipeline.testing import Gate
from tests.journaled import Runs, Work, quiet

ONE_WORKER = PipelineConfig(max_workers=1)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def listen(pipeline: Pipeline) -> list[Event]:
    heard: list[Event] = []
    pipeline.subscribe(heard.append)
    return heard


def mixed(work: Work) -> list[TaskStep]:
    return [
        work("a"),
        [work("b"), [work("c"), work("soft", critical=False)], work("d")],
        Map(work("m"), over=[1, 2]),
        Loop(work("l"), times=2),
        work("z"),
    ]


def test_events_are_numbered_on_over_both_parts(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    heard = listen(pipeline)
    work.fail("soft")
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    first = len(heard)
    assert isinstance(heard[-1], RunFailed)
    pipeline.resume("r")
    assert [event.seq for event in heard] == list(range(len(heard)))
    assert {event.run_id for event in heard} == {"r"}
    assert isinstance(heard[first], RunStarted)
    assert isinstance(heard[-1], RunSucceeded)
    assert [event.to_json() for event in heard] == list(runs.journal.events("r"))


def test_recovered_steps_are_told_of_where_they_stand(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    heard = listen(pipeline)
    work.fail("soft")
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    ended = {
        event.path: event
        for event in heard
        if isinstance(event, StepEvent) and event.duration is not None and event.attempt
    }
    del ended["4"]
    first = len(heard)
    pipeline.resume("r")
    again = [event for event in heard[first:] if isinstance(event, StepRecovered)]
    assert len(again) == len(ended) == 9
    for event in again:
        was = ended[event.path]
        assert (event.name, event.step_id, event.group_id) == (was.name, was.step_id, was.group_id)
        assert (event.is_parallel, event.parallel_index) == (was.is_parallel, was.parallel_index)
        assert event.attempt == 1
        assert event.duration == pytest.approx(was.duration, abs=1e-3)
        assert event.outcome == ("failed" if event.step_id == "soft" else "succeeded")
        assert (event.error is None) == (event.step_id != "soft")
    begun = [event.step_id for event in heard[first:] if isinstance(event, StepStarted)]
    assert begun == ["z"]
    groups = [event.path for event in heard[first:] if isinstance(event, GroupStarted)]
    assert sorted(groups) == ["1", "1.1", "2", "3"]


def test_every_step_has_one_outcome_in_the_second_part(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([[work("a", retries=1), *work.all("b c d")], work("z")])
    for name in ("a", "c"):
        work.fail(name, ValueError("1"), ValueError("2"))
    with quiet():
        pipeline.run(run_id="r")
    heard = listen(pipeline)
    with quiet():
        pipeline.resume("r")
    started = Counter(event.path for event in heard if isinstance(event, StepStarted))
    recovered = Counter(event.path for event in heard if isinstance(event, StepRecovered))
    assert recovered == {"0.1": 1, "0.3": 1}
    assert started == {"0.0": 1, "0.2": 1}
    pipeline.resume("r")
    assert isinstance(heard[-1], RunSucceeded)


def test_who_subscribes_to_the_second_part_hears_it_from_its_beginning(
    runs: Runs, work: Work
) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    bus = EventBus()
    heard: list[Event] = []
    bus.subscribe(heard.append)
    runs.pipeline(work.all("a z"), event_bus=bus).resume("r")
    assert [type(event) for event in heard] == [
        RunStarted,
        StepRecovered,
        StepStarted,
        StepSucceeded,
        RunSucceeded,
    ]
    assert [event.seq for event in heard] == list(range(5))


def test_the_end_is_told_once_it_is_recorded(runs: Runs, work: Work) -> None:
    seen: list[str] = []
    pipeline = runs.pipeline(work.all("a"))

    def look(event: Event) -> None:
        record = runs.journal.run("r")
        seen.append(f"{record.status} {record.is_live}")

    pipeline.subscribe(look, RunEnded)
    pipeline.run(run_id="r")
    assert seen == ["succeeded False"]


def test_nobody_is_told_of_a_run_that_had_ended(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    pipeline.run(run_id="r")
    heard = listen(pipeline)
    pipeline.resume("r")
    assert heard == []
    assert list(runs.journal.events("r")) == []


# Status and metrics


def test_the_status_counts_what_was_recovered(runs: Runs, work: Work) -> None:
    gate = Gate()
    pipeline = runs.pipeline(work.all("a b c d"))
    work.fail("c")
    with quiet():
        pipeline.run(run_id="r")
    assert pipeline.get_status()["progress"] == 50.0
    work.meanwhile("c", gate.wait)

    async def main() -> None:
        task = asyncio.create_task(pipeline.aresume("r"))
        await asyncio.to_thread(gate.wait_until_reached)
        status = pipeline.get_status()
        assert (status["progress"], status["running_steps"]) == (50.0, ["c"])
        assert status["current_step"] == "c"
        details = status["step_details"]
        assert details["a"]["status"] == "succeeded"
        assert details["a"]["attempts"] == 1
        assert details["a"]["started_at"] >= 0.0
        gate.open()
        await task

    asyncio.run(main())
    status = pipeline.get_status()
    assert (status["state"], status["progress"], status["is_running"]) == (
        "succeeded",
        100.0,
        False,
    )
    assert {one["status"] for one in status["step_details"].values()} == {"succeeded"}


@pytest.mark.parametrize("name", ["b", "c", "soft", "d", "m", "l", "z"])
def test_a_resumed_run_comes_to_one_hundred_percent(runs: Runs, work: Work, name: str) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    whole = pipeline.run()
    work.fail(name)
    with quiet():
        pipeline.run(run_id="r")
    context = pipeline.resume("r")
    assert pipeline.get_status()["progress"] == 100.0
    if name != "soft":
        assert context.results == whole.results


def test_progress_callbacks_hear_of_recovered_items(runs: Runs, work: Work) -> None:
    heard: list[tuple[int, str, float]] = []

    def note(index: int, total: int, name: str, percent: float) -> None:
        heard.append((index, name, round(percent, 1)))

    pipeline = runs.pipeline(work.all("a b c d"), progress_callback=note)
    work.fail("c")
    with quiet():
        pipeline.run(run_id="r")
    heard.clear()
    pipeline.resume("r")
    assert heard == [(0, "a", 25.0), (1, "b", 50.0), (2, "c", 75.0), (3, "d", 100.0)]


def test_metrics_count_each_step_once(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    pipeline.resume("r")
    metrics = pipeline.metrics()
    assert sum(step.succeeded for step in metrics.steps.values()) == 10
    assert sum(step.failed + step.cancelled for step in metrics.steps.values()) == 0
    assert {step.running for step in metrics.steps.values()} == {0}


def test_a_snapshot_of_a_run_that_goes_on(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b c"))
    gate = Gate()
    work.meanwhile("b", gate.wait)
    run = pipeline.start(run_id="r")
    gate.wait_until_reached()
    early = run.snapshot()
    gate.open()
    run.result()
    late = run.snapshot()
    assert (early.outcome, early.statuses["b"]) == (None, "running")
    assert (late.outcome, late.results) == (Outcome.SUCCEEDED, {"log": ["a", "b", "c"]})
    assert early.results == {"log": ["a"]}
    assert bool(early.diff(late))


def test_logs_of_a_resumed_run_name_no_recovered_step(
    runs: Runs, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = runs.pipeline([work("a", retries=1), work("z")])
    work.fail("a")
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    caplog.clear()
    pipeline.resume("r")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


# The display


@pytest.mark.parametrize("mode", [True, "plain"])
def test_a_resumed_run_is_shown(
    runs: Runs, work: Work, capsys: pytest.CaptureFixture[str], mode: Any
) -> None:
    from task_pipeline import ParallelDisplayMode

    display = True if mode is True else ParallelDisplayMode(next(iter(ParallelDisplayMode)).value)
    pipeline = runs.pipeline([work("a"), [work("x"), work.all("y w")], work("z")], name="shown")
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r", display=display)
    capsys.readouterr()
    pipeline.resume("r", display=display)
    text = capsys.readouterr().out + capsys.readouterr().err
    assert "cancelled" not in text
    assert "shown" in text
