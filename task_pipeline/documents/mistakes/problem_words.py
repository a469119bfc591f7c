"""How messages about documents put things: values, keys, names that are nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead from the top of a document to a place in it."""

LONGEST_WORD = 100
MOST_NAMES = 1_000
ENDING = "..."


def one_line(text: str, longest: int = 1_000) -> str:
    """A text on one line: what cannot be printed is escaped, and a long text shortened."""
    cut = text if len(text) <= longest else text[: longest - len(ENDING)]
    if not cut.isprintable():
        cut = "".join(map(_printable, cut))
    return cut if len(text) <= longest else cut + ENDING


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def shown(value: Any, longest: int = 60) -> str:
    """A value of a document in a message: "the text 'x'", "0", "true", "a list", "an object"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if type(value).__repr__ is not str.__repr__:
            # It shows itself in its own way: a secret does not tell what it is.
            return f"the text {one_line(repr(value), longest)}"
        # repr() escapes what cannot be printed.
        if len(value) <= longest:
            return f"the text {str(value)!r}"
        cut = repr(str(value[: longest - len(ENDING)]))
        return f"the text {cut[:-1]}{ENDING}{cut[-1]}"
    if isinstance(value, int):
        # Python refuses to write a number of thousands of digits.
        return repr(value) if value.bit_length() < 200 else "a number of very many digits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    return f"a value of type {type(value).__name__}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a word, if one is like it."""
    if len(word) > LONGEST_WORD:
        return None
    names = [name for name, _ in zip(known, range(MOST_NAMES), strict=False)]
    folded: dict[str, str] = {}
    for name in names:
        if abs(len(name) - len(word)) <= max(len(word), 3):
            folded.setdefault(_folded(name), name)
    found = difflib.get_close_matches(_folded(word), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def did_you_mean(word: str, known: Iterable[str], most: int = 12) -> str:
    """A hint about a name that is not known: the nearest one, or those there are if few."""
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known are {listed(names)}" if 0 < len(names) <= most else ""


def listed(names: Iterable[str], last: str = "and") -> str:
    """Names in quotes, as a sentence lists them."""
    *front, end = map(repr, names)
    return f"{', '.join(front)} {last} {end}" if front else end
