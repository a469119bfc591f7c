"""The JSON Schema of workflows, in their older spellings too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import recipes  # noqa: F401  # registers the types that come with the library
from ..registry import StepType
from ..resolving.references import RESERVED
from ..steps.handlers import handler_type
from ..workflows import models, spelling
from ..workflows.native_models import GROUPS, ClassStep, FunctionStep, PipelineSettings
from .models import (
    REFERENCE,
    Definitions,
    Schema,
    about,
    choice,
    described,
    first_paragraph,
    plain_types,
    refer,
)
from .spellings import add_spellings

STEP = refer("step")
_OF_GROUPS = ("id", "type", "next_step", "critical")
# Of what is ASCII only the letters, digits, - and _: not all that read a schema know "\w" of more.
_ID: Schema = {
    "type": "string",
    "pattern": rf"^(?!(?:{'|'.join(RESERVED)})$)[^\x00-,./:-@\[-^`{{-\x7f]+$",
}


def workflow_schema(handlers: Sequence[str]) -> Schema:
    """The schema, but for its dialect."""
    parts = Definitions()
    parts.parts["step"] = {}  # its name is taken; filled below
    steps = {name: parts.add(name, schema) for name, schema in _steps(handlers, parts).items()}
    for other, name in spelling.TYPES.items():
        steps[other] = steps[name]
    parts.parts["step"] = {
        "type": "object",
        "description": "A step; without a type, it calls an agent.",
        "properties": {
            "type": {"description": "What kind of step it is.", "enum": [*steps]},
        },
        "allOf": list(choice(steps, "type", "agent")),
    }
    top = parts.fields(models.WorkflowFields, "workflow")
    properties = top["properties"]
    properties["$schema"] = {"type": "string"}
    config = parts.add("config", parts.fields(PipelineSettings, "config"))
    properties["config"] = {"anyOf": [config, {"type": "null"}]}
    listed = {"allOf": [STEP, {"required": ["id"]}]}
    properties["steps"] = {
        "description": "The steps by id, or a list of steps with ids.",
        "type": ["object", "array"],
        "propertyNames": _ID,
        "additionalProperties": STEP,
        "items": listed,
    }
    return {"title": "Workflow", **top, "$defs": parts.parts}


def _steps(handlers: Sequence[str], parts: Definitions) -> dict[str, Schema]:
    """What may stand in a step, for each type."""
    made = {name: parts.fields(model, name) for name, model in models.MODELS.items()}
    for name, schema in made.items():
        add_spellings(name, schema, parts)
        schema["properties"]["id"] = described(_ID, schema["properties"]["id"])
    typed = plain_types(lambda kind: _is_of_others(kind, made.keys()))
    typed += [handler_type(name) for name in handlers if name not in made]
    base = parts.fields(models.TypedFields, "typed")
    add_spellings("typed", base, parts)
    common = {key: part for key, part in base["properties"].items() if key != "config"}
    for kind in typed:
        fields = parts.fields(kind.model, kind.name, REFERENCE)
        made[kind.name] = _typed(common, about(kind), fields)
    return made | _native(parts)


def _native(parts: Definitions) -> dict[str, Schema]:
    """The steps that stand for the library's own."""
    made: dict[str, Schema] = {}
    plain = parts.fields(models.WorkFields, "work")["properties"]
    made["function"] = _joined(plain, parts.fields(FunctionStep, "function"))
    made["step"] = _class_step(plain, parts)
    kept = {key: part for key, part in plain.items() if key in _OF_GROUPS}
    groups = {
        name: parts.add(f"group.{name}", _joined(kept, parts.fields(model, f"group.{name}")))
        for name, model in GROUPS.items()
    }
    made["group"] = {
        "type": "object",
        "description": "A group of the library's own, with what it means in Python.",
        "properties": {"group": {"description": "What kind of group.", "enum": [*groups]}},
        "required": ["group"],
        "allOf": list(choice(groups, "group")),
    }
    return made


def _class_step(plain: Mapping[str, Any], parts: Definitions) -> Schema:
    """A step of a registered class: its fields are what its type says."""
    kinds = plain_types(lambda kind: _is_of_others(kind, ()))
    schema = _joined(plain, parts.fields(ClassStep, "step"))
    properties = schema["properties"]
    properties["step_type"] = {**properties["step_type"], "enum": [kind.name for kind in kinds]}
    fields = {kind.name: parts.fields(kind.model, f"step.{kind.name}") for kind in kinds}
    configs = {
        name: {
            "properties": {"config": parts.add(f"step.{name}", schema)},
            "required": ["config"] if schema.get("required") else [],
        }
        for name, schema in fields.items()
    }
    return {**schema, "allOf": list(choice(configs, "step_type"))}


def _typed(common: Mapping[str, Any], description: str, fields: Schema) -> Schema:
    """A step that has the fields of its type in `config`, or beside its own."""
    required = fields.get("required", [])
    in_config: Schema = {
        "type": "object",
        "properties": {**common, "config": fields},
        "additionalProperties": False,
    }
    beside = {
        **fields,
        "properties": {**fields["properties"], **common},
        "required": [name for name in required if name not in common],
    }
    way = {"if": {"required": ["config"]}, "then": in_config, "else": beside}
    return {"description": description, **way}


def _is_of_others(kind: StepType, own: Iterable[str]) -> bool:
    """Whether a type is of recipes only, or means something else here."""
    return kind.name in own or getattr(kind.step_class, "is_recipe_block", False)


def _joined(common: Mapping[str, Any], schema: Schema) -> Schema:
    properties = {**common, **schema["properties"]}
    about_it = first_paragraph(schema.get("description", ""))
    return {**schema, "description": about_it, "properties": properties}
