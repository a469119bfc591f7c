"""The fields that pydantic models know: which models a key leads to, and what they call theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

Models: TypeAlias = tuple[type[BaseModel], ...]


def names_of(model: type[BaseModel]) -> Iterator[str]:
    """What a document may call the fields of a model."""
    for name, field in model.model_fields.items():
        aliases = list(_aliases(field))
        yield from aliases or (name,)
        by_name = model.model_config.get("populate_by_name") or model.model_config.get(
            "validate_by_name"
        )
        if aliases and by_name:
            yield name


def _aliases(field: FieldInfo) -> Iterator[str]:
    alias = field.validation_alias if field.validation_alias is not None else field.alias
    for choice in alias.choices if isinstance(alias, AliasChoices) else (alias,):
        if isinstance(choice, str):
            yield choice


def within(models: Models, key: str) -> Models | None:
    """The models that stand in the field of that name; None if no model has such a field."""
    found: dict[type[BaseModel], None] = {}
    known = False
    for model in models:
        for name, field in model.model_fields.items():
            if key == name or key in _aliases(field):
                known = True
                found.update(dict.fromkeys(_models_in(field.annotation)))
    return tuple(found) if known else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation mentions, such as those of a union or of a list."""
    annotation = getattr(annotation, "__value__", annotation)  # of a `type` statement
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _models_in(part)


def narrowed(models: Models, tag: str) -> Models:
    """Those of the models that pydantic calls so in a path: by name, or by a literal of theirs."""
    chosen = tuple(model for model in models if tag in {model.__name__, *_literals(model)})
    return chosen or models


def _literals(model: type[BaseModel]) -> Iterator[str]:
    for field in model.model_fields.values():
        if get_origin(field.annotation) is Literal:
            yield from map(str, get_args(field.annotation))
