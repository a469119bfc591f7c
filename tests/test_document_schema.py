"""`document_schema`: valid JSON Schema that accepts what loads, and refuses what does not."""

from __future__ import annotations

import copy
import enum
import functools
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel

from task_pipeline import ConfigurationError, DocumentError, PipelineStep
from task_pipeline.documents import (
    STEP_REGISTRY,
    StepConfig,
    document_schema,
    load_pipeline,
    register_step,
)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = set(STEP_REGISTRY)
    yield
    for name in STEP_REGISTRY.keys() - before:
        del STEP_REGISTRY[name]


@functools.cache
def validator(kind: str, handlers: Any, types: Any) -> jsonschema.Draft202012Validator:
    """Of the types that are registered: it takes a while to make."""
    schema = json.loads(json.dumps(document_schema(kind, handlers)))
    return jsonschema.Draft202012Validator(schema)


def mistakes(kind: str, document: Any, *handlers: str) -> list[str]:
    found = validator(kind, handlers, tuple(STEP_REGISTRY.items())).iter_errors(document)
    return [f"{list(error.absolute_path)}: {error.message}" for error in found]


def recipe(*steps: Any) -> dict[str, Any]:
    return {"steps": list(steps)}


def workflow(**steps: Any) -> dict[str, Any]:
    return {"start_step": next(iter(steps)), "steps": steps}


@pytest.mark.parametrize("kind", ["recipe", "workflow"])
def test_it_is_a_valid_schema_with_words_for_people(kind: str) -> None:
    schema = document_schema(kind)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == document_schema(kind)
    for name in STEP_REGISTRY:
        part = schema["$defs"].get(name)
        assert part is None or part["description"], name
    text = json.dumps(schema)
    assert "```" not in text
    used = set(re.findall(r'"#/\$defs/([^"]+)"', text))
    assert used <= schema["$defs"].keys()


@pytest.mark.parametrize("kind", ["recipes", "", None, 1])
def test_there_are_two_kinds_of_documents(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match='"recipe" and one of "workflow"'):
        document_schema(kind)


def test_handlers_are_a_list() -> None:
    with pytest.raises(ConfigurationError, match="handlers must be a list of names"):
        document_schema("recipe", "summarize")


# Recipes

GOOD_RECIPES: list[Any] = [
    recipe(),
    [{"type": "set_context", "key": "a", "value": 1}],
    {"$schema": "./recipe.schema.json", "name": "n", "description": "d", "steps": []},
    recipe({"type": "set_context", "key": "a", "value": [1, {"b": None}], "if_exists": "merge"}),
    recipe({"type": "set_context", "id": "first", "config": {"key": "a", "value": 1}}),
    recipe({"type": "set_context", "key": "a", "value": 1, "nested_render": "{{ nested }}"}),
    recipe(
        {"type": "set_context", "key": "a", "value": 1, "if_exists": "{% if a %}merge{% endif %}"}
    ),
    recipe(
        {
            "type": "parallel",
            "substeps": [
                {"type": "set_context", "key": "a", "value": 1},
                [{"type": "set_context", "key": "b", "value": 1}],
                {"type": "parallel", "config": {"substeps": [], "timeout": 1}},
            ],
            "max_concurrency": 2,
            "delay": 1,
            "merge": ["a"],
        }
    ),
    recipe(
        {
            "type": "conditional",
            "condition": "{{ a }} > 1",
            "if_true": {"type": "set_context", "key": "a", "value": 1},
            "if_false": {"steps": [{"type": "set_context", "key": "a", "value": 1}]},
        },
        {"type": "conditional", "condition": True, "if_true": []},
    ),
    recipe(
        {
            "type": "loop",
            "items": "data.0.items",
            "item_key": "item",
            "substeps": [{"type": "set_context", "key": "a", "value": 1}],
            "result_key": "all",
            "fail_fast": False,
        }
    ),
    recipe({"type": "write_files", "files": [{"path": "{{ name }}", "content": {"a": 1}}]}),
]

