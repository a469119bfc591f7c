"""Words, signs and numbers as a display writes them. Nothing in here needs a terminal."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from ..outcome import Outcome


class Signs(NamedTuple):
    """The signs of a display."""

    running: str
    waiting: str
    succeeded: str
    failed: str
    timed_out: str
    cancelled: str
    skipped: str
    pending: str
    full: str
    empty: str
    branch: str
    last: str
    line: str
    blank: str
    ellipsis: str
    arrow: str
    times: str

    def of(self, outcome: Outcome) -> str:
        """The mark of what has ended so."""
        return str(getattr(self, outcome.value))


UNICODE = Signs(
    *("●", "↻", "✓", "✗", "✗", "⊘", "↷", "·", "━", "─", "├ ", "└ ", "│ ", "  ", "…", "→", "×")
)
ASCII = Signs(
    *("*", "~", "+", "x", "x", "-", "/", ".", "#", ".", "|-", "`-", "| ", "  "), "..", ">", "x"
)


# The joiner of emoji, the choice between text and emoji, and the tones of skin.
_JOINERS = dict.fromkeys([0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)])


def signs_for(encoding: str) -> Signs:
    """The signs that can be written in an encoding."""
    try:
        "".join(UNICODE).encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return UNICODE


def clean(text: str, encoding: str = "utf-8") -> str:
    """One line that moves no cursor, is as wide as it is measured, and can be encoded.

    Control characters become spaces, what cannot be encoded question marks; what joins or
    changes the characters before it is left out, as terminals differ in whether they do it.
    """
    if not text.isascii():
        text = text.translate(_JOINERS)
    if not text.isprintable():
        text = "".join(" " if _moves_cursor(character) else character for character in text)
    try:
        text.encode(encoding)
    except UnicodeError:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "replace").decode("ascii")
    return text


def _moves_cursor(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}


def seconds_text(seconds: float) -> str:
    """How long something took, in at most nine characters."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}:{round(seconds) % 60:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


def percent_text(percent: float) -> str:
    """How far something is; 100 only when it is all done."""
    return f"{100 if percent >= 100.0 else min(99, int(percent))} %"


def counted(number: int, singular: str, plural: str = "") -> str:
    """A number and what it counts: "1 step", "2 steps"."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
