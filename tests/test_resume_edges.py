"""Runs that are taken up again from the odd places in which they were left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    ContextTypeError,
    ErrorStrategy,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PlanChangedError,
    Serial,
    UncertainStepError,
    step,
)
from task_pipeline.recording import Recording
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, group_row, row, statuses, until_ended

ANY = ParallelConfig(operator=LogicOperator.OR)
FIRST = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)
ONE_WORKER = PipelineConfig(max_workers=1)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def puts(key: str, value: Any) -> Any:
    """A step that puts a value into the results."""

    @step(step_id=f"{key}={value}")
    def put(context: Any) -> None:
        context.results[key] = value

    return put


def rebuilt(pipeline: Pipeline) -> dict[Any, Any]:
    """The results of a run as its record has them."""
    context = pipeline.replay("r").context
    assert context is not None
    return context.results


class Joining:
    """A group of two branches that takes as long to be joined as its gate is shut."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.branches = [puts("x", 1), puts("x", 2)]
        self.reducers = {"x": self._reduce}

    def _reduce(self, base: Any, values: Any) -> str:
        self.gate.wait()
        return "merged"


# What happens while a group is being joined


def test_who_ended_while_a_sibling_was_joined_has_won(runs: Runs, work: Work) -> None:
    joining = Joining()

    @step(step_id="b")
    def quick(context: Any) -> None:
        joining.gate.wait_until_reached()
        context.results["b"] = 1

    race = Parallel([Parallel(joining.branches), quick], config=FIRST)
    config = PipelineConfig(max_workers=4, reducers=joining.reducers)
    pipeline = runs.pipeline([race, work("z")], config=config)
    work.fail("z")
    with until_ended(pipeline, "b") as ended:
        run = pipeline.start(run_id="r")
        ended.wait()
    joining.gate.open()
    with pytest.raises(ValueError, match="z"):
        run.result()
    assert pipeline.resume("r").results == {"b": 1, "log": ["z"]}
    assert pipeline.resume("r").results == {"b": 1, "log": ["z"]}
    assert rebuilt(pipeline) == {"b": 1, "log": ["z"]}


@pytest.mark.parametrize("around", ["series", "branch"])
def test_what_ended_before_a_sibling_was_joined_did_not_win(
    runs: Runs, work: Work, around: str
) -> None:
    joining, never = Joining(), Gate()

    @step(step_id="early")
    def early(context: Any) -> bool:
        joining.gate.wait_until_reached()
        return True

    @step(step_id="late")
    def late(context: Any) -> None:
        never.wait()

    sibling: Any = Serial([early, late]) if around == "series" else Branch(early, late)
    race = Parallel([Parallel(joining.branches), sibling], config=FIRST)
    config = PipelineConfig(max_workers=4, reducers=joining.reducers)
    pipeline = runs.pipeline([race, work("z")], config=config)
    work.fail("z")
    run = pipeline.start(run_id="r")
    never.wait_until_reached()
    joining.gate.open()
    with pytest.raises(ValueError, match="z"):
        run.result()
    never.open()
    assert statuses(runs.journal)["late"] == "cancelled"
    assert pipeline.resume("r").results == {"x": "merged", "log": ["z"]}
    assert work.ran() == ["z", "z"]
    assert rebuilt(pipeline) == {"x": "merged", "log": ["z"]}


def test_a_deadline_that_comes_while_its_group_is_joined_changes_nothing(
    runs: Runs, work: Work
) -> None:
    joining, clock = Joining(), ManualClock()
    timed = Parallel(joining.branches, config=ParallelConfig(timeout=10))
    # In a second group, as a run that is read back has to get through it.
    config = PipelineConfig(max_workers=4, reducers=joining.reducers)
    pipeline = runs.pipeline([[timed, work("b")], work("z")], config=config)
    with clock.installed():
        run = pipeline.start(run_id="r")
    joining.gate.wait_until_reached()
    clock.advance(10)
    joining.gate.open()
    done = run.result()
    assert done.results["x"] == "merged"
    record = group_row(runs.journal, "0.0")
    assert (record.status, record.closed_by) == ("succeeded", None)
    work.ran()
    assert pipeline.resume("r").results == done.results
    assert work.ran() == []
    assert pipeline.resume("r", from_step="z").results == done.results
    assert work.ran() == ["z"]


# Pipelines that have changed


