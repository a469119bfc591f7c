"""Every snippet runs: in the README, in the documentation and in the library's docstrings.

A page's blocks run in order in one namespace, as if typed into one file, in an empty folder.

- `python` runs, and `pycon` must print what it shows; ` ```python {notest} ` is left out
- `json` and `yaml` must be read; what has `steps` is a recipe or workflow and is loaded, and
  what has a `type` is loaded as a step of a recipe; `{run}`: it runs, too
- a block with `title="name"` is the file of that name, for those that follow; of Python, that is
  a module, which does not run by itself; documents whose name begins with "mistakes" have some
- `console {run}`: each `$ command` is run by a shell, and must print what it shows
"""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml

from task_pipeline import DocumentError, load_pipeline
from task_pipeline.documents import STEP_REGISTRY, recipes, workflows
from task_pipeline.documents.expressions import lexing, parsing
from task_pipeline.documents.reading.json_values import DEFAULT
from task_pipeline.documents.registry import AGENTS, FUNCTIONS, HANDLERS
from task_pipeline.documents.steps import docpack, processes, read_files, regular_files
from task_pipeline.documents.templating import liquid_sandbox
from task_pipeline.documents.templating.template_values import MAX_TEXT
from task_pipeline.documents.workflows import http_agents
from task_pipeline.documents.workflows.models import MODELS, LoopConfig, StepFields

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
TITLE = re.compile(r'title="([^"]*)"')
KINDS = {
    "python": "python",
    "py": "python",
    "python3": "python",
    "pycon": "session",
    "json": "document",
    "yaml": "document",
    "console": "commands",
}
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NUMBER = re.compile(r"\d[\d,]*")
VARIABLE = re.compile(r"\$\{env\.(\w+)\}")
PATIENCE = 50.0  # seconds; less than the time limit of a test, so that the output is shown


class Snippet(NamedTuple):
    """A block of code, and the line of its file that it begins on."""

    kind: str  # one of the values of KINDS, or "file"; of a session, each line is after >>>
    code: str
    line: int
    title: str | None = None
    runs: bool = True


def snippets(text: str, first_line: int = 1) -> Iterator[Snippet]:
    """What is to be run in `text`, whose first line is line `first_line` of its file."""
    for block in FENCE.finditer(text):
        language, tags = block["language"].lower(), block["tags"]
        line = first_line + text.count("\n", 0, block.start("code"))
        assert language or "python" not in tags, f"line {line - 1}: write ```python, without braces"
        title = TITLE.search(tags)
        kind = KINDS.get(language)
        if kind is None and title is None:
            continue
        assert RENDERED.fullmatch(tags), f"line {line - 1}: write ```{language} {{{tags.strip()}}}"
        said = tags.strip(" {}").split()
        if "notest" in said or (kind == "commands" and "run" not in said):
            continue
        if title is not None and kind != "document":
            kind = "file"
        code = textwrap.dedent(block["code"])
        yield Snippet(kind or "file", code, line, title and title[1], "run" in said)


