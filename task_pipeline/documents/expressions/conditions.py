"""Conditions and their values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import ConditionError, TaskPipelineError
from ..templating.template_values import to_text
from .comparing import Rendered, Unlike, compare, holds, is_list, kind_of, length
from .lexing import Style
from .parsing import parse_tree
from .tree import (
    Call,
    Comparison,
    Constant,
    Name,
    Node,
    Not,
    QuotedReferences,
    Reference,
    Several,
    Template,
    walk,
)


class Names(Protocol):
    """Where a condition gets its values. What these raise is raised as it is."""

    def value_of(self, path: tuple[str | int, ...]) -> Any:
        """The value of a name such as `data.items[0]`."""
        ...

    def template(self, text: str) -> Any:
        """A text with templates in it rendered; of one variable alone, its value."""
        ...

    def reference(self, text: str) -> Any:
        """The value of a `${reference}`, which is given with its `${` and `}`."""
        ...

    def file(self, path: str) -> Path:
        """The file at a path, if it may be looked at."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was parsed: it can be evaluated any number of times, in any thread."""

    text: str
    tree: Node

    def evaluate(self, names: Names) -> bool:
        """Whether it holds. Raises `ConditionError` where a value is of no use."""
        return _Evaluation(self.text, names).holds(self.tree)

    def references(self) -> list[str]:
        """Every `${...}` in it, as it is written, also those in quotes."""
        return [node.text for node in walk(self.tree) if isinstance(node, Reference)]

    def templates(self) -> list[str]:
        """Every text in it that is rendered; of one in quotes, all that stands between them."""
        return [node.text for node in walk(self.tree) if isinstance(node, Template)]


def parse(text: str, *, style: Style) -> Condition:
    """The condition that a text is. Raises `ConditionError`, with the column, if it is none.

    In "recipe" style `{{ templates }}` are operands, in "workflow" style `${references}`.
    """
    return Condition(text, parse_tree(text, style))


class _Evaluation:
    """One walk through a condition's tree."""

    __slots__ = ("names", "text")

    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names

    def holds(self, node: Node) -> bool:
        value = self.value(node)
        try:
            return holds(value)
        except Exception as error:  # a value's own __bool__ may raise anything
            raise self.wrong(node, f"{kind_of(value)} is neither true nor false") from error

    def value(self, node: Node) -> Any:
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Name):
            return self.names.value_of(node.path)
        if isinstance(node, Template):
            return self.rendered(node)
        if isinstance(node, Reference):
            return self.names.reference(node.text)
        if isinstance(node, QuotedReferences):
            return Rendered("".join(self.piece(piece) for piece in node.pieces))
        if isinstance(node, Not):
            return not self.holds(node.part)
        if isinstance(node, Comparison):
            return self.compared(node)
        if isinstance(node, Several):
            if node.kind == "list":
                return [self.value(part) for part in node.parts]
            return (all if node.kind == "all" else any)(map(self.holds, node.parts))
        return self.called(node)

    def rendered(self, node: Template) -> Any:
        value = self.names.template(node.text)
        if node.quoted or isinstance(value, str):
            return Rendered(to_text(value))
        return value

    def piece(self, piece: str | Reference) -> str:
        if isinstance(piece, str):
            return piece
        value = self.names.reference(piece.text)
        return "null" if value is None else to_text(value)

    def compared(self, node: Comparison) -> bool:
        left, right = self.value(node.left), self.value(node.right)
        try:
            return compare(node.operator, left, right)
        except Unlike as error:
            raise self.wrong(node, str(error)) from error
        except Exception as error:
            # A value's own comparison may raise anything, and lists may be endless.
            why = error if isinstance(error, TaskPipelineError) else type(error).__name__
            raise self.wrong(
                node, f"{kind_of(left)} and {kind_of(right)} cannot be compared: {why}"
            ) from error

    def called(self, node: Call) -> Any:
        values = [self.value(argument) for argument in node.arguments]
        if node.function == "len":
            try:
                return length(values[0])
            except Unlike as error:
                raise self.wrong(node, str(error)) from error
        if node.function == "file_exists":
            return self.exists(node, values[0])
        if node.function == "all_files_exist":
            return all(self.exists(node, path) for path in _items(values))
        changed = self.changed(node, values[0])
        target = self.changed(node, values[1])
        return changed is not None and (target is None or changed > target)

    def exists(self, node: Call, path: Any) -> bool:
        return self.changed(node, path) is not None

    def changed(self, node: Call, path: Any) -> int | None:
        """When a file was last changed, in nanoseconds; None for one that is not there."""
        if path is None or path == "":
            return None
        if not isinstance(path, str | os.PathLike):
            raise self.wrong(node, f"{node.function} needs a path in quotes, not {kind_of(path)}")
        try:
            return self.names.file(str(os.fspath(path))).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None
        except TaskPipelineError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self.wrong(node, f"{node.function} cannot look at a file: {reason}") from error

    def wrong(self, node: Node, message: str) -> ConditionError:
        return ConditionError(message, text=self.text, column=node.at + 1)


def _items(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if is_list(value):
            yield from value
        else:
            yield value