WRONG_RECIPES: list[tuple[Any, str]] = [
    ({}, "'steps' is a required property"),
    ({"steps": {}}, "is not of type 'array'"),
    ({"steps": [], "stepz": []}, "'stepz' was unexpected"),
    ("steps", "is not of type"),
    (recipe({"key": "a", "value": 1}), "'type' is a required property"),
    (recipe({"type": "set_contxt", "key": "a"}), "'set_contxt' is not one of"),
    (recipe({"type": "set_context", "value": 1}), "'key' is a required property"),
    (recipe({"type": "set_context", "kye": "a", "key": "a", "value": 1}), "'kye' was unexpected"),
    (recipe({"type": "set_context", "key": "a", "value": 1, "if_exists": "add"}), "if_exists"),
    (recipe({"type": "set_context", "key": "a", "value": 1, "nested_render": "yes"}), "nested"),
    (recipe({"type": "set_context", "key": "a", "config": {"key": "a", "value": 1}}), "'key' was"),
    (recipe({"type": "set_context", "config": {"value": 1}}), "'key' is a required property"),
    (recipe({"type": "set_context", "id": " ", "key": "a", "value": 1}), "does not match"),
    (recipe({"type": "parallel", "substeps": [], "max_concurrency": -1}), "-1"),
    (recipe({"type": "parallel", "substeps": [], "delay": "{{ n }}"}), "is not of type 'number'"),
    (recipe({"type": "parallel", "substeps": [{"type": "no"}]}), "'no' is not one of"),
    (recipe({"type": "parallel", "substeps": [[{"type": "no"}]]}), "'no' is not one of"),
    (recipe({"type": "conditional", "condition": "a", "if_true": {"type": "no"}}), "'no' is not"),
    (recipe({"type": "conditional", "condition": "a", "if_true": {"steps": 1}}), "not of type"),
    (recipe({"type": "loop", "items": "a", "item_key": "b", "substeps": 1}), "1 is not of type"),
]


@pytest.mark.parametrize("document", GOOD_RECIPES)
def test_recipes_that_load_are_accepted(document: Any) -> None:
    assert mistakes("recipe", document) == []
    load_pipeline(copy.deepcopy(document), "recipe")


@pytest.mark.parametrize(("document", "part"), WRONG_RECIPES)
def test_recipes_that_do_not_load_are_refused(document: Any, part: str) -> None:
    assert any(part in mistake for mistake in mistakes("recipe", document))
    if not isinstance(document, str):
        with pytest.raises(DocumentError):
            load_pipeline(copy.deepcopy(document), "recipe")


def test_types_of_handlers_are_accepted_if_they_are_named() -> None:
    document = recipe({"type": "summarize", "text": "{{ a }}", "words": 3})
    assert any("'summarize' is not one of" in one for one in mistakes("recipe", document))
    assert mistakes("recipe", document, "summarize") == []
    load_pipeline(document, handlers={"summarize": lambda config, context: None})
    flow = workflow(a={"type": "summarize", "config": {"text": "x"}})
    assert mistakes("workflow", flow, "summarize", "agent") == []


# Types of the application's own


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    below: list[Tree] = []


class Oddity:
    """What pydantic has no schema for."""


