"""Docpacks: made of real files, and archives from strangers refused before anything is written."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import DocumentError, NotAllowedError, PipelineContext
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.steps import docpack
from task_pipeline.documents.steps.docpack import names_for, pack, unpack

OUTLINE = {"title": "T", "resources": [{"key": "a", "path": "in/a.txt"}, {"path": "elsewhere"}, 5]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "outline.json").write_text(json.dumps(OUTLINE))
    (folder / "in" / "a.txt").write_text("A")
    (folder / "in" / "sub" / "a.txt").write_text("sub A")
    (tmp_path / "outside.txt").write_text("secret")
    return folder


def run(root: Path, *steps: dict[str, Any]) -> dict[str, Any]:
    return load_pipeline({"steps": list(steps)}, root=root).run(PipelineContext()).results


def create(root: Path, resources: Any = "in/a.txt,in/sub/a.txt", **fields: Any) -> dict[str, Any]:
    given = {"outline_path": "outline.json", "output_path": "out/x.docpack", **fields}
    return run(root, {"type": "docpack_create", "resource_files": resources, **given})


def extract(root: Path, **fields: Any) -> dict[str, Any]:
    given = {"docpack_path": "out/x.docpack", "extract_dir": "there", **fields}
    return run(root, {"type": "docpack_extract", **given})


def archive(*entries: tuple[str, bytes] | tuple[str, bytes, int], outline: bool = True) -> bytes:
    """An archive whose entries may have any name, and any mode."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        if outline:
            zipped.writestr("outline.json", "{}")
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo mends some names
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16
            zipped.writestr(info, content)
    return made.getvalue()


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_packed_is_unpacked_again(root):
    made = create(root, output_key="made")["made"]
    results = extract(root)

    there = root / "there"
    assert made == {"output_path": str(root / "out/x.docpack"), "resource_count": 2}
    assert results["resource_files"] == [f"{there}/files/a.txt", f"{there}/files/a_1.txt"]
    assert results["outline_json"]["resources"] == [
        {"key": "a", "path": f"{there}/files/a.txt"},
        {"path": "elsewhere"},
        5,
    ]
    assert (there / "files/a.txt").read_text() == "A"
    assert (there / "files/a_1.txt").read_text() == "sub A"
    assert json.loads((there / "outline.json").read_text())["title"] == "T"


def test_the_same_files_give_the_same_bytes(root):
    create(root)
    first = (root / "out/x.docpack").read_bytes()
    for path in root.rglob("*"):
        os.utime(path, (10**9, 10**9))
        if path.is_file():
            path.chmod(0o600)
    create(root, ["in/a.txt", str(root / "in/sub/a.txt"), "in/../in/a.txt"])

    assert (root / "out/x.docpack").read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as zipped:
        assert zipped.testzip() is None
        assert zipped.namelist() == ["outline.json", "files/a.txt", "files/a_1.txt"]
        resources = json.loads(zipped.read("outline.json"))["resources"]
        assert resources[0]["path"] == "files/a.txt"


def test_an_outline_may_be_any_json_and_have_no_files(root):
    (root / "outline.json").write_text("[1, {}]")
    create(root, "")

    results = extract(root, outline_key="o", resources_key="r")

    assert results == {"o": [1, {}], "r": []}


def test_a_variable_with_a_list_of_files(root):
    for name in ("a", "b"):
        (root / f"{name}.txt").write_text(name)
    (root / "outline.json").write_text("{}")
    fields = {"outline_path": "outline.json", "output_path": "x.docpack", "output_key": "made"}
    step = {"type": "docpack_create", "resource_files": "{{ files }}", **fields}
    context: Any = PipelineContext(results={"files": ["a.txt", "b.txt"]})
    load_pipeline({"steps": [step]}, root=root).run(context)
    assert context.results["made"]["resource_count"] == 2


def test_a_name_with_a_comma_is_one_file_if_there_is_one(root):
    (root / "a,b.txt").write_text("both")
    create(root, "a,b.txt")

    assert extract(root)["resource_files"] == [str(root / "there/files/a,b.txt")]


