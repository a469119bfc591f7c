"""JSON: the same values as `json.loads`, stricter rules, the place of everything, our words."""

import json
import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from task_pipeline.documents.reading.json_positions import JsonReading
from task_pipeline.documents.reading.json_reading import read_json
from task_pipeline.documents.reading.json_values import Limits, MistakesError, offset_of
from task_pipeline.documents.reading.source import read_source
from task_pipeline.errors import DocumentError

Path = tuple[str | int, ...]
Places = dict[Path, tuple[int | None, int]]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['":', "\\", '\\"', "{{ x }}", "]", "[", "}:{", ' " : ', "a\nb", "\u2028", "//", "😀"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BLANKS = ("", "", " ", "\n", "\r\n", "\t", "\r", " \n  ")


class Writer:
    """Writes JSON with blanks wherever they may be, and notes where each value begins."""

    def __init__(self, seed: int, twice: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.twice = twice
        self.text = ""
        self.places: Places = {}
        self.repeated: list[Path] = []

    def write(self, value: Any, path: Path = (), key: int | None = None) -> None:
        self.blank()
        self.places[path] = (key, len(self.text))
        if isinstance(value, dict):
            self.mapping(value, path)
        elif isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.text += "," if index else ""
                self.write(item, (*path, index))
            self.blank()
            self.text += "]"
        else:
            self.text += self.scalar(value)
        self.blank()

    def mapping(self, value: dict[str, Any], path: Path) -> None:
        self.text += "{"
        pairs = list(value.items())
        for pair in list(pairs):
            if self.random.random() < self.twice:
                pairs.insert(self.random.randint(pairs.index(pair) + 1, len(pairs)), pair)
                self.repeated.append((*path, pair[0]))
        for number, (key, item) in enumerate(pairs):
            self.text += "," if number else ""
            self.blank()
            begin = len(self.text)
            self.text += self.scalar(key)
            self.blank()
            self.text += ":"
            self.write(item, (*path, key), begin)
        self.blank()
        self.text += "}"

    def scalar(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=self.random.random() < 0.5)

    def blank(self) -> None:
        self.text += self.random.choice(BLANKS)


def mistakes(text: str, limits: Limits | None = None) -> list[Any]:
    with pytest.raises(MistakesError) as caught:
        read_json(text, limits or Limits())
    return caught.value.mistakes


@given(VALUES, st.integers())
@settings(max_examples=200, deadline=None)
def test_every_value_is_located_where_it_begins(value: Any, seed: int) -> None:
    writer = Writer(seed)
    writer.write(value)
    assert read_json(writer.text) == value
    reading = JsonReading(writer.text)
    assert reading.mistakes == []
    for path, (key, begin) in writer.places.items():
        assert offset_of(reading.spot, path) == begin
        assert offset_of(reading.spot, path, of_key=True) == (begin if key is None else key)


@given(VALUES, st.integers())
@settings(max_examples=200, deadline=None)
def test_every_key_that_is_there_twice_is_found(value: Any, seed: int) -> None:
    writer = Writer(seed, twice=0.3)
    writer.write(value)
    if not writer.repeated:
        assert read_json(writer.text) == value
        return
    found = mistakes(writer.text)
    assert {one.found for one in found} == {"this key is there twice"}
    # A key in what stands under a key again is found too, and was not written on purpose.
    assert {one.path for one in found} >= set(writer.repeated) or len(found) >= len(writer.repeated)
    for one in found:
        assert writer.text[one.offset] == '"'


def refuse(word: str) -> Any:
    raise ValueError(word)


def finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), -float("inf")):
        raise ValueError(text)
    return number


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def strictly(text: str) -> Any:
    """What a document may be, by `json.loads` with every rule as a hook: slow, and sure."""
    value = json.loads(
        text, parse_constant=refuse, parse_float=finite, object_pairs_hook=without_duplicates
    )
    json.dumps(value, ensure_ascii=False).encode()
    text.encode()
    return value


SEEDS = [
    '{"a": [1, 2.5e3, "x\\n\\u00e4"], "b": {"c": null, "d": true}}',
    '[{"a": "}"}, {"a": ":"}, "\\\\", "\\"", -0.0, 1e400]',
    '{"steps": [{"type": "x", "x": "{{ a }}"}]}',
    '["\\ud83d\\ude00", "\\ud83d", {"\\u0061": 1, "a": 2}]',
]
PIECES = [
    *'{}[]",:\\ \n\t\x00/#',
    "'",
    "01",
    "-",
    "NaN",
    "null",
    "True",
    "\\u",
    "\\ud800",
    "1e9999",
]


