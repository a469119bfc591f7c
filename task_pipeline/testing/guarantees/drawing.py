"""Pipelines drawn by chance."""

from __future__ import annotations

import random
from typing import Any

from ...config import ParallelConfig
from ...groups import Branch, Loop, Map, Parallel, Serial, TaskStep
from .sequential import DrawnStep, Edit, Node, Tree

KEYS = ("a", "b", "c", "d")
KINDS = ("put", "add", "append", "extend", "include", "exclude", "nest", "delete", "last", "item")
VALUES: tuple[Any, ...] = (0, 1, 2, -3, True, None, "s", "t", [], [1], {"x": 1}, {"x": {"y": [2]}})


def draw(chance: random.Random, depth: int = 4) -> Node:
    """A series of groups of groups."""
    return Node("serial", tuple(_drawn(chance, depth - 1, False) for _ in range(3)))


def _drawn(chance: random.Random, depth: int, in_map: bool) -> Tree:
    if depth == 0 or chance.random() < 0.2:
        kinds = (*KINDS, "item", "item", "item") if in_map else KINDS
        edits = [
            Edit(chance.choice(kinds), chance.choice(KEYS), chance.choice(VALUES))
            for _ in range(chance.randrange(1, 5))
        ]
        return DrawnStep(edits, chance.choice((0, 0, 0, 1, 2)), chance.choice((0, 0, 1)))
    kind = chance.choice(("serial", "parallel", "parallel", "parallel", "map", "branch", "loop"))
    count = {"map": 1, "loop": 1, "branch": 2}.get(kind, chance.randrange(4))
    in_map = in_map or kind == "map"
    children = tuple(_drawn(chance, depth - 1, in_map) for _ in range(count))
    given: Any = {
        "parallel": chance.choice(("first", "last")),
        "map": [chance.choice(VALUES) for _ in range(chance.randrange(4))],
        "branch": chance.choice(KEYS),
        "loop": chance.randrange(3),
    }.get(kind)
    return Node(kind, children, given)


def built(tree: Tree) -> TaskStep:
    """The same in the library's words."""
    if isinstance(tree, DrawnStep):
        return tree
    children = [built(child) for child in tree.children]
    if tree.kind == "parallel":
        return Parallel(children, config=ParallelConfig(on_conflict=tree.given))
    if tree.kind == "map":
        return Map(children[0], over=tree.given)
    if tree.kind == "branch":
        return Branch(tree.given, children[0], otherwise=children[1])
    if tree.kind == "loop":
        return Loop(children[0], times=tree.given)
    return Serial(children)
