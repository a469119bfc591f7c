"""The fields of a step, checked when its recipe is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from ..problems import Path, Problems, from_pydantic
from ..surroundings import Surroundings
from ..templates import check_template
from ..typed_steps import Place, Render
from .rendering import Rendering, render_nothing
from .type_facts import TypeFacts

Fields = dict[str, Any]


def holds_template(value: Any) -> bool:
    """Whether there is a template in a value, at any depth."""
    # Loops: a document has thousands of values, and generators cost several times as much.
    kind = type(value)
    if kind is str:
        return "{{" in value or "{%" in value
    if kind is dict:
        for item in value.values():
            if holds_template(item):
                return True
    elif kind is list:
        for item in value:
            if holds_template(item):
                return True
    return False


def validated(facts: TypeFacts, fields: Fields) -> BaseModel:
    """The config of these fields. Raises pydantic's `ValidationError`."""
    try:
        return facts.validate(fields, strict=True)
    except ValidationError:
        # JSON has no tuples, paths or dates: read as JSON, what stands for one is one.
        return facts.kind.model.model_validate_json(json.dumps(fields), strict=True)


def checked(
    facts: TypeFacts, fields: Fields, place: Place, surroundings: Surroundings, problems: Problems
) -> tuple[BaseModel | None, Render]:
    """A step's config, if it needs not be rendered, and what renders its fields if it does."""
    if facts.check is not None:
        return _checked_further(facts, fields, place, surroundings, problems)
    has_templates = holds_template(fields)
    if not has_templates:
        try:
            return facts.validate(fields, strict=True), render_nothing
        except ValidationError:
            pass
    return _checked(facts, fields, place, has_templates, problems)


def _checked_further(
    facts: TypeFacts, fields: Fields, place: Place, surroundings: Surroundings, problems: Problems
) -> tuple[BaseModel | None, Render]:
    """The same, and what the type itself has to say of the fields."""
    before = len(problems)
    found = _checked(facts, fields, place, holds_template(fields), problems)
    assert facts.check is not None
    # The library's own can look at any fields, and those of others at the right ones.
    if facts.is_own or len(problems) == before:
        for path, wrong, hint in facts.check(fields, surroundings):
            problems.add(place.source, place.path + path, wrong, hint)
    return found


def _checked(
    facts: TypeFacts, fields: Fields, place: Place, has_templates: bool, problems: Problems
) -> tuple[BaseModel | None, Render]:
    config: BaseModel | None = None
    typed: frozenset[Path] = frozenset()
    try:
        config = validated(facts, fields)
    except ValidationError as error:
        from_pydantic(
            error, place.source, place.path, problems, facts.kind.model, fields, holds_template
        )
        if has_templates:
            typed = frozenset(_templates_in(error, fields))
    if not has_templates:
        return config, render_nothing
    needs_rendering = False
    for key, field in fields.items():
        if check_templates(field, place, (key,), problems) and key not in facts.itself:
            needs_rendering = True
    return (
        (None, Rendering(place, facts.itself, typed))
        if needs_rendering
        else (config, render_nothing)
    )


def check_templates(value: Any, place: Place, path: Path, problems: Problems) -> bool:
    """Whether there is a template in a value, at any depth; adds what is wrong with them."""
    kind = type(value)
    if kind is str:
        if "{{" not in value and "{%" not in value:
            return False
        found = check_template(value)
        if found is not None:
            problems.add(place.source, place.path + path, f"the template is wrong: {found}")
        return True
    has_any = False
    if kind is dict or kind is list:
        for key, item in value.items() if kind is dict else enumerate(value):
            if holds_template(item):
                has_any = check_templates(item, place, (*path, key), problems)
    return has_any


def _templates_in(error: ValidationError, fields: Fields) -> Iterator[Path]:
    """Where a template stands, and the model wants something other than a text."""
    for one in error.errors(include_url=False, include_context=False):
        value: Any = fields
        path: list[str | int] = []
        for part in one["loc"]:
            # Parts that lead nowhere are names of types, of a union.
            if isinstance(value, dict):
                inner = value.get(part)
            else:
                is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
                inner = value[part] if is_index else None
            if inner is not None:
                value = inner
                path.append(part)
        if isinstance(value, str):
            yield tuple(path)
