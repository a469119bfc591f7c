"""Exceptions: with their arguments, notes and attributes, made again without `__init__`."""

from __future__ import annotations

import traceback
import types
from typing import Any

from ...errors import RecordedError
from . import registry
from .classes import name_of
from .places import ORIGIN, Place, Read, Reading, Way, Writing, full_name, shown
from .text import TAG

TRACE = "_recorded_traceback"
"""The attribute of an exception that was read back, which has the text of its traceback."""

MOST_TRACE = 20_000

# Not parts of the exception: what is written otherwise, cannot be, or would be half the program.
_NOT_STATE = frozenset(
    {"args", "__traceback__", "__context__", "__cause__", "__suppress_context__", "__dict__"}
    | {"__weakref__", "message", "exceptions"}
)
_TYPES: dict[str, tuple[type, ...]] = {
    "encoding": (str,),
    "object": (str, bytes),
    "reason": (str,),
    "start": (int,),
    "end": (int,),
}


def way_of(kind: type) -> Way | None:
    """How exceptions are written that stand in the data, where every part counts."""
    if not issubclass(kind, BaseException):
        return None
    why_not = registry.why_not_found_again(kind)
    return Way(None, why_not) if why_not else Way(_write_whole)


def write_error(error: BaseException, to: Writing, place: Place) -> Any:
    """An exception that a step has raised: if parts of it cannot be written, without those.

    Such a one is read as a `RecordedError`: to lose the failure over them would be worse.
    """
    if registry.why_not_found_again(type(error)):
        return _described(error, to, place)
    try:
        node, mistakes = to.attempt(lambda: _written(error, to, place, whole=False))
    except Exception:  # noqa: BLE001  # groups in groups in groups, or its own code raises
        return _described(error, to, place)
    return _described(error, to, place) if mistakes else node


def _write_whole(value: Any, to: Writing, place: Place) -> Any:
    return _written(value, to, place, whole=True)


def _written(error: Any, to: Writing, place: Place, *, whole: bool) -> Any:
    node = _described(error, to, place)
    args = list(error.args)
    if isinstance(error, BaseExceptionGroup):
        args = args[2:]
        write = to.write if whole else lambda child, at: write_error(child, to, at)
        node["message"] = to.write(error.message, place.attribute("message"))
        inside = place.attribute("exceptions")
        node["exceptions"] = [
            write(child, inside.item(at)) for at, child in enumerate(error.exceptions)
        ]
    inside = place.attribute("args")
    node["args"] = [to.write(item, inside.item(at)) for at, item in enumerate(args)]
    state = {
        name: item
        for name, item in vars(error).items()
        if name not in (TRACE, ORIGIN) and not (name == "__notes__" and "notes" in node)
    }
    members = {name: item for name in members_of(type(error)) if (item := _member(error, name))}
    for name, items in (("state", state), ("members", members)):
        if items:
            node[name] = {key: to.write(item, place.attribute(key)) for key, item in items.items()}
    return node


def _member(error: BaseException, name: str) -> Any:
    value = getattr(error, name, None)
    # Of a wrong attribute: any object of the program's, which is not told in the text.
    return None if name == "obj" and isinstance(error, AttributeError) else value


def members_of(kind: type) -> dict[str, Any]:
    """What an exception keeps outside of its `__dict__`: a built-in one's own, and slots."""
    return {
        name: member
        for base in reversed(kind.__mro__)
        if base is not object
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType)
        and name not in _NOT_STATE
    }


def _described(error: BaseException, to: Writing, place: Place) -> dict[str, Any]:
    """What can be said of any exception."""
    kind = type(error)
    node: dict[str, Any] = {TAG: "error", "type": name_of(kind), "text": _text(error, to, place)}
    notes = vars(error).get("__notes__")
    if type(notes) is list and notes and all(type(note) is str for note in notes):
        node["notes"] = [to.write(note, place) for note in notes]
    trace = traceback_text(error)
    if trace:
        node["trace"] = to.write(trace, place)
    cause = _cause(error)
    if cause is not None:
        node["cause"] = [full_name(type(cause)), _text(cause, to, place)]
        if isinstance(cause, RecordedError):
            node["cause"] = [cause.type_name, cause.text]
    return node


