"""What must hold of the events of any run, and what they tell of its course."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from task_pipeline import Outcome, RunTimeoutError, StepTimeoutError
from task_pipeline.events import (
    AbandonedThreadEnded,
    AttemptEnded,
    Event,
    GroupCancelled,
    GroupEnded,
    GroupStarted,
    GroupSucceeded,
    GroupTimedOut,
    MergeConflictFound,
    RunCancelled,
    RunEnded,
    RunStarted,
    StepAbandoned,
    StepCancelled,
    StepEvent,
    StepFailed,
    StepProgressed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)
from task_pipeline.testing import SimulatedFailure
from tests.interpreter import Course, GroupEnd, Path

Ids = Mapping[Path, str]
"""Each step's id, by its path."""

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

    What became of a step when none of its attempts ran is told with attempt 0. One that is
    left in the middle of an attempt is abandoned right after that has ended.
    """
    for before, event in itertools.pairwise(events):
        if isinstance(event, StepProgressed):
            assert isinstance(before, StepStarted | StepProgressed)
        elif isinstance(event, StepAbandoned):
            assert isinstance(before, StepCancelled | StepTimedOut)
        assert event.attempt in (before.attempt, before.attempt + 1, 0)
    events = [event for event in events if not isinstance(event, StepAbandoned | StepProgressed)]
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
    """A group starts before, and ends after, all that is in it.

    If it is ended early, what its branches have done is merged after that.
    """
    started, ended = (event for event in events if not isinstance(event, MergeConflictFound))
    assert events[0] is started and (events[-1] is ended or type(ended) is not GroupSucceeded)
    assert type(started) is GroupStarted and isinstance(ended, GroupEnded)
    within = [event.seq for event in told if event.path.startswith(f"{path}.")]
    assert all(started.seq < seq < ended.seq for seq in within)


def course_of(events: Sequence[Event], ids: Ids) -> Course:
    """What the interpreter has to be told of a run, from its events."""
    left: dict[str, str] = {}
    ended: dict[str, int] = {}
    imposed: dict[tuple[str, int], tuple[str, str]] = {}
    groups: dict[Path, GroupEnd] = {}
    for event in events:
        path = tuple(map(int, event.path.split("."))) if event.path else ()
        if isinstance(event, GroupEnded | RunEnded):
            groups[path] = _group_end(event)
        elif isinstance(event, StepCancelled | StepTimedOut) and event.error is None:
            left[ids[path]] = "cancelled" if isinstance(event, StepCancelled) else "timed_out"
        elif isinstance(event, AttemptEnded):
            ended[ids[path]] = event.attempt
            if isinstance(event.error, SimulatedFailure | StepTimeoutError):
                told = (type(event.error).__name__, str(event.error))
                imposed[ids[path], event.attempt] = told
    return Course(left, ended, imposed, groups)


def _group_end(event: GroupEnded | RunEnded) -> GroupEnd:
    if isinstance(event, GroupCancelled | RunCancelled):
        return GroupEnd("cancelled", left=True)
    if isinstance(event, GroupTimedOut):
        return GroupEnd("timed_out", left=event.error is None)
    late = isinstance(event, RunEnded) and isinstance(event.error, RunTimeoutError)
    return GroupEnd("timed_out" if late else "", left=False)
