"""The older spellings of a workflow's steps, added to the JSON Schema of today's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..workflows import spelling
from .models import NAME, Definitions, Schema, refer


def add_spellings(kind: str, schema: Schema, parts: Definitions) -> None:
    """To the fields of one type of step, and to the parts that it refers to."""
    _add_names(schema, spelling._STEP_KEYS)
    retry = parts.parts.get(f"{kind}.RetryFields")
    if retry is not None:
        _add_names(retry, spelling._RETRY_KEYS)
        retry["properties"]["max_retries"] = _older("max_attempts, less one", {"type": "integer"})
    if kind == "loop":
        _loop(schema, parts.parts["loop.LoopConfig"])
    if kind == "fork_join":
        _fork_join(schema, parts)
    container = spelling._LISTS.get(kind)
    if container is not None:
        fields = dict(schema["properties"])
        schema["properties"][container] = _older("fields beside it", {"type": "object"})
        schema["properties"][container]["properties"] = fields
        for name in tuple(schema.get("required", ())):
            _require_one(schema, name, [name], [container])


def _older(today: str, schema: Any) -> Schema:
    return {
        **{key: part for key, part in schema.items() if key != "default"},
        "description": f"An older spelling: today it is {today}.",
        "deprecated": True,
    }


def _add_names(schema: Schema, names: Mapping[str, str]) -> None:
    """Other names of fields; what was required may have any of them."""
    properties = schema["properties"]
    others: dict[str, list[str]] = {}
    for old, new in names.items():
        if new in properties and old not in properties:
            properties[old] = _older(new, properties[new])
            others.setdefault(new, []).append(old)
    for new, old_names in others.items():
        if new in schema.get("required", ()):
            _require_one(schema, new, *([name] for name in (new, *old_names)))


def _require_one(schema: Schema, name: str, *ways: Iterable[str]) -> None:
    """In place of one required field, one of several ways to say it."""
    schema["required"] = [one for one in schema["required"] if one != name]
    schema.setdefault("allOf", []).append({"anyOf": [{"required": list(way)} for way in ways]})


def _loop(schema: Schema, config: Schema) -> None:
    inside = config["properties"]
    inside["loop_body"] = {**inside["loop_body"], "type": ["array", "string"]}
    for key in ("execution_mode", "on_error"):
        inside[key] = _any_case(inside[key])
    for key in spelling._LOOP_KEYS:
        schema["properties"][key] = _older(f"loop_config.{key}", inside[key])
    needed, config["required"] = config["required"], []
    schema["required"] = []
    schema["allOf"] = [{"anyOf": [{"required": [key]}, _with_key(key)]} for key in needed]


def _with_key(key: str) -> Schema:
    """A loop that says so in its `loop_config`."""
    return {"required": ["loop_config"], "properties": {"loop_config": {"required": [key]}}}


def _fork_join(schema: Schema, parts: Definitions) -> None:
    properties = schema["properties"]
    branch = parts.parts["fork_join.BranchFields"]
    branch["properties"]["timeout"] = _older(
        "timeout_seconds", branch["properties"]["timeout_seconds"]
    )
    ids = branch["properties"]["steps"]
    name = {"type": "string", "description": "The branch's name."}
    named = {**branch, "properties": {**branch["properties"], "name": name}}
    named["required"] = [*branch["required"], "name"]
    branches = {**properties["branches"], "propertyNames": NAME}
    branches.pop("patternProperties", None)  # which says the same of their names
    properties["branches"] = {
        **branches,
        "type": ["object", "array"],
        "additionalProperties": {
            "if": {"type": "array"},
            "then": ids,
            "else": refer("fork_join.BranchFields"),
        },
        "items": named,
        "minItems": 1,
    }
    properties["join_policy"] = _any_case(properties["join_policy"])


def _any_case(schema: Schema) -> Schema:
    """The values of an enum, in capitals too, and with - for _."""
    made = {key: part for key, part in schema.items() if key not in ("enum", "type")}
    words = "|".join("".join(map(_either_case, value)) for value in schema["enum"])
    any_case = {"type": "string", "pattern": f"^({words})$"}
    return {**made, "anyOf": [{"enum": schema["enum"]}, any_case]}


def _either_case(letter: str) -> str:
    return "[_-]" if letter == "_" else f"[{letter}{letter.upper()}]"
