"""What must hold of the events of any run, however it went."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from task_pipeline import Outcome
from task_pipeline.events import (
    AbandonedThreadEnded,
    AttemptEnded,
    Event,
    GroupEnded,
    GroupStarted,
    RunEnded,
    RunStarted,
    StepCancelled,
    StepEvent,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)

LAST: dict[Outcome, type[StepEvent]] = {
    Outcome.SUCCEEDED: StepSucceeded,
    Outcome.FAILED: StepFailed,
    Outcome.TIMED_OUT: StepTimedOut,
    Outcome.CANCELLED: StepCancelled,
    Outcome.SKIPPED: StepSkipped,
}


def check_events(events: Sequence[Event], outcomes: Mapping[str, Outcome]) -> None:
    """Guarantee 3, given each step's outcome by its path."""
    assert [event.seq for event in events] == list(range(len(events)))
    assert all(one.monotonic <= two.monotonic for one, two in itertools.pairwise(events))
    told = [event for event in events if not isinstance(event, AbandonedThreadEnded)]
    assert [type(event) for event in told].count(RunStarted) == 1
    assert type(told[0]) is RunStarted
    assert [isinstance(event, RunEnded) for event in told].index(True) == len(told) - 1
    by_path: dict[str, list[Event]] = {}
    for event in told[1:-1]:
        by_path.setdefault(event.path, []).append(event)
    for path, outcome in outcomes.items():
        check_step(by_path.pop(path), outcome)
    for path, group in by_path.items():
        check_group(path, group, told)


def check_step(events: Sequence[Event], outcome: Outcome) -> None:
    """Attempts one after another, each with one start and one end; the last end is the outcome's.

    What became of a step when none of its attempts ran is told with attempt 0.
    """
    last = events[-1]
    assert type(last) is LAST[outcome]
    attempts = [event for event in events if isinstance(event, StepEvent) and event.attempt > 0]
    if len(attempts) < len(events):
        assert len(attempts) == len(events) - 1
        assert isinstance(last, StepSkipped | StepCancelled | StepTimedOut) and last.attempt == 0
    starts, ends = attempts[::2], attempts[1::2]
    assert [event.attempt for event in starts] == list(range(1, len(starts) + 1))
    assert [event.attempt for event in ends] == [event.attempt for event in starts]
    assert all(type(event) is StepStarted for event in starts)
    for event in ends:
        assert isinstance(event, AttemptEnded)
        assert event is last or isinstance(event, StepRetrying | StepTimedOut)


def check_group(path: str, events: Sequence[Event], told: Sequence[Event]) -> None:
    """A group starts before, and ends after, all that is in it."""
    started, ended = events
    assert type(started) is GroupStarted and isinstance(ended, GroupEnded)
    within = [event.seq for event in told if event.path.startswith(f"{path}.")]
    assert all(started.seq < seq < ended.seq for seq in within)
