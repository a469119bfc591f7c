"""What is looked at in a template's text before python-liquid sees it.

Its patterns take the square of a text's length for some texts, and cannot be interrupted; here
each tag is found in one pass, and those on which they would hang are refused.
"""

from __future__ import annotations

import re

from ...errors import TemplateError

MAX_TEMPLATE = 1_000_000
MAX_TAG = 10_000
MAX_TAGS = 100_000
_MAX_BRACKETS = 200

_OPENING = re.compile(r"\{[{%]")
_VERBATIM = re.compile(r"-?\s*(raw|doc)\s*-?")
_BLANKS = re.compile(r"\s{300}")
_BEFORE_THE_END = re.compile(r"[\s-]*")

# To Liquid these are words of its own wherever they stand; as a name or a key they are not.
_WORDS = "and|as|cols|contains|continue|else|for|if|in|limit|not|offset|or|required|reversed|with"
_KEY = re.compile(
    r"(\"[^\"]*\"|'[^']*')"
    rf"|(?<=[\w\]])\.({_WORDS}|blank|empty|false|nil|null|true)(?![\w?-])"
)
_NAME = re.compile(rf"(-?\s*+)({_WORDS})(?=\s*+(?:[.\[|]|-?\Z))")


def checked_source(text: str) -> str:
    """The template as python-liquid can read it. Raises `TemplateError` where it could not."""
    if len(text) > MAX_TEMPLATE:
        raise TemplateError(f"a template of {len(text):,} characters; {MAX_TEMPLATE:,} is the most")
    parts: list[str] = []
    in_tags = at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        start = opening.end()
        closing = "}}" if opening.group() == "{{" else "%}"
        end = text.find(closing, start)
        if end < 0:
            raise _error(text, start, f"'{opening.group()}' is not closed; write '{closing}'")
        inner = text[start:end]
        in_tags += len(inner)
        _check_tag(text, start, inner, in_tags)
        verbatim = _VERBATIM.fullmatch(inner) if closing == "%}" else None
        if verbatim is not None:
            end = _end_of_verbatim(text, start, end, verbatim.group(1))
            parts.append(text[at : end + 2])
        else:
            if closing == "}}":
                inner = _NAME.sub(r'\1["\2"]', inner, count=1) if _NAME.match(inner) else inner
            parts += (text[at:start], _KEY.sub(_quoted, inner), closing)
        at = end + 2
    parts.append(text[at:])
    return "".join(parts)


def _check_tag(text: str, start: int, inner: str, in_tags: int) -> None:
    if _BEFORE_THE_END.fullmatch(inner):
        raise _error(text, start, "a tag is empty; name a variable in it")
    if len(inner) > MAX_TAG or in_tags > MAX_TAGS:
        raise _error(
            text,
            start,
            f"too much stands in tags; {MAX_TAG:,} characters in one and {MAX_TAGS:,} in all "
            "are the most",
        )
    if inner.count("(") + inner.count("[") > _MAX_BRACKETS or _BLANKS.search(inner):
        raise _error(text, start, "a tag has too many brackets, or too much space, in it")


def _end_of_verbatim(text: str, start: int, end: int, word: str) -> int:
    """Where the tag that ends a `raw` or `doc` block is closed."""
    found = re.compile(rf"\{{%-?\s*+end{word}\s*+-?%\}}").search(text, end)
    if found is None:
        raise _error(text, start, f"{{% {word} %}} is not closed; write {{% end{word} %}}")
    return found.end() - 2


def _quoted(found: re.Match[str]) -> str:
    return found.group(1) or f'["{found.group(2)}"]'


def _error(text: str, at: int, problem: str) -> TemplateError:
    if "\n" in text:
        return TemplateError(f"line {text.count(chr(10), 0, at) + 1}: {problem}")
    around = text if len(text) <= 60 else f"{text[:57]}..."
    return TemplateError(f"{problem}, in {around!r}")
