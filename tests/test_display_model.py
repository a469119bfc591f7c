"""What a display knows of runs after their events: totals, times, the critical path."""

from __future__ import annotations

import itertools
import random

import pytest

from task_pipeline import Outcome, events
from task_pipeline.display.model import FORGOTTEN, DisplayModel
from task_pipeline.display.nodes import NodeKind
from task_pipeline.display.summary import summarize
from tests.display_story import Story, told


def nested(run_id: str = "run", name: str = "pipeline") -> Story:
    """[a, [b, [c, d]], e], where b takes 3 s, c and d 1 s and 4 s, and d is retried."""
    story = Story(run_id, name)
    story.start(5)
    story.step("0", 2.0, "a")
    story.group("1", 2)
    story.begin("1.0", "b")
    story.group("1.1", 2, parallel=False)
    story.begin("1.1.0", "c")
    story.now += 1.0
    story.done("1.1.0")
    story.begin("1.1.1", "d")
    story.now += 2.0
    story.done("1.0")
    story.done("1.1.1", events.StepRetrying, duration=2.0, delay=1.0, error=ValueError("no"))
    story.now += 1.0
    story.begin("1.1.1", "d", attempt=2)
    story.now += 1.0
    story.done("1.1.1", duration=1.0)
    story.close("1.1")
    story.close("1")
    story.step("2", 1.0, "e")
    story.end()
    return story


def test_a_run_from_beginning_to_end() -> None:
    run = told(nested())
    assert run.is_over
    assert run.outcome is Outcome.SUCCEEDED
    assert run.percent == 100.0
    assert [*run.nodes] == ["", "0", "1", "1.0", "1.1", "1.1.0", "1.1.1", "2"]
    assert [node.name for node in run.root.ordered()] == ["a", "group_1", "e"]
    assert run.nodes["1"].kind is NodeKind.PARALLEL
    assert run.nodes["1.1"].kind is NodeKind.SERIAL
    assert run.open == 0
    assert not run.running


def test_a_run_is_summed_up() -> None:
    summary = summarize(told(nested()), 0.0)
    assert (summary.steps, summary.succeeded, summary.failed) == (5, 5, 0)
    assert (summary.retried, summary.extra_attempts) == (1, 1)
    assert summary.duration == 8.0
    assert summary.slowest == (("d", 4.0), ("b", 3.0), ("a", 2.0))
    assert summary.critical_path == (("a", 2.0), ("c", 1.0), ("d", 4.0), ("e", 1.0))
    assert summary.critical_seconds == 8.0
    assert summary.work == 10.0  # without the second that d waited
    assert summary.speed_up == 1.25


def test_the_percentage_counts_steps_and_what_they_report() -> None:
    story = Story()
    story.start(4)
    assert told(story).percent == 0.0
    story.step("0")
    assert told(story).percent == 25.0
    story.group("1", 2)
    story.begin("1.0")
    story.progress("1.0", 50.0)
    assert told(story).percent == 37.5
    assert told(story).nodes["1"].fraction == 0.25


def test_the_percentage_never_goes_back() -> None:
    story = Story()
    story.start(1)
    story.group("0", 0)
    story.expand("0", 2)
    model = DisplayModel()
    seen = []

    def show() -> None:
        run = [model.apply(event) for event in story.events][-1]
        story.events.clear()
        assert run is not None
        seen.append(run.percent)

    for number in range(2):
        story.step(f"0.{number}")
        show()
    story.expand("0", 40)
    show()
    story.end()
    show()
    assert seen == sorted(seen)
    assert seen[-1] == 100.0


def test_every_outcome_is_counted_once() -> None:
    story = Story()
    story.start(6)
    story.group("0", 6)
    kinds = [
        *(events.StepSucceeded, events.StepFailed, events.StepTimedOut),
        *(events.StepCancelled, events.StepSkipped, events.StepFailed),
    ]
    for number, kind in enumerate(kinds):
        story.begin(f"0.{number}")
        story.done(f"0.{number}", kind)
    story.done("0.0", events.StepFailed)  # it has ended already
    story.close("0", events.GroupFailed)
    story.end(events.RunFailed, error=ValueError("in\ntwo lines"))
    summary = summarize(told(story), 0.0)
    assert (summary.steps, summary.succeeded, summary.failed, summary.timed_out) == (6, 1, 3, 1)
    assert (summary.cancelled, summary.skipped) == (1, 1)
    assert [failure.name for failure in summary.failures] == ["step_0.1", "step_0.2", "step_0.5"]
    assert summary.error == "ValueError: in"


def test_steps_of_a_group_that_never_began() -> None:
    story = Story()
    story.start(3)
    story.begin("0")
    story.done("0", events.StepFailed, error=ValueError("no"))
    known = {"group_id": "1", "is_parallel": True, "step_id": "x"}
    for path in ("1.0", "1.1"):
        story.tell(events.StepSkipped, path, "x", **known)
    story.end(events.RunFailed)
    run = told(story)
    group = run.nodes["1"]
    assert (group.kind, group.name, group.children_ended) == (
        *(NodeKind.PARALLEL, "parallel_group_1", 2),
    )
    assert summarize(run, 0.0).skipped == 2


