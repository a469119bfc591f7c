"""What the lists say of limits and of verdicts, for whoever looks at a schedule."""

from __future__ import annotations

from collections.abc import Iterator

from task_pipeline import LogicOperator, Outcome
from task_pipeline.engine.states import GroupState
from task_pipeline.plan import GroupNode, Kind, Node


def ancestors(node: Node) -> Iterator[GroupNode]:
    group = node.parent
    while group is not None:
        yield group
        group = group.parent


def is_pipeline(node: GroupNode) -> bool:
    """Whether a group is a pipeline, with settings of its own."""
    return node.parent is None or node.scope is not node.parent.scope


def limit_of(node: GroupNode) -> int | None:
    """How many steps a group or pipeline allows at once."""
    if node.kind is Kind.PARALLEL:
        return node.config.max_workers
    return node.scope.max_workers if is_pipeline(node) else None


def judged(group: GroupState) -> Outcome:
    """What becomes of a group whose deadline has passed."""
    if group.kind is Kind.SERIAL or (group.node.chooser is not None and group.span is None):
        return Outcome.TIMED_OUT
    config = group.node.config
    needed = {LogicOperator.AND: len(group.branches), LogicOperator.OR: 1}
    counts = sum(branch is not None and branch.counts for branch in group.branches)
    enough = counts >= needed.get(config.operator, config.quorum or 0)
    return Outcome.SUCCEEDED if enough else Outcome.TIMED_OUT
