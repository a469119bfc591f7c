"""Where a document comes from: files of every kind, texts, dicts; and where things stand in it."""

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
from collections import OrderedDict, UserList
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from task_pipeline.documents.reading.json_positions import JsonReading
from task_pipeline.documents.reading.source import Limits, Source, read_source
from task_pipeline.errors import DocumentError


def refused(given: Any, **keywords: Any) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_source(given, **keywords)
    return list(caught.value.problems)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Texts and names


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ("\ufeff [1]", [1]),
        ("\n\t{}", {}),
        ("a: 1\nb: 2", {"a": 1, "b": 2}),
        ("a: 1\rb: 2", {"a": 1, "b": 2}),
        ("--- {a: 1}", {"a": 1}),
        ("# a comment\na: 1", {"a": 1}),
        ("%YAML 1.1\n---\na: 1", {"a": 1}),
        ("steps: []", {"steps": []}),
        ("'my steps': []", {"my steps": []}),
        ('"a b" : 1', {"a b": 1}),
        ("steps:", {"steps": None}),
    ],
)
def test_a_text_is_known_by_how_it_begins(here: Path, text: str, value: Any) -> None:
    source = read_source(text)
    assert source.value == value
    assert (source.name, source.file, source.folder) == ("<text>", None, here)


@pytest.mark.parametrize("name", ["recipe.json", "a b.yaml", "steps", "C:dir", "a:b"])
def test_every_other_str_names_a_file(here: Path, name: str) -> None:
    assert refused(name) == [f"{name}: cannot be read: No such file or directory"]
    (here / name).write_text('{"a": 1}', "utf-8")
    assert read_source(name).value == {"a": 1}


def test_a_file_is_read_by_its_ending(here: Path) -> None:
    text = "{a: 1}"
    for name in ("r.yaml", "r.yml", "r.YAML"):
        Path(name).write_text(text, "utf-8")
        assert read_source(name).value == {"a": 1}
        assert read_source(name).kind == "yaml"
    for name in ("r.json", "r.JSON", "r.txt", "r"):
        Path(name).write_text(text, "utf-8")
        found = "a key is expected here, not `a`; keys stand in double quotes"
        assert refused(Path(name)) == [f"{name}:1:2: {found}"]
    Path("r.txt").write_text("a: 1", "utf-8")
    assert read_source("r.txt").value == {"a": 1}


def test_a_file_knows_its_name_its_place_and_its_folder(here: Path) -> None:
    folder = here / "recipes"
    folder.mkdir()
    (folder / "r.json").write_text('{\n  "a": 1}', "utf-8")
    source = read_source("recipes/r.json")
    assert source.name == "recipes/r.json"
    assert source.file == (folder / "r.json").resolve()
    assert source.folder == folder.resolve()
    assert source.locate(("a",)) == (2, 8)
    assert read_source(folder / "r.json", base_dir=here).folder == here
    assert read_source("[]", base_dir="recipes").folder == folder
    assert read_source([], base_dir=folder).folder == folder
    assert read_source([]).folder == here


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["r.json", "r.yaml"])
def test_unicode_is_read_in_each_of_its_encodings(here: Path, encoding: str, name: str) -> None:
    Path(name).write_text('{"schlüssel": "😀", "b": 1}', encoding)
    source = read_source(name)
    assert source.value == {"schlüssel": "😀", "b": 1}
    # Columns count characters, not bytes.
    assert source.locate(("b",)) == (1, 25)


