"""Recipes: the forms of a step, its fields and templates, names, and all mistakes at once."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from task_pipeline import (
    ContextCopyError,
    DocumentError,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    PipelineStep,
    PlanChangedError,
    TemplateError,
)
from task_pipeline.documents import (
    STEP_REGISTRY,
    DocumentStep,
    StepConfig,
    load_pipeline,
    register_step,
)
from task_pipeline.documents.recipes import blocks, rendering
from task_pipeline.journal.opening import open_journal
from tests.recipe_work import Scene, _types, fail, mistakes, note, put, results_of

__all__ = ["_types"]
ROOT = Path(__file__).resolve().parent.parent


class GreetConfig(StepConfig):
    config: dict[str, Any]
    id: str = "nobody"
    times: int = 1


class Greet(PipelineStep):
    """A type whose fields are called as what every step may have."""

    config: GreetConfig

    def run(self, context: Any) -> None:
        greeting = f"{self.config.id}: {json.dumps(self.config.config)} {self.config.times}"
        context.results.setdefault("greetings", []).append(greeting)


class OddConfig(StepConfig):
    count: int = 0
    ratio: float = 0.0
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    path: Path = Path()
    pair: tuple[int, str] = (0, "")
    day: date | None = None
    tags: list[str] = Field(default_factory=list)
    either: int | list[int] = 0
    name: str = Field("", alias="called")
    open: Any = None

    @model_validator(mode="after")
    def _ratio_is_small(self) -> OddConfig:
        if self.name == "bad":
            raise ValueError("nobody is called bad")
        return self


class Odd(PipelineStep):
    """A type with fields of many types."""

    config: OddConfig

    def run(self, context: Any) -> None:
        context.results["odd"] = self.config


class LookConfig(StepConfig):
    raw: Any = None
    other: str = ""


class Look(DocumentStep):
    """A type that renders a field itself, and has something to say of its fields."""

    renders_itself = ("raw",)
    config: LookConfig

    @classmethod
    def check(
        cls, fields: Any, surroundings: Any
    ) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        if fields.get("raw") == "bad":
            yield ("raw",), "is bad", "write something good"

    def run(self, context: Any) -> None:
        context.results["looked"] = [self.config.raw, self.config.other, str(self.place)]


class Shares(PipelineStep):
    """Puts the list of its document into the context, and adds to it."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def run(self, context: Any) -> None:
        self.items.append("more")
        context.results["items"] = self.items


@pytest.fixture(scope="module", autouse=True)
def _more_types() -> Iterator[None]:
    types: dict[str, type[PipelineStep]] = {
        "t_greet": Greet,
        "t_odd": Odd,
        "t_look": Look,
        "t_shares": Shares,
    }
    for name, kind in types.items():
        STEP_REGISTRY[name] = kind
    yield
    for name in types:
        del STEP_REGISTRY[name]


# The forms of a recipe and of a step

A_IS_1 = {"key": "a", "value": 1}


@pytest.mark.parametrize(
    "recipe",
    [
        {"steps": [{"type": "t_put", "key": "a", "value": 1}]},
        {"steps": [{"type": "t_put", "config": {"key": "a", "value": 1}}]},
        {"steps": [{"id": "first", "type": "t_put", "config": {"key": "a", "value": 1}}]},
        {"name": "n", "description": "d", "$schema": "s", "steps": [put("a", 1)]},
        [put("a", 1)],
        [{"type": "parallel", "config": {"substeps": [put("a", 1)], "merge": True}}],
        [
            {
                "type": "parallel",
                "merge": True,
                "substeps": [{"type": "t_put", "config": put("a", 1)}],
            }
        ],
    ],
)
def test_the_forms_of_a_recipe(recipe: Any) -> None:
    if isinstance(recipe, list) and "substeps" in recipe[0]:
        del recipe[0]["substeps"][0]["config"]["type"]
    assert load_pipeline(recipe).run().results == {"a": 1}


