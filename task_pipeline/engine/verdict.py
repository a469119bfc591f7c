"""When a parallel group is decided, and how."""

from __future__ import annotations

from ..outcome import Outcome
from .states import GroupState


def verdict(group: GroupState) -> Outcome | None:
    """SUCCEEDED or FAILED once the group is decided and, unless it fails fast, complete."""
    ended, succeeded = group.ended, group.succeeded
    total = len(group.children) + group.more  # one that comes at least
    if ended == total:
        return Outcome.SUCCEEDED if succeeded >= group.needed else Outcome.FAILED
    if group.node.fails_fast:
        if succeeded >= group.needed:
            return Outcome.SUCCEEDED
        if total - (ended - succeeded) < group.needed:
            return Outcome.FAILED
    return None


def verdict_at_deadline(group: GroupState) -> Outcome:
    """How a group is judged on what has ended when its time is over."""
    if group.node.chooser is not None and group.span is None:
        return Outcome.TIMED_OUT  # what it is to run is not known: nothing can be enough
    return Outcome.SUCCEEDED if group.succeeded >= group.needed else Outcome.TIMED_OUT
