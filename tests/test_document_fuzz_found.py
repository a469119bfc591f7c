"""Documents that the fuzzer found not to give a clean error, each as short as it gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    DocumentError,
    NotAllowedError,
    PipelineConfig,
    PipelineContext,
    RunTimeoutError,
    TemplateError,
    dump_pipeline,
    load_pipeline,
)
from task_pipeline.documents.recipes import compiling

TOKEN = "DOCUMENT_FUZZ_TOKEN"
LONG = "a" * 300


def taking(context: Any, a: int = 1) -> int:
    return a


def named(context: Any, **given: Any) -> Any:
    return given


def run(document: Any, **options: Any) -> dict[str, Any]:
    """What is in the results at the end."""
    found: dict[str, Any] = load_pipeline(document, **options).run(PipelineContext()).results
    return found


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, "s3cret")


def test_settings_of_a_workflow_are_checked_though_its_caller_has_others() -> None:
    document: dict[str, Any] = {"config": {"max_workers": 0}, "steps": {}}
    with pytest.raises(DocumentError, match=r"config\.max_workers"):
        load_pipeline(document, config=PipelineConfig())
    document["config"]["max_workers"] = 1
    assert dump_pipeline(load_pipeline(document, config=PipelineConfig())) == {"steps": {}}


@pytest.mark.parametrize(
    "document",
    [
        {"steps": [{"type": "execute_recipe", "recipe_path": LONG}]},
        {"steps": {"a": {"type": "sub_workflow", "workflow_path": LONG}}},
    ],
)
def test_no_file_can_have_so_long_a_name(document: Any) -> None:
    with pytest.raises(DocumentError, match="aaa"):
        load_pipeline(document)


def test_a_condition_that_looks_at_a_file_elsewhere_says_where_it_stands() -> None:
    step = {"type": "conditional", "condition": "file_exists('/x')", "if_true": []}
    with pytest.raises(NotAllowedError, match=r"^<text>:1:\d+: steps\[0\]\.condition: "):
        run(json.dumps({"steps": [step]}))
    steps = {
        "c": {"type": "conditional", "condition": "file_exists('/x')", "if_true_step": "d"},
        "d": {"type": "set_context", "config": {"key": "k", "value": 1}},
    }
    with pytest.raises(NotAllowedError, match="step 'c', field condition"):
        run({"start_step": "c", "steps": steps})


@pytest.mark.parametrize(
    "step",
    [
        {"type": "loop", "collection": "${env.DOCUMENT_FUZZ_TOKEN}", "loop_body": ["b"]},
        {
            "type": "sub_workflow",
            "workflow": {"steps": {}},
            "input_mapping": "x ${env.DOCUMENT_FUZZ_TOKEN}",
        },
    ],
)
def test_a_secret_that_is_no_list_or_object_is_not_told(step: Any) -> None:
    steps = {"a": step}
    if step["type"] == "loop":
        steps["b"] = {"type": "python", "config": {"function": "taking"}}
    with pytest.raises(ValueError, match=r"not the text '\*\*\*'"):
        run({"start_step": "a", "steps": steps}, env={TOKEN}, functions={"taking": taking})


def test_a_template_that_calculates_with_a_text_says_so() -> None:
    with pytest.raises(TemplateError, match="calculates with what is no number"):
        run({"steps": [{"type": "set_context", "key": "k", "value": "{{ 'x' | json | sum }}"}]})


def test_arguments_that_a_function_does_not_take_are_found_before_it_runs() -> None:
    step = {"type": "function", "function": "taking", "args": {"b": 1}}
    with pytest.raises(DocumentError, match=r"steps\.s\.args: taking\(context: .*and b"):
        load_pipeline({"steps": {"s": step}}, functions={"taking": taking})


@pytest.mark.parametrize("name", ["function", "self", "args", "kwargs", "func"])
def test_arguments_may_be_called_anything(name: str) -> None:
    functions = {"named": named}
    step = {"type": "function", "function": "named", "args": {name: 1}}
    results = run({"steps": {"s": step}}, functions=functions)
    assert results == {"s": {name: 1}}
    step = {"type": "python", "function": "named", "args": {name: 1}, "output_key": "s"}
    assert run({"steps": [step]}, functions=functions) == results


def test_yaml_reads_two_halves_of_a_pair_as_json_does() -> None:
    text = json.dumps(
        {"steps": [{"type": "set_context", "key": "\U0001f600", "value": "\U0001f601x"}]}
    )
    assert "\\ud83d" in text
    assert run(f"---\n{text}") == run(text) == {"\U0001f600": "\U0001f601x"}
    half = text.replace("\\ude01", "")
    with pytest.raises(DocumentError, match=r"<text>:2:\d+: .*half of a surrogate pair"):
        load_pipeline(f"---\n{half}")


def test_a_blank_description_is_none() -> None:
    step = {"type": "python", "description": " ", "config": {"function": "taking"}}
    assert run({"steps": {"s": step}}, functions={"taking": taking})["s"] == 1


@pytest.mark.parametrize(
    "step",
    [
        {"type": "set_context", "config": {"key": "x ${env.DOCUMENT_FUZZ_TOKEN}", "value": 1}},
        {
            "type": "python",
            "config": {"function": "taking", "output_key": "${env.DOCUMENT_FUZZ_TOKEN}"},
        },
    ],
)
def test_a_secret_does_not_become_a_key(step: Any) -> None:
    pipeline = load_pipeline({"steps": {"a": step}}, env={TOKEN}, functions={"taking": taking})
    context: PipelineContext[Any] = PipelineContext()
    with pytest.raises(ConfigurationError, match=r"step 'a': a key .* '(x )?\*\*\*'"):
        pipeline.run(context)
    assert context.results == {}


def test_workflows_that_include_two_others_each_do_not_take_for_ever(tmp_path: Path) -> None:
    for number in range(30):
        twice = {"type": "sub_workflow", "workflow_path": f"{number + 1}.json"}
        steps = {"a": {**twice, "next_step": "b"}, "b": twice}
        (tmp_path / f"{number}.json").write_text(json.dumps({"start_step": "a", "steps": steps}))
    (tmp_path / "30.json").write_text('{"steps": {}}')
    with pytest.raises(DocumentError, match="more than 1,000 workflows would be included"):
        load_pipeline("0.json")


def test_recipes_that_include_two_others_each_do_not_take_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "MAX_INCLUDED", 200)
    for number in range(30):
        steps = [{"type": "execute_recipe", "recipe_path": f"{number + 1}.json"}] * 2
        (tmp_path / f"{number}.json").write_text(json.dumps({"steps": steps}))
    (tmp_path / "30.json").write_text('{"steps": []}')
    pipeline = load_pipeline("0.json", config=PipelineConfig(timeout=0.1))
    with pytest.raises(RunTimeoutError):
        pipeline.run()
