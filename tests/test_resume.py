"""A run is taken up where its record ends: what ended is not run again, all else is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    ErrorStrategy,
    JournalDataError,
    LogicOperator,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunCancelledError,
    RunExistsError,
    RunLeasedError,
    RunNotFoundError,
    SkipStep,
    StopPipeline,
    step,
)
from task_pipeline.testing import Gate
from tests.journaled import Runs, Work, group_row, row, statuses

ONE_WORKER = PipelineConfig(max_workers=1)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


# After a failure


def test_what_failed_and_all_after_it_runs_again(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("s"), work.all("a b"), work("z")])
    work.fail("b")
    with pytest.raises(ParallelGroupError):
        pipeline.run(run_id="r")
    assert sorted(work.ran()) == ["a", "b", "s"]
    context = pipeline.resume("r")
    assert work.ran() == ["b", "z"]
    assert context.results == {"log": ["s", "a", "b", "z"]}
    assert context.errors == []
    assert runs.journal.run("r").status == "succeeded"
    assert runs.journal.run("r").resumes == 1


def test_a_run_that_ended_well_runs_nothing(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("s"), work.all("a b")])
    done = pipeline.run(run_id="r")
    work.ran()
    record = runs.journal.run("r")
    context = pipeline.resume("r")
    assert work.ran() == []
    assert context.results == done.results
    assert runs.journal.run("r") == record


def test_none_is_a_result_like_any_other(runs: Runs, work: Work) -> None:
    def nothing(context: Any) -> None:
        work.did("nothing")

    def keeps_none(context: Any) -> None:
        work.did("keeps_none")
        context.results["none"] = None

    pipeline = runs.pipeline([nothing, keeps_none, work("z")])
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["z"]
    assert context.results["none"] is None


def test_a_second_failure_is_taken_up_too(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b"))
    work.fail("b", ValueError("first"), KeyError("second"))
    with pytest.raises(ValueError, match="first"):
        pipeline.run(run_id="r")
    with pytest.raises(KeyError):
        pipeline.resume("r")
    assert row(runs.journal, "b").error_type == "builtins.KeyError"
    assert runs.journal.run("r").error_type == "builtins.KeyError"
    assert pipeline.resume("r").results == {"log": ["a", "b"]}
    assert work.ran() == ["a", "b", "b", "b"]
    record = runs.journal.run("r")
    assert (record.resumes, record.error_type, record.error_text) == (2, None, None)


def test_all_branches_that_failed_are_tried_again(runs: Runs, work: Work) -> None:
    quorum = ParallelConfig(operator=LogicOperator.QUORUM, quorum=2)
    pipeline = runs.pipeline([Parallel(work.all("a b c"), config=quorum), work("z")])
    work.fail("a")
    work.fail("c")
    with pytest.raises(ParallelGroupError):
        pipeline.run(run_id="r")
    work.ran()
    assert pipeline.resume("r").results["log"] == ["a", "b", "c", "z"]
    assert sorted(work.ran()) == ["a", "c", "z"]


def test_what_a_group_could_do_without_stays_as_it_is(runs: Runs, work: Work) -> None:
    first = ParallelConfig(
        operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST, max_workers=1
    )
    pipeline = runs.pipeline([Parallel(work.all("bad good never"), config=first), work("z")])
    work.fail("bad")
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["z"]
    assert [str(error) for error in context.errors] == ["bad"]
    assert statuses(runs.journal) == {
        "bad": "failed",
        "good": "succeeded",
        "never": "cancelled",
        "z": "succeeded",
    }


def test_what_was_cancelled_by_a_failure_runs_after_all(runs: Runs, work: Work) -> None:
    fast = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST, max_workers=1)
    branches = [work("good"), work("bad"), work("never"), work.all("n1 n2")]
    pipeline = runs.pipeline([Parallel(branches, config=fast), work("z")])
    work.fail("bad")
    with pytest.raises(ParallelGroupError):
        pipeline.run(run_id="r")
    assert work.ran() == ["good", "bad"]
    pipeline.resume("r")
    assert sorted(work.ran()) == ["bad", "n1", "n2", "never", "z"]
    assert set(statuses(runs.journal).values()) == {"succeeded"}
    assert group_row(runs.journal, "0").status == "succeeded"


def test_a_step_that_is_not_critical_is_not_tried_again(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("soft", critical=False), work("z")])
    work.fail("soft", ValueError("soft"))
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["z"]
    assert [repr(error) for error in context.errors] == ["ValueError('soft')"]
    assert any("soft" in note for note in context.errors[0].__notes__)


def test_without_fail_fast_failures_are_part_of_a_run_that_ended(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"), config=PipelineConfig(fail_fast=False))
    work.fail("a")
    pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == []
    assert [str(error) for error in context.errors] == ["a"]
    assert pipeline.resume("r", from_step="a").errors == []
    assert work.ran() == ["a", "z"]


def test_a_step_that_cannot_be_recorded_fails_and_is_not_retried(runs: Runs, work: Work) -> None:
    class Unknown:
        pass

    page: dict[str, Any] = {"headers": {"x": [1, Unknown()]}}

    @step(retries=3)
    def fetch(context: Any) -> None:
        work.did("fetch")
        context.results["page"] = page

    pipeline = runs.pipeline([work("a"), fetch, work("z")])
    context = PipelineContext[Any]()
    with pytest.raises(JournalDataError, match=r"'fetch'.*results\['page'\]\['headers'\]\['x'\]"):
        pipeline.run(context, run_id="r")
    assert work.ran() == ["a", "fetch"]
    assert context.results == {"log": ["a"]}
    assert row(runs.journal, "fetch").status == "failed"
    page["headers"]["x"] = 2
    context = pipeline.resume("r")
    assert work.ran() == ["fetch", "z"]
    assert context.results["page"] == {"headers": {"x": 2}}


def test_a_skipped_step_stays_skipped(runs: Runs, work: Work) -> None:
    def idle(context: Any) -> None:
        work.did("idle")
        raise SkipStep("nothing to do")

    pipeline = runs.pipeline([idle, [idle, work("b")], work("z")])
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["z"]
    assert statuses(runs.journal) == {
        "idle": "skipped",
        "idle#2": "skipped",
        "b": "succeeded",
        "z": "succeeded",
    }


def test_a_run_that_was_stopped_early_has_ended_well(runs: Runs, work: Work) -> None:
    def enough(context: Any) -> None:
        work.did("enough")
        raise StopPipeline("all there")

    pipeline = runs.pipeline([work("a"), [enough, work("b")], work("z")], config=ONE_WORKER)
    done = pipeline.run(run_id="r")
    work.ran()
    assert pipeline.resume("r").results == done.results
    assert work.ran() == []
    assert row(runs.journal, "enough").stops


def test_retries_leave_their_attempts_as_history(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("often", retries=2), work("z")])
    work.fail("often", ValueError("1"), ValueError("2"))
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    attempts = [
        (row.attempt, row.status, row.superseded, row.error_text)
        for row in runs.journal.steps("r", superseded=True)
        if row.step_id == "often"
    ]
    assert attempts == [
        (1, "failed", True, "1"),
        (2, "failed", True, "2"),
        (3, "succeeded", False, None),
    ]
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["z"]
    assert context.results == {"log": ["often", "z"]}  # failed attempts left nothing behind


def test_without_isolation_attempts_leave_what_they_did(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("often", retries=1, isolated=False), work("z")])
    work.fail("often")
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    assert pipeline.resume("r").results == {"log": ["often", "often", "z"]}


# After a crash


def test_a_cut_step_runs_again_and_what_ended_does_not(runs: Runs, work: Work) -> None:
    steps = [work("a"), work.all("b c"), work("cut"), work("z")]
    whole = runs.pipeline(steps)
    left = runs.cut_in(work, "cut", whole)
    assert left.run("r").state == "interrupted"
    assert left.run("r").status == "running"
    context = runs.pipeline(steps, journal=left).resume("r")
    assert work.ran() == ["cut", "z"]
    assert context.results == whole.resume("r").results


def test_a_recorded_failure_is_not_repeated_after_a_crash(runs: Runs, work: Work) -> None:
    # "x" follows "bad" in the journal, and "cut" waits until "x" is safe.
    steps = [[work("bad"), work.all("x cut")], work("z")]
    pipeline = runs.pipeline(steps, config=ONE_WORKER)
    work.fail("bad")
    left = runs.cut_in(work, "cut", pipeline)
    again = runs.pipeline(steps, journal=left)
    with pytest.raises(ParallelGroupError) as raised:
        again.resume("r")
    assert work.ran() == ["cut"]
    assert [repr(error) for error in raised.value.exceptions] == ["ValueError('bad')"]
    again.resume("r")
    assert work.ran() == ["bad", "z"]


def test_a_run_cut_in_its_first_step_begins_anew(runs: Runs, work: Work) -> None:
    steps = work.all("cut z")
    left = runs.cut_in(work, "cut", runs.pipeline(steps))
    assert left.steps("r") == []
    assert runs.pipeline(steps, journal=left).resume("r").results == {"log": ["cut", "z"]}


def test_a_resume_can_be_cut_too(runs: Runs, work: Work) -> None:
    steps = work.all("a cut b later z")
    left = runs.cut_in(work, "cut", runs.pipeline(steps))
    again = runs.pipeline(steps, journal=left)
    copies: list[Any] = []

    def copy() -> None:
        document = left.export_run("r")
        copies.append(runs.opened())
        copies[0].import_run(document)

    work.meanwhile("later", copy)
    again.resume("r")
    work.ran()
    last = runs.pipeline(steps, journal=copies[0])
    assert last.resume("r").results == {"log": ["a", "cut", "b", "later", "z"]}
    assert work.ran() == ["later", "z"]
    assert copies[0].run("r").resumes == 2


# From a step


def test_from_a_step_it_and_all_after_it_run_again(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), [work.all("b c"), work("d")], work("z")])
    done = pipeline.run(run_id="r")
    work.ran()
    assert pipeline.resume("r", from_step="c").results == done.results
    assert work.ran() == ["c", "z"]
    assert pipeline.resume("r", from_step="b").results == done.results
    assert work.ran() == ["b", "c", "z"]
    assert pipeline.resume("r", from_step="1").results == done.results
    assert sorted(work.ran()) == ["b", "c", "d", "z"]
    assert pipeline.resume("r", from_step="a").results == done.results
    assert len(work.ran()) == 5


def test_from_a_group_by_its_name(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), Parallel(work.all("b c"), name="io"), work("z")])
    pipeline.run(run_id="r")
    work.ran()
    pipeline.resume("r", from_step="io")
    assert sorted(work.ran()) == ["b", "c", "z"]


def test_from_an_unknown_step_nothing_happens(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("parse load"))
    pipeline.run(run_id="r")
    work.ran()
    with pytest.raises(ConfigurationError, match=r"'pars'; did you mean 'parse'\?"):
        pipeline.resume("r", from_step="pars")
    assert work.ran() == []
    assert runs.journal.run("r").status == "succeeded"
    pipeline.resume("r", from_step="parse")  # nobody has it
    assert work.ran() == ["parse", "load"]


# Cancelled, and under way


def test_a_cancelled_run_goes_on(runs: Runs, work: Work) -> None:
    gate = Gate()
    work.meanwhile("slow", gate.wait)
    pipeline = runs.pipeline(work.all("a slow z"))
    run = pipeline.start(run_id="r")
    gate.wait_until_reached()
    run.cancel()
    with pytest.raises(RunCancelledError):
        run.result()
    gate.open()
    assert runs.journal.run("r").status == "cancelled"
    slow, last = row(runs.journal, "slow"), row(runs.journal, "z")
    assert (slow.status, slow.attempt, slow.started_at is not None) == ("cancelled", 1, True)
    assert (last.status, last.attempt, last.started_at) == ("cancelled", 0, None)
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["slow", "z"]
    assert context.results == {"log": ["a", "slow", "z"]}
    assert context.errors == []


def test_a_run_under_way_is_nobody_elses(runs: Runs, work: Work) -> None:
    gate = Gate()
    work.meanwhile("slow", gate.wait)
    pipeline = runs.pipeline(work.all("slow z"))
    run = pipeline.start(run_id="r")
    gate.wait_until_reached()
    with pytest.raises(RunLeasedError, match="'r'"):
        pipeline.resume("r")
    with pytest.raises(RunExistsError, match="'r'"):
        pipeline.run(run_id="r")
    gate.open()
    run.result()
    assert work.ran() == ["slow", "z"]
    assert pipeline.resume("r").results == {"log": ["slow", "z"]}


def test_of_many_who_take_it_up_one_does(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b z"))
    work.fail("b")
    with pytest.raises(ValueError, match="b"):
        pipeline.run(run_id="r")
    work.ran()
    together, gate = threading.Barrier(4), Gate()
    work.meanwhile("b", gate.wait)  # until the others have tried
    heard: list[object] = []

    def take_up() -> None:
        together.wait(30)
        try:
            heard.append(runs.pipeline(work.all("a b z")).resume("r").results)
        except RunLeasedError as error:
            heard.append(error.run_id)
        if len(heard) == 3:
            gate.open()

    threads = [threading.Thread(target=take_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert heard == ["r", "r", "r", {"log": ["a", "b", "z"]}]
    assert work.ran() == ["b", "z"]


def test_ctrl_c_leaves_a_run_that_can_go_on(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work("b"), work("z")])
    work.fail("b", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(run_id="r")
    assert not runs.journal.run("r").is_live
    assert "running" not in statuses(runs.journal).values()
    work.ran()
    assert pipeline.resume("r").results == {"log": ["a", "b", "z"]}
    assert work.ran() == ["b", "z"]


# Mistakes


def test_what_resume_is_told_is_looked_at_first(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    wrong: Any = {"on_changed": "x", "on_uncertain": "y", "from_step": 3}
    with pytest.raises(ConfigurationError) as raised:
        pipeline.resume("r", **wrong)
    for part in ("on_changed", "'x'", "on_uncertain", "'y'", "from_step", "3"):
        assert part in str(raised.value)
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        pipeline.resume("nobody")
    with pytest.raises(ConfigurationError, match="journal="):
        Pipeline(work.all("a")).resume("r")


def test_a_record_that_lacks_a_step_of_a_finished_run_runs_nothing(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b c"))
    pipeline.run(run_id="r")
    document = runs.journal.export_run("r")
    for gone in ("0", "1", "2"):
        damaged = runs.opened()
        rows = [row for row in document["steps"] if row["path"] != gone]
        assert len(rows) == 2
        damaged.import_run({**document, "steps": rows})
        work.ran()
        with pytest.raises(JournalDataError, match="'r'"):
            runs.pipeline(work.all("a b c"), journal=damaged).resume("r")
        assert work.ran() == []
        assert damaged.run("r").status == "succeeded"
