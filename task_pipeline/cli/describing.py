"""`schema` and `steps`: what documents may say."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_jsonable_python

from .failures import OK
from .output import Cell, Column, Output

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from ..documents.registry import StepType

_COLUMNS = (
    Column("STEP"),
    Column("FIELD"),
    Column("VALUE", gives_way=True),
    Column("DEFAULT", gives_way=True),
    Column("MEANING", gives_way=True, is_optional=True),
)
_REQUIRED = "required"


def show_schema(output: Output, kind: str) -> int:
    """Write the JSON Schema of a kind of document."""
    from ..documents import document_schema

    output.document(document_schema(kind))
    return OK


def show_steps(output: Output, as_json: bool) -> int:
    """Write the registered types of steps and their fields."""
    from ..documents import STEP_REGISTRY

    steps = [_step(name, STEP_REGISTRY.type_of(name)) for name in sorted(STEP_REGISTRY)]
    if as_json:
        output.document({"steps": steps})
    else:
        output.table(_COLUMNS, [row for step in steps for row in _rows(output, step)])
    return OK


def _step(name: str, kind: StepType) -> dict[str, Any]:
    properties = _properties(kind.model)
    fields = []
    for key, info in kind.model.model_fields.items():
        written = info.validation_alias if isinstance(info.validation_alias, str) else key
        fields.append(
            {
                "name": written,
                "type": _type_text(properties.get(written, {})),
                "required": info.is_required(),
                "default": _default(info),
                "description": info.description,
            }
        )
    return {"type": name, "description": _first_line(kind.step_class), "fields": fields}


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    """The schemas of a model's fields; of one that has a field without any, nothing."""
    try:
        found: dict[str, Any] = model.model_json_schema().get("properties", {})
    except PydanticInvalidForJsonSchema:
        return {}
    return found


def _default(info: FieldInfo) -> Any:
    """What a field is if it is left out, as JSON has it; null if it must not be."""
    if info.is_required():
        return None
    factory: Any = info.default_factory
    try:
        made = info.default if factory is None else factory()
    except TypeError:  # it takes the other fields, which are not there
        return None
    return to_jsonable_python(made, fallback=str)


def _rows(output: Output, step: dict[str, Any]) -> list[list[Cell | str]]:
    rows: list[list[Cell | str]] = [
        [Cell(output.show(step["type"]), "bold"), "", "", "", output.show(step["description"])]
    ]
    for field in step["fields"]:
        default = _REQUIRED if field["required"] else json.dumps(field["default"])
        rows.append(
            [
                "",
                output.show(field["name"]),
                output.show(field["type"]),
                output.show(default),
                output.show(field["description"] or ""),
            ]
        )
    return rows


def _type_text(about: dict[str, Any]) -> str:
    """What may stand in a field, of its JSON Schema."""
    if "enum" in about:
        return " | ".join(map(repr, about["enum"]))
    if "const" in about:
        return repr(about["const"])
    parts = about.get("anyOf") or about.get("oneOf")
    if parts:
        return " | ".join(dict.fromkeys(map(_type_text, parts)))
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    kind = about.get("type", "any")
    if kind == "array" and about.get("items"):
        return f"list of {_type_text(about['items'])}"
    return _WORDS.get(kind, str(kind))


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true | false",
    "array": "list",
    "object": "object",
}


def _first_line(step_class: type) -> str:
    text = inspect.cleandoc(step_class.__dict__.get("__doc__") or "")
    return text.partition("\n")[0]
