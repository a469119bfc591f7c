"""What the texts, numbers and words of a YAML document stand for."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from ..mistakes.problem_words import one_line, shown
from .json_values import BITS_A_DIGIT, Limits, too_long_a_number
from .yaml_words import QUOTE

STANDARD = "tag:yaml.org,2002:"
MERGE = STANDARD + "merge"

# Dates and times stay texts, and so does what has a meaning as a key only.
_TEXTS = {STANDARD + kind for kind in ("str", "timestamp", "merge", "value")}
_KINDS = {
    STANDARD + "int": "a whole number",
    STANDARD + "float": "a number",
    STANDARD + "bool": "true or false",
    STANDARD + "null": "null",
}


class OddError(Exception):
    """A scalar that no document may have: what was found, and a hint."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found, hint)
        self.found = found
        self.hint = hint


class Scalars:
    """Reads scalars as PyYAML's `SafeLoader` does, whatever a program has added to that."""

    def __init__(self, yaml: ModuleType, limits: Limits) -> None:
        self._node = yaml.ScalarNode
        self._resolver = yaml.resolver.Resolver()
        constructor = yaml.constructor.SafeConstructor()
        self._construct = {
            STANDARD + "int": constructor.construct_yaml_int,
            STANDARD + "float": constructor.construct_yaml_float,
            STANDARD + "bool": constructor.construct_yaml_bool,
        }
        self._limits = limits

    def tag(self, event: Any) -> str:
        """The tag of a scalar: its own, or the one that it has by what it looks like."""
        if event.tag is None:
            return str(self._resolver.resolve(self._node, event.value, event.implicit))
        # The tag `!` says that it is a text, whatever it looks like.
        return STANDARD + "str" if event.tag == "!" else str(event.tag)

    def value(self, text: str, tag: str) -> Any:
        """The value of a scalar; raises `OddError` if it has none that a document may have."""
        if tag in _TEXTS:
            return text
        if tag not in _KINDS:
            raise refused(tag)
        if len(text) > self._limits.digits:
            raise OddError(too_long_a_number(self._limits), QUOTE)
        value = self._constructed(text, tag)
        if isinstance(value, float) and not math.isfinite(value):
            raise OddError(f"{one_line(text)} is not a number that JSON knows", QUOTE)
        if isinstance(value, int) and value.bit_length() > self._limits.digits * BITS_A_DIGIT:
            raise OddError(too_long_a_number(self._limits), QUOTE)
        return value

    def _constructed(self, text: str, tag: str) -> Any:
        try:
            if tag in self._construct:
                return self._construct[tag](self._node(tag, text))
            if self._resolver.resolve(self._node, text, (True, False)) == tag:
                return None
        except (ValueError, LookupError, OverflowError):
            pass  # how PyYAML says that a text is not what its tag says, or it looks like
        raise OddError(f"{shown(text)} cannot be read as {_KINDS[tag]}", QUOTE)


def refused(tag: str) -> OddError:
    """Says that a tag is not one of those that a document may have."""
    written = f"!!{tag.removeprefix(STANDARD)}" if tag.startswith(STANDARD) else tag
    return OddError(f"the tag `{one_line(written, 80)}` is not allowed", "write the value plainly")
