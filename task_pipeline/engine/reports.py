"""What a run tells its observers, and its log, about each thing that happens. Under its lock."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from ..errors import MergeConflictError
from ..events import (
    AbandonedThreadEnded,
    CircuitEvent,
    GroupCancelled,
    GroupEnded,
    GroupExpanded,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    GroupTimedOut,
    MergeConflictFound,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StepAbandoned,
    StepCancelled,
    StepFailed,
    StepProgressed,
    StepRecovered,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)
from ..outcome import Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from ..state.merge import Merged
from .clock import Clock
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
    if notes.feed.active and not plan.root.prefix:
        total = sum(not node.chooses for node in plan.steps)
        notes.feed.tell(RunStarted, plan.root, now, more={"total": total})


def run_ended(
    notes: Notes,
    plan: Plan,
    outcome: Outcome | None,
    now: float,
    duration: float,
    error: BaseException | None,
) -> None:
    """The run ended."""
    if notes.feed.active and not plan.root.prefix:
        kind = _RUN_ENDS.get(outcome or Outcome.FAILED, RunFailed)
        notes.feed.tell(kind, plan.root, now, 0, duration, error)


def group_started(notes: Notes, group: ActiveGroup) -> None:
    """A group began."""
    node: GroupNode = group.node
    if node.parent is None and not node.prefix:
        return  # the run has said so
    parallel = node.kind is Kind.PARALLEL
    total = len(node.children)
    if notes.feed.active:
        more = {"parallel": parallel, "total": total}
        notes.feed.tell(GroupStarted, node, group.started_at, more=more)
    if parallel and notes.logs_info:
        if node.config.use_visual_separators:
            notes.log(logging.INFO, SEPARATOR)
        notes.log(logging.INFO, "parallel group %s started: %d branches", node.label, total)


def group_expanded(notes: Notes, node: GroupNode, total: int, now: float) -> None:
    """A group whose children come while it runs was given them."""
    if notes.feed.active:
        more = {"parallel": node.kind is Kind.PARALLEL, "total": total}
        notes.feed.tell(GroupExpanded, node, now, more=more)


def group_ended(
    notes: Notes, group: ActiveGroup, now: float, outcomes: Sequence[Outcome | None]
) -> None:
    """A group ended."""
    node: GroupNode = group.node
    outcome = group.outcome or Outcome.FAILED
    parallel = node.kind is Kind.PARALLEL
    duration = now - group.started_at
    if (node.parent is not None or node.prefix) and notes.feed.active:
        more = {"parallel": parallel, "total": group.total()}
        notes.feed.tell(_GROUP_ENDS[outcome], node, now, 0, duration, group.error, more)
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
    if notes.feed.active:
        notes.feed.tell(StepStarted, step.node, now, step.attempt)
    if notes.logs_debug:
        notes.log(logging.DEBUG, "step %s started, attempt %d", step.node.label, step.attempt)


def step_recovered(
    notes: Notes, step: ActiveStep, outcome: Outcome, now: float, duration: float
) -> None:
    """A step has ended in an earlier part of the run."""
    if notes.feed.active:
        more = {"outcome": outcome.value}
        notes.feed.tell(StepRecovered, step.node, now, step.attempt, duration, step.error, more)
    if notes.logs_debug:
        notes.log(logging.DEBUG, "step %s was recovered: %s", step.node.label, outcome)


def step_progressed(notes: Notes, step: ActiveStep, percent: float, now: float) -> None:
    """A step said how far it is."""
    notes.feed.tell(StepProgressed, step.node, now, step.attempt, more={"percent": percent})


def attempt_ended(
    notes: Notes, step: ActiveStep, error: BaseException | None, retry: float | None, now: float
) -> None:
    """An attempt ended by itself; with `retry` seconds another follows."""
    node, feed = step.node, notes.feed
    attempt, duration = step.attempt, _since(step, now)
    if error is None:
        if feed.active:
            feed.tell(StepSucceeded, node, now, attempt, duration)
        if notes.logs_debug:
            notes.log(logging.DEBUG, "step %s succeeded in %.3f s", node.label, duration)
    elif retry is None:
        if feed.active:
            feed.tell(StepFailed, node, now, attempt, duration, error)
        notes.log(logging.DEBUG, "step %s failed: %r", node.label, error)
    else:
        if feed.active:
            feed.tell(StepRetrying, node, now, attempt, duration, error, {"delay": retry})
        notes.log(
            logging.WARNING,
            "step %s failed in attempt %d with %r; again in %.3g s",
            *(node.label, attempt, error, retry),
        )


def attempt_timed_out(notes: Notes, step: ActiveStep, error: BaseException, now: float) -> None:
    """An attempt passed its deadline."""
    if notes.feed.active:
        duration = _since(step, now)
        notes.feed.tell(StepTimedOut, step.node, now, step.attempt, duration, error)


def step_left(notes: Notes, step: ActiveStep, now: float, is_in_attempt: bool) -> None:
    """A step was ended by what is around it, in an attempt or between two."""
    if notes.feed.active:
        kind = StepTimedOut if step.outcome is Outcome.TIMED_OUT else StepCancelled
        attempt = step.attempt if is_in_attempt else 0
        duration = _since(step, now) if is_in_attempt else 0.0
        notes.feed.tell(kind, step.node, now, attempt, duration)


def step_settled(
    notes: Notes, node: StepNode, outcome: Outcome, now: float, reason: str = ""
) -> None:
    """A step will not run."""
    if not notes.feed.active:
        return
    if outcome is Outcome.SKIPPED:
        notes.feed.tell(StepSkipped, node, now, more={"reason": reason})
    else:
        notes.feed.tell(StepCancelled, node, now, 0, 0.0)


def step_gave_up_turn(notes: Notes, step: ActiveStep, reason: str, now: float) -> None:
    """A step found that it has nothing to do."""
    if notes.feed.active:
        duration, more = _since(step, now), {"reason": reason}
        notes.feed.tell(StepSkipped, step.node, now, step.attempt, duration, more=more)
    notes.log(logging.DEBUG, "step %s was skipped: %s", step.node.label, reason)


def abandoned(notes: Notes, step: ActiveStep, now: float) -> None:
    """A thread or a coroutine was left inside a step."""
    if notes.feed.active and not step.node.chooses:
        notes.feed.tell(StepAbandoned, step.node, now, step.attempt)
    if step.call is not None:
        executor = step.node.executor
        ends = "ends it" if executor.capabilities.kills else "goes on with it for now"
        notes.log(
            logging.INFO if executor.capabilities.kills else logging.WARNING,
            "step %s was left while it runs; the executor %r %s, and what it does is dropped",
            *(step.node.label, executor.name, ends),
        )
    elif step.task is None:
        notes.log(
            logging.WARNING,
            "step %s was left while its thread is inside it; what it still does is dropped",
            step.node.label,
        )


def abandoned_ended(notes: Notes, step: ActiveStep, now: float) -> None:
    """A thread that was left has come to its end."""
    if notes.feed.active and not step.node.chooses:
        notes.feed.tell(AbandonedThreadEnded, step.node, now, step.attempt, _since(step, now))


def conflicts(notes: Notes, node: GroupNode, merged: Merged, clock: Clock) -> None:
    """Branches disagreed on keys."""
    for conflict in merged.conflicts:
        notes.log(
            logging.WARNING,
            "group %s: key %r was changed by the branches %s in ways that do not merge; "
            "the value of %r was taken",
            *(node.label, conflict.key, ", ".join(map(repr, conflict.branches)), conflict.winner),
        )
    if not notes.feed.active:
        return
    found: list[dict[str, object]] = [conflict._asdict() for conflict in merged.conflicts]
    error = merged.error
    if isinstance(error, MergeConflictError):
        found.append({"key": error.key, "branches": error.branches, "winner": None})
    for more in found:
        failed = error if more["winner"] is None else None
        notes.feed.tell(MergeConflictFound, node, clock.monotonic(), error=failed, more=more)


def circuit_changed(
    notes: Notes,
    step: ActiveStep,
    kind: type[CircuitEvent],
    now: float,
    *,
    circuit: str,
    failures: int = 0,
    retry_after: float | None = None,
) -> None:
    """A circuit breaker opened, half opened or closed, by what an attempt came to."""
    if notes.feed.active:
        more = {"circuit": circuit, "failures": failures, "retry_after": retry_after}
        notes.feed.tell(kind, step.node, now, step.attempt, more=more)