def test_a_branch_that_moved_does_not_keep_a_run_from_going_on_again(
    runs: Runs, work: Work
) -> None:
    def steps(*more: Any) -> list[Any]:
        ways = [Serial(work.all("e g"), name="bad"), Serial(work.all("b h"), name="good")]
        return [[*more, Parallel(ways, name="race", config=ANY), work("c")], work("z")]

    work.fail("e")
    work.fail("z", OSError("z"), OSError("z"))
    with pytest.raises(OSError, match="z"):
        runs.pipeline(steps()).run(run_id="r")
    now = runs.pipeline(steps(work("a")))
    work.ran()
    with pytest.raises(OSError, match="z"):
        now.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["a", "z"]
    skipped = row(runs.journal, "g")
    assert (skipped.path, skipped.attempt) == ("0.1.0.1", 0)
    assert now.resume("r").results["log"] == ["a", "b", "h", "c", "z"]
    assert work.ran() == ["z"]
    assert rebuilt(now)["log"] == ["a", "b", "h", "c", "z"]


def test_a_branch_put_before_others_and_ignored_does_not_either(runs: Runs, work: Work) -> None:
    def steps(*more: Any) -> list[Any]:
        return [Parallel([*more, work.all("e g"), work.all("b h")], config=ANY), work("z")]

    work.fail("e")
    work.fail("z", OSError("z"), OSError("z"))
    with pytest.raises(OSError, match="z"):
        runs.pipeline(steps()).run(run_id="r")
    now = runs.pipeline(steps(work("a")))
    with pytest.raises(OSError, match="z"):
        now.resume("r", on_changed="ignore")
    work.ran()
    done = now.resume("r")
    assert work.ran() == ["z"]
    assert sorted(done.results["log"]) == ["a", "b", "e", "g", "h", "z"]
    places = {step.path: step.step_id for step in runs.journal.steps("r")}
    assert places == {"0.0": "a", "0.1.0": "e", "0.1.1": "g", "0.2.0": "b", "0.2.1": "h", "1": "z"}


def test_of_a_loop_that_has_changed_inside_the_rounds_run_again(runs: Runs, work: Work) -> None:
    work.fail("z", OSError("z"), OSError("z"))
    with pytest.raises(OSError, match="z"):
        runs.pipeline([Loop(work.all("a b"), times=2), work("z")]).run(run_id="r")
    work.ran()
    now = runs.pipeline([Loop(work.all("a x"), times=2), work("z")])
    with pytest.raises(OSError, match="z"):
        now.resume("r", on_changed="ignore")
    assert "x" in work.ran()
    assert now.resume("r").results["log"] == ["a", "x", "a", "x", "z"]
    assert work.ran() == ["z"]


KINDS: dict[str, Callable[[Work], Any]] = {
    "loop": lambda work: Loop(work("yes"), times=2),
    "once": lambda work: Loop(work("yes"), times=1),
    "map": lambda work: Map(work("yes"), over=[1, 2]),
    "then": lambda work: Branch(lambda context: True, work("yes"), work("no")),
    "else": lambda work: Branch(lambda context: False, work("yes"), work("no")),
}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("once", "then"),
        ("loop", "else"),
        ("loop", "map"),
        ("map", "then"),
        ("map", "loop"),
        ("then", "loop"),
        ("else", "loop"),
        ("then", "map"),
    ],
)
def test_a_group_takes_no_answer_of_one_of_another_kind(
    runs: Runs, work: Work, before: str, now: str
) -> None:
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        runs.pipeline([KINDS[before](work), work("z")]).run(run_id="r")
    changed = runs.pipeline([KINDS[now](work), work("z")])
    context = changed.resume("r", on_changed="ignore")
    assert context.results == changed.run().results
    work.ran()
    assert changed.resume("r").results == context.results
    assert work.ran() == []


def test_a_failure_that_counts_only_now_is_tried_again_at_once(runs: Runs, work: Work) -> None:
    work.fail("c")
    before = [Parallel([work.all("c e"), work("f")], config=ANY), work("z")]
    runs.pipeline(before).run(run_id="r")
    assert sorted(work.ran()) == ["c", "f", "z"]
    now = runs.pipeline([Parallel([work.all("c e b")], config=ANY), work("z")])
    context = now.resume("r", on_changed="rerun_changed")
    assert work.ran() == ["c", "e", "b", "z"]
    assert context.results == {"log": ["c", "e", "b", "z"]}
    assert context.errors == []


