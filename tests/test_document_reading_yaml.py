"""YAML: what JSON can say, with both of PyYAML's parsers, and the place of everything."""

import random
import sys
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from task_pipeline.documents.reading import yaml_reading
from task_pipeline.documents.reading.json_values import Limits, MistakesError, offset_of
from task_pipeline.documents.reading.source import read_source
from task_pipeline.documents.reading.yaml_reading import YamlReading
from task_pipeline.errors import DocumentError, MissingExtraError

Path = tuple[str | int, ...]
Places = dict[Path, tuple[int | None, int]]

INDENT = "is it indented as what it belongs to?"
PARSERS = ["SafeLoader", *(["CSafeLoader"] if hasattr(yaml, "CSafeLoader") else [])]


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(yaml_reading, "parser_type", lambda module: getattr(module, request.param))
    return str(request.param)


def with_each_parser(text: str) -> list[YamlReading]:
    readings = []
    for name in PARSERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                yaml_reading, "parser_type", lambda module, name=name: getattr(module, name)
            )
            readings.append(YamlReading(text))
    return readings


def refused(text: str, **keywords: Any) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_source(text, **keywords)
    return [problem.removeprefix("<text>:") for problem in caught.value.problems]


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2.5, true, null, ~, '']", {"a": 1, "b": ["x", 2.5, True, None, None, ""]}),
        ("- yes\n- no\n- on\n- off\n- y\n- n", [True, False, True, False, "y", "n"]),
        ("- 012\n- 0x1F\n- 0b11\n- 1_000\n- 1:30\n- 0o17", [10, 31, 3, 1000, 90, "0o17"]),
        ("- 1e3\n- 1.0e+3\n- 1:30.5\n- .5\n- -1.5", ["1e3", 1000.0, 90.5, 0.5, -1.5]),
        ("- 2024-01-01\n- 2024-01-01 10:00:00Z", ["2024-01-01", "2024-01-01 10:00:00Z"]),
        ("2024-01-01: a\n=: b", {"2024-01-01": "a", "=": "b"}),
        ("a: =\nb: <<", {"a": "=", "b": "<<"}),
        ('a: "yes"\n"on": \'1\'', {"a": "yes", "on": "1"}),
        ("a: !!str 12\nb: !!int '12'\nc: !!float 1\nd: !!bool yes\ne: !!null ''",
         {"a": "12", "b": 12, "c": 1.0, "d": True, "e": None}),
        ("a: !!seq [1]\nb: !!map {c: 1}", {"a": [1], "b": {"c": 1}}),
        ("a: ! 12\nb: ! [1]\nc: !", {"a": "12", "b": [1], "c": ""}),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
        ("? a\n: 1\n? b", {"a": 1, "b": None}),
        ("{a, b: }\n# end", {"a": None, "b": None}),
        ("--- \n# a comment\nfirst\n...\n", "first"),
        ("---\n", None),
        ("%YAML 1.2\n# c\n%TAG ! !\n---\na: 1", {"a": 1}),
        ("a: 'äöü 😀\u3000x'", {"a": "äöü 😀\u3000x"}),
    ],
)  # fmt: skip
def test_values_are_those_of_the_safe_loader(parser: str, text: str, value: Any) -> None:
    assert YamlReading(text).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x {k: [1]}\nb: *x\nc: [*x]", {"a": {"k": [1]}, "b": {"k": [1]}, "c": [{"k": [1]}]}),
        ("a: &x k\n*x : 1", {"a": "k", "k": 1}),
        ("&x k: 1\nb: *x", {"k": 1, "b": "k"}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("a: &x [&x 1, *x]\nb: *x", {"a": [1, 1], "b": 1}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: {k: 3, <<: *x}",
         {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}, "c": {"k": 3, "l": 2}}),
        ("a: {<<: [{k: 1, l: 1}, {l: 2, m: 2}], n: 3}", {"a": {"k": 1, "l": 1, "m": 2, "n": 3}}),
        ("a: {<<: []}", {"a": {}}),
        ("- &x {<<: {k: 1}}\n- {<<: *x}", [{"k": 1}, {"k": 1}]),
        ("a: {'<<': 1}", {"a": {"<<": 1}}),
    ],
)  # fmt: skip
def test_aliases_and_merge_keys_work(parser: str, text: str, value: Any) -> None:
    assert YamlReading(text).value == value