class BoxConfig(StepConfig):
    """What is in a box.

    More of it, for those who read the code.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    size: Size
    count: int = Field(1, ge=1, validation_alias=AliasChoices("count", "how_many"))
    weight: float = Field(validation_alias=AliasChoices("weight", "kg"), alias_priority=2)
    tree: Tree | None = None
    pair: tuple[int, str] = (1, "a")
    each: dict[str, int] = {}
    named: dict[Annotated[str, Field(pattern="^[a-z]+$")], int] = {}
    odd: Oddity = Field(default_factory=Oddity)
    code: str = Field("AB", pattern="^[A-Z]+$")
    what: str = Field("x", min_length=1)
    off: Any = Oddity()


class Box(PipelineStep):
    config: BoxConfig

    def run(self, context: Any) -> None: ...


def test_a_type_of_the_application_is_known_with_all_its_fields() -> None:
    register_step("box")(Box)
    full: dict[str, Any] = {
        "type": "box",
        "size": "small",
        "how_many": 3,
        "kg": 1.5,
        "tree": {"name": "a", "below": [{"name": "b"}]},
        "pair": [1, "a"],
        "each": {"a": 1},
    }
    assert mistakes("recipe", recipe(full)) == []
    rendered = {
        "type": "box",
        "size": "{{ size }}",
        "count": "{{ n }}",
        "weight": "{{ n }}",
        "tree": {"name": "a", "below": "{{ trees }}"},
        "pair": ["{{ n }}", "a"],
        "each": {"a": "{{ n }}"},
        "named": {"a": "{{ n }}"},
        "code": "{{ code }}",
        "what": "{{ what }}",
    }
    assert mistakes("recipe", recipe(rendered)) == []
    for wrong in (
        {**full, "size": "huge"},
        {**full, "how_many": 0},
        {key: full[key] for key in full.keys() - {"kg"}},
        {**full, "tree": {"nam": "a"}},
        {**full, "tree": {"name": "a", "below": [{"name": 1}]}},
        {**full, "each": {"a": "many"}},
        {**full, "named": {"a": "many"}},
        {**full, "pair": ["one", "a"]},
        {**full, "code": "ab"},
    ):
        assert mistakes("recipe", recipe(wrong)) != []
    assert document_schema("recipe")["$defs"]["box"]["description"] == "box"


def test_in_a_workflow_references_stand_for_values() -> None:
    register_step("box")(Box)
    config = {"size": "${a.output}", "count": "${a.output.n}", "weight": 1, "pair": "${a.output}"}
    assert mistakes("workflow", workflow(a={"type": "box", "config": config})) == []
    assert mistakes("workflow", workflow(a={"type": "box", "config": {"size": "small"}})) != []
    assert mistakes("workflow", workflow(a={"type": "box"})) != []
    plain = {"type": "step", "step_type": "box", "config": config}
    assert mistakes("workflow", workflow(a=plain)) != []
    plain["config"] = {"size": "small", "weight": 1}
    assert mistakes("workflow", workflow(a=plain)) == []


def test_names_that_cannot_stand_in_a_reference() -> None:
    for name in ("a/b~c %", "a_b_c _", "step", "series", "config"):
        register_step(name)(Box)
    schema = document_schema("recipe")
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in ("a/b~c %", "a_b_c _", "step", "series", "config"):
        fields = {"type": name, "size": "small", "weight": 1}
        assert mistakes("recipe", recipe(fields)) == []
        assert mistakes("recipe", recipe({**fields, "more": 1})) != []
        assert mistakes("workflow", workflow(a={"type": name, "config": {}})) != []


class Words(RootModel[dict[str, str]]):
    pass


class HasConfig(PipelineStep):
    def __init__(self, config: str, id: int = 0) -> None:  # noqa: A002  # a field of that name
        self.config = config
        self.id = id

    def run(self, context: Any) -> None: ...


class Recursive(PipelineStep):
    config: Tree

    def run(self, context: Any) -> None: ...


class Mapped(PipelineStep):
    config: Words

    def run(self, context: Any) -> None: ...


def test_models_of_unusual_forms() -> None:
    register_step("has_config")(HasConfig)
    register_step("recursive")(Recursive)
    register_step("mapped")(Mapped)
    good: list[Any] = [
        {"type": "has_config", "config": "a text", "id": 3},
        {"type": "has_config", "config": {"config": "a text"}},
        {"type": "recursive", "name": "a", "below": [{"name": "b", "below": []}]},
        {"type": "mapped", "config": {"any": "word"}},
    ]
    for step in good:
        assert mistakes("recipe", recipe(step)) == []
    wrong: list[Any] = [
        {"type": "has_config", "config": 3},
        {"type": "has_config"},
        {"type": "recursive", "name": "a", "below": [{"name": "b", "more": []}]},
        {"type": "mapped", "config": {"any": 3}},
    ]
    for step in wrong:
        assert mistakes("recipe", recipe(step)) != []


# Workflows

A = {"agent_name": "a"}
GOOD_WORKFLOWS: list[Any] = [
    workflow(a=A),
    {"steps": [{"id": "a", **A, "next_step": "b"}, {"id": "b", "type": "agent", **A}]},
    {"workflow_id": "w", "name": "n", "version": "1.0", "description": "d", **workflow(a=A)},
    {"$schema": "./workflow.schema.json", "config": {"timeout": 3}, **workflow(a=A)},
    {"config": None, "name": None, "start_step": "straße-1_b", **workflow(**{"straße-1_b": A})},
    workflow(
        a={**A, "retry": 2, "timeout": 3, "critical": False, "input_mapping": {"b": ["${x}"]}}
    ),
    workflow(a={**A, "retry": {"max_retries": 2, "delay_seconds": 1}, "timeout_seconds": 3}),
    workflow(a={"type": "parallel", "parallel_steps": ["b"], "max_parallelism": 2}, b=A),
    workflow(
        a={
            "type": "fork-join",
            "branches": {"x": {"steps": ["b"], "timeout": 1}, "y": ["c"]},
            "join_policy": "N-of-M",
            "n_required": 1,
        },
        b=A,
        c=A,
    ),
    workflow(
        a={"type": "fork_join", "branches": [{"name": "x", "steps": ["b"]}], "join_policy": "any"},
        b=A,
    ),
    workflow(
        a={
            "type": "conditional",
            "condition": {"expression": "${workflow.input.a} > 1"},
            "if_true_step": "b",
            "else_step": "c",
        },
        b=A,
        c=A,
    ),
    workflow(
        a={
            "type": "loop",
            "loop_config": {"collection": "${workflow.input.a}", "loop_body": ["b"]},
        },
        b=A,
    ),
    workflow(
        a={
            "type": "loop",
            "collection": [1],
            "loop_body": "b",
            "execution_mode": "PARALLEL",
            "on_error": "Collect",
        },
        b=A,
    ),
    workflow(a={"type": "sub_workflow", "workflow": workflow(b=A)}),
    workflow(a={"type": "set_context", "config": {"key": "a", "value": "${workflow.input.a}"}}),
    workflow(a={"type": "set_context", "key": "a", "value": 1, "timeout_seconds": 3}),
    workflow(
        a={"type": "group", "group": "map", "over": [1], "steps": ["b"], "next_step": "c"},
        b={"type": "function", "function": "len", "attributes": {"weight": 2}, "retry": 1},
        c={"type": "group", "group": "loop", "steps": ["d"], "times": 2, "critical": False},
        d={"type": "group", "group": "branch", "condition": "n", "then": ["e"]},
        e={"type": "group", "group": "pipeline", "steps": ["f"], "config": {"fail_fast": False}},
        f={"type": "group", "group": "parallel", "steps": [], "config": {"operator": "OR"}},
    ),
]

WRONG_WORKFLOWS: list[tuple[Any, str]] = [
    ({}, "'steps' is a required property"),
    ({"steps": [A]}, "'id' is a required property"),
    *[(workflow(**{name: A}), "does not match") for name in ("a b", "a.b", "a[", "", "a{", "~")],
    *[(workflow(**{name: A}), "does not match") for name in ("workflow", "loop", "steps", "env")],
    ({"steps": [{"id": "loop", **A}]}, "does not match"),
    ({**workflow(a=A), "start": "a"}, "'start' was unexpected"),
    ({**workflow(a=A), "config": {"timeout": 0}}, "0"),
    (workflow(a={**A, "nextstep": "b"}), "'nextstep' was unexpected"),
    (workflow(a={**A, "type": "agnet"}), "'agnet' is not one of"),
    (workflow(a={**A, "timeout": -1}), "-1"),
    (workflow(a={**A, "retry": {"times": 1}}), "is not valid under any"),
    (workflow(a={"type": "parallel"}), "is not valid under any"),
    (workflow(a={"type": "parallel", "parallel_steps": [], "max_parallelism": 0}, b=A), "0"),
    (workflow(a={"type": "fork_join", "branches": {"b": {"step": []}}}), "'step' was unexpected"),
    (workflow(a={"type": "fork_join", "branches": {"b": ["c"]}, "join_policy": "most"}), "'most'"),
    (workflow(a={"type": "conditional", "then_step": "b"}, b=A), "is not valid under any"),
    (
        workflow(a={"type": "loop", "loop_config": {"loop_body": ["b"]}}, b=A),
        "is not valid under any",
    ),
    (workflow(a={"type": "loop", "loop_body": ["b"]}, b=A), "is not valid under any"),
    (workflow(a={"type": "loop", "collection": [], "loop_body": 3}, b=A), "3"),
    (workflow(a={"type": "set_context", "config": {"kye": "a"}}), "'kye' was unexpected"),
    (workflow(a={"type": "set_context", "kye": "a", "value": 1}), "'kye' was unexpected"),
    (workflow(a={"type": "set_context", "value": 1}), "'key' is a required property"),
    (workflow(a={"type": "execute_recipe", "config": {"recipe_path": "a"}}), "is not one of"),
    (workflow(a={"type": "group", "steps": []}), "'group' is a required property"),
    (workflow(a={"type": "group", "group": "serie", "steps": []}), "'serie' is not one of"),
    (workflow(a={"type": "group", "group": "serial", "steps": [], "over": 1}), "'over' was"),
    (workflow(a={"type": "group", "group": "serial", "steps": [], "timeout": 1}), "'timeout' was"),
    (workflow(a={"type": "function", "function": "f", "timeout_seconds": 1}), "'timeout_seconds'"),
    (workflow(a={"type": "function"}), "'function' is a required property"),
    (workflow(a={"type": "step", "step_type": "loop", "config": {}}), "'loop' is not one of"),
]


@pytest.mark.parametrize("document", GOOD_WORKFLOWS)
def test_workflows_that_load_are_accepted(document: Any) -> None:
    assert mistakes("workflow", document) == []
    agents, functions = {"a": lambda given: given}, {"len": lambda context: 1}
    load_pipeline(copy.deepcopy(document), "workflow", agents=agents, functions=functions)


@pytest.mark.parametrize(("document", "part"), WRONG_WORKFLOWS)
def test_workflows_that_do_not_load_are_refused(document: Any, part: str) -> None:
    found = mistakes("workflow", document)
    assert any(part in mistake for mistake in found), found
    with pytest.raises(DocumentError):
        load_pipeline(copy.deepcopy(document), "workflow", agents={"a": lambda given: given})
