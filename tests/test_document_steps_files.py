"""`read_files` and `write_files`: real files, and nothing outside of root."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import DocumentError, NotAllowedError, PipelineContext, StepTimeoutError
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.steps import regular_files
from task_pipeline.documents.steps.regular_files import ToWrite, read_file, write_files
from task_pipeline.testing import Gate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    return folder


def run(root: Path, *steps: dict[str, Any], **options: Any) -> dict[str, Any]:
    results = options.pop("results", {})
    pipeline = load_pipeline({"steps": list(steps)}, root=root, **options)
    return pipeline.run(PipelineContext(results=results)).results


def read(root: Path, path: Any, **fields: Any) -> Any:
    """What `read_files` gives for a path that comes in a variable, so that it is seen in a run."""
    step = {"type": "read_files", "path": "{{ path }}", "content_key": "content", **fields}
    if isinstance(path, list):
        step["path"] = [f"{{{{ path[{index}] }}}}" for index in range(len(path))]
    options = {"allow": step.pop("allow", ())}
    return run(root, step, results={"path": path}, **options)["content"]


def write(base: Path, path: str, content: Any = "text", **fields: Any) -> None:
    """Write one file whose path comes in a variable."""
    files = [{"path": "{{ path }}", "content_key": "content"}]
    options = {"allow": fields.pop("allow", ())}
    step = {"type": "write_files", "files": files, **fields}
    run(base, step, results={"path": path, "content": content}, **options)


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestReading:
    def test_a_text_is_read_as_it_is_without_a_byte_order_mark(self, root):
        (root / "a.txt").write_bytes(b"\xef\xbb\xbfh\xc3\xa9\r\n{{ x }}")

        assert read(root, "a.txt") == "hé\r\n{{ x }}"

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("a.json", '{"a": [1, null]}', {"a": [1, None]}),
            ("a.JSON", '"text"', "text"),
            ("a.yaml", "a: [1, x]\n", {"a": [1, "x"]}),
            ("a.yml", "- 1\n", [1]),
            ("a.md", '{"a": 1}', '{"a": 1}'),
        ],
    )
    def test_json_and_yaml_give_what_stands_in_them(self, root, name, text, value):
        (root / name).write_text(text)

        assert read(root, name) == value
        assert read(root, [name], merge_mode="dict") == {name: value}

    def test_what_is_no_json_says_where(self, root):
        (root / "a.json").write_text('{"a": 1,\n "b" 2}')

        with pytest.raises(
            ValueError, match=r"steps\[0\]\.path: .*a\.json' is no JSON: line 2, col"
        ):
            read(root, "a.json")

    def test_several_are_one_text_with_their_names_or_a_dict(self, root):
        (root / "a.txt").write_text("A")
        (root / "b.json").write_text("[1]")

        assert read(root, ["a.txt", "b.json", "a.txt"]) == "a.txt\nA\nb.json\n[1]"
        assert read(root, "a.txt, b.json") == "a.txt\nA\nb.json\n[1]"
        assert read(root, "a.txt,b.json", merge_mode="dict") == {"a.txt": "A", "b.json": [1]}
        assert read(root, "a.txt", merge_mode="dict") == {"a.txt": "A"}

    def test_a_variable_with_a_list_of_names(self, root):
        for name in ("a", "b", "[1]"):
            (root / f"{name}.txt").write_text(name.upper())
        step = {"type": "read_files", "path": "{{ paths }}", "content_key": "content"}

        def found(*paths: str) -> Any:
            return run(root, step, results={"paths": list(paths)})["content"]

        assert found("a.txt", "[1].txt") == "a.txt\nA\n[1].txt\n[1]"
        assert found("b.txt") == "b.txt\nB"
        assert found("[ab].txt") == "a.txt\nA\nb.txt\nB"
        assert found() == ""
        with pytest.raises(NotAllowedError):
            found("a.txt", "../outside.txt")

    def test_a_name_with_a_comma_or_a_wildcard_is_a_file_if_there_is_one(self, root):
        (root / "a,b*.txt").write_text("both")

        assert read(root, "a,b*.txt") == "both"

    def test_wildcards_give_ordinary_files_in_order(self, root):
        for name in ("d/b.txt", "d/a.txt", "d/.hidden.txt", "d/e/c.txt", "d/x.md"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / "d" / "folder.txt").mkdir()
        os.mkfifo(root / "d" / "pipe.txt")

        def names(pattern: str) -> list[str]:
            return list(read(root, pattern, merge_mode="dict"))

        assert names("d/*.txt") == ["d/a.txt", "d/b.txt"]
        assert names("**/*.txt") == ["d/a.txt", "d/b.txt", "d/e/c.txt"]
        assert names("d/[ab].txt") == ["d/a.txt", "d/b.txt"]
        assert names("d/.*.txt") == ["d/.hidden.txt"]
        assert names(f"{root}/d/?.txt") == [f"{root}/d/a.txt", f"{root}/d/b.txt"]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.txt", "matches no file"),
            ("*/../x", r"has \.\. behind a wildcard"),
            ("**/a/**/**", r"has \*\* more than 2 times"),
            ("a**b/c", "is no pattern|matches no file"),
        ],
    )
    def test_wildcards_that_match_nothing_are_a_mistake(self, root, pattern, found):
        with pytest.raises((ValueError, FileNotFoundError), match=found):
            read(root, pattern)

    def test_wildcards_that_match_too_much_are_a_mistake(self, root, monkeypatch):
        monkeypatch.setattr("task_pipeline.documents.steps.read_files.MOST_FILES", 2)
        for name in "abc":
            (root / name).touch()

        with pytest.raises(ValueError, match="matches more than 2 files"):
            read(root, "*")

    def test_a_file_that_is_missing_says_what_to_do(self, root):
        with pytest.raises(
            FileNotFoundError, match=r"steps\[0\]\.path: there is no file 'a'.*optional"
        ):
            read(root, "a")
        with pytest.raises(FileNotFoundError, match="there is no file 'a/b'"):
            (root / "a").touch()
            read(root, "a/b")

    def test_an_optional_file_that_is_missing_is_left_out(self, root):
        (root / "a").write_text("A")

        assert read(root, "no", optional=True) == ""
        assert read(root, "no", optional=True, merge_mode="dict") == {}
        assert read(root, "*.no", optional=True) == ""
        assert read(root, ["no", "a"], optional=True) == "a\nA"
        assert read(root, ["no", "a"], optional=True, merge_mode="dict") == {"a": "A"}

    def test_what_is_not_utf8_is_a_mistake(self, root):
        (root / "a").write_bytes(b"ab\xff")

        with pytest.raises(ValueError, match="not UTF-8: it has the byte 0xff at 2"):
            read(root, "a")

    def test_too_large_files_are_a_mistake(self, root, monkeypatch):
        for name in "abc":
            (root / name).write_text("x" * 60)
        with pytest.raises(ValueError, match="larger than 50 bytes"):
            read_file(root / "a", "here", 50)
        monkeypatch.setattr("task_pipeline.documents.steps.read_files.MOST_BYTES_IN_ALL", 150)

        assert len(read(root, ["a", "b"], merge_mode="dict")) == 2
        with pytest.raises(ValueError, match="more than 150 bytes together"):
            read(root, "*")


OUTSIDE = ["../outside.txt", "/etc/passwd", "a/../../outside.txt", "out", "outfolder/passwd"]


class TestOutsideOfRoot:
    @pytest.fixture(autouse=True)
    def _links(self, root):
        (root / "out").symlink_to(root.parent / "outside.txt")
        (root / "outfolder").symlink_to("/etc")

    @pytest.mark.parametrize(
        "path", [*OUTSIDE, "out*", "outfolder/pass*", "../*.txt", "/etc/pass*"]
    )
    def test_nothing_is_read(self, root, path):
        with pytest.raises(NotAllowedError, match="outside of"):
            read(root, path)
        with pytest.raises(NotAllowedError, match="outside of"):
            read(root, [path], optional=True)

    @pytest.mark.parametrize("path", OUTSIDE)
    def test_nothing_is_written(self, root, path):
        before = Path("/etc/passwd").read_bytes()
        with pytest.raises(NotAllowedError, match="outside of"):
            write(root, path)

        assert (root.parent / "outside.txt").read_text() == "secret"
        assert Path("/etc/passwd").read_bytes() == before

    @pytest.mark.parametrize("field", ["..", "/tmp", "outfolder", "a/../../b"])
    def test_a_root_of_the_step_is_below_that_of_the_document(self, root, field):
        with pytest.raises((NotAllowedError, DocumentError), match="outside of"):
            write(root, "a", root=field)

    def test_a_file_stays_below_the_root_of_its_step(self, root):
        with pytest.raises(NotAllowedError, match=r"'\.\./b' is outside of the step's root"):
            write(root, "../b", root="a")
        write(root, str(root / "a" / "c"), root="a")

        assert everything_in(root) == ["a", "a/c", "out", "outfolder"]

    @pytest.mark.parametrize("path", ["a\0b", "\0", "x" * 5000, "\ud800", "loop"])
    def test_what_cannot_be_a_name_is_a_mistake(self, root, path):
        (root / "loop").symlink_to("loop")
        with pytest.raises((OSError, ValueError), match=r"steps\[0\]\.path"):
            read(root, path)
        with pytest.raises((OSError, ValueError), match=r"steps\[0\]\.files\[0\]"):
            write(root, path)

    @pytest.mark.parametrize("path", ["", "  "])
    def test_an_empty_name_is_a_mistake(self, root, path):
        with pytest.raises(ValueError, match="empty"):
            read(root, path)
        with pytest.raises(ValueError, match="empty"):
            write(root, path)

    def test_it_is_allowed_if_the_caller_says_so(self, root):
        assert read(root, "../outside.txt", allow={"files"}) == "secret"
        write(root, "../other.txt", allow={"files"})
        assert (root.parent / "other.txt").read_text() == "text"

    @pytest.mark.parametrize(
        ("step", "place"),
        [
            ({"type": "read_files", "path": "../x", "content_key": "a"}, r"steps\[0\]\.path"),
            (
                {"type": "read_files", "path": ["a", "/etc/x"], "content_key": "a"},
                r"steps\[0\]\.path\[1\]",
            ),
            (
                {"type": "write_files", "files": [{"path": "/a", "content": 1}]},
                r"steps\[0\]\.files\[0\]\.path",
            ),
            (
                {"type": "write_files", "root": "a", "files": [{"path": "../../b", "content": 1}]},
                r"steps\[0\]\.files\[0\]\.path",
            ),
            ({"type": "write_files", "root": "..", "files_key": "a"}, r"steps\[0\]\.root"),
        ],
    )
    def test_what_can_be_seen_without_running_is_found_at_once(self, root, step, place):
        with pytest.raises(DocumentError, match=f"{place}: .*outside of"):
            load_pipeline({"steps": [step]}, root=root)
        load_pipeline({"steps": [step]}, root=root, allow={"files"})

    def test_what_is_put_together_in_a_run_is_found_then(self, root):
        load_pipeline(
            {
                "steps": [
                    {"type": "read_files", "path": "../{{ x }}", "content_key": "a"},
                    {"type": "write_files", "root": "{{ x }}/..", "files_key": "a"},
                    {"type": "write_files", "files": [{"path": "../{{ x }}", "content": 1}]},
                ]
            },
            root=root,
        )


class TestWhatBlocks:
    @pytest.mark.parametrize("optional", [False, True])
    def test_a_pipe_or_a_device_is_not_opened(self, root, optional):
        os.mkfifo(root / "pipe")
        with pytest.raises(ValueError, match="pipe' is not an ordinary file"):
            read(root, "pipe", optional=optional)
        for device in ("/dev/zero", "/dev/tty"):
            with pytest.raises(ValueError, match="is not an ordinary file"):
                read(root, device, optional=optional, allow={"files"})

    def test_a_folder_is_not_read_nor_replaced(self, root):
        (root / "folder").mkdir()
        with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
            read(root, "folder")
        with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
            write(root, "folder")
        with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
            write(root, ".")

    def test_a_pipe_is_not_replaced(self, root):
        os.mkfifo(root / "pipe")
        with pytest.raises(ValueError, match="is not an ordinary file"):
            write(root, "pipe")

        assert stat.S_ISFIFO((root / "pipe").stat().st_mode)

    def test_a_pipe_that_takes_the_place_of_a_file_meanwhile_does_not_block(
        self, root, monkeypatch
    ):
        os.mkfifo(root / "pipe")
        monkeypatch.setattr(regular_files, "mode_of", lambda path: stat.S_IFREG)
        with pytest.raises(ValueError, match="is not an ordinary file"):
            read_file(root / "pipe", "here")

    def test_a_link_that_takes_the_place_of_a_file_meanwhile_is_not_followed(self, root):
        (root / "link").symlink_to(root.parent / "outside.txt")
        with pytest.raises(OSError, match=r"here: .*cannot be read"):
            read_file(root / "link", "here")

    def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(self, root):
        (root / "link").symlink_to(root.parent)
        with pytest.raises(ValueError, match="has become a link"):
            write_files([ToWrite(root / "link" / "a", b"", "here")], lambda: None)

        assert everything_in(root.parent) == ["outside.txt", "root", "root/link"]


class TestWriting:
    def test_texts_as_they_are_and_values_as_json(self, root):
        files = [
            {"path": "a/b/{{ n }}.txt", "content": "é {{ n }}\r\n"},
            {"path": "v.json", "content": {"a": ["{{ n }}", None, 1.5, True]}},
            {"path_key": "name", "content_key": "value"},
            {"path": "null", "content": None},
        ]
        results = {"n": 1, "name": "k", "value": {"ä": [1]}}

        run(root, {"type": "write_files", "files": files}, results=results)

        assert (root / "a/b/1.txt").read_bytes() == b"\xc3\xa9 1\r\n"
        assert json.loads((root / "v.json").read_text())["a"][1:] == [None, 1.5, True]
        assert (root / "k").read_text(encoding="utf-8") == '{\n  "ä": [\n    1\n  ]\n}'
        assert (root / "null").read_text() == "null"

    def test_files_of_the_context(self, root):
        class File:
            path = "object.txt"
            content = "O"

        for given in ([{"path": "a", "content": "A"}, File()], {"path": "b", "content": "B"}):
            step = {"type": "write_files", "files_key": "files", "root": "out/{{ x }}"}
            run(root, step, results={"files": given, "x": "y"})

        assert everything_in(root / "out/y") == ["a", "b", "object.txt"]

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ([{"path": "a"}], "must have a path and a content"),
            ("text", "must have a path and a content"),
            ([{"path": 5, "content": ""}], "a path must be a text that is not empty, not 5"),
            ([{"path": "{{ a }}/../../x", "content": ""}], "outside of"),
            ([{"path": "a", "content": float("nan")}], "'a': the content cannot be written"),
            ([{"path": "a", "content": {1}}], "the content cannot be written"),
            ([{"path": "a", "content": "\ud800"}], "the content cannot be written"),
            ([{"path": "a", "content": 1}, {"path": "x/../a", "content": 2}], "is written by"),
            ([{"path": "a", "content": 1}, {"path": "a/b", "content": 2}], "is to be a folder"),
            ([{"path": "a/b", "content": 1}, {"path": "a", "content": 2}], "is to be a folder"),
            ([{"path": "file/b", "content": 1}], "is a file, not a folder"),
        ],
    )
    def test_nothing_is_written_if_one_file_cannot_be(self, root, given, found):
        (root / "file").touch()
        files = [{"path": "good", "content": "good"}]
        files += given if isinstance(given, list) else [given]
        step = {"type": "write_files", "files_key": "files"}

        with pytest.raises((ValueError, OSError), match=f"files_key.*{found}"):
            run(root, step, results={"files": files})

        assert everything_in(root) == ["file"]

    def test_a_key_that_is_not_there_is_a_mistake(self, root):
        with pytest.raises(ValueError, match=r"files_key: there is no results\['files'\]"):
            run(root, {"type": "write_files", "files_key": "files"})

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({}, "give files or files_key"),
            ({"files": [], "files_key": "a"}, "not both"),
            ({"files": [{"path": "a"}]}, "either content or content_key"),
            ({"files": [{"path": "a", "path_key": "b", "content": 1}]}, "either path or path_key"),
            ({"files": [{"path": "a", "content": 1, "contents": 1}]}, "contents"),
        ],
    )
    def test_mistakes_are_found_before_anything_runs(self, root, fields, found):
        with pytest.raises(DocumentError, match=found):
            load_pipeline({"steps": [{"type": "write_files", **fields}]}, root=root)

    def test_a_file_that_is_replaced_keeps_its_permissions_and_its_links(self, root):
        (root / "real.txt").write_text("old")
        (root / "real.txt").chmod(0o640)
        (root / "link.txt").symlink_to("real.txt")

        write(root, "link.txt")

        assert (root / "link.txt").is_symlink()
        assert (root / "real.txt").read_text() == "text"
        assert stat.S_IMODE((root / "real.txt").stat().st_mode) == 0o640

    def test_a_file_is_made_with_the_permissions_of_any_file(self, root):
        write(root, "a")
        (root / "b").touch()

        assert (root / "a").stat().st_mode == (root / "b").stat().st_mode

    def test_nothing_is_left_when_the_disk_refuses(self, root, monkeypatch):
        (root / "b").write_text("old")

        def full(path: Path, one: ToWrite, may_go_on: Any) -> None:
            path.write_bytes(one.content[:1])
            if one.path.name == "b":
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(regular_files, "_write", full)
        with pytest.raises(OSError, match=r"here: .*b' cannot be written: No space left"):
            write_files([ToWrite(root / name, b"text", "here") for name in "ab"], lambda: None)

        assert everything_in(root) == ["b"]
        assert (root / "b").read_text() == "old"

    @pytest.mark.parametrize("stop_at", range(6))
    def test_nothing_is_written_when_it_is_stopped(self, root, stop_at):
        calls: list[None] = []

        def may_go_on() -> None:
            if len(calls) == stop_at:
                raise RuntimeError("stop")
            calls.append(None)

        files = [ToWrite(root / name, b"text", "here") for name in ("a", "b")]
        if stop_at < 5:  # before each file, before each piece of one, and before all is put there
            with pytest.raises(RuntimeError, match="stop"):
                write_files(files, may_go_on)
            assert everything_in(root) == []
        else:
            write_files(files, may_go_on)
            assert everything_in(root) == ["a", "b"]

    def test_a_step_that_has_passed_its_deadline_writes_nothing(self, root):
        """It is in the middle of its first file when its deadline passes."""
        gate, ended = Gate(), Gate()

        class Slow(str):
            __slots__ = ()

            def encode(self, *args: Any, **kwargs: Any) -> bytes:
                try:
                    gate.wait()
                finally:
                    ended.open()
                return super().encode(*args, **kwargs)

        pipeline = load_pipeline({"steps": [{"type": "write_files", "files_key": "f"}]}, root=root)
        step: Any = pipeline.steps[0]
        step.timeout = 0.05
        files = [{"path": "a", "content": Slow("text")}]
        context: PipelineContext = PipelineContext(results={"f": files})
        with pytest.raises(StepTimeoutError):
            pipeline.run(context)
        gate.open()
        ended.wait()

        assert everything_in(root) == []
