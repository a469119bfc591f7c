"""A plan as a tree of lines, for a terminal."""

from __future__ import annotations

from ..plan import Plan
from .figures import Figure, Shape, figure_of

_UNICODE = ("├ ", "└ ", "│ ", "  ")
_ASCII = ("|-", "`-", "| ", "  ")
_MOST_GUIDE = 200  # columns; no terminal shows more, and nesting may be thousands deep


def tree(plan: Plan, is_ascii: bool = False) -> str:
    """One line for each step and group, tied to what it stands in."""
    branch, last, line, blank = _ASCII if is_ascii else _UNICODE
    lines: list[str] = []
    stack = [("", "", figure_of(plan))]
    while stack:
        tie, guide, figure = stack.pop()
        lines.append(tie + _words(figure))
        guide = guide[:_MOST_GUIDE]
        for child in reversed(figure.children):
            is_last = child is figure.children[-1]
            ties = (guide + last, guide + blank) if is_last else (guide + branch, guide + line)
            stack.append((*ties, child))
    return "\n".join(lines) + "\n"


def _words(figure: Figure) -> str:
    remarks = figure.remarks
    if figure.shape is Shape.PARALLEL and "parallel" not in figure.title:
        remarks = ["parallel", *remarks]
    label = f"{figure.label}: " if figure.label else ""
    return f"{label}{figure.title}" + (f" ({', '.join(remarks)})" if remarks else "")