def _cause(error: BaseException) -> BaseException | None:
    try:
        return error.__cause__
    except Exception:  # noqa: BLE001  # an exception of the user's may raise anything
        return None


def _text(error: BaseException, to: Writing, place: Place) -> Any:
    try:
        return to.write(str(error)[:MOST_TRACE], place)
    except Exception as wrong:  # noqa: BLE001  # an exception of the user's may raise anything
        return f"<its text could not be had: {type(wrong).__name__}>"


def traceback_text(error: BaseException) -> str:
    """An exception's traceback as Python prints it; "" for one that was never raised.

    Of an exception that was read back: that of the one that was written.
    """
    if error.__traceback__ is None:
        text = vars(error).get(TRACE, "")
        return text if type(text) is str else ""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as wrong:  # noqa: BLE001  # an exception of the user's may raise anything
        return f"<its traceback could not be had: {type(wrong).__name__}>"
    return text if len(text) <= MOST_TRACE else "…" + text[-MOST_TRACE:]


# Reading


# By what Python itself has: a class may have its own, and its code is not to be run.
_OWN: dict[str, Any] = {
    name: BaseException.__dict__[name] for name in ("__cause__", "__dict__", "args")
}


def _read_error(node: dict[str, Any], reader: Reading, place: Place) -> BaseException:
    name, text, *others = reader.parts(
        node,
        place,
        ("type", "text"),
        ("notes", "trace", "cause", "message", "exceptions", "args", "state", "members"),
    )
    notes, trace, cause, message, exceptions, args, state, members = [
        reader.read(part, place) for part in others
    ]
    reader.typed(name, str, place)
    text = reader.typed(reader.read(text, place), str, place)
    for note in reader.typed([] if notes is None else notes, list, place):
        reader.typed(note, str, place)
    kind = registry.find_class(name)
    if kind is not None and not issubclass(kind, BaseException):
        raise reader.fail(place, f"{full_name(kind)} is not a class of exceptions")
    if kind is None or args is None:
        error: BaseException = RecordedError(name.replace(":", "."), text)
        own = vars(error)
    else:
        parts = tuple(reader.typed(args, list, place))
        if exceptions is not None:
            children = reader.typed(exceptions, list, place)
            parts = (reader.typed(message, str, place), children, *parts)
        error = _made(kind, parts, exceptions is not None, reader, place)
        own = _OWN["__dict__"].__get__(error)
        _set_members(error, kind, members, reader, place)
        for key, item in reader.typed({} if state is None else state, dict, place).items():
            own[reader.typed(key, str, place)] = item
    if notes:
        own["__notes__"] = notes
    if trace is not None:
        own[TRACE] = reader.typed(trace, str, place)
    if cause is not None:
        cause_name, cause_text = reader.typed(cause, list, place)
        told = RecordedError(
            reader.typed(cause_name, str, place), reader.typed(cause_text, str, place)
        )
        _OWN["__cause__"].__set__(error, told)
    return error


def _made(
    kind: Any, parts: tuple[Any, ...], is_group: bool, reader: Reading, place: Place
) -> BaseException:
    if issubclass(kind, BaseExceptionGroup) is not is_group:
        raise reader.fail(place, f"it is not as a {full_name(kind)} is written")
    # By the built-in class, whose __new__ is no code of anybody's; its __init__ is not called.
    base: Any = registry.built_in_base(kind)
    error: BaseException = base.__new__(kind, *(parts[:2] if is_group else ()))
    if type(error) is not kind:
        raise reader.fail(place, f"{shown(parts)} are not the arguments of a {full_name(kind)}")
    _OWN["args"].__set__(error, parts)
    return error


def _set_members(
    error: BaseException, kind: type, given: Any, reader: Reading, place: Place
) -> None:
    known = members_of(kind)
    for name, item in reader.typed({} if given is None else given, dict, place).items():
        if name not in known:
            raise reader.fail(place, f"a {full_name(kind)} has no {shown(name)}")
        if name in _TYPES and issubclass(kind, UnicodeError) and type(item) not in _TYPES[name]:
            raise reader.fail(place, f"{shown(item)} is not the {name} of a {full_name(kind)}")
        known[name].__set__(error, item)


READERS: dict[str, Read] = {"error": _read_error}
