"""A condition's text as its smallest parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ...errors import ConditionError
from ..templating.template_values import MAX_DIGITS, NAME, SEGMENT, split_path

Style: TypeAlias = Literal["recipe", "workflow"]
"""Whose conditions: with `{{ templates }}`, or with `${references}`."""

MAX_LENGTH: Final = 10_000

_BLANKS = re.compile(r"\s*+")
_NAME = re.compile(NAME)
_SEGMENTS = re.compile(rf"{SEGMENT}*+")
_NUMBER = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+")
_SIGN = re.compile(r"==|!=|<=|>=|&&|\|\||[=<>!()\[\],]")
_END_OF_NUMBER = re.compile(r"[\w.]")

_SAME = {"=": "==", "&&": "and", "||": "or", "!": "not"}
WORDS = frozenset({"and", "or", "not", "in", "contains"})
_LITERALS = {"true": True, "false": False, "null": None, "none": None}

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_HEX = re.compile(r"u([0-9a-fA-F]{4})")

# A key in quotes may have a brace in it.
_REFERENCE = re.compile(r"\$\{(?:[^{}\"']|\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+')*+\}", re.DOTALL)

# What is taken as it is, between quotes too: an opening and its end.
_INSERTED = {"recipe": (("{{", "}}"), ("{%", "%}")), "workflow": (("${", "}"),)}
_ELSEWHERE = {
    "recipe": ("${", "a recipe's condition has no ${references}; write {{ name }}"),
    "workflow": ("{{", "a workflow's condition has no {{ templates }}; write ${step.output}"),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A part: its kind, its value, and where it stands, from 0.

    The kinds are "constant", "name", "inserted" (a template or reference), "quoted" (a text
    with such in it: its pieces, the inserted ones as tokens), "sign" and "end".
    """

    kind: str
    value: object
    at: int
    end: int


def tokens(text: str, style: Style) -> list[Token]:
    """All parts of a condition, the last of kind "end"."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(
            f"a condition of {len(text):,} characters; {MAX_LENGTH:,} is the most",
            text=text,
        )
    found: list[Token] = []
    at = _after_blanks(text, 0)
    while at < len(text):
        token = _token(text, at, style)
        found.append(token)
        at = _after_blanks(text, token.end)
    found.append(Token("end", None, len(text), len(text)))
    return found


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()


def _token(text: str, at: int, style: Style) -> Token:
    if text[at] in "'\"":
        return _quoted(text, at, style)
    inserted = _inserted(text, at, style)
    if inserted is not None:
        return inserted
    name = _NAME.match(text, at)
    if name is not None:
        return _name(text, name.group(), at, name.end())
    number = _NUMBER.match(text, at)
    if number is not None:
        return _number(text, number.group(), at, number.end())
    sign = _SIGN.match(text, at)
    if sign is not None:
        written = sign.group()
        return Token("sign", _SAME.get(written, written), at, sign.end())
    opening, instead = _ELSEWHERE[style]
    if text.startswith(opening, at):
        raise ConditionError(instead, text=text, column=at + 1)
    for opening, end in _INSERTED[style]:
        if text.startswith(opening, at):
            raise ConditionError(
                f"{opening!r} is not closed; write {end!r} after it", text=text, column=at + 1
            )
    raise ConditionError(
        f"{text[at]!r} has no meaning here; a text stands in quotes", text=text, column=at + 1
    )


def _inserted(text: str, at: int, style: Style) -> Token | None:
    whole = _REFERENCE.match(text, at) if style == "workflow" else None
    if whole is not None:
        return Token("inserted", whole.group(), at, whole.end())
    for opening, closing in _INSERTED[style]:
        if text.startswith(opening, at):
            end = text.find(closing, at + len(opening))
            if end >= 0:
                end += len(closing)
                return Token("inserted", text[at:end], at, end)
    return None


def _name(text: str, name: str, at: int, end: int) -> Token:
    word = name.lower()
    if word in WORDS and not text.startswith(".", end):
        return Token("sign", word, at, end)
    segments = _SEGMENTS.match(text, end)
    if segments is not None and segments.end() > end:
        return Token("name", split_path(text[at : segments.end()]), at, segments.end())
    if word in _LITERALS:
        return Token("constant", _LITERALS[word], at, end)
    return Token("name", (name,), at, end)


def _number(text: str, number: str, at: int, end: int) -> Token:
    if _END_OF_NUMBER.match(text, end):
        raise ConditionError(
            f"{number + text[end]!r}... is no number; a text stands in quotes",
            text=text,
            column=at + 1,
        )
    if len(number) > MAX_DIGITS:
        raise ConditionError(
            f"a number of more than {MAX_DIGITS:,} digits", text=text, column=at + 1
        )
    whole = number.lstrip("-").isdecimal()
    return Token("constant", int(number) if whole else float(number), at, end)


def _quoted(text: str, start: int, style: Style) -> Token:
    """A text in quotes. What is inserted in it may have quotes of its own.

    A workflow's `$${` is the text `${`, as it is everywhere in workflows.
    """
    quote = text[start]
    pieces: list[str | Token] = []
    plain: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != quote:
        if style == "workflow" and text.startswith("$${", at):
            plain.append("${")
            at += 3
            continue
        inserted = _inserted(text, at, style)
        if inserted is not None:
            pieces += ("".join(plain), inserted)
            plain = []
            at = inserted.end
        elif text[at] == "\\" and at + 1 < len(text):
            character, at = _unescaped(text, at + 1)
            plain.append(character)
        else:
            plain.append(text[at])
            at += 1
    if at >= len(text):
        raise ConditionError(
            f"a text begins with {quote} and does not end; write {quote} after it",
            text=text,
            column=start + 1,
        )
    last = "".join(plain)
    if not pieces:
        return Token("constant", last, start, at + 1)
    return Token("quoted", (*pieces, last), start, at + 1)


def _unescaped(text: str, at: int) -> tuple[str, int]:
    """What a backslash before `at` stands for, and where to go on."""
    code = _HEX.match(text, at)
    if code is not None:
        return chr(int(code.group(1), 16)), code.end()
    # Any other is kept, as in Python: 'C:\dir' is what it looks like.
    return _ESCAPES.get(text[at], f"\\{text[at]}"), at + 1
