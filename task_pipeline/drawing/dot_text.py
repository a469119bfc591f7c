"""A plan in the language of Graphviz.

Groups are clusters; a parallel one begins and ends with a point that its branches hang on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from ..plan import Plan
from .figures import Figure, Shape, figure_of

_MOST_INDENT = 20
_HEAD = """\
  graph [fontname="Helvetica", fontsize=12, labelloc=t, style="rounded", color="#94a3b8"]
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", color="#64748b",
        fillcolor="#f8fafc"]
  edge [fontname="Helvetica", fontsize=10, color="#64748b", arrowsize=0.7]"""
_POINT = '[shape=point, width=0.08, label=""]'


def dot(plan: Plan) -> str:
    """The text of the digraph."""
    root = figure_of(plan)
    ids = {figure: f"n{number}" for number, figure in enumerate(root.walk())}
    lines = [f"digraph {_quoted([root.title])} {{", _HEAD, f"  label={_quoted(root.heading)}"]
    todo: list[tuple[int, Figure | str]] = list(reversed(_inside(root, ids, 1)))
    if root.is_node:
        todo = [(1, root)]
    while todo:
        depth, item = todo.pop()
        indent = "  " * min(depth, _MOST_INDENT)
        if isinstance(item, str):
            lines.append(indent + item)
        elif item.is_node:
            kind = "" if item.shape is Shape.STEP else ', style="rounded,dashed"'
            lines.append(f"{indent}{ids[item]} [label={_quoted(item.heading)}{kind}]")
        else:
            lines.append(f"{indent}subgraph cluster_{ids[item]} {{")
            dashes = item.shape in (Shape.EACH, Shape.LOOP)
            settings = f"label={_quoted(item.heading)}" + (
                '; style="rounded,dashed"' if dashes else ""
            )
            todo.append((depth, "}"))
            todo.extend(reversed(_inside(item, ids, depth + 1)))
            todo.append((depth + 1, settings))
    return "\n".join([*lines, "}"]) + "\n"


def _inside(figure: Figure, ids: dict[Figure, str], depth: int) -> list[tuple[int, Figure | str]]:
    """What stands in a group: its figures, and then the arrows between them."""
    found: list[Figure | str] = []
    arrows: list[str] = []
    name = ids[figure]
    if figure.is_node:
        return []
    lanes = figure.lanes if figure.has_lanes else [figure.line]
    if figure.has_lanes:
        asks = figure.shape is Shape.CHOICE
        question = f'[shape=diamond, style="filled", label={_quoted([figure.says])}]'
        found += [f"{name}_in {question if asks else _POINT}", f"{name}_out {_POINT}"]
        for child, lane in zip(figure.children, lanes, strict=True):
            label = f" [label={_quoted([child.label])}]" if child.label else ""
            arrows.append(f"{name}_in -> {_head(lane[0], ids)}{label}")
            arrows.append(f"{_tail(lane[-1], ids)} -> {name}_out [arrowhead=none]")
        if asks and len(lanes) == 1:
            arrows.append(f'{name}_in -> {name}_out [label="else", arrowhead=none]')
    for lane in lanes:
        found += lane
        arrows += [
            f"{_tail(first, ids)} -> {_head(then, ids)}" for first, then in itertools.pairwise(lane)
        ]
    if figure.shape is Shape.LOOP:
        back = f"{_tail(lanes[0][-1], ids)} -> {_head(lanes[0][0], ids)}"
        arrows.append(f'{back} [label="again", style=dashed, constraint=false]')
    return [(depth, item) for item in [*found, *arrows]]


def _head(figure: Figure, ids: dict[Figure, str]) -> str:
    """The node that arrows to a figure lead to."""
    while not figure.is_node and not figure.has_lanes:
        figure = figure.line[0]
    return ids[figure] if figure.is_node else f"{ids[figure]}_in"


def _tail(figure: Figure, ids: dict[Figure, str]) -> str:
    """The node that arrows from a figure begin at."""
    while not figure.is_node and not figure.has_lanes:
        figure = figure.line[-1]
    return ids[figure] if figure.is_node else f"{ids[figure]}_out"


def _quoted(lines: Iterable[str]) -> str:
    r"""A text in quotes; Graphviz reads `\` and entities in it."""
    shown = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(shown) + '"'