def test_archives_of_others_have_their_files_beside_the_outline(root):
    outline = {"resources": [{"path": "a.txt"}, {"path": "b.txt"}]}
    content = {"a.txt": b"A", "files/b.txt": b"B"}
    (root / "x.docpack").write_bytes(pack(outline, content))

    results = extract(root, docpack_path="x.docpack")

    there = root / "there"
    assert [one["path"] for one in results["outline_json"]["resources"]] == [
        f"{there}/a.txt",
        f"{there}/files/b.txt",
    ]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"resources": ["no.txt"]}, r"resource_files: there is no file .*no\.txt"),
        ({"resources": ["in"]}, "is a folder, not a file"),
        ({"outline_path": "no.json"}, "outline_path: there is no file"),
        ({"outline_path": "in/a.txt"}, r"outline_path: .* is no JSON: line 1, column 1"),
        ({"output_path": "in"}, "output_path: .* is a folder"),
        ({"resources": ["in/a:b"]}, "'a:b' has a character that a file's name cannot have"),
    ],
)
def test_what_cannot_be_packed_says_so_and_writes_nothing(root, fields, found):
    (root / "in" / "a:b").touch()
    before = files_in(root)
    with pytest.raises((OSError, ValueError), match=found):
        create(root, **fields)

    assert files_in(root) == before


def test_too_much_to_pack_is_refused(root, monkeypatch):
    monkeypatch.setattr("task_pipeline.documents.steps.docpack_steps.MOST_BYTES", 100)
    for name in ("b", "c"):
        (root / name).write_bytes(b"x" * 60)
    with pytest.raises(ValueError, match="more than 100 bytes together"):
        create(root, ["b", "c"])
    monkeypatch.setattr("task_pipeline.documents.steps.docpack_steps.MOST_FILES", 2)
    with pytest.raises(ValueError, match="1 files are the most"):
        create(root, ["in/a.txt", "in/sub/a.txt"])


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/passwd", "link"])
def test_nothing_outside_of_root_is_packed_or_unpacked(root, path):
    (root / "link").symlink_to(root.parent / "outside.txt")
    create(root)
    fields = [
        ("docpack_create", "outline_path"),
        ("docpack_create", "resource_files"),
        ("docpack_create", "output_path"),
        ("docpack_extract", "docpack_path"),
        ("docpack_extract", "extract_dir"),
    ]
    for kind, field in fields:
        call = create if kind == "docpack_create" else extract
        given = [path] if field == "resource_files" else path
        name = "resources" if field == "resource_files" else field
        with pytest.raises((NotAllowedError, DocumentError), match=rf"{field}.*outside of"):
            call(root, **{name: given})

    assert (root.parent / "outside.txt").read_text() == "secret"


def test_an_outline_may_name_what_is_outside_and_that_is_not_packed(root):
    outline = {"resources": [{"path": "../outside.txt"}, {"path": "a\0b"}]}
    (root / "outline.json").write_text(json.dumps(outline))
    create(root)

    assert extract(root)["outline_json"] == outline


def test_a_link_in_the_folder_to_unpack_into_is_not_followed_out(root):
    create(root)
    (root / "there").mkdir()
    (root / "there" / "files").symlink_to(root.parent)

    with pytest.raises(NotAllowedError, match="outside of"):
        extract(root)

    assert files_in(root / "there") == {}
    assert sorted(path.name for path in root.parent.iterdir()) == ["outside.txt", "root"]


