"""The measures that tell when the code drifts away from how it is meant to be.

Layers and import cycles are import-linter's part, and public docstrings ruff's too;
both run in `make test`.
"""

from __future__ import annotations

import ast
import inspect
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import task_pipeline

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "task_pipeline").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = [
    *LIBRARY,
    *TESTS,
    *sorted((ROOT / "examples").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]

MAX_FILE = 400
MAX_FUNCTION = 60
SHORT_FILE = 150
IGNORES = re.compile(r"type:\s*ignore")
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "manager", "managers", "data"}
MARKER = "# the step's work"

# What is read here is text: none of it runs, so there is nothing to measure.
pytestmark = pytest.mark.no_cover


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_no_file_is_longer_than_400_lines() -> None:
    assert [relative(path) for path in LIBRARY if length(path) > MAX_FILE] == []


def test_half_of_the_files_are_shorter_than_150_lines() -> None:
    short = [path for path in LIBRARY if length(path) < SHORT_FILE]
    assert 2 * len(short) >= len(LIBRARY), f"{len(short)} of {len(LIBRARY)} files are"


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in LIBRARY
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert long == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        relative(path)
        for path in LIBRARY
        for part in path.relative_to(ROOT).with_suffix("").parts
        if SAYS_NOTHING & set(part.split("_"))
    ]
    assert vague == []


def test_every_public_name_is_documented() -> None:
    described = set(described_assignments())
    bare = [
        name
        for name in task_pipeline.__all__
        if name != "__version__" and name not in described and not documented(name)
    ]
    assert bare == []


def documented(name: str) -> bool:
    thing = getattr(task_pipeline, name)
    if isinstance(thing, type) and thing.__name__ == name:
        own = vars(thing).get("__doc__") or ""
        # A dataclass without a docstring is given one that says nothing: its signature.
        return own != "" and not own.startswith(f"{name}(")
    return inspect.isroutine(thing) and bool(inspect.getdoc(thing))


def described_assignments() -> Iterator[str]:
    """Names given a value in the library with a docstring below: aliases and constants."""
    for path in LIBRARY:
        for statement, below in itertools.pairwise(parsed(path).body):
            text = below.value if isinstance(below, ast.Expr) else None
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                continue
            if isinstance(statement, ast.Assign):
                yield from (ast.unparse(target) for target in statement.targets)
            elif isinstance(statement, ast.AnnAssign):
                yield ast.unparse(statement.target)


def test_every_type_ignore_names_its_code_and_gives_a_reason() -> None:
    bare = [
        f"{relative(path)}:{token.start[0]} {token.string}"
        for path in EVERYTHING
        for text in [path.read_text(encoding="utf-8")]
        if IGNORES.search(text)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
        and IGNORES.search(token.string)
        and not re.search(r"type:\s*ignore\[[\w, -]+\]\s*#\s*\w", token.string)
    ]
    assert bare == []


def test_no_test_sleeps_except_as_the_work_of_a_step() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in TESTS
        for line in sleeps(path.read_text(encoding="utf-8"))
    ]
    assert found == [], f"wait on a gate or move a manual clock, or say {MARKER!r} on the line"


def sleeps(source: str) -> Iterator[int]:
    """Lines that mention a real sleep, in code or in the text of a script, without the marker."""
    if "sleep" not in source:
        return
    lines = source.splitlines()
    tree = ast.parse(source)
    names = set(sleep_names(tree))
    lasts = {name.rpartition(".")[2] for name in names}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Name | ast.Attribute)
            and (node.id if isinstance(node, ast.Name) else node.attr) in lasts
            and ast.unparse(node) in names
        ):
            if MARKER not in lines[node.lineno - 1]:
                yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                line = lines[number - 1]
                if re.search(r"\b(time|asyncio)\.sleep\(", line) and MARKER not in line:
                    yield number


def sleep_names(tree: ast.Module) -> Iterator[str]:
    """What a real sleep is called in this file, whatever it was imported as."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in {"time", "asyncio"}:
                    yield f"{alias.asname or alias.name}.sleep"
        elif isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}:
            for alias in node.names:
                if alias.name == "sleep":
                    yield alias.asname or alias.name


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("import time\ntime.sleep(1)  # the step's work", []),
        ("from asyncio import sleep as nap\nstart(nap, 1)", [2]),
        ("import time as t\nt.sleep(1)\nt.monotonic()", [2]),
        ("clock.sleep(1)", []),
    ],
)
def test_the_rule_against_sleeps_sees_every_spelling(source: str, lines: list[int]) -> None:
    assert list(sleeps(source)) == lines
