"""JSON read a second time, slowly: where each value begins, and every mistake in our words.

The grammar is RFC 8259's, with nothing more: no comments, no NaN, no key twice.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from ..mistakes.problem_words import one_line
from .json_values import (
    DEFAULT,
    MOST_MISTAKES,
    Limits,
    Lines,
    Mistake,
    Spot,
    is_writable,
    too_deep,
    too_long_a_number,
    too_many,
)

# As much of a string as is right; it is whole if a quotation mark follows.
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+')
_BLANK = re.compile(r"[ \t\n\r]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?[0-9]++)?")
_WORD = re.compile(r"[-+.\w]++")
_LITERALS = ("true", "false", "null")
_MEANT = {
    **{word: word.casefold() for word in ("True", "False", "TRUE", "FALSE", "Null", "NULL")},
    **dict.fromkeys(("None", "nil", "undefined"), "null"),
}
_NOT_FINITE = ("nan", "inf", "infinity")


@dataclass
class _Open:
    """An object or list whose end has not come yet."""

    inner: dict[str, tuple[int, Spot]] | list[Spot]
    key: str = ""
    key_offset: int = 0
    # Where a key is written a second time, its values are read and have no place.
    repeated: bool = False


class _End(Exception):
    """The rest of the text cannot be made sense of, or there is too much of it."""


class JsonReading:
    """One reading: afterwards `spot` has the places, and `mistakes` says what is wrong."""

    def __init__(self, text: str, limits: Limits = DEFAULT) -> None:
        self.mistakes: list[Mistake] = []
        self.spot: Spot = 0
        self._text = text
        self._limits = limits
        self._stack: list[_Open] = []
        self._count = 0
        self._at = 0
        try:
            self._read()
        except _End:
            pass

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self._text)

    def _read(self) -> None:
        self._value()
        while self._stack:
            container = self._stack[-1]
            is_object = isinstance(container.inner, dict)
            close = "}" if is_object else "]"
            here = self._skip_blanks()
            if self._text.startswith(close, here):
                self._at += 1
                self._stack.pop()
                continue
            if container.inner:
                self._comma(close)
                if self._is_comma_too_many(close):
                    continue
            if is_object:
                self._key(container)
            self._value()
        here = self._skip_blanks()
        if here < len(self._text):
            self._end("the document has ended before ", "a file has one document")

    def _skip_blanks(self) -> int:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    # What may come next

    def _comma(self, close: str) -> None:
        if not self._text.startswith(",", self._at):
            self._end(f"`,` or `{close}` is expected here, not ", self._hint_about_comments(), True)
        self._at += 1

    def _is_comma_too_many(self, close: str) -> bool:
        """Whether nothing comes behind a comma; the rest can be read all the same."""
        here = self._skip_blanks()
        if not self._text.startswith(close, here):
            return False
        is_object = close == "}"
        found = f"a {'key' if is_object else 'value'} is expected here, not `{close}`"
        hint = "there is a comma too many before it"
        self._note(here, found, hint, in_container=is_object)
        return True

    def _key(self, container: _Open) -> None:
        here = self._skip_blanks()
        if not self._text.startswith('"', here):
            hint = self._hint_about_comments() or "keys stand in double quotes"
            self._end("a key is expected here, not ", hint, in_container=True)
        key = self._string("a key", in_container=True)
        assert isinstance(container.inner, dict)
        container.repeated = key in container.inner
        container.key, container.key_offset = key, here
        if container.repeated:
            line, column = self._lines.place(container.inner[key][0])
            self._note(
                here,
                "this key is there twice",
                f"the other one is at line {line}, column {column}",
            )
        if not is_writable(key):
            self._note(here, "a key with half of a surrogate pair", "no file can hold it")
        self._skip_blanks()
        if not self._text.startswith(":", self._at):
            self._end("`:` is expected after a key, not ", self._hint_about_comments())
        self._at += 1

    def _value(self) -> None:
        here = self._skip_blanks()
        self._count += 1
        if self._count > self._limits.nodes:
            self._stop(here, too_many(self._limits.nodes))
        character = self._text[here : here + 1]
        if character in ("{", "["):
            if len(self._stack) >= self._limits.depth:
                self._stop(here, too_deep(self._limits))
            inner: dict[str, tuple[int, Spot]] | list[Spot] = {} if character == "{" else []
            self._place((here, inner))
            self._stack.append(_Open(inner))
            self._at += 1
        elif character == '"':
            if not is_writable(self._string("a text")):
                self._note(here, "a text with half of a surrogate pair", "no file can hold it")
            self._place(here)
        elif self._is_literal(here) or self._is_number(here) or self._is_meant(here):
            self._place(here)
        else:
            self._end("a value is expected here, not ", self._hint_about_values())

    def _place(self, spot: Spot) -> None:
        if not self._stack:
            self.spot = spot
            return
        container = self._stack[-1]
        if isinstance(container.inner, list):
            container.inner.append(spot)
        elif not container.repeated:
            container.inner[container.key] = (container.key_offset, spot)

    # Tokens

    def _string(self, what: str, *, in_container: bool = False) -> str:
        found = _STRING.match(self._text, self._at)
        begin, end = self._at, found.end() if found else self._at
        if not self._text.startswith('"', end):
            self._stop(*self._wrong_string(what, begin, end), in_container=in_container)
        self._at = end + 1
        token = self._text[begin : self._at]
        return str(json.loads(token)) if "\\" in token else token[1:-1]

    def _wrong_string(self, what: str, begin: int, end: int) -> tuple[int, str, str]:
        """What is wrong with a string that begins in one place and is right up to another."""
        after = self._text[end : end + 1]
        if after in ("", "\r", "\n"):
            hint = r"write \n for a line break in it" if after else ""
            return begin, f"{what} that begins here has no closing quotation mark", hint
        if after != "\\":
            escape = f"\\u{ord(after):04x}"
            found = f"{what} must not have the control character {escape}"
            return end, found, f"write it as {escape}"
        if self._text.startswith("\\u", end):
            return end, "four hexadecimal digits must follow \\u", ""
        escape = one_line(self._text[end : end + 2])
        return end, f"`{escape}` is not an escape that JSON knows", r"write \\ for a backslash"

    def _is_literal(self, here: int) -> bool:
        found = _WORD.match(self._text, here)
        if found is None or found.group() not in _LITERALS:
            return False
        self._at = found.end()
        return True

    def _is_number(self, here: int) -> bool:
        found = _NUMBER.match(self._text, here)
        word = _WORD.match(self._text, here)
        if found is None or word is None or found.end() != word.end():
            return False
        self._at = found.end()
        if found.group(1) or found.group(2):
            if not math.isfinite(float(found.group())):
                self._note(here, "a number larger than any that can be calculated with")
        elif found.end() - here > self._limits.digits:
            self._note(here, too_long_a_number(self._limits))
        return True

    def _is_meant(self, here: int) -> bool:
        """A word that is wrong, of which it is known what it stands for; the rest can be read."""
        found = _WORD.match(self._text, here)
        word = found.group() if found else ""
        if word not in _MEANT and word.strip("+-").casefold() not in _NOT_FINITE:
            return False
        self._note(here, f"a value is expected here, not `{word}`", self._hint_about_values())
        self._at = here + len(word)
        return True

    # Mistakes

    def _hint_about_comments(self) -> str:
        comment = self._text.startswith(("//", "/*", "#"), self._at)
        return "JSON has no comments" if comment else ""

    def _hint_about_values(self) -> str:
        found = _WORD.match(self._text, self._at)
        word = found.group() if found else ""
        if word in _MEANT:
            return f"write {_MEANT[word]}"
        if word.strip("+-").casefold() in _NOT_FINITE:
            return "JSON has no such number; leave it out, or write null"
        if word[:1].isdigit() or word[:1] in ("-", "+", "."):
            return "a number is written as 0, -1.5 or 1e6"
        if word or self._text.startswith("'", self._at):
            return "texts stand in double quotes"
        before = self._text[: self._at].rstrip(" \t\r\n")[-1:]
        if before == "," and self._text.startswith(("]", "}"), self._at):
            return "there is a comma too many before it"
        return self._hint_about_comments()

    def _end(self, said: str, hint: str = "", in_container: bool = False) -> NoReturn:
        """Nothing more can be read, as what stands here may not."""
        found = _WORD.match(self._text, self._at)
        here = found.group() if found else self._text[self._at : self._at + 1]
        if not here:
            hint = ""
        shown = f"`{one_line(here, 40)}`" if here else "the end of the text"
        self._stop(self._at, said + shown, hint, in_container=in_container)

    def _stop(
        self, offset: int, found: str, hint: str = "", *, in_container: bool = False
    ) -> NoReturn:
        self._note(offset, found, hint, in_container=in_container)
        raise _End

    def _note(self, offset: int, found: str, hint: str = "", *, in_container: bool = False) -> None:
        """A mistake in what is at hand, or (`in_container`) in the object around it."""
        innermost = len(self._stack) - 1
        # What is open in a list has its place there already; what comes next in one has none yet.
        path = tuple(
            len(container.inner) - (depth < innermost)
            if isinstance(container.inner, list)
            else container.key
            for depth, container in enumerate(self._stack)
        )
        self.mistakes.append(Mistake(offset, path[:-1] if in_container else path, found, hint))
        if len(self.mistakes) >= MOST_MISTAKES:
            raise _End
