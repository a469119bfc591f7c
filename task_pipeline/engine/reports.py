"""What a run tells its observers, and its log, about each thing that happens. Under its lock."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from ..events import (
    AbandonedThreadEnded,
    GroupCancelled,
    GroupEnded,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    GroupTimedOut,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StepCancelled,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)
from ..outcome import Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from ..state.merge import Conflict
from .notes import Notes
from .step import ActiveGroup, ActiveStep

SEPARATOR = "=" * 60

_GROUP_ENDS: dict[Outcome, type[GroupEnded]] = {
    Outcome.SUCCEEDED: GroupSucceeded,
    Outcome.FAILED: GroupFailed,
    Outcome.TIMED_OUT: GroupTimedOut,
    Outcome.CANCELLED: GroupCancelled,
}
_RUN_ENDS: dict[Outcome, type[RunEnded]] = {
    Outcome.SUCCEEDED: RunSucceeded,
    Outcome.CANCELLED: RunCancelled,
}


def _since(step: ActiveStep, now: float) -> float:
    return 0.0 if step.started_at is None else now - step.started_at


def run_started(notes: Notes, plan: Plan, now: float) -> None:
    """The run began."""
    notes.event(RunStarted, plan.root, now)


def run_ended(
    notes: Notes,
    plan: Plan,
    outcome: Outcome | None,
    now: float,
    duration: float,
    error: BaseException | None,
) -> None:
    """The run ended."""
    kind = _RUN_ENDS.get(outcome or Outcome.FAILED, RunFailed)
    notes.event(kind, plan.root, now, duration=duration, error=error)


def group_started(notes: Notes, group: ActiveGroup) -> None:
    """A group began."""
    node: GroupNode = group.node
    if node.parent is None:
        return  # the run has said so
    parallel = node.kind is Kind.PARALLEL
    total = len(node.children)
    notes.event(GroupStarted, node, group.started_at, parallel=parallel, total=total)
    if parallel and notes.logs_info:
        if node.config.use_visual_separators:
            notes.log(logging.INFO, SEPARATOR)
        notes.log(logging.INFO, "parallel group %s started: %d branches", node.label, total)


def group_ended(
    notes: Notes, group: ActiveGroup, now: float, outcomes: Sequence[Outcome | None]
) -> None:
    """A group ended."""
    node: GroupNode = group.node
    outcome = group.outcome or Outcome.FAILED
    parallel = node.kind is Kind.PARALLEL
    duration = now - group.started_at
    if node.parent is not None:
        kind = _GROUP_ENDS[outcome]
        notes.event(kind, node, now, parallel=parallel, duration=duration, error=group.error)
    if parallel and notes.logs_info:
        count = Counter(outcomes)
        notes.log(
            logging.INFO,
            "parallel group %s %s: %d steps, %d succeeded, %d failed, %.3f s",
            *(node.label, outcome, len(outcomes), count[Outcome.SUCCEEDED]),
            *(count[Outcome.FAILED] + count[Outcome.TIMED_OUT], duration),
        )
        if node.config.use_visual_separators:
            notes.log(logging.INFO, SEPARATOR)


def step_started(notes: Notes, step: ActiveStep, now: float) -> None:
    """An attempt began."""
    notes.event(StepStarted, step.node, now, attempt=step.attempt)
    if notes.logs_debug:
        notes.log(logging.DEBUG, "step %s started, attempt %d", step.node.label, step.attempt)


def attempt_ended(
    notes: Notes, step: ActiveStep, error: BaseException | None, retry: float | None, now: float
) -> None:
    """An attempt ended by itself; with `retry` seconds another follows."""
    node = step.node
    attempt, duration = step.attempt, _since(step, now)
    if error is None:
        notes.event(StepSucceeded, node, now, attempt=attempt, duration=duration)
        if notes.logs_debug:
            notes.log(logging.DEBUG, "step %s succeeded in %.3f s", node.label, duration)
    elif retry is None:
        notes.event(StepFailed, node, now, attempt=attempt, duration=duration, error=error)
        notes.log(logging.DEBUG, "step %s failed: %r", node.label, error)
    else:
        facts = {"attempt": attempt, "duration": duration, "error": error, "delay": retry}
        notes.event(StepRetrying, node, now, **facts)
        notes.log(
            logging.WARNING,
            "step %s failed in attempt %d with %r; again in %.3g s",
            *(node.label, attempt, error, retry),
        )


def attempt_timed_out(notes: Notes, step: ActiveStep, error: BaseException, now: float) -> None:
    """An attempt passed its deadline."""
    duration = _since(step, now)
    notes.event(StepTimedOut, step.node, now, attempt=step.attempt, duration=duration, error=error)


def step_left(notes: Notes, step: ActiveStep, now: float, is_in_attempt: bool) -> None:
    """A step was ended by what is around it, in an attempt or between two."""
    kind = StepTimedOut if step.outcome is Outcome.TIMED_OUT else StepCancelled
    attempt = step.attempt if is_in_attempt else 0
    duration = _since(step, now) if is_in_attempt else 0.0
    notes.event(kind, step.node, now, attempt=attempt, duration=duration)


def step_settled(notes: Notes, node: StepNode, outcome: Outcome, now: float) -> None:
    """A step will not run."""
    if outcome is Outcome.SKIPPED:
        notes.event(StepSkipped, node, now, attempt=0)
    else:
        notes.event(StepCancelled, node, now, attempt=0, duration=0.0)


def abandoned(notes: Notes, step: ActiveStep) -> None:
    """A thread was left inside a step."""
    notes.log(
        logging.WARNING,
        "step %s was left while its thread is inside it; what it still does is dropped",
        step.node.label,
    )


def abandoned_ended(notes: Notes, step: ActiveStep, now: float) -> None:
    """A thread that was left has come to its end."""
    notes.event(AbandonedThreadEnded, step.node, now, attempt=step.attempt)


def conflicts(notes: Notes, node: GroupNode, found: Sequence[Conflict]) -> None:
    """Branches disagreed on keys."""
    for conflict in found:
        notes.log(
            logging.WARNING,
            "group %s: key %r was changed by the branches %s in ways that do not merge; "
            "the value of %r was taken",
            *(node.label, conflict.key, ", ".join(map(repr, conflict.branches)), conflict.winner),
        )
