"""The fields of a step, checked when its recipe is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from ..mistakes.problems import Path, Problems, from_pydantic
from ..surroundings import Surroundings
from ..templating.templates import check_template
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
    templated = None
    for key, field in fields.items():
        if type(field) is str:
            if "{{" not in field and "{%" not in field:
                continue
        elif not holds_template(field):
            continue
        templated = [key] if templated is None else [*templated, key]
    before = len(problems) if facts.check is not None else 0
    config: BaseModel | None = None
    render: Render = render_nothing
    typed: frozenset[Path] = frozenset()
    try:
        config = facts.validate(fields, strict=True)
    except ValidationError:
        config, typed = _checked_again(facts, fields, place, problems)
    if templated is not None:
        for key in templated:
            check_templates(fields[key], place, (key,), problems)
            if key not in facts.itself and render is render_nothing:
                config, render = None, Rendering(place, facts.itself, facts.closed, typed)
    # The library's own can look at any fields, and those of others at the right ones.
    if facts.check is not None and (facts.is_own or len(problems) == before):
        for path, found, hint in facts.check(fields, surroundings):
            problems.add(place.source, place.path + path, found, hint)
    return config, render


def _checked_again(
    facts: TypeFacts, fields: Fields, place: Place, problems: Problems
) -> tuple[BaseModel | None, frozenset[Path]]:
    """For fields that are not at once right: as JSON they may be, or once they are rendered."""
    try:
        return validated(facts, fields), frozenset()
    except ValidationError as error:
        from_pydantic(
            error, place.source, place.path, problems, facts.kind.model, fields, holds_template
        )
        return None, frozenset(_templates_in(error, fields))


def check_templates(value: Any, place: Place, path: Path, problems: Problems) -> None:
    """Add what is wrong with the templates in a value, at any depth."""
    kind = type(value)
    if kind is str:
        found = check_template(value)
        if found is not None:
            problems.add(place.source, place.path + path, f"the template is wrong: {found}")
    elif kind is dict:
        for key, item in value.items():
            check_templates(item, place, (*path, key), problems)
    elif kind is list:
        for index, item in enumerate(value):
            check_templates(item, place, (*path, index), problems)


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
        if isinstance(value, str) and holds_template(value):
            yield tuple(path)