def docstring_snippets(path: Path) -> Iterator[list[Snippet]]:
    """The snippets of each docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for text, line in docstrings(node):
            found = list(snippets(text, line))
            # What is outside a fence may be a session too, in the way doctest always knew.
            rest = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
            if ">>>" in rest:
                found.append(Snippet("session", rest, line))
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
    """Run a snippet; what is wrong with it names the page and the line."""
    if snippet.title is not None:
        Path(snippet.title).parent.mkdir(parents=True, exist_ok=True)
        Path(snippet.title).write_text(snippet.code, encoding="utf-8")
    where = f"{path}:{snippet.line}"
    if snippet.kind == "python":
        run_python(snippet, path, namespace)
    elif snippet.kind == "session":
        run_session(snippet, path, namespace)
    elif snippet.kind == "document":
        run_document(snippet, where)
    elif snippet.kind == "commands":
        run_commands(snippet, where)


def run_python(snippet: Snippet, path: Path, namespace: dict[str, Any]) -> None:
    """Run a script; a traceback shows the line of the page it comes from."""
    code = "\n" * (snippet.line - 1) + snippet.code
    exec(compile(code, str(path), "exec", dont_inherit=True), namespace)


def run_session(snippet: Snippet, path: Path, namespace: dict[str, Any]) -> None:
    """Run what stands after >>>, and compare what it prints."""
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    session = doctest.DocTestParser().get_doctest(
        snippet.code, namespace, name, str(path), snippet.line - 1
    )
    session.globs = namespace  # the parser makes a copy, and later blocks need what this one sets
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=DOCTEST_OPTIONS)
    runner.run(session, out=report.append, clear_globs=False)
    assert not report, "".join(report)


def run_document(snippet: Snippet, where: str) -> None:
    """Read JSON or YAML; load it if it is a recipe or workflow, or a step of one."""
    if snippet.title is not None and Path(snippet.title).name.startswith("mistakes"):
        try:
            load_pipeline(snippet.title)
        except DocumentError:
            return
        raise AssertionError(f"{where}: there are no mistakes")
    try:
        is_json = snippet.code.lstrip()[:1] in ("{", "[", '"')
        value = json.loads(snippet.code) if is_json else yaml.safe_load(snippet.code)
        steps = value.keys() & {"steps", "type"} if isinstance(value, dict) else ()
        if not steps:
            return
        given = snippet.title or snippet.code
        # If it does not run, it does not matter who does its work.
        handlers = {} if snippet.runs else dict.fromkeys(("llm_generate", "mcp"), print)
        agents = {} if snippet.runs else {"*": print}
        pipeline = load_pipeline(
            given if "steps" in steps else {"steps": [value]},
            allow=() if snippet.runs else ("http", "shell"),
            env=VARIABLE.findall(snippet.code),
            handlers=handlers,
            agents=agents,
        )
        if snippet.runs:
            pipeline.run()
    except Exception as error:
        raise AssertionError(f"{where}: {error}") from error


def run_commands(snippet: Snippet, where: str) -> None:
    """Run each command, and compare what it prints, wherever it prints it."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    status = 0
    for block in re.split(r"^\$ ", snippet.code, flags=re.MULTILINE)[1:]:
        lines = re.match(r"(?:.*\\\n)*.*\n?", block)
        assert lines is not None
        ended = subprocess.run(
            ["sh", "-c", lines[0].replace("$?", str(status))],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        status = ended.returncode
        wanted = block[lines.end() :]
        is_same = doctest.OutputChecker().check_output(wanted, ended.stdout, DOCTEST_OPTIONS)
        assert is_same, f"{where}: {lines[0]}printed\n{ended.stdout}\nand not\n{wanted}"


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a script sees when it starts: an empty folder, and a module called `__main__`.

    What it registers, and imports from there, is gone after it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOKEN", "s3cret-of-the-page")
    script = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)
    types = dict(STEP_REGISTRY)
    known = [(registry, dict(registry)) for registry in (AGENTS, FUNCTIONS, HANDLERS)]
    yield script.__dict__
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    for name in STEP_REGISTRY.keys() - types.keys():
        del STEP_REGISTRY[name]
    for registry, before in known:
        registry.clear()
        registry.update(before)


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