def test_an_alias_makes_a_copy(parser: str) -> None:
    value = YamlReading("a: &x {k: [1]}\nb: *x\nc: {<<: *x}\nd: {<<: *x}").value
    for key in ("a", "b", "c", "d"):
        value[key]["k"].append(key)
    assert [value[key]["k"] for key in "abcd"] == [[1, "a"], [1, "b"], [1, "c"], [1, "d"]]


def test_what_a_program_has_added_to_pyyaml_is_not_used(parser: str) -> None:
    class Own(yaml.SafeLoader):
        pass

    before = dict(yaml.SafeLoader.yaml_constructors)
    resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
    try:
        for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", Own)):
            loader.add_constructor("!env", lambda loader, node: "a secret")
            loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: "a secret")
        yaml.SafeLoader.yaml_constructors["tag:yaml.org,2002:bool"] = lambda loader, node: "secret"
        assert YamlReading("a: 1\nb: yes").value == {"a": 1, "b": True}
        assert refused("a: !env HOME\n") == [
            "1:4: a: the tag `!env` is not allowed; write the value plainly"
        ]
    finally:
        yaml.SafeLoader.yaml_constructors = before
        yaml.SafeLoader.yaml_implicit_resolvers = resolvers


# Mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c\n", "1:5: `:` is not allowed here; put the text in quotes if it has a `: `"),
        ("a:\n  - 1\n b: 2", f"3:2: this does not belong here; {INDENT}"),
        ("- a\nb: 1", f"2:1: [1]: this does not belong here; {INDENT}"),
        ("a: 1\n}", f"2:1: this does not belong here; {INDENT}"),
        ("a: 1\n...\nb: 1", f"3:1: this does not belong here; {INDENT}"),
        ("a: -\nb: 1", ("1:4: a: a list's `-` is not allowed here; "
         f"{INDENT}")),
        ("a: ? b\nc: 1", f"1:4: a: a key is not allowed here; {INDENT}"),
        ("a: [1, 2\n", "2:1: a[2]: `,` or `]` is expected here"),
        ("a: {x: 1\n", "2:1: a: `,` or `}` is expected here"),
        ("a: 'x\n", "1:4: a: a text in quotes that begins here has no end"),
        ("a: 'x\n---\n'", "1:4: a: a text in quotes that begins here has no end"),
        ('a: "\\q"\n', "1:6: a: `\\q` is not an escape that YAML knows; write \\\\"),
        ("a: @x\n", "1:4: a: no value can begin with '@'; put the text in quotes"),
        ("a:\n\t- 1", "2:1: a: a tab cannot stand here; indent with blanks"),
        ("'a': 1\n'b' 2\n", "2:1: a key that begins here has no `:`; put the text in quotes"),
        ("a: !h!foo 1\n", "1:4: a: a tag that is not known here; write the value without a tag"),
        ("a: *\n", ("1:5: a: this is not YAML: "
         r"expected alphabetic or numeric character, but found '\n'")),
        ("a: \x01\n", (r"1:4: the character \x01 cannot stand in YAML; "
         "write it as an escape in double quotes")),
        ("a: \ud800\n", (r"1:4: the character \ud800 cannot stand in YAML; "
         "write it as an escape in double quotes")),
        ("%YAML 2.0\n---\na: 1", "1:1: a directive that is not known; use %YAML 1.1, 1.2 or %TAG"),
        ("# c\n\n%FOO\n---\na: 1", ("3:1: a directive that is not known; "
         "use %YAML 1.1, 1.2 or %TAG")),
        ("# nothing\n", "1:1: the document is empty"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here; a file has one"),
        ("a: 1\nb: 2\na: 3", ("3:1: a: this key is there twice; "
         "the other one is at line 1, column 1")),
        ("a: {<<: {b: 1}, <<: {c: 1}}\n", ('1:17: a["<<"]: this key is there twice; '
         "the other one is at line 1, column 5")),
        ("1: a\n", '1:1: ["1"]: a key must be a text, not 1; write "1", in quotes'),
        ("on: a\n", '1:1: on: a key must be a text, not true; write "on", in quotes'),
        ("~: a\n", '1:1: ["~"]: a key must be a text, not null; write "~", in quotes'),
        ("? \n: a\n", '1:2: [""]: a key must be a text, not null; write it in quotes'),
        ("1.5: a\n", '1:1: ["1.5"]: a key must be a text, not 1.5; write "1.5", in quotes'),
        ("? [a]\n: 1", "1:3: a key must be a text, not a list"),
        ("x:\n  ? {a: 1}\n  : 1", "2:5: x: a key must be a text, not an object"),
        ("a: &x [1]\n*x : 1", '2:1: x: a key must be a text, not a list; write "x", in quotes'),
        ("a: *x\n", "1:4: a: the alias `*x` is of no anchor before it"),
        ("*x : 1\n", '1:1: the alias `*x` is of no anchor before it'),
        ("a: &x [*x]\n", "1:8: a[0]: the alias `*x` stands in what it is of"),
        ("a: &x {b: *x}\n", "1:11: a.b: the alias `*x` stands in what it is of"),
        ("a: {<<: *x}\n", '1:9: a["<<"]: the alias `*x` is of no anchor before it'),
        ("a: {<<: 1}\n", '1:5: a["<<"]: `<<` merges an object, or a list of objects, not 1'),
        ("a: {<<: [{b: 1}, 2]}\n", ('1:5: a["<<"]: `<<` merges an object, or a list of objects, '
         "not a list")),
        ("a: .inf\n", "1:4: a: .inf is not a number that JSON knows; put the text in quotes"),
        ("a: .nan\n", "1:4: a: .nan is not a number that JSON knows; put the text in quotes"),
        ("a: 1.0e+999\n", ("1:4: a: 1.0e+999 is not a number that JSON knows; "
         "put the text in quotes")),
        ("a: 0b_\n", ("1:4: a: the text '0b_' cannot be read as a whole number; "
         "put the text in quotes")),
        ("a: !!int x\n", ("1:4: a: the text 'x' cannot be read as a whole number; "
         "put the text in quotes")),
        ("a: !!int ''\n", ("1:4: a: the text '' cannot be read as a whole number; "
         "put the text in quotes")),
        ("a: !!float 1:x\n", ("1:4: a: the text '1:x' cannot be read as a number; "
         "put the text in quotes")),
        ("a: !!bool x\n", ("1:4: a: the text 'x' cannot be read as true or false; "
         "put the text in quotes")),
        ("a: !!null x\n", "1:4: a: the text 'x' cannot be read as null; put the text in quotes"),
        ("a: !!python/object/apply:os.system [x]\n", ("1:4: a: the tag "
         "`!!python/object/apply:os.system` is not allowed; write the value plainly")),
        ("a: !!python/name:os.system\n", ("1:4: a: the tag `!!python/name:os.system` "
         "is not allowed; write the value plainly")),
        ("a: !!binary aGk=\n", ("1:4: a: the tag `!!binary` is not allowed; "
         "write the value plainly")),
        ("a: !!set {x, y}\n", "1:4: a: the tag `!!set` is not allowed; write the value plainly"),
        ("a: !own {x: 1}\n", "1:4: a: the tag `!own` is not allowed; write the value plainly"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(parser: str, text: str, said: str) -> None:
    found = refused(text)
    if found[0].startswith("1:1: the alias"):
        assert found.pop().startswith("1:1: x: a key must be a text")
    assert found == [said]


def test_every_mistake_that_leaves_the_rest_readable_is_found(parser: str) -> None:
    text = "1: a\nb: !own 1\nb: *x\nc: {<<: 1, d: .inf, d: 2}\ne: [1,\n"
    assert [problem.partition(": ")[0] for problem in refused(text)] == [
        "1:1",
        "2:4",
        "3:1",
        "3:4",
        "4:5",
        "4:15",
        "4:21",
        "6:1",
    ]


def test_a_key_that_is_there_often_is_told_each_time(parser: str) -> None:
    assert [problem.partition("; ")[2] for problem in refused("a: 1\na: [2]\n  \na: 3\n")] == [
        "the other one is at line 1, column 1",
        "the other one is at line 1, column 1",
    ]


def test_a_mistake_far_into_a_long_text_is_told_in_the_words_of_the_parser_that_read_it() -> None:
    (found,) = refused("- 'x'\n" * 50_000 + "- 'x' y\n", limits=Limits(size=10**6))
    assert found.startswith(("50001:7: ", "50001:1: "))


# Limits


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "limits", "place", "said"),
    [
        (BOMB, Limits(), "5:36", "more than 100,000 values"),
        ("- a\n" * 11, Limits(yaml_nodes=11), "11:3", "more than 11 values"),
        ("- &x {a: [1, 2]}\n- *x\n- *x\n", Limits(yaml_nodes=9), "3:3", "more than 9 values"),
        ("- &x 1\n" + "- *x\n" * 11, Limits(aliases=10), "12:3", "more than 10 aliases"),
        ("- &x '" + "x" * 900 + "'\n- *x", Limits(size=1000), "2:3",
         "texts of more than 1,000 characters"),
        ("- &x [{'" + "x" * 300 + "': y}]\n- *x\n- *x\n- *x\n", Limits(size=1000), "4:3",
         "texts of more than 1,000 characters"),
        ("- " * 101 + "a\n", Limits(), "1:201", "nested more than 100 levels deep"),
        ("[" * 101 + "]" * 101 + "\n", Limits(), "1:101", "nested more than 100 levels deep"),
        ("a: " + "[" * 200_000, Limits(), "1:103", "nested more than 100 levels deep"),
        ("- &x [[[1]]]\n- [[*x]]\n", Limits(depth=5), "2:5", "nested more than 5 levels deep"),
        ("- &x [[1]]\n- &y [[*x]]\n- [*y]", Limits(depth=5), "3:4",
         "nested more than 5 levels deep"),
        ("a: &x {b: [1]}\nc: {d: {<<: *x}}", Limits(depth=4), "2:13",
         "nested more than 4 levels deep"),
        ("a: " + "9" * 4_301 + "\n", Limits(), "1:4", "a number of more than 4,300 digits"),
        ("a: 0x" + "f" * 4_000 + "\n", Limits(), "1:4", "a number of more than 4,300 digits"),
    ],
    ids="",
)  # fmt: skip
def test_a_document_has_limits(
    parser: str, text: str, limits: Limits, place: str, said: str
) -> None:
    if text.startswith("["):
        text = "--- " + text
        place = f"1:{int(place[2:]) + 4}"
    (found,) = refused(text, limits=limits)
    assert found.startswith(f"{place}: ") and said in found


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("- a\n" * 10, Limits(yaml_nodes=11)),
        ("- &x {a: [1, 2]}\n- *x\n- *x\n", Limits(yaml_nodes=13)),
        ("- &x 1\n" + "- *x\n" * 10, Limits(aliases=10)),
        ("- &x [[[1]]]\n- [[*x]]\n", Limits(depth=6)),
        ("- " * 100 + "a\n", Limits()),
    ],
)
def test_a_document_at_its_limits_is_read(parser: str, text: str, limits: Limits) -> None:
    assert read_source(text, limits=limits).value == yaml.safe_load(text)


