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
    GroupExpanded,
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
from tests.drawn import Path, dotted
from tests.interpreted_course import Course, GroupEnd

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
        assert isinstance(event, AttemptEnded | StepSkipped)
        assert event is last or isinstance(event, StepRetrying | StepTimedOut)


def check_group(path: str, events: Sequence[Event], told: Sequence[Event]) -> None:
    """A group starts before, and ends after, all that is in it.

    If it is ended early, what has been done in it is merged after that. One whose children
    come while it runs is given them before they start.
    """
    group = [event for event in events if not isinstance(event, MergeConflictFound)]
    started, ended = group[0], group[-1]
    is_whole = type(ended) is GroupSucceeded
    assert events[0] is started and (events[-1] is ended or not is_whole)
    assert type(started) is GroupStarted and isinstance(ended, GroupEnded)
    assert all(isinstance(event, GroupExpanded) for event in group[1:-1])
    within = [
        event
        for event in told
        if event.path.startswith(f"{path}.")
        and (is_whole or not isinstance(event, MergeConflictFound))
    ]
    assert all(started.seq < event.seq < ended.seq for event in within)
    begun = [event for event in within if isinstance(event, StepStarted | GroupStarted)]
    assert started.total or len(group) > 2 or not begun


def outcomes_of(events: Sequence[Event]) -> dict[str, str]:
    """The outcome of each step, by its id, as its last event has it."""
    kinds = {kind: str(outcome) for outcome, kind in LAST.items()}
    found: dict[str, str] = {}
    for event in events:
        if type(event) in kinds and event.step_id is not None:
            found[event.step_id] = kinds[type(event)]  # type: ignore[index]  # a kind of steps' events
    return found


def paths_of(events: Sequence[Event]) -> dict[str, Path]:
    """Where each step stands that there are events of, by its id."""
    return {event.step_id: as_path(event.path) for event in events if event.step_id is not None}


def by_path(paths: Mapping[str, Path], outcomes: Mapping[str, str]) -> dict[str, Outcome]:
    """Each step's outcome by its path, from both by its id."""
    return {dotted(paths[step_id]): Outcome(outcome) for step_id, outcome in outcomes.items()}


def told_by_path(events: Sequence[Event]) -> dict[str, Outcome]:
    """Each step's outcome by its path, as the events have them."""
    return by_path(paths_of(events), outcomes_of(events))


def as_path(text: str) -> Path:
    """A path as numbers."""
    return tuple(map(int, text.split("."))) if text else ()


def course_of(events: Sequence[Event]) -> Course:
    """What the interpreter has to be told of a run, from its events."""
    course = Course({}, {}, {}, {}, {}, {})
    for event in events:
        path, step_id = as_path(event.path), event.step_id or ""
        if isinstance(event, GroupEnded | RunEnded):
            course.groups[path] = _group_end(event)
            asked_in_vain = f"step {event.name!r} was chosen to fail"
            if isinstance(event.error, SimulatedFailure) and str(event.error) == asked_in_vain:
                course.unanswered[path] = asked_in_vain
        elif isinstance(event, GroupExpanded):
            course.expanded[path] = course.expanded.get(path, 0) + 1
        elif isinstance(event, StepCancelled | StepTimedOut) and event.error is None:
            course.left[step_id] = "cancelled" if isinstance(event, StepCancelled) else "timed_out"
        elif isinstance(event, AttemptEnded | StepSkipped) and event.attempt > 0:
            course.ended[step_id] = event.attempt
            if isinstance(event.error, SimulatedFailure | StepTimeoutError):
                told = (type(event.error).__name__, str(event.error))
                course.imposed[step_id, event.attempt] = told
    return course


def _group_end(event: GroupEnded | RunEnded) -> GroupEnd:
    if isinstance(event, GroupCancelled | RunCancelled):
        return GroupEnd("cancelled", left=True)
    if isinstance(event, GroupTimedOut):
        return GroupEnd("timed_out", left=event.error is None)
    late = isinstance(event, RunEnded) and isinstance(event.error, RunTimeoutError)
    return GroupEnd("timed_out" if late else "", left=False)
