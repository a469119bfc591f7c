"""A plan as a flowchart of Mermaid, which GitHub and many others draw in Markdown.

Groups are subgraphs, and arrows go from subgraph to subgraph.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable

from ..plan import Plan
from .figures import Figure, Shape, figure_of

# Nothing but letters, digits and signs inside of words is left as it is: an entity means nothing
# to Mermaid, to Markdown or to HTML. The last two are what Mermaid itself writes entities with.
_SPECIAL = re.compile(
    r"(?<=\w)(?:[-_./](?=\w)|,(?=[\w ]))|([!-/:-@\[-`{-~\ufb02\xb0\xb6\xdf])", re.ASCII
)
_MOST_INDENT = 20


def mermaid(plan: Plan) -> str:
    """The text of the flowchart."""
    root = figure_of(plan)
    ids = {figure: f"n{number}" for number, figure in enumerate(root.walk())}
    lines = ["---", f"title: {json.dumps(_title(root), ensure_ascii=False)}", "---", "flowchart TB"]
    todo: list[tuple[int, Figure | str]] = list(reversed(_inside(root, ids, 1)))
    if root.has_lanes or root.is_node:
        todo = [(1, root)]
    while todo:
        depth, item = todo.pop()
        indent = "  " * min(depth, _MOST_INDENT)
        if isinstance(item, str):
            lines.append(indent + item)
        elif item.is_node:
            opened, closed = ("[", "]") if item.shape is Shape.STEP else ("([", "])")
            lines.append(f"{indent}{ids[item]}{opened}{_quoted(item.heading)}{closed}")
        else:
            lines.append(f"{indent}subgraph {ids[item]}[{_quoted(item.heading)}]")
            todo.append((depth, "end"))
            todo.extend(reversed(_inside(item, ids, depth + 1)))
    lines += [
        f"  style {ids[figure]} stroke-dasharray: 5 5"
        for figure in root.walk()
        if figure.shape in (Shape.EACH, Shape.LOOP) and not figure.is_node
    ]
    return "\n".join(lines) + "\n"


def _inside(figure: Figure, ids: dict[Figure, str], depth: int) -> list[tuple[int, Figure | str]]:
    """What stands in a group: its figures, and then the arrows between them."""
    found: list[Figure | str] = []
    arrows: list[str] = []
    asks = f"{ids[figure]}q"
    if figure.shape is Shape.CHOICE:
        found.append(f"{asks}{{{_quoted([figure.says])}}}")
        for child, lane in zip(figure.children, figure.lanes, strict=True):
            arrows.append(f"{asks} -->|{child.label}| {ids[lane[0]]}")
    for lane in figure.lanes if figure.has_lanes else [figure.line]:
        found += lane
        arrows += [f"{ids[first]} --> {ids[then]}" for first, then in itertools.pairwise(lane)]
        # An arrow from a subgraph to itself is more than Mermaid can draw.
        if figure.shape is Shape.LOOP and lane[0].is_node and lane[-1].is_node:
            arrows.append(f"{ids[lane[-1]]} -. again .-> {ids[lane[0]]}")
    return [(depth, item) for item in [*found, *arrows]]


def _title(root: Figure) -> str:
    return root.title + (f" ({', '.join(root.facts)})" if root.facts else "")


def _quoted(lines: Iterable[str]) -> str:
    return '"' + ("<br/>".join(_SPECIAL.sub(_entity, line) for line in lines) or " ") + '"'


def _entity(found: re.Match[str]) -> str:
    return f"#{ord(found[1])};" if found[1] else found[0]
