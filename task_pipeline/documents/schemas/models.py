"""Pydantic models as JSON Schema, with what documents may write in place of a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from ..mistakes.known_fields import _aliases
from ..registry import STEP_REGISTRY, StepType

Schema = dict[str, Any]

TEMPLATE: Schema = {
    "type": "string",
    "pattern": r"\{\{|\{%",
    "description": "A template that comes to such a value.",
}
REFERENCE: Schema = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "A reference that leads to such a value.",
}
NAME: Schema = {"type": "string", "pattern": r"\S"}

_SHARED = ("description", "default")
_INNER = ("anyOf", "oneOf", "allOf")
# A text with a template or reference in it keeps to these anyway.
_HARMLESS = {"type", "title", "description", "default", "examples", "minLength", "deprecated"}


class _Generator(GenerateJsonSchema):
    """Leaves out what JSON Schema has no word for, in the models of an application."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {
        "skipped-choice",
        "non-serializable-default",
    }

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        """Anything may stand there."""
        return {}


class Definitions:
    """The parts of a schema that are referred to, by name."""

    def __init__(self) -> None:
        self.parts: dict[str, Schema] = {}

    def add(self, wanted: str, schema: Schema) -> Schema:
        """Take a part in; returns what refers to it."""
        name = self.free(wanted)
        self.parts[name] = schema
        return refer(name)

    def free(self, wanted: str) -> str:
        """A name that no part has yet, and that can stand in a reference as it is."""
        plain = found = re.sub(r"[^A-Za-z0-9_.-]", "_", wanted)
        count = 1
        while found in self.parts:
            count += 1
            found = f"{plain}-{count}"
        return found

    def fields(self, model: type[BaseModel], name: str, instead: Schema | None = None) -> Schema:
        """The fields of a model, as an object's schema.

        `instead`: what may stand in place of any value that is no plain text.
        """
        prefix = self.free(f"{name}.")
        made = model.model_json_schema(
            ref_template=f"#/$defs/{prefix}{{model}}", schema_generator=_Generator
        )
        parts = {f"{prefix}{key}": part for key, part in made.pop("$defs", {}).items()}
        top = made.pop("$ref", None)
        if top is not None:  # a model that has itself in it
            made = {**parts[top.removeprefix("#/$defs/")], **made}
        for key, part in parts.items():
            self.parts[key] = _tidied(_open(part, instead))
        made = {**_tidied(_open(made, instead))}
        made.setdefault("properties", {})
        _add_aliases(model, made)
        return made


def refer(name: str) -> Schema:
    """What refers to a part."""
    return {"$ref": f"#/$defs/{name}"}


def described(schema: Schema, like: Schema) -> Schema:
    """A schema with what another one says for people."""
    about = {"description": like["description"]} if "description" in like else {}
    return {**about, **schema}


def choice(kinds: Mapping[str, Schema], key: str, default: str | None = None) -> Iterator[Schema]:
    """What holds of an object for each value that its `key` may have."""
    for kind, schema in kinds.items():
        has_it: Schema = {"properties": {key: {"const": kind}}}
        if kind != default:
            has_it["required"] = [key]
        yield {"if": has_it, "then": schema}


def one_of_required(names: Iterable[str]) -> Schema:
    """That one of several keys is there at least."""
    return {"anyOf": [{"required": [name]} for name in names]}


def plain_types(excluded: Callable[[StepType], bool]) -> list[StepType]:
    """The registered types, in alphabetical order, but for some."""
    kinds = (STEP_REGISTRY.type_of(name) for name in sorted(STEP_REGISTRY))
    return [kind for kind in kinds if not excluded(kind)]


def about(kind: StepType) -> str:
    """What the class of a type says of itself, in a line."""
    return first_paragraph(kind.step_class.__dict__.get("__doc__") or kind.name)


def first_paragraph(text: str) -> str:
    """What a description begins with; the rest is for those who read the code."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _tidied(schema: Any) -> Any:
    """Without titles that only repeat names, and without examples of code."""
    if isinstance(schema, list):
        return [_tidied(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for key, inner in schema.items():
        if key in ("properties", "$defs", "patternProperties"):
            made[key] = {name: _tidied(part) for name, part in inner.items()}
        elif key == "description" and isinstance(inner, str):
            made[key] = first_paragraph(inner)
        elif key in ("default", "const", "enum", "examples"):
            made[key] = inner
        elif key != "title":
            made[key] = _tidied(inner)
    return made


def _open(schema: Schema, instead: Schema | None) -> Schema:
    """The schema of an object or list, in which something else may stand for any value."""
    if instead is None:
        return schema
    made = dict(schema)
    for group in ("properties", "patternProperties"):
        if isinstance(made.get(group), dict):
            made[group] = {key: _either(part, instead) for key, part in made[group].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _either(made[key], instead)
    if isinstance(made.get("prefixItems"), list):
        made["prefixItems"] = [_either(part, instead) for part in made["prefixItems"]]
    for key in _INNER:
        if isinstance(made.get(key), list):
            made[key] = [_open(part, instead) for part in made[key]]
    return made


def _either(schema: Schema, instead: Schema) -> Schema:
    if _takes_texts(schema):
        return _open(schema, instead)
    inner = _open(schema, instead)
    shared: Schema = {key: inner.pop(key) for key in _SHARED if key in inner}
    return {**shared, "anyOf": [inner, instead]}


def _takes_texts(schema: Schema) -> bool:
    """Whether any text may stand there already."""
    if any(_takes_texts(part) for key in ("anyOf", "oneOf") for part in schema.get(key, ())):
        return True
    kind = schema.get("type")
    if kind is None:
        return not schema.keys() - _HARMLESS
    return kind == "string" and not schema.keys() - _HARMLESS


def _add_aliases(model: type[BaseModel], schema: Schema) -> None:
    """The other names that fields may be written under."""
    properties = schema["properties"]
    required = schema.get("required", [])
    by_name = model.model_config.get("populate_by_name") or model.model_config.get(
        "validate_by_name"
    )
    for name, field in model.model_fields.items():
        names = [*_aliases(field), *([name] if by_name else [])]
        known = next((one for one in names if one in properties), None)
        if known is None or len(names) < 2:
            continue
        for other in names:
            properties.setdefault(other, properties[known])
        if known in required:
            required.remove(known)
            schema.setdefault("allOf", []).append(one_of_required(names))
