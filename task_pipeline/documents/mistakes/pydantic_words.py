"""What one error of pydantic says, in our words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .problem_words import listed, nearest, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What a value must be, by the type of the error that says that it is not.
WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "string_type": "a text",
    "string_sub_type": "a text",
    "bytes_type": "a text",
    "path_type": "the name of a file or folder",
    "url_type": "a URL",
    "url_parsing": "a URL",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "none_required": "null",
}

LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
}

LENGTHS = {
    "too_short": ("min_length", "at least", "item"),
    "too_long": ("max_length", "at most", "item"),
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
}

CHOICES = ("literal_error", "enum")

# How these are written, each without quotes.
_WRITTEN = {
    "a whole number": re.compile(r"-?[0-9]{1,18}"),
    "a number": re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?"),
    "true or false": re.compile(r"true|false"),
}

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")


def wanted(error: ErrorDetails) -> list[str]:
    """What the value should have been, if that is all that the error says; else nothing."""
    kind = error["type"]
    if kind in WANTED:
        return [WANTED[kind]]
    return choices(error) if kind in CHOICES else []


def choices(error: ErrorDetails) -> list[str]:
    """The values that may stand here, each as it is written in Python."""
    expected = str(error.get("ctx", {}).get("expected", ""))
    rest = _QUOTED.sub("", expected)
    others = [word for word in re.split(r"[,\s]+", rest) if word not in ("", "or")]
    return [*_QUOTED.findall(expected), *others]


def must_be(wants: list[str], value: Any) -> tuple[str, str]:
    """Says that a value must be one of what is wanted, with a hint if it is nearly that."""
    if "a number" in wants:
        wants = [want for want in wants if want != WANTED["int_type"]]
    quoted = [want[1:-1] for want in wants if want[:1] == want[-1:] == "'"]
    several = len(quoted) > 1 and len(quoted) == len(wants)
    *front, last = wants
    text = f"{', '.join(front)} or {last}" if front else last
    near = nearest(value, quoted) if isinstance(value, str) else None
    hint = f"did you mean {near!r}?" if near is not None and near != value else ""
    hint = hint or _about_quotes(wants, value)
    return f"must be {'one of ' if several else ''}{text}, not {shown(value)}", hint


def _about_quotes(wants: list[str], value: Any) -> str:
    """What to do about a value that would be right with quotes around it, or without."""
    if wants == ["a text"] and isinstance(value, bool | int | float):
        return "write it in quotes"
    if isinstance(value, str) and any(
        want in _WRITTEN and _WRITTEN[want].fullmatch(value.strip()) for want in wants
    ):
        return f"write {value.strip()} without quotes"
    return ""


def said(error: ErrorDetails) -> tuple[str, str]:
    """What was found, and a hint: of an error about a value other than its type."""
    kind, value, facts = error["type"], error["input"], error.get("ctx", {})
    if kind in LIMITS:
        name, text = LIMITS[kind]
        limit = facts[name]
        if isinstance(limit, float) and limit.is_integer():
            limit = int(limit)
        return f"must be {text.format(limit)}, not {shown(value)}", ""
    if kind in LENGTHS:
        return _length(kind, value, facts)
    if kind == "string_pattern_mismatch":
        return f"must match the pattern {facts['pattern']}, not {shown(value)}", ""
    if kind in ("value_error", "assertion_error") and "error" in facts:
        return str(facts["error"]) or "cannot be used", ""
    return _plainly(error["msg"], value), ""


def _length(kind: str, value: Any, facts: dict[str, Any]) -> tuple[str, str]:
    name, bound, noun = LENGTHS[kind]
    limit = facts[name]
    if limit == 1 and name == "min_length":
        return "must not be empty", ""
    count = facts.get("actual_length", len(value) if hasattr(value, "__len__") else None)
    many = noun if limit == 1 else f"{noun}s"
    return f"must have {bound} {limit} {many}, not {'more' if count is None else count}", ""


def _plainly(message: str, value: Any) -> str:
    """An error that no words of ours are kept for: pydantic's sentence, about this value."""
    text = re.sub(r"^(Input|Value|String|Keys) should ", "must ", message)
    if text == message:
        return text[:1].lower() + text[1:]
    return f"{text.replace('must be a valid', 'must be a')}, not {shown(value)}"


def unknown_kind(error: ErrorDetails) -> tuple[str, str]:
    """What is said of a value whose tag is none of those there are."""
    facts = error.get("ctx", {})
    tags = [quoted[1:-1] for quoted in _QUOTED.findall(str(facts.get("expected_tags", "")))]
    tag = facts.get("tag", "")
    near = nearest(str(tag), tags)
    hint = f"did you mean {near!r}?" if near else f"known are {listed(tags)}" if tags else ""
    return f"{shown(tag)[4:]} is not known here".removeprefix("text "), hint
