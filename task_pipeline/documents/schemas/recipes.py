"""The JSON Schema of recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import recipes  # noqa: F401  # registers the types that come with the library
from ..registry import StepType
from ..steps.handlers import handler_type
from .models import (
    NAME,
    TEMPLATE,
    Definitions,
    Schema,
    about,
    choice,
    described,
    plain_types,
    refer,
)

STEP, SERIES = refer("step"), refer("series")


def recipe_schema(handlers: Sequence[str]) -> Schema:
    """The schema, but for its dialect."""
    parts = Definitions()
    kinds = {kind.name: kind for kind in plain_types(lambda kind: False)}
    kinds |= {name: handler_type(name) for name in handlers if name not in kinds}
    parts.parts["step"] = parts.parts["series"] = {}  # their names are taken; filled below
    steps = {name: parts.add(name, _step(kind, parts)) for name, kind in kinds.items()}
    parts.parts["step"] = {
        "type": "object",
        "description": "A step: its type, and its fields beside that or in `config`.",
        "properties": {"type": {"description": "What kind of step it is.", "enum": [*steps]}},
        "required": ["type"],
        "allOf": list(choice(steps, "type")),
    }
    parts.parts["series"] = {
        "type": "array",
        "description": "Steps that run one after another.",
        "items": STEP,
    }
    return {
        "title": "Recipe",
        "description": "Steps that run one after another in one context.",
        "type": ["object", "array"],
        "if": {"type": "array"},
        "then": SERIES,
        "else": {
            "properties": {
                "$schema": {"type": "string"},
                "name": {"type": "string", "description": "What it is called."},
                "description": {"type": "string", "description": "What it does."},
                "steps": SERIES,
            },
            "required": ["steps"],
            "additionalProperties": False,
        },
        "$defs": parts.parts,
    }


def _step(kind: StepType, parts: Definitions) -> Schema:
    """A step of one type, in both of the forms that it may have."""
    is_block = getattr(kind.step_class, "is_recipe_block", False)
    # What a block says shapes the pipeline, which is made before there are values for templates.
    fields = parts.fields(kind.model, kind.name, None if is_block else TEMPLATE)
    properties = {name: _steps_in(field) for name, field in fields["properties"].items()}
    fields = {**fields, "properties": properties}
    common: Schema = {
        "type": {"const": kind.name},
        "id": described(NAME, {"description": "What it is called; by default its type."}),
    }
    flat = {**fields, "properties": {**common, **properties}}
    wrapped: Schema = {
        "type": "object",
        "properties": {**common, "config": fields},
        "required": ["config"],
        "additionalProperties": False,
    }
    if "config" in properties:  # a field of its own may be what stands there
        return {"description": about(kind), "anyOf": [flat, wrapped]}
    return {
        "description": about(kind),
        "if": {"required": ["config"]},
        "then": wrapped,
        "else": flat,
    }


def _steps_in(field: Any) -> Any:
    """The schema of a field; of one that holds steps, what they may be."""
    marked = field.get("x-steps") if isinstance(field, dict) else None
    if marked == "steps":
        element = {"if": {"type": "array"}, "then": SERIES, "else": STEP}
        return described({"type": "array", "items": element}, field)
    if marked == "way":
        alone = {"type": "object", "properties": {"steps": SERIES}, "required": ["steps"]}
        one = {"if": {"required": ["type"]}, "then": STEP, "else": alone}
        several = {"if": {"type": "array"}, "then": SERIES, "else": one}
        return described({"type": ["array", "object"], **several}, field)
    return field