# What cannot be read


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"  \n\t", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b'{"a":\n "\xff"}', "2:3: is not UTF-8; save it as UTF-8"),
        (b"\xff\xfea", "1:1: is not UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_without_a_text_is_refused(here: Path, content: bytes, found: str) -> None:
    Path("r.json").write_bytes(content)
    separator = ":" if found[0].isdigit() else ": "
    assert refused("r.json") == [f"r.json{separator}{found}"]


def test_what_is_no_ordinary_file_is_refused(here: Path) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    assert refused("folder") == ["folder: is a folder, not a file"]
    assert refused("pipe") == ["pipe: is not an ordinary file"]
    assert refused("/dev/zero") == ["/dev/zero: is not an ordinary file"]
    assert refused("circle") == ["circle: cannot be read: Too many levels of symbolic links"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert refused("socket") == ["socket: is not an ordinary file"]


def test_a_file_that_may_not_be_read_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("secret").write_text("{}", "utf-8")
    Path("secret").chmod(0)
    if os.access("secret", os.R_OK):  # as root
        real = os.open

        def closed(path: str, flags: int) -> int:
            if path == "secret":
                raise PermissionError(13, "Permission denied", path)
            return real(path, flags)

        monkeypatch.setattr(os, "open", closed)
    assert refused("secret") == ["secret: cannot be read: Permission denied"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", "the name of the document's file is empty"),
        ("a\0b", r"a\x00b: the name of the document's file has a null character"),
        ("x" * 5_000, "File name too long"),
        (b"bytes", "a document is a file's name, a text, a dict or a list, not "),
        (bytearray(b"x"), "a document is a file's name, a text, a dict or a list, not "),
        (5, "a document is a file's name, a text, a dict or a list, not 5"),
        (None, "a document is a file's name, a text, a dict or a list, not null"),
        ({1, 2}, "a document is a file's name, a text, a dict or a list, not a value of type set"),
    ],
)
def test_what_cannot_name_a_file_is_refused(here: Path, name: Any, found: str) -> None:
    (problem,) = refused(name)
    assert found in problem and len(problem) < 1_200


def test_a_file_that_is_too_large_is_not_read(here: Path) -> None:
    with Path("large.json").open("wb") as file:
        file.truncate(10**12)
    found = "is larger than 10,000,000 bytes, the most that a document may have"
    assert refused("large.json") == [f"large.json: {found}"]
    Path("r.json").write_text("[1, 2]", "utf-8")
    assert read_source("r.json", limits=Limits(size=6)).value == [1, 2]
    found = "is larger than 5 bytes, the most that a document may have"
    assert refused("r.json", limits=Limits(size=5)) == [f"r.json: {found}"]
    found = "is longer than 5 characters, the most that a document may have"
    assert refused("[1, 2]", limits=Limits(size=5)) == [f"<text>: {found}"]


# Dicts and lists


class Word(StrEnum):
    A = "a"


class Whole(int):
    pass


class Number(float):
    pass


def test_a_dict_is_copied_into_plain_containers() -> None:
    given: dict[str, Any] = OrderedDict(
        {
            Word.A: [Word.A, Whole(3), Number(1.5), True, None],
            "m": MappingProxyType({"x": (1, UserList([2]))}),
        }
    )
    source = read_source(given)
    value = source.value
    assert value == {"a": ["a", 3, 1.5, True, None], "m": {"x": [1, [2]]}}
    assert (source.name, source.file, source.locate(("a",))) == (None, None, None)
    assert json.loads(json.dumps(value)) == value
    kinds = [type(one) for one in (value, *value, *value["a"], value["m"], value["m"]["x"])]
    assert kinds == [dict, str, str, str, int, float, bool, type(None), dict, list]
    given["m"] = {}
    given[Word.A].append(1)
    assert value == {"a": ["a", 3, 1.5, True, None], "m": {"x": [1, [2]]}}


def test_a_list_that_is_there_twice_is_copied_twice() -> None:
    one = [1]
    value = read_source({"a": one, "b": one}).value
    value["a"].append(2)
    assert value == {"a": [1, 2], "b": [1]} and one == [1]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({1: "a"}, 'a key must be a text, not 1; write "1"'),
        ({True: "a"}, "a key must be a text, not true"),
        ({"a": {None: 1}}, "a.null: a key must be a text, not null"),
        ({"a": [1, {2}]}, "a[1]: a value of type set cannot stand in a document"),
        ({"a": print}, "a value of type builtin_function_or_method cannot stand in a document"),
        ({"a": b"x"}, "a: a value of type bytes cannot stand in a document; use texts"),
        ({"a": Path("x")}, "cannot stand in a document"),
        ({"a": float("nan")}, "a: nan is not a number that JSON knows"),
        ({"a": -float("inf")}, "a: -inf is not a number that JSON knows"),
        ([10**5_000], "[0]: a number of more than 4,300 digits"),
        (["\ud800"], "[0]: a text with half of a surrogate pair"),
        ({"\udfff": 1}, "a key with half of a surrogate pair"),
    ],
    ids="",
)
def test_what_no_document_could_have_is_named(given: Any, found: str) -> None:
    (problem,) = refused(given)
    assert found in problem


def test_everything_that_is_wrong_in_a_dict_is_named_at_once() -> None:
    odd = "cannot stand in a document; use texts, numbers, true, false, null, lists and dicts"
    assert refused({"a": [{1}, {"b": print, 2: 3}], "c": b""}) == [
        f"a[0]: a value of type set {odd}",
        f"a[1].b: a value of type builtin_function_or_method {odd}",
        'a[1]["2"]: a key must be a text, not 2; write "2"',
        f"c: a value of type bytes {odd}",
    ]


