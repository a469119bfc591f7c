"""`examples/analyse_stdlib.py` on the real standard library, against an independent count.

The example counts with `ast.walk` and `bytes.splitlines`. The count here is written
another way: keywords from `tokenize`, lines from a text file with universal
newlines, sizes from `stat`, one plain loop and no pipeline.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import shutil
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from task_pipeline import ParallelGroupError, PipelineContext

# A library of a few thousand files is read twice, and a slow machine may take its time.
pytestmark = [pytest.mark.timeout(240), pytest.mark.no_cover]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ONLY_PARSE = 0x400  # ast.PyCF_ONLY_AST
NOT_BLANK = re.compile(r"[^ \t\r\n\f\v]")


@pytest.fixture(scope="module")
def example() -> Any:
    """The example as a module; its own folder is on the path, as when it is run."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("analyse_stdlib")
    finally:
        sys.path.remove(str(EXAMPLES))


@dataclass
class PlainCount:
    """What one loop over the files finds."""

    numbers: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)
    unparsable: set[str] = field(default_factory=set)

    def take(self, root: Path, path: Path) -> None:
        """Adds one file."""
        name = path.relative_to(root).as_posix()
        self.numbers["files"] += 1
        self.numbers["bytes"] += path.stat().st_size
        with path.open("rb") as file:
            self.digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        # latin-1 gives each byte one character, so no encoding can fail or hide a line.
        with path.open(encoding="latin-1", newline=None) as text:
            for line in text:
                self.numbers["lines"] += 1
                self.numbers["blanks"] += NOT_BLANK.search(line) is None
        try:
            compile(path.read_bytes(), name, "exec", flags=ONLY_PARSE, dont_inherit=True)
        except (SyntaxError, ValueError):
            self.unparsable.add(name)
            return
        # These three are hard keywords: they stand nowhere but in the statements counted.
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.NAME and token.string in KEYWORDS:
                    self.numbers[KEYWORDS[token.string]] += 1


KEYWORDS = {"def": "functions", "class": "classes", "import": "imports"}
COUNTED = ("files", "lines", "blanks", "functions", "classes", "imports", "bytes")