def section(guide: str, title: str) -> str:
    """What stands below a heading, up to the next of its kind, or one above it."""
    text = (ROOT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    found = re.search(rf"^##(#?) {re.escape(title)}\n", text, re.MULTILINE)
    assert found is not None, f"{guide} has no heading {title!r}"
    ends = rf"^##{found[1]}? " if found[1] else "^## "
    return re.split(ends, text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", sorted(STEP_REGISTRY))
def test_guide_names_every_field_of_a_type(name: str) -> None:
    title = {
        "llm_generate": "`llm_generate` and `mcp`",
        "mcp": "`llm_generate` and `mcp`",
        "docpack_create": "`docpack_create` and `docpack_extract`",
        "docpack_extract": "`docpack_create` and `docpack_extract`",
    }.get(name, f"`{name}`")
    text = section("recipes.md", title)
    fields = STEP_REGISTRY.type_of(name).model.model_fields
    assert [field for field in fields if f"`{field}`" not in text] == []


@pytest.mark.parametrize("name", sorted(MODELS))
def test_guide_names_every_key_of_a_step(name: str) -> None:
    text = section("workflows.md", "Agents" if name == "agent" else f"`{name}`")
    keys = MODELS[name].model_fields.keys() - StepFields.model_fields.keys()
    if name == "loop":
        keys |= LoopConfig.model_fields.keys()
    assert sorted(key for key in keys if not re.search(rf"`{key}\b", text)) == []


def test_guide_names_the_limits_that_there_are() -> None:
    rows = re.findall(
        r"^\| (.*?) \| (.*) \|$", section("document-security.md", "Limits"), re.MULTILINE
    )
    limits = {name: [int(n.replace(",", "")) for n in NUMBER.findall(row)] for name, row in rows}
    wanted = {
        "a document": [
            *(DEFAULT.size, DEFAULT.depth, DEFAULT.nodes, DEFAULT.yaml_nodes, DEFAULT.aliases)
        ],
        "a recipe": [recipes.compiling.MAX_NESTING, recipes.execute.MAX_DEPTH],
        "a workflow": [workflows.compiling.MOST_STEPS, workflows.compiling.DEEPEST],
        "a condition": [lexing.MAX_LENGTH, parsing.MAX_DEPTH],
        "a template": [liquid_sandbox.MAX_ROUNDS, MAX_TEXT],
        "`read_files`": [
            *(regular_files.MOST_BYTES, read_files.MOST_BYTES_IN_ALL, read_files.MOST_FILES)
        ],
        "an archive": [docpack.MOST_BYTES, docpack.MOST_FILES, docpack.MOST_RATIO],
        "an answer over HTTP": [http_agents.LARGEST],
        "a command's output": [processes.MOST_OUTPUT],
    }
    assert {name: found for name, found in limits.items() if name in wanted} == wanted


@pytest.mark.parametrize(
    "page",
    [
        "```python\nassert 1 == 2\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
        '```json\n{"steps": [}\n```\n',
        '```json\n{"type": "set_context", "kee": "a", "value": 1}\n```\n',
        "```yaml\nsteps:\n  - {type: no_such_type}\n```\n",
        '```json {run}\n{"type": "read_files", "path": "nowhere", "content_key": "a"}\n```\n',
        '```json title="mistakes.json"\n{"steps": []}\n```\n',
        "```console {run}\n$ echo yes\nno\n```\n",
        "```console {run}\n$ false\n$ echo $?\n0\n```\n",
        '```json title="a.txt" {run}\n{}\n```\n',
    ],
)
def test_what_is_wrong_with_a_page_is_found(
    page: str, tmp_path: Path, namespace: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError):
        for snippet in snippets(page):
            run(snippet, tmp_path / "page.md", namespace)


def test_files_of_a_page_are_there_for_what_follows(
    tmp_path: Path, namespace: dict[str, Any]
) -> None:
    page = (
        '```python title="greeting.py"\nraise SystemExit("a module does not run by itself")\n```\n'
        '```text title="name.txt"\nAda\n```\n'
        '```json title="greet.json"\n'
        '{"steps": [{"type": "read_files", "path": "name.txt", "content_key": "name"}]}\n```\n'
        "```python\nfrom task_pipeline import load_pipeline\n"
        'name = load_pipeline("greet.json").run().results["name"]\n```\n'
        "```console {run}\n$ cat name.txt \\\n    name.txt\nAda\nAda\n```\n"
    )
    for snippet in snippets(page):
        run(snippet, tmp_path / "page.md", namespace)
    assert namespace["name"] == "Ada\n"
    assert (tmp_path / "greeting.py").is_file()