def test_a_dict_that_contains_itself_is_refused() -> None:
    given: dict[str, Any] = {"a": [1]}
    given["a"].append({"b": given})
    assert refused(given) == ["a[1].b: contains itself; a document cannot"]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_list_is_nested_no_deeper_than_allowed() -> None:
    assert read_source(nested(100)).value == nested(100)
    (problem,) = refused(nested(101))
    assert problem.endswith("[0]: nested more than 100 levels deep")
    (problem,) = refused(nested(20_000))
    assert problem.endswith("[0]: nested more than 100 levels deep")


def test_values_that_are_there_again_and_again_count_each_time() -> None:
    value: Any = [1] * 10
    for _ in range(20):
        value = [value] * 10
    found = ["more than 10,000 values, the most that a document may have"]
    assert refused(value, limits=Limits(nodes=10_000)) == found
    assert read_source([1, 2], limits=Limits(nodes=3)).value == [1, 2]
    assert len(refused([1, 2, 3], limits=Limits(nodes=3))) == 1


class Odd(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return 1

    def __iter__(self) -> Any:
        raise LookupError("of the program's own")

    def __len__(self) -> int:
        return 1


def test_what_a_mapping_of_the_program_raises_is_not_hidden() -> None:
    with pytest.raises(LookupError, match="of the program's own"):
        read_source(Odd())


# The way back


@pytest.mark.parametrize("text", ['{"a":\r\n [1,\r  {"b": 2}]}', "a:\r\n- 1\r-   b: 2\n"])
def test_lines_end_as_editors_think_that_they_do(text: str) -> None:
    source = read_source(text)
    assert source.value == {"a": [1, {"b": 2}]}
    place = source.locate(("a", 1, "b"))
    assert place is not None and place[0] == 3
    # Only YAML and Python think that a line ends here.
    assert read_source('{"\u2028\x85": 1, "b":2}').locate(("b",)) == (1, 15)


def test_what_is_not_there_is_located_by_what_is_around_it() -> None:
    source = read_source('{"a": [1, {"b": 2}]}')
    assert source.locate(()) == (1, 1)
    assert source.locate((), of_key=True) == (1, 1)
    assert source.locate(("x",)) == (1, 1)
    assert source.locate(("a",), of_key=True) == (1, 2)
    assert source.locate(("a", 5)) == (1, 7)
    assert source.locate(("a", -1)) == (1, 7)
    assert source.locate(("a", "b")) == (1, 7)
    assert source.locate(("a", 0, "b", 3)) == (1, 8)
    assert source.locate(("a", 1, "b"), of_key=True) == (1, 12)
    assert source.locate(("a", 1, "c"), of_key=True) == (1, 11)
    assert source.locate(("a", 1), of_key=True) == (1, 11)


def test_positions_are_only_looked_for_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    class Counted(JsonReading):
        def __init__(self, text: str, limits: Limits) -> None:
            read.append(text)
            super().__init__(text, limits)

    monkeypatch.setattr("task_pipeline.documents.reading.source.JsonReading", Counted)
    source = read_source('{"a": 1}')
    assert read == []
    for _ in range(3):
        source.locate(("a",))
    assert len(read) == 1


@pytest.mark.parametrize("text", ['{"a": [1]}', "a: [1]\n"])
def test_a_source_can_be_pickled_and_copied(text: str) -> None:
    source = read_source(text)
    source.locate(())
    for again in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):
        assert isinstance(again, Source)
        assert again.value == source.value and again.locate(("a", 0)) == source.locate(("a", 0))


def test_limits_that_a_document_was_read_with_hold_for_its_positions() -> None:
    limits = Limits(depth=200)
    source = read_source(json.dumps(nested(150)), limits=limits)
    assert source.locate((0,) * 140) == (1, 141)


# What is imported


def test_json_is_read_without_pyyaml() -> None:
    script = """
import sys
sys.modules["yaml"] = None
from task_pipeline.documents.reading.source import read_source
from task_pipeline.errors import DocumentError, MissingExtraError
assert read_source('{"a": [1]}').locate(("a", 0)) == (1, 8)
assert read_source({"a": 1}).value == {"a": 1}
try:
    read_source("a: 1\\nb: 2")
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == (
        "Reading YAML needs PyYAML, which is not installed; "
        "install it with: pip install 'task-pipeline[documents]'\n"
    )
