"""What there is to draw of a plan: a tree of figures, the same for every format.

All walks in this room are loops, so that nesting is as deep as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ..groups import Map
from ..plan import GroupNode, Node, Plan
from .wording import (
    asked_by,
    facts_of_group,
    facts_of_step,
    one_line,
    repeated_over,
    rounds_of,
    shape_of,
)


class Shape(StrEnum):
    """What a figure stands for."""

    STEP = "step"
    SERIES = "series"
    PARALLEL = "parallel"
    CHOICE = "choice"
    EACH = "each"
    LOOP = "loop"


@dataclass(slots=True, eq=False)
class Figure:
    """A step, or a group with what stands in it.

    - `name`: as the user has called it; "" for a list, which has no name
    - `path`: its index at each level, "*" for what an index is only known of in a run
    - `says`: what it does, such as "for each of pages"; "" if its shape says it all
    - `facts`: its settings in words
    - `label`: what is said of the way to it, in a choice
    """

    shape: Shape
    name: str
    path: str
    says: str = ""
    facts: list[str] = field(default_factory=list)
    label: str = ""
    children: list[Figure] = field(default_factory=list)

    @property
    def is_node(self) -> bool:
        """Whether nothing stands in it."""
        return not self.children

    @property
    def is_framed(self) -> bool:
        """Whether there is something to say of it that what stands in it does not say."""
        return self.shape is not Shape.SERIES or bool(self.name or self.facts)

    @property
    def title(self) -> str:
        """What stands over it."""
        return self.name or self.says or _TITLES[self.shape]

    @property
    def remarks(self) -> list[str]:
        """What else there is to say of it."""
        nothing = ["empty"] if self.is_node and self.shape is not Shape.STEP else []
        return [*([self.says] if self.says and self.name else []), *self.facts, *nothing]

    @property
    def heading(self) -> list[str]:
        """The lines that stand over a picture of it: its title, and what else there is to say."""
        remarks = self.remarks
        if self.shape is Shape.CHOICE and not self.is_node:  # the question is a part of the picture
            title = self.name
            remarks = [remark for remark in remarks if remark != self.says]
        else:
            title = self.title
        return [title, *([", ".join(remarks)] if remarks else [])]

    @property
    def line(self) -> list[Figure]:
        """What runs one after another in it; a list in a series without a frame is part of it."""
        found: list[Figure] = []
        stack = list(reversed(self.children))
        while stack:
            figure = stack.pop()
            if figure.is_node or figure.is_framed:
                found.append(figure)
            else:
                stack.extend(reversed(figure.children))
        return found

    @property
    def lanes(self) -> list[list[Figure]]:
        """What runs side by side in it, or is one of the ways on: each a line."""
        return [
            [child] if child.is_node or child.is_framed else child.line for child in self.children
        ]

    @property
    def has_lanes(self) -> bool:
        """Whether its children are ways beside each other, and not one line."""
        return self.shape in (Shape.PARALLEL, Shape.CHOICE)

    def walk(self) -> Iterator[Figure]:
        """It and all below, in the order written."""
        stack = [self]
        while stack:
            figure = stack.pop()
            yield figure
            stack.extend(reversed(figure.children))


_TITLES = {
    Shape.STEP: "step",
    Shape.SERIES: "series",
    Shape.PARALLEL: "parallel",
    Shape.CHOICE: "choice",
    Shape.EACH: "for each",
    Shape.LOOP: "loop",
}


def figure_of(plan: Plan) -> Figure:
    """The whole plan."""
    root = _figure(plan.root, "")
    root.name = root.name or "pipeline"
    stack: list[tuple[Node, Figure]] = [(plan.root, root)]
    while stack:
        node, figure = stack.pop()
        if not isinstance(node, GroupNode):
            continue
        inner: list[tuple[str, Node]] = [(str(child.index), child) for child in node.children]
        if node.template is not None:
            inner = [("*", node.template.node)]
        for index, child in inner:
            made = _figure(child, f"{figure.path}.{index}" if figure.path else index)
            if figure.shape is Shape.CHOICE:
                made.label = "else" if figure.children else "then"
            figure.children.append(made)
            stack.append((child, made))
    return root


def _figure(node: Node, path: str) -> Figure:
    if not isinstance(node, GroupNode):
        return Figure(Shape.STEP, one_line(node.name), path, facts=facts_of_step(node))
    shape = Shape(shape_of(node))
    name = "" if node.is_unnamed else one_line(node.name)
    says = ""
    if shape is Shape.CHOICE:
        says = f"if {asked_by(node)}"
    elif shape is Shape.EACH:
        is_call = isinstance(node.dynamic, Map) and node.dynamic.begins_anew  # of one item
        says = f"{'with' if is_call else 'for each of'} {repeated_over(node)}"
    elif shape is Shape.LOOP:
        says = rounds_of(node)
    return Figure(shape, name, path, says, facts_of_group(node))
