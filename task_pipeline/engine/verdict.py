"""When a parallel group is decided, and how."""

from __future__ import annotations

from ..config import ErrorStrategy, LogicOperator, ParallelConfig
from ..outcome import Outcome


def needed(config: ParallelConfig, total: int) -> int:
    """How many branches must succeed."""
    if config.operator is LogicOperator.AND:
        return total
    return 1 if config.operator is LogicOperator.OR else config.quorum or total


def verdict(config: ParallelConfig, total: int, ended: int, succeeded: int) -> Outcome | None:
    """SUCCEEDED or FAILED once the group is decided and, unless it fails fast, complete."""
    enough = succeeded >= needed(config, total)
    if ended == total:
        return Outcome.SUCCEEDED if enough else Outcome.FAILED
    if config.error_strategy is ErrorStrategy.FAIL_FAST:
        if enough:
            return Outcome.SUCCEEDED
        # OR fails only when all have: then ended == total, and this line agrees.
        if total - (ended - succeeded) < needed(config, total):
            return Outcome.FAILED
    return None


def verdict_at_deadline(config: ParallelConfig, total: int, succeeded: int) -> Outcome:
    """How a group is judged on what has ended when its time is over."""
    enough = succeeded >= needed(config, total)
    return Outcome.SUCCEEDED if enough else Outcome.TIMED_OUT
