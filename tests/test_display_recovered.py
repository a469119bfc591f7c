"""Steps that ended in an earlier part of a run, as the display shows them."""

from __future__ import annotations

from typing import Any

import pytest

from task_pipeline import Outcome, events
from task_pipeline.display import ParallelGroupTracker
from task_pipeline.display.outcomes import outcome_of
from task_pipeline.display.summary import RunSummary, summarize
from task_pipeline.display.wording import describe_event
from tests.display_story import Story, told


def recovered(story: Story, path: str, outcome: str = "succeeded", **facts: Any) -> events.Event:
    facts = {"step_id": f"step_{path}", "attempt": 1, "duration": 60.0, **facts}
    return story.tell(events.StepRecovered, path, f"step_{path}", outcome=outcome, **facts)


def taken_up() -> Story:
    """A run of four steps, three of which had ended before."""
    story = Story()
    story.start(4)
    recovered(story, "0")
    story.group("1", 2)
    recovered(story, "1.0", attempt=2)
    recovered(story, "1.1", "failed", error=ValueError("then"))
    story.close("1")
    story.now = 1.0
    story.begin("2")
    story.now = 3.0
    story.done("2")
    return story


def summary_of(story: Story) -> RunSummary:
    return summarize(told(story), story.now)


def test_they_count_as_what_they_came_to() -> None:
    story = taken_up()
    story.end()
    summary = summary_of(story)
    assert (summary.steps, summary.succeeded, summary.failed) == (4, 3, 1)
    assert (summary.cancelled, summary.skipped, summary.recovered) == (0, 0, 3)
    assert [failure.error for failure in summary.failures] == ["ValueError: then"]


def test_their_time_is_not_of_this_part() -> None:
    story = taken_up()
    story.end()
    summary = summary_of(story)
    assert summary.work == 2.0
    assert [step.name for step in summary.slowest] == [step.name for step in summary.critical_path]
    assert summary.critical_seconds == 2.0
    assert summary.retried == 0


def test_they_are_behind_a_run_that_goes_on() -> None:
    story = Story()
    story.start(4)
    recovered(story, "0")
    assert told(story).percent == 25.0
    node = told(story).nodes["0"]
    assert (node.outcome, node.attempts, node.began) == (Outcome.SUCCEEDED, 1, None)


def test_a_tracker_counts_them_as_branches() -> None:
    tracker = ParallelGroupTracker(group_id="1")
    for event in taken_up().events:
        tracker.note(event)
    assert (tracker.total, tracker.started, tracker.completed, tracker.failed) == (2, 2, 1, 1)
    assert (tracker.cancelled, tracker.is_complete) == (0, True)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("succeeded", "step_0 was recovered: succeeded in 60.00 s"),
        ("timed_out", "step_0 was recovered: timed out in 60.00 s"),
        ("skipped", "step_0 was recovered: skipped in 60.00 s"),
    ],
)
def test_they_are_told_in_words(outcome: str, words: str) -> None:
    event = recovered(Story(), "0", outcome)
    assert describe_event(event, None) == words or describe_event(event, None).startswith(
        words.rsplit(" ", 2)[0]
    )
    assert outcome_of(event) == Outcome(outcome)


def test_an_outcome_that_is_none_changes_nothing() -> None:
    story = Story()
    story.start(1)
    event = recovered(story, "0", "nonsense")
    assert outcome_of(event) is None
    assert told(story).steps_ended == 0
