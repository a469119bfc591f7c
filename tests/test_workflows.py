"""Workflows: agents that follow each other, what they are given, and what they leave."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import threading
from typing import Any

import pytest

from task_pipeline import (
    ContextCopyError,
    MissingReferenceError,
    StepReturnError,
)
from task_pipeline.documents import load_pipeline, register_agent
from task_pipeline.documents.registry import AGENTS
from task_pipeline.testing import ManualClock
from tests.workflow_documents import Context, agent, echo, loaded, results_of


def test_steps_follow_each_other_and_leave_their_output_under_their_ids() -> None:
    steps = {
        "last": agent(["${first.output}", "${second.output.n}"]),
        "first": agent({"n": "${workflow.input.n}"}, next_step="second"),
        "second": agent({"n": "${first.output.n}"}, next_step="last"),
    }
    results = results_of(steps, {"n": 3}, start="first")
    assert results == {"n": 3, "first": {"n": 3}, "second": {"n": 3}, "last": [{"n": 3}, 3]}
    assert list(results) == ["n", "first", "second", "last"]


def test_a_whole_document_with_all_that_it_may_say() -> None:
    document = {
        "$schema": "https://example.org/workflow.json",
        "workflow_id": "greeting",
        "name": "A greeting",
        "version": "1.2",
        "description": "Says hello.",
        "metadata": {"owner": "x"},
        "start_step": "hello",
        "steps": {
            "hello": {
                "id": "hello",
                "type": "agent",
                "name": "Hello",
                "description": "Greets.",
                "metadata": [1],
                "agent_name": "echo",
                "input_mapping": "Hello, ${workflow.input.who}",
            }
        },
    }
    pipeline = load_pipeline(json.dumps(document), agents={"echo": echo})
    assert pipeline.kind == "workflow" and pipeline.name == "A greeting"
    context = pipeline.run(Context(results={"who": "Ada"}))
    assert context.results["hello"] == "Hello, Ada"
    assert pipeline._plan.specs[0].description == "Greets."


def test_the_first_step_is_found_if_it_is_not_named() -> None:
    listed = [{"id": "a", **agent(1, next_step="b")}, {"id": "b", **agent(2)}]
    assert list(results_of(listed)) == ["a", "b"]
    keyed = {"b": agent(2), "a": agent(1, next_step="b")}
    assert list(results_of(keyed)) == ["a", "b"]
    assert results_of({"only": agent(1)}) == {"only": 1}
    assert results_of({}) == {}


def test_without_a_mapping_an_agent_is_given_the_input() -> None:
    steps = {"a": agent(next_step="b"), "b": agent(next_step="c"), "c": agent(None)}
    results = results_of(steps, {"x": [1], "y": 2}, start="a")
    assert results["a"] == results["b"] == {"x": [1], "y": 2}
    assert results["c"] is None


def only_input(given: Any) -> Any:
    return ["input", given]


def and_context(given: Any, context: Any) -> Any:
    return [context.step_id, given]


def by_any_name(given: Any, where: Any) -> Any:
    return [where.step_id, given]


def by_keyword(given: Any, *, context: Any) -> Any:
    return [context.step_id, given]


def with_default(given: Any, context: Any = None) -> Any:
    return [context.step_id, given]


def with_options(given: Any, temperature: float = 0.5, *more: Any, **others: Any) -> Any:
    return [temperature, given]


async def later(given: Any, context: Any) -> Any:
    return [context.step_id, given]


class Caller:
    def __call__(self, given: Any, context: Any) -> Any:
        return [context.step_id, given]


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (only_input, ["input", 1]),
        (and_context, ["a", 1]),
        (by_any_name, ["a", 1]),
        (by_keyword, ["a", 1]),
        (with_default, ["a", 1]),
        (with_options, [0.5, 1]),
        (later, ["a", 1]),
        (lambda given, context: later(given, context), ["a", 1]),
        (Caller(), ["a", 1]),
        (functools.partial(with_options, temperature=1), [1, 1]),
        (str, "1"),
        (dict.fromkeys, None),
    ],
)
def test_agents_are_called_as_they_are_written(function: Any, output: Any) -> None:
    if output is None:  # a function in C: it is given its input
        assert results_of({"a": agent("xy", "it")}, agents={"it": function})["a"] == {
            "x": None,
            "y": None,
        }
    else:
        assert results_of({"a": agent(1, "it")}, agents={"it": function})["a"] == output


def test_agents_that_say_nothing_of_how_they_are_called_are_given_their_input() -> None:
    assert results_of({"a": agent([3, 1], "max")}, agents={"max": max})["a"] == 3


def test_an_agent_may_be_registered_or_answer_for_all_others() -> None:
    @register_agent("test_workflows.double")
    def double(given: int) -> int:
        return 2 * given

    try:
        assert results_of({"a": agent(4, "test_workflows.double")})["a"] == 8
        # The caller's own go first.
        agents: dict[str, Any] = {"test_workflows.double": echo}
        assert results_of({"a": agent(4, "test_workflows.double")}, agents=agents)["a"] == 4
    finally:
        del AGENTS["test_workflows.double"]

    def any_other(given: Any, context: Any, agent_name: str) -> Any:
        return [agent_name, given]

    agents = {"*": any_other}
    assert results_of({"a": agent(4, "whoever")}, agents=agents)["a"] == ["whoever", 4]
    assert results_of({"a": agent(4, "x")}, agents={"*": echo})["a"] == 4
    assert results_of({"a": agent([4], "x")}, agents={"*": max})["a"] == 4


def test_what_an_agent_does_to_its_input_is_its_own_business() -> None:
    def spoil(given: Any) -> Any:
        given["list"].append("spoilt")
        given["whole"].clear()
        return "done"

    mapping = {"list": "${workflow.input.list}", "whole": "${workflow.input}"}
    block = {
        "a": agent(mapping, "spoil", next_step="b"),
        "b": {"type": "parallel", "parallel_steps": ["c", "d"]},
        "c": agent(mapping, "spoil", next_step="e"),
        "e": agent("${workflow.input.list}"),
        "d": agent("${workflow.input.list}"),
    }
    results = results_of(block, {"list": [1]}, start="a", agents={"spoil": spoil})
    assert results["list"] == [1]
    assert results["e"] == results["d"] == [1]


def test_an_input_that_cannot_be_copied_is_named() -> None:
    pipeline = loaded({"a": agent({"lock": "${workflow.input.lock}"})})
    with pytest.raises(ContextCopyError, match="the input of step 'a'"):
        pipeline.run(Context(results={"lock": threading.Lock()}))


def test_an_agent_that_returns_its_context_is_told_so() -> None:
    pipeline = loaded({"a": agent(1, "it")}, agents={"it": lambda given, context: context})
    with pytest.raises(StepReturnError, match="agent of step 'a' returned a context"):
        pipeline.run()


@pytest.mark.parametrize(
    ("mapping", "given", "text"),
    [
        (
            {"texts": ["x", {"t": "<${load.output.pages[3].title}>"}]},
            {},
            """step 'report', field input_mapping.texts[1].t: there is nothing for \