def test_a_text_with_very_many_mistakes_is_not_read_to_its_end(parser: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_source("- !own a\n" * 5_000)
    assert len(caught.value.problems) == 200 and caught.value.more == 800


def test_no_recursion_error_escapes_from_copying_an_alias(parser: str) -> None:
    text = "a: &x " + "[" * 90 + "1" + "]" * 90 + "\nb: *x\n"
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(200)
        value = YamlReading(text).value
    finally:
        sys.setrecursionlimit(limit)
    assert value["a"] == value["b"]


# Places


def composed(text: str) -> Places:
    """Where each value begins, as PyYAML itself says."""
    places: Places = {}

    def note(node: Any, path: Path, key: int | None) -> None:
        places[path] = (key, node.start_mark.index)
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                note(value, (*path, name.value), name.start_mark.index)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                note(value, (*path, index), None)

    note(yaml.compose(text, Loader=yaml.SafeLoader), (), None)
    return places


def check_places(text: str, value: Any, places: Places) -> None:
    for reading in with_each_parser(text):
        assert reading.value == value
        for path, (key, begin) in places.items():
            assert offset_of(reading.spot, path) == begin
            assert offset_of(reading.spot, path, of_key=True) == (begin if key is None else key)


# What PyYAML writes in a way that it reads itself.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"], exclude_characters="\ufeff"),
    max_size=8,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.sampled_from([None, '"', "'", "|", ">"]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_value_that_pyyaml_writes_is_located(
    value: Any, flow: bool, style: str | None, unicode: bool
) -> None:
    text = yaml.safe_dump(
        value, default_flow_style=flow, default_style=style, allow_unicode=unicode, sort_keys=False
    )
    if style is not None:
        value = yaml.safe_load(text)
    check_places(text, value, composed(text))


class Writer:
    """Writes YAML as people do, and notes where each value begins."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.text = self.random.choice(["", "---\n", "# a comment\n", "%YAML 1.1\n---\n"])
        self.places: Places = {}

    def top(self, value: Any) -> None:
        if isinstance(value, dict | list) and value:
            self.block(value, (), 0, None)
        else:
            self.flow(value, (), None)
            self.text += "\n"

    def note(self, path: Path, key: int | None) -> None:
        self.places[path] = (key, len(self.text))

    def block(self, value: Any, path: Path, indent: int, key: int | None) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (part, inner) in enumerate(pairs):
            self.text += " " * indent
            if not number:
                self.note(path, key)
            begin: int | None = None
            if isinstance(value, dict):
                begin = len(self.text)
                self.scalar(part)
                self.text += ":"
            else:
                self.text += "-"
            if isinstance(inner, dict | list) and inner and self.random.random() < 0.7:
                self.text += self.random.choice(["\n", "  # why\n", "\n\n", " \n   # why\n"])
                self.block(inner, (*path, part), indent + self.random.randint(1, 4), begin)
            else:
                self.text += " " * self.random.randint(1, 3)
                self.flow(inner, (*path, part), begin)
                self.text += self.random.choice(["\n", " # why\n", "\n\n"])

    def flow(self, value: Any, path: Path, key: int | None) -> None:
        self.note(path, key)
        if not isinstance(value, dict | list):
            self.scalar(value)
            return
        self.text += "{" if isinstance(value, dict) else "["
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (part, inner) in enumerate(pairs):
            self.text += ", " if number else self.random.choice(["", " "])
            begin = None
            if isinstance(value, dict):
                begin = len(self.text)
                self.scalar(part)
                self.text += ": "
            self.flow(inner, (*path, part), begin)
        self.text += self.random.choice(["", " "]) + ("}" if isinstance(value, dict) else "]")

    def scalar(self, value: Any) -> None:
        if not isinstance(value, str):
            self.text += {None: "null", True: "yes", False: "false"}.get(value, str(value))
        elif value.isalpha() and value not in ("y", "n") and self.random.random() < 0.6:
            self.text += value
        elif self.random.random() < 0.5:
            self.text += "'" + value.replace("'", "''") + "'"
        else:
            self.text += '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


WORDS = st.sampled_from(
    ["steps", "type", "ein Wort", "größe", "😀", "a: b", "- x", "#", "'", '"\\']
)
WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers(2) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(WRITTEN, st.integers())
@settings(max_examples=200, deadline=None)
def test_every_value_that_people_write_is_located(value: Any, seed: int) -> None:
    writer = Writer(seed)
    writer.top(value)
    check_places(writer.text, value, writer.places)


def test_what_an_alias_brings_is_located_where_it_is_written(parser: str) -> None:
    source = read_source("a: &x {k: [1, 2]}\nb: *x\nc: {<<: *x, l: 3}\n")
    assert source.locate(("b",)) == (2, 4)
    assert source.locate(("b", "k", 1)) == (1, 15)
    assert source.locate(("c", "k"), of_key=True) == (1, 8)
    assert source.locate(("c", "l")) == (3, 16)
    assert source.locate(("c", "<<")) == (3, 4)


# The two parsers


PIECES = [
    *"[]{}:,-?|>&*!%@`'\"# \n\t~\\", ": ", "- ", "&x ", "*x", "<<: ", "---", "...", "!!", "!!str ",
    "\r\n", "\u2028", "é", "  ", "? ", "1", "no", "%YAML 1.1\n",
]  # fmt: skip
SEEDS = [
    "a: 1\nb:\n  - x\n  - {c: d, e: [1, 2]}\nf: 'g'\n",
    'steps:\n- type: shell\n  args: [a, "b\\n"]\n- &x\n  k: |\n    text\n    more\n- *x\n',
    "a: &x {b: 1}\nc:\n  <<: *x\n  d: >-\n    folded\n",
]


def outcome(text: str) -> tuple[str, Any]:
    try:
        return "read", YamlReading(text).value
    except MistakesError as error:
        return "refused", [(one.offset, one.found) for one in error.mistakes]


@pytest.mark.skipif(len(PARSERS) == 1, reason="PyYAML was built without libyaml")
@given(st.sampled_from(SEEDS), st.integers(), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_what_the_parser_in_python_reads_libyaml_reads_as_well(
    text: str, seed: int, times: int
) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        begin = chance.randint(0, len(text))
        end = min(len(text), begin + chance.choice((0, 0, 1, 3)))
        text = text[:begin] + chance.choice([*PIECES, ""]) + text[end:]
    found = []
    for name in PARSERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                yaml_reading, "parser_type", lambda module, name=name: getattr(module, name)
            )
            found.append(outcome(text))
    in_python, in_c = found
    # What libyaml refuses is read again in Python; only what libyaml reads may be refused there.
    if in_python[0] == "read":
        assert in_c == in_python


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: |\n  \tx\n  y\n", {"a": "\tx\ny\n"}),
        ("a: [b:, c]\n", {"a": [{"b": None}, "c"]}),
    ],
)
def test_what_only_the_parser_in_python_reads_is_read(parser: str, text: str, value: Any) -> None:
    assert YamlReading(text).value == value


# The extra


def test_a_pyyaml_that_is_broken_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'task-pipeline\[documents\]'"):
        YamlReading("a: 1")
    monkeypatch.delitem(sys.modules, "yaml")
    (tmp_path / "yaml.py").write_text("import a_part_of_it_that_is_not_there\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_part_of_it_that_is_not_there"):
        YamlReading("a: 1")


def test_without_libyaml_the_parser_in_python_is_used() -> None:
    plain = ModuleType("yaml")
    plain.SafeLoader = yaml.SafeLoader  # type: ignore[attr-defined]  # a package made up here
    assert yaml_reading.parser_type(plain) is yaml.SafeLoader
    assert yaml_reading.parser_type(yaml) is getattr(yaml, PARSERS[-1])
