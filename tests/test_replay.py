"""Looking at a recorded run again: put together, or run for comparison; its record stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    ConfigurationError,
    ErrorStrategy,
    JournalDataError,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PlanChangedError,
    ReplayMode,
    ReplayReport,
    RunNotFoundError,
    SkipStep,
    StopPipeline,
    TaskStep,
)
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, everything, quiet, until_ended

ONE_WORKER = PipelineConfig(max_workers=1)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def found(report: ReplayReport) -> list[tuple[str, str | None, str | None]]:
    return [(one.step_id, one.recorded, one.replayed) for one in report.differences]


def mixed(work: Work) -> list[TaskStep]:
    """A pipeline with a bit of everything."""

    def skips(context: Any) -> None:
        raise SkipStep("nothing")

    def item(context: Any) -> int:
        work.did("item")
        return 2 * int(context.results["item"])

    one = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)
    return [
        work("a"),
        [work("b"), [work("c"), work("soft", critical=False)], skips],
        Map(item, over=[1, 2, 3], result_key="items"),
        Loop(work("l"), times=2),
        Branch(lambda context: True, work("y"), work("n")),
        Parallel(work.all("bad good never"), config=one),
        work("often", retries=2),
        work("z"),
    ]


def failing(work: Work) -> None:
    for name in ("soft", "bad", "often"):
        work.fail(name)


# NORMAL


def test_what_is_recorded_is_put_together_and_nothing_runs(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    failing(work)
    done = pipeline.run(run_id="r")
    work.ran()
    before = everything(runs.journal)
    report = pipeline.replay("r")
    assert work.ran() == []
    assert report.context is not None
    assert report.context.results == done.results
    assert list(report.context.results) == list(done.results)
    assert list(map(repr, report.context.errors)) == list(map(repr, done.errors))
    assert (report.run_id, report.mode, report.status) == ("r", ReplayMode.NORMAL, "succeeded")
    assert report.matches
    assert report.outcomes == {"succeeded": 12, "failed": 2, "skipped": 2, "cancelled": 1}
    assert everything(runs.journal) == before


def test_a_run_that_failed_is_put_together_as_it_was_left(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work.all("b c"), work("z")])
    work.fail("c")
    given: PipelineContext[Any] = PipelineContext(results={"in": 1})
    with quiet():
        pipeline.run(given, run_id="r")
    report = pipeline.replay("r")
    assert report.status == "failed"
    assert report.context is not None
    assert report.context.results == given.results
    assert list(map(repr, report.context.errors)) == list(map(repr, given.errors))


def test_a_run_that_was_cut_is_put_together_up_to_there(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [work("a"), [work("b"), work.all("c cut d")], work("z")]
    left = runs.cut_in(work, "cut", runs.pipeline(steps, config=ONE_WORKER))
    before = everything(left)
    report = runs.pipeline(steps, journal=left).replay("r")
    assert report.status == "interrupted"
    assert report.context is not None
    # What branches that came to their end did is there, as if the run had been cancelled.
    assert report.context.results["log"] == ["a", "b"]
    assert report.context.errors == []
    assert everything(left)[1:] == before[1:]


def test_a_run_under_way_can_be_looked_at(runs: Runs, work: Work) -> None:
    gate = Gate()
    work.meanwhile("slow", gate.wait)
    pipeline = runs.pipeline(work.all("a slow z"))
    run = pipeline.start(run_id="r")
    gate.wait_until_reached()
    report = pipeline.replay("r")
    assert report.status == "running"
    assert report.context is not None
    assert report.context.results == {"log": ["a"]}
    gate.open()
    assert run.result().results == {"log": ["a", "slow", "z"]}
    assert work.ran() == ["a", "slow", "z"]


def test_the_status_is_not_that_of_a_replay(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    before = pipeline.get_status()
    heard: list[Any] = []
    pipeline.subscribe(heard.append)
    pipeline.replay("r")
    pipeline.replay("r", ReplayMode.VALIDATION)
    assert pipeline.get_status() == before
    assert heard == []


def test_a_context_to_put_it_together_in(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    pipeline.run(run_id="r")
    given: PipelineContext[Any] = PipelineContext(app_config="settings")
    assert pipeline.replay("r", context=given).context is given
    assert given.results == {"log": ["a", "z"]}


# VALIDATION


def test_a_run_that_comes_to_the_same_matches(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(mixed(work), config=ONE_WORKER)
    failing(work)
    done = pipeline.run(run_id="r")
    work.ran()
    before = everything(runs.journal)
    failing(work)
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert work.ran() != []
    assert report.differences == ()
    assert report.matches
    assert report.context is not None
    assert report.context.results == done.results
    assert everything(runs.journal) == before
    assert str(report).startswith("run 'r', VALIDATION: succeeded; 12 succeeded")


def test_each_step_that_differs_is_reported_once_and_only_those(runs: Runs, work: Work) -> None:
    counter = itertools.count(1)

    def grows(context: Any) -> int:
        return next(counter)

    def depends(context: Any) -> int:
        return 10 * int(context.results["grows"])

    def item(context: Any) -> int:
        value = int(context.results["number"])
        return value + (next(counter) >= 8 and value == 2)

    pipeline = runs.pipeline(
        [work("a"), grows, [depends, work("b")], Map(item, [1, 2, 3], "number"), work("z")],
        config=ONE_WORKER,
    )
    pipeline.run(run_id="r")
    next(counter), next(counter)
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert found(report) == [
        ("grows", "succeeded", "succeeded"),
        ("item[1]", "succeeded", "succeeded"),
    ]
    first, second = report.differences
    assert (first.path, second.path) == ("1", "3.1")
    assert "results['grows']: 1 then, 7 now" in first.what
    assert str(first) == f"step 'grows' at path 1: {first.what}"
    assert not report.matches


def test_outcomes_that_differ(runs: Runs, work: Work) -> None:
    state = ["then"]

    def changes(name: str, then: BaseException | None, now: BaseException | None) -> Any:
        def step(context: Any) -> None:
            error = then if state[0] == "then" else now
            if error is not None:
                raise error

        step.__name__ = name
        return step

    steps: list[TaskStep] = [
        changes("breaks", None, ValueError("new")),
        changes("skips", None, SkipStep("idle")),
        changes("is_done", SkipStep("idle"), None),
        [changes("same", None, None), changes("same_skip", SkipStep("a"), SkipStep("b"))],
        work("z"),
    ]
    pipeline = runs.pipeline(steps)
    pipeline.run(run_id="r")
    state[0] = "now"
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert found(report) == [
        ("breaks", "succeeded", "failed"),
        ("skips", "succeeded", "skipped"),
        ("is_done", "skipped", "succeeded"),
    ]
    assert "ValueError: new" in report.differences[0].what


def test_a_failure_that_differs(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work("z")])
    work.fail("a", ValueError("one"), ValueError("one"), ValueError("two"), KeyError("one"))
    with quiet():
        pipeline.run(run_id="r")
    assert pipeline.replay("r", ReplayMode.VALIDATION).matches
    for text in ("ValueError: two", "KeyError: 'one'"):
        report = pipeline.replay("r", ReplayMode.VALIDATION)
        assert found(report) == [("a", "failed", "failed")]
        assert text in report.differences[0].what
        assert "ValueError: one" in report.differences[0].what
    # What failed then and does not now: the run goes on as it did then.
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert found(report) == [("a", "failed", "succeeded")]
    assert "z" not in work.ran()


def test_a_step_with_retries_is_compared_by_its_end(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("often", retries=2), work("z")])
    work.fail("often")
    pipeline.run(run_id="r")
    assert pipeline.replay("r", ReplayMode.VALIDATION).matches
    work.fail("often", ValueError("1"), ValueError("2"))
    assert pipeline.replay("r", ReplayMode.VALIDATION).matches
    work.fail("often", ValueError("1"), ValueError("2"), ValueError("3"))
    assert found(pipeline.replay("r", ReplayMode.VALIDATION)) == [("often", "succeeded", "failed")]
    again = runs.pipeline([work("never", retries=1)])
    work.fail("never", ValueError("1"), ValueError("2"))
    with quiet():
        again.run(run_id="n")
    assert found(again.replay("n", ReplayMode.VALIDATION)) == [("never", "failed", "succeeded")]


def test_what_a_group_found_that_differs(runs: Runs, work: Work) -> None:
    items, rounds = [1, 2], [1]

    def item(context: Any) -> int:
        work.did(f"item{context.results['item']}")
        return int(context.results["item"])

    def counts(context: Any) -> bool:
        rounds[0] += 1
        return rounds[0] % 3 != 0

    mapped = Map(item, over=lambda context: list(items), name="each", result_key="out")
    way = [True]
    branch = Branch(lambda context: way[0], work("y"), work("n"), name="way")
    pipeline = runs.pipeline([mapped, branch, Loop(work("l"), while_=counts, name="loop")])
    done = pipeline.run(run_id="r")
    items.append(3)
    way[0] = False
    work.ran()
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert [(one.step_id, one.path) for one in report.differences[:2]] == [
        ("each", "0"),
        ("way", "1"),
    ]
    assert "[1, 2, 3]" in report.differences[0].what
    assert "y" in work.ran()
    assert report.context is not None
    assert report.context.results == done.results


def test_a_run_that_was_stopped_early(runs: Runs, work: Work) -> None:
    def enough(context: Any) -> None:
        work.did("enough")
        raise StopPipeline("there")

    pipeline = runs.pipeline([work("a"), enough, work("z")])
    done = pipeline.run(run_id="r")
    work.ran()
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert report.matches, report
    assert work.ran() == ["a", "enough"]
    assert report.context is not None
    assert report.context.results == done.results


def test_a_run_that_was_cut_is_run_as_far_as_it_is_known(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [work("a"), [work("b"), work.all("c cut d")], work("z")]
    left = runs.cut_in(work, "cut", runs.pipeline(steps, config=ONE_WORKER))
    before = everything(left)
    report = runs.pipeline(steps, journal=left).replay("r", ReplayMode.VALIDATION)
    assert report.matches, report
    assert sorted(work.ran()) == ["a", "b", "c"]
    assert report.status == "interrupted"
    assert everything(left)[1:] == before[1:]


def test_a_step_that_no_longer_stops_the_run(runs: Runs, work: Work) -> None:
    state = [True]

    def enough(context: Any) -> None:
        if state[0]:
            raise StopPipeline

    pipeline = runs.pipeline([work("a"), [enough, work("b")], work("z")], config=ONE_WORKER)
    pipeline.run(run_id="r")
    assert work.ran() == ["a"]
    state[0] = False
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert work.ran() == ["a"]
    assert [one.step_id for one in report.differences] == ["enough"]


def test_what_a_run_did_not_reach_is_not_run(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work.all("b c"), work("z")])
    work.fail("b", ValueError("b"), KeyError("b"))
    with quiet():
        pipeline.run(run_id="r")
    work.ran()
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert found(report) == [("b", "failed", "failed")]
    assert found(pipeline.replay("r", ReplayMode.VALIDATION)) == [("b", "failed", "succeeded")]
    assert "z" not in work.ran()


def test_what_was_left_is_not_compared(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    one = ParallelConfig(timeout=5.0, operator=LogicOperator.OR)
    pipeline = runs.pipeline([Parallel(work.all("quick slow"), config=one), work("z")])
    with clock.installed(), until_ended(pipeline, "quick") as quick:
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        quick.wait()
        clock.advance(5.0)
        done = run.result()
        gate.open()
        report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert report.context is not None
    assert report.matches, report  # where it would have come to is not known
    assert report.context.results == done.results == {"log": ["quick", "z"]}


def test_a_branch_that_was_cancelled_is_not_run(runs: Runs, work: Work) -> None:
    first = ParallelConfig(
        operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST, max_workers=2
    )
    steps: list[TaskStep] = [Parallel(work.all("good other"), config=first), work("z")]
    runs.pipeline(steps, config=ONE_WORKER).run(run_id="r")
    assert work.ran() == ["good", "z"]
    report = runs.pipeline(steps).replay("r", ReplayMode.VALIDATION)
    assert work.ran() == ["good", "z"]  # of the other, nothing is known
    assert report.matches, report


def test_steps_of_an_event_loop_are_compared(runs: Runs, work: Work) -> None:
    counter = itertools.count()

    async def plain(context: Any) -> int:
        await asyncio.sleep(0)  # the step's work
        return next(counter)

    async def same(context: Any) -> int:
        return 3

    pipeline = runs.pipeline([[plain, same], work("z")])
    asyncio.run(pipeline.arun(run_id="r"))
    assert [one.step_id for one in pipeline.replay("r", "VALIDATION").differences] == ["plain"]


def test_a_change_that_cannot_be_recorded_is_a_difference(runs: Runs, work: Work) -> None:
    values: list[Any] = [1, object()]

    def makes(context: Any) -> None:
        context.results["x"] = {"y": values.pop(0)}

    pipeline = runs.pipeline([makes, work("z")])
    pipeline.run(run_id="r")
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert [one.step_id for one in report.differences] == ["makes"]
    assert "results['x']['y']" in report.differences[0].what


def test_large_values_are_compared(runs: Runs, work: Work) -> None:
    sizes = [2_000_000, 2_000_000, 2_000_001]

    def makes(context: Any) -> None:
        context.results["x"] = "a" * sizes.pop(0)

    pipeline = runs.pipeline([makes, work("z")])
    pipeline.run(run_id="r")
    assert pipeline.replay("r", ReplayMode.VALIDATION).matches
    report = pipeline.replay("r", ReplayMode.VALIDATION)
    assert [one.step_id for one in report.differences] == ["makes"]
    assert len(report.differences[0].what) < 2_000


# Mistakes


def test_what_is_to_be_replayed_has_to_be_there(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    pipeline.run(run_id="r")
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        pipeline.replay("nobody")
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        pipeline.replay("nobody", ReplayMode.REPUBLISH_ALL)
    with pytest.raises(PlanChangedError, match="'a'"):
        runs.pipeline(work.all("b")).replay("r", ReplayMode.VALIDATION)
    with pytest.raises(ConfigurationError, match="journal="):
        Pipeline(work.all("a")).replay("r")
    with pytest.raises(ConfigurationError, match="VALIDATION"):
        pipeline.replay("r", "nonsense")


def test_a_row_of_a_step_that_there_is_not(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b"))
    pipeline.run(run_id="r")
    document = runs.journal.export_run("r")
    damaged = runs.opened()
    damaged.import_run(
        {**document, "steps": [{**document["steps"][0], "path": "7"}, document["steps"][1]]}
    )
    other = runs.pipeline(work.all("a b"), journal=damaged)
    for mode in (ReplayMode.NORMAL, ReplayMode.VALIDATION):
        with pytest.raises(JournalDataError, match="path 7"):
            other.replay("r", mode)


def test_a_damaged_record_is_an_error(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b c"))
    pipeline.run(run_id="r")
    document = runs.journal.export_run("r")
    for change in (
        {"delta": "{"},
        {"delta": '{"r":{"x":{"$":"nothing"}}}'},
        {"path": "x"},
        {"status": "failed"},
    ):
        damaged = runs.opened()
        rows = [{**document["steps"][0], **change}, *document["steps"][1:]]
        damaged.import_run({**document, "steps": rows})
        work.ran()
        for mode in (ReplayMode.NORMAL, ReplayMode.VALIDATION):
            with pytest.raises(JournalDataError):
                runs.pipeline(work.all("a b c"), journal=damaged).replay("r", mode)
        with pytest.raises(JournalDataError):
            runs.pipeline(work.all("a b c"), journal=damaged).resume("r")
        assert work.ran() == []
