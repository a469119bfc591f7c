"""What a document is made of, and how much of it there may be: the values that JSON knows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .problem_words import shown

Path: TypeAlias = tuple[str | int, ...]

Spot: TypeAlias = "int | tuple[int, dict[str, tuple[int, Spot]] | list[Spot]]"
"""Where a value begins in a text; with it, for an object where each key begins, and the
value's own spot, and for a list those of its items. Counted in characters, from 0."""

SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Limits:
    """How large a document may be; one that is larger is refused before it costs anything.

    - `size`: bytes of a file, or characters of a text
    - `depth`: lists and objects inside each other
    - `nodes`: values in all
    - `yaml_nodes`: the same for YAML, aliases counted as often as they are used; each costs
      fifty times what one in JSON costs
    - `aliases`: of YAML
    - `digits`: of one number
    """

    size: int = 10_000_000
    depth: int = 100
    nodes: int = 1_000_000
    yaml_nodes: int = 100_000
    aliases: int = 1_000
    digits: int = 1_000


DEFAULT = Limits()


class Mistake(NamedTuple):
    """What is wrong at one place of a text: `offset` counts its characters, from 0."""

    offset: int
    path: Path
    found: str
    hint: str = ""


class MistakesError(Exception):
    """A text cannot be read as a document; `mistakes` says why."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes


def too_deep(limits: Limits) -> str:
    """Says that values are nested too deep."""
    return f"nested more than {limits.depth} levels deep"


def too_many(most: int) -> str:
    """Says that there are too many values."""
    return f"more than {most:,} values, the most that a document may have"


def copied(given: Any, limits: Limits) -> tuple[Any, list[tuple[Path, str, str, bool]]]:
    """A copy of a dict or list in plain containers, and what in it no document could have."""
    return _Copying(limits).run(given)


class _Copying:
    """Copies without recursion: what is given may be nested deeper than the stack goes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.problems: list[tuple[Path, str, str, bool]] = []
        self.count = 0
        self.open: set[int] = set()

    def run(self, given: Any) -> tuple[Any, list[tuple[Path, str, str, bool]]]:
        top: list[Any] = []
        # Each entry is one container that is being copied: it stays until its items are done.
        self.waiting: list[tuple[Any, Any, Path, int]] = []
        self.place(given, (), top.append)
        return top[0] if top else None, self.problems

    def place(self, value: Any, path: Path, put: Any) -> None:
        raise NotImplementedError
