"""From JSON back to values: whatever a text says, a value or `JournalDataError`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import JournalDataError, JournalError
from . import arrays, failures, frames, instances, pickled, standard
from .places import Fetch, Place, Read, shown
from .text import TAG, from_text


class Reader:
    """Reads the values of one text. `subject` is what messages call it."""

    def __init__(self, subject: str, fetch: Fetch, pickles: bool = False) -> None:
        self._subject = subject
        self._fetch = fetch
        self._pickles = pickles

    def fail(self, place: Place, why: str) -> JournalDataError:
        """The error for what cannot be read."""
        return JournalDataError(f"{self._subject} cannot be read: {place}: {why}")

    def read(self, node: Any, place: Place) -> Any:
        """The value that was written so."""
        kind = type(node)
        if kind is list:
            return [self.read(item, place.item(at)) for at, item in enumerate(node)]
        if kind is not dict:
            return node
        if TAG not in node:
            return {key: self.read(item, place.item(key)) for key, item in node.items()}
        tag = node[TAG]
        read = _READERS.get(tag) if type(tag) is str else None
        if read is None:
            raise self.fail(
                place,
                f"it is tagged as {shown(tag)}, which this version of the library does not know",
            )
        try:
            return read(node, self, place)
        except (JournalError, RecursionError):
            raise
        except Exception as error:
            why = f"this is no {tag} ({type(error).__name__}: {error!s:.200})"
            raise self.fail(place, why) from error

    # What those who know one tag need

    def parts(
        self, node: dict[str, Any], place: Place, needed: Sequence[str], may: Sequence[str] = ()
    ) -> list[Any]:
        """The parts of a tagged value: all that are needed, then those that may be, or None."""
        if len(node) != len(needed) + 1 or may:
            missing = [name for name in needed if name not in node]
            unknown = [name for name in node if name not in (TAG, *needed, *may)]
            if missing or unknown:
                wrong = [f"has no {shown(name)}" for name in missing]
                wrong += [f"has {shown(name)}, which does not belong there" for name in unknown]
                raise self.fail(place, f"a {node[TAG]} that {' and '.join(wrong)}")
        try:
            return [node[name] for name in needed] + [node.get(name) for name in may]
        except KeyError as error:
            raise self.fail(place, f"a {node[TAG]} that has no {error}") from None

    def typed(self, node: Any, kind: type, place: Place) -> Any:
        """A part that must be of one of JSON's types."""
        if type(node) is not kind:
            raise self.fail(place, f"{shown(node)} stands where a {kind.__name__} must")
        return node

    def pairs(self, node: Any, place: Place) -> dict[Any, Any]:
        """A dict that was written as a list of its keys and values."""
        made: dict[Any, Any] = {}
        for pair in self.typed(node, list, place):
            if type(pair) is not list or len(pair) != 2:
                raise self.fail(place, f"{shown(pair)} is not a key and its value")
            key = self.read(pair[0], place.key("…"))
            made[key] = self.read(pair[1], place.item(key))
        if len(made) != len(node):
            raise self.fail(place, "it has the same key twice")
        return made

    # What only the reader can give

    def fetched(self, node: dict[str, Any], place: Place) -> tuple[str, bytes]:
        """What was put beside the row, and what it is."""
        kind, digest, size = self.parts(node, place, ("as", "digest", "size"))
        if not (type(digest) is str and re.fullmatch(r"[0-9a-f]{64}", digest)):
            raise self.fail(place, f"{shown(digest)} is not the digest of a large value")
        try:
            content = self._fetch(digest)
        except LookupError as error:
            raise self.fail(place, f"the large value {digest} is not there") from error
        except JournalError:
            raise
        except Exception as error:
            # Not the data's fault, so not the error that says so.
            raise JournalError(
                f"{self._subject} cannot be read now: {place}: the large value {digest} could not "
                f"be fetched ({type(error).__name__}: {error!s:.200})"
            ) from error
        if type(content) is not bytes:
            raise self.fail(place, f"the large value {digest} is not there")
        if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            raise self.fail(place, f"the large value {digest} is not what was written")
        return self.typed(kind, str, place), content

    def unpickled(self, content: bytes, place: Place) -> Any:
        """What was pickled, if this reader may."""
        if not self._pickles:
            raise self.fail(place, pickled.REFUSED)
        return pickled.load(content)


def _dict(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (pairs,) = reader.parts(node, place, ("v",))
    return reader.pairs(pairs, place)


def _int(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (text,) = reader.parts(node, place, ("v",))
    if not re.fullmatch(r"-?0x[0-9a-f]+", reader.typed(text, str, place)):
        raise reader.fail(place, f"{shown(text)} is not a whole number in hex")
    return int(text, 16)


def _float(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (text,) = reader.parts(node, place, ("v",))
    if text not in ("nan", "-nan", "inf", "-inf"):
        raise reader.fail(place, f"{shown(text)} is not one of the numbers that JSON has not")
    return float(text)


def _bytes(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (text,) = reader.parts(node, place, ("v",))
    return base64.b64decode(reader.typed(text, str, place), validate=True)


def _str(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (raw,) = reader.parts(node, place, ("v",))
    content: bytes = reader.typed(reader.read(raw, place), bytes, place)
    return content.decode("utf-8", "surrogatepass")


def _large(node: dict[str, Any], reader: Any, place: Place) -> Any:
    kind, content = reader.fetched(node, place)
    if kind == "bytes":
        return content
    if kind == "str":
        return content.decode()
    if kind == "json":
        return reader.read(from_text(content.decode()), place)
    if kind == "pickle":
        return reader.unpickled(content, place)
    raise reader.fail(place, f"a large value cannot be a {shown(kind)}")


def _pickle(node: dict[str, Any], reader: Any, place: Place) -> Any:
    (text,) = reader.parts(node, place, ("v",))
    return reader.unpickled(base64.b64decode(reader.typed(text, str, place), validate=True), place)


_OWN: dict[str, Callable[[dict[str, Any], Any, Place], Any]] = {
    "dict": _dict,
    "int": _int,
    "float": _float,
    "bytes": _bytes,
    "str": _str,
    "large": _large,
    "pickle": _pickle,
}
_READERS: dict[str, Read] = {
    **_OWN,
    **standard.READERS,
    **instances.READERS,
    **failures.READERS,
    **arrays.READERS,
    **frames.READERS,
}
