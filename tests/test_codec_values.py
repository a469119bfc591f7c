"""Values of the standard library through the codec: what is written comes back as it was."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import pathlib
import sys
import threading
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline.errors import JournalDataError
from task_pipeline.journal.codec import digest_of, encode_value

from .codec_round_trip import JSON, PICKLE, SMALL, assert_identical, back, read, text_of

NAIVE = dt.datetime  # by this name, for those without a zone
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, -0.0, math.inf, -math.inf, math.nan, -math.nan),
    *("", "x", "ä\u2028\0", "\ud83d\ude00", "😀", "\ud800", "$", '{"$":"tuple"}'),
    *(10**400, -(10**400), 1 << 1024, -(1 << 1024), (1 << 1024) - 1, 10**5000),
    *([], {}, (), set(), frozenset(), [[]], {"a": {}}, (1, (2, [3]))),
    *({"$": 1}, {"$": "tuple", "v": [1]}, {"$": "large", "as": "str"}, {"a": {"$": None}}),
    *({1: 2, "1": 3}, {None: 1, (1, 2): [3], frozenset({1}): 4, 1.5: 5, b"x": 6}),
    {"\ud800": 1, "b": {True: 1}},
    *({1, "a", (2, 3), None, frozenset({4})}, frozenset({1.5, b"x"})),
    *(b"", b"\0\xff", bytearray(b"abc"), 1j, complex(math.nan, -0.0), complex(-0.0, math.inf)),
    *(dt.date(2024, 2, 29), dt.date.min, dt.date.max, NAIVE.min, NAIVE.max),
    *(NAIVE(2024, 1, 1, 2, 3, 4, 5), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=0),
    NAIVE(2024, 10, 27, 2, 30, fold=1),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=7), "odd")),
    *(dt.time(1, 2, 3, 4, fold=1), dt.time(0, 0, tzinfo=dt.timezone(dt.timedelta(hours=5)))),
    *(dt.timedelta(days=-1, microseconds=1), dt.timedelta.max, dt.timedelta.min),
    *(dt.UTC, dt.timezone(dt.timedelta(minutes=1)), dt.timezone.max, BERLIN),
    *(Decimal("1.10"), Decimal("-0"), Decimal("1E+999"), Decimal("-Infinity"), Decimal("0E-9")),
    *(Fraction(-1, 3), Fraction(10**400, 7), uuid.UUID(int=5)),
    *(pathlib.PurePosixPath("/a//b/../c"), pathlib.PureWindowsPath("C:\\x\\y"), pathlib.Path("ä")),
    pathlib.Path("\udcff"),
    *(range(1, 10, 3), range(0), range(10**30, 0, -7), slice(1, None, "x"), ..., NotImplemented),
    *(type(None), int, dict, OrderedDict, Decimal, dt.datetime, pathlib.PurePosixPath),
    *(OrderedDict([("b", 1), ("a", [2])]), Counter("hello"), Counter(), Counter({"a": -1})),
    *(deque([1, (2,)]), deque([1], maxlen=3), deque(maxlen=0)),
    *(defaultdict(list, {"a": [1]}), defaultdict(None, {1: 2}), defaultdict(int)),
    types.SimpleNamespace(a=1, b=types.SimpleNamespace(c=(2,))),
    *(ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")),
    ipaddress.ip_interface("1.2.3.4/8"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_a_value_comes_back_as_it_was(value) -> None:
    assert_identical(back(value), value)
    assert_identical(back([value, {"k": value}]), [value, {"k": value}])
    assert_identical(back(value, PICKLE), value)
    assert_identical(back(value, SMALL), value)


def test_a_default_factory_comes_back() -> None:
    value = back(defaultdict(list))
    value["x"].append(1)
    assert value == {"x": [1]}


def test_what_there_is_one_of_is_the_same_object() -> None:
    for value in (None, ..., NotImplemented, dt.UTC, BERLIN, int, type(None)):
        assert back(value) is value


def test_a_signalling_nan_comes_back() -> None:
    assert str(back(Decimal("-sNaN123"))) == "-sNaN123"


def test_data_that_stands_twice_is_no_cycle() -> None:
    part: list[Any] = [(1,)]
    assert back([part, part, {"x": part}]) == [part, part, {"x": part}]


def test_numpy_and_pandas_are_not_imported_for_it() -> None:
    import subprocess

    program = (
        "import sys, task_pipeline.journal.codec, task_pipeline.journal.snapshot as s\n"
        "from task_pipeline.journal.codec import *\n"
        "encode_value({1, (2,)}, codec_named('json'), 'it')\n"
        "assert not {'numpy', 'pandas', 'sqlalchemy'} & sys.modules.keys()\n"
        'text = \'{"$":"ndarray","dtype":"<i8","shape":[],"order":"C","v":null}\'\n'
        'for text in (text, \'{"$":"Series","v":[],"index":0,"name":0}\'):\n'
        "    try: decode_value(text, codec_named('json'), 'it', None)\n"
        "    except s.JournalDataError as error: print(error)\n"
        "assert not {'numpy', 'pandas'} & sys.modules.keys()\n"
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        timeout=50,
        capture_output=True,
        text=True,
    ).stdout
    assert "import numpy before the journal is read" in told
    assert "import pandas before the journal is read" in told


# Equal data has equal texts


def test_equal_sets_have_equal_texts() -> None:
    words = [f"word {number}" for number in range(100)]
    backwards = words[::-1]
    assert text_of(set(words)) == text_of(set(backwards))
    assert digest_of(text_of(set(words))) == digest_of(text_of(set(backwards)))
    assert digest_of(text_of({"a": 1})) != digest_of(text_of({"a": 1.0}))
    assert digest_of(None) == digest_of("")


def test_the_order_of_a_dict_counts() -> None:
    assert text_of({"a": 1, "b": 2}) != text_of({"b": 2, "a": 1})


# Property: whatever is put together from these

keys = st.one_of(
    *(st.text(), st.integers(), st.booleans(), st.none(), st.binary(), st.just("$")),
    st.text(st.characters(codec=None), max_size=3),
    st.tuples(st.integers(), st.text()),
    st.frozensets(st.integers()),
)
zones = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.sampled_from([BERLIN, zoneinfo.ZoneInfo("America/New_York")]),
    st.integers(-86399, 86399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds))),
)
atoms = st.one_of(
    *(keys, st.floats(), st.complex_numbers(), st.decimals(allow_nan=False), st.fractions()),
    *(st.uuids(), st.dates(), st.timedeltas(), st.datetimes(timezones=zones)),
    st.times(timezones=zones),
    st.integers(-(10**400), 10**400),
    st.ip_addresses(),
    st.builds(pathlib.PurePosixPath, st.text(max_size=5)),
    st.sampled_from([int, type(None), ...]),
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(keys, max_size=4),
        st.lists(inner, max_size=3).map(deque),
        st.dictionaries(st.sampled_from(["$", "v", "type", "as"]), inner),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.lists(inner, max_size=3).map(lambda items: ValueError(*items)),
    ),
    max_leaves=15,
)


@given(values)
def test_whatever_is_put_together_comes_back(value) -> None:
    text = text_of(value)
    assert_identical(read(text), value)
    # The text of an error shows what Python prints, of sets in any order.
    assert '"error"' in text or text_of(read(text)) == text
    assert_identical(back(value, SMALL), value)


# What cannot be written


class Words(list):
    pass


class Name(str):
    __slots__ = ()


class Loud:
    def __repr__(self) -> str:
        raise ValueError("loud")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (threading.Lock(), "value is a _thread.lock, which the journal does not know."),
        ({"a": [1, {"b": open}]}, "value['a'][1]['b'] is a builtin_function_or_method"),
        (Words([1]), "Words, a subclass of list the journal does not know"),
        ((Name("x"),), "value[0] is a "),
        ({(1, open): 2}, "value{(1, <built-in function open>)}[1] is a builtin"),
        ({Loud(): 1}, "value{<a Loud whose repr raises ValueError>} is a "),
        ((number for number in range(3)), "value is a generator"),
        (lambda: 0, "value is a function"),
        (sys, "value is a module"),
        (Loud, "is the class "),
        (memoryview(b""), "value is a memoryview"),
        (defaultdict(lambda: 0), "value is a defaultdict with the default_factory <function"),
        (dt.datetime(2024, 1, 1, tzinfo=type("Odd", (dt.tzinfo,), {})()), "a time zone not of zo"),
    ],
)
def test_what_is_not_known_is_named_with_its_place(value, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        encode_value(value, JSON, "the thing")
    text = str(caught.value)
    assert text.startswith("the thing cannot be recorded: ")
    assert told in text
    assert "register_type()" in text and "context.shared" in text


def test_a_zone_without_a_key_is_refused() -> None:
    paths = [pathlib.Path(folder, "UTC") for folder in zoneinfo.TZPATH]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        pytest.skip("no time zones on this system")
    with path.open("rb") as file, pytest.raises(JournalDataError, match="without a key"):
        back(zoneinfo.ZoneInfo.from_file(file))


def test_all_mistakes_are_told_at_once_and_not_too_many() -> None:
    with pytest.raises(JournalDataError) as caught:
        encode_value([open] * 5000, JSON, "it")
    lines = str(caught.value).splitlines()
    assert lines[0] == "it cannot be recorded, for 5000 values in it:"
    assert lines[1].strip().startswith("value[0] is a builtin")
    assert lines[-2] == "  … and 4980 more"
    assert len(lines) == 23


def test_a_cycle_is_an_error() -> None:
    ring: list[Any] = [1]
    ring.append({"again": (ring,)})
    with pytest.raises(JournalDataError, match=r"value\[1\]\['again'\]\[0\] contains itself"):
        back(ring)


@pytest.mark.parametrize("depth", [250, 5000])
@pytest.mark.parametrize("wrap", [lambda item: [item], lambda item: (item,), lambda i: {"a": i}])
def test_what_is_nested_too_deeply_is_an_error(depth, wrap) -> None:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    with pytest.raises(JournalDataError, match="nested deeper"):
        back(value)


@pytest.mark.parametrize("wrap", [lambda item: [item], lambda item: (item,), lambda i: {1: i}])
def test_what_is_nested_less_comes_back(wrap) -> None:
    value: Any = 1
    for _ in range(100):
        value = wrap(value)
    assert back(value) == value


def test_too_little_of_the_stack_left_is_an_error_and_not_a_recursion_error() -> None:
    value: Any = 1
    for _ in range(80):
        value = (value,)
    text = text_of(value)

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
            return
        with pytest.raises(JournalDataError, match="recursion limit"):
            encode_value(value, JSON, "it")
        with pytest.raises(JournalDataError, match="recursion limit"):
            read(text)

    limit = sys.getrecursionlimit()
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]  # None ends it
    deep(limit - depth - 100)
