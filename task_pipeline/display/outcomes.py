"""Which event ends a step, a group or a run, and how."""

from __future__ import annotations

from typing import Final

from ..events import (
    Event,
    GroupCancelled,
    GroupFailed,
    GroupSucceeded,
    GroupTimedOut,
    RunCancelled,
    RunFailed,
    RunSucceeded,
    StepCancelled,
    StepFailed,
    StepRecovered,
    StepSkipped,
    StepSucceeded,
    StepTimedOut,
)
from ..outcome import Outcome

OUTCOME_OF: Final[dict[type[Event], Outcome]] = {
    StepSucceeded: Outcome.SUCCEEDED,
    StepFailed: Outcome.FAILED,
    StepTimedOut: Outcome.TIMED_OUT,
    StepCancelled: Outcome.CANCELLED,
    StepSkipped: Outcome.SKIPPED,
    GroupSucceeded: Outcome.SUCCEEDED,
    GroupFailed: Outcome.FAILED,
    GroupTimedOut: Outcome.TIMED_OUT,
    GroupCancelled: Outcome.CANCELLED,
    RunSucceeded: Outcome.SUCCEEDED,
    RunFailed: Outcome.FAILED,
    RunCancelled: Outcome.CANCELLED,
}
"""The outcome that an event of each class gives to what it is about; other events give none.

`StepRetrying` ends an attempt, but not its step.
"""

_BY_NAME: Final = {outcome.value: outcome for outcome in Outcome}


def outcome_of(event: Event) -> Outcome | None:
    """The outcome that an event gives to what it is about; a recovered step has the one of then."""
    if isinstance(event, StepRecovered):
        return _BY_NAME.get(event.outcome)
    return OUTCOME_OF.get(type(event))


BAD: Final = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
"""What counts as failed."""


def parent_path(path: str) -> str:
    """The path of what is around a path: "2.0" for "2.0.1", "" for "2"."""
    return path.rpartition(".")[0]


def index_in(path: str) -> int:
    """The last number of a path; 0 for what is none."""
    last = path.rpartition(".")[2]
    return int(last) if last.isdecimal() else 0
