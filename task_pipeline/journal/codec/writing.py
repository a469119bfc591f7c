"""From values to what JSON knows: plain ones as they are, all others with a tag."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from typing import Any

from ...errors import JournalDataError
from ...state.resident import Resident
from . import arrays, failures, frames, instances, pickled, standard
from .places import MAX_DEPTH, Place, Way, Write, item_pairs, one
from .text import MAX_INT, TAG, is_unicode, size_of, to_text

MOST_SHOWN = 20
MOST_KEPT = 1000

WHAT_TO_DO = (
    "Convert it to what the journal knows, teach the journal its class with "
    "register_type(), or put it into context.shared, which is not recorded."
)


class Writer:
    """Writes the values of one text; collects what cannot be written, and what is too large.

    With `most` None nothing is too large, and all stands in the text.
    """

    def __init__(self, most: int | None, pickles: bool = False) -> None:
        self.mistakes: list[str] = []
        self.uncounted = 0
        self.large: dict[str, bytes] = {}
        self._most = most
        self._pickles = pickles
        self._open: set[int] = set()
        self._ways: dict[type, Way] = {}

    # What one value comes to

    def write(self, value: Any, place: Place) -> Any:
        """A value as what JSON knows; what cannot be written is noted, and None returned."""
        kind = type(value)
        if kind is str:
            return self._string(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -MAX_INT < value < MAX_INT else {TAG: "int", "v": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else _not_finite(value)
        if kind is bytes:
            return self._bytes(value)
        mark = id(value)
        if mark in self._open:
            return self._note(f"{place} contains itself, which a text cannot.")
        if place.depth > MAX_DEPTH:
            return self._note(f"{place} is nested deeper than {MAX_DEPTH} levels.")
        self._open.add(mark)
        try:
            if kind is list:
                return [self.write(item, place.item(at)) for at, item in enumerate(value)]
            if kind is dict:
                return self._dict(value, place)
            return self._write_other(value, kind, place)
        finally:
            self._open.discard(mark)

    def _write_other(self, value: Any, kind: type, place: Place) -> Any:
        if kind is Resident:
            return self.write(value.fetched(), place)
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = way_of(kind)
        if way.write is None:
            return self.refuse(place, way.refusal)
        try:
            return way.write(value, self, place)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001  # properties and encode functions of the user's
            why = f"{one(kind)} that raises {type(error).__name__} when it is read"
            return self.refuse(place, f"{why} ({error!s:.200})")

    def _dict(self, value: dict[Any, Any], place: Place) -> Any:
        for key in value:
            if type(key) is not str or key == TAG or not (key.isascii() or is_unicode(key)):
                return {TAG: "dict", "v": item_pairs(value, self, place)}
        return {key: self.write(item, place.item(key)) for key, item in value.items()}

    def _string(self, value: str) -> Any:
        if not (value.isascii() or is_unicode(value)):
            raw = value.encode("utf-8", "surrogatepass")
            return {TAG: "str", "v": self._bytes(raw)}
        # A character takes six bytes at most, as an escape.
        if self._most is None or len(value) * 6 <= self._most:
            return value
        return value if size_of(to_text(value)) <= self._most else self.put(value.encode(), "str")

    def _bytes(self, value: bytes) -> Any:
        if self._most is not None and (len(value) + 2) // 3 * 4 > self._most:
            return self.put(value, "bytes")
        return {TAG: "bytes", "v": base64.b64encode(value).decode("ascii")}

    def put(self, content: bytes, kind: str) -> Any:
        """Put content beside the text; what stands for it there."""
        digest = hashlib.sha256(content).hexdigest()
        self.large[digest] = content
        return {TAG: "large", "as": kind, "digest": digest, "size": len(content)}

    # Whole values: of a key of the results, of a field

    def text(self, value: Any, place: Place) -> str:
        """A whole value as a text, or what stands in the text for one that is too large."""
        node, mistakes = self.attempt(lambda: self.write(value, place))
        if mistakes and self._pickles:
            return self._pickled(value, place)
        self._keep(mistakes)
        text = to_text(node)
        if self._most is not None and len(text) * 4 > self._most and size_of(text) > self._most:
            text = to_text(self.put(text.encode(), "json"))
        return text

    def _pickled(self, value: Any, place: Place) -> str:
        content = pickled.dump(value)
        if isinstance(content, str):
            self.refuse(place, content)
            return "null"
        if self._most is not None and len(content) * 4 // 3 > self._most:
            return to_text(self.put(content, "pickle"))
        return to_text({TAG: "pickle", "v": base64.b64encode(content).decode("ascii")})

    # Mistakes

    def refuse(self, place: Place, why: str) -> None:
        """Note that what stands there cannot be written."""
        self._note(f"{place} is {why}.")

    def _note(self, mistake: str) -> None:
        self._keep([mistake])

    def _keep(self, mistakes: list[str]) -> None:
        room = MOST_KEPT - len(self.mistakes)
        self.mistakes += mistakes[:room]
        self.uncounted += len(mistakes[room:])

    def attempt(self, write: Callable[[], Any]) -> tuple[Any, list[str]]:
        """What `write` makes, and the mistakes in it, which are taken back."""
        before, self.mistakes = self.mistakes, []
        large = dict(self.large)
        try:
            node = write()
        finally:
            mistakes, self.mistakes = self.mistakes, before
        if mistakes:
            self.large = large
        return node, mistakes

    def require_no_mistakes(self, subject: str) -> None:
        """Raise `JournalDataError` with all that could not be written."""
        if self.mistakes:
            raise JournalDataError(_all_mistakes(subject, self.mistakes, self.uncounted))


def way_of(kind: type) -> Way:
    """How instances of a class are written, or why they are not."""
    own = instances.way_of_registered(kind)
    if own is not None:
        return own
    write: Write | None = standard.WRITERS.get(kind)
    if write is not None:
        return Way(write)
    for room in (arrays, frames, failures, instances):
        way: Way | None = room.way_of(kind)
        if way is not None:
            return way
    return Way(None, _unknown(kind))


def _unknown(kind: type) -> str:
    known = (str, int, float, complex, bytes, list, dict, tuple, set, frozenset)
    for base in known:
        if issubclass(kind, base):
            return f"{one(kind)}, a subclass of {base.__name__} the journal does not know"
    return f"{one(kind)}, which the journal does not know"


def _not_finite(value: float) -> Any:
    text = "nan" if math.isnan(value) else "inf"
    return {TAG: "float", "v": text if math.copysign(1.0, value) > 0 else f"-{text}"}


def _all_mistakes(subject: str, mistakes: list[str], uncounted: int) -> str:
    count = len(mistakes) + uncounted
    if count == 1:
        return f"{subject} cannot be recorded: {mistakes[0]} {WHAT_TO_DO}"
    lines = [f"  {mistake}" for mistake in mistakes[:MOST_SHOWN]]
    if count > MOST_SHOWN:
        lines.append(f"  … and {count - MOST_SHOWN} more")
    head = f"{subject} cannot be recorded, for {count} values in it:"
    return "\n".join([head, *lines, WHAT_TO_DO])


def cannot_be_recorded(subject: str, error: Exception) -> JournalDataError:
    """The error for what went wrong with the data as a whole."""
    if isinstance(error, RecursionError):
        return JournalDataError(
            f"{subject} cannot be recorded: its data is nested deeper than the recursion limit "
            "leaves room for here. Flatten it, or put it into context.shared."
        )
    return JournalDataError(
        f"{subject} cannot be recorded: its data was changed by another thread while it was "
        f"written ({error}). Let no thread change what a step has handed over, or hand over a copy."
    )
