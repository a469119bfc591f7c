"""Older and other spellings of workflows are understood."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow_documents import agent, results_of, wrong_steps

ABC = {"a": agent(1), "b": agent(2), "c": agent(3)}


@pytest.mark.parametrize(
    ("steps", "output"),
    [
        (
            {"x": {"type": "conditional", "condition": "true", "then_step": "a", "else_step": "b"}},
            {"result": True, "next_step": "a"},
        ),
        (
            {
                "x": {
                    "type": "condition",
                    "condition_expression": "false",
                    "if_true": "a",
                    "if_false": "b",
                }
            },
            {"result": False, "next_step": "b"},
        ),
        ({"x": {"type": "fork-join", "branches": {"l": ["a", "b"]}}}, {"l": 2}),
        (
            {
                "x": {
                    "type": "fork-join",
                    "fork_join_config": {
                        "branches": {"l": {"steps": ["a"], "timeout": 9}, "r": {"steps": ["b"]}},
                        "join_policy": "All",
                    },
                }
            },
            {"l": 1, "r": 2},
        ),
        (
            {
                "x": {
                    "type": "fork_join",
                    "branches": [{"name": "l", "steps": ["a"]}, {"name": "r", "steps": ["b"]}],
                }
            },
            {"l": 1, "r": 2},
        ),
        (
            {"x": {"type": "parallel", "parallel_config": {"parallel_steps": ["a", "b"]}}},
            {"a": 1, "b": 2},
        ),
        ({"x": {"type": "loop", "collection": [7, 8], "loop_body": "a"}}, [1, 1]),
        (
            {
                "x": {
                    "type": "loop",
                    "collection": [7],
                    "loop_config": {"loop_body": ["a"], "execution_mode": "PARALLEL"},
                    "on_error": "Collect",
                }
            },
            [1],
        ),
        ({"x": {"type": "sub-workflow", "workflow": {"steps": {"s": agent(5)}}}}, 5),
        ({"x": agent(6, timeout_seconds=5, retry_config={"attempts": 2})}, 6),
    ],
)
def test_what_is_spelt_otherwise_means_the_same(steps: Any, output: Any) -> None:
    kind = steps["x"]
    text = repr(kind)
    used = {key: step for key, step in ABC.items() if f"'{key}'" in text}
    assert results_of({**steps, **used}, start="x")["x"] == output


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (
            {"type": "conditional", "condition": "true", "then_step": "a", "if_true_step": "a"},
            "steps.x.then_step: 'then_step' says what 'if_true_step' says as well; leave",
        ),
        (
            {"type": "loop", "loop_config": {"loop_body": ["a"]}, "loop_body": ["b"]},
            "steps.x.loop_body: 'loop_body' says what 'loop_body' says as well",
        ),
        (
            {"type": "fork-join", "branches": [{"steps": ["a"]}]},
            "steps.x.branches: must be an object",
        ),
        (
            {"type": "fork-join", "branches": [{"name": "l", "steps": ["zz"]}]},
            "steps.x.branches[0].steps[0]: there is no step 'zz'",
        ),
        (
            {"type": "fork-join", "branches": {"l": ["zz"]}},
            "steps.x.branches.l[0]: there is no step 'zz'",
        ),
        (
            {"type": "fork-join", "fork_join_config": {"branches": {"l": {"steps": ["zz"]}}}},
            "steps.x.fork_join_config.branches.l.steps[0]: there is no step 'zz'",
        ),
        (
            {"type": "fork-join", "branches": {"l": {"steps": ["a"], "timeout": -1}}},
            "steps.x.branches.l.timeout: must be more than 0",
        ),
        ({"type": "loop", "loop_config": 3, "loop_body": ["a"]}, "steps.x.loop_config: must be"),
        ({"type": "loop", "loop_body": 3}, "steps.x.loop_body: must be"),
        (
            {"type": "agent", "agent_name": "echo", "retry_config": {"max_retries": -1}},
            "steps.x.retry_config.max_retries: unknown key",
        ),
        ({"type": "fork-join", "branches": {"l": 3}}, "steps.x.branches.l: must be"),
        ({"type": "fork-join", "branches": 3, "join_policy": 3}, "steps.x.branches: must be"),
    ],
)
def test_mistakes_are_told_in_the_spelling_that_was_used(step: Any, wanted: str) -> None:
    told = wrong_steps({"x": step, **ABC}, "x")
    assert any(mistake.startswith(wanted) for mistake in told), told