def test_a_group_inside_a_step_is_part_of_that_step() -> None:
    story = Story()
    story.start(2)
    story.step("0", 1.0, "load")
    story.begin("1", "agent")
    story.now += 1.0
    story.group("1.0", 0, "calls")
    story.expand("1.0", 2)
    story.begin("1.0.0", "short")
    story.begin("1.0.1", "long")
    story.now += 1.0
    story.done("1.0.0")
    run = told(story)
    assert run.percent == 75.0  # the step is half done as its group is
    assert run.step_total == 4
    story.now += 2.0
    story.done("1.0.1")
    story.close("1.0")
    story.now += 1.0
    story.done("1", duration=5.0)
    story.end()
    run = told(story)
    assert run.nodes["1.0"].parent is run.nodes["1"]
    summary = summarize(run, 0.0)
    assert summary.steps == 4
    assert summary.critical_path == (("load", 1.0), ("agent", 2.0), ("long", 3.0))
    assert summary.work == 1.0 + 1.0 + 3.0 + 2.0  # what the step waited for is not its own work


def test_groups_without_a_run_are_over_when_none_is_open() -> None:
    story = Story("state", "")
    story.group("0", 2, "calls")
    story.step("0.0", 1.0)
    story.group("1", 1, "others")
    model = DisplayModel(clock=lambda: story.now)
    run = told(story, model)
    assert run.is_implied
    assert not run.is_over
    story.events.clear()
    story.step("0.1", 1.0)
    story.close("0")
    assert not told(story, model).is_over
    story.events.clear()
    story.step("1.0", 1.0)
    story.close("1")
    run = told(story, model)
    assert run.is_over
    assert run.percent == 100.0
    summary = summarize(run, 0.0)
    assert (summary.outcome, summary.duration, summary.steps) == (Outcome.SUCCEEDED, 3.0, 3)


def test_events_of_runs_that_are_not_known_change_nothing() -> None:
    story = Story()
    story.tell(events.AbandonedThreadEnded, "0", "late", step_id="late")
    story.tell(events.StepCancelled, "0", "late", step_id="late")
    story.tell(events.GroupSucceeded, "1", "group", parallel=True)
    story.end()
    model = DisplayModel()
    assert [model.apply(event) for event in story.events] == [None] * 4
    assert not model.runs


def test_a_run_that_was_closed_early_does_not_come_back() -> None:
    model = DisplayModel()
    story = Story()
    run = model.apply(story.start(2))
    assert run is not None
    model.drop(run, forever=True)
    assert model.apply(story.begin("0")) is None
    assert model.apply(story.start(2)) is not None  # but may be resumed
    for number in range(FORGOTTEN + 2):
        gone = model.apply(Story(f"run {number}").start(0))
        assert gone is not None
        model.drop(gone, forever=True)
    assert len(model._forgotten) == FORGOTTEN


def test_a_step_that_a_loop_comes_round_to_again_counts_once() -> None:
    story = Story()
    story.start(1)
    for _ in range(3):
        story.step("0")
    story.end()
    run = told(story)
    assert run.outcomes == {Outcome.SUCCEEDED: 1}
    assert run.root.children_ended == 1


@pytest.mark.parametrize("seed", range(20))
def test_runs_that_are_interleaved_do_not_see_each_other(seed: int) -> None:
    stories = [nested("one", "first"), nested("two", "second"), nested("three", "third")]
    left = [iter(story.events) for story in stories]
    chance = random.Random(seed)
    model = DisplayModel(clock=lambda: 0.0)
    while left:
        source = chance.choice(left)
        event = next(source, None)
        if event is None:
            left.remove(source)
        else:
            model.apply(event)
    alone = summarize(told(nested("one", "first")), 0.0)
    for story, name in zip(stories, ("first", "second", "third"), strict=True):
        summary = summarize(model.runs[story.run_id], 0.0)
        assert (summary.name, summary.critical_path) == (name, alone.critical_path)
        assert (summary.steps, summary.work) == (alone.steps, alone.work)


def test_no_order_of_missing_events_breaks_it() -> None:
    """A bus may drop what a reader is too slow for."""
    for left_out in itertools.combinations(range(len(nested().events)), 2):
        model = DisplayModel(clock=lambda: 0.0)
        for number, event in enumerate(nested().events):
            run = None if number in left_out else model.apply(event)
            if run is not None:
                assert 0.0 <= run.percent <= 100.0
                assert run.open >= 0
                summarize(run, 0.0)


def test_nesting_may_be_deeper_than_the_stack() -> None:
    story = Story()
    story.start(1)
    path = ""
    for _ in range(1500):
        path = f"{path}.0" if path else "0"
        story.group(path, 1, parallel=False)
    deepest = f"{path}.0"
    story.tell(events.StepStarted, deepest, "deep", step_id="deep", attempt=1)
    story.now += 1.0
    story.tell(events.StepSucceeded, deepest, "deep", step_id="deep", attempt=1, duration=1.0)
    run = told(story)
    assert summarize(run, 0.0).critical_path == (("deep", 1.0),)
    assert run.nodes["0"].fraction == 1.0
