"""When a parallel group is decided, and how."""

from __future__ import annotations

from ..outcome import Outcome
from ..plan import GroupNode


def verdict(node: GroupNode, ended: int, succeeded: int) -> Outcome | None:
    """SUCCEEDED or FAILED once the group is decided and, unless it fails fast, complete."""
    total = len(node.children)
    if ended == total:
        return Outcome.SUCCEEDED if succeeded >= node.needed else Outcome.FAILED
    if node.fails_fast:
        if succeeded >= node.needed:
            return Outcome.SUCCEEDED
        if total - (ended - succeeded) < node.needed:
            return Outcome.FAILED
    return None


def verdict_at_deadline(node: GroupNode, succeeded: int) -> Outcome:
    """How a group is judged on what has ended when its time is over."""
    return Outcome.SUCCEEDED if succeeded >= node.needed else Outcome.TIMED_OUT
