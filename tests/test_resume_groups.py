"""Groups of all kinds in a run that is recorded and taken up: their rows, and what is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    CircuitBreaker,
    ConfigurationError,
    GroupTimeoutError,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunTimeoutError,
    Serial,
    StepTimeoutError,
    TaskStep,
)
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, group_row, quiet, row, statuses, until_ended

ONE_WORKER = PipelineConfig(max_workers=1)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def number(work: Work, name: str = "m") -> Any:
    """A step that says with which item it ran."""

    def run(context: Any) -> int:
        item: int = context.results["item"]
        work.did(f"{name}{item}")
        if work.is_to_fail(f"{name}{item}"):
            raise ValueError(f"{name}{item}")
        return 10 * item

    run.__name__ = name
    return run


# Rows


def test_rows_say_where_a_step_stands(runs: Runs, work: Work) -> None:
    io = Parallel(
        [work("a"), work.all("b1 b2"), Serial([work("c")], name="last")],
        config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=2),
        name="io",
    )
    either = Parallel(work.all("d"), config=ParallelConfig(operator=LogicOperator.OR))
    runs.pipeline([work("s"), io, [[work("e"), [work("f")]]], either]).run(run_id="r")

    def place(name: str) -> tuple[object, ...]:
        step = row(runs.journal, name)
        return (
            step.path,
            step.parent_step_id,
            step.branch_name,
            step.join_policy,
            step.join_needed,
            step.parallel_index,
            step.map_key,
        )

    assert place("s") == ("0", None, None, None, None, None, None)
    assert place("a") == ("1.0", "io", "a", "n_of_m", 2, 0, None)
    assert place("b2") == ("1.1.1", "io", "serial_group_1.1", "n_of_m", 2, 1, None)
    assert place("c") == ("1.2.0", "io", "last", "n_of_m", 2, 2, None)
    assert place("e") == ("2.0.0", "parallel_group_2", "serial_group_2.0", "all", None, 0, None)
    assert place("f") == ("2.0.1.0", "parallel_group_2.0.1", "f", "all", None, 0, None)
    assert place("d") == ("3.0", "parallel_group_3", "d", "any", None, 0, None)


def test_rows_of_instances_have_their_key(runs: Runs, work: Work) -> None:
    inner = Map(work("x"), over=lambda context: ["p", "q", "r"], item_key="inner")
    steps: list[TaskStep] = [
        Map([work("m"), inner], over=lambda context: [1, 2], name="outer"),
        Loop([work("l"), work.all("k")], times=2),
    ]
    runs.pipeline(steps).run(run_id="r")
    keys = {step.step_id: step.map_key for step in runs.journal.steps("r")}
    assert keys["m[0]"] == "0"
    assert keys["m[1]"] == "1"
    assert keys["x[0][2]"] == "0.2"
    assert keys["x[1][0]"] == "1.0"
    assert keys["l[1]"] == "1"
    assert keys["k[1]"] == "1"
    names = {step.step_id: step.branch_name for step in runs.journal.steps("r")}
    assert names["m[1]"] == "serial_group_0.1"
    assert names["x[0][2]"] == "x[0][2]"


def test_rows_have_times_errors_and_changes(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work("z")])
    work.fail("z", ValueError("the text"))
    with quiet():
        pipeline.run(run_id="r")
    good, bad = row(runs.journal, "a"), row(runs.journal, "z")
    run = runs.journal.run("r")
    assert good.started_at is not None and good.ended_at is not None and run.ended_at is not None
    assert run.created_at - 1 <= good.started_at <= good.ended_at <= run.ended_at + 1
    assert good.duration == pytest.approx(good.ended_at - good.started_at, abs=1e-3)
    assert good.delta == '{"r":{"log":["a"]}}'
    assert (good.error_type, good.error_text, good.error_traceback) == (None, None, None)
    assert (bad.error_type, bad.error_text) == ("builtins.ValueError", "the text")
    assert bad.error_traceback is not None and "journaled.py" in bad.error_traceback
    assert (run.status, run.error_type, run.error_text) == (
        "failed",
        "builtins.ValueError",
        "the text",
    )


def test_an_error_that_cannot_tell_its_text_is_recorded_too(runs: Runs, work: Work) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    work.fail("z", MuteError())
    with pytest.raises(MuteError):
        runs.pipeline([work("z")]).run(run_id="r")
    text = row(runs.journal, "z").error_text
    assert text is not None and "RuntimeError" in text


# Deadlines


def test_a_group_that_missed_its_deadline_goes_on_with_who_did_not_end(
    runs: Runs, work: Work
) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    limited = Parallel([work("quick"), work.all("slow later")], config=ParallelConfig(timeout=5.0))
    pipeline = runs.pipeline([work("a"), limited, work("z")])
    with clock.installed(), until_ended(pipeline, "quick") as quick:
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        quick.wait()
        clock.advance(5.0)
        with pytest.raises(GroupTimeoutError):
            run.result()
        gate.open()
        assert statuses(runs.journal) == {
            "a": "succeeded",
            "quick": "succeeded",
            "slow": "timed_out",
            "later": "cancelled",
            "z": "skipped",
        }
        assert group_row(runs.journal, "1").closed_by == "deadline"
        assert runs.journal.run("r").status == "timed_out"
        work.ran()
        assert pipeline.resume("r").results["log"] == ["a", "quick", "slow", "later", "z"]
    assert work.ran() == ["slow", "later", "z"]
    assert group_row(runs.journal, "1").closed_by is None


def test_a_group_that_did_without_those_it_left_does_so_again(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    one = ParallelConfig(timeout=5.0, operator=LogicOperator.OR)
    limited = Parallel([work("quick"), work.all("slow later")], config=one)
    pipeline = runs.pipeline([work("a"), limited, work("z")])
    work.fail("z")
    with clock.installed(), until_ended(pipeline, "quick") as quick:
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        quick.wait()
        clock.advance(5.0)
        with pytest.raises(ValueError, match="z"):
            run.result()
        gate.open()
        work.ran()
        context = pipeline.resume("r")
        assert work.ran() == ["z"]
        assert context.results["log"] == ["a", "quick", "z"]
        assert statuses(runs.journal)["slow"] == "timed_out"
        assert pipeline.get_status()["progress"] == 100.0
        assert pipeline.resume("r").results == context.results
        pipeline.resume("r", from_step="quick")  # the deadline has to do with it: all anew
        assert "slow" in work.ran()


def test_errors_of_a_branch_that_was_left_are_kept(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    one = ParallelConfig(timeout=5.0, operator=LogicOperator.OR)
    branches = [[work("soft", critical=False), work("slow")], work("quick")]
    pipeline = runs.pipeline([Parallel(branches, config=one), work("z")])
    work.fail("soft")
    work.fail("z")
    given: PipelineContext[Any] = PipelineContext()
    with clock.installed(), until_ended(pipeline, "quick") as quick:
        run = pipeline.start(given, run_id="r")
        gate.wait_until_reached()
        quick.wait()
        clock.advance(5.0)
        with quiet():
            run.result()
        gate.open()
        context = pipeline.resume("r")
    assert [str(error) for error in given.errors] == ["soft", "z"]
    assert [str(error) for error in context.errors] == ["soft"]
    assert context.results == {"log": ["quick", "z"]}


def test_a_step_that_missed_its_deadline_is_tried_again(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    pipeline = runs.pipeline([work("a"), work("slow", timeout=5.0), work("z")])
    with clock.installed():
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        clock.advance(5.0)
        with pytest.raises(StepTimeoutError):
            run.result()
        gate.open()
        assert row(runs.journal, "slow").error_type == "task_pipeline.errors.StepTimeoutError"
        work.ran()
        pipeline.resume("r")
    assert work.ran() == ["slow", "z"]


def test_a_run_that_missed_its_deadline_goes_on(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("slow", gate.wait)
    pipeline = runs.pipeline(work.all("a slow z"), config=PipelineConfig(timeout=5.0))
    with clock.installed():
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        clock.advance(5.0)
        with pytest.raises(RunTimeoutError):
            run.result()
        gate.open()
        assert runs.journal.run("r").status == "timed_out"
        work.ran()
        pipeline.resume("r")
    assert work.ran() == ["slow", "z"]


def test_deadlines_begin_anew_in_each_part(runs: Runs, work: Work) -> None:
    clock, gate = ManualClock(), Gate()
    group = Parallel(work.all("a slow"), config=ParallelConfig(timeout=5.0))
    pipeline = runs.pipeline([group, work("z")])
    work.fail("slow")
    with clock.installed():
        with quiet():
            pipeline.run(run_id="r")
        clock.advance(100.0)
        work.meanwhile("slow", gate.wait)
        run = threading_resume(pipeline)
        gate.wait_until_reached()
        clock.advance(4.9)
        gate.open()
        assert run() == "succeeded"
        clock.advance(1.0)
    assert runs.journal.run("r").status == "succeeded"


def threading_resume(pipeline: Pipeline) -> Any:
    """Resume in a thread; what is returned waits for it, and tells how it ended."""
    import contextvars
    import threading

    outcome: list[str] = []

    def resume() -> None:
        try:
            pipeline.resume("r")
        except Exception as error:  # it is told
            outcome.append(repr(error))
        else:
            outcome.append("succeeded")

    thread = threading.Thread(target=contextvars.copy_context().run, args=(resume,))
    thread.start()

    def wait() -> str:
        thread.join(30)
        return outcome[0]

    return wait


# Map, Loop, Branch


def test_of_a_map_only_the_items_that_failed_run_again(runs: Runs, work: Work) -> None:
    found: list[int] = [1, 2, 3, 4]

    def items(context: Any) -> list[int]:
        work.did("items")
        return found

    pipeline = runs.pipeline([Map(number(work), over=items, result_key="out"), work("z")])
    work.fail("m3")
    with pytest.raises(ParallelGroupError):
        pipeline.run(run_id="r")
    assert sorted(work.ran()) == ["items", "m1", "m2", "m3", "m4"]
    found.append(5)  # what was found then is what the run is about
    context = pipeline.resume("r")
    assert work.ran() == ["m3", "z"]
    assert context.results["out"] == [10, 20, 30, 40]
    assert pipeline.get_status()["progress"] == 100.0


def test_from_a_step_in_a_map(runs: Runs, work: Work) -> None:
    mapped = Map([number(work), number(work, "n")], over=[1, 2], name="each")
    pipeline = runs.pipeline([mapped, work("z")], config=ONE_WORKER)
    done = pipeline.run(run_id="r")
    work.ran()
    for start, again in (
        ("n", ["n1", "n2", "z"]),
        ("n[1]", ["n2", "z"]),
        ("m[0]", ["m1", "n1", "z"]),
        ("0.1", ["m2", "n2", "z"]),
        ("each", ["m1", "n1", "m2", "n2", "z"]),
    ):
        assert pipeline.resume("r", from_step=start).results == done.results
        assert sorted(work.ran()) == sorted(again), start


def test_from_a_step_of_a_template_that_nothing_was_recorded_of(runs: Runs, work: Work) -> None:
    mapped = Map(number(work), over=[1, 2], name="each")
    pipeline = runs.pipeline([work("a"), mapped, work("z")], config=ONE_WORKER)
    work.fail("a")
    with quiet():
        pipeline.run(run_id="r")
    work.ran()
    pipeline.resume("r", from_step="m")
    assert work.ran() == ["a", "m1", "m2", "z"]
    with pytest.raises(ConfigurationError, match="'nosuch'"):
        pipeline.resume("r", from_step="nosuch")


def test_a_map_of_many_items_goes_on_in_the_middle(runs: Runs, work: Work) -> None:
    items = list(range(300))
    pipeline = runs.pipeline([Map(number(work), over=items, result_key="out")])
    for item in range(0, 300, 7):
        work.fail(f"m{item}")
    with pytest.raises(ParallelGroupError):
        pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert sorted(work.ran()) == sorted(f"m{item}" for item in range(0, 300, 7))
    assert context.results["out"] == [10 * item for item in items]


def test_a_map_whose_items_could_not_be_found_asks_again(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([Map(number(work), over="items"), work("z")])
    with pytest.raises(KeyError):
        pipeline.run(run_id="r")
    given: PipelineContext[Any] = PipelineContext(results={"items": [1]})
    pipeline.resume("r", given)
    assert work.ran() == ["m1", "z"]


def test_a_loop_goes_on_in_the_round_that_failed(runs: Runs, work: Work) -> None:
    def count(context: Any) -> None:
        context.results["n"] = context.results.get("n", 0) + 1
        work.did(f"count{context.results['n']}")
        if work.is_to_fail(f"count{context.results['n']}"):
            raise ValueError("count")

    def goes_on(context: Any) -> bool:
        work.did("?")
        return bool(context.results.get("n", 0) < 4)

    pipeline = runs.pipeline([Loop([count, work("l")], while_=goes_on), work("z")])
    work.fail("count3")
    with pytest.raises(ValueError, match="count"):
        pipeline.run(run_id="r")
    assert work.ran() == ["?", "count1", "l", "?", "count2", "l", "?", "count3"]
    context = pipeline.resume("r")
    # The failed step was not isolated, and what it did is part of what failed.
    assert work.ran() == ["count3", "l", "?", "count4", "l", "?", "z"]
    assert context.results == {"n": 4, "log": ["l", "l", "l", "l", "z"]}
    assert pipeline.get_status()["progress"] == 100.0
    assert pipeline.resume("r", from_step="0.2").results == context.results
    assert work.ran() == ["count3", "l", "?", "count4", "l", "?", "z"]
    pipeline.resume("r", from_step="count")
    assert work.ran()[:3] == ["count1", "l", "?"]


def test_a_branch_keeps_to_the_way_it_took(runs: Runs, work: Work) -> None:
    way = [True]
    branch = Branch(lambda context: way[0], then=work("yes"), otherwise=work.all("no1 no2"))
    pipeline = runs.pipeline([branch, work("z")])
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    assert statuses(runs.journal) == {
        "yes": "succeeded",
        "no1": "skipped",
        "no2": "skipped",
        "z": "failed",
    }
    way[0] = False
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["z"]
    pipeline.resume("r", from_step="yes")
    assert work.ran() == ["yes", "z"]
    pipeline.resume("r", from_step="0")
    assert work.ran() == ["no1", "no2", "z"]


def test_dynamic_groups_in_each_other(runs: Runs, work: Work) -> None:
    inner = Loop([number(work), work("l")], times=2)
    steps: list[TaskStep] = [Map(inner, over=[1, 2], name="outer"), work("z")]
    pipeline = runs.pipeline(steps, config=ONE_WORKER)
    work.fail("m2", ValueError("m2"))
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    work.ran()
    work.fail("z", ValueError("z"))
    with pytest.raises(ValueError, match="z"):
        pipeline.resume("r")
    assert work.ran() == ["m2", "l", "m2", "l", "z"]
    pipeline.resume("r")
    assert work.ran() == ["z"]


# What a step opens itself


def test_a_group_that_a_step_has_opened_is_part_of_the_step(runs: Runs, work: Work) -> None:
    def opens(context: Any) -> None:
        work.did("opens")
        with context.parallel(max_workers=1) as group:
            group.add(work.did, "t1")
            group.add(work.did, "t2")
            group.gather()
        if work.is_to_fail("opens"):
            raise ValueError("opens")

    pipeline = runs.pipeline([work("a"), opens, work("z")])
    work.fail("opens")
    with pytest.raises(ValueError, match="opens"):
        pipeline.run(run_id="r")
    assert work.ran() == ["a", "opens", "t1", "t2"]
    assert [step.step_id for step in runs.journal.steps("r")] == ["a", "opens", "z"]
    pipeline.resume("r")
    assert work.ran() == ["opens", "t1", "t2", "z"]


def test_a_run_in_a_step_has_a_record_of_its_own(runs: Runs, work: Work) -> None:
    inner = runs.pipeline(work.all("i1 i2"), name="inner")

    def outer(context: Any) -> Any:
        work.did("outer")
        known = {run.run_id for run in runs.journal.runs()}
        done = inner.resume("in") if "in" in known else inner.run(run_id="in")
        return done.results["log"]

    pipeline = runs.pipeline([work("a"), outer, work("z")])
    work.fail("i2")
    with pytest.raises(ValueError, match="i2"):
        pipeline.run(run_id="r")
    assert work.ran() == ["a", "outer", "i1", "i2"]
    context = pipeline.resume("r")
    assert work.ran() == ["outer", "i2", "z"]
    assert context.results["outer"] == ["i1", "i2"]
    assert runs.journal.run("in").name == "inner"


def test_a_pipeline_in_a_pipeline_is_part_of_its_record(runs: Runs, work: Work) -> None:
    other = runs.opened()
    inner = runs.pipeline(work.all("i1 i2"), name="inner", journal=other)
    pipeline = runs.pipeline([work("a"), inner, [inner, work("b")], work("z")])
    work.fail("i2")
    with quiet():
        pipeline.run(run_id="r")
    assert work.ran() == ["a", "i1", "i2"]
    assert other.runs() == []
    assert [run.run_id for run in runs.journal.runs()] == ["r"]
    pipeline.resume("r")
    assert sorted(work.ran()) == sorted(["i2", "i1", "i2", "b", "z"])
    assert row(runs.journal, "i1").path == "1.0"


def test_a_pipeline_in_a_pipeline_that_goes_on(runs: Runs, work: Work) -> None:
    inner = Pipeline(work.all("i1 i2"), config=PipelineConfig(fail_fast=False), name="inner")
    pipeline = runs.pipeline([inner, work("z")])
    work.fail("i1")
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    work.ran()
    context = pipeline.resume("r")
    assert work.ran() == ["z"]
    assert [str(error) for error in context.errors] == ["i1"]


# Limits, breakers, delays


def test_limits_hold_for_what_is_left(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(
        [[work(f"s{index}", limit="io") for index in range(6)], work("z")], limits={"io": 1}
    )
    work.fail("s4")
    work.fail("s5")
    with quiet():
        pipeline.run(run_id="r")
    work.ran()
    pipeline.resume("r")
    assert sorted(work.ran()) == ["s4", "s5", "z"]


def test_recovered_steps_do_not_ask_their_breaker(runs: Runs, work: Work) -> None:
    breaker = CircuitBreaker("resume-test", failure_threshold=1, recovery_timeout=1000.0)
    pipeline = runs.pipeline([work("a", circuit_breaker=breaker), work("z")])
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)
    assert breaker.state.value == "open"
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["z"]


def test_a_delay_is_not_waited_for_again(runs: Runs, work: Work) -> None:
    clock = ManualClock()
    slowly = Parallel(work.all("a b c"), config=ParallelConfig(delay=10.0))
    pipeline = runs.pipeline([slowly, work("z")])
    work.fail("z")
    gates = [Gate(), Gate()]
    work.meanwhile("a", gates[0].wait)
    work.meanwhile("b", gates[1].wait)
    with clock.installed():
        run = pipeline.start(run_id="r")
        for gate in gates:
            gate.wait_until_reached()
            clock.advance(10.0)
            gate.open()
        with pytest.raises(ValueError, match="z"):
            run.result()
        work.ran()
        before = clock.monotonic()
        pipeline.resume("r")
        assert clock.monotonic() == before
    assert work.ran() == ["z"]