def count_plainly(root: Path) -> PlainCount:
    """Counts every `.py` file below `root` that is not an installed package's."""
    count = PlainCount()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in root.rglob("*.py"):
            if not {"site-packages", "dist-packages"} & set(path.relative_to(root).parts):
                count.take(root, path)
    return count


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard library without its own tests, which are more than all the rest."""
    copy = tmp_path_factory.mktemp("library") / "lib"
    left_out = ("site-packages", "dist-packages", "test", "idlelib", "lib2to3", "__pycache__")
    ignored = shutil.ignore_patterns(*left_out, "config-*")
    return Path(shutil.copytree(sysconfig.get_paths()["stdlib"], copy, ignore=ignored)).resolve()


@pytest.fixture(scope="module")
def expected(library: Path) -> PlainCount:
    return count_plainly(library)


@pytest.fixture(scope="module")
def analysed(
    example: ModuleType, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PipelineContext[Any], Path]:
    """The library, analysed once for all the tests that look at it."""
    output = tmp_path_factory.mktemp("report")
    settings = example.Settings(output=output, stdlib=library)
    return example.analyse(settings, io.StringIO()), output


def test_the_plain_count_sees_a_whole_library(expected: PlainCount) -> None:
    assert expected.numbers["files"] > 300
    assert {"os.py", "json/decoder.py"} <= expected.digests.keys()


REAL_LIBRARY = str(Path(sysconfig.get_paths()["stdlib"]).resolve())


def test_the_analysis_finds_the_library_by_itself(example: ModuleType) -> None:
    assert example.build_discovery().run().results["stdlib"] == REAL_LIBRARY


def test_totals_of_the_real_library(
    analysed: tuple[PipelineContext[Any], Path], expected: PlainCount
) -> None:
    context, _ = analysed
    totals = context.results["totals"]
    assert {name: totals[name] for name in COUNTED} == {
        name: expected.numbers[name] for name in COUNTED
    }
    assert totals["unparsable"] == len(expected.unparsable)
    assert 0 < totals["compressed"] < totals["bytes"]


def test_digest_of_every_file_of_the_real_library(
    analysed: tuple[PipelineContext[Any], Path], expected: PlainCount
) -> None:
    assert analysed[0].results["digests"] == expected.digests


def test_totals_are_the_sums_of_the_packages(analysed: tuple[PipelineContext[Any], Path]) -> None:
    results = analysed[0].results
    summed: Counter[str] = Counter()
    for row in results["packages"].values():
        summed.update(row)
    assert summed == Counter(results["totals"])


def test_files_that_do_not_parse_are_listed_and_recorded_as_errors(
    analysed: tuple[PipelineContext[Any], Path], expected: PlainCount
) -> None:
    context, _ = analysed
    assert {file for file, _ in context.results["unparsable"]} == expected.unparsable
    recorded = [file for error in context.errors for file in error.files]
    assert sorted(recorded) == sorted(expected.unparsable)


def test_sources_do_not_outlive_their_package(analysed: tuple[PipelineContext[Any], Path]) -> None:
    assert "sources" not in analysed[0].results


def test_reports_of_the_real_library(
    analysed: tuple[PipelineContext[Any], Path], expected: PlainCount
) -> None:
    context, output = analysed
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["totals"] == context.results["totals"]
    assert report["sha256"] == expected.digests
    assert report["packages"] == context.results["packages"]
    by_lines = [row["lines"] for row in report["packages"].values()]
    assert by_lines == sorted(by_lines, reverse=True)
    lengths = [function["lines"] for function in report["longest_functions"]]
    assert len(lengths) == 10
    assert lengths == sorted(lengths, reverse=True)
    markdown = (output / "report.md").read_text(encoding="utf-8")
    assert f"| {expected.numbers['files']:,} | {expected.numbers['lines']:,} |" in markdown


# ---------------------------------------------------------------- a small tree

FILES: dict[str, bytes] = {
    "os.py": b"import a, b.c\nfrom d.e import f\n\ndef g():\n    async def h():\n\n        pass\n",
    "odd.py": b"# coding: latin-1\r\nname = '\xe9'\r\n\x0c\r\n \t",
    "empty.py": b"",
    "pkg/__init__.py": b"from . import broken\nclass A:\n    class B: x = lambda: 0\n",
    "pkg/broken.py": b"def f(:\n\nclass",
    "pkg/deep/null.py": b"x = 1\0\n",
    "pkg/deep/encoding.py": b"# coding: no-such-thing\nx = 1\n",
    "pkg/notes.txt": b"import nothing\n",
    "site-packages/installed.py": b"import this\n",
    "pkg/dist-packages/installed.py": b"import this\n",
}
TOTALS = {
    "files": 7,
    "lines": 7 + 4 + 0 + 3 + 3 + 1 + 2,
    "blanks": 2 + 2 + 0 + 0 + 1 + 0 + 0,
    "functions": 2,
    "classes": 2,
    "imports": 3,
    "bytes": sum(len(text) for name, text in FILES.items() if "notes" not in name) - 24,
    "unparsable": 3,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)
    return root


def test_small_tree_by_hand_and_by_the_plain_count(
    example: ModuleType, tree: Path, tmp_path: Path
) -> None:
    context = example.analyse(example.Settings(output=tmp_path / "out", stdlib=tree), io.StringIO())
    totals = context.results["totals"]
    assert {name: totals[name] for name in TOTALS} == TOTALS
    plain = count_plainly(tree)
    assert {name: totals[name] for name in COUNTED} == {
        name: plain.numbers[name] for name in COUNTED
    }
    assert context.results["digests"] == plain.digests
    assert context.results["imported"] == {"a": 1, "b": 1, "d": 1, "pkg": 1}
    assert context.results["rank"]["longest_functions"] == [
        (4, "g", "os.py", 4),
        (3, "h", "os.py", 5),
    ]
    assert [error.package for error in context.errors] == ["pkg"]
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for name in ("pkg/broken.py", "pkg/deep/null.py", "pkg/deep/encoding.py"):
        assert f"| `{name}` |" in markdown


def test_report_is_the_same_with_any_number_of_workers(
    example: ModuleType, tree: Path, tmp_path: Path
) -> None:
    reports = []
    for workers in (1, 2, 8):
        output = tmp_path / str(workers)
        settings = example.Settings(output=output, stdlib=tree, max_workers=workers)
        example.analyse(settings, io.StringIO())
        reports.append([(output / name).read_bytes() for name in ("report.md", "report.json")])
    assert reports[0] == reports[1] == reports[2]


def read_failing(example: ModuleType, fails: int, seen: list[Path]) -> Any:
    """Returns a reader that fails `fails` times for `broken.py`; `seen` notes every attempt."""
    read = example.read_source

    def flaky(path: Path) -> bytes:
        if path.name == "broken.py":
            seen.append(path)
            if len(seen) <= fails:
                raise PermissionError(f"not now: {path}")
        text: bytes = read(path)
        return text

    return flaky


def test_a_file_that_cannot_be_read_at_first_is_read_again(
    example: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(example, "read_source", read_failing(example, 2, seen))
    settings = example.Settings(output=tmp_path / "out", stdlib=tree)
    context = example.analyse(settings, io.StringIO())
    assert len(seen) == 3
    assert context.results["totals"]["files"] == TOTALS["files"]
    assert context.results["digests"] == count_plainly(tree).digests


def test_a_file_that_can_never_be_read_ends_the_run(
    example: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(example, "read_source", read_failing(example, 1000, seen))
    settings = example.Settings(output=tmp_path / "out", stdlib=tree)
    with pytest.raises(ParallelGroupError) as caught:
        example.analyse(settings, io.StringIO())
    assert len(seen) == 3
    assert caught.value.subgroup(PermissionError) is not None
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- discovery and command line


def test_either_way_to_find_the_library_will_do(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locate() -> str:
        discovery = example.build_discovery()
        found: str = discovery.run(PipelineContext()).results["stdlib"]
        return found

    missing = {"stdlib": "/no/such/folder"}
    with monkeypatch.context() as patch:
        patch.setattr(example.sysconfig, "get_paths", lambda: missing)
        assert locate() == REAL_LIBRARY
    with monkeypatch.context() as patch:
        patch.setattr(example.os, "__file__", "/no/such/folder/os.py")
        assert locate() == REAL_LIBRARY
        patch.setattr(example.sysconfig, "get_paths", lambda: missing)
        with pytest.raises(ParallelGroupError, match="no standard library"):
            locate()


def test_command_line(
    example: ModuleType, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--output", str(output), "--stdlib", str(tree), "--max-workers", "2"]
    assert example.main(arguments) == 0
    printed = capsys.readouterr()
    assert "7 files in 2 packages" in printed.out
    assert "pkg: 3 do not parse: pkg/broken.py" in printed.out
    assert str(output / "report.md") in printed.out
    assert printed.err.splitlines()[-1].startswith("100.0 %")
    assert "\r" not in printed.err


def test_command_line_without_a_library(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        example.main(["--stdlib", str(tmp_path / "missing")])
    assert caught.value.code == 2
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no \.py file"):
        example.main(["--stdlib", str(tmp_path), "--output", str(tmp_path / "out")])


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_one_redrawn_line_on_a_terminal_and_sparse_lines_elsewhere(
    example: ModuleType,
) -> None:
    statuses = [
        {"progress": 10.0 * n, "elapsed": 0.1 * n, "running_steps": ["a", "b", "c"][: 10 - n]}
        for n in range(11)
    ]
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        line = example.ProgressLine(stream, seconds=3600.0)
        for status in statuses:
            line.show(status)
        line.close()
    assert terminal.getvalue().count("\r") == 11
    assert terminal.getvalue().count("\n") == 1
    assert log.getvalue().splitlines() == [
        "  0.0 %    0.0 s  a and 2 more",
        "100.0 %    1.0 s",
    ]
