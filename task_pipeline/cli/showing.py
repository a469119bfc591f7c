"""`runs show`: one run, and the tree of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..display.text import Signs, counted
from ..journal.identity import described
from .nodes import TreeNode
from .output import Cell, Column, Output
from .times import duration_text, local_time
from .wording import error_text, state_cell

if TYPE_CHECKING:
    from ..journal.records import RunRecord

_COLUMNS = (
    Column("STEP", gives_way=True),
    Column("STATUS"),
    Column("ATTEMPTS", is_number=True),
    Column("DURATION", is_number=True),
    Column("PATH"),
    Column("ERROR", gives_way=True, is_optional=True),
)


def show_tree(output: Output, run: RunRecord, root: TreeNode) -> None:
    """Write what is known of a run, and a table with its steps as a tree."""
    show_head(output, run, root)
    rows = [_row(output, run, label, node) for label, node in labels(output, root)]
    output.table(_COLUMNS, rows)


def show_head(output: Output, run: RunRecord, root: TreeNode) -> None:
    """Write what is known of a run."""
    output.line(
        Cell(output.show(run.run_id), "bold"),
        f"  {output.show(run.name)}  ",
        state_cell(output, run.state),
    )
    facts = [f"started {local_time(run.started_at, output.is_terminal) or 'never'}"]
    if run.ended_at is not None:
        facts.append(f"ended {local_time(run.ended_at, output.is_terminal)}")
    if root.duration is not None:
        facts.append(f"took {duration_text(root.duration)}")
    if run.resumes:
        facts.append(f"resumed {counted(run.resumes, 'time')}")
    output.line("  " + ", ".join(facts))
    if run.tags:
        output.line("  tags " + output.show(", ".join(run.tags)))
    if run.worker:
        output.line(f"  worked on by {output.show(described(run.worker))}")
    error = error_text(output, run.error_type, run.error_text)
    if error:
        output.line("  ", Cell(error, "red"))
    output.line("")


def labels(output: Output, root: TreeNode) -> Iterator[tuple[str, TreeNode]]:
    """Each node with its name behind the lines that tie it to what it stands in."""
    signs = output.signs
    stack = [("", "", root)]
    while stack:
        tie, rest, node = stack.pop()
        name = output.show(node.name) or f"group {output.show(node.path)}"
        join = f" ({output.show(node.join)})" if node.join else ""
        yield tie + name + join, node
        last = node.children[-1] if node.children else None
        stack += [(*_ties(signs, rest, child is last), child) for child in reversed(node.children)]


def _ties(signs: Signs, before: str, is_last: bool) -> tuple[str, str]:
    if is_last:
        return before + signs.last, before + signs.blank
    return before + signs.branch, before + signs.line


def _row(output: Output, run: RunRecord, label: str, node: TreeNode) -> list[Cell | str]:
    return [
        label,
        state_cell(output, node.state),
        str(node.tries) if node.is_step else "",
        duration_text(node.duration),
        output.show(node.path),
        error_text(output, *node.error[:2]) if node.path else "",
    ]
