"""The pure scheduler, driven with facts in any order: no thread, no clock, no step's work."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Outcome,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    Serial,
    TaskStep,
    step,
)
from task_pipeline.compiler import compile_plan
from task_pipeline.engine.scheduler import Scheduler
from task_pipeline.engine.states import Command, StepState, Timer
from task_pipeline.groups import PipelineGroup
from task_pipeline.plan import Plan
from tests.building import build
from tests.drawn import Group
from tests.pipelines import IDLE, trees
from tests.schedule_driver import ScheduleDriver

CASES = settings().max_examples
FIRST_WINS = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)


def idle(context: Any) -> None:
    """A step that is never run here."""


def plan_of(steps: list[TaskStep], **settings: Any) -> Plan:
    return compile_plan(PipelineGroup(steps, config=PipelineConfig(**settings)))


def nested(levels: int) -> list[TaskStep]:
    """A list in a list in a list …, with a step before and after each."""
    steps: list[TaskStep] = [idle]
    for _ in range(levels):
        steps = [idle, steps, idle]
    return steps


class Straight:
    """Runs a plan in which every step succeeds; `most` is how many ran at once."""

    def __init__(self, plan: Plan, chance: random.Random, workers: int) -> None:
        self.scheduler = Scheduler(plan)
        self.running: list[StepState] = []
        self.started = self.most = 0
        self.over = False
        self._chance = chance
        self._workers = workers
        self.scheduler.start()

    def run(self) -> None:
        while not self.over:
            self.obey()
            while len(self.running) < self._workers:
                begun = self.scheduler.next()
                self.obey()
                if begun is None:
                    break
                self.running.append(begun)
                self.started += 1
            self.most = max(self.most, len(self.running))
            if self.running:
                self.end(Outcome.SUCCEEDED)

    def end(self, outcome: Outcome) -> None:
        ended = self.running.pop(self._chance.randrange(len(self.running)))
        self.scheduler.ended(ended, outcome)

    def obey(self) -> None:
        while self.scheduler.commands:
            command, *about = self.scheduler.commands.pop(0)
            self.over = self.over or command is Command.OVER
            if command is Command.JOIN:
                self.scheduler.joined(about[0], about[0].verdict, None)


@pytest.mark.stress
@settings(max_examples=6 * CASES)
@given(trees(IDLE, depth=3), st.integers(0, 2**32))
def test_guarantees_2_and_3_hold_after_every_fact_in_any_order(tree: Group, seed: int) -> None:
    """A limit is never exceeded, a step starts once and has one outcome, the run ends."""
    note(repr(tree))
    plan = compile_plan(build(tree))
    for chance in range(seed, seed + 8):
        ScheduleDriver(plan, random.Random(chance)).run()


@pytest.mark.stress
@settings(max_examples=2 * CASES)
@given(trees(IDLE, depth=3), st.integers(0, 2**32))
def test_guarantee_3_holds_for_a_run_that_is_cancelled_after_any_fact(
    tree: Group, seed: int
) -> None:
    note(repr(tree))
    plan = compile_plan(build(tree))
    for facts in (0, 1, 2, 3, 5, 8, 13, 21):
        ScheduleDriver(plan, random.Random(seed), facts).run()


def test_guarantee_3_a_cancelled_run_ends_at_once_after_whichever_fact() -> None:
    early = ParallelConfig(
        error_strategy=ErrorStrategy.FAIL_FAST, max_workers=2, timeout=1.0, delay=0.1
    )
    tree: list[TaskStep] = [idle, Parallel([idle, [idle, [idle, idle]], []], config=early), idle]
    plan = plan_of([*tree, Pipeline([tree], PipelineConfig(fail_fast=False, timeout=1.0))])
    for facts in range(60):
        for seed in range(10):
            ScheduleDriver(plan, random.Random(seed), facts).run()


@pytest.fixture(scope="module")
def deep() -> Plan:
    return plan_of(nested(5_000))


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(3))
def test_5000_levels_of_nesting_are_no_deeper_than_one(deep: Plan, seed: int) -> None:
    straight = Straight(deep, random.Random(seed), workers=3)
    straight.run()
    assert straight.started == len(deep.steps) == 10_001
    assert set(straight.scheduler.outcomes) == {Outcome.SUCCEEDED}


@pytest.mark.no_cover
def test_a_run_cancelled_at_the_bottom_of_5000_levels_has_an_outcome_for_every_step(
    deep: Plan,
) -> None:
    straight = Straight(deep, random.Random(0), workers=3)
    while (begun := straight.scheduler.next()) is not None:
        if begun.node.parent.parent is None or begun.node.index == 0:
            straight.scheduler.ended(begun, Outcome.SUCCEEDED)
        straight.obey()
    straight.scheduler.cancel()
    straight.obey()
    assert straight.over
    assert set(straight.scheduler.outcomes) == {Outcome.SUCCEEDED, Outcome.CANCELLED}


@pytest.mark.no_cover
@pytest.mark.parametrize("limit", [1, 3, None])
def test_guarantee_2_holds_for_10000_branches(limit: int | None) -> None:
    config = ParallelConfig(max_workers=limit)
    plan = plan_of([Parallel([idle] * 10_000, config=config)])
    straight = Straight(plan, random.Random(0), workers=50)
    straight.run()
    assert straight.started == 10_000
    assert straight.most == (limit or 50)
    assert straight.scheduler.outcomes == [Outcome.SUCCEEDED] * 10_000


@pytest.mark.no_cover
def test_10000_branches_end_together_when_one_decides() -> None:
    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    plan = plan_of([Parallel([idle] * 10_000, config=config), idle], fail_fast=False)
    straight = Straight(plan, random.Random(0), workers=50)
    first = straight.scheduler.next()
    assert first is not None
    straight.scheduler.ended(first, Outcome.FAILED)
    straight.run()
    counts = {outcome: straight.scheduler.outcomes.count(outcome) for outcome in Outcome}
    assert counts[Outcome.CANCELLED] == 9_999
    assert straight.started == counts[Outcome.SUCCEEDED] == 1  # the step behind the group


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [[]],
        [[], []],
        [[[]], Serial([]), Parallel([])],
        [[[], []], [[], [[]]]],
        [Parallel([], config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=2))],
        [Parallel([[], []], config=FIRST_WINS)],
        [Pipeline([Pipeline([[]])])],
    ],
    ids=repr,
)
def test_empty_groups_are_done_as_soon_as_they_begin(steps: list[TaskStep]) -> None:
    straight = Straight(plan_of(steps), random.Random(0), workers=1)
    straight.run()
    assert straight.scheduler.root.outcome is Outcome.SUCCEEDED


def test_a_branch_that_ends_as_it_begins_keeps_the_others_from_starting() -> None:
    plan = plan_of([Parallel([[], idle, idle], config=FIRST_WINS)])
    straight = Straight(plan, random.Random(0), workers=3)
    straight.run()
    assert straight.started == 0
    assert straight.scheduler.outcomes == [Outcome.CANCELLED] * 2


# Between two attempts


def waiting_step(limit: int = 1) -> tuple[Scheduler, StepState]:
    """A step under way, and another behind it for which there is no place."""
    config = ParallelConfig(max_workers=limit)
    scheduler = Scheduler(plan_of([Parallel([step(retries=2)(idle), idle], config=config)]))
    scheduler.start()
    begun = scheduler.next()
    assert begun is not None and begun.attempt == 1
    assert limit > 1 or scheduler.next() is None
    scheduler.commands.clear()
    return scheduler, begun


def test_a_step_that_waits_for_its_retry_takes_no_place() -> None:
    scheduler, begun = waiting_step()
    scheduler.ended(begun, Outcome.FAILED, ValueError(), retry_after=1.0)
    assert scheduler.commands == [(Command.SET_TIMER, begun, Timer.RETRY, 1.0)]
    other = scheduler.next()
    assert other is not None and other is not begun
    scheduler.fired(begun, Timer.RETRY)
    assert scheduler.next() is None
    scheduler.ended(other, Outcome.SUCCEEDED)
    assert scheduler.next() is begun and begun.attempt == 2


def test_a_step_whose_late_attempt_returns_is_tried_again() -> None:
    scheduler, begun = waiting_step()
    scheduler.linger(begun, 5.0)
    assert scheduler.commands == [(Command.SET_TIMER, begun, Timer.LINGER, 5.0)]
    other = scheduler.next()
    assert other is not None and other is not begun
    scheduler.ended(other, Outcome.SUCCEEDED)
    assert scheduler.next() is None
    scheduler.returned(begun, retry_after=0.0)
    assert scheduler.next() is begun and begun.attempt == 2
    assert begun.outcome is None


def test_a_step_whose_late_attempt_does_not_return_in_time_has_timed_out() -> None:
    scheduler, begun = waiting_step(limit=2)
    scheduler.linger(begun, 5.0)
    scheduler.fired(begun, Timer.LINGER)
    assert begun.outcome is Outcome.TIMED_OUT
    scheduler.returned(begun, retry_after=0.0)
    scheduler.ended(begun, Outcome.SUCCEEDED)
    assert begun.outcome is scheduler.outcomes[0] is Outcome.TIMED_OUT


def test_cancelling_leaves_a_step_between_two_attempts() -> None:
    scheduler, begun = waiting_step()
    scheduler.ended(begun, Outcome.FAILED, ValueError(), retry_after=1.0)
    scheduler.commands.clear()
    scheduler.cancel()
    assert (Command.LEAVE, begun, False) in scheduler.commands
    scheduler.fired(begun, Timer.RETRY)
    assert scheduler.next() is None
    assert scheduler.outcomes == [Outcome.CANCELLED] * 2
