"""Values of the standard library: containers, numbers, paths and what is like them."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

from . import times
from .places import Place, Read, Reading, Write, Writing, full_name, item_pairs, shown
from .text import TAG, to_text

# Values of one text each: what writes it, and what reads it.
_AS_TEXT: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
    pathlib.PurePosixPath: (str, pathlib.PurePosixPath),
    pathlib.PosixPath: (str, pathlib.PosixPath),
    pathlib.PureWindowsPath: (str, pathlib.PureWindowsPath),
    pathlib.WindowsPath: (str, pathlib.WindowsPath),
    **{
        kind: (str, kind)
        for kind in (
            *(ipaddress.IPv4Address, ipaddress.IPv6Address),
            *(ipaddress.IPv4Network, ipaddress.IPv6Network),
            *(ipaddress.IPv4Interface, ipaddress.IPv6Interface),
        )
    },
}

# Values that are made of parts: a tuple of them, and what takes those.
_OF_PARTS: dict[type, tuple[Callable[[Any], tuple[Any, ...]], type]] = {
    complex: (lambda value: (value.real, value.imag), float),
    fractions.Fraction: (lambda value: (value.numerator, value.denominator), int),
    range: (lambda value: (value.start, value.stop, value.step), int),
    datetime.timedelta: (lambda value: (value.days, value.seconds, value.microseconds), int),
}

# Classes that may stand as values themselves, and the things there is one of.
_CLASSES: tuple[Any, ...] = (
    *(object, type, type(None), bool, int, float, complex, str, bytes, bytearray),
    *(list, dict, tuple, set, frozenset, range, slice),
    *(collections.OrderedDict, collections.Counter, collections.deque),
    *(datetime.datetime, datetime.time, datetime.timezone, *_AS_TEXT, *_OF_PARTS),
)
_NAMED: dict[str, Any] = {
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    **{full_name(kind): kind for kind in _CLASSES},
}
_NAMES = {id(thing): name for name, thing in _NAMED.items()}
_FACTORIES = (list, dict, set, int, float, str, tuple, bool, bytes, frozenset)


def _tag(kind: type) -> str:
    return kind.__name__


# One text


def _text_writer(kind: type) -> Write:
    tag, write = _tag(kind), _AS_TEXT[kind][0]

    def write_text(value: Any, to: Writing, place: Place) -> Any:
        return {TAG: tag, "v": to.write(write(value), place)}

    return write_text


def _text_reader(kind: type) -> Read:
    read = _AS_TEXT[kind][1]

    def read_text(node: dict[str, Any], reader: Reading, place: Place) -> Any:
        (text,) = reader.parts(node, place, ("v",))
        return read(reader.typed(reader.read(text, place), str, place))

    return read_text


# Parts


def _parts_writer(kind: type) -> Write:
    tag, parts = _tag(kind), _OF_PARTS[kind][0]

    def write_parts(value: Any, to: Writing, place: Place) -> Any:
        return {TAG: tag, "v": [to.write(part, place) for part in parts(value)]}

    return write_parts


def _parts_reader(kind: type) -> Read:
    parts_of, part_kind = _OF_PARTS[kind]

    def read_parts(node: dict[str, Any], reader: Reading, place: Place) -> Any:
        (given,) = reader.parts(node, place, ("v",))
        parts = reader.read(reader.typed(given, list, place), place)
        for part in parts:
            reader.typed(part, part_kind, place)
        value = kind(*parts)
        if kind is not complex and list(parts_of(value)) != parts:
            raise reader.fail(place, f"{shown(parts)} are not the parts of a {kind.__name__}")
        return value

    return read_parts


def _write_slice(value: Any, to: Writing, place: Place) -> Any:
    parts = (value.start, value.stop, value.step)
    return {TAG: "slice", "v": [to.write(part, place) for part in parts]}


def _read_slice(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (given,) = reader.parts(node, place, ("v",))
    start, stop, step = reader.read(reader.typed(given, list, place), place)
    return slice(start, stop, step)


# Sequences and sets


def _sequence_writer(kind: type) -> Write:
    tag = _tag(kind)

    def write_items(value: Any, to: Writing, place: Place) -> Any:
        return {TAG: tag, "v": [to.write(item, place.item(at)) for at, item in enumerate(value)]}

    return write_items


def _set_writer(kind: type) -> Write:
    tag = _tag(kind)

    def write_set(value: Any, to: Writing, place: Place) -> Any:
        # Sorted, so that equal sets have equal texts in every process.
        nodes = sorted((to.write(item, place.key(item)) for item in value), key=to_text)
        return {TAG: tag, "v": nodes}

    return write_set


def _sequence_reader(kind: type) -> Read:
    def read_items(node: dict[str, Any], reader: Reading, place: Place) -> Any:
        (given,) = reader.parts(node, place, ("v",))
        items = reader.read(reader.typed(given, list, place), place)
        made = kind(items)
        if len(made) != len(items):
            raise reader.fail(place, "it has the same element twice")
        return made

    return read_items


def _write_deque(value: Any, to: Writing, place: Place) -> Any:
    items = [to.write(item, place.item(at)) for at, item in enumerate(value)]
    return {TAG: "deque", "v": items, "maxlen": value.maxlen}


def _read_deque(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    given, most = reader.parts(node, place, ("v", "maxlen"))
    items = reader.read(reader.typed(given, list, place), place)
    if most is not None and reader.typed(most, int, place) < len(items):
        raise reader.fail(place, f"a deque of {most} elements has {len(items)}")
    return collections.deque(items, most)


def _write_bytearray(value: Any, to: Writing, place: Place) -> Any:
    return {TAG: "bytearray", "v": to.write(bytes(value), place)}


def _read_bytearray(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (given,) = reader.parts(node, place, ("v",))
    return bytearray(reader.typed(reader.read(given, place), bytes, place))


# Dicts


def _dict_writer(kind: type) -> Write:
    tag = _tag(kind)

    def write_dict(value: Any, to: Writing, place: Place) -> Any:
        return {TAG: tag, "v": item_pairs(value, to, place)}

    return write_dict


def _dict_reader(kind: Any) -> Read:
    def read_dict(node: dict[str, Any], reader: Reading, place: Place) -> Any:
        (pairs,) = reader.parts(node, place, ("v",))
        made = kind()
        # A Counter's own update() adds.
        dict.update(made, reader.pairs(pairs, place)) if kind is collections.Counter else (
            made.update(reader.pairs(pairs, place))
        )
        return made

    return read_dict


def _write_defaultdict(value: Any, to: Writing, place: Place) -> Any:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORIES:
        to.refuse(place, f"a defaultdict with the default_factory {shown(factory)}")
    name = None if factory is None else getattr(factory, "__name__", "")
    return {TAG: "defaultdict", "factory": name, "v": item_pairs(value, to, place)}


def _read_defaultdict(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    name, pairs = reader.parts(node, place, ("factory", "v"))
    known: dict[Any, Any] = {None: None, **{kind.__name__: kind for kind in _FACTORIES}}
    return collections.defaultdict(known[name], reader.pairs(pairs, place))


def _write_namespace(value: Any, to: Writing, place: Place) -> Any:
    items = {name: to.write(item, place.attribute(name)) for name, item in vars(value).items()}
    return {TAG: "namespace", "v": list(items.items())}


def _read_namespace(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (pairs,) = reader.parts(node, place, ("v",))
    return types.SimpleNamespace(**reader.pairs(pairs, place))


# What has a name


def _write_named(value: Any, to: Writing, place: Place) -> Any:
    name = _NAMES.get(id(value))
    if name is None:
        return to.refuse(place, f"the class {full_name(value)} itself")
    return {TAG: "named", "v": name}


def _read_named(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (name,) = reader.parts(node, place, ("v",))
    return _NAMED[reader.typed(name, str, place)]


_SEQUENCES = (tuple, set, frozenset)
_DICTS = (collections.OrderedDict, collections.Counter)

WRITERS: dict[type, Write] = {
    **times.WRITERS,
    **{kind: _text_writer(kind) for kind in _AS_TEXT},
    **{kind: _parts_writer(kind) for kind in _OF_PARTS},
    **{kind: _dict_writer(kind) for kind in _DICTS},
    tuple: _sequence_writer(tuple),
    set: _set_writer(set),
    frozenset: _set_writer(frozenset),
    collections.deque: _write_deque,
    collections.defaultdict: _write_defaultdict,
    types.SimpleNamespace: _write_namespace,
    bytearray: _write_bytearray,
    slice: _write_slice,
    type: _write_named,
    type(...): _write_named,
    type(NotImplemented): _write_named,
}

READERS: dict[str, Read] = {
    **times.READERS,
    **{_tag(kind): _text_reader(kind) for kind in _AS_TEXT},
    **{_tag(kind): _parts_reader(kind) for kind in _OF_PARTS},
    **{_tag(kind): _sequence_reader(kind) for kind in _SEQUENCES},
    **{_tag(kind): _dict_reader(kind) for kind in _DICTS},
    "deque": _read_deque,
    "defaultdict": _read_defaultdict,
    "namespace": _read_namespace,
    "bytearray": _read_bytearray,
    "slice": _read_slice,
    "named": _read_named,
}