@pytest.mark.parametrize(
    ("now", "ran"),
    [
        ("a b c d", ["d"]),
        ("a b", []),
        ("a x b c", ["x", "b", "c"]),
        ("a c", ["c"]),
    ],
)
def test_of_a_run_that_ended_what_still_fits_is_used(
    runs: Runs, work: Work, now: str, ran: list[str]
) -> None:
    runs.pipeline(work.all("a b c")).run(run_id="r")
    work.ran()
    changed = runs.pipeline(work.all(now))
    with pytest.raises(PlanChangedError, match="ignore"):
        changed.resume("r")
    assert changed.resume("r", on_changed="ignore").results == {"log": now.split()}
    assert work.ran() == ran
    assert changed.resume("r").results == {"log": now.split()}
    assert work.ran() == []


def test_another_name_of_the_pipeline_is_no_change(runs: Runs, work: Work) -> None:
    work.fail("b")
    with pytest.raises(ValueError, match="b"):
        runs.pipeline(work.all("a b"), name="old").run(run_id="r")
    work.ran()
    assert runs.pipeline(work.all("a b"), name="new").resume("r").results == {"log": ["a", "b"]}
    assert work.ran() == ["b"]


# Steps that must not be repeated


def test_an_uncertain_step_may_be_called_anything(runs: Runs, work: Work) -> None:
    steps = [work("a"), work("pay[eur]", idempotent=False)]
    left = runs.cut_in(work, "pay[eur]", runs.pipeline(steps))
    again = runs.pipeline(steps, journal=left)
    with pytest.raises(UncertainStepError, match=r"'pay\[eur\]'"):
        again.resume("r")
    assert work.ran() == []
    again.resume("r", on_uncertain="rerun")
    assert work.ran() == ["pay[eur]"]


def test_an_uncertain_step_may_be_the_second_of_its_name(runs: Runs, work: Work) -> None:
    pay = work("pay", idempotent=False)
    steps = [Map(pay, over=[1]), work("between"), Map(pay, over=[1, 2])]
    pipeline = runs.pipeline(steps, config=ONE_WORKER)
    copies: list[Any] = []
    cut = lambda: copies.append(runs.cut())  # noqa: E731
    work.meanwhile("between", lambda: work.meanwhile("pay", cut))
    pipeline.run(run_id="r")
    work.ran()
    with pytest.raises(UncertainStepError, match=r"'pay#2\[0\]'"):
        runs.pipeline(steps, journal=copies[0]).resume("r")
    assert work.ran() == []


# Called, cancelled and measured


def test_what_is_no_context_is_refused(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a")])
    pipeline.run(run_id="r")
    nothing: Any = {"a": 1}
    with pytest.raises(ContextTypeError, match="PipelineContext"):
        pipeline.resume("r", nothing)
    with pytest.raises(ContextTypeError, match="PipelineContext"):
        pipeline.replay("r", "NORMAL", nothing)


def test_a_run_cancelled_while_it_is_begun_or_taken_up_is_cancelled(
    runs: Runs, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(name: str, call: Callable[[], Any]) -> None:
        """Cancel a call whose thread has just written the run down."""
        gate, original = Gate(), getattr(Recording, name)

        def held(*arguments: Any) -> Any:
            made = original(*arguments)
            gate.wait()
            return made

        with monkeypatch.context() as patch:
            patch.setattr(Recording, name, held)
            task = asyncio.create_task(call())
            await asyncio.to_thread(gate.wait_until_reached)
            task.cancel()
            asyncio.get_running_loop().call_soon(gate.open)
            with pytest.raises(asyncio.CancelledError):
                await task

    async def story() -> PipelineContext[Any]:
        await cancelled("begin", lambda: pipeline.arun(run_id="r"))
        first = runs.journal.run("r")
        assert (first.status, first.state, first.error_type) == ("cancelled", "cancelled", None)
        await cancelled("take_up", lambda: pipeline.aresume("r"))
        then = runs.journal.run("r")
        assert (then.status, then.state, then.error_type) == ("cancelled", "cancelled", None)
        assert work.ran() == []
        return await pipeline.aresume("r")  # nobody has it

    pipeline = runs.pipeline(work.all("a z"))
    assert asyncio.run(story()).results == {"log": ["a", "z"]}


def test_the_time_of_recovered_steps_is_not_that_of_this_part(runs: Runs, work: Work) -> None:
    clock = ManualClock()

    @step(step_id="slow")
    def slow(context: Any) -> None:
        clock.advance(30)

    pipeline = runs.pipeline([[slow], work("b")], config=ONE_WORKER)
    work.fail("b")
    with clock.installed():
        with pytest.raises(ValueError, match="b"):
            pipeline.run(run_id="r")
        work.meanwhile("b", lambda: clock.advance(2))
        pipeline.resume("r")
    metrics = pipeline.metrics()
    assert (metrics.busy, metrics.elapsed) == (2, 2)
    assert metrics.utilisation <= 1
