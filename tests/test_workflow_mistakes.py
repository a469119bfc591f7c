"""What is wrong with a workflow is said at once, before anything runs: where, what, what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import DocumentError
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.workflows import compiling
from tests.workflow_documents import AGENTS, agent, mistakes_in, results_of, wrong_steps


def parallel(*ids: str, **more: Any) -> dict[str, Any]:
    return {"type": "parallel", "parallel_steps": list(ids), **more}


def fork(branches: Any, **more: Any) -> dict[str, Any]:
    return {"type": "fork_join", "branches": branches, **more}


def loop(*body: str, **more: Any) -> dict[str, Any]:
    config = {"collection": [1], "loop_body": list(body), **more}
    return {"type": "loop", "loop_config": config}


def conditional(true: Any = "a", false: Any = "b", **more: Any) -> dict[str, Any]:
    step = {"type": "conditional", "condition": "true", **more}
    return {**step, "if_true_step": true, "if_false_step": false}


AB = {"a": agent(1), "b": agent(2)}


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        # ids
        (
            {"a": agent(1, next_step="bb"), "b": agent(1)},
            "steps.a.next_step: there is no step 'bb'; did you mean 'b'?",
        ),
        ({"x": parallel("a", "c"), **AB}, "steps.x.parallel_steps[1]: there is no step 'c'"),
        (
            {"x": conditional(true="aa"), **AB},
            "steps.x.if_true_step: there is no step 'aa'; did you mean 'a'?",
        ),
        (
            {"x": fork({"one": {"steps": ["a", "bb"]}}), **AB},
            "steps.x.branches.one.steps[1]: there is no step 'bb'",
        ),
        ({"x": loop("a", "bbb"), **AB}, "steps.x.loop_config.loop_body[1]: there is no step 'bbb'"),
        ({"a.b": agent(1)}, "a step cannot be called 'a.b'; an id is made of letters"),
        ({"loop": agent(1)}, "a step cannot be called 'loop'; workflow, steps, loop, env mean"),
        (
            {"a": {"id": "b", **agent(1)}},
            "steps.a.id: the step 'a' has the id 'b'; leave the id out",
        ),
        ({"a": {"id": 3, **agent(1)}}, "steps.a.id: must be a text, not 3"),
        ({"a": {"id": "", **agent(1)}}, "steps.a.id: the id is empty"),
        ([agent(1)], "steps[0]: `id` is missing; a step in a list has an id"),
        ([{"id": 3, **agent(1)}], "steps[0].id: must be a text, not 3"),
        ([{"id": "a", **agent(1)}] * 2, "steps[1].id: there are two steps of the id 'a'"),
        # blocks
        ({"x": parallel("a", "x", "b"), **AB}, "steps.x.parallel_steps[1]: the block lists itself"),
        (
            {"x": parallel("a", "b", "a"), **AB},
            "steps.x.parallel_steps[2]: the step 'a' is listed twice",
        ),
        (
            {"x": parallel("a", next_step="y"), "y": parallel("b", "a"), **AB},
            "steps.y.parallel_steps[1]: the step 'a' is part of the block 'x' already",
        ),
        (
            {"x": parallel("a", "b", max_parallelism=0), **AB},
            "steps.x.max_parallelism: must be 1 or more, not 0",
        ),
        ({"x": parallel("a", "b", max_parallelism=-1), **AB}, "must be 1 or more, not -1"),
        ({"x": parallel("a", "b", max_parallelism="2"), **AB}, "must be a whole number"),
        ({"x": parallel(), **AB}, "steps.x.parallel_steps"),
        (
            {"x": parallel("a", "b", on_error="go"), **AB},
            "steps.x.on_error: must be one of 'fail' or 'continue'",
        ),
        ({"x": parallel("a", "b", retry=2), **AB}, "steps.x.retry: unknown key"),
        (
            {
                "x": fork(
                    {"one": {"steps": ["a"]}, "two": {"steps": ["b"]}},
                    join_policy="n_of_m",
                    n_required=3,
                ),
                **AB,
            },
            "steps.x.n_required: 3 branches must succeed, and there are 2; it must be 2 or less",
        ),
        (
            {
                "x": fork({"one": {"steps": ["a"]}, "two": {"steps": ["b"]}}, join_policy="n_of_m"),
                **AB,
            },
            "steps.x: `n_required` is missing",
        ),
        (
            {"x": fork({"one": {"steps": ["a"]}, "two": {"steps": ["b"]}}, n_required=1), **AB},
            "steps.x.n_required: `n_required` means nothing with join_policy 'all'",
        ),
        (
            {
                "x": fork({"one": {"steps": ["a"]}, "two": {"steps": ["b"]}}, join_policy="most"),
                **AB,
            },
            "steps.x.join_policy: must be",
        ),
        (
            {"x": fork({"one": {"steps": ["a"], "timeout_seconds": 0}, "two": ["b"]}), **AB},
            "steps.x.branches.one.timeout_seconds: must be more than 0, not 0",
        ),
        (
            {"x": fork({"one": {"steps": []}, "two": {"steps": ["a", "b"]}}), **AB},
            "steps.x.branches.one.steps",
        ),
        (
            {"x": loop("a", "b", max_iterations=0), **AB},
            "steps.x.loop_config.max_iterations: must be 1 or more",
        ),
        (
            {"x": loop("a", "b", collection="items"), **AB},
            "steps.x.loop_config.collection: 'items' refers to nothing; write ${...}",
        ),
        ({"x": loop("a", "b", collection=3), **AB}, "steps.x.loop_config.collection: must be"),
        ({"x": conditional(true=None, false=None)}, "steps.x: it leads nowhere"),
        (
            {"x": conditional(condition={"expression": "1 +"}), **AB},
            "steps.x.condition.expression: ",
        ),
        ({"x": conditional(condition={}), **AB}, "steps.x.condition: `expression` is missing"),
        ({"x": conditional(condition="len("), **AB}, "of the condition)"),
        ({"x": fork({" ": ["a"], "y": ["b"]}), **AB}, "steps.x.branches"),
        # agents and types
        (
            {"a": {"input_mapping": 1}},
            "steps.a: `agent_name` is missing; name a registered agent, or give it a `url`",
        ),
        (
            {"a": agent(1, "ehco")},
            "steps.a.agent_name: there is no agent 'ehco'; did you mean 'echo'? Or register",
        ),
        ({"a": {"agent_name": 3}}, "steps.a.agent_name: must be a text, not 3"),
        (
            {"a": agent(1, inputmapping=2)},
            "steps.a.inputmapping: unknown key; did you mean 'input_mapping'?",
        ),
        (
            {"a": agent(1, headers={"a": "b"})},
            "steps.a.headers: 'headers' is for an agent with a `url`",
        ),
        ({"a": agent(1, retry=-1)}, "steps.a.retry: must be"),
        (
            {"a": agent(1, retry={"max_attempts": 0})},
            "steps.a.retry.max_attempts: must be 1 or more, not 0",
        ),
        ({"a": agent(1, retry={"wait": 0})}, "steps.a.retry.wait: unknown key"),
        ({"a": agent(1, timeout=0)}, "steps.a.timeout: must be more than 0, not 0"),
        (
            {"a": agent(1, critical="yes")},
            "steps.a.critical: must be true or false, not the text 'yes'",
        ),
        (
            {"a": {"type": "agnet"}},
            "steps.a.type: there is no type of step 'agnet'; did you mean 'agent'?",
        ),
        ({"a": {"type": "zzzzzzzzz"}}, "there is no type of step 'zzzzzzzzz'"),
        ({"a": {"type": 3, "agent_name": "echo"}}, "steps.a.type: must be a text, not 3"),
        (
            {"a": {"type": "execute_recipe", "config": {}}},
            "steps.a.type: 'execute_recipe' is a block of recipes; in a workflow, write a",
        ),
        (
            {"a": {"type": "set_context", "config": {"kee": "x", "value": 1}}},
            "steps.a.config.kee: unknown key; did you mean 'key'?",
        ),
        ({"a": {"type": "set_context", "key": "x"}}, "steps.a: `value` is missing"),
        ({"a": {"type": "set_context"}}, "steps.a: `key` is missing"),
        (
            {"a": {"type": "set_context", "kee": "x", "value": 1, "next_step": "b"}, "b": agent(1)},
            "steps.a.kee: unknown key; did you mean 'key'?",
        ),
        (
            {"a": {"type": "set_context", "config": {"key": "x", "value": 1}, "kee": 1}},
            "steps.a.kee: unknown key",
        ),
        ({"a": {"type": "set_context", "config": 3}}, "steps.a.config: must be an object, not 3"),
        ({"a": {"type": "shell", "config": {"command": ["ls"]}}}, "steps.a.config: "),
        (
            {
                "a": {"type": "group", "group": "serial", "steps": ["b"], "critical": 3},
                "b": agent(1),
            },
            "steps.a.critical: must be true or false, not 3",
        ),
        (
            {
                "a": {
                    "type": "group",
                    "group": "branch",
                    "condition": {"expression": "("},
                    "then": ["b"],
                },
                "b": agent(1),
            },
            "steps.a.condition.expression",
        ),
        # the way through
        ({"a": agent(1, next_step="a")}, "steps.a.next_step: the steps run in a circle: a → a"),
        (
            {"x": conditional(true="a", false="b"), "a": agent(1, next_step="x"), "b": agent(1)},
            "steps.a.next_step: the steps run in a circle: x → a → x",
        ),
        (
            {"x": parallel("a", next_step="b"), "a": agent(1), "b": agent(1, next_step="x")},
            "steps.b.next_step: the steps run in a circle: x → b → x",
        ),
        (
            {
                "x": parallel("y", "b"),
                "y": parallel("a", next_step="z"),
                "z": agent(1, next_step="y"),
                **AB,
            },
            "circle: y → z → y",
        ),
        ({"a": agent(1), "x": parallel("b"), "b": agent(2)}, "nothing leads to the step"),
        (
            {
                "x": parallel("a", "b"),
                "a": agent(1, next_step="c"),
                "b": agent(1, next_step="c"),
                "c": agent(1),
            },
            "the step 'c' would run more than once",
        ),
        ({"a": agent(1, next_step="x"), "x": parallel("a", "b"), "b": agent(1)}, "circle"),
        (
            {
                "p": agent(1, next_step="b"),
                "b": agent(1, next_step="x"),
                "x": parallel("a", "b"),
                "a": agent(1),
            },
            "circle",
        ),
        (
            {"x": loop("a", "b"), "a": agent(1), "b": agent(1)}
            | {"x": {**loop("a", "b"), "next_step": "y"}, "y": agent(1, next_step="b")},
            "the step 'b' would run more than once",
        ),
        # references
        (
            {"a": agent("${b.output}", next_step="b"), "b": agent(1)},
            "steps.a.input_mapping: ${b.output}: step 'b' cannot have run before",
        ),
        ({"a": agent("${a.output}")}, "a step cannot refer to its own output"),
        (
            {"a": agent("${c.output.x}", next_step="b"), "b": agent(1)},
            "${c.output.x} refers to a step 'c', and there is none",
        ),
        (
            {"step-a": agent(1, next_step="b"), "b": agent("${stepa.output.x}")},
            "did you mean 'step-a'?",
        ),
        (
            {"a": agent(1, next_step="b"), "b": agent("${a.result[0]}")},
            "${a.result[0]} is not a reference; write ${a.output.result[0]}",
        ),
        (
            {"x": parallel("a", "b"), "a": agent(1), "b": agent("${a.output}")},
            "${a.output}: step 'a' runs beside it, in the block 'x'; the steps of a",
        ),
        (
            {"x": parallel("a", "b"), "a": agent(1), "b": agent("${x.output}")},
            "the block 'x' has put nothing out while its own steps run",
        ),
        (
            {"x": {**loop("a"), "next_step": "b"}, "a": agent(1), "b": agent("${a.output}")},
            "stays in its iterations; refer to the loop's output, such as ${x.output[0]}",
        ),
        ({"a": agent("${loop.item}")}, "${loop.item}: the step is not part of a loop"),
        (
            {"a": agent({"x": ["${loop.itm}"]})},
            "steps.a.input_mapping.x[0]: ${loop.itm} is not a reference; did you mean 'item'?",
        ),
        (
            {"a": agent("x ${b.output")},
            "'${b.output' has no closing brace; close the reference with }",
        ),
        (
            {"a": agent("${env.HOME}")},
            "this document may not read the environment variable HOME; if it is meant to",
        ),
        (
            {"x": conditional(condition="${c.output} > 1"), **AB},
            "steps.x.condition: ${c.output} refers to a step 'c'",
        ),
        (
            {"x": conditional(condition="'${a.output}' == 'x'"), **AB},
            "steps.x.condition: ${a.output}: step 'a' cannot have run before",
        ),
        (
            {"x": loop("a", collection="${a.output}"), "a": agent(1)},
            "steps.x.loop_config.collection: ${a.output}",
        ),
        (
            {
                "x": {
                    "type": "sub_workflow",
                    "workflow": {"steps": {}},
                    "input_mapping": {"a": "${b.output}"},
                }
            },
            "steps.x.input_mapping.a: ${b.output} refers to a step 'b'",
        ),
        (
            {"a": {"type": "set_context", "config": {"key": "k", "value": "${b.output}"}}},
            "steps.a.config.value: ${b.output} refers to",
        ),
    ],
)
def test_a_mistake_is_told(steps: Any, wanted: str) -> None:
    start = next(iter(steps)) if isinstance(steps, dict) else None
    told = wrong_steps(steps, start)
    assert any(wanted in mistake for mistake in told), told


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ([], "a workflow is an object with `steps`, not an empty list"),
        ({"workflow_id": "x"}, "`steps` is missing"),
        ({"steps": 3}, "steps: must be"),
        ({"steps": {"a": 3}}, "steps.a: must be an object, not 3"),
        (
            {"steps": {"a": agent(1)}, "strat_step": "a"},
            "strat_step: unknown key; did you mean 'start_step'?",
        ),
        (
            {"steps": {"a": agent(1)}, "start_step": "aa"},
            "start_step: there is no step 'aa'; did you mean 'a'?",
        ),
        (
            {"steps": {"a": agent(1)}, "start_step": "zzz"},
            "start_step: there is no step 'zzz'; known are 'a'",
        ),
        ({"steps": {"a": agent(1)}, "start_step": 3}, "start_step: must be a text, not 3"),
        ({"steps": AB}, "`start_step` is missing; it may be one of 'a', 'b'"),
        (
            {"steps": {"a": agent(1, next_step="b"), "b": agent(1, next_step="a")}},
            "`start_step` is missing; every step follows another one",
        ),
        (
            {"steps": {"x": parallel("a", "b"), **AB}, "start_step": "a"},
            "start_step: the step 'a' is part of the block 'x'",
        ),
    ],
)
def test_a_mistake_in_the_whole_is_told(document: Any, wanted: str) -> None:
    told = mistakes_in(document)
    assert any(wanted in mistake for mistake in told), told


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKFLOWS_NOT_SET", raising=False)
    (mistake,) = wrong_steps({"a": agent("${env.WORKFLOWS_NOT_SET}")}, env={"WORKFLOWS_NOT_SET"})
    assert "the environment variable WORKFLOWS_NOT_SET is not set; set it before" in mistake


def test_everything_is_told_at_once_with_its_place() -> None:
    steps = {
        "a": agent("${c.output}", next_step="bb", timout=3),
        "b": parallel("c", "c", max_parallelism=0, next_step="d"),
        "c": agent(1, "nobody"),
        "d": agent("${c.otput}", next_step="a"),
        "e": agent("${workflow.inptu}"),
    }
    text = json.dumps({"start_step": "a", "steps": steps}, indent=1)
    told = mistakes_in(text)
    parts = [mistake.split(": ")[1] for mistake in told]
    assert sorted(set(parts)) == sorted(
        {
            "steps.a.timout",
            "steps.a.next_step",
            "steps.a.input_mapping",
            "steps.b.max_parallelism",
            "steps.b.parallel_steps[1]",
            "steps.c.agent_name",
            "steps.d.input_mapping",
            "steps.d.next_step",
            "steps.e",
            "steps.e.input_mapping",
        }
    )
    lines = text.splitlines()
    for mistake in told:
        file, at_line, at_column, *_ = mistake.split(":")
        assert file == "<text>" and lines[int(at_line) - 1][int(at_column) - 1 :].strip()
    (found,) = [mistake for mistake in told if "timout" in mistake]
    line, column = map(int, found.split(":")[1:3])
    assert lines[line - 1][column - 1 :].startswith('"timout"')


def test_a_mistake_in_an_older_spelling_is_shown_where_it_is_written() -> None:
    step = {
        "type": "loop",
        "collection": "${nothing}",
        "loop_body": ["zzz"],
        "max_iterations": 0,
        "next_step": "b",
    }
    told = wrong_steps({"x": step, **AB}, "x")
    assert any(mistake.startswith("steps.x.max_iterations: must be 1 or more") for mistake in told)
    assert any(
        mistake.startswith("steps.x.loop_body[0]: there is no step 'zzz'") for mistake in told
    )
    check = {
        "type": "conditional",
        "condition_expression": "1 +",
        "then_step": "aa",
        "else_step": 3,
    }
    told = wrong_steps({"x": check, **AB}, "x")
    assert any(mistake.startswith("steps.x.then_step: there is no step 'aa'") for mistake in told)
    assert any(mistake.startswith("steps.x.else_step: must be a text") for mistake in told)
    assert any(mistake.startswith("steps.x.condition_expression: ") for mistake in told)


def test_what_a_wrong_block_names_is_not_told_to_be_unreached() -> None:
    steps = {"x": {"type": "paralel", "parallel_steps": ["a", "b"]}, **AB}
    (mistake,) = wrong_steps(steps, "x")
    assert "there is no type of step 'paralel'; did you mean 'parallel'?" in mistake
    steps["x"] = {"type": "parallel", "parallel_steps": "a b"}
    assert len(wrong_steps({**steps, "c": agent(3)}, "x")) == 4


def test_a_step_that_nothing_leads_to_has_its_own_mistakes_told(tmp_path: Path) -> None:
    endpoint = {"url": "ftp://x", "input_mapping": "${nope.output}"}
    steps = {
        "x": agent(1),
        "a": agent("${y.output} ${loop.index} ${b.output}", "nobody"),
        "b": conditional("x", "a") | {"condition": "${b.output} >"},
        "f": fork({"one": {"steps": ["a"]}}, join_policy="n_of_m", n_required=2),
        "l": loop("b", collection="nothing"),
        "s": {"type": "sub_workflow", "workflow_path": "nowhere.json"},
        "t": {"type": "set_context", "config": {"key": "${x.otput}"}},
        "g": {"type": "function", "function": "nothing"},
        "u": endpoint,
    }
    told = wrong_steps(steps, "x", base_dir=tmp_path, allow={"http"})
    for wanted in (
        "steps.a.agent_name: there is no agent 'nobody'",
        "steps.a.input_mapping: ${y.output} refers to a step 'y', and there is none",
        "steps.b.condition: ",
        "steps.f.n_required: 2 branches must succeed, and there are 1",
        "steps.l.loop_config.collection: 'nothing' refers to nothing",
        "steps.s.workflow_path: ",
        "steps.t.config: `value` is missing",
        "steps.t.config.key: ${x.otput} is not a reference",
        "steps.g.function: ",
        "steps.u.url: ",
        "steps.u.input_mapping: ${nope.output} refers to a step 'nope'",
    ):
        assert any(wanted in mistake for mistake in told), (wanted, told)
    assert sum("nothing leads to" in mistake for mistake in told) == 8
    assert len(told) == 8 + 11, told


@pytest.mark.parametrize("start", ["zzz", None])
def test_a_wrong_start_hides_nothing(start: str | None) -> None:
    told = wrong_steps({"a": agent("${c.output}"), "b": agent(1, "nobody")}, start)
    assert any("start_step" in mistake for mistake in told)
    assert any("there is no agent 'nobody'" in mistake for mistake in told)
    assert not any("nothing leads to" in mistake for mistake in told)
    assert any("${c.output} refers to a step 'c'" in mistake for mistake in told)
    assert any("known are 'echo'" in mistake and "; or register" in mistake for mistake in told)


def test_branches_with_mistakes_of_their_own_are_counted() -> None:
    branches = {"one": {"steps": ["a"]}, "two": {"stps": ["b"]}}
    told = wrong_steps({"x": fork(branches, join_policy="n_of_m", n_required=2), **AB}, "x")
    assert not any("n_required" in mistake for mistake in told)
    told = wrong_steps({"x": fork(branches, join_policy="n_of_m", n_required=3), **AB}, "x")
    assert any("3 branches must succeed, and there are 2" in mistake for mistake in told)


def test_what_a_loop_in_a_loop_puts_out_is_found_in_the_outer_one() -> None:
    steps = {"o": loop("i"), "i": loop("a"), "a": agent(1), "z": agent("${a.output}")}
    steps["o"]["next_step"] = "z"
    (mistake,) = wrong_steps(steps, "o")
    assert "refer to the loop's output, such as ${o.output[0]}" in mistake
    steps = {"o": loop("i", "z"), "i": loop("a"), "a": agent(1), "z": agent("${a.output}")}
    (mistake,) = wrong_steps(steps, "o")
    assert "refer to the loop's output, such as ${i.output[0]}" in mistake


def choice(true: Any, false: Any = None, **more: Any) -> dict[str, Any]:
    return conditional(true, false, **more)


@pytest.mark.parametrize(
    ("body", "steps", "wanted"),
    [
        ("cd", {"c": choice("d")}, "only one of its ways leads to 'd', which comes next in the"),
        ("cd", {"c": choice("a", "d"), "a": agent(1, next_step="l")}, "only one of its ways"),
        ("cd", {"c": choice("e", "a"), "e": choice("d"), "a": agent(1)}, "only one of its ways"),
        ("cde", {"c": choice("d", "e"), "e": agent(1)}, "it leads to 'e', and 'd' comes next"),
        ("abd", {"a": agent(1, next_step="d"), "b": agent(1)}, "'d', and 'b' comes next in the"),
        ("ad", {"a": agent(1), "d": agent(1, next_step="a")}, "to 'a', and it is the last in"),
    ],
)
def test_a_list_says_the_same_as_the_ways_of_its_steps(body: str, steps: Any, wanted: str) -> None:
    steps = {"d": agent("d"), **steps}
    (mistake,) = wrong_steps({"l": loop(*body), **steps}, "l")
    assert wanted in mistake
    block = fork({"one": {"steps": [*body]}, "two": {"steps": ["z"]}})
    (mistake,) = wrong_steps({"l": block, "z": agent(1), **steps}, "l")
    assert wanted in mistake


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        ("cd", {"c": choice("a", "d"), "a": agent(1, next_step="d")}),
        ("cd", {"c": choice("a", "b"), **AB}),
        ("cd", {"c": choice("a"), "a": agent(1)}),
        ("cd", {"c": choice("a", next_step="d"), "a": agent(1)}),
        ("cd", {"c": choice("e", "d"), "e": choice("d", "a"), "a": agent(1, next_step="d")}),
        ("ad", {"a": agent(1, next_step="d"), "d": agent("d", next_step="l")}),
    ],
)
def test_lists_that_say_the_same_as_the_ways_are_right(body: str, steps: Any) -> None:
    given = {"l": loop(*body), "d": agent("d"), **steps}
    assert results_of(given, start="l")["l"] == ["d"]


def test_what_one_way_alone_leads_to_is_left_out_of_the_list() -> None:
    taken = {"type": "conditional", "condition": "${loop.item} > 1", "if_true_step": "d"}
    results = results_of(
        {"l": loop("c", collection=[1, 2]), "c": taken, "d": agent("d")}, start="l"
    )
    assert results["l"] == [{"result": False, "next_step": None}, "d"]


def test_loops_in_each_others_bodies_are_a_circle() -> None:
    steps = {"o": loop("i"), "i": loop("o", "a"), "z": agent("${a.output}"), "a": agent(1)}
    steps["o"]["next_step"] = "z"
    told = wrong_steps(steps, "o")
    assert any("the steps run in a circle: o → i → o" in mistake for mistake in told)
    assert any("stays in its iterations" in mistake for mistake in told)


def test_a_document_that_is_loaded_deep_down_is_told_so() -> None:
    steps: dict[str, Any] = {}
    for n in range(150):
        steps[f"s{n}"] = parallel(f"s{n + 1}")
    steps["s150"] = agent(1)

    def deeper(levels: int) -> list[str]:
        return deeper(levels - 1) if levels else wrong_steps(steps, "s0")

    assert results_of(steps, start="s0")["s150"] == 1
    (mistake,) = deeper(sys.getrecursionlimit() - 350)
    assert "nested deeper than there is room for where it is loaded" in mistake


def test_a_reference_that_holds_on_one_of_the_ways_is_right() -> None:
    steps = {
        "check": conditional(),
        "a": agent(1, next_step="c"),
        "b": agent(2, next_step="c"),
        "c": agent("${a.output}"),
    }
    assert results_of(steps, start="check")["c"] == 1
    # The same step on two ways, of which only one has `a` before it.
    steps = {
        "one": conditional(true="a", false="two"),
        "two": conditional(true="c", false="d"),
        "a": agent(1, next_step="c"),
        "c": agent("${a.output}"),
        "d": agent(3),
    }
    assert results_of(steps, start="one")["c"] == 1


def ladder(count: int) -> dict[str, Any]:
    """Conditionals whose ways cross, and meet only by twos: written out, they double each time."""
    steps: dict[str, Any] = {}
    for n in range(count):
        steps[f"l{n}"] = conditional(f"l{n + 1}", f"r{n + 1}")
        steps[f"r{n}"] = conditional(f"r{n + 1}", f"l{n + 1}")
    steps[f"l{count}"] = agent("l")
    steps[f"r{count}"] = agent("r")
    steps["start"] = conditional("l0", "r0")
    return steps


def test_ways_that_would_be_too_many_are_a_mistake() -> None:
    load_pipeline({"start_step": "start", "steps": ladder(5)}, "workflow", agents=AGENTS)
    (mistake,) = wrong_steps(ladder(20), "start")
    assert "its ways on would take more than 10,000 steps; have the ways of" in mistake


def test_as_many_steps_as_are_written_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MOST_STEPS", 5)
    steps = {f"s{n}": agent(n, next_step=f"s{n + 1}") for n in range(30)}
    assert results_of({**steps, "s30": agent(30)}, start="s0")["s30"] == 30


def test_steps_that_are_nested_too_deep_are_a_mistake() -> None:
    steps: dict[str, Any] = {}
    for n in range(300):
        steps[f"s{n}"] = parallel(f"s{n + 1}")
    steps["s300"] = agent(1)
    (mistake,) = wrong_steps(steps, "s0")
    assert "nested more than" in mistake
    steps = {}
    for n in range(300):
        steps[f"c{n}"] = conditional("a", f"c{n + 1}")
    steps |= {"c300": agent(2), "a": agent(1)}
    (mistake,) = wrong_steps(steps, "c0")
    assert "nested more than" in mistake


def test_an_agent_that_cannot_be_called_with_an_input() -> None:
    agents: dict[str, Any] = {
        "none": lambda: 1,
        "three": lambda one, two, three: 1,
        "named": lambda *, given: 1,
        "also": lambda given, *, other: 1,
        "one": lambda given: given,
        "rest": lambda *given: given,
        "two": lambda given, context: given,
        "by_name": lambda given, *, context: given,
        "more": lambda given, other=3: given,
        "text": str,
    }
    steps = {name: agent(1, name) for name in agents}
    for name, following in zip(agents, list(agents)[1:], strict=False):
        steps[name]["next_step"] = following
    told = wrong_steps(steps, "none", agents=agents)
    places = [mistake.partition(": ")[0] for mistake in told]
    assert places == [f"steps.{name}.agent_name" for name in ("none", "three", "named", "also")]
    assert all("it is called as fn(input[, context])" in mistake for mistake in told)


def test_a_step_of_a_workflow_without_what_should_be_around_it_is_told_so() -> None:
    with pytest.raises(DocumentError) as caught:
        load_pipeline({"id": "p", "type": "parallel", "parallel_steps": ["a"]})
    assert "`steps` is missing" in caught.value.problems
    assert any("known are 'workflow_id'" in problem for problem in caught.value.problems)
