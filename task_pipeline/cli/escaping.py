r"""Texts out of a journal, made harmless.

Whoever can write a run's name or make a step fail chooses these texts. In a terminal they could
move its cursor, rename its window or hide what stands beside them; so what is not to be seen is
written as Python writes it in a string, such as `\x1b`.
"""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Controls, formats (those that turn the direction of writing, too), surrogates, ends of lines,
# and what has no character in it.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"})


def visible(text: str, encoding: str = "utf-8") -> str:
    """One line in which every character is one that is seen, and can be encoded."""
    if not text.isprintable():
        text = "".join(map(_visible_character, text))
    try:
        text.encode(encoding)
    except UnicodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def visible_lines(text: str, encoding: str = "utf-8") -> list[str]:
    """The lines of a text of several, each of them `visible`."""
    return [visible(line.expandtabs(), encoding) for line in text.split("\n")]


def first_line(text: str, encoding: str = "utf-8") -> str:
    """The first line that says something, with a sign for what was left out."""
    lines = text.strip().split("\n")
    shown = visible(lines[0].strip(), encoding)
    return f"{shown} ..." if len(lines) > 1 else shown


def _visible_character(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
