"""How the groups of a tree stand that have no row of their own: what is in them says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..journal.records import INTERRUPTED, RUNNING, SUCCEEDED
from .choosing import decision_of
from .nodes import NOT_RUN, PENDING, SKIPPED, TreeNode
from .outlines import is_idle

if TYPE_CHECKING:
    from ..journal.records import RunRecord


def state_in(status: str, run: RunRecord) -> str:
    """What runs in a run that nobody works at was interrupted."""
    return INTERRUPTED if status == RUNNING and not run.is_live else status


def state_of_children(node: TreeNode, run: RunRecord) -> str:
    """What the choices and steps come to of a group without a row; "" if that is not clear."""
    if node.failed_to_choose:
        return node.choices[-1].status
    parts, is_all = _to_come_through(node)
    begun = [part for part in parts if part.has_begun]
    if not begun and not node.choices:
        return PENDING if run.status == RUNNING else NOT_RUN
    if not node.choices and all(part.started_at is None for part in begun):
        parts, is_all = begun, True  # it was never reached: what has no row never has one
    states = {part.state for part in parts}
    if not states.isdisjoint({RUNNING, INTERRUPTED}) or _is_to_be_joined(node, run):
        return state_in(RUNNING, run)
    bad = [part.state for part in begun if _fails(part)]
    goes_on = (node.entry or {}).get("goes_on")
    if bad and not goes_on:
        return bad[0]
    if run.status == RUNNING and (PENDING in states or not is_all):
        return state_in(RUNNING, run)
    if bad:  # of those that go on after a failure, nobody has written down how they end
        return ""
    counting = [part.state for part in begun if _is_critical(part)] or [p.state for p in begun]
    if not node.choices and set(counting) == {SKIPPED}:
        return SKIPPED
    if (NOT_RUN in states or not is_all) and not _has_stopped(node):
        return ""  # it was ended by what is around it
    return SUCCEEDED


def _to_come_through(node: TreeNode) -> tuple[list[TreeNode], bool]:
    """The children that a group has to come through, and whether there are no others.

    One that has nothing to do is not among them: nothing says whether it was done.
    """
    entry, kind = node.entry or {}, node.kind
    by_index = {child.index: child for child in node.children}
    if kind is None:
        children = entry.get("children", ())
        idle = {str(index) for index, child in enumerate(children) if is_idle(child)}
        parts = [child for index, child in by_index.items() if index not in idle]
        return parts, len(parts) >= len(children) - len(idle)
    if not node.choices:
        return node.children, True
    last = node.choices[-1]
    if kind == "Branch":
        ways, way = entry.get("children", ()), decision_of(last)
        if way is None or way >= len(ways):
            return [], True
        parts = [by_index[str(way)]] if str(way) in by_index else []
        if is_idle(ways[way]):
            return [], True
        return parts, bool(parts)
    if kind == "Loop" and decision_of(last):
        has_begun = str(last.round) in by_index or is_idle(entry.get("each", entry))
        return node.children, has_begun and last.round + 1 == entry["dynamic"].get("times")
    return node.children, kind == "Loop"


def tell_idle(node: TreeNode) -> None:
    """Settle how those children stand that leave no row: done, if the group has come past them."""
    entry = node.entry or {}
    if not any(_leaves_nothing(child) for child in node.children):
        return
    if node.kind is not None:
        way = decision_of(node.choices[-1]) if node.kind == "Branch" and node.choices else None
        done = [child for child in node.children if child.index == str(way)]
    else:
        done = _come_past(node, entry)
    for child in done:
        if _leaves_nothing(child) and not child.has_begun:
            child.state = SUCCEEDED


def _leaves_nothing(node: TreeNode) -> bool:
    return node.entry is not None and is_idle(node.entry)


def _come_past(node: TreeNode, entry: dict[str, Any]) -> list[TreeNode]:
    """Children that a group has come past; of a parallel one that does without some, none."""
    if entry.get("group") != "serial":
        needs_all = node.state == SUCCEEDED and entry.get("operator") == "AND"
        return node.children if needs_all else []
    if node.state == SUCCEEDED and (is_idle(entry) or not _has_stopped(node)):
        return node.children
    begun = [number for number, child in enumerate(node.children) if child.started_at is not None]
    return node.children[: max(begun, default=0)]


def _is_to_be_joined(node: TreeNode, run: RunRecord) -> bool:
    """Whether it is a parallel group that has begun: once it ends, it has a row that says so."""
    is_parallel = (node.entry or {}).get("group") == "parallel"
    has_begun = bool(node.choices) or any(child.started_at is not None for child in node.children)
    return is_parallel and has_begun and run.status == RUNNING


def _is_critical(part: TreeNode) -> bool:
    return (part.entry or {}).get("critical") is not False


def _fails(part: TreeNode) -> bool:
    """Whether the series that it is in does not go on after it."""
    if part.state in (SUCCEEDED, SKIPPED):
        return False
    if part.current is None:
        return _is_critical(part) or part.state == "cancelled"
    # What is ended by something around it has no error of its own.
    was_left = part.state in ("cancelled", "timed_out") and part.current.error_type is None
    return _is_critical(part) or was_left


def _has_stopped(node: TreeNode) -> bool:
    """Whether the run was ended by what is in it, and well."""
    return any(
        (part.current is not None and part.current.stops)
        or any(choice.closed_by == "stop" for choice in part.choices)
        for part in node.walk()
    )
