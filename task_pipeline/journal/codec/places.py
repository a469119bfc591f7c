"""Where in the data something stands, and what those who write and read it may ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ...errors import JournalDataError

# Levels of JSON that data may be nested. Each costs the reader and the writer up to three
# frames of the thousand that Python gives a thread, of which the caller needs some too.
MAX_DEPTH = 200

Fetch = Callable[[str], bytes]
"""Gives what was put beside the row, by its digest."""


class Place:
    """A place in the data, such as `results['page'].headers['x']`; made on the way down."""

    __slots__ = ("_key", "_parent", "_style", "depth")

    def __init__(self, key: Any, parent: Place | None = None, style: str = "{}") -> None:
        self._key = key
        self._parent = parent
        self._style = style
        self.depth: int = 0 if parent is None else parent.depth + 1

    def item(self, key: Any) -> Place:
        """An element of a list, or the value of a key."""
        return Place(key, self, "[{}]")

    def attribute(self, name: str) -> Place:
        """An attribute."""
        return Place(name, self, ".{}")

    def key(self, key: Any) -> Place:
        """A key of a dict itself, or an element of a set."""
        return Place(key, self, "{{{}}}")

    def __str__(self) -> str:
        """As one would write it to get there."""
        parts: list[str] = []
        place: Place | None = self
        while place is not None:
            is_name = place._style in ("{}", ".{}")
            key = str(place._key)[:80] if is_name else shown(place._key)
            parts.append(place._style.format(key))
            place = place._parent
        if len(parts) > 24:
            parts[8:-8] = [" … "]
        return "".join(reversed(parts))


def shown(value: object) -> str:
    """The repr of a value of the user's, short, whatever it does."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # a __repr__ of the user's may raise anything
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}…{text[-16:]}"


def full_name(kind: type) -> str:
    """A class's name as a message shows it."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def one(kind: type) -> str:
    """One of a class, with the article that its name takes."""
    name = full_name(kind)
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# Set by typing in instances of a generic class that was called with its parameters.
ORIGIN = "__orig_class__"


class Writing(Protocol):
    """What turns values into what JSON knows; passed to those who know one type each."""

    @property
    def mistakes(self) -> list[str]:
        """What could not be written so far, each with its place."""

    def write(self, value: Any, place: Place) -> Any:
        """A value as what JSON knows; what cannot be written is noted, and None returned."""

    def refuse(self, place: Place, why: str) -> None:
        """Note that what stands there cannot be written; `why` goes on after "is" or "has"."""

    def attempt(self, write: Callable[[], Any]) -> tuple[Any, list[str]]:
        """What `write` makes, and the mistakes in it, which are taken back."""


class Reading(Protocol):
    """What turns JSON back into values; passed to those who know one tag each."""

    def read(self, node: Any, place: Place) -> Any:
        """The value that was written so; raises `JournalDataError`."""

    def fail(self, place: Place, why: str) -> JournalDataError:
        """The error for what cannot be read."""

    def parts(
        self, node: dict[str, Any], place: Place, needed: Sequence[str], may: Sequence[str] = ()
    ) -> list[Any]:
        """The parts of a tagged value: all that are needed, then those that may be, or None."""

    def typed(self, node: Any, kind: type, place: Place) -> Any:
        """A part that must be of one of JSON's types."""

    def pairs(self, node: Any, place: Place) -> dict[Any, Any]:
        """A dict that was written as a list of its keys and values."""


Write = Callable[[Any, Writing, Place], Any]
Read = Callable[[dict[str, Any], Reading, Place], Any]


class Way(NamedTuple):
    """How the values of one class are written; or why they are not."""

    write: Write | None
    refusal: str = ""


def item_pairs(value: dict[Any, Any], to: Writing, place: Place) -> list[list[Any]]:
    """A dict as a list of its keys and values, in their order."""
    return [
        [to.write(key, place.key(key)), to.write(item, place.item(key))]
        for key, item in value.items()
    ]
