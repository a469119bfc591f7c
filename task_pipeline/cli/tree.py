"""The tree of a run: its plan, and what stands in the journal of each node."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..journal.comparison import path_order
from ..journal.records import INTERRUPTED, RUNNING, SUCCEEDED
from .nodes import TreeNode
from .outlines import Outline, join_in
from .settling import state_in, state_of_children, tell_idle

if TYPE_CHECKING:
    from ..journal.records import GroupRecord, RunRecord, StepRecord


def build_tree(
    run: RunRecord, steps: Iterable[StepRecord], groups: Iterable[GroupRecord], now: float
) -> TreeNode:
    """The tree of a run, as it stood at a time (seconds since the epoch).

    Nodes are those of the plan, and those that rows are about that still count. Raises
    `JournalDataError` if the plan is not one.
    """
    outline = Outline(run.plan, run.run_id)
    nodes = {path: TreeNode(path) for path in ["", *outline.nodes]}
    history: dict[str, list[StepRecord]] = {}
    for record in steps:
        history.setdefault(record.path, []).append(record)
        if not record.superseded:
            _at(nodes, record.path)
    for group in sorted(groups, key=lambda row: row.round):
        if not group.superseded:
            node = _at(nodes, group.path)
            if group.kind == "group":
                node.group = group
            else:
                node.choices.append(group)
    _tie(nodes)
    for path, node in nodes.items():
        node.attempts = sorted(history.get(path, ()), key=lambda record: record.attempt)
        counting = [record for record in node.attempts if not record.superseded]
        node.current = counting[-1] if counting else None
        node.entry = outline.at(path)
    root = nodes[""]
    everything = list(root.walk())
    for node in reversed(everything):
        _name(node, outline)
        _time(node, run, now)
    root.name, root.state = run.name, run.state
    root.started_at, root.ended_at = run.started_at, run.ended_at
    root.duration = time_of_run(run, now)
    for node in everything:
        tell_idle(node)
    return root


def time_of_run(run: RunRecord, now: float) -> float | None:
    """Seconds from its start to its end, or until now if it is under way."""
    return time_between(run.started_at, now if run.is_live else run.ended_at)


def time_between(start: float | None, end: float | None) -> float | None:
    """Seconds from one to the other; None if one of them is not known."""
    if start is None or end is None:
        return None
    seconds = end - start
    return seconds if math.isfinite(seconds) else None


def _at(nodes: dict[str, TreeNode], path: str) -> TreeNode:
    found = nodes.get(path)
    if found is None:
        found = nodes[path] = TreeNode(path)
    return found


def _tie(nodes: dict[str, TreeNode]) -> None:
    """Give each node its children, and those in between that nothing is known of."""
    for path in list(nodes):
        while path:
            path = path.rpartition(".")[0]  # noqa: PLW2901  # the way up
            if path in nodes:
                break
            _at(nodes, path)
    for path in sorted(filter(None, nodes), key=path_order):
        nodes[path.rpartition(".")[0]].children.append(nodes[path])


def _name(node: TreeNode, outline: Outline) -> None:
    if node.current is not None:
        node.name = node.current.step_id
    elif node.group is not None:
        node.name = node.group.name
    elif node.choices:
        node.name = node.choices[-1].name
    else:
        node.name = outline.name_at(node.path)
    if node.entry is not None:
        node.join = join_in(node.entry, len(node.children))


def _time(node: TreeNode, run: RunRecord, now: float) -> None:
    """Settle how a node stands, and since when; those below it are settled."""
    if node.current is not None:
        node.state = state_in(node.current.status, run)
        node.ended_at = node.current.ended_at
        began = [record.started_at for record in _latest_turn(node.attempts)]
        node.started_at = min((at for at in began if at is not None), default=None)
        spent = [_spent(record, run, now) for record in node.attempts if record.attempt > 0]
        known = [seconds for seconds in spent if seconds is not None]
        node.duration = sum(known) if known else None
        return
    if node.group is not None:
        node.state = state_in(node.group.status, run)
        node.started_at, node.ended_at = node.group.started_at, node.group.ended_at
    else:
        node.state = state_of_children(node, run)
        parts: list[GroupRecord | TreeNode] = [*node.choices]
        parts += [child for child in node.children if child.started_at is not None]
        starts = [part.started_at for part in parts if part.started_at is not None]
        node.started_at = min(starts, default=None)
        ends = [part.ended_at for part in parts]
        known = [end for end in ends if end is not None]
        is_over = node.state not in (RUNNING, INTERRUPTED) and len(known) == len(ends)
        node.ended_at = max(known, default=None) if is_over else None
    goes_on = run.is_live and node.state == RUNNING
    end = now if node.ended_at is None and goes_on else node.ended_at
    node.duration = time_between(node.started_at, end)


def _latest_turn(attempts: list[StepRecord]) -> list[StepRecord]:
    """Those since a resume has set one aside that had succeeded: what follows is another turn."""
    for number, record in reversed(list(enumerate(attempts))):
        if record.superseded and record.status == SUCCEEDED:
            return attempts[number + 1 :]
    return attempts


def _spent(record: StepRecord, run: RunRecord, now: float) -> float | None:
    if record.duration is not None:
        return record.duration if math.isfinite(record.duration) else None
    goes_on = run.is_live and record.status == RUNNING and not record.superseded
    end = now if record.ended_at is None and goes_on else record.ended_at
    return time_between(record.started_at, end)
