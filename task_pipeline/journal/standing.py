"""Where a step stands among the branches of parallel groups."""

from __future__ import annotations

from typing import NamedTuple

from ..config import LogicOperator
from ..plan import GroupNode, Kind, Node, StepNode

_POLICIES = {LogicOperator.AND: "all", LogicOperator.OR: "any", LogicOperator.QUORUM: "n_of_m"}


class Place(NamedTuple):
    """What a row says of where a step stands; see `StepRecord`."""

    parent_step_id: str | None
    branch_name: str | None
    join_policy: str | None
    join_needed: int | None
    parallel_index: int | None
    map_key: str | None


_NOWHERE = Place(None, None, None, None, None, None)


def place_of(node: StepNode) -> Place:
    """Where a step stands in the nearest parallel group above it."""
    child: Node = node
    group = node.parent
    key = f"{group.suffix}[{node.index}]" if group.repeats and not node.chooses else group.suffix
    map_key = key[1:-1].replace("][", ".") or None
    above: GroupNode | None = group
    while above is not None and above.kind is not Kind.PARALLEL:
        child, above = above, above.parent
    if above is None:
        return _NOWHERE if map_key is None else _NOWHERE._replace(map_key=map_key)
    operator = above.config.operator
    needed = above.config.quorum if operator is LogicOperator.QUORUM else None
    return Place(above.name, child.name, _POLICIES[operator], needed, child.index, map_key)
