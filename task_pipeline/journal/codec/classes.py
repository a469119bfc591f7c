"""What instances of all kinds of classes have in common: a class by name, attributes by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ...context import PipelineContext, is_kept_as_value
from . import registry
from .places import ORIGIN, Place, Reading, Writing, full_name, one, shown
from .text import TAG

NOT_SO = "{} is not a class whose instances are written as a {}"


def found(name: Any, reader: Reading, place: Place) -> type:
    """The class of that name; raises `JournalDataError` if it is not loaded."""
    kind = registry.find_class(reader.typed(name, str, place))
    if kind is None:
        module = name.partition(":")[0]
        raise reader.fail(
            place,
            f"it is an instance of {shown(name)}, a class that is not loaded. Import the module "
            f"{shown(module)} before the journal is read; if the class was moved or renamed, "
            f"give it its old name with register_type(..., name={shown(name)})",
        )
    return kind


def name_of(kind: type) -> str:
    """The name that a class is written by."""
    entry = registry.registered(kind)
    return registry.name_of(kind) if entry is None else entry.name


def found_if(
    is_one: Callable[[type], bool], node: dict[str, Any], reader: Reading, place: Place
) -> type:
    """The class of a tagged value, if it is of the kind that is written so."""
    kind = found(node.get("type"), reader, place)
    if not is_one(kind) or issubclass(kind, PipelineContext):
        raise reader.fail(place, NOT_SO.format(full_name(kind), node[TAG]))
    return kind


def is_extra(kind: type, name: str, known: Iterable[str]) -> bool:
    """Whether an attribute is none of the known ones, and not worked out from them."""
    # What a cached_property has found is found again.
    if name in known or name == ORIGIN:
        return False
    return not isinstance(getattr(kind, name, None), functools.cached_property)


def attributes(value: Any, names: Iterable[str], to: Writing, place: Place) -> dict[str, Any]:
    """Attributes by name, each written; a mistake is noted for one that is not set."""
    items = {}
    for name in names:
        try:
            item = getattr(value, name)
        except AttributeError:
            to.refuse(place.attribute(name), f"not set, in {one(type(value))}")
        else:
            items[name] = to.write(item, place.attribute(name))
    return items


def put(made: Any, name: str, value: Any, reader: Reading, place: Place) -> None:
    """Set an attribute of an instance, unless its class has code for that."""
    if not is_kept_as_value(type(made), name):
        raise reader.fail(place, f"{name} of a {full_name(type(made))} is not kept as a value")
    object.__setattr__(made, name, value)
