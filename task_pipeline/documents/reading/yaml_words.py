"""What PyYAML says of a text that is not YAML, in our words."""

from __future__ import annotations

import re
from typing import Any

from ..mistakes.problem_words import one_line

QUOTE = "put the text in quotes"
INDENT = "is it indented as what it belongs to?"

# What the problem's text is like, in both of PyYAML's parsers; what we say; a hint. Those of
# the second list are said of where the thing begins that was being read.
_HERE: list[tuple[str, str, str]] = [
    (r"mapping values are not allowed", "`:` is not allowed here", f"{QUOTE} if it has a `: `"),
    (r"sequence entries are not allowed", "a list's `-` is not allowed here", INDENT),
    (r"mapping keys are not allowed", "a key is not allowed here", INDENT),
    (r"character '\\t' that cannot start", "a tab cannot stand here", "indent with blanks"),
    (r"found character '(.+?)' that cannot start", "no value can begin with '{}'", QUOTE),
    (r"found character that cannot start", "no value can begin with this character", QUOTE),
    (r"unknown escape character '(.+?)'", "`\\{}` is not an escape that YAML knows", r"write \\"),
    (r"expected ',' or '(.)', but got", "`,` or `{}` is expected here", ""),
    (r"did not find expected ',' or '(.)'", "`,` or `{}` is expected here", ""),
    (r"expected <block end>, but found", "this does not belong here", INDENT),
    (r"did not find expected (?:key|'-' indicator)", "this does not belong here", INDENT),
    (
        r"but found '<document end>'|expected '<document start>'",
        "this does not belong here",
        INDENT,
    ),
    (r"did not find expected <document start>", "this does not belong here", INDENT),
    (r"undefined tag handle", "a tag that is not known here", "write the value without a tag"),
]
_BEFORE: list[tuple[str, str, str]] = [
    (r"could not find expected ':'", "a key that begins here has no `:`", QUOTE),
    (r"found unexpected end of stream", "a text in quotes that begins here has no end", ""),
    (r"found unexpected document separator", "a text in quotes that begins here has no end", ""),
]


def said_of(error: Any) -> tuple[int, str, str]:
    """Where an error of PyYAML's parser is, what was found there, and a hint."""
    problem = one_line(str(getattr(error, "problem", None) or getattr(error, "reason", error)))
    here = getattr(error, "problem_mark", None)
    before = getattr(error, "context_mark", None) or here
    for texts, mark in ((_HERE, here), (_BEFORE, before)):
        for pattern, found, hint in texts:
            match = re.search(pattern, problem)
            if match is not None and mark is not None:
                return mark.index, found.format(*match.groups()), hint
    mark = here or before
    offset = mark.index if mark is not None else int(getattr(error, "position", 0))
    return offset, f"this is not YAML: {problem}", ""