@pytest.mark.parametrize(
    ("step", "greeting"),
    [
        ({"config": {"a": 1}}, 'nobody: {"a": 1} 1'),
        ({"config": {"a": 1}, "times": 2}, 'nobody: {"a": 1} 2'),
        ({"config": {"config": {"a": 1}, "times": 3}}, 'nobody: {"a": 1} 3'),
        ({"config": {"config": {"a": 1}, "id": "b"}, "id": "c"}, 'b: {"a": 1} 1'),
        ({"config": {"a": 1}, "id": "me"}, 'me: {"a": 1} 1'),
        ({"config": {}}, "nobody: {} 1"),
    ],
)
def test_a_type_may_have_fields_of_the_reserved_names(step: dict[str, Any], greeting: str) -> None:
    assert results_of([{"type": "t_greet", **step}])["greetings"] == [greeting]


def test_names_are_the_ids_else_the_types() -> None:
    steps = [
        note("1"),
        {**note("2"), "id": "second"},
        note("3"),
        {"type": "conditional", "id": "second", "condition": True, "if_true": [note("4")]},
        {
            "type": "parallel",
            "substeps": [{"type": "t_note", "config": {"name": "5"}, "id": "five"}],
        },
        {"type": "parallel", "substeps": [], "id": "empty"},
    ]
    pipeline = load_pipeline(steps)
    pipeline.run(Scene().context())
    details = pipeline.get_status()["step_details"]
    assert list(details) == ["t_note", "second", "t_note#2", "second#2", "t_note#3", "five"]
    names = [step.name for step in pipeline.steps[3:]]  # type: ignore[union-attr]  # groups
    assert names == ["second", "parallel", "empty"]  # what they were made with


def test_types_of_handlers() -> None:
    def mine(config: dict[str, Any], context: Any) -> Any:
        return [config["text"], context.results["n"]]

    pipeline = load_pipeline([{"type": "mine", "text": "{{ n }}!"}], handlers={"mine": mine})
    assert pipeline.run(PipelineContext(results={"n": 1})).results == {"n": 1, "mine": ["1!", 1]}


def test_coroutine_steps() -> None:
    steps = [
        {"type": "t_async_put", "key": "a", "value": "{{ b }}"},
        {
            "type": "parallel",
            "merge": True,
            "substeps": [{"type": "t_async_put", "key": "c", "value": 1}],
        },
    ]
    assert results_of(steps, b="x") == {"b": "x", "a": "x", "c": 1}


# Fields and templates


