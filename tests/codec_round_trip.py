"""A value through the codec and back, and whether what came back is the same all the way down."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import OrderedDict, deque
from typing import Any

from task_pipeline.journal.codec import Codec, codec_named, decode_value, encode_value

JSON = codec_named("json")
PICKLE = codec_named("pickle")
SMALL = Codec("json", large=100)


def back(value: Any, codec: Codec = JSON) -> Any:
    """The value as it is read again."""
    encoded = encode_value(value, codec, "it")
    assert encoded.text is not None
    # What databases keep is UTF-8 without NUL.
    assert "\0" not in encoded.text.encode().decode()
    return decode_value(encoded.text, codec, "it", dict(encoded.large).__getitem__)


def text_of(value: Any, codec: Codec = JSON) -> str:
    text = encode_value(value, codec, "it").text
    assert text is not None
    return text


def nobody(digest: str) -> bytes:
    """Fetches what was put beside the row, where nothing was."""
    raise KeyError(digest)


def read(text: str, codec: Codec = JSON) -> Any:
    return decode_value(text, codec, "it", nobody)


def assert_identical(a: Any, b: Any) -> None:
    """The same type and value, recursively; NaN is NaN, and -0.0 is not 0.0."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b) or (
            math.isnan(a) and math.isnan(b) and math.copysign(1, a) == math.copysign(1, b)
        )
    elif isinstance(a, complex):
        assert_identical(a.real, b.real)
        assert_identical(a.imag, b.imag)
    elif isinstance(a, dict):
        assert len(a) == len(b)
        if isinstance(a, OrderedDict) or type(a) is dict:
            for (key, item), (other_key, other) in zip(a.items(), b.items(), strict=True):
                assert_identical(key, other_key)
                assert_identical(item, other)
        else:
            assert list(a.items()) == list(b.items())
    elif isinstance(a, list | tuple | deque):
        assert len(a) == len(b)
        for item, other in zip(a, b, strict=True):
            assert_identical(item, other)
        if isinstance(a, deque):
            assert a.maxlen == b.maxlen
    elif isinstance(a, set | frozenset):
        assert sorted(map(_key, a)) == sorted(map(_key, b))
    elif isinstance(a, BaseException):
        assert_identical(a.args, b.args)
        assert_identical(_state(a), _state(b))
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_identical(getattr(a, field.name), getattr(b, field.name))
    else:
        assert a == b
        assert isinstance(a, int) or repr(a) == repr(b)
        assert getattr(a, "fold", 0) == getattr(b, "fold", 0)


def _key(item: Any) -> tuple[str, str]:
    # Not by the repr: that of a set in the set shows its elements in any order.
    return type(item).__name__, text_of(item)


def _state(error: BaseException) -> dict[str, Any]:
    return {name: item for name, item in vars(error).items() if name != "_recorded_traceback"}
