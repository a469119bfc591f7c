"""Where a run's time went: which chain of steps it could not have been faster than."""

from __future__ import annotations

from typing import NamedTuple

from .nodes import DisplayNode, NodeKind, RunState


class Timed(NamedTuple):
    """A step and its seconds."""

    name: str
    seconds: float


def inner_seconds(run: RunState) -> dict[DisplayNode, float]:
    """How long each step was in groups below it."""
    inner: dict[DisplayNode, float] = {}
    for node in run.nodes.values():
        above = node.parent
        if above is not None and above.is_step:
            inner[above] = inner.get(above, 0.0) + node.span
    return inner


def critical_path(run: RunState) -> list[Timed]:
    """The chain of steps that took longest: of a parallel group, its longest branch."""
    longest: dict[DisplayNode, float] = {}
    for node in reversed(run.nodes.values()):  # what is below a node was made after it
        below = [longest[child] for child in node.children.values()]
        inner = _of_branches(node, below)
        longest[node] = max(node.span, inner) if node.is_step else inner
    path: list[Timed] = []
    waiting = [run.root]
    while waiting:
        node = waiting.pop()
        children = node.ordered()
        if node.is_step:
            rest = longest[node] - sum(longest[child] for child in children)
            if node.began is not None:
                path.append(Timed(node.name, max(0.0, rest)))
        if node.kind is NodeKind.PARALLEL and children:
            children = [max(children, key=longest.__getitem__)]
        waiting.extend(reversed(children))
    return path


def _of_branches(node: DisplayNode, seconds: list[float]) -> float:
    if node.kind is NodeKind.PARALLEL:
        return max(seconds, default=0.0)
    return sum(seconds)
