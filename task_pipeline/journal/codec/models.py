"""Models of pydantic: with what was set, extra and private attributes, and not validated again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, RootModel

from . import registry
from .classes import found_if, is_extra, name_of
from .places import Place, Read, Reading, Writing, full_name, shown
from .text import TAG


def is_model(kind: type) -> bool:
    """Whether a class is a model, and nothing of Python's beside that."""
    return issubclass(kind, BaseModel) and registry.built_in_base(kind) is object


def write_model(value: Any, to: Writing, place: Place) -> Any:
    """A model by its attributes: of the fields, extra and private."""
    kind = type(value)
    items = {
        name: to.write(item, place.attribute(name))
        for name, item in value.__dict__.items()
        if name in kind.model_fields or is_extra(kind, name, ())
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
    kind: Any = found_if(is_model, node, reader, place)
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


READERS: dict[str, Read] = {"model": _read_model}
