"""What a condition consists of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text, true, false or null."""

    value: object
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name with what follows it: `data.items[0]`."""

    path: tuple[str | int, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{{ }}` or `{% %}` in it. One in quotes is always text."""

    text: str
    quoted: bool
    at: int


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}`, as it is written."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class QuotedReferences:
    """A text in quotes with references in it."""

    pieces: tuple[str | Reference, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Several:
    """Parts that make a list ("list"), or of which "all" or "any" must hold."""

    kind: str
    parts: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part."""

    part: Node
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and one of `OPERATORS`."""

    operator: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """One of `FUNCTIONS`, with its arguments."""

    function: str
    arguments: tuple[Node, ...]
    at: int


Node: TypeAlias = (
    Constant | Name | Template | Reference | QuotedReferences | Several | Not | Comparison | Call
)

OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "contains", "in")

FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "len": (1, 1),
    "file_exists": (1, 1),
    "all_files_exist": (1, None),
    "file_is_newer": (2, 2),
}
"""How many arguments each takes: at least, and at most."""


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order written."""
    yield node
    below: tuple[object, ...] = ()
    if isinstance(node, Several):
        below = node.parts
    elif isinstance(node, Not):
        below = (node.part,)
    elif isinstance(node, Comparison):
        below = (node.left, node.right)
    elif isinstance(node, Call):
        below = node.arguments
    elif isinstance(node, QuotedReferences):
        below = tuple(piece for piece in node.pieces if not isinstance(piece, str))
    for part in below:
        yield from walk(part)  # type: ignore[arg-type]  # all of them are nodes