def test_texts_are_rendered_at_any_depth() -> None:
    value = {"{{ n }}": ["{{ n }}", {"deep": "is {{ n | plus: 1 }}"}, 3, None, "{{ none }}"]}
    assert results_of([put("a", value)], n=1) == {
        "n": 1,
        "a": {"{{ n }}": [1, {"deep": "is 2"}, 3, None, ""]},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ xs }}", [1]),
        ("{{ d }}", {"b": 1}),
        ("{{ yes }}", True),
        ("{{ none }}", None),
        ("{{ n }}", 5),
        ("{{ word }}", "true"),
        ("{{ missing }}", ""),
        ("is {{ xs }}", "is [1]"),
        ("null", "null"),
    ],
)
def test_where_any_value_may_stand_one_variable_keeps_its_value(text: str, value: Any) -> None:
    start: Any = {"xs": [1], "d": {"b": 1}, "yes": True, "none": None, "n": 5, "word": "true"}
    found = results_of([put("a", text), put("b", {"c": [text]})], **start)
    assert (found["a"], found["b"]) == (value, {"c": [value]})
    seen: list[Any] = []
    handlers = {"mine": lambda config, context: seen.append(config)}
    steps = [{"type": "mine", "any": text}]
    load_pipeline(steps, handlers=handlers).run(PipelineContext(results=start))
    assert seen == [{"any": value}]


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"count": "{{ n }}"}, "count", 5),
        ({"count": "{{ n }}{{ n }}"}, "count", 55),
        ({"ratio": "{{ n }}.5"}, "ratio", 5.5),
        ({"flag": "{{ yes }}"}, "flag", True),
        ({"flag": "{{ yes | append: '' }}"}, "flag", True),
        ({"kind": "{{ b }}"}, "kind", "b"),
        ({"path": "{{ b }}/c"}, "path", Path("b/c")),
        ({"path": "b/c"}, "path", Path("b/c")),
        ({"pair": [1, "x"]}, "pair", (1, "x")),
        ({"pair": ["{{ n }}", "x"]}, "pair", (5, "x")),
        ({"pair": "{{ pair }}"}, "pair", (7, "y")),
        ({"day": "2024-02-29"}, "day", date(2024, 2, 29)),
        ({"day": "2024-02-0{{ n }}"}, "day", date(2024, 2, 5)),
        ({"tags": "{{ tags }}"}, "tags", ["x", "y"]),
        ({"tags": "[{{ n | json }}, 1]"}, "tags", None),
        ({"tags": ["{{ n }}"]}, "tags", ["5"]),
        ({"either": "{{ ints }}"}, "either", [1, 2]),
        ({"either": "{{ n }}"}, "either", 5),
        ({"called": "{{ b }}"}, "name", "b"),
        ({"called": "{{ tags }}", "count": "{{ n }}"}, "name", '["x", "y"]'),
        ({"open": "{{ tags }}", "count": "{{ n }}"}, "open", ["x", "y"]),
    ],
)
def test_a_template_may_stand_for_a_value_of_any_type(
    fields: dict[str, Any], name: str, value: Any
) -> None:
    start: Any = {
        "n": 5,
        "yes": True,
        "b": "b",
        "tags": ["x", "y"],
        "pair": [7, "y"],
        "ints": [1, 2],
    }
    steps = [{"type": "t_odd", **fields}]
    if value is None:
        with pytest.raises(DocumentError, match=r"steps\[0\].tags\[0\]: must be a text"):
            results_of(steps, **start)
        return
    assert getattr(results_of(steps, **start)["odd"], name) == value


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"count": "{{ word }}"}, "steps[0].count: must be a whole number, not the text 'abc'"),
        ({"kind": "{{ word }}"}, "steps[0].kind: must be"),
        ({"called": "{{ bad }}"}, "nobody is called bad"),
    ],
)
def test_what_is_rendered_is_checked(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(DocumentError) as caught:
        results_of([{"type": "t_odd", **fields}], word="abc", bad="bad")
    assert told in str(caught.value)


def test_a_template_that_fails_says_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(
        '{"steps": [\n {"type": "t_put", "key": "a", "value": ["{{ 1 | divided_by: n }}"]}]}'
    )
    with pytest.raises(TemplateError, match=r"r.json:2:42: steps\[0\].value\[0\]: "):
        load_pipeline(file).run(PipelineContext(results={"n": 0}))


def test_what_the_fields_of_a_step_come_to_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MAX_TEXT", 1000)
    assert len(results_of([put("a", ["{{ long }}"] * 9)], long="x" * 100)["a"]) == 9
    assert results_of([{"type": "t_look", "other": "{{ xs }}"}], xs=[1])["looked"][1] == "[1]"
    with pytest.raises(TemplateError, match=r"steps\[0\].value\[10\]: all together is longer"):
        results_of([put("a", ["{{ long }}"] * 11)], long="x" * 100)
    with pytest.raises(TemplateError, match=r"steps\[0\].tags: all together is longer"):
        results_of([{"type": "t_odd", "tags": "{{ long }}"}], long=["x" * 1000])


def test_a_value_that_cannot_be_copied_says_where_it_is_wanted() -> None:
    with pytest.raises(ContextCopyError, match=r"steps\[0\].tags: what .* cannot be copied"):
        results_of([{"type": "t_odd", "tags": "{{ lock }}"}], lock=[threading.Lock()])


def test_a_type_may_render_a_field_itself() -> None:
    found = results_of([{"type": "t_look", "raw": ["{{ n }}"], "other": "x"}], n=1)
    assert found["looked"] == [["{{ n }}"], "x", "steps[0]"]
    found = results_of([{"type": "t_look", "raw": ["{{ n }}"], "other": "{{ n }}"}], n=1)
    assert found["looked"] == [["{{ n }}"], "1", "steps[0]"]
    assert "the template is wrong" in mistakes([{"type": "t_look", "raw": ["{{ n"]}])[0]


def test_a_type_may_have_something_to_say_of_its_fields() -> None:
    assert mistakes([{"type": "t_look", "raw": "bad"}]) == ["[0].raw: is bad; write something good"]
    assert mistakes([{"type": "t_look", "rew": "bad"}]) == [
        "[0].rew: unknown key; did you mean 'raw'?"
    ]


def test_the_librarys_own_types_say_it_also_of_fields_that_are_wrong() -> None:
    found = mistakes([{"type": "shell", "command": "ls"}])
    assert len(found) >= 2
    assert any("is not allowed" in line for line in found)


def test_what_stands_in_a_document_is_the_same_in_each_run() -> None:
    pipeline = load_pipeline([{"type": "t_shares", "items": [1]}])
    for _ in range(2):
        assert pipeline.run().results == {"items": [1, "more"]}


# Mistakes


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    text = """{
  "stepps": [],
  "name": 3,
  "steps": [
    {"type": "t_putt", "key": "a"},
    {"typ": "t_put"},
    {"type": 5},
    "t_put",
    {"type": "t_put", "kee": "a", "value": 1},
    {"type": "t_put", "config": {"key": "{{ a"}, "value": 1},
    {"type": "t_put", "config": [1]},
    {"type": "t_put", "key": "a", "value": {"x": ["{% nothing %}"]}, "id": " "},
    {"type": "t_number", "key": "{{ a }}", "number": "7"},
    {"type": "t_number", "key": 1, "number": "{{ n }}", "id": "{{ a }}"}
  ]
}"""
    found = mistakes(text)
    assert [line.partition(": ")[0].removeprefix("<text>:") for line in found] == [
        *("2:3", "3:11", "5:14", "6:5", "7:14", "8:5", "9:5", "9:23"),
        *("10:41", "10:50", "11:33", "12:51", "12:76", "13:54", "14:33", "14:63"),
    ]
    assert found[3].endswith("steps[1]: `type` is missing; is 'typ' meant to be it?")


def test_what_is_no_recipe() -> None:
    assert mistakes({"name": "x"}) == ['`steps` is missing; write {"steps": [...]}']
    assert mistakes({"steps": 5}) == ["steps: must be a list of steps, not 5"]
    assert mistakes("--- text")[0].endswith(
        "a recipe is an object with a list of `steps`, not the text 'text'"
    )


def test_an_unknown_type_says_how_to_register_one() -> None:
    (found,) = mistakes([{"type": "zzzzzzzz"}])
    what, _, hint = found.partition("; ")
    assert what == "[0].type: there is no type of steps 'zzzzzzzz'"
    assert hint == "register it with @register_step('zzzzzzzz')"
    (found,) = mistakes([{"type": "minee"}], handlers={"mine": print})
    assert "did you mean 'mine'" in found


def test_a_block_is_no_step() -> None:
    block = STEP_REGISTRY["parallel"]()
    with pytest.raises(PipelineDefinitionError, match="ParallelBlock is a group of steps"):
        Pipeline([block]).run()
    with pytest.raises(NotImplementedError):
        blocks.RecipeBlock.build(None, None)  # type: ignore[arg-type]  # nothing is to be built


def test_a_class_in_the_place_of_a_block_is_a_step() -> None:
    before = STEP_REGISTRY["parallel"]
    try:

        @register_step("parallel")
        class Mine(PipelineStep):
            def __init__(self, substeps: int) -> None:
                self.substeps = substeps

            def run(self, context: Any) -> None:
                context.results["substeps"] = self.substeps

        assert results_of([{"type": "parallel", "substeps": 5}]) == {"substeps": 5}
    finally:
        STEP_REGISTRY["parallel"] = before


# Runs


def every_kind(folder: Path) -> list[Any]:
    (folder / "sub.json").write_text(json.dumps([{"type": "t_add", "key": "log", "item": "sub"}]))
    return [
        {"type": "t_add", "key": "log", "item": "{{ start }}"},
        {
            "type": "parallel",
            "result_key": "each",
            "merge": ["log"],
            "substeps": [
                {"type": "t_add", "key": "log", "item": "left"},
                {
                    "type": "execute_recipe",
                    "recipe_path": "sub.json",
                    "context_overrides": {"o": "{{ start }}"},
                },
            ],
        },
        {
            "type": "loop",
            "items": ["a", "b"],
            "item_key": "x",
            "result_key": "out",
            "fail_fast": False,
            "substeps": [fail("odd", if_item="b"), put("out", "{{ x }}!")],
        },
        {
            "type": "loop",
            "items": "{{ nothing }}",
            "item_key": "x",
            "result_key": "none",
            "substeps": [fail("never")],
        },
        {
            "type": "conditional",
            "condition": "len(log) > 2",
            "if_true": [{"type": "execute_recipe", "recipe_path": "{{ 'sub' }}.json"}],
        },
    ]


START = {"start": "s", "nothing": {}}
EXPECTED = {
    **START,
    "none": {},
    "none__errors": [],
    "none__history": [],
    "log": ["s", "left", "sub", "sub"],
    "each": [{"log": ["s", "left"]}, {"o": "s", "log": ["s", "sub"]}],
    "out": ["a!", None],
    "out__errors": [{"index": 1, "error": "odd", "type": "ValueError"}],
    "out__history": [
        {"index": 0, "status": "succeeded"},
        {"index": 1, "status": "failed", "error": "ValueError: odd"},
    ],
}


def test_a_pipeline_can_be_copied_and_pickled(tmp_path: Path) -> None:
    pipeline = load_pipeline(every_kind(tmp_path), base_dir=tmp_path)
    for other in (pipeline, copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        for _ in range(2):
            context: Any = PipelineContext(results=dict(START))
            assert other.run(context).results == EXPECTED


def test_runs_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    pipeline = load_pipeline(every_kind(tmp_path), base_dir=tmp_path)
    runs: list[Any] = [pipeline.start(PipelineContext(results=dict(START))) for _ in range(8)]
    for run in runs:
        assert run.result().results == EXPECTED


SCRIPT = """
import itertools, json, os, signal, sys
from pathlib import Path
from task_pipeline import PipelineContext
from task_pipeline.documents import STEP_REGISTRY, load_pipeline
from tests.recipe_work import TYPES, Add
from tests.test_recipes import START, every_kind

folder, at = Path(sys.argv[1]), int(sys.argv[2])
numbers = itertools.count(1)

class Counting(Add):
    def __init__(self, key: str, item: str) -> None:
        super().__init__(key, item)
    def run(self, context):
        number = next(numbers)
        with (folder / "calls").open("a") as file:
            print(self.item, file=file)
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        super().run(context)

for name, kind in TYPES.items():
    STEP_REGISTRY[name] = Counting if name == "t_add" else kind
pipeline = load_pipeline(every_kind(folder), base_dir=folder, journal=f"sqlite:///{folder}/runs.db")
if at:
    pipeline.run(PipelineContext(results=dict(START)), run_id="r")
else:
    print(json.dumps(pipeline.resume("r").results))
"""


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_goes_on_after_kill_9(at: int, tmp_path: Path) -> None:
    def run(at: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(at)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )

    assert run(at).returncode == -9
    ended = run(0)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == EXPECTED
    calls = (tmp_path / "calls").read_text().split()
    assert calls.count("s") == 1  # what had ended is not done again
    if at == 4:
        assert sorted(calls) == ["left", "s", "sub", "sub", "sub"]


def test_a_resumed_run_has_the_same_results(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    (tmp_path / "broken").touch()

    class Once(PipelineStep):
        def __init__(self) -> None:
            pass

        def run(self, context: Any) -> None:
            if (tmp_path / "broken").exists():
                raise OSError("broken")

    STEP_REGISTRY["t_once"] = Once
    try:
        steps = [*every_kind(tmp_path), {"type": "t_once"}]
        pipeline = load_pipeline(steps, base_dir=tmp_path, journal=url)
        with pytest.raises(OSError, match="broken"):
            pipeline.run(PipelineContext(results=dict(START)), run_id="r")
        (tmp_path / "broken").unlink()
        again = load_pipeline(steps, base_dir=tmp_path, journal=url)
        assert again.resume("r").results == EXPECTED
    finally:
        del STEP_REGISTRY["t_once"]
        open_journal(url).close()


@pytest.mark.parametrize(
    ("block", "changed"),
    [
        ({"type": "parallel", "substeps": [put("a", 1)]}, {"result_key": "all"}),
        ({"type": "parallel", "substeps": [put("a", 1)]}, {"merge": True}),
        (
            {"type": "loop", "items": [1], "item_key": "x", "substeps": [put("a", 1)]},
            {"result_key": "all"},
        ),
    ],
)
def test_what_comes_back_of_a_block_is_part_of_the_plan(
    tmp_path: Path, block: dict[str, Any], changed: dict[str, Any]
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    load_pipeline({"steps": [block]}, journal=url).run(run_id="r")
    load_pipeline({"steps": [block]}, journal=url).resume("r")
    with pytest.raises(PlanChangedError, match=r"collects|result_key"):
        load_pipeline({"steps": [{**block, **changed}]}, journal=url).resume("r")
