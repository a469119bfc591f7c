"""Moments and time zones, with `fold`: zones by their key, or by their fixed offset."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import Any

from .places import Place, Read, Reading, Write, Writing, full_name, shown
from .text import TAG


def _write_moment(value: Any, to: Writing, place: Place) -> Any:
    node = {TAG: type(value).__name__, "v": value.replace(tzinfo=None, fold=0).isoformat()}
    if value.fold:
        node["fold"] = 1
    if value.tzinfo is not None:
        node["tz"] = _write_zone(value.tzinfo, to, place.attribute("tzinfo"))
    return node


def _write_zone(zone: datetime.tzinfo, to: Writing, place: Place) -> Any:
    if type(zone) not in (datetime.timezone, zoneinfo.ZoneInfo):
        return to.refuse(place, f"a {full_name(type(zone))}, a time zone not of zoneinfo")
    return to.write(zone, place)


def _moment_reader(kind: Any) -> Read:
    def read_moment(node: dict[str, Any], reader: Reading, place: Place) -> Any:
        text, fold, zone = reader.parts(node, place, ("v",), ("fold", "tz"))
        value = kind.fromisoformat(reader.typed(text, str, place))
        tz = reader.read(zone, place)
        if value.tzinfo is not None or fold not in (None, 1) or isinstance(fold, bool | float):
            raise reader.fail(place, f"{shown(text)} is not as a {kind.__name__} is written")
        return value.replace(tzinfo=tz, fold=fold or 0)

    return read_moment


def _write_timezone(value: Any, to: Writing, place: Place) -> Any:
    if value is datetime.UTC:
        return {TAG: "timezone", "v": None}
    # Its arguments: an offset, and a name if it was given one.
    return {TAG: "timezone", "v": [to.write(item, place) for item in value.__getinitargs__()]}


def _read_timezone(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (given,) = reader.parts(node, place, ("v",))
    if given is None:
        return datetime.UTC
    return datetime.timezone(*reader.read(reader.typed(given, list, place), place))


def _write_zoneinfo(value: Any, to: Writing, place: Place) -> Any:
    if value.key is None:
        return to.refuse(place, "a ZoneInfo without a key")
    return {TAG: "zone", "v": value.key}


def _read_zoneinfo(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (key,) = reader.parts(node, place, ("v",))
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", reader.typed(key, str, place)):
        raise reader.fail(place, f"{shown(key)} is not the key of a time zone")
    return zoneinfo.ZoneInfo(key)


WRITERS: dict[type, Write] = {
    datetime.datetime: _write_moment,
    datetime.time: _write_moment,
    datetime.timezone: _write_timezone,
    zoneinfo.ZoneInfo: _write_zoneinfo,
}

READERS: dict[str, Read] = {
    "datetime": _moment_reader(datetime.datetime),
    "time": _moment_reader(datetime.time),
    "timezone": _read_timezone,
    "zone": _read_zoneinfo,
}
