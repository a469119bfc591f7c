"""A delta, a context, a value or an error as one text, and back."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...context import BINDING, BY_REFERENCE, SOURCE, PipelineContext
from ...errors import ConfigurationError, JournalDataError, JournalError
from ...state.delta import DELETED, Delta
from ...state.results import ForkedResults, ResidentResults
from .failures import write_error
from .places import ORIGIN, Fetch, Place
from .reading import Reader
from .text import TAG, Tagged, from_plain_text, from_text, is_plain, is_plain_dict, to_text
from .writing import Writer, cannot_be_recorded

LARGE = 1_000_000
"""Bytes that a value may take in the row."""

PLAIN_DEPTH = 100

_DELETED_NODE = {TAG: "deleted"}
_DELETED_TEXT = to_text(_DELETED_NODE)
_PARTS = {"r": dict, "f": dict, "e": list, "m": list, "k": list}


@dataclass(frozen=True, slots=True)
class Codec:
    """How values become text: as JSON, or with `pickles` by pickle where JSON has no way.

    `large`: bytes that a value may take in the row; with None all stand in the text.
    """

    name: str
    pickles: bool = False
    large: int | None = LARGE


_CODECS = {"json": Codec("json"), "pickle": Codec("pickle", pickles=True)}


def codec_named(name: str) -> Codec:
    """The codec "json" or "pickle"; raises `ConfigurationError` for any other name."""
    codec = _CODECS.get(name) if isinstance(name, str) else None
    if codec is None:
        raise ConfigurationError(f'codec is "json" or "pickle", not {name!r:.80}')
    return codec


class Encoded(NamedTuple):
    """A text, and what goes beside the row: each with its digest, the SHA-256 in hex."""

    text: str | None
    large: tuple[tuple[str, bytes], ...] = ()


_NOTHING = Encoded(None)


# Deltas and contexts


def encode_delta(delta: Delta, codec: Codec, step: str) -> Encoded:
    """What a step changed, as a text; None for nothing. Raises `JournalDataError`."""
    results = delta.results
    if not (delta.fields or delta.errors or delta.moved or delta.kept is not None):
        if not results:
            return _NOTHING
        text = _plain_text(results, codec)
        if text is not None:
            return Encoded(text)
    with _writing(codec, f"what step {step!r} has changed") as writer:
        text = _envelope(writer, results, delta.fields, delta.errors, delta.moved)
    if delta.kept is not None:
        comma = "" if text == "{}" else ","
        text = f'{text[:-1]}{comma}"k":{to_text(list(delta.kept))}}}'
    return Encoded(text, tuple(writer.large.items()))


def _plain_text(results: dict[Any, Any], codec: Codec) -> str | None:
    """The usual case, at a fraction of the price."""
    try:
        if not is_plain_dict(results, PLAIN_DEPTH):
            return None
        text = to_text(results)
    except (RecursionError, RuntimeError, ValueError, TypeError):
        return None  # changed by another thread meanwhile, perhaps: the long way tells
    # A character takes four bytes at most.
    is_small = codec.large is None or len(text) * 4 <= codec.large
    return f'{{"r":{text}}}' if is_small else None


def decode_delta(text: str | None, codec: Codec, step: str, fetch: Fetch) -> Delta | None:
    """What `encode_delta` was given; raises `JournalDataError`."""
    if text is None:
        return None
    subject = f"what step {step!r} has changed"
    try:
        node = from_plain_text(text)
    except (Tagged, ValueError, RecursionError):
        pass  # the long way says what is wrong
    else:
        if type(node) is dict and len(node) == 1 and type(node.get("r")) is dict:
            return Delta(node["r"])
    with _reading(codec, subject, fetch) as reader:
        results, fields, errors, moved, kept = _opened(text, subject, reader)
    return Delta(results, fields, errors, moved, kept)


def encode_context(context: PipelineContext[Any], codec: Codec) -> Encoded:
    """The input of a run: all but what is passed by reference. Raises `JournalDataError`."""
    fields = {name: getattr(context, name) for name in field_names(context)}
    return encode_state(context.results, fields, context.errors, codec, _INPUT)


_INPUT = "the input of the run"
_NOT_FIELDS = {"app_config", SOURCE, BINDING, "results", "errors", *BY_REFERENCE}
_NO_INPUT = {"app_config", SOURCE, BINDING, "results", "errors", *BY_REFERENCE}


def field_names(context: PipelineContext[Any]) -> list[str]:
    """The fields that a subclass or the user has added to a context."""
    return [name for name in context._names() if name not in _NO_INPUT and name != ORIGIN]


def decode_context(text: str, codec: Codec, fetch: Fetch) -> dict[str, Any]:
    """The fields by name, `results` and `errors` among them; raises `JournalDataError`."""
    return decode_state(text, codec, _INPUT, fetch)


def encode_state(
    results: dict[Any, Any], fields: dict[str, Any], errors: list[Any], codec: Codec, subject: str
) -> Encoded:
    """The data of a context as a text; raises `JournalDataError`."""
    with _writing(codec, subject) as writer:
        if isinstance(results, ForkedResults) and results.factory is not None:
            results = collections.defaultdict(results.factory, results.raw())
        # Such as a defaultdict, which it is to stay.
        is_more = type(results) not in (dict, ForkedResults, ResidentResults)
        whole = writer.text(results, Place("results")) if is_more else ""
        text = _envelope(writer, results, fields, errors, (), whole)
    return Encoded(text, tuple(writer.large.items()))


def decode_state(text: str, codec: Codec, subject: str, fetch: Fetch) -> dict[str, Any]:
    """What `encode_state` was given, the fields beside `results` and `errors`."""
    with _reading(codec, subject, fetch) as reader:
        results, fields, errors, moved, kept = _opened(text, subject, reader)
        if (
            moved
            or kept is not None
            or any(value is DELETED for value in [*results.values(), *fields.values()])
        ):
            raise reader.fail(Place("context"), "it says that keys were deleted or moved")
    return {"results": results, "errors": errors, **fields}


def _envelope(
    writer: Writer,
    results: Any,
    fields: Any,
    errors: Iterable[Any],
    moved: Iterable[Any],
    results_text: str = "",
) -> str:
    parts = []
    if results_text:
        parts.append(f'"r":{results_text}')
    elif results:
        parts.append(f'"r":{_dict_text(writer, results, Place("results").item)}')
    if fields:
        parts.append(f'"f":{_dict_text(writer, fields, Place("context").attribute)}')
    texts = [_error_text(writer, error, at) for at, error in enumerate(errors)]
    if texts:
        parts.append(f'"e":[{",".join(texts)}]')
    keys = [writer.text(key, Place("results").key(key)) for key in moved]
    if keys:
        parts.append(f'"m":[{",".join(keys)}]')
    return "{" + ",".join(parts) + "}"


def _dict_text(writer: Writer, values: dict[Any, Any], place_of: Callable[[Any], Place]) -> str:
    """A dict whose values are written one by one, as each may go beside the row."""
    items = dict.items(values) if type(values) is ForkedResults else values.items()
    texts = [
        (key, _DELETED_TEXT if item is DELETED else writer.text(item, place_of(key)))
        for key, item in items
    ]
    if all(type(key) is str and key != TAG and is_plain(key, 0) for key, _ in texts):
        return "{" + ",".join(f"{to_text(key)}:{text}" for key, text in texts) + "}"
    pairs = [f"[{writer.text(key, place_of(key))},{text}]" for key, text in texts]
    return "[" + ",".join(pairs) + "]"


def _error_text(writer: Writer, error: Any, at: int) -> str:
    place = Place("errors").item(at)
    if isinstance(error, BaseException):
        return to_text(write_error(error, writer, place))
    return writer.text(error, place)


def _opened(text: str, subject: str, reader: Reader) -> tuple[Any, Any, Any, Any, Any]:
    node = _node(text, subject)
    if type(node) is not dict or not node.keys() <= _PARTS.keys():
        raise JournalDataError(f"{subject} cannot be read: its text is not one of a journal")
    results = _read_dict(node.get("r", {}), reader, Place("results"), Place("results").item)
    fields = _read_dict(node.get("f", {}), reader, Place("context"), Place("context").attribute)
    for name in fields:
        reader.typed(name, str, Place("context"))
        if name in _NOT_FIELDS or name.startswith("__") or hasattr(PipelineContext, name):
            raise reader.fail(Place("context"), f"{name} is no field that is recorded")
    errors = reader.read(reader.typed(node.get("e", []), list, Place("errors")), Place("errors"))
    place = Place("the keys that were moved")
    moved = reader.read(reader.typed(node.get("m", []), list, place), place)
    for key in moved:
        try:
            hash(key)
        except TypeError as error:
            raise reader.fail(place, f"a key cannot be a {type(key).__name__}") from error
    kept = node.get("k")
    if kept is not None and not _are_numbers(kept):
        raise reader.fail(Place("errors"), "what was kept of them is not a list of numbers")
    return results, fields, errors, tuple(moved), None if kept is None else tuple(kept)


def _are_numbers(kept: Any) -> bool:
    """Whether it says which of a list are kept: their numbers, each once."""
    if type(kept) is not list or not all(type(number) is int for number in kept):
        return False
    return all(number >= 0 for number in kept) and len(set(kept)) == len(kept)


def _read_dict(
    node: Any, reader: Reader, place: Place, place_of: Callable[[Any], Place]
) -> dict[Any, Any]:
    if type(node) is dict and TAG in node:
        whole = reader.read(node, place)
        if not isinstance(whole, dict):
            raise reader.fail(place, f"a {type(whole).__name__} stands where a dict must")
        return whole
    if type(node) is dict:
        pairs: Any = node.items()
    else:
        pairs = reader.typed(node, list, place)
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2:
                raise reader.fail(place, "it is neither a dict nor a list of keys and values")
        pairs = [(reader.read(key, place.key("…")), item) for key, item in pairs]
    made: dict[Any, Any] = {}
    for key, item in pairs:
        at = place_of(key)
        try:
            made[key] = DELETED if item == _DELETED_NODE else reader.read(item, at)
        except TypeError as error:
            raise reader.fail(place, f"a key cannot be a {type(key).__name__}") from error
    if len(made) != len(pairs):
        raise reader.fail(place, "it has the same key twice")
    return made


# Values and errors


def encode_value(value: Any, codec: Codec, where: str) -> Encoded:
    """Any value as a text; `where` is what messages call it. Raises `JournalDataError`."""
    with _writing(codec, where) as writer:
        text = writer.text(value, Place("value"))
    return Encoded(text, tuple(writer.large.items()))


def decode_value(text: str, codec: Codec, where: str, fetch: Fetch) -> Any:
    """What `encode_value` was given; raises `JournalDataError`."""
    with _reading(codec, where, fetch) as reader:
        return reader.read(_node(text, where), Place("value"))


def encode_error(error: BaseException, codec: Codec) -> str:
    """An exception as a text; one with parts that cannot be written is read as `RecordedError`."""
    with _writing(codec, "an error", has_large=False) as writer:
        return to_text(write_error(error, writer, Place("error")))


def decode_error(text: str, codec: Codec, fetch: Fetch) -> BaseException:
    """What `encode_error` was given; raises `JournalDataError`."""
    subject = "an error"
    with _reading(codec, subject, fetch) as reader:
        error = reader.read(_node(text, subject), Place("error"))
        if not isinstance(error, BaseException):
            raise reader.fail(Place("error"), f"it is a {type(error).__name__}")
        return error


def _node(text: str, subject: str) -> Any:
    try:
        return from_text(text)
    except ValueError as error:
        raise JournalDataError(
            f"{subject} cannot be read: its text is damaged: {error!s:.200}"
        ) from error


@contextmanager
def _writing(codec: Codec, subject: str, has_large: bool = True) -> Iterator[Writer]:
    writer = Writer(codec.large if has_large else None, codec.pickles)
    try:
        yield writer
    except JournalError:
        raise
    except (RecursionError, RuntimeError) as error:  # a dict that changes while it is written
        raise cannot_be_recorded(subject, error) from error
    writer.require_no_mistakes(subject)


@contextmanager
def _reading(codec: Codec, subject: str, fetch: Fetch) -> Iterator[Reader]:
    try:
        yield Reader(subject, fetch, codec.pickles)
    except RecursionError as error:
        raise JournalDataError(
            f"{subject} cannot be read: it is nested deeper than the recursion limit allows"
        ) from error
