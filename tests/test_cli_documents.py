"""`task-pipeline` with recipes and workflows: run, validate, graph, schema, steps, resume."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from task_pipeline import Pipeline
from task_pipeline.cli.places import place_in
from task_pipeline.documents.registry import AGENTS, STEP_REGISTRY
from tests.cli_project import call, project, script, without

__all__ = ["call", "project"]

PLUGIN = '''
from pathlib import Path
from task_pipeline import PipelineStep
from task_pipeline.documents import StepConfig, register_agent, register_step

class GreetConfig(StepConfig):
    name: str
    key: str = "greeting"
    mark: int | None = None

@register_step("greet")
class Greet(PipelineStep):
    """Say hello.

    To somebody.
    """
    config: GreetConfig

    def run(self, context):
        with open("log", "a") as log: log.write(self.config.name + "\\n")
        if self.config.name == "nobody" and not Path("fixed").exists():
            raise ValueError("nobody is there")
        context.results[self.config.key] = f"Hello, {self.config.name}"

@register_agent("double")
def double(input):
    if input["n"] == 13: raise ValueError("unlucky")
    return {"result": 2 * input["n"]}
'''

RECIPE = {
    "name": "greetings",
    "steps": [
        {"type": "greet", "name": "{{ who }}"},
        {"type": "parallel", "substeps": [
            {"type": "execute_recipe", "recipe_path": "sub.json"},
            {"type": "greet", "name": "all"},
        ]},
        {"type": "conditional", "condition": "greeting == 'Hello, Ada'",
         "if_true": [{"type": "greet", "name": "Ada", "key": "again"}]},
        {"type": "greet", "name": "{{ last }}", "key": "last"},
    ],
}  # fmt: skip

WORKFLOW = """\
name: evaluation
start_step: both
steps:
  both:
    type: parallel
    parallel_steps: [a, b]
    next_step: choose
  a: {agent_name: double, input_mapping: {n: "${workflow.input.n}"}}
  b: {agent_name: double, input_mapping: {n: 3}}
  choose:
    type: conditional
    condition: {expression: "${a.output.result} > 6"}
    if_true_step: big
    if_false_step: small
  big: {agent_name: double, input_mapping: {n: "${a.output.result}"}}
  small: {agent_name: double, input_mapping: {n: 0}}
