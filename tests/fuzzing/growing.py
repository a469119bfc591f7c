"""Documents grown from the models of all registered types, so that every field is tried."""

from __future__ import annotations

import itertools
from functools import cache
from random import Random
from typing import Any

from pydantic import BaseModel

from task_pipeline.documents import STEP_REGISTRY
from task_pipeline.documents.workflows import models, native_models

from . import fragments

DEEPEST = 4
_NOT_GROWN = ("next_step", "id", "type", "$schema")
_IDS = ("parallel_steps", "loop_body", "then", "otherwise", "steps")
_ID = ("if_true_step", "if_false_step")
_DEFINED = ["add", "keys", "fail", "refuse", "echo", "later"]

Schema = dict[str, Any]


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def grown(random: Random) -> Any:
    """A recipe or a workflow that nobody has written."""
    return _Recipe(random).document() if random.random() < 0.5 else _Workflow(random).document()


class _Growing:
    """Makes values that a schema allows, or nearly: a few are anything at all."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.depth = 0

    def fields(self, model: type[BaseModel]) -> dict[str, Any]:
        """The fields of a model."""
        schema = _schema_of(model)
        made: dict[str, Any] = self.object(schema, schema.get("$defs", {}))
        return made

    def steps(self, name: str) -> Any:
        """What stands in a field for steps."""
        raise NotImplementedError

    def is_for_steps(self, name: str, schema: Schema) -> bool:
        """Whether a field is for steps."""
        raise NotImplementedError

    def value(self, schema: Any, name: str, defs: Schema) -> Any:
        """A value for the field of that name."""
        random = self.random
        if not isinstance(schema, dict) or random.random() < 0.01:
            return fragments.value(random)
        if self.is_for_steps(name, schema):
            return self.steps(name)
        if "$ref" in schema:
            return self.value(defs[schema["$ref"].rpartition("/")[2]], name, defs)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return random.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.value(random.choice(schema[word]), name, defs)
        kind = schema.get("type")
        if kind == "object":
            return self.object(schema, defs)
        if kind == "array":
            inner = schema.get("items", {})
            least = schema.get("minItems", 0)
            count = random.randint(least, max(least, 2)) if self.depth < DEEPEST else least
            return [self.value(inner, name, defs) for _ in range(count)]
        return self.plain(kind, name)

    def object(self, schema: Schema, defs: Schema) -> dict[str, Any]:
        """An object with what it must have, and some of what it may."""
        random = self.random
        required = schema.get("required", [])
        made = {}
        self.depth += 1
        for key, part in schema.get("properties", {}).items():
            is_wanted = key in required or random.random() < 0.25
            if is_wanted and key not in _NOT_GROWN:
                made[key] = self.value(part, key, defs)
        more = schema.get("additionalProperties")
        if more and self.depth <= DEEPEST:
            for _ in range(random.randint(schema.get("minProperties", 0), 2)):
                made[random.choice(fragments.IDS[:6])] = self.value(more, "", defs)
        self.depth -= 1
        return made

    def plain(self, kind: str | None, name: str) -> Any:
        """A value that has no others in it."""
        random = self.random
        if kind == "string":
            return self.text(name)
        if kind == "integer":
            return random.choice([0, 1, 1, 2, 2, 3, 10, random.choice(fragments.NUMBERS)])
        if kind == "number":
            return random.choice([0, 0.001, 0.01, 0.5, 1, 5, random.choice(fragments.NUMBERS)])
        if kind == "boolean":
            return random.random() < 0.5
        return None if kind == "null" else fragments.value(random)

    def text(self, name: str) -> str:
        """A text of the kind that the field is for."""
        random = self.random
        if random.random() < 0.05:
            return fragments.text(random)
        if name in ("condition", "expression", "while"):
            return fragments.condition(random)
        if "path" in name or name in ("root", "extract_dir", "cwd", "resource_files"):
            return random.choice(random.choice([fragments.PATHS[:8], fragments.PATHS]))
        if name in ("function", "agent_name"):
            return random.choice(_DEFINED)
        if name in ("items", "collection", "over"):
            return random.choice(["items", "data.0.items", "${items}", "{{ items }}", "tuple", "n"])
        if name == "step_type":
            return random.choice(["set_context", "read_files", "python"])
        if name.endswith("key"):
            return random.choice([*fragments.NAMES, "x", "y"])
        return random.choice([fragments.template, fragments.text])(random)


class _Recipe(_Growing):
    def document(self) -> Any:
        """A whole one."""
        return {"steps": [self.step() for _ in range(self.random.randint(1, 4))]}

    def step(self) -> Any:
        """A step of any type, in either form."""
        types = sorted(STEP_REGISTRY)
        # What is not allowed is refused, and nothing else of the document seen.
        if self.random.random() < 0.95:
            types.remove("shell")
        kind = self.random.choice(types) if self.depth < DEEPEST else "set_context"
        made = self.fields(STEP_REGISTRY.type_of(kind).model)
        return (
            {"type": kind, "config": made} if self.random.random() < 0.2 else {"type": kind, **made}
        )

    def is_for_steps(self, name: str, schema: Schema) -> bool:
        """Whether a field is for steps: it is marked so."""
        return "x-steps" in schema

    def steps(self, name: str) -> Any:
        """Some steps, or one."""
        made = [self.step() for _ in range(self.random.randint(0, 2))]
        if name != "if_true" or self.random.random() < 0.8:
            return made
        return {"steps": made} if self.random.random() < 0.5 else self.step()


class _Workflow(_Growing):
    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.made: dict[str, Any] = {}
        self.names = (f"s{number}" for number in itertools.count())

    def document(self) -> Any:
        """A whole one."""
        random = self.random
        chain = [self.step() for _ in range(random.randint(1, 4))]
        for name, follower in itertools.pairwise(chain):
            if isinstance(self.made[name], dict):
                self.made[name]["next_step"] = follower
        document = {"workflow_id": "grown", "start_step": chain[0], "steps": self.made}
        if random.random() < 0.2:
            document["config"] = self.fields(native_models.PipelineSettings)
        return document

    def step(self) -> str:
        """A step of any type; its id."""
        random = self.random
        name = next(self.names)
        kinds = [
            "agent",
            "agent",
            *models.MODELS,
            "typed",
            "typed",
            "group",
            "group",
            "function",
            "step",
        ]
        kind = random.choice(kinds) if self.depth < DEEPEST else "agent"
        self.made[name] = {}
        if kind == "typed":
            types = [key for key in STEP_REGISTRY if key not in _OF_RECIPES]
            kind = random.choice(types)
            fields: dict[str, Any] = {"config": self.fields(STEP_REGISTRY.type_of(kind).model)}
        elif kind == "group":
            fields = self.fields(random.choice(list(native_models.GROUPS.values())))
        elif kind in ("function", "step"):
            model = native_models.FunctionStep if kind == "function" else native_models.ClassStep
            fields = self.fields(model)
        else:
            fields = self.fields(models.MODELS[kind])
        if kind == "agent" and random.random() < 0.95:
            for key in ("url", "method", "headers"):
                fields.pop(key, None)
            fields.setdefault("agent_name", "echo")
        self.made[name] = {"type": kind, **fields}
        return name

    def is_for_steps(self, name: str, schema: Schema) -> bool:
        """Whether a field is for ids: by its name."""
        return name in _ID or (name in _IDS and schema.get("type") == "array")

    def steps(self, name: str) -> Any:
        """The ids of some steps, or of one."""
        self.depth += 1
        ids = [self.step() for _ in range(self.random.randint(1, 2))]
        self.depth -= 1
        return ids[0] if name in _ID else ids


_OF_RECIPES = ("parallel", "loop", "conditional", "execute_recipe", "shell")
