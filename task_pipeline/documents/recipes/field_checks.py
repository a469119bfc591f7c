"""The fields of a step, checked when its recipe is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from ..problems import Path, Problems, from_pydantic
from ..surroundings import Surroundings
from ..templates import check_template, has_template
from ..typed_steps import Place, Render
from .rendering import Rendering, render_nothing
from .type_facts import TypeFacts

Fields = dict[str, Any]


def holds_template(value: Any) -> bool:
    """Whether there is a template in a value, at any depth."""
    kind = type(value)
    if kind is str:
        return "{{" in value or "{%" in value
    if kind is dict:
        return any(map(holds_template, value.values()))
    return kind is list and any(map(holds_template, value))


def validated(facts: TypeFacts, fields: Fields) -> BaseModel:
    """The config of these fields. Raises pydantic's `ValidationError`."""
    try:
        config: BaseModel = facts.validate(fields, strict=True)
        return config
    except ValidationError:
        # JSON has no tuples, paths or dates: read as JSON, what stands for one is one.
        return facts.kind.model.model_validate_json(json.dumps(fields), strict=True)


def checked(
    facts: TypeFacts, fields: Fields, place: Place, surroundings: Surroundings, problems: Problems
) -> tuple[BaseModel | None, Render]:
    """A step's config, if it needs not be rendered, and what renders its fields if it does."""
    before = len(problems)
    config: BaseModel | None = None
    typed: frozenset[Path] = frozenset()
    has_templates = holds_template(fields)
    try:
        config = validated(facts, fields)
    except ValidationError as error:
        from_pydantic(
            error, place.source, place.path, problems, facts.kind.model, fields, holds_template
        )
        if has_templates:
            typed = frozenset(_templates_in(error, fields))
    if has_templates:
        check_templates(fields, place, problems)
    if facts.check is not None and len(problems) == before:
        for path, found, hint in facts.check(fields, surroundings):
            problems.add(place.source, place.path + path, found, hint)
    if not has_templates or not any(
        holds_template(field) for key, field in fields.items() if key not in facts.itself
    ):
        return config, render_nothing
    return None, Rendering(place, facts.itself, typed)


def check_templates(value: Any, place: Place, problems: Problems) -> None:
    """Add what is wrong with the templates in a value, at any depth."""
    for path, text in texts_in(value, ()):
        if has_template(text) and (found := check_template(text)) is not None:
            problems.add(place.source, place.path + path, f"the template is wrong: {found}")


def texts_in(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text in a value, and where it is."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_in(item, (*path, index))


def _templates_in(error: ValidationError, fields: Fields) -> Iterator[Path]:
    """Where a template stands, and the model wants something other than a text."""
    for one in error.errors(include_url=False, include_context=False):
        value: Any = fields
        path: list[str | int] = []
        for part in one["loc"]:
            # Other parts are names of types, of a union.
            if (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value = value[part]
                path.append(part)
        if isinstance(value, str):
            yield tuple(path)
