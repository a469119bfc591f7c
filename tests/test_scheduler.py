"""The pure scheduler, driven with facts in any order: no thread, no clock, no step's work."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline.plan import compile_plan
from tests.interpreter import Group
from tests.pipelines import IDLE, build, trees
from tests.schedule_driver import ScheduleDriver

CASES = settings().max_examples
SEEDS = st.integers(0, 2**32)

pytestmark = pytest.mark.stress


@settings(max_examples=5 * CASES)
@given(trees(IDLE, depth=3), SEEDS, st.sampled_from([0.0, 0.0, 0.02]))
def test_guarantees_2_and_3_hold_after_every_fact_in_any_order(
    tree: Group, seed: int, cancel_rate: float
) -> None:
    """A limit is never exceeded, a step starts once and has one outcome, the run ends."""
    note(repr(tree))
    plan = compile_plan(build(tree))
    for chance in range(seed, seed + 8):
        ScheduleDriver(plan, random.Random(chance), cancel_rate).run()
