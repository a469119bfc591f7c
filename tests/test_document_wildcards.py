"""Patterns of files, as `read_files` has them."""

from __future__ import annotations

import errno
import glob
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import load_pipeline
from task_pipeline.documents.steps.wildcards import matching_files

NAMES = st.sampled_from(["a", "b", "ab", ".h", "a.txt", "b.txt", "[x]", "A"])
PARTS = st.sampled_from(["a", "*", "a*", "*.txt", "?", "[ab]", "[!a]*", "**", ".*", "[[]x]", "*b"])


def matched(folder: Path, pattern: str, may_enter: bool = True) -> list[str]:
    found = matching_files(folder, Path(pattern).parts, lambda link: may_enter)
    return sorted(path.as_posix() for path in found)


def make(folder: Path, path: list[str]) -> None:
    """A file of that path, unless a file is in the way of its folders."""
    whole = folder.joinpath(*path)
    if not any(parent.is_file() for parent in whole.parents) and not whole.exists():
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text("x")


@given(
    paths=st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12),
    parts=st.lists(PARTS, min_size=1, max_size=4),
)
def test_patterns_mean_what_they_mean_to_glob(paths: list[list[str]], parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in paths:
            make(folder, path)
        pattern = "/".join(parts)
        asks_for_hidden = any(part.startswith(".") for part in parts)
        wanted = {
            os.path.normpath(path)
            for path in glob.glob(  # noqa: PTH207  # it is what they are compared with
                pattern, root_dir=folder, recursive=True, include_hidden=True
            )
            if (folder / path).is_file()
            and (asks_for_hidden or not any(part.startswith(".") for part in Path(path).parts))
        }
        assert matched(folder, pattern) == sorted(wanted)


def test_links_are_entered_if_they_may_be_and_never_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, ["d", "x.txt"])
    (tmp_path / "link").symlink_to("d", target_is_directory=True)
    (tmp_path / "d" / "up").symlink_to("..", target_is_directory=True)
    assert matched(tmp_path, "*/x.txt") == ["d/x.txt", "link/x.txt"]
    assert matched(tmp_path, "*/x.txt", may_enter=False) == ["d/x.txt"]
    assert matched(tmp_path, "**/x.txt") == ["d/x.txt"]
    assert matched(tmp_path, "d/up/*/x.txt") == ["d/up/d/x.txt", "d/up/link/x.txt"]
    # A file may be a link: who reads it sees where it leads.
    (tmp_path / "file.txt").symlink_to("d/x.txt")
    assert matched(tmp_path, "*.txt") == ["file.txt"]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "nowhere").symlink_to("none")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    assert matched(tmp_path, "*") == []
    assert matched(tmp_path, "*/*") == []
    assert matched(tmp_path / "none", "*") == []
    assert matched(tmp_path / ("a" * 300), "*") == []


def test_a_folder_that_cannot_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, "the disk is broken", str(folder))

    monkeypatch.setattr(os, "scandir", broken)
    step = {"type": "read_files", "path": "*.txt", "content_key": "k"}
    with pytest.raises(OSError, match=r"^step 'read_files', steps\[0\]\.path: .* disk is broken"):
        load_pipeline({"steps": [step]}, root=tmp_path).run()


def test_folders_may_be_nested_deeper_than_the_stack_goes(tmp_path: Path) -> None:
    levels = [tmp_path.joinpath(*["d"] * depth) for depth in range(1, 1_050)]
    try:
        for level in levels:
            level.mkdir()
        (levels[-1] / "x").write_text("x")
        assert len(matched(tmp_path, "**/x")) == 1
    finally:
        # Those who clean up after tests go no deeper than the stack.
        (levels[-1] / "x").unlink(missing_ok=True)
        for level in reversed(levels):
            if level.exists():
                level.rmdir()


def test_a_folder_that_may_not_be_read_has_nothing_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, ["closed", "x"])
    make(tmp_path, ["open", "x"])
    (tmp_path / "closed").chmod(stat.S_IWUSR)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # from where the folders above need not be entered
    is_root = os.geteuid() == 0  # who may read all, and so has to be somebody else
    try:
        if is_root:
            os.seteuid(65534)
        assert matched(Path(), "*/x") == ["open/x"]
    finally:
        if is_root:
            os.seteuid(0)
        (tmp_path / "closed").chmod(stat.S_IRWXU)