@given(st.sampled_from(SEEDS), st.integers(), st.integers(1, 4))
@settings(max_examples=500, deadline=None)
def test_a_text_is_refused_exactly_if_the_rules_refuse_it(text: str, seed: int, times: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        begin = chance.randint(0, len(text))
        end = min(len(text), begin + chance.choice((0, 0, 1, 3)))
        text = text[:begin] + chance.choice([*PIECES, ""]) + text[end:]
    try:
        expected = strictly(text)
    except ValueError:
        found = mistakes(text)
        assert all(0 <= one.offset <= len(text) and one.found for one in found)
    else:
        assert read_json(text) == expected


# What is said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[1,]",
            "1:4: [1]: a value is expected here, not `]`; there is a comma too many before it",
        ),
        ('{"a":1,}', "1:8: a key is expected here, not `}`; there is a comma too many before it"),
        ('{"a":}', "1:6: a: a value is expected here, not `}`"),
        ("{,}", "1:2: a key is expected here, not `,`; keys stand in double quotes"),
        ("[,]", "1:2: [0]: a value is expected here, not `,`"),
        ("{a: 1}", "1:2: a key is expected here, not `a`; keys stand in double quotes"),
        ("{'a': 1}", "1:2: a key is expected here, not `'`; keys stand in double quotes"),
        ("['a']", "1:2: [0]: a value is expected here, not `'`; texts stand in double quotes"),
        ("[abc]", "1:2: [0]: a value is expected here, not `abc`; texts stand in double quotes"),
        ("[True]", "1:2: [0]: a value is expected here, not `True`; write true"),
        ("[None]", "1:2: [0]: a value is expected here, not `None`; write null"),
        (
            "[-Infinity]",
            ("1:2: [0]: a value is expected here, not `-Infinity`; "
            "JSON has no such number; leave it out, or write null"),
        ),
        (
            "[01]",
            "1:2: [0]: a value is expected here, not `01`; a number is written as 0, -1.5 or 1e6",
        ),
        (
            "[.5]",
            "1:2: [0]: a value is expected here, not `.5`; a number is written as 0, -1.5 or 1e6",
        ),
        ("[0x1]", ("1:2: [0]: a value is expected here, not `0x1`; "
         "a number is written as 0, -1.5 or 1e6")),
        ("[1 2]", "1:4: `,` or `]` is expected here, not `2`"),
        ('{"a": [1 2]}', "1:10: a: `,` or `]` is expected here, not `2`"),
        ('{"a":1 "b":2}', '1:8: `,` or `}` is expected here, not `"`'),
        ('{"a" 1}', "1:6: a: `:` is expected after a key, not `1`"),
        ('{"a":1 // x\n}', "1:8: `,` or `}` is expected here, not `/`; JSON has no comments"),
        ('{"a":1, # x\n}', "1:9: a key is expected here, not `#`; JSON has no comments"),
        ("[/* x */]", "1:2: [0]: a value is expected here, not `/`; JSON has no comments"),
        ("[1", "1:3: `,` or `]` is expected here, not the end of the text"),
        ("{", "1:2: a key is expected here, not the end of the text"),
        ('{"a"', "1:5: a: `:` is expected after a key, not the end of the text"),
        ('{"a":', "1:6: a: a value is expected here, not the end of the text"),
        ("[1] x", "1:5: the document has ended before `x`; a file has one document"),
        ('{"a": "x', "1:7: a: a text that begins here has no closing quotation mark"),
        ('{"a": "x\ny"}', ("1:7: a: a text that begins here has no closing quotation mark; "
         r"write \n for a line break in it")),
        ('{"x": 1, "a', "1:10: a key that begins here has no closing quotation mark"),
        ('["a\tb"]', (r"1:4: [0]: a text must not have the control character \u0009; "
         r"write it as \u0009")),
        (r'["\q"]', r"1:3: [0]: `\q` is not an escape that JSON knows; write \\ for a backslash"),
        (r'["\u12"]', r"1:3: [0]: four hexadecimal digits must follow \u"),
        ('["\\', r"1:3: [0]: `\` is not an escape that JSON knows; write \\ for a backslash"),
        ('{"a":\n  1,\n "a": 2}', ("3:2: a: this key is there twice; "
         "the other one is at line 1, column 2")),
        (r'["\ud800x"]', "1:2: [0]: a text with half of a surrogate pair; no file can hold it"),
        (r'{"\udfff": 1}', (r'1:2: ["\udfff"]: a key with half of a surrogate pair; '
         "no file can hold it")),
        ("[1e999]", "1:2: [0]: a number larger than any that can be calculated with"),
        ("[\x00]", r"1:2: [0]: a value is expected here, not `\x00`"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_source(text)
    assert caught.value.problems == (f"<text>:{said}",)


def test_a_text_that_is_half_of_a_surrogate_pair_itself_is_refused() -> None:
    assert [one.found for one in mistakes('["\udc80"]')] == ["a text with half of a surrogate pair"]
    assert [one.found for one in mistakes('["\udc80", x]')][1:] == [
        "a value is expected here, not `x`"
    ]
    assert read_json('["\\ud83d\\ude00\\\\ud800"]') == ["😀\\ud800"]


def test_every_mistake_that_leaves_the_rest_readable_is_found() -> None:
    found = mistakes('{"a": 1e999, "b": "\\ud800", "a": {"a": 1, "a": 2}, "c": [1,]}')
    assert [one.path for one in found] == [("a",), ("b",), ("a",), ("a", "a"), ("c", 1)]


def test_a_mistake_deep_in_lists_has_the_path_that_its_value_has() -> None:
    found = mistakes('[{"a": [[], {"b": "\\ud800", "b": 1e999}]}, [[1, 1e999]], {"c": nan}]')
    paths = [(0, "a", 1, "b"), (0, "a", 1, "b"), (0, "a", 1, "b"), (1, 0, 1), (2, "c")]
    assert [one.path for one in found] == paths


def test_what_is_known_to_be_meant_does_not_hide_the_mistakes_behind_it() -> None:
    found = mistakes('{"a": [NaN, True, -Infinity,], "b": {"c": None,}, "d": undefined, "e": x, }')
    assert [one.path for one in found] == [
        *(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", "c"), ("b",), ("d",), ("e",))
    ]
    assert found[1].found == "a value is expected here, not `True`"
    assert [one.hint for one in found[1:]] == [
        *("write true", "JSON has no such number; leave it out, or write null"),
        *("there is a comma too many before it", "write null"),
        *("there is a comma too many before it", "write null", "texts stand in double quotes"),
    ]


# Limits


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101])
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    (found,) = mistakes(text)
    assert found.found == "nested more than 100 levels deep" and len(found.path) == 100


