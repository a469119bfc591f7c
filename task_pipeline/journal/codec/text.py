"""JSON as text: written compactly, read strictly."""

from __future__ import annotations

import hashlib
import json
import json.encoder
import math
from collections.abc import Callable
from typing import Any

TAG = "$"
"""The key that makes an object of JSON a value that JSON itself does not know."""

# Decimal digits are slow to read beyond some hundreds, and Python refuses thousands.
MAX_INT = 1 << 1024


def _unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not of JSON")


_encoder = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)
_make: Any = getattr(json.encoder, "c_make_encoder", None)
# What `_encoder.encode` makes anew for every call, which takes longer than a small value.
_chunks: Any = (
    None
    if _make is None
    else _make(None, _unknown, json.encoder.encode_basestring, None, ":", ",", False, False, False)
)


def to_text(node: Any) -> str:
    """A text of JSON, on one line; of what `is_plain`, or a writer has written."""
    if _chunks is None:
        return _encoder.encode(node)
    return "".join(_chunks(node, 0))


def size_of(text: str) -> int:
    """How many bytes a text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def digest_of(text: str | None) -> str:
    """A digest of an encoded text; equal texts have equal ones."""
    return hashlib.sha256((text or "").encode()).hexdigest()


def is_plain(value: Any, depth: int) -> bool:
    """Whether JSON has a value just as it is, so that reading the text gives it back."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) or is_unicode(value)
    if kind is int:
        return bool(-MAX_INT < value < MAX_INT)
    if value is None or kind is bool:
        return True
    if kind is float:
        return math.isfinite(value)
    if depth <= 0:
        return False
    if kind is list:
        return all(is_plain(item, depth - 1) for item in value)
    return kind is dict and is_plain_dict(value, depth - 1)


def is_plain_dict(value: dict[Any, Any], depth: int) -> bool:
    """The same of a dict's keys and values."""
    for key, item in value.items():
        if type(key) is not str or key == TAG or not (key.isascii() or is_unicode(key)):
            return False
        if not is_plain(item, depth):
            return False
    return True


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which UTF-8 cannot have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Tagged(Exception):
    """The text has a tag, so it takes a reader."""


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = _object(pairs)
    if TAG in made:
        raise Tagged
    return made


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has the same key twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond what a float can be")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not of JSON")


def _scanner(hook: Callable[[list[tuple[str, Any]]], Any]) -> Callable[[str, int], Any]:
    decoder: Any = json.JSONDecoder(
        object_pairs_hook=hook, parse_float=_finite, parse_constant=_no_constant
    )
    scan: Callable[[str, int], Any] = decoder.scan_once
    return scan


_scan_plain = _scanner(_plain_object)
_scan_all = _scanner(_object)


def from_text(text: object) -> Any:
    """What a text of JSON says, its tags left as they are; raises ValueError, RecursionError."""
    return _scan(_scan_all, text)


def from_plain_text(text: object) -> Any:
    """The same, if there are no tags; raises `Tagged` if there are."""
    return _scan(_scan_plain, text)


def _scan(scan: Callable[[str, int], Any], text: object) -> Any:
    if type(text) is not str:
        raise ValueError(f"it is not a text, but a {type(text).__name__}")
    try:
        node, end = scan(text, 0)
    except StopIteration as error:
        raise ValueError(f"there is no value at character {error.value}") from None
    if end != len(text):
        raise ValueError(f"something follows at character {end}")
    return node
