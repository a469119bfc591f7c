"""Templates in texts: `{{ name.of[0].value }}` and the rest of Liquid, in a sandbox.

A text without tags, or with nothing but plain variables in them, is handled here, without
python-liquid: those are nearly all, and a document has thousands of them.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...errors import MissingExtraError, TaskPipelineError, TemplateError
from .template_values import MAX_TEXT, MISSING, NAME, SEGMENT, look_up, split_path, to_text

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "MISSING",
    "as_value",
    "check_template",
    "has_template",
    "look_up",
    "render",
    "whole_variable",
]

_OPENING = re.compile(r"\{[{%]")
_PATH = rf"{NAME}{SEGMENT}*+"
_VARIABLE = re.compile(rf"\{{\{{\s*+({_PATH})\s*+\}}\}}")

# The filters that need no argument; only these are known without asking python-liquid.
_PLAIN_FILTERS = (
    "abs|capitalize|compact|downcase|escape|first|join|json|last|lstrip|reverse|rstrip|size"
    "|snakecase|sort|squish|strip|strip_html|strip_newlines|sum|uniq|upcase|url_encode"
)
# Text, and tags that are known: in one pattern, as a document has thousands of such texts.
_ONLY_KNOWN = re.compile(
    rf"(?:[^{{]++|\{{(?![{{%])"
    rf"|\{{\{{\s*+{_PATH}\s*+(?:\|\s*+(?:{_PLAIN_FILTERS})(?![\w-])\s*+)*+\}}\}})*+"
)

# These are no variables, though written like one.
_LITERALS = frozenset({"true", "false", "nil", "null", "empty", "blank", "now", "today"})

_MAX_CACHED = 10_000
_MAX_LITERAL = 1_000_000
_WORDS = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}
# Of any other Python warns, in whatever module happens to be the caller.
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_KNOWN_ESCAPES = "\\'\"abfnrtvxNuU0123\n"


def has_template(text: str) -> bool:
    """Whether there is a tag in the text: `{{` or `{%`."""
    return "{{" in text or "{%" in text


def check_template(text: str) -> str | None:
    """What is wrong with a text as a template, in words; None if nothing is.

    Costs next to nothing for a text without tags, and for one whose tags are only variables
    and filters without arguments. Raises `MissingExtraError` if python-liquid is needed for
    it, and not there.
    """
    if not has_template(text):
        return None
    if _ONLY_KNOWN.fullmatch(text):
        if "|" in text and not _has_liquid() and _split(text) is None:
            _sandbox()  # it cannot be had, and that is told now, and not when the step is reached
        return None
    return _problem(text) if len(text) <= _MAX_CACHED else _sandbox().problem(text)


def render(text: str, values: Mapping[str, Any]) -> str:
    """The text with its tags replaced by what they stand for.

    A name that is not there is empty text. true and false come out in lower case, None as
    nothing, numbers as Python writes them, lists and mappings as JSON (Liquid would join a
    list's items: say `| join`), every other object as its `str()`; a template never reaches
    an attribute of one. Nothing is escaped: it is text, not HTML.

    Only the keys of `values` that the template names are read. Raises `TemplateError` for a
    template that cannot be parsed or rendered, or takes too much: 100,000 rounds of loops,
    10,000,000 characters, or too much work in all.
    """
    if not has_template(text):
        return text
    pieces = _pieces(text) if len(text) <= _MAX_CACHED else _split(text)
    if pieces is None:
        rendered: str = _sandbox().render(text, values)
        return rendered
    try:
        rendered = "".join(
            piece if isinstance(piece, str) else _text_at(values, piece) for piece in pieces
        )
    except TaskPipelineError:
        raise
    except Exception as error:
        raise TemplateError(f"a value cannot be written as text: {error!r:.200}") from error
    if len(rendered) > MAX_TEXT:
        raise TemplateError(f"the rendered text is longer than {MAX_TEXT:,} characters")
    return rendered


def whole_variable(text: str) -> tuple[str | int, ...] | None:
    """The path of the variable, if the text is nothing but one without filters.

    `"{{ page.items[0] }}"` gives `("page", "items", 0)`; space around it does not count.
    """
    found = _VARIABLE.fullmatch(text.strip())
    if found is None:
        return None
    path = split_path(found.group(1))
    return None if path[0] in _LITERALS else path


def as_value(rendered: str) -> Any:
    """The list, mapping, true, false or null that a rendered text spells, in JSON or Python.

    Any other text, a number too, stays text.
    """
    text = rendered.strip()
    if text in _WORDS:
        return _WORDS[text]
    if not text.startswith(("[", "{")) or not text.endswith(("]", "}")) or len(text) > MAX_TEXT:
        return rendered
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > _MAX_LITERAL or any(
        character not in _KNOWN_ESCAPES for character in _ESCAPE.findall(text)
    ):
        return rendered
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return rendered
    return value if isinstance(value, list | dict) else rendered


def _text_at(values: Mapping[str, Any], path: tuple[str | int, ...]) -> str:
    value = look_up(values, path)
    return "" if value is MISSING else to_text(value)


@lru_cache(maxsize=4096)
def _pieces(text: str) -> tuple[str | tuple[str | int, ...], ...] | None:
    return _split(text)


def _split(text: str) -> tuple[str | tuple[str | int, ...], ...] | None:
    """A text's plain parts and the paths of its variables, or None if it has other tags."""
    pieces: list[str | tuple[str | int, ...]] = []
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        found = _VARIABLE.match(text, opening.start())
        if found is None:
            return None
        path = split_path(found.group(1))
        if path[0] in _LITERALS:
            return None
        pieces += (text[at : opening.start()], path)
        at = found.end()
    pieces.append(text[at:])
    return tuple(pieces)


@lru_cache(maxsize=1)
def _has_liquid() -> bool:
    return importlib.util.find_spec("liquid") is not None


@lru_cache(maxsize=1024)
def _problem(text: str) -> str | None:
    problem: str | None = _sandbox().problem(text)
    return problem


def _sandbox() -> ModuleType:
    try:
        from . import liquid_sandbox
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("liquid", "babel", "dateutil", "pytz"):
            raise
        raise MissingExtraError(
            "a template with filters or tags", "documents", "python-liquid"
        ) from error
    return liquid_sandbox