${load.output.pages[3].title}: load.output.pages has 2 items (steps.report)""",
        ),
        ("${load.output.page}", {}, "load.output has no 'page'; did you mean 'pages'?"),
        ("${workflow.input.naem}", {"name": 1}, "did you mean 'name'?"),
        ("${naem}", {"name": 1}, "the workflow's input has no 'naem'; did you mean 'name'?"),
        ("${workflow.input.a.b}", {"a": 1}, "workflow.input.a is a number, which has no 'b'"),
        ("${workflow.input.a}", {}, "the workflow's input has no 'a': it has no keys"),
    ],
)
def test_what_is_missing_is_told_with_step_field_and_reference(
    mapping: Any, given: dict[str, Any], text: str
) -> None:
    steps = {"load": agent({"pages": [1, 2]}, next_step="report"), "report": agent(mapping)}
    with pytest.raises(MissingReferenceError) as caught:
        results_of(steps, given)
    assert text in str(caught.value)


def test_a_step_that_was_not_reached_has_put_nothing_out() -> None:
    steps = {
        "check": {"type": "conditional", "condition": "false", "if_true_step": "a"},
        "a": agent(1, next_step="b"),
        "b": agent("${a.output}"),
    }
    steps["check"]["next_step"] = "b"
    del steps["a"]["next_step"]
    with pytest.raises(MissingReferenceError, match="step 'a' has put nothing out: it was not"):
        results_of(steps)


def test_names_of_the_input_may_stand_alone_in_references() -> None:
    results = results_of(
        {"a": agent("${n}", next_step="b"), "b": agent(["${a}", "${n}", "${o.k[0]}"])},
        {"n": 1, "o": {"k": [2]}},
    )
    assert results["b"] == [1, 1, 2]


# The input stays what it was


def test_outputs_that_take_the_place_of_input_leave_the_input_to_be_read() -> None:
    steps = {
        "a": agent("out a", next_step="b"),
        "b": agent(["${workflow.input.a}", "${a.output}", "${workflow.input}"]),
    }
    results = results_of(steps, {"a": "in a", "x": 1})
    assert results["a"] == "out a"
    assert results["b"] == ["in a", "out a", {"a": "in a", "x": 1}]
    assert results["workflow"]["input"] == {"a": "in a"}


def test_input_that_a_later_step_will_replace_is_still_the_input() -> None:
    steps = {"a": agent("${workflow.input}", next_step="b"), "b": agent(1)}
    assert results_of(steps, {"b": 2, "x": 3})["a"] == {"b": 2, "x": 3}


def test_the_input_may_have_keys_that_mean_something_else() -> None:
    given = {"workflow": "w", "loop": "l", "a": "in a"}
    steps = {
        "a": agent(["${workflow.input.workflow}", "${workflow.input.loop}"], next_step="b"),
        "b": {"type": "loop", "collection": [1], "loop_body": ["c"], "next_step": "d"},
        "c": agent(["${workflow.input.loop}", "${workflow.input}", "${loop.item}"]),
        "d": agent(["${workflow.input}", "${workflow.input.workflow}"]),
    }
    results = results_of(steps, given, start="a")
    assert results["a"] == ["w", "l"]
    assert results["b"] == [["l", given, 1]]
    assert results["d"] == [given, "w"]


def test_outputs_of_blocks_leave_the_input_to_be_read_too() -> None:
    given = {key: f"in {key}" for key in ("block", "a", "b", "check", "lp", "sub", "all")}
    steps = {
        "block": {"type": "parallel", "parallel_steps": ["a", "b"], "next_step": "check"},
        "a": agent(["${workflow.input.a}", "${workflow.input.b}"]),
        "b": agent("in b"),
        "check": {"type": "conditional", "condition": "true", "if_true_step": "lp"},
        "lp": {"type": "loop", "collection": [1], "loop_body": ["body"], "next_step": "sub"},
        "body": agent("${workflow.input}"),
        "sub": {
            "type": "sub_workflow",
            "workflow": {"steps": {"a": agent("${workflow.input.a}")}},
            "next_step": "all",
        },
        "all": agent("${workflow.input}"),
    }
    results = results_of(steps, given, start="block")
    assert results["block"] == {"a": ["in a", "in b"], "b": "in b"}
    assert results["lp"] == [given]
    assert results["sub"] == "in a"
    assert results["all"] == given


def test_a_second_run_on_the_same_context_has_the_first_ones_outputs_as_input() -> None:
    pipeline = loaded({"a": agent({"was": "${workflow.input.a}"})})
    context = pipeline.run(Context(results={"a": 0}))
    assert context.results["a"] == {"was": 0}
    assert pipeline.run(context).results["a"] == {"was": {"was": 0}}


# What a step may say beside its work


def test_a_step_is_tried_again_and_leaves_nothing_of_what_failed() -> None:
    clock, calls = ManualClock(), []

    def flaky(given: Any, context: Any) -> Any:
        calls.append(clock.monotonic())
        context.results[f"mark {len(calls)}"] = True
        if len(calls) < 3:
            clock.advance(0)  # what follows is the wait
            raise ConnectionError("not yet")
        return "done"

    steps = {"a": agent(1, "flaky", retry=2)}
    assert results_of(steps, agents={"flaky": flaky}) == {"mark 3": True, "a": "done"}
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("retry", "wanted"),
    [
        (4, (5, 0.0, None)),
        (0, None),
        ({}, (3, 0.1, None)),
        ({"max_attempts": 5, "delay": 2, "backoff": "linear"}, (5, 2.0, None)),
        ({"attempts": 5, "delay_seconds": 2, "strategy": "constant"}, (5, 2.0, None)),
        ({"max_retries": 1, "initial_delay": 3, "max_delay_seconds": 2}, (2, 2.0, 2.0)),
        ({"attempts": 2, "jitter": 0.5, "total_time": 9}, (2, 0.1, None)),
    ],
)
def test_the_ways_to_say_how_it_is_tried_again(retry: Any, wanted: Any) -> None:
    pipeline = loaded({"a": agent(1, retry=retry)})
    (spec,) = pipeline._plan.specs
    if wanted is None:
        assert spec.policy is None
    else:
        assert spec.policy is not None
        assert (spec.policy.attempts, spec.policy.delay, spec.policy.max_delay) == wanted


def test_a_step_that_is_not_critical_may_fail() -> None:
    steps = {"a": agent(1, "fail", critical=False, next_step="b"), "b": agent(2)}
    pipeline = loaded(steps)
    context = pipeline.run(Context())
    assert context.results == {"b": 2}
    assert [str(error) for error in context.errors] == ["no 1"]
    with pytest.raises(ValueError, match="no 1") as caught:
        results_of({"a": agent(1, "fail", next_step="b"), "b": agent(2)})
    assert "step 'a'" in caught.value.__notes__[0]


def test_attributes_of_the_library_are_set() -> None:
    attributes = {"weight": 3.0, "idempotent": False, "version": "2", "step_id": "called so"}
    steps = {"a": agent(1, timeout=5, attributes=attributes)}
    pipeline = loaded(steps)
    (spec,) = pipeline._plan.specs
    assert (spec.step_id, spec.weight, spec.timeout) == ("called so", 3.0, 5.0)
    assert (spec.idempotent, spec.version) == (False, "2")
    assert pipeline.run().results == {"a": 1}


def test_a_loaded_workflow_can_be_pickled_and_copied() -> None:
    steps = {
        "a": agent("${workflow.input.n}", next_step="b"),
        "b": {"type": "parallel", "parallel_steps": ["c", "lp", "sub"], "next_step": "d"},
        "c": agent(1),
        "lp": {"type": "loop", "collection": "${l}", "loop_body": ["body"]},
        "body": agent("${loop.item}"),
        "sub": {"type": "sub_workflow", "workflow": {"steps": {"s": agent(1)}}},
        "d": {"type": "conditional", "condition": "${a.output} > 1", "if_true_step": "e"},
        "e": {"type": "set_context", "config": {"key": "k", "value": "${a.output}"}},
    }
    pipeline = loaded(steps, start="a")
    given = {"n": 2, "l": [1]}
    wanted = pipeline.run(Context(results=dict(given))).results
    for again in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        assert again.run(Context(results=dict(given))).results == wanted


def test_a_step_knows_where_it_is_written() -> None:
    text = '{"steps": {\n "a": {"agent_name": "echo"}}}'
    step: Any = load_pipeline(text, agents={"echo": echo}).children[0]
    assert step.place.source.locate(step.place.path) == (2, 7)
    assert str(step.place) == "steps.a of <text>"


def test_several_runs_at_once_do_not_see_each_other() -> None:
    barrier = threading.Barrier(4, timeout=30)

    def meet(given: Any) -> Any:
        barrier.wait()
        return given

    steps = {"a": agent("${workflow.input.n}", "meet", next_step="b"), "b": agent("${a.output}")}
    pipeline = loaded(steps, agents={"meet": meet})
    runs = [pipeline.start(Context(results={"n": n})) for n in range(4)]
    assert [run.result().results["b"] for run in runs] == [0, 1, 2, 3]


# Steps of registered types


def test_registered_types_have_their_fields_under_config() -> None:
    steps = {
        "a": agent([1, 2], next_step="set"),
        "set": {
            "type": "set_context",
            "config": {"key": "k", "value": {"x": "${a.output}", "t": "<${a.output[0]}> $${b}"}},
            "next_step": "b",
        },
        "b": agent(["${set.output.x}", "${k}"]),
    }
    results = results_of(steps, start="a")
    assert results["set"] == results["k"] == {"x": [1, 2], "t": "<1> ${b}"}
    assert results["b"][0] == [1, 2]


def test_their_fields_may_stand_beside_the_steps_own() -> None:
    steps = {
        "a": {"type": "set_context", "key": "k", "value": "${n}", "next_step": "b"},
        "b": {"type": "set_context", "key": "l", "value": 1, "timeout_seconds": 5, "retry": 1},
    }
    assert results_of(steps, {"n": 3}) == {"n": 3, "k": 3, "a": 3, "l": 1, "b": 1}


def test_what_a_python_step_returns_is_its_output() -> None:
    def double(context: Any, n: int) -> int:
        return 2 * n

    async def later_on(context: Any, n: int) -> int:
        return 3 * n

    def one(name: str, n: Any, **more: Any) -> dict[str, Any]:
        return {"type": "python", "config": {"function": name, "args": {"n": n}}, **more}

    steps = {
        "a": one("double", "${workflow.input.n}", next_step="b"),
        "b": one("double", 1, next_step="c"),  # under a key that has this value already
        "c": one("later_on", "${b.output}"),
    }
    functions = {"double": double, "later_on": later_on}
    results = results_of(steps, {"n": 1}, functions=functions)
    assert (results["a"], results["b"], results["c"]) == (2, 2, 6)


def test_a_handler_of_the_application_is_a_type_too() -> None:
    def answer(config: Any, context: Any) -> Any:
        return f"answer to {config['prompt']}"

    steps = {
        "ask": {"type": "llm_generate", "config": {"prompt": "${workflow.input.q}"}},
        "mine": {"type": "mine", "config": {"prompt": "${ask.output}"}},
    }
    steps["ask"]["next_step"] = "mine"
    handlers = {"llm_generate": answer, "mine": answer}
    results = results_of(steps, {"q": "why?"}, handlers=handlers)
    assert results["ask"] == "answer to why?"
    assert results["mine"] == "answer to answer to why?"


def test_a_step_of_the_librarys_own_groups_stands_beside_the_blocks() -> None:
    def count(context: Any) -> None:
        context.results["count"] = context.results.get("count", 0) + 1

    steps = {
        "both": {"type": "group", "group": "parallel", "steps": ["a", "b"], "next_step": "again"},
        "a": {"type": "function", "function": "count"},
        "b": {"type": "function", "function": "count"},
        "again": {"type": "group", "group": "loop", "times": 3, "steps": ["c"], "next_step": "on"},
        "c": agent("${workflow.input.x}"),
        "on": {
            "type": "group",
            "group": "branch",
            "condition": {"expression": "${c.output} == 5"},
            "then": ["d"],
            "otherwise": ["e"],
        },
        "d": agent("yes"),
        "e": agent("no"),
    }
    results = results_of(steps, {"x": 5}, start="both", functions={"count": count})
    assert results == {"x": 5, "count": 2, "c": 5, "d": "yes"}


@pytest.mark.parametrize("odd", [{"input": 1, "run": ""}, {"input": {}, "run": 1}, {"input": []}])
def test_what_looks_like_a_kept_input_is_input(odd: Any) -> None:
    steps = {"a": agent(["${workflow.input.workflow}", "${workflow.input}"])}
    assert results_of(steps, {"workflow": odd})["a"] == [odd, {"workflow": odd}]
    kept = results_of(steps, {"workflow": odd, "a": 1})["workflow"]["input"]
    assert kept == {"workflow": odd, "a": 1}
