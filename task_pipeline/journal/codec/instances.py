"""Instances of the user's classes: enums, named tuples, dataclasses, registered ones.

They are made again without their `__init__`, from their parts; the class is found by name.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Iterable
from typing import Any

from ...context import PipelineContext
from . import models, registry
from .classes import NOT_SO, attributes, found_if, is_extra, name_of, put
from .places import ORIGIN, Place, Read, Reading, Way, Writing, full_name, one, shown
from .text import TAG

_HIDDEN = ("__dict__", "__weakref__")


def way_of_registered(kind: type) -> Way | None:
    """How instances of a class that was registered with functions of its own are written."""
    entry = registry.registered(kind)
    if entry is None or entry.encode is None:
        return None
    name, encode = entry.name, entry.encode

    def write(value: Any, to: Writing, place: Place) -> Any:
        return {TAG: "registered", "type": name, "v": to.write(encode(value), place)}

    return Way(write)


def way_of(kind: type) -> Way | None:
    """How instances of a class are written, if it is of a kind that is known here."""
    if issubclass(kind, PipelineContext):
        return Way(None, "a context, which is no data: keep the values that you need of it")
    for is_one, write in _KINDS:
        if is_one(kind):
            why_not = registry.why_not_found_again(kind)
            return Way(None, why_not) if why_not else Way(write)
    if registry.registered(kind) is not None:
        if registry.built_in_base(kind) is not object:
            return Way(None, f"{one(kind)}, which is registered without encode and decode")
        return Way(_write_object)
    return None


# Enums


def _is_enum(kind: type) -> bool:
    return issubclass(kind, enum.Enum)


def _write_enum(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    # A member without a name of its own is a union of flags.
    name = value._name_ if value._name_ in kind._member_map_ else None
    if name is None and not isinstance(value, enum.Flag):
        return to.refuse(place, f"{one(kind)} that is none of its members")
    member = to.write(value._value_, place) if name is None else name
    return {TAG: "enum", "type": name_of(kind), "v": member}


def _read_enum(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given = reader.parts(node, place, ("type", "v"))
    kind: Any = found_if(_is_enum, node, reader, place)
    if type(given) is str:
        member = kind._member_map_.get(given)
        if member is None:
            raise reader.fail(place, f"{full_name(kind)} has no member {shown(given)}")
        return member
    number = reader.typed(reader.read(given, place), int, place)
    if not issubclass(kind, enum.Flag):
        raise reader.fail(place, f"{shown(number)} is not the name of a {full_name(kind)}")
    known = 0
    for member in kind._value2member_map_:
        known |= member if isinstance(member, int) else 0
    if number & ~known:  # else its `_missing_`, which is code of the program's, would be asked
        raise reader.fail(place, f"{shown(number)} is not a union of {full_name(kind)}s")
    union: Any = kind(number)
    if type(union) is not kind or union._value_ != number:
        raise reader.fail(place, f"{shown(number)} is not a union of {full_name(kind)}s")
    return union


# Named tuples


def _is_named_tuple(kind: type) -> bool:
    return (
        issubclass(kind, tuple)
        and type(getattr(kind, "_fields", None)) is tuple
        and hasattr(kind, "_make")
    )


def _write_named_tuple(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    extra = getattr(value, "__dict__", None)
    if extra:
        to.refuse(place, f"{one(kind)} with attributes of its own, {shown(list(extra))}")
    items = {
        name: to.write(item, place.attribute(name))
        for name, item in zip(kind._fields, tuple.__iter__(value), strict=True)
    }
    return {TAG: "namedtuple", "type": name_of(kind), "v": items}


def _read_named_tuple(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given = reader.parts(node, place, ("type", "v"))
    kind: Any = found_if(_is_named_tuple, node, reader, place)
    given = _exactly(given, kind, kind._fields, reader, place)
    return tuple.__new__(
        kind, [reader.read(given[name], place.attribute(name)) for name in kind._fields]
    )


# Dataclasses


def _is_dataclass(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) and registry.built_in_base(kind) is object


def _write_dataclass(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    names = [field.name for field in dataclasses.fields(kind)]
    items = attributes(value, names, to, place)
    node = {TAG: "dataclass", "type": name_of(kind), "v": items}
    extra = [name for name in getattr(value, "__dict__", ()) if is_extra(kind, name, items)]
    if extra:
        node["extra"] = attributes(value, extra, to, place)
    return node


def _read_dataclass(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given, extra = reader.parts(node, place, ("type", "v"), ("extra",))
    kind: Any = found_if(_is_dataclass, node, reader, place)
    names = [field.name for field in dataclasses.fields(kind)]
    given = _exactly(given, kind, names, reader, place)
    made: Any = object.__new__(kind)
    for name in names:
        put(made, name, reader.read(given[name], place.attribute(name)), reader, place)
    if extra is not None:
        for name, item in reader.typed(extra, dict, place).items():
            made.__dict__[name] = reader.read(item, place.attribute(name))
    return made


def _exactly(
    given: Any, kind: type, names: Iterable[str], reader: Reading, place: Place
) -> dict[str, Any]:
    """The values by name, which must be those that the class has today."""
    items: dict[str, Any] = reader.typed(given, dict, place)
    missing = [name for name in names if name not in items]
    unknown = [name for name in items if name not in names]
    if missing or unknown:
        wrong = [f"it has now {shown(name)}" for name in missing]
        wrong += [f"it no longer has {shown(name)}" for name in unknown]
        raise reader.fail(
            place,
            f"the class {full_name(kind)} is not what it was when this was written: "
            f"{', '.join(wrong)}. Register it with functions that take both, with register_type()",
        )
    return items


# Registered classes


def _write_object(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    names = dict.fromkeys(getattr(value, "__dict__", ()))
    for base in kind.__mro__:
        for name, member in vars(base).items():
            is_slot = isinstance(member, types.MemberDescriptorType) and name not in _HIDDEN
            if is_slot and hasattr(value, name):
                names[name] = None
    names.pop(ORIGIN, None)
    return {
        TAG: "object",
        "type": name_of(kind),
        "v": attributes(value, names, to, place),
    }


def _read_object(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    name, given = reader.parts(node, place, ("type", "v"))
    entry = registry.registered_as(reader.typed(name, str, place))
    if entry is None or entry.encode is not None:
        raise reader.fail(place, _NOT_REGISTERED.format(shown(name)))
    if registry.built_in_base(entry.kind) is not object or any(
        is_one(entry.kind) for is_one, _ in _KINDS
    ):
        raise reader.fail(place, NOT_SO.format(full_name(entry.kind), node[TAG]))
    made: Any = object.__new__(entry.kind)
    for attribute, item in reader.typed(given, dict, place).items():
        if attribute in ("__class__", "__dict__"):
            raise reader.fail(place, f"{attribute} is not an attribute that is written")
        put(made, attribute, reader.read(item, place.attribute(attribute)), reader, place)
    return made


_NOT_REGISTERED = (
    "it is an instance of {}, a class that is not registered as it was when this was written: "
    "call register_type() for it before the journal is read"
)


def _read_registered(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    name, given = reader.parts(node, place, ("type", "v"))
    entry = registry.registered_as(reader.typed(name, str, place))
    if entry is None or entry.decode is None:
        raise reader.fail(place, _NOT_REGISTERED.format(shown(name)))
    made = entry.decode(reader.read(given, place))
    if type(made) is not entry.kind:
        raise reader.fail(
            place,
            f"the decode function of {full_name(entry.kind)} has returned a "
            f"{full_name(type(made))}",
        )
    return made


_KINDS = (
    (_is_enum, _write_enum),
    (_is_named_tuple, _write_named_tuple),
    (models.is_model, models.write_model),
    (_is_dataclass, _write_dataclass),
)

READERS: dict[str, Read] = {
    "enum": _read_enum,
    "namedtuple": _read_named_tuple,
    "dataclass": _read_dataclass,
    **models.READERS,
    "registered": _read_registered,
    "object": _read_object,
}
