"""Steps that must not be repeated blindly, and the key by which others can tell a repetition."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Journal,
    Map,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    TaskStep,
    UncertainStepError,
    step,
)
from task_pipeline.events import StepRetrying
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, everything, quiet, row, statuses


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def paying(work: Work) -> list[TaskStep]:
    return [work("a"), work("pay", idempotent=False), work("z")]


@pytest.fixture
def left(runs: Runs, work: Work) -> Journal:
    """A run whose process died while it was paying."""
    return runs.cut_in(work, "pay", runs.pipeline(paying(work)))


def test_a_cut_step_is_not_repeated_blindly(runs: Runs, work: Work, left: Journal) -> None:
    assert statuses(left) == {"a": "succeeded", "pay": "running"}
    before = everything(left)
    with pytest.raises(UncertainStepError, match=r"'pay' at path 1.*on_uncertain") as raised:
        runs.pipeline(paying(work), journal=left).resume("r")
    assert raised.value.run_id == "r"
    assert work.ran() == []
    after = everything(left)
    assert after[1:] == before[1:]
    assert (after[0].status, after[0].state, after[0].resumes) == ("running", "interrupted", 0)


def test_it_is_repeated_when_told_so(runs: Runs, work: Work, left: Journal) -> None:
    context = runs.pipeline(paying(work), journal=left).resume("r", on_uncertain="rerun")
    assert work.ran() == ["pay", "z"]
    assert context.results == {"log": ["a", "pay", "z"]}
    attempts = [step for step in left.steps("r", superseded=True) if step.step_id == "pay"]
    assert [(step.attempt, step.superseded) for step in attempts] == [(1, True), (2, False)]


def test_it_is_passed_over_when_told_so(runs: Runs, work: Work, left: Journal) -> None:
    pipeline = runs.pipeline(paying(work), journal=left)
    context = pipeline.resume("r", on_uncertain="skip")
    assert work.ran() == ["z"]
    assert context.results == {"log": ["a", "z"]}
    assert statuses(left) == {"a": "succeeded", "pay": "skipped", "z": "succeeded"}
    assert pipeline.get_status()["progress"] == 100.0
    assert pipeline.resume("r").results == context.results
    assert work.ran() == []


def test_one_that_had_ended_or_not_begun_is_certain(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [
        work("done", idempotent=False),
        work("cut"),
        work("later", idempotent=False),
    ]
    left = runs.cut_in(work, "cut", runs.pipeline(steps))
    runs.pipeline(steps, journal=left).resume("r")
    assert work.ran() == ["cut", "later"]


def test_one_that_failed_is_certain(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(paying(work))
    work.fail("pay")
    with pytest.raises(ValueError, match="pay"):
        pipeline.run(run_id="r")
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["pay", "z"]


def test_one_between_two_attempts_is_certain(runs: Runs, work: Work) -> None:
    clock, waits = ManualClock(), threading.Event()
    pay = work("pay", idempotent=False, retries=RetryPolicy(attempts=2, delay=10.0))
    pipeline = runs.pipeline([work("a"), pay, work("z")])
    pipeline.subscribe(lambda event: waits.set(), StepRetrying)
    work.fail("pay")
    with clock.installed():
        run = pipeline.start(run_id="r")
        assert waits.wait(30)
        run.cancel()
        with quiet():
            run.result()
    assert (row(runs.journal, "pay").status, row(runs.journal, "pay").started_at) == (
        "cancelled",
        None,
    )
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["pay", "z"]


def test_one_left_by_its_deadline_is_uncertain(runs: Runs, work: Work) -> None:
    gate, clock = Gate(), ManualClock()
    work.meanwhile("pay", gate.wait)
    pipeline = runs.pipeline([work("a"), work("pay", idempotent=False, timeout=5.0), work("z")])
    with clock.installed():
        run = pipeline.start(run_id="r")
        gate.wait_until_reached()
        clock.advance(5.0)
        with quiet():
            run.result()
    gate.open()
    assert statuses(runs.journal)["pay"] == "timed_out"
    work.ran()
    with pytest.raises(UncertainStepError, match="'pay'"):
        pipeline.resume("r")
    pipeline.resume("r", on_uncertain="rerun")
    assert work.ran() == ["pay", "z"]


def test_one_that_was_cancelled_inside_is_uncertain(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(paying(work))
    work.fail("pay", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(run_id="r")
    work.ran()
    with pytest.raises(UncertainStepError, match="'pay'"):
        pipeline.resume("r")
    assert work.ran() == []


def test_every_uncertain_step_is_named(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [[work("p1", idempotent=False), work("p2", idempotent=False)]]
    pipeline = runs.pipeline(steps, config=PipelineConfig(max_workers=2))
    gate, copies = Gate(), []
    work.meanwhile("p1", gate.wait)
    work.meanwhile("p2", gate.wait)
    run = pipeline.start(run_id="r")
    gate.wait_until_reached(2)
    copies.append(runs.cut())
    gate.open()
    run.result()
    with pytest.raises(UncertainStepError, match=r"'p1' at path 0\.0, 'p2' at path 0\.1"):
        runs.pipeline(steps, journal=copies[0]).resume("r")


def test_the_items_of_a_map_are_told_apart(runs: Runs, work: Work) -> None:
    def charge(context: Any) -> None:
        name = f"charge {context.results['item']}"
        work.did(name)
        if name == "charge 2":
            copies.append(runs.cut())

    copies: list[Journal] = []
    steps: list[TaskStep] = [Map(step(idempotent=False)(charge), over=lambda context: [1, 2, 3])]
    runs.pipeline(steps, config=PipelineConfig(max_workers=1)).run(run_id="r")
    again = runs.pipeline(steps, journal=copies[0], config=PipelineConfig(max_workers=1))
    work.ran()
    with pytest.raises(UncertainStepError, match=r"'charge\[1\]' at path 0\.1"):
        again.resume("r")
    again.resume("r", on_uncertain="skip")
    assert work.ran() == ["charge 3"]


# It is asked also if the step would run again for another reason


def test_a_step_before_it_is_asked_for(runs: Runs, work: Work, left: Journal) -> None:
    pipeline = runs.pipeline(paying(work), journal=left)
    with pytest.raises(UncertainStepError):
        pipeline.resume("r", from_step="a")
    assert work.ran() == []
    pipeline.resume("r", from_step="pay")  # who names it has made up his mind
    assert work.ran() == ["pay", "z"]


def test_a_step_before_it_has_changed(runs: Runs, work: Work, left: Journal) -> None:
    changed = [work("a", version="2"), *paying(work)[1:]]
    pipeline = runs.pipeline(changed, journal=left)
    with pytest.raises(UncertainStepError):
        pipeline.resume("r", on_changed="rerun_changed")
    assert work.ran() == []
    pipeline.resume("r", on_changed="rerun_changed", on_uncertain="rerun")
    assert work.ran() == ["a", "pay", "z"]


def test_the_input_has_changed(runs: Runs, work: Work, left: Journal) -> None:
    pipeline = runs.pipeline(paying(work), journal=left)
    with pytest.raises(UncertainStepError):
        pipeline.resume("r", PipelineContext(results={"other": 1}))
    assert work.ran() == []


def test_it_has_moved_and_is_passed_over(runs: Runs, work: Work) -> None:
    pay = work("pay", idempotent=False)
    before = runs.pipeline([[work("x"), pay], work("z")], config=PipelineConfig(max_workers=1))
    left = runs.cut_in(work, "pay", before)
    after = runs.pipeline([[pay, work("x")], work("z")], journal=left)
    context = after.resume("r", on_changed="rerun_changed", on_uncertain="skip")
    assert context.results == {"log": ["x", "z"]}
    assert "pay" not in work.ran()
    assert row(left, "pay").status == "skipped"
    assert after.resume("r").results == context.results


# The key


class Sends(PipelineStep):
    """Collects its keys."""

    step_id = "send"
    retries = 1

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.faults = 0

    def run(self, context: Any) -> None:
        self.keys.append(context.idempotency_key)
        if self.faults:
            self.faults -= 1
            raise ValueError("again")


def test_the_key_is_the_same_in_every_attempt_and_resume(runs: Runs, work: Work) -> None:
    send = Sends()
    send.faults = 3
    pipeline = runs.pipeline([work("a"), [send, work("b")], work("z")])
    with quiet():
        pipeline.run(run_id="r")
    pipeline.resume("r")
    pipeline.resume("r", from_step="send")
    assert len(send.keys) == 5
    assert len(set(send.keys)) == 1


def test_no_two_steps_items_rounds_or_runs_have_one_key(runs: Runs) -> None:
    send = Sends()
    pipeline = runs.pipeline([send, send, [send, send], Map(send, over=lambda context: [1, 1])])
    pipeline.run(run_id="r")
    pipeline.run(run_id="s")
    assert len(send.keys) == len(set(send.keys)) == 12


def test_there_is_a_key_without_a_journal() -> None:
    send = Sends()
    Pipeline([send]).run()
    Pipeline([send]).run(run_id="mine")
    assert len(set(send.keys)) == 2
    assert "mine" in send.keys[1]
