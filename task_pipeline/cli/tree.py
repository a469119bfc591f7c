"""The tree of a run: its plan, and what stands in the journal of each node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..journal.comparison import path_order
from ..journal.records import INTERRUPTED, RUNNING, SUCCEEDED
from .outlines import Outline, join_in, name_in

if TYPE_CHECKING:
    from ..journal.records import GroupRecord, RunRecord, StepRecord

PENDING = "pending"
"""What has not begun, in a run that has not ended."""
NOT_RUN = "not run"
"""What never began, in a run that has ended."""


@dataclass(slots=True)
class TreeNode:
    """A step with its attempts, or a group, or a step that has opened groups of its own.

    `attempts`: all of them, also those from before a resume; `current`: the one that counts.
    `join` says of a parallel group how many of its branches had to succeed.
    """

    path: str
    name: str = ""
    entry: dict[str, Any] | None = None
    attempts: list[StepRecord] = field(default_factory=list)
    current: StepRecord | None = None
    group: GroupRecord | None = None
    children: list[TreeNode] = field(default_factory=list)
    join: str = ""
    state: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None

    @property
    def is_step(self) -> bool:
        """Whether it is one; else it is a group."""
        return bool(self.attempts) or (self.entry is not None and "step" in self.entry)

    @property
    def tries(self) -> int:
        """How often it was begun."""
        return sum(record.attempt > 0 for record in self.attempts)

    @property
    def error(self) -> tuple[str | None, str | None]:
        """Type and text of what it ended with."""
        last = self.current
        return (None, None) if last is None else (last.error_type, last.error_text)

    def walk(self) -> Iterator[TreeNode]:
        """It and all below, in the order of their paths."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


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
    for group in groups:
        if group.kind == "group" and not group.superseded:
            node = _at(nodes, group.path)
            if node.group is None or group.round >= node.group.round:
                node.group = group
    _tie(nodes)
    for path, node in nodes.items():
        node.attempts = sorted(history.get(path, ()), key=lambda record: record.attempt)
        counting = [record for record in node.attempts if not record.superseded]
        node.current = counting[-1] if counting else None
        node.entry = outline.at(path)
    root = nodes[""]
    for node in reversed(list(root.walk())):
        _name(node)
        _time(node, run, now)
    root.name, root.state = run.name, run.state
    root.started_at, root.ended_at = run.started_at, run.ended_at
    root.duration = time_of_run(run, now)
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


def _name(node: TreeNode) -> None:
    if node.current is not None:
        node.name = node.current.step_id
    elif node.group is not None:
        node.name = node.group.name
    elif node.entry is not None:
        node.name = name_in(node.entry)
    if node.entry is not None:
        node.join = join_in(node.entry, len(node.children))


def _time(node: TreeNode, run: RunRecord, now: float) -> None:
    """Settle how a node stands, and since when; those below it are settled."""
    if node.current is not None:
        node.state = _state(node.current.status, run)
        node.ended_at = node.current.ended_at
        began = [record.started_at for record in _latest_turn(node.attempts)]
        node.started_at = min((at for at in began if at is not None), default=None)
        spent = [_spent(record, run, now) for record in node.attempts if record.attempt > 0]
        known = [seconds for seconds in spent if seconds is not None]
        node.duration = sum(known) if known else None
        return
    starts = [child.started_at for child in node.children if child.started_at is not None]
    if node.group is not None:
        node.state = _state(node.group.status, run)
        node.started_at, node.ended_at = node.group.started_at, node.group.ended_at
    else:
        node.state = _state_of_children(node, run)
        node.started_at = min(starts, default=None)
        ends = [child.ended_at for child in node.children if child.started_at is not None]
        known = [end for end in ends if end is not None]
        node.ended_at = max(known) if known and len(known) == len(ends) else None
    goes_on = run.is_live and node.state == RUNNING
    end = now if node.ended_at is None and goes_on else node.ended_at
    node.duration = time_between(node.started_at, end)


def _state_of_children(node: TreeNode, run: RunRecord) -> str:
    """What the steps in a group come to that has no row of its own; "" if that is not clear."""
    entry = node.entry or {}
    states = [
        child.state for child in node.children if (child.entry or {}).get("critical") is not False
    ]
    begun = [state for state in states if state not in (PENDING, NOT_RUN)]
    if not begun:
        return PENDING if run.status == RUNNING else NOT_RUN
    bad = [state for state in begun if state not in (SUCCEEDED, "skipped")]
    if RUNNING in bad or (run.status == RUNNING and PENDING in states and not bad):
        return _state(RUNNING, run)
    if bad:  # of those that go on after a failure, nobody has written down how they end
        return "" if entry.get("goes_on") else bad[0]
    return "skipped" if set(begun) == {"skipped"} else SUCCEEDED


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


def _state(status: str, run: RunRecord) -> str:
    """What runs in a run that nobody works at was interrupted."""
    return INTERRUPTED if status == RUNNING and not run.is_live else status
