"""What a document is made of, and how much of it there may be: the values that JSON knows."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ..mistakes.problem_words import Path, shown

Spot: TypeAlias = "int | tuple[int, dict[str, tuple[int, Spot]] | list[Spot]]"
"""Where a value begins in a text; with it, for an object where each key begins, and the
value's own spot, and for a list those of its items. Counted in characters, from 0."""

LINE_BREAK = re.compile(r"\r\n|\r|\n")
BITS_A_DIGIT = math.log2(10)


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
    digits: int = 4_300


DEFAULT = Limits()


class Mistake(NamedTuple):
    """What is wrong at one place of a text: `offset` counts its characters, from 0."""

    offset: int
    path: Path
    found: str
    hint: str = ""


MOST_MISTAKES = 1_000


class MistakesError(Exception):
    """A text cannot be read as a document; `mistakes` says why."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes


def too_deep(limits: Limits) -> str:
    """Says that values are nested too deep."""
    return f"nested more than {limits.depth} levels deep"


def too_long_a_number(limits: Limits) -> str:
    """Says that a number has too many digits."""
    return f"a number of more than {limits.digits:,} digits"


def is_writable(text: str) -> bool:
    """Whether a text can be written into a file: it has no half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def paired(text: str) -> str:
    """A text in which two halves of a surrogate pair are the character that they stand for."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def too_many(most: int) -> str:
    """Says that there are too many values."""
    return f"more than {most:,} values, the most that a document may have"


class Lines:
    """Where the lines of a text begin."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in LINE_BREAK.finditer(text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, as editors count them: from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class Oddity(NamedTuple):
    """What no document could have, in a dict or list that is taken for one."""

    path: Path
    found: str
    hint: str = ""
    of_key: bool = False


def offset_of(spot: Spot, path: Path, of_key: bool = False) -> int:
    """Where the value at a path begins, or its key, or the nearest thing around it."""
    key_offset: int | None = None
    for part in path:
        key_offset = None
        inner = None if isinstance(spot, int) else spot[1]
        if isinstance(inner, dict) and part in inner:
            key_offset, spot = inner[str(part)]
        elif isinstance(inner, list) and isinstance(part, int) and 0 <= part < len(inner):
            spot = inner[part]
        else:
            break
    if of_key and key_offset is not None:
        return key_offset
    return spot if isinstance(spot, int) else spot[0]


def copied(given: Any, limits: Limits = DEFAULT) -> tuple[Any, list[Oddity]]:
    """A copy of a dict or list in plain containers, and what in it no document could have."""
    copying = _Copying(limits)
    return copying.run(given), copying.oddities


@dataclass
class _Open:
    """A container that is being copied: what is left of it, and the key that is at hand."""

    identity: int
    left: Iterator[tuple[Any, Any]]
    copy: dict[str, Any] | list[Any]
    key: str | int = ""


class _Copying:
    """Copies without recursion: what is given may be nested deeper than the stack goes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.oddities: list[Oddity] = []
        self.count = 0
        self.stack: list[_Open] = []
        self.open: set[int] = set()

    def run(self, given: Any) -> Any:
        """The copy of what is given."""
        top = self.one(given)
        while self.stack and self.count <= self.limits.nodes:
            at = self.stack[-1]
            for key, value in at.left:
                at.key = key if isinstance(at.copy, list) else self.plain_key(key)
                copy = self.one(value)
                if isinstance(at.copy, list):
                    at.copy.append(copy)
                else:
                    at.copy[str(at.key)] = copy
                if self.stack[-1] is not at:
                    break
            else:
                self.open.discard(at.identity)
                self.stack.pop()
        if self.count > self.limits.nodes:
            self.oddities.append(Oddity((), too_many(self.limits.nodes)))
        return top

    def plain_key(self, key: Any) -> str:
        """A key as a plain text."""
        if isinstance(key, str):
            plain = str.__str__(key)
            if is_writable(plain):
                return plain
            found, hint = "a key with half of a surrogate pair", "no file can hold it"
        else:
            is_number = isinstance(key, int | float) and not isinstance(key, bool)
            plain = str(key) if is_number else shown(key)
            found = f"a key must be a text, not {shown(key)}"
            hint = f'write "{plain}"' if isinstance(key, int | float) else ""
        self.add(found, hint, plain)
        return plain

    def add(self, found: str, hint: str = "", key: str | None = None) -> None:
        """Note something odd about the value at hand, or about its key."""
        path = tuple(at.key for at in self.stack)
        self.oddities.append(
            Oddity(path, found, hint)
            if key is None
            else Oddity((*path[:-1], key), found, hint, of_key=True)
        )

    def one(self, value: Any) -> Any:
        """The copy of a value; of a container an empty one, which is filled later."""
        self.count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if not is_writable(value):
                self.add("a text with half of a surrogate pair", "no file can hold it")
            return str.__str__(value)
        if isinstance(value, int):
            if value.bit_length() > self.limits.digits * BITS_A_DIGIT:
                self.add(too_long_a_number(self.limits))
            return int.__int__(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                self.add(
                    f"{value!r} is not a number that JSON knows", "leave it out, or write null"
                )
            return float.__float__(value)
        if isinstance(value, Mapping):
            return self.begin(value, iter(value.items()), {})
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return self.begin(value, enumerate(value), [])
        self.add(
            f"{shown(value)} cannot stand in a document",
            "use texts, numbers, true, false, null, lists and dicts",
        )
        return None

    def begin(self, value: Any, left: Iterator[tuple[Any, Any]], copy: Any) -> Any:
        """Begin to copy a container, unless it stands in itself or too deep."""
        if id(value) in self.open:
            self.add("contains itself", "a document cannot")
        elif len(self.stack) >= self.limits.depth:
            self.add(too_deep(self.limits))
        else:
            self.open.add(id(value))
            self.stack.append(_Open(id(value), left, copy))
        return copy
