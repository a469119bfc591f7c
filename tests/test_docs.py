"""Every snippet runs: in the README, in the documentation and in the library's docstrings.

A page's blocks run in order in one namespace, as if typed into one file, in an empty
folder. A `pycon` block must print what it shows. Only a fence that says
` ```python {notest} ` is left out.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted((ROOT / "task_pipeline").rglob("*.py"))

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)"
    r"(?P<tags>[^`\n]*)\n"
    r"(?P<code>.*?)"
    r"^(?P=indent)(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
# Anything else behind the language, and mkdocs shows the fence as a paragraph.
RENDERED = re.compile(r"\s*(\{[^{}]*\}|((title|hl_lines|linenums)=\"[^\"]*\"\s*)*)\s*")
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Snippet(NamedTuple):
    """A block of code, and the line of its file that it begins on."""

    session: bool  # lines after >>> with what they print, not plain code
    code: str
    line: int


def snippets(text: str, first_line: int = 1) -> Iterator[Snippet]:
    """The Python in `text`, whose first line is line `first_line` of its file."""
    for block in FENCE.finditer(text):
        language, tags = block["language"].lower(), block["tags"]
        line = first_line + text.count("\n", 0, block.start("code"))
        assert language or "python" not in tags, f"line {line - 1}: write ```python, without braces"
        if language not in {"python", "py", "python3", "pycon"}:
            continue
        assert RENDERED.fullmatch(tags), f"line {line - 1}: write ```{language} {{{tags.strip()}}}"
        if "notest" in tags.strip(" {}").split():
            continue
        yield Snippet(language == "pycon", textwrap.dedent(block["code"]), line)


def docstring_snippets(path: Path) -> Iterator[list[Snippet]]:
    """The snippets of each docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for text, line in docstrings(node):
            found = list(snippets(text, line))
            # What is outside a fence may be a session too, in the way doctest always knew.
            rest = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
            if ">>>" in rest:
                found.append(Snippet(True, rest, line))
            if found:
                yield found


def docstrings(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Strings that stand alone in the body of a module, class or function, and their lines."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        for child in node.body:
            value = child.value if isinstance(child, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value, value.lineno


def run(snippet: Snippet, path: Path, namespace: dict[str, Any]) -> None:
    """Run a snippet; a traceback shows the line of the page it comes from."""
    if not snippet.session:
        code = "\n" * (snippet.line - 1) + snippet.code
        exec(compile(code, str(path), "exec", dont_inherit=True), namespace)
        return
    name = str(path.relative_to(ROOT))
    session = doctest.DocTestParser().get_doctest(
        snippet.code, namespace, name, str(path), snippet.line - 1
    )
    session.globs = namespace  # the parser makes a copy, and later blocks need what this one sets
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=DOCTEST_OPTIONS)
    runner.run(session, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a script sees when it starts: an empty folder, and a module called `__main__`."""
    monkeypatch.chdir(tmp_path)
    script = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)
    return script.__dict__


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page(path: Path, namespace: dict[str, Any]) -> None:
    for snippet in snippets(path.read_text(encoding="utf-8")):
        run(snippet, path, namespace)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path: Path, namespace: dict[str, Any]) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    for docstring in docstring_snippets(path):
        scope = vars(module) | namespace  # one docstring's names are not another's
        for snippet in docstring:
            run(snippet, path, scope)
