"""Events in words."""

from __future__ import annotations

import re

from ..events import (
    AbandonedThreadEnded,
    AttemptEnded,
    CircuitEvent,
    Event,
    GroupEvent,
    GroupExpanded,
    GroupStarted,
    MergeConflictFound,
    RunEnded,
    RunStarted,
    StepAbandoned,
    StepProgressed,
    StepRecovered,
    StepRetrying,
    StepSkipped,
    StepStarted,
)
from ..outcome import Outcome
from .nodes import RunState
from .outcomes import outcome_of
from .summary import describe
from .text import counted, percent_text, seconds_text


def describe_event(event: Event, run: RunState | None) -> str:
    """What an event says, in words."""
    name = event.name
    if isinstance(event, RunStarted):
        return f"{name} started: {counted(event.total, 'step')}"
    if isinstance(event, RunEnded):
        return f"{name} {_ended(event)}"
    if isinstance(event, GroupEvent):
        return _describe_group(event, run)
    if isinstance(event, StepStarted):
        return f"{name} started" + (f", attempt {event.attempt}" if event.attempt > 1 else "")
    if isinstance(event, StepProgressed):
        return f"{name} {percent_text(event.percent)}"
    if isinstance(event, StepRetrying):
        why = describe(event.error) or "an error"
        return f"{name} failed in attempt {event.attempt} with {why}; again in " + seconds_text(
            event.delay
        )
    if isinstance(event, StepSkipped):
        return f"{name} skipped" + (f": {event.reason}" if event.reason else "")
    if isinstance(event, AttemptEnded):
        return f"{name} {_ended(event)}"
    if isinstance(event, StepRecovered):
        return f"{name} was recovered: {_ended(event)}"
    if isinstance(event, StepAbandoned):
        return f"{name} was left in the middle; what it still does is dropped"
    if isinstance(event, AbandonedThreadEnded):
        return f"{name}: the thread that was left in it has ended"
    if isinstance(event, MergeConflictFound):
        won = "an error" if event.winner is None else f"that of {event.winner} was taken"
        return f"{name}: {', '.join(event.branches)} disagree on {event.key!r}: {won}"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(event).__name__).lower()
    if isinstance(event, CircuitEvent):
        return f"{name}: {words}: {event.circuit}, {counted(event.failures, 'failure')}"
    return f"{name}: {words}"


def _ended(event: Event) -> str:
    outcome = outcome_of(event) or Outcome.FAILED
    told = outcome.value.replace("_", " ")
    if isinstance(event, AttemptEnded) and event.attempt == 0:
        told += " before it began"
    elif event.duration is not None:
        told += f" in {seconds_text(event.duration)}"
    return told + (f": {describe(event.error)}" if event.error is not None else "")


def _describe_group(event: GroupEvent, run: RunState | None) -> str:
    group = f"group {event.name}"
    if isinstance(event, GroupStarted):
        words = ("branch", "branches") if event.parallel else ("child", "children")
        return f"{group} started" + (f": {counted(event.total, *words)}" if event.total else "")
    if isinstance(event, GroupExpanded):
        return f"{group} now has {counted(event.total, 'child', 'children')}"
    node = None if run is None else run.nodes.get(event.path)
    tracker = None if node is None else node.tracker
    if tracker is None:
        return f"{group} {_ended(event)}"
    outcome = (outcome_of(event) or Outcome.FAILED).value.replace("_", " ")
    counts = [f"{tracker.completed} of {tracker.total} succeeded", f"{tracker.failed} failed"]
    rest = {"skipped": tracker.skipped, "cancelled": tracker.cancelled, "retried": tracker.retried}
    counts += [f"{number} {word}" for word, number in rest.items() if number]
    return f"{group} {outcome} in {seconds_text(tracker.elapsed_time)}: {', '.join(counts)}"
