"""The values of events' fields as what JSON knows, and read back."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .errors import RecordedError


def write(value: Any) -> Any:
    """A field's value as what JSON knows."""
    if isinstance(value, BaseException):
        return _write_error(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return list(value) if isinstance(value, tuple) else value


def words_of(error: BaseException) -> str:
    """An exception's text, or why there is none."""
    try:
        return str(error)
    except Exception as wrong:  # noqa: BLE001  # an exception of the user's may raise anything
        return f"<its text could not be had: {type(wrong).__name__}>"


def type_and_text(error: BaseException | None) -> tuple[str, str]:
    """The short name of an exception's type, and its text; the same for one that was read back."""
    if isinstance(error, RecordedError):
        return error.type_name.rpartition(".")[2], error.text
    return type(error).__name__, "" if error is None else words_of(error)


def _write_error(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    text = words_of(error)
    if isinstance(error, RecordedError):
        name, text = error.type_name, error.text
    notes = getattr(error, "__notes__", ())
    given = notes if isinstance(notes, list | tuple) else ()
    return {"type": name, "text": text, "notes": [note for note in given if isinstance(note, str)]}


def _read_plain(kind: type[Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:  # True is an int in Python, and not in JSON
            raise TypeError
        return value

    return read


def _read_float(value: Any) -> float:
    if type(value) in (int, float) or value in ("inf", "-inf", "nan"):
        return float(value)
    raise TypeError


def _read_time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


def _read_error(value: Any) -> RecordedError:
    if not isinstance(value, dict) or value.keys() != {"type", "text", "notes"}:
        raise TypeError
    name, text = _read_strings([value["type"], value["text"]])
    return RecordedError(name, text, _read_strings(value["notes"]))


def _read_strings(value: Any) -> tuple[str, ...]:
    return tuple(_read_plain(str)(item) for item in _read_plain(list)(value))


def _or_none(what: str, read: Callable[[Any], Any]) -> tuple[str, Callable[[Any], Any]]:
    return f"{what} or null", lambda value: None if value is None else read(value)


# By the type that a field is annotated with: what a message calls it, and what reads it.
READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("a string", _read_plain(str)),
    "str | None": _or_none("a string", _read_plain(str)),
    "int": ("a whole number", _read_plain(int)),
    "int | None": _or_none("a whole number", _read_plain(int)),
    "bool": ("true or false", _read_plain(bool)),
    "float": ("a number", _read_float),
    "float | None": _or_none("a number", _read_float),
    "datetime": ("a time in ISO 8601 with its time zone", _read_time),
    "tuple[str, ...]": ("a list of strings", _read_strings),
    "BaseException | None": _or_none("an error's type, text and notes", _read_error),
}
