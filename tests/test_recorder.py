"""What becomes a row, in which order, and what is told when it cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    JournalDataError,
    Loop,
    Map,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    TaskStep,
    step,
)
from task_pipeline.journal.choices import Answer
from task_pipeline.journal.contexts import make_context, type_name
from task_pipeline.journal.facts import Facts
from task_pipeline.journal.recorder import NOTHING, _told
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, quiet, row


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def test_facts_are_numbered_without_a_gap(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [
        work("a", retries=1),
        [work("b"), work.all("c d")],
        Map(work("m"), over=[1, 2]),
        Loop(work("l"), times=2),
    ]
    work.fail("a")
    runs.pipeline(steps).run(run_id="r")
    numbers = [step.seq for step in runs.journal.steps("r", superseded=True)]
    numbers += [group.seq for group in runs.journal.groups("r")]
    assert sorted(numbers) == list(range(len(numbers)))


def test_what_a_step_depends_on_is_safe_before_it_begins(runs: Runs, work: Work) -> None:
    safe: list[list[str]] = []

    def look() -> None:
        safe.append(runs.on_disk())

    for name in ("b", "e", "z"):
        work.meanwhile(name, look)
    pipeline = runs.pipeline(
        [work("a"), work("b"), [work("c"), work.all("d e")], work("z")],
        config=PipelineConfig(max_workers=1),
    )
    pipeline.run(run_id="r")
    assert safe[0] == ["a"]
    assert {"a", "b", "d"} <= set(safe[1])
    assert set(safe[2]) == {"a", "b", "c", "d", "e"}


def test_the_start_of_a_step_that_must_not_be_repeated_is_safe(runs: Runs, work: Work) -> None:
    seen: list[list[str]] = []
    work.meanwhile("pay", lambda: seen.append(runs.on_disk()))
    work.meanwhile("other", lambda: seen.append(runs.on_disk()))
    runs.pipeline([work("pay", idempotent=False)]).run(run_id="r")
    runs.pipeline([work("other")]).run(run_id="s")
    assert seen == [["pay"], ["pay"]]
    assert row(runs.journal, "pay").status == "succeeded"


def test_nothing_is_recorded_of_what_comes_too_late(runs: Runs, work: Work) -> None:
    gate, clock, done = Gate(), ManualClock(), Gate()

    def slow(context: Any) -> None:
        gate.wait()
        context.results["late"] = 1
        done.wait()

    pipeline = runs.pipeline([work("a"), slow], config=PipelineConfig(timeout=5.0))
    with clock.installed():
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        clock.advance(5.0)
        with quiet():
            run.result()
    gate.open()
    done.open()
    late = row(runs.journal, "slow")
    assert (late.status, late.delta) == ("timed_out", None)


def test_times_are_those_of_the_clock_on_the_wall(runs: Runs, work: Work) -> None:
    clock = ManualClock(start=1000.0)
    work.meanwhile("a", lambda: clock.advance(60.0))
    with clock.installed():
        runs.pipeline(work.all("a b")).run(run_id="r")
    first, second = row(runs.journal, "a"), row(runs.journal, "b")
    assert first.duration == 60.0
    assert second.started_at is not None and first.started_at is not None
    assert second.started_at - first.started_at == pytest.approx(60.0)
    assert abs(first.started_at - runs.journal.run("r").created_at) < 60.0


def test_a_run_without_steps_is_a_run(runs: Runs) -> None:
    pipeline = runs.pipeline([])
    pipeline.run(run_id="r")
    assert runs.journal.run("r").status == "succeeded"
    assert pipeline.resume("r").results == {}
    assert pipeline.replay("r", "VALIDATION").matches


@pytest.mark.parametrize("in_group", [False, True])
def test_changes_of_attempts_add_up(runs: Runs, work: Work, in_group: bool) -> None:
    def often(context: Any) -> None:
        attempt = context.attempt
        context.results["a"] = context.results.pop("a")
        context.results[f"n{attempt}"] = attempt
        context.results.pop(f"n{attempt - 1}", None)
        context.total += attempt
        context.errors.append(ValueError(str(attempt)))
        if attempt == 3:
            del context.errors[1]
        if attempt < 4:
            raise ValueError("again")

    unkept = step(retries=3, isolated=False)(often)
    steps: list[TaskStep] = [[unkept, work("b")] if in_group else unkept, work("z")]
    given = Counted(results={"a": 1, "b": 2}, errors=[ValueError("0")])
    work.fail("z")
    with quiet():
        runs.pipeline(steps).run(given, run_id="r")
    again = runs.pipeline(steps).replay("r").context
    assert isinstance(again, Counted)
    assert list(again.results.items()) == list(given.results.items())
    assert again.total == given.total
    assert list(map(str, again.errors)) == list(map(str, given.errors))


@dataclass
class Counted(PipelineContext[Any]):
    """Has a field of its own."""

    total: int = 0


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mute")


def test_what_is_told_of_an_error() -> None:
    assert _told(None) == (None, None, None)
    kind, text, trace = _told(KeyError("k"))
    assert (kind, text) == ("builtins.KeyError", "'k'")
    assert trace is not None and "KeyError" in trace
    kind, text, trace = _told(MuteError())
    assert kind == f"{__name__}.MuteError"
    assert text is not None and "RuntimeError" in text
    assert trace is not None


def test_of_a_deep_traceback_the_ends_are_kept() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("deep")

    with pytest.raises(ValueError, match="deep") as raised:
        deep(500)
    trace = _told(raised.value)[2]
    assert trace is not None
    assert len(trace) < 20_000


def test_answers_are_read_as_they_were_written() -> None:
    answer = Answer("[1]", None, '{"$":"error"}')
    assert Answer.from_text(answer.to_text(), "here") == answer
    for wrong in (None, "", "[]", "{", '{"decided": 3}', '{"other": "x"}'):
        with pytest.raises(JournalDataError, match="here"):
            Answer.from_text(wrong, "here")


def test_a_context_is_made_of_its_class() -> None:
    name = type_name(PipelineContext)
    context = make_context(name, {"results": {"a": 1}, "more": 2}, "r")
    assert type(context) is PipelineContext
    assert context.results == {"a": 1}
    assert (context.errors, context.app_config) == ([], None)
    assert vars(context)["more"] == 2
    with pytest.raises(JournalDataError, match=r"'r'.*unknown"):
        make_context("unknown", {}, "r")


def test_nothing_is_nothing() -> None:
    assert NOTHING.text is None
    assert NOTHING.large == ()
    assert Facts.__doc__ is not None


def test_a_journal_costs_an_unrecorded_pipeline_nothing(work: Work) -> None:
    pipeline = Pipeline(work.all("a"))
    pipeline.run()
    assert pipeline.journal is None
