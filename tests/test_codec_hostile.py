"""Texts that nobody has written: a value or `JournalDataError`, and nothing is run or imported."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from task_pipeline.errors import JournalDataError
from task_pipeline.journal.codec import (
    decode_context,
    decode_delta,
    decode_error,
    decode_value,
    encode_delta,
)
from task_pipeline.journal.codec.reading import _READERS
from task_pipeline.state.delta import Delta

from . import test_codec_failures, test_codec_instances, test_codec_values
from .codec_round_trip import JSON, PICKLE, nobody, read, text_of

TAGS = sorted(_READERS)
PARTS = [
    *("v", "v", "v", "type", "name", "index", "columns", "dtype", "shape", "order", "text", "args"),
    *("state", "members", "exceptions", "message", "cause", "tz", "notes", "trace", "factory"),
    *("maxlen", "as", "digest", "size", "extra", "set", "private", "unit", "freq", "levels"),
    *("codes", "names", "attrs"),
]


def all_readings(text: Any, codec: Any = JSON) -> list[Any]:
    """What each way to read a text gives; anything but a value or the one error is raised."""
    results: list[Any] = []
    for way in (
        lambda: decode_value(text, codec, "it", nobody),
        lambda: decode_delta(text, codec, "step", nobody),
        lambda: decode_context(text, codec, nobody),
        lambda: decode_error(text, codec, nobody),
    ):
        try:
            results.append(way())
        except JournalDataError as error:
            results.append(None)
            told = str(error)
        else:
            told = "cannot be read"
        assert "cannot be read" in told
    return results


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "[1,", "nul", "tru", '"', '"\\ud8', "01", "1 2", "{}x", "\x00", "é"),
        *("NaN", "Infinity", "-Infinity", "[NaN]", "1e999", "-1e999", "9" * 5000),
        *('{"a":1,"a":2}', '[{"$":"tuple","v":[],"v":[]}]', '{"r":{"a":1,"a":1}}'),
        *("[" * 100_000, '{"a":' * 100_000, '{"$":"tuple","v":[' * 50_000),
        '{"$":"tuple","v":[' * 2000 + "]}" * 2000,
        "[" * 5000 + "]" * 5000,
        *('{"$":null}', '{"$":5}', '{"$":[]}', '{"$":{}}', '{"$":"nothing"}', '{"\\u0024":"x"}'),
        '{"$":"pickle","v":"gASVBgAAAAAAAABLBS4="}',
        '{"$":"large","as":"pickle","digest":"%s","size":1}' % ("0" * 64),
        '{"$":"large","as":"str","digest":"../../etc/passwd","size":1}',
        '{"$":"large","as":"str","digest":5,"size":1}',
        '{"$":"bytes","v":"?"}',
        '{"$":"bytes","v":"AAA"}',
        '{"$":"bytes","v":"AA\\nAA"}',
        '{"$":"int","v":"0x"}',
        '{"$":"int","v":"five"}',
        '{"$":"float","v":"1.5"}',
        '{"$":"float","v":[]}',
        '{"$":"str","v":"x"}',
        '{"$":"dict","v":[[1,2],[1,3]]}',
        '{"$":"dict","v":[[1,2],[true,3]]}',
        '{"$":"dict","v":[[[],2]]}',
        '{"$":"dict","v":[[1]]}',
        '{"$":"dict","v":{}}',
        '{"$":"set","v":[1,1]}',
        '{"$":"set","v":[[]]}',
        '{"$":"Decimal","v":"x"}',
        '{"$":"Decimal","v":1}',
        '{"$":"Fraction","v":[1,0]}',
        '{"$":"Fraction","v":[2,4]}',
        '{"$":"Fraction","v":[true,4]}',
        '{"$":"range","v":[1,2,0]}',
        '{"$":"range","v":[1,2]}',
        '{"$":"complex","v":[1,2]}',
        '{"$":"timedelta","v":[1,90000,0]}',
        '{"$":"timedelta","v":[9999999999,0,0]}',
        '{"$":"datetime","v":"2024-13-01"}',
        '{"$":"datetime","v":"2024-01-01T00:00:00+01:00"}',
        '{"$":"datetime","v":"2024-01-01T00:00:00","fold":2}',
        '{"$":"datetime","v":"2024-01-01T00:00:00","fold":true}',
        '{"$":"datetime","v":"2024-01-01T00:00:00","tz":5}',
        '{"$":"timezone","v":[5]}',
        '{"$":"zone","v":"../../../etc/passwd"}',
        '{"$":"zone","v":"/etc/passwd"}',
        '{"$":"zone","v":"No/Such"}',
        '{"$":"named","v":"open"}',
        '{"$":"slice","v":[1]}',
        '{"$":"deque","v":[1,2],"maxlen":1}',
        '{"$":"deque","v":[],"maxlen":-1}',
        '{"$":"defaultdict","factory":"open","v":[]}',
        '{"$":"defaultdict","factory":[],"v":[]}',
        '{"$":"namespace","v":[[1,2]]}',
        '{"$":"WindowsPath","v":"C:"}' if sys.platform != "win32" else '{"$":"PosixPath","v":"C:"}',
        '{"$":"tuple"}',
        '{"$":"tuple","v":[],"w":1}',
        '{"$":"tuple","w":[]}',
        '{"$":"deleted"}',
        b"1",
        5,
        [],
    ],
)
def test_no_such_text_is_read(text) -> None:
    assert all_readings(text) == [None] * 4


@pytest.mark.parametrize(
    "text",
    [
        *("5", "[]", "null", '{"x":1}', '{"r":5}', '{"r":[1]}', '{"r":[[1]]}', '{"r":[[[],1]]}'),
        *('{"r":{},"r":{}}', '{"e":{}}', '{"f":[]}x', '{"f":[[1,2]]}', '{"m":{}}', '{"m":5}'),
        *('{"r":[[1,1],[1,2]]}', '{"r":{"$":"tuple","v":[]},"x":1}', '{"r":null}'),
    ],
)
def test_no_such_text_is_read_as_a_delta(text) -> None:
    with pytest.raises(JournalDataError, match="what step 'load' has changed cannot be read"):
        decode_delta(text, JSON, "load", nobody)
    with pytest.raises(JournalDataError, match="the input of the run cannot be read"):
        decode_context(text, JSON, nobody)


def test_the_place_is_told() -> None:
    with pytest.raises(JournalDataError) as caught:
        decode_delta('{"r":{"page":[1,{"x":{"$":"Decimal","v":"?"}}]}}', JSON, "load", nobody)
    assert "results['page'][1]['x']: this is no Decimal" in str(caught.value)
    with pytest.raises(JournalDataError, match=r"context\.total: it is tagged as 'odd'"):
        decode_delta('{"f":{"total":{"$":"odd"}}}', JSON, "load", nobody)
    with pytest.raises(JournalDataError, match=r"errors\[0\]\['a'\]: "):
        decode_delta('{"e":[{"a":{"$":"odd"}}]}', JSON, "load", nobody)


def test_a_long_text_of_a_message_is_cut() -> None:
    with pytest.raises(JournalDataError) as caught:
        read(json.dumps({"$": "x" * 100_000}))
    assert len(str(caught.value)) < 400


# Any text at all

nodes = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
        st.sampled_from(["AAAA", "0x5", "nan", "2024-01-01", "<i8", "O", "C", "builtins:OSError"]),
        st.sampled_from(
            [f"{test_codec_instances.HERE}:{name}" for name in ("Page", "Bits", "Root")]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "r", "f", "e", "m", "$", "v", "type", "text", "args"]), inner
        ),
        st.builds(
            lambda tag, parts: {"$": tag, **parts},
            st.sampled_from(TAGS),
            st.dictionaries(
                st.sampled_from(PARTS),
                inner,
            ),
        ),
    ),
    max_leaves=12,
)


@given(nodes)
@example({"$": "zone", "v": "\0"})
def test_any_json_is_a_value_or_the_one_error(node) -> None:
    text = json.dumps(node)
    for codec in (JSON, PICKLE) if "pickle" not in text else (JSON,):
        all_readings(text, codec)


@given(st.text())
def test_any_text_is_a_value_or_the_one_error(text) -> None:
    all_readings(text)


def written() -> list[str]:
    page = test_codec_instances.Page("x", {"a": (1,)})
    model = test_codec_instances.Model(Number=5)
    values = [*test_codec_values.VALUES, page, model, test_codec_instances.Bits.RW]
    values += [*test_codec_failures.ERRORS, *_arrays()]
    return [text for value in values if len(text := text_of(value)) < 3000]


def _arrays() -> list[Any]:
    np: Any = pytest.importorskip("numpy")
    pd: Any = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.array([1, None], dtype="Int8")})
    zoned = pd.Series(pd.date_range("2024", periods=2, tz="UTC"), dtype="category")
    return [np.arange(3), np.int8(1), np.str_("x"), frame, frame.set_index(["a", "b"]), zoned]


WRITTEN = written()


@given(st.sampled_from(WRITTEN), st.integers(0, 2**32))
def test_a_text_with_some_places_changed_is_a_value_or_the_one_error(text, seed) -> None:
    chance = random.Random(seed)
    characters = list(text)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(characters) or 1)
        piece = chance.choice(['"', "{", "}", "[", "]", ",", ":", "0", "-", "a", "null", "1e9", ""])
        characters[at : at + chance.randint(0, 2)] = piece
    all_readings("".join(characters))


@given(st.sampled_from(WRITTEN), st.integers(0, 2**32))
def test_a_text_with_a_part_replaced_is_a_value_or_the_one_error(text, seed) -> None:
    chance = random.Random(seed)
    node = json.loads(text)
    parts: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            parts.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    if isinstance(node, dict | list):
        walk(node)
    if parts:
        part, key = chance.choice(parts)
        others = [None, True, -1, 10**30, 1.5, "", "x", [], {}, [1], {"a": 1}, *WRITTEN]
        other = chance.choice(others)
        part[key] = json.loads(other) if other in WRITTEN else other
    all_readings(json.dumps(node))


def test_nothing_is_imported_for_what_a_text_says() -> None:
    before = set(sys.modules)
    for name in ("this", "antigravity", "idlelib.run", "xml.dom:pulldom", "turtle:Turtle"):
        for tag in ("dataclass", "enum", "model", "namedtuple", "registered", "object"):
            all_readings(json.dumps({"$": tag, "type": name, "v": {}, "set": []}))
        all_readings(json.dumps({"$": "error", "type": name, "text": "x", "args": []}))
    assert {"this", "antigravity", "turtle"} & (set(sys.modules) - before) == set()


def test_a_delta_that_is_cut_off_anywhere_is_an_error() -> None:
    text = encode_delta(Delta({"a": [1, (2,)]}, {"b": {3}}, [ValueError(4)]), JSON, "s").text
    assert text is not None
    for end in range(len(text)):
        with pytest.raises(JournalDataError):
            decode_delta(text[:end], JSON, "s", nobody)
