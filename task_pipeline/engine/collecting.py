"""What a `Map` gives each branch to begin with, and what a group takes back of its branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..collectors import BranchEnd
from ..context import PipelineContext
from ..groups import Map
from ..plan import GroupNode, StepNode
from ..state.delta import DELETED, Delta
from ..state.fork import MISSING, Fork, ForkPoint
from ..state.merge import Branch
from ..state.resident import fetched
from ..state.results import NO_RULE
from .step import ActiveGroup


def start_with(fork: Fork, context: PipelineContext[Any], written: Map, item: Any) -> None:
    """Give a branch of a `Map` its item."""
    # Into the storage itself: it is part of what the branch starts from.
    for key, value in item.items() if written.spreads else ((written.item_key, item),):
        fork.apart = (*fork.apart, f"results[{key!r}]")
        dict.__setitem__(context.results, key, value)


def branch_ends(group: ActiveGroup, branches: Sequence[Branch]) -> list[BranchEnd]:
    """How each branch of a group has ended, in the order written, and what it has set."""
    deltas = [branch.delta for branch in branches] or [None] * len(group.children)
    ends = []
    for index, (child, state, delta) in enumerate(
        zip(group.children, group.branches or [None] * len(group.children), deltas, strict=True)
    ):
        changed = {} if delta is None else delta.results
        ends.append(
            BranchEnd(
                index=index,
                name=child.name,
                outcome=None if state is None or state.was_left else state.outcome,
                error=None if state is None else state.error,
                results={
                    key: fetched(value) for key, value in changed.items() if value is not DELETED
                },
                item=group.items[index] if group.items else None,
                succeeded=state is not None and state.counts,
            )
        )
    return ends


def limited(branch: Branch, keys: frozenset[str]) -> Branch:
    """A branch of whose changes only these keys, and its errors, come back."""
    delta = branch.delta
    if delta is None:
        return branch
    kept = {key: value for key, value in delta.results.items() if key in keys}
    return Branch(branch.name, Delta(kept, errors=delta.errors) if kept or delta.errors else None)


def result_key_of(node: GroupNode) -> str | None:
    """Under which key the branches of a `Map` have what is to be collected; None for nothing."""
    written = node.dynamic
    assert isinstance(written, Map)
    if written.result_key is not None:
        return written.result_key
    only = node.template.node if node.template is not None else None
    return only.result_key if isinstance(only, StepNode) and only.spec.is_function else None


def hide_keys(point: ForkPoint, node: GroupNode) -> None:
    """Have no branch of a `Map` start from what is to be its own: every value it has, it wrote."""
    assert isinstance(node.dynamic, Map)
    if node.dynamic.begins_anew:
        point.results, point.missing = {}, NO_RULE
        return
    hidden: tuple[str | None, ...] = (node.dynamic.item_key, result_key_of(node))
    if node.dynamic.spreads:
        hidden = node.dynamic.hides
    if any(key in point.results for key in hidden):  # in a dict of its own: others start from it
        point.results = {k: value for k, value in point.results.items() if k not in hidden}


def collect(group: ActiveGroup, branches: Sequence[Branch]) -> dict[str, Any]:
    """Take from the branches of a `Map` what is theirs alone, and put their results in a list."""
    node = group.node
    if not isinstance(node.dynamic, Map):
        return {}
    key = result_key_of(node)
    values: list[Any] = [MISSING] * len(group.children)
    for index, branch in enumerate(branches):
        if branch.delta is not None:
            branch.delta.results.pop(node.dynamic.item_key, None)
            values[index] = branch.delta.results.pop(key, MISSING)
            own = (node.dynamic.item_key, key)
            branch.delta.moved = tuple(name for name in branch.delta.moved if name not in own)
    if key is None:
        return {}
    if node.dynamic.result_key is None and values and all(value is MISSING for value in values):
        return {}  # a function that returns nothing has no results to collect
    # What is elsewhere is fetched: it can stand for itself only at the top level.
    return {
        key: [None if value is MISSING or value is DELETED else fetched(value) for value in values]
    }
