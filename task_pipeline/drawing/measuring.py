"""How wide a text is in a font that nobody here knows: of the usual ones without serifs, about."""

from __future__ import annotations

import unicodedata

LARGE, SMALL = 13.0, 11.0
_NARROW = frozenset("iljtfrI.,:;'|!()[]{}/\\ `")
_WIDE = frozenset("mwMWQ@%&—")


def text_width(text: str, size: float) -> float:
    """About how many pixels wide a text is in a font of a size."""
    return size * sum(map(_width, text))


def _width(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _WIDE:
        return 0.92
    if character.isascii():
        return 0.7 if character.isupper() else 0.58
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0.0
    return 1.1 if unicodedata.east_asian_width(character) in {"W", "F"} else 0.68
