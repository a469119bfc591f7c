"""`ParallelGroupTracker`, fed with events or counted by hand."""

from __future__ import annotations

import pytest

from task_pipeline import Outcome, Pipeline, events, step
from task_pipeline.display import ParallelGroupTracker
from tests.display_story import Story


def fed(story: Story, group_id: str = "") -> ParallelGroupTracker:
    tracker = ParallelGroupTracker(group_id=group_id, clock=lambda: story.now)
    for event in story.events:
        tracker.note(event)
    return tracker


def test_a_new_tracker_has_nothing() -> None:
    tracker = ParallelGroupTracker()
    assert (tracker.total, tracker.started, tracker.completed, tracker.failed) == (0, 0, 0, 0)
    assert tracker.completion_percentage == 0.0
    assert tracker.elapsed_time == 0.0
    assert not tracker.is_complete


@pytest.mark.parametrize(
    ("completed", "failed", "percent", "is_complete"),
    [(0, 0, 0.0, False), (1, 0, 25.0, False), (2, 1, 75.0, False), (3, 1, 100.0, True)],
)
def test_counts_may_be_set_by_hand(completed, failed, percent, is_complete) -> None:
    tracker = ParallelGroupTracker(group_id="1", name="fetch", total=4)
    tracker.completed, tracker.failed = completed, failed
    assert tracker.completion_percentage == percent
    assert tracker.is_complete is is_complete


def test_it_counts_the_branches_of_its_group() -> None:
    story = Story()
    story.start(5)
    story.step("0")
    story.group("1", 3, name="fetch")
    story.begin("1.0")
    story.group("1.1", 2, parallel=False)
    story.begin("1.1.0")
    story.begin("1.2")
    tracker = fed(story)
    assert (tracker.group_id, tracker.name) == ("1", "fetch")
    assert (tracker.total, tracker.started, tracker.ended) == (3, 3, 0)

    story.done("1.2", events.StepFailed, error=ValueError("no"))
    story.done("1.1.0")
    assert fed(story).completion_percentage == pytest.approx(100 / 3)
    story.step("1.1.1")
    story.close("1.1")
    story.done("1.0", events.StepTimedOut)
    tracker = fed(story)
    assert (tracker.completed, tracker.failed, tracker.ended) == (1, 2, 3)
    assert not tracker.is_complete  # its branches have, it has not

    story.close("1", events.GroupFailed)
    tracker = fed(story)
    assert tracker.is_complete
    assert tracker.outcome is Outcome.FAILED


def test_the_time_runs_until_the_group_ends() -> None:
    story = Story()
    story.now = 5.0
    story.group("0", 1)
    tracker = fed(story)
    story.now = 7.5
    assert tracker.elapsed_time == 2.5
    story.step("0.0", 1.0)
    for event in [*story.events[1:], story.close("0")]:
        tracker.note(event)
    story.now = 100.0
    assert tracker.elapsed_time == 3.5


def test_what_never_began_counts_as_cancelled_once_the_group_has_ended() -> None:
    story = Story()
    story.group("0", 5)
    story.step("0.0")
    story.done("0.1", events.StepCancelled, attempt=0)
    story.done("0.2", events.StepSkipped, attempt=0)
    assert (fed(story).cancelled, fed(story).skipped) == (1, 1)
    story.close("0")
    tracker = fed(story)
    assert (tracker.completed, tracker.skipped, tracker.cancelled) == (1, 1, 3)
    tracker.note(story.done("0.4", events.StepCancelled, attempt=0))
    assert tracker.cancelled == 3


def test_retries_count_at_any_depth_and_end_nothing() -> None:
    story = Story()
    story.group("0", 1)
    story.group("0.0", 1, parallel=False)
    story.begin("0.0.0")
    story.done("0.0.0", events.StepRetrying, delay=1.0)
    story.begin("0.0.0", attempt=2)
    tracker = fed(story)
    assert (tracker.retried, tracker.started, tracker.ended) == (1, 1, 0)


def test_a_group_whose_branches_come_while_it_runs() -> None:
    story = Story()
    story.group("0", 0)
    assert fed(story).completion_percentage == 0.0
    story.expand("0", 4)
    story.step("0.0")
    assert fed(story).completion_percentage == 25.0


def test_events_of_other_groups_and_of_other_runs_change_nothing() -> None:
    story, other = Story("one"), Story("two")
    story.group("1", 2)
    story.group("10", 2)
    story.step("10.0")
    tracker = fed(story, "1")
    other.group("1", 2)
    other.step("1.0")
    for event in other.events:
        tracker.note(event)
    assert (tracker.started, tracker.ended, tracker.run_id) == (0, 0, "one")


def test_it_is_fed_by_a_real_run() -> None:
    @step(retries=1)
    def flaky(context) -> None:
        if context.attempt == 1:
            raise ValueError("not yet")

    tracker = ParallelGroupTracker(group_id="0")
    pipeline = Pipeline([[flaky, [lambda context: None, lambda context: None]]])
    pipeline.subscribe(tracker)
    pipeline.run()
    assert (tracker.total, tracker.started, tracker.completed, tracker.retried) == (2, 2, 2, 1)
    assert tracker.is_complete
    assert tracker.elapsed_time > 0.0