LINK = stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no zip archive"),
        (b"text", "no zip archive"),
        (archive(("a", b"A"), outline=False), "has no outline"),
        (archive(("../evil", b"")), "'../evil' in it has a part"),
        (archive(("files/../../evil", b"")), "has a part"),
        (archive(("/etc/evil", b"")), "is no name below a folder"),
        (archive(("C:/evil", b"")), "has a character"),
        (archive(("a\\..\\evil", b"")), "has a character"),
        (archive(("a\nb", b"")), "has a character"),
        (archive(("a//b", b"")), "has a part"),
        (archive(("./a", b"")), "has a part"),
        (archive(("a.", b"")), "has a part"),
        (archive(("x" * 600, b"")), "is longer than 500"),
        (archive(("a", b"1"), ("a", b"2")), "'a' is in it twice"),
        (archive(("a", b"1"), ("A", b"2")), "'A' is in it twice, also as 'a'"),
        (archive(("\u00e9", b"1"), ("e\u0301", b"2")), "is in it twice"),
        (archive(("a", b"1"), ("a/b", b"2")), "'a' in it is a file, and a folder"),
        (archive(("link", b"/etc", LINK)), "'link' in it is a link"),
        (archive(("pipe", b"", stat.S_IFIFO | 0o644)), "is not an ordinary file"),
        (archive(*((f"f{number}", b"") for number in range(1_001))), "has 1,002 files"),
        (archive(("bomb", b"\0" * 2_000_000)), "more than 200 times as large"),
        (archive(("bomb", b"\0" * 2_000_000)).replace(b"PK\1\2", b"PK\1\3"), "no zip archive"),
    ],
)
def test_archives_that_are_not_safe_are_refused_before_anything_is_written(root, content, found):
    (root / "x.docpack").write_bytes(content)
    before = files_in(root)

    with pytest.raises(ValueError, match=rf"docpack_path: 'x\.docpack' is refused: .*{found}"):
        extract(root, docpack_path="x.docpack")

    assert files_in(root) == before
    assert not (root / "there").exists()


def test_what_the_archive_says_of_itself_is_not_believed(monkeypatch):
    good = archive(("a", b"A" * 5_000))
    at = good.index(b"PK\1\2", good.index(b"PK\1\2") + 4)  # the second entry of its list

    def with_field(offset: int, *values: int) -> bytes:
        packed = struct.pack(f"<{'H' if offset < 20 else 'I'}", *values)
        return good[: at + offset] + packed + good[at + offset + len(packed) :]

    assert unpack(good)["a"] == b"A" * 5_000
    for content, found in (
        (with_field(24, 10), "damaged|is not as large"),  # much smaller than it is
        (with_field(24, 60_000_000), "times as large"),
        (with_field(24, 5_001), "damaged|is not as large"),
        (with_field(16, 0), "damaged"),  # another checksum
        (with_field(8, 1), "is encrypted"),
        (with_field(10, 12), "compressed in a way"),  # bzip2
    ):
        with pytest.raises(ValueError, match=found):
            unpack(content)
    monkeypatch.setattr(docpack, "MOST_BYTES", 5_000)
    with pytest.raises(ValueError, match="more than 5,000 bytes together"):
        unpack(good)


def test_folders_in_an_archive_are_made_of_the_files_in_them():
    content = archive(("files/", b"", stat.S_IFDIR | 0o755), ("files/a", b"A"))

    assert unpack(content) == {"outline.json": b"{}", "files/a": b"A"}


def test_an_outline_that_is_no_json_is_refused(root):
    (root / "x.docpack").write_bytes(archive(("outline.json", b"{"), outline=False))
    with pytest.raises(ValueError, match=r"outline\.json' is no JSON"):
        extract(root, docpack_path="x.docpack")

    assert not (root / "there").exists()


def test_a_file_that_is_in_the_way_is_replaced_and_a_folder_is_not(root):
    create(root)
    (root / "there/files").mkdir(parents=True)
    (root / "there/files/a.txt").write_text("old")
    (root / "there/files/a_1.txt").mkdir()
    with pytest.raises(IsADirectoryError, match="extract_dir"):
        extract(root)
    assert (root / "there/files/a.txt").read_text() == "old"

    (root / "there/files/a_1.txt").rmdir()
    extract(root)
    assert (root / "there/files/a.txt").read_text() == "A"


def test_names_that_are_taken_get_a_number():
    given = ["a.txt", "A.txt", "a_1.txt", "a.txt", "b"]

    assert names_for(given) == [
        "files/a.txt",
        "files/A_1.txt",
        "files/a_1_1.txt",
        "files/a_2.txt",
        "files/b",
    ]


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=6), st.binary(max_size=20), max_size=4))
def test_whatever_can_be_unpacked_was_packed(files):
    try:
        content = pack({}, files)
        found = unpack(content)
    except ValueError:
        return
    expected = {name: value for name, value in files.items() if not name.endswith("/")}
    assert {name: value for name, value in found.items() if name != "outline.json"} == expected


@given(st.data())
def test_a_damaged_archive_is_refused_or_what_it_was(data):
    good = pack({"a": 1}, {"files/a": b"A" * 50})
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(damaged))
    except ValueError:
        pass