"""

WRONG = """\
{"steps": [
  {"type": "gret", "name": "x"},
  {"type": "greet", "nam": "x"},
  {"type": "greet", "name": "\\u001b[2J", "key": 3}
]}
"""

WITH = ("--plugin", "plug", "--display", "none")


@pytest.fixture(autouse=True)
def here(project):
    """Documents in the folder; what the plugin has registered is taken back."""
    (project / "plug.py").write_text(PLUGIN, encoding="utf-8")
    (project / "recipe.json").write_text(json.dumps(RECIPE, indent=1), encoding="utf-8")
    (project / "sub.json").write_text('{"steps": [{"type": "greet", "name": "sub"}]}', "utf-8")
    (project / "flow.yaml").write_text(WORKFLOW, encoding="utf-8")
    (project / "wrong.json").write_text(WRONG, encoding="utf-8")
    (project / "http.json").write_text(
        '{"start_step": "a", "steps": {"a": {"url": "http://localhost:9/", "method": "GET"}}}',
        "utf-8",
    )
    yield project
    if "greet" in STEP_REGISTRY:
        del STEP_REGISTRY["greet"]
    AGENTS.pop("double", None)


def log() -> list[str]:
    return Path("log").read_text(encoding="utf-8").split()


# run


def test_a_recipe_is_run(call):
    told = call("run", "recipe.json", *WITH, "-c", "who=Ada", "-c", "last=Bob", "--output", "-")
    assert (told.code, told.err) == (0, "")
    assert json.loads(told.out) == {
        "who": "Ada", "last": "Hello, Bob", "greeting": "Hello, Ada", "again": "Hello, Ada"
    }  # fmt: skip


def test_a_workflow_is_run(call):
    told = call("run", "flow.yaml", *WITH, "-c", "n=4", "--output", "-")
    assert (told.code, told.err) == (0, "")
    results = json.loads(told.out)
    assert results["big"] == {"result": 16}
    assert "small" not in results
    assert results["both"] == {"a": {"result": 8}, "b": {"result": 6}}


def test_a_failure_names_the_step_and_where_it_is_written(call):
    told = call("run", "recipe.json", *WITH, "-c", "who=Ada", "-c", "last=nobody")
    assert told.code == 1
    text = Path("recipe.json").read_text("utf-8").splitlines()
    found = re.search(r"at path 3 \(.*recipe\.json:(\d+):(\d+)\) failed: ", told.err)
    assert found
    assert text[int(found[1]) - 1][int(found[2]) - 1 :].startswith("{")
    assert "ValueError: nobody is there" in told.err


def test_of_a_step_that_no_document_has_no_place_is_known():
    pipeline = Pipeline([lambda context: None])
    assert (place_in(pipeline)("0"), place_in(pipeline)("7")) == ("", "")


def test_what_a_document_may_do_is_said_by_its_caller(call):
    Path("shell.json").write_text(
        '{"steps": [{"type": "shell", "command": ["echo", "{{ env.WORD }}"], "output_key": "o"},'
        '{"type": "write_files", "files": [{"path": "made.txt", "content": "x"}]}]}',
        encoding="utf-8",
    )
    told = call("run", "shell.json", *WITH)
    assert (told.code, told.out) == (2, "")
    first, last = told.err.splitlines()
    assert re.match(r".*shell\.json:1:\d+: steps\[0\]: .*--allow shell on the command line", first)
    assert last == "task-pipeline: 1 mistake in the document; nothing has run"
    Path("inner").mkdir()
    told = call("run", "shell.json", *WITH, "--allow", "shell", "--root", "inner", "--output", "-")
    assert json.loads(told.out)["o"]["stdout"] == "\n"
    assert Path("inner/made.txt").read_text("utf-8") == "x"


def test_the_kind_of_a_document_can_be_said(call):
    assert call("run", "recipe.json", *WITH, "--kind", "workflow").code == 2
    assert call("run", "recipe.json", *WITH, "--kind", "recipe", "-c", "who=x").code == 0
    assert "'recipe', 'workflow'" in call("run", "recipe.json", "--kind", "poem").err


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        (
            "recipe.json",
            ("--root", "nope"),
            "--root is the folder of a document's files, and 'nope'",
        ),
        ("recipe.json", ("--root", "flows.py"), "and 'flows.py' is a file"),
        ("recipe.json", ("--allow", "all"), "'shell', 'http', 'files'"),
        ("recipe.json", ("--plugin", "plugs"), "there is no module 'plugs'"),
    ],
)
def test_wrong_use_is_one_line(call, source, options, told):
    found = call("run", source, *options)
    assert (found.code, found.out) == (2, "")
    assert told in found.err
    assert found.err.count("\n") == 1


def test_a_dry_run_of_a_recipe(call):
    Path("recipe.json").chmod(0o600)
    told = call("run", "recipe.json", *WITH, "--dry-run", "-c", "who=@nope.json")
    assert told.code == 0
    assert told.out.splitlines()[0] == "greetings"
    assert "if greeting == 'Hello, Ada'" in told.out or "if a condition holds" in told.out
    assert not Path("log").exists()
    assert call("run", "wrong.json", "--dry-run").code == 2


def test_a_file_that_cannot_be_read(call, monkeypatch):
    def refuse(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("task_pipeline.documents.load_pipeline", refuse)
    told = call("run", "recipe.json")
    assert told == (2, "", "task-pipeline: 'recipe.json' cannot be read: Permission denied\n")


# validate


def test_every_mistake_in_every_file_is_told(call):
    told = call("validate", "wrong.json", "recipe.json", "flow.yaml", "--plugin", "plug")
    assert told.code == 1
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[-2:] == ["recipe.json: no mistakes", "flow.yaml: no mistakes"]
    places = [re.match(r"(.*?):(\d+):(\d+): (.*?): ", line) for line in lines[:-2]]
    assert [(place[1], place[2], place[4]) for place in places if place] == [
        ("wrong.json", "2", "steps[0].type"),
        ("wrong.json", "3", "steps[1]"),
        ("wrong.json", "3", "steps[1].nam"),
        ("wrong.json", "4", "steps[2].key"),
    ]
    assert "did you mean 'greet'" in told.out
    assert call("validate", "recipe.json", "--plugin", "plug")[:2] == (
        0,
        "recipe.json: no mistakes\n",
    )


def test_of_very_many_mistakes_it_is_told_how_many_more_there_are(call):
    steps = [{"type": "set_context", "key": "a"}] * 205
    Path("many.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")
    lines = call("validate", "many.json").out.splitlines()
    assert (len(lines), lines[-1]) == (201, "many.json: and 5 more")
    lines = call("run", "many.json").err.splitlines()
    assert (len(lines), lines[-2]) == (202, "and 5 more")
    assert lines[-1] == "task-pipeline: 205 mistakes in the document; nothing has run"


def test_a_mistake_in_a_recipe_that_others_run_is_told_once(call):
    told = call("validate", "sub.json", "recipe.json")
    assert told.code == 1
    assert sum(line.startswith("sub.json:1:") for line in told.out.splitlines()) == 1
    assert told.out.count("no type of steps 'greet'") > 1


def test_all_files_are_looked_at_though_one_cannot_be_read(call):
    told = call(
        "validate", "nope.json", ".", "flows:good", "wrong.json", "sub.json", "--plugin", "plug"
    )
    assert told.code == 2
    assert told.err.splitlines() == [
        f"task-pipeline: there is no file 'nope.json', looked for from {str(Path.cwd())!r}",
        "task-pipeline: '.' is a folder; name a recipe or workflow in it",
        "task-pipeline: there is no file 'flows:good'",
    ]
    assert "wrong.json:2:" in told.out
    assert told.out.endswith("sub.json: no mistakes\n")
    assert call("validate").code == 2


def test_a_document_that_makes_no_pipeline_is_told(call, monkeypatch):
    from task_pipeline.errors import PipelineDefinitionError

    def refuse(*arguments, **more):
        raise PipelineDefinitionError(["path 0: odd", "path 1: odd"])

    monkeypatch.setattr("task_pipeline.cli.validating.compile_plan", refuse)
    told = call("validate", "sub.json", "--plugin", "plug")
    assert told == (1, "sub.json: path 0: odd\nsub.json: path 1: odd\n", "")


# graph, schema, steps


@pytest.mark.parametrize("source", ["recipe.json", "flow.yaml"])
def test_a_graph_of_a_document(call, source):
    drawn = {
        wanted: call("graph", source, "--plugin", "plug", "--format", wanted).out
        for wanted in ("mermaid", "dot", "svg", "tree")
    }
    ET.fromstring(drawn["svg"])
    words = ("greet#2", "sub") if source == "recipe.json" else ("both", "small")
    for text in drawn.values():
        for word in words:
            assert word.replace("#", "#35;") in text or word in text
    assert call("graph", "wrong.json").code == 2


@pytest.mark.parametrize("kind", ["recipe", "workflow"])
def test_a_schema(call, kind):
    told = call("schema", kind, "--plugin", "plug")
    assert (told.code, told.err) == (0, "")
    assert "$schema" in json.loads(told.out)
    assert '"greet"' in told.out
    assert "'recipe', 'workflow'" in call("schema", "poem").err


def test_the_types_of_steps(call):
    told = call("steps", "--plugin", "plug")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0].split() == ["STEP", "FIELD", "VALUE", "DEFAULT", "MEANING"]
    at = next(number for number, line in enumerate(lines) if line.startswith("greet "))
    assert lines[at].split()[-2:] == ["Say", "hello."]
    assert lines[at + 1].split() == ["-", "name", "text", "required", "-"]
    assert lines[at + 2].split() == ["-", "key", "text", '"greeting"', "-"]
    assert lines[at + 3].split() == ["-", "mark", "whole", "number", "|", "null", "null", "-"]
    document = json.loads(call("steps", "--json").out)
    found = {step["type"]: step for step in document["steps"]}
    assert found["greet"] == {
        "type": "greet",
        "description": "Say hello.",
        "fields": [
            {"name": "name", "type": "text", "required": True, "default": None,
             "description": None},
            {"name": "key", "type": "text", "required": False, "default": "greeting",
             "description": None},
            {"name": "mark", "type": "whole number | null", "required": False, "default": None,
             "description": None},
        ],
    }  # fmt: skip
    assert {"parallel", "loop", "set_context", "shell"} <= found.keys()
    assert "'overwrite' | 'merge'" in told.out
    assert "list of text" in told.out


def test_fields_of_any_kind_are_told(call):
    Path("odd.py").write_text(
        "from collections.abc import Callable\n"
        "from typing import Literal\n"
        "from pydantic import Field\n"
        "from task_pipeline import PipelineStep\n"
        "from task_pipeline.documents import StepConfig, register_step\n"
        "class Odd(StepConfig):\n"
        "    of: int = Field(alias='from')\n"
        "    one: Literal['a'] = 'a'\n"
        "    made: list[dict[str, int]] = Field(default_factory=list)\n"
        "    twice: int = Field(default_factory=lambda fields: fields['of'])\n"
        "class Bare(StepConfig):\n"
        "    call: Callable[[], int] = print\n"
        "class Step(PipelineStep):\n"
        "    def run(self, context): ...\n"
        "@register_step('odd')\n"
        "class OddStep(Step):\n"
        "    config: Odd\n"
        "@register_step('bare')\n"
        "class BareStep(Step):\n"
        "    config: Bare\n",
        encoding="utf-8",
    )
    try:
        found = json.loads(call("steps", "--plugin", "odd", "--json").out)["steps"]
    finally:
        del STEP_REGISTRY["odd"], STEP_REGISTRY["bare"]
    odd, bare = (
        [
            tuple(field.values())[:4]
            for step in found
            if step["type"] == name
            for field in step["fields"]
        ]
        for name in ("odd", "bare")
    )
    assert odd == [
        ("from", "whole number", True, None),
        ("one", "'a'", False, "a"),
        ("made", "list of object", False, []),
        ("twice", "whole number", False, None),
    ]
    assert bare == [("call", "any", False, str(print))]


# resume


def test_a_recipe_is_resumed_as_it_says(call):
    url = "sqlite:///runs.db"
    told = call(
        "run", "recipe.json", "--plugin", "plug", "-c", "who=Ada", "-c", "last=nobody",
        "--journal", url, "--run-id", "one", "--root", ".",
    )  # fmt: skip
    assert told.code == 1
    way = told.err.splitlines()[-1].partition("resume it with: task-pipeline ")[2]
    assert way == ("runs resume one recipe.json --journal sqlite:///runs.db --plugin plug --root .")
    before = log()
    assert call(*way.split()).code == 1
    Path("fixed").touch()
    told = call(*way.split())
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("run one succeeded after ")
    assert log() == [*before, "nobody", "nobody"]
    told = call("runs", "show", "one", "--journal", url)
    assert "greet" in told.out


def test_a_workflow_is_resumed(call):
    told = call(
        "run", "flow.yaml", *WITH, "-c", "n=13", "--journal", "sqlite:///runs.db", "--run-id", "one"
    )
    assert told.code == 1
    assert "unlucky" in told.err
    told = call("runs", "resume", "one", "flow.yaml", "--plugin", "plug")
    assert told.code == 1
    assert told.err.startswith("task-pipeline: run one failed: ")
    assert call("runs", "resume", "one", "nope.yaml").code == 2
    assert call("runs", "resume", "one", "recipe.json", "--plugin", "plug").code == 2


# Extras that are not installed


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ["run", "recipe.json"], "cli"),
        ("rich", ["validate", "recipe.json"], "cli"),
        ("yaml", ["run", "flow.yaml", "--plugin", "plug"], "documents"),
        ("yaml", ["validate", "flow.yaml", "--plugin", "plug"], "documents"),
        ("yaml", ["run", "flows:good", "-c", "x=@flow.yaml"], "documents"),
        ("httpx", ["run", "http.json", "--allow", "http", "--display", "none"], "http"),
        ("sqlalchemy", ["run", "flows:good", "--journal", "sqlite:///runs.db"], "journal"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(missing, arguments, extra):
    told = without(missing, *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert f"pip install 'task-pipeline[{extra}]'" in told.stderr
    assert told.stderr.count("\n") == 1
    assert not Path("log").exists()


def test_json_needs_no_extra_for_yaml():
    told = without("yaml", "run", "sub.json", "--plugin", "plug", "--display", "none")
    assert (told.returncode, told.stderr) == (0, "")


def test_looking_at_runs_imports_nothing_of_documents():
    told = script("runs", "list", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert "task_pipeline.cli.app" in told.stderr
    for name in ("task_pipeline.documents", "task_pipeline.drawing", "task_pipeline.pipeline"):
        assert f" {name}\n" not in told.stderr
