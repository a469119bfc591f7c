"""The context a run was started with, made again from what was recorded of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ..context import BY_REFERENCE, DEFAULT_LOGGER, PipelineContext, is_kept_as_value
from ..errors import JournalDataError

_NOT_RECORDED: dict[str, Any] = {"app_config": None, "logger_instance": DEFAULT_LOGGER}


def type_name(kind: type) -> str:
    """How a class of contexts is called in a journal."""
    return f"{kind.__module__}.{kind.__qualname__}"


def make_context(name: str | None, fields: Mapping[str, Any], run_id: str) -> PipelineContext[Any]:
    """A context of the class of that name with these fields; no code of the class is run.

    Nothing is imported for it: raises `JournalDataError` if no such class is known here.
    """
    return _made(_known(name, run_id), fields, run_id)


def _made(
    kind: type[PipelineContext[Any]], fields: Mapping[str, Any], run_id: str
) -> PipelineContext[Any]:
    context = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(context, field.name, _value_of(field, fields, run_id))
    put_in(context, {key: fields[key] for key in fields.keys() - context.__dict__.keys()})
    return context


def put_in(context: PipelineContext[Any], fields: Mapping[str, Any]) -> None:
    """Give a context these fields; raises `JournalDataError` for what can be none."""
    for name, value in fields.items():
        if not is_kept_as_value(type(context), name):
            raise JournalDataError(f"{name} is no field of a {type_name(type(context))}")
        object.__setattr__(context, name, value)


def blank_of(context: PipelineContext[Any]) -> PipelineContext[Any] | None:
    """A context of the same class without any data; None if its class asks for some."""
    try:
        return _made(type(context), {}, "")
    except JournalDataError:
        return None


def _value_of(field: dataclasses.Field[Any], fields: Mapping[str, Any], run_id: str) -> Any:
    if field.name in fields:
        return fields[field.name]
    if field.name in _NOT_RECORDED:
        return _NOT_RECORDED[field.name]
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is not dataclasses.MISSING or field.name in BY_REFERENCE:
        return field.default
    raise JournalDataError(
        f"run {run_id!r}: its context has no {field.name!r}, which its class has by now; give "
        "resume() a context to go on with",
        run_id=run_id,
    )


def _known(name: str | None, run_id: str) -> type[PipelineContext[Any]]:
    for kind in _kinds(PipelineContext):
        if name is None or type_name(kind) == name:
            return kind
    raise JournalDataError(
        f"run {run_id!r} was started with a {name}, which is not known here: import the module "
        "that defines it first, or give resume() a context to go on with",
        run_id=run_id,
    )


def _kinds(kind: type[PipelineContext[Any]]) -> Iterator[type[PipelineContext[Any]]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
