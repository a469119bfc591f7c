"""Instances of the user's classes: enums, named tuples, dataclasses, models, registered ones.

They are made again without their `__init__`, from their parts; the class is found by name.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, RootModel

from ...context import PipelineContext
from . import registry
from .places import Place, Read, Reading, Way, Writing, full_name, shown
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
            return Way(None, f"a {full_name(kind)}, which is registered without encode and decode")
        return Way(_write_object)
    return None


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


def _found_if(is_one: Any, node: dict[str, Any], reader: Reading, place: Place) -> type:
    kind = found(node.get("type"), reader, place)
    if not is_one(kind) or issubclass(kind, PipelineContext):
        raise reader.fail(place, _NOT_SO.format(full_name(kind), node[TAG]))
    return kind


# Enums


def _is_enum(kind: type) -> bool:
    return issubclass(kind, enum.Enum)


def _write_enum(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    # A member without a name of its own is a union of flags.
    name = value._name_ if value._name_ in kind._member_map_ else None
    if name is None and not isinstance(value, enum.Flag):
        return to.refuse(place, f"a {full_name(kind)} that is none of its members")
    member = to.write(value._value_, place) if name is None else name
    return {TAG: "enum", "type": name_of(kind), "v": member}


def _read_enum(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given = reader.parts(node, place, ("type", "v"))
    kind: Any = _found_if(_is_enum, node, reader, place)
    if type(given) is str:
        member = kind._member_map_.get(given)
        if member is None:
            raise reader.fail(place, f"{full_name(kind)} has no member {shown(given)}")
        return member
    number = reader.typed(reader.read(given, place), int, place)
    if not issubclass(kind, enum.Flag):
        raise reader.fail(place, f"{shown(number)} is not the name of a {full_name(kind)}")
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
        to.refuse(place, f"a {full_name(kind)} with attributes of its own, {shown(list(extra))}")
    items = {
        name: to.write(item, place.attribute(name))
        for name, item in zip(kind._fields, tuple.__iter__(value), strict=True)
    }
    return {TAG: "namedtuple", "type": name_of(kind), "v": items}


def _read_named_tuple(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given = reader.parts(node, place, ("type", "v"))
    kind: Any = _found_if(_is_named_tuple, node, reader, place)
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
    items = _attributes(value, names, to, place)
    node = {TAG: "dataclass", "type": name_of(kind), "v": items}
    extra = [name for name in getattr(value, "__dict__", ()) if _is_extra(kind, name, items)]
    if extra:
        node["extra"] = _attributes(value, extra, to, place)
    return node


def _is_extra(kind: type, name: str, known: Iterable[str]) -> bool:
    # What a cached_property has found is found again.
    return name not in known and not isinstance(
        getattr(kind, name, None), functools.cached_property
    )


def _attributes(value: Any, names: Iterable[str], to: Writing, place: Place) -> dict[str, Any]:
    items = {}
    for name in names:
        try:
            item = getattr(value, name)
        except AttributeError:
            to.refuse(place.attribute(name), f"not set, in a {full_name(type(value))}")
        else:
            items[name] = to.write(item, place.attribute(name))
    return items


def _read_dataclass(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given, extra = reader.parts(node, place, ("type", "v"), ("extra",))
    kind: Any = _found_if(_is_dataclass, node, reader, place)
    names = [field.name for field in dataclasses.fields(kind)]
    given = _exactly(given, kind, names, reader, place)
    made: Any = object.__new__(kind)
    for name in names:
        object.__setattr__(made, name, reader.read(given[name], place.attribute(name)))
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


# Pydantic's models


def _is_model(kind: type) -> bool:
    return issubclass(kind, BaseModel) and registry.built_in_base(kind) is object


def _write_model(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    items = {
        name: to.write(item, place.attribute(name))
        for name, item in value.__dict__.items()
        if name in kind.model_fields or _is_extra(kind, name, ())
    }
    node: dict[str, Any] = {TAG: "model", "type": name_of(kind), "v": items}
    node["set"] = sorted(value.model_fields_set)
    extra = getattr(value, "__pydantic_extra__", None)
    private = getattr(value, "__pydantic_private__", None)
    for name, more in (("extra", extra), ("private", private)):
        if more is not None:
            node[name] = {key: to.write(item, place.attribute(key)) for key, item in more.items()}
    return node


def _read_model(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    _, given, were_set, *others = reader.parts(
        node, place, ("type", "v", "set"), ("extra", "private")
    )
    kind: Any = _found_if(_is_model, node, reader, place)
    fields_set = set(reader.typed(were_set, list, place))
    values, extra, private = (
        None
        if part is None
        else {
            name: reader.read(item, place.attribute(name))
            for name, item in reader.typed(part, dict, place).items()
        }
        for part in (given, *others)
    )
    _check_model(kind, values or {}, extra, private, reader, place)
    if not fields_set <= {*kind.model_fields, *(extra or ())}:
        raise reader.fail(place, f"{shown(were_set)} are not fields of {full_name(kind)}")
    made: Any = object.__new__(kind)
    # As pydantic's own copy and pickle do: what `model_construct` adds would be code, and defaults.
    base = RootModel if issubclass(kind, RootModel) else BaseModel
    base.__setstate__(
        made,
        {
            "__dict__": values,
            "__pydantic_fields_set__": fields_set,
            "__pydantic_extra__": extra,
            "__pydantic_private__": private,
        },
    )
    return made


def _check_model(
    kind: Any,
    values: dict[str, Any],
    extra: dict[str, Any] | None,
    private: dict[str, Any] | None,
    reader: Reading,
    place: Place,
) -> None:
    wrong = [name for name in values if name not in kind.model_fields]
    wrong += [name for name in private or () if name not in kind.__private_attributes__]
    if extra and kind.model_config.get("extra") != "allow":
        wrong += list(extra)
    missing = [
        name
        for name, field in kind.model_fields.items()
        if name not in values and not field.is_required()
    ]
    if wrong or missing:
        names = ", ".join(map(shown, [*wrong, *missing]))
        raise reader.fail(
            place,
            f"the class {full_name(kind)} is not what it was when this was written: it differs "
            f"in {names}. Register it with functions that take both, with register_type()",
        )


# Registered classes


def _write_object(value: Any, to: Writing, place: Place) -> Any:
    kind = type(value)
    names = dict.fromkeys(getattr(value, "__dict__", ()))
    for base in kind.__mro__:
        for name, member in vars(base).items():
            is_slot = isinstance(member, types.MemberDescriptorType) and name not in _HIDDEN
            if is_slot and hasattr(value, name):
                names[name] = None
    return {
        TAG: "object",
        "type": name_of(kind),
        "v": _attributes(value, names, to, place),
    }


def _read_object(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    name, given = reader.parts(node, place, ("type", "v"))
    entry = registry.registered_as(reader.typed(name, str, place))
    if entry is None or entry.encode is not None:
        raise reader.fail(place, _NOT_REGISTERED.format(shown(name)))
    if registry.built_in_base(entry.kind) is not object or any(
        is_one(entry.kind) for is_one, _ in _KINDS
    ):
        raise reader.fail(place, _NOT_SO.format(full_name(entry.kind), node[TAG]))
    made: Any = object.__new__(entry.kind)
    for attribute, item in reader.typed(given, dict, place).items():
        if attribute in ("__class__", "__dict__"):
            raise reader.fail(place, f"{attribute} is not an attribute that is written")
        object.__setattr__(made, attribute, reader.read(item, place.attribute(attribute)))
    return made


_NOT_SO = "{} is not a class whose instances are written as a {}"
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
    (_is_model, _write_model),
    (_is_dataclass, _write_dataclass),
)

READERS: dict[str, Read] = {
    "enum": _read_enum,
    "namedtuple": _read_named_tuple,
    "dataclass": _read_dataclass,
    "model": _read_model,
    "registered": _read_registered,
    "object": _read_object,
}