@given(st.integers(1, 60), st.integers())
@settings(max_examples=100, deadline=None)
def test_the_depth_is_counted_exactly(depth: int, seed: int) -> None:
    chance = random.Random(seed)
    text = "1"
    for _ in range(depth):
        # Brackets in texts do not count.
        aside = chance.choice(["", "", '"]]",', '"[[",', '"}{",', '"\\"[",', "[],", '{"]":1},'])
        text = f"[{aside}{text}]" if chance.random() < 0.5 else f'{{"}}":{text}}}'
    deepest = depth_of(json.loads(text))
    read_json(text, Limits(depth=deepest))
    assert mistakes(text, Limits(depth=deepest - 1))[0].found.startswith("nested more than")


def depth_of(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, inner), default=0)


@pytest.mark.parametrize("text", ["[1, 2, 3]", '{"a": 1, "b": [2]}', "[[[1]]]"])
def test_the_values_are_counted_exactly(text: str) -> None:
    read_json(text, Limits(nodes=4))
    (found,) = mistakes(text, Limits(nodes=3))
    assert found.found == "more than 3 values, the most that a document may have"


def test_what_is_long_is_not_taken_for_much() -> None:
    limits = Limits(nodes=1_000)
    text = '["' + "[,]" * 1_000 + '", [], [], "\\""]'
    assert len(read_json(text, limits)) == 4
    (found,) = mistakes('["",' + "[]," * 1_000 + "[],", limits)
    assert found.found == "more than 1,000 values, the most that a document may have"
    (found,) = mistakes("[" + "[]," * 600 + "]", limits)
    assert found.found.startswith("a value is expected here")
    # There are more brackets than values.
    assert len(read_json("[" + "[]," * 600 + "[]]", limits)) == 601


def test_a_number_of_too_many_digits_is_refused() -> None:
    assert read_json("[" + "9" * 4_300 + "]") == [10**4_300 - 1]
    for text in ("9" * 4_301, "-" + "9" * 4_301, "9" * 1_000_000):
        (found,) = mistakes(f'{{"a": {text}}}')
        assert (found.offset, found.path) == (6, ("a",))
        assert found.found == "a number of more than 4,300 digits"
    assert read_json('["' + "9" * 5_000 + '"]') == ["9" * 5_000]


def test_digits_are_limited_whatever_the_program_has_told_python() -> None:
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(0)
        assert mistakes("9" * 4_301)[0].found == "a number of more than 4,300 digits"
        assert read_json('"' + "9" * 4_301 + '"') == "9" * 4_301
        sys.set_int_max_str_digits(640)
        (found,) = mistakes("9" * 641)
        assert found.found.startswith("cannot be read: Exceeds the limit")
    finally:
        sys.set_int_max_str_digits(before)


def test_no_recursion_error_escapes_where_the_stack_is_short() -> None:
    text = json.dumps({"a": [[[[[[[[1]]]]]]]]})
    said: set[str] = set()

    def deeper() -> None:
        try:
            read_json(text)
        except MistakesError as error:
            said.add(error.mistakes[0].found)
        deeper()

    with pytest.raises(RecursionError):
        deeper()
    assert said <= {"cannot be read here"}


def test_a_text_with_very_many_mistakes_is_not_read_to_its_end() -> None:
    text = "{" + ",".join(['"a":1'] * 100_000) + "}"
    with pytest.raises(DocumentError) as caught:
        read_source(text)
    assert len(caught.value.problems) == 200 and caught.value.more == 800


def test_what_is_long_is_shortened_in_a_message() -> None:
    with pytest.raises(DocumentError) as caught:
        read_source("[" + "x" * 100_000 + "]")
    assert len(str(caught.value)) < 400
