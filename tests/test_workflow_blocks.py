"""Blocks of workflows: parallel, fork_join and conditional."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from task_pipeline import (
    ConditionError,
    GroupTimeoutError,
    MissingReferenceError,
    Outcome,
    ParallelGroupError,
)
from task_pipeline.testing import Gate, ManualClock
from tests.workflow_documents import Context, agent, loaded, results_of


class Watch:
    """An agent that notes how many of its calls are under way at once."""

    def __init__(self, meets: int = 1) -> None:
        self._lock = threading.Lock()
        self._meeting = threading.Barrier(meets, timeout=30)
        self._meets = meets
        self.now = self.most = self.calls = 0

    def __call__(self, given: Any) -> Any:
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
            joins = self.calls <= self._meets
        if joins:
            self._meeting.wait()
        with self._lock:
            self.now -= 1
        return given


def parallel(*ids: str, **more: Any) -> dict[str, Any]:
    return {"type": "parallel", "parallel_steps": list(ids), **more}


# parallel

PRINTED = {
    "id": "parallel-block-1",
    "type": "parallel",
    "parallel_steps": ["step-a", "step-b", "step-c"],
    "max_parallelism": 2,
    "next_step": "next-step",
}
"""As the reference prints it."""


def printed_steps(**agents: str) -> dict[str, Any]:
    steps: dict[str, Any] = {"parallel-block-1": PRINTED}
    for letter in "abc":
        step = agent({"result": f"of {letter}"}, agents.get(letter, "echo"))
        steps[f"step-{letter}"] = {"id": f"step-{letter}", "type": "agent", **step}
    mapping = [f"${{step-{letter}.output.result}}" for letter in "abc"]
    steps["next-step"] = agent([*mapping, "${parallel-block-1.output}"])
    return steps


def test_the_document_of_the_reference_runs_as_it_says() -> None:
    results = results_of(printed_steps())
    outputs = {f"step-{letter}": {"result": f"of {letter}"} for letter in "abc"}
    assert results["parallel-block-1"] == outputs
    assert list(results["parallel-block-1"]) == PRINTED["parallel_steps"]
    assert {key: results[key] for key in outputs} == outputs
    assert results["next-step"] == ["of a", "of b", "of c", outputs]


def test_never_more_than_max_parallelism_run_at_once() -> None:
    watch = Watch(meets=2)
    block = parallel(*"abcdef", max_parallelism=2)
    steps = {"block": block, **{key: agent(key, "watch") for key in "abcdef"}}
    results = results_of(steps, agents={"watch": watch})
    assert watch.most == 2
    assert results["block"] == {key: key for key in "abcdef"}
    assert list(results["block"]) == list("abcdef")


def test_a_step_that_waits_to_be_tried_again_is_under_way_too() -> None:
    order: list[str] = []
    waits = threading.Event()

    def flaky(given: str) -> str:
        order.append(given)
        if order == ["a"]:
            raise ConnectionError("not yet")
        return given

    class Waiting(ManualClock):
        def call_later(self, seconds: float, callback: Any) -> Any:
            timer = super().call_later(seconds, callback)
            waits.set()
            return timer

    clock = Waiting()
    steps = {
        "block": parallel("a", "b", max_parallelism=1),
        "a": agent("a", "flaky", retry={"max_attempts": 2, "delay": 9}),
        "b": agent("b", "flaky"),
    }
    pipeline = loaded(steps, start="block", agents={"flaky": flaky})
    with clock.installed():
        started = pipeline.start(Context())
    assert waits.wait(30)
    clock.advance(9)
    assert started.result().results["block"] == {"a": "a", "b": "b"}
    assert order == ["a", "a", "b"]


def test_all_go_on_if_one_fails_and_the_block_has_failed() -> None:
    gate = Gate()

    def wait(given: Any) -> Any:
        gate.wait()
        return given

    def fail_first(given: Any) -> Any:
        gate.wait_until_reached(2)
        gate.open()
        raise ValueError("b is broken")

    pipeline = loaded(
        {**printed_steps(a="wait", b="fail_first", c="wait"), "parallel-block-1": ALL_AT_ONCE},
        agents={"wait": wait, "fail_first": fail_first},
    )
    context = Context()
    with pytest.raises(ParallelGroupError, match="b is broken"):
        pipeline.run(context)
    entry = {"error": {"type": "ValueError", "message": "b is broken"}}
    assert context.results["parallel-block-1"] == {
        "step-a": {"result": "of a"},
        "step-b": entry,
        "step-c": {"result": "of c"},
    }
    assert "step-b" not in context.results
    assert context.results["step-a"] == {"result": "of a"}
    assert "next-step" not in context.results
    status = pipeline.get_status()
    assert status["step_details"]["step-a"]["status"] == Outcome.SUCCEEDED


ALL_AT_ONCE = {key: value for key, value in PRINTED.items() if key != "max_parallelism"}


def test_with_on_error_continue_later_steps_run_and_read_the_others() -> None:
    steps = printed_steps(b="fail")
    steps["parallel-block-1"] = {**PRINTED, "on_error": "continue"}
    steps["next-step"] = agent(["${step-a.output.result}", "${parallel-block-1.output.step-b}"])
    pipeline = loaded(steps)
    context = pipeline.run(Context())
    error = {"type": "ValueError", "message": "no {'result': 'of b'}"}
    assert context.results["next-step"] == ["of a", {"error": error}]
    assert len(context.errors) == 1
    steps["next-step"] = agent("${step-b.output}")
    with pytest.raises(MissingReferenceError, match="step 'step-b' has put nothing out"):
        results_of(steps)


def test_a_sub_steps_own_chain_is_part_of_its_branch() -> None:
    gate = Gate()

    def wait(given: Any) -> Any:
        gate.wait()
        return given

    def opens(given: Any) -> Any:
        gate.wait_until_reached()
        gate.open()
        return given

    steps = {
        "block": parallel("a", "b", "c", next_step="after"),
        "a": agent(1, next_step="a2"),
        "a2": agent("${a.output}", "opens", next_step="block"),  # back to the block
        "b": agent(2, "wait", next_step="after"),  # back to what follows it
        "c": agent(3, next_step="c2"),
        "c2": agent("${c.output}"),  # just ends
        "after": agent(["${a2.output}", "${c2.output}", "${block.output}"]),
    }
    results = results_of(steps, start="block", agents={"wait": wait, "opens": opens})
    assert results["after"] == [1, 3, {"a": 1, "b": 2, "c": 3}]


def test_a_chain_that_fails_fails_its_branch() -> None:
    steps = {
        "block": parallel("a", "b", on_error="continue"),
        "a": agent(1, next_step="a2"),
        "a2": agent(1, "fail"),
        "b": agent(2),
    }
    results = results_of(steps, start="block")
    assert results["block"] == {"a": {"error": {"type": "ValueError", "message": "no 1"}}, "b": 2}
    assert "a" not in results


def test_a_sub_step_that_is_not_critical_does_not_fail_the_block() -> None:
    steps = {
        "block": parallel("a", "b"),
        "a": agent(1, "fail", critical=False),
        "b": agent(2, "fail", critical=False, next_step="b2"),
        "b2": agent(3),
    }
    results = results_of(steps, start="block")
    assert results["block"]["a"] == {"error": {"type": "ValueError", "message": "no 1"}}
    assert results["block"]["b"] is None
    assert results["b2"] == 3


def test_blocks_in_blocks() -> None:
    steps = {
        "outer": parallel("inner", "c", next_step="after"),
        "inner": parallel("a", "b", next_step="d"),
        "a": agent(1),
        "b": agent(2),
        "d": agent("${inner.output}"),
        "c": agent(3),
        "after": agent("${outer.output}"),
    }
    results = results_of(steps, start="outer")
    assert results["after"] == {"inner": {"a": 1, "b": 2}, "c": 3}
    assert results["d"] == {"a": 1, "b": 2}
    assert results["a"] == 1


def test_a_blocks_timeout() -> None:
    clock, gate = ManualClock(), Gate()

    def wait(given: Any) -> None:
        gate.wait()

    steps = {
        "block": parallel("a", "b", timeout=3, next_step="c"),
        "a": agent(1),
        "b": agent(1, "wait"),
        "c": agent(1),
    }
    pipeline = loaded(steps, start="block", agents={"wait": wait})
    context = Context()
    with clock.installed():
        run = pipeline.start(context)
    gate.wait_until_reached()
    clock.advance(3)
    with pytest.raises(GroupTimeoutError, match="'block'"):
        run.result()
    gate.open()
    assert context.results["block"]["a"] == 1
    error = context.results["block"]["b"]["error"]
    assert error["type"] == "Cancelled" and "its time was over" in error["message"]


def test_a_block_that_is_not_critical() -> None:
    steps = {
        "block": parallel("a", critical=False, next_step="b"),
        "a": agent(1, "fail"),
        "b": agent(2),
    }
    assert results_of(steps, start="block")["b"] == 2


# fork_join


def fork(policy: str = "all", branches: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "fork_join",
        "branches": branches or {"one": {"steps": ["a"]}, "two": {"steps": ["b"]}},
        "join_policy": policy,
        **more,
    }


def test_branches_run_in_series_and_put_out_what_their_last_step_does() -> None:
    steps = {
        "fork": fork(
            branches={"left": {"steps": ["a", "b"]}, "right side": {"steps": ["c"]}},
            next_step="after",
        ),
        "a": agent(1),
        "b": agent(["${a.output}", 2]),
        "c": agent(3, next_step="d"),
        "d": agent("${c.output}"),
        "after": agent(["${fork.output.left}", '${fork.output["right side"]}', "${b.output}"]),
    }
    results = results_of(steps, start="fork")
    assert results["fork"] == {"left": [1, 2], "right side": 3}
    assert results["after"] == [[1, 2], 3, [1, 2]]


def test_listed_steps_that_name_each_other_run_once() -> None:
    steps = {
        "fork": fork(branches={"one": {"steps": ["a", "b"]}}),
        "a": agent(1, next_step="b"),
        "b": agent(["${a.output}"], next_step="fork"),
    }
    assert results_of(steps, start="fork")["fork"] == {"one": [1]}


@pytest.mark.parametrize(
    ("policy", "failing", "passes"),
    [
        ("all", 0, True),
        ("all", 1, False),
        ("any", 2, True),
        ("any", 3, False),
        ("majority", 1, True),
        ("majority", 2, False),
        ("n_of_m", 1, True),
        ("n_of_m", 2, False),
        ("MAJORITY", 1, True),
        ("N-of-M", 1, True),
    ],
)
def test_every_policys_pass_and_fail(policy: str, failing: int, passes: bool) -> None:
    names = ["x", "y", "z"]
    more = {"n_required": 2} if policy.lower().startswith("n") else {}
    steps: dict[str, Any] = {
        "fork": fork(policy, {name: {"steps": [name]} for name in names}, **more)
    }
    for number, name in enumerate(names):
        steps[name] = agent(name, "fail" if number < failing else "echo")
    pipeline = loaded(steps, start="fork")
    context = Context()
    if passes:
        pipeline.run(context)
    else:
        with pytest.raises(ParallelGroupError):
            pipeline.run(context)
    output = context.results["fork"]
    assert list(output) == names
    for number, name in enumerate(names):
        if number < failing:
            assert "error" in output[name]
        else:
            assert output[name] == name or output[name]["error"]["type"] == "Cancelled"


def test_any_returns_at_once_and_cancels_the_rest() -> None:
    gate, seen = Gate(), []

    def slow(given: Any, context: Any) -> None:
        gate.wait()  # as long as it likes
        seen.append(context.cancelled)

    steps = {
        "fork": fork("any", next_step="c"),
        "a": agent(1),
        "b": agent(2, "slow", next_step="b2"),
        "b2": agent(2, "slow"),
        "c": agent("${fork.output}"),
    }
    pipeline = loaded(steps, start="fork", agents={"slow": slow})
    begun = time.monotonic()
    results = pipeline.run(Context()).results
    took = time.monotonic() - begun
    gate.open()
    assert took < 1.0  # and not until the gate opens
    assert results["c"]["one"] == 1
    assert results["c"]["two"]["error"]["type"] == "Cancelled"
    assert "b2" not in results


def test_all_ends_at_the_first_failure() -> None:
    gate = Gate()

    def slow(given: Any) -> None:
        gate.wait()

    def fails_later(given: Any) -> None:
        gate.wait_until_reached()
        raise ValueError("broken")

    steps = {"fork": fork(), "a": agent(1, "slow"), "b": agent(1, "fails_later")}
    agents = {"slow": slow, "fails_later": fails_later}
    with pytest.raises(ParallelGroupError, match="broken"):
        results_of(steps, start="fork", agents=agents)
    gate.open()


def test_branches_have_deadlines_of_their_own() -> None:
    clock, gate = ManualClock(), Gate()

    def wait(given: Any) -> None:
        gate.wait()

    branches = {
        "one": {"steps": ["a"]},
        "two": {"steps": ["b"], "timeout_seconds": 9},
        "three": {"steps": ["c"]},
    }
    steps = {
        "fork": fork("any", branches, branch_timeout_seconds=5, on_error="continue"),
        "a": agent(1, "wait"),
        "b": agent(2, "wait"),
        "c": agent(3, "fail"),
    }
    pipeline = loaded(steps, start="fork", agents={"wait": wait})
    with clock.installed():
        run = pipeline.start(Context())
    gate.wait_until_reached(2)
    clock.advance(5)
    clock.advance(4)
    context = run.result()
    gate.open()
    output = context.results["fork"]
    message = output["one"]["error"]["message"]
    assert message.startswith("pipeline 'one' at path 0.0 timed out after ")
    assert message.endswith(" s; raise its timeout")
    assert [entry["error"]["type"] for entry in output.values()] == [
        "RunTimeoutError",
        "RunTimeoutError",
        "ValueError",
    ]


def test_on_error_continue_lets_the_workflow_go_on() -> None:
    steps = {
        "fork": fork(on_error="continue", next_step="c"),
        "a": agent(1, "fail"),
        "b": agent(1, "fail"),
        "c": agent("${fork.output.one.error.message}"),
    }
    assert results_of(steps, start="fork")["c"] == "no 1"


def test_an_error_without_a_text_is_told_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def silent(given: Any) -> None:
        raise Silent

    steps = {"block": parallel("a", on_error="continue"), "a": agent(1, "silent")}
    output = results_of(steps, start="block", agents={"silent": silent})["block"]
    assert output["a"]["error"] == {
        "type": "Silent",
        "message": "<its text could not be had: RuntimeError>",
    }


def test_of_a_block_that_failed_in_a_block_the_steps_are_told() -> None:
    steps = {
        "outer": parallel("inner", "many", on_error="continue"),
        "inner": parallel("a", "b"),
        "a": agent("a", "fail"),
        "b": agent("b", "fail"),
        "many": parallel(*(f"m{n}" for n in range(7))),
        **{f"m{n}": agent(n, "fail") for n in range(7)},
    }
    output = results_of(steps, start="outer")["outer"]
    inner = output["inner"]["error"]
    assert inner == {
        "type": "ParallelGroupError",
        "message": "needs every branch to succeed, and 2 of 2 failed: "
        "a: ValueError: no a; b: ValueError: no b",
    }
    assert output["many"]["error"]["message"].endswith("m4: ValueError: no 4; and 2 more")


# conditional


def ways(expression: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": "conditional",
        "condition": {"expression": expression},
        "if_true_step": "yes",
        "if_false_step": "no",
        **more,
    }


@pytest.mark.parametrize(
    ("expression", "given", "taken"),
    [
        ("${workflow.input.n} >= 3", {"n": 3}, "yes"),
        ("${workflow.input.n} >= 3", {"n": 2}, "no"),
        ("\"${s} contains 'x'\"", {"s": "axb"}, "yes"),
        ("'${s}' == 'abc'", {"s": "abc"}, "yes"),
        ("${s} contains 'x'", {"s": "abc"}, "no"),
        ("len(${l}) > 0", {"l": []}, "no"),
        ("len(${l}) > 0", {"l": [1]}, "yes"),
        ("n > 2 and not missing", {"n": 3}, "yes"),
        ("o.k[0] == 5", {"o": {"k": [5]}}, "yes"),
        ("workflow.input.n == 1", {"n": 1}, "yes"),
        ("workflow.nonsense == null", {}, "yes"),
        ("steps.other.output == null and loop.item == null and steps.x == null", {}, "yes"),
        ("before.output.k == 1 and before.k == 1 and before", {}, "yes"),
        (True, {}, "yes"),
        (False, {}, "no"),
    ],
)
def test_which_way_is_taken(expression: Any, given: dict[str, Any], taken: str) -> None:
    steps = {
        "before": agent({"k": 1}, next_step="check"),
        "check": ways(expression),
        "yes": agent("y"),
        "no": agent("n"),
    }
    results = results_of(steps, given, start="before")
    assert (taken in results, ({"yes", "no"} - {taken}).pop() in results) == (True, False)
    assert results["check"] == {"result": taken == "yes", "next_step": taken}


def test_values_are_never_read_as_code() -> None:
    steps = {"check": ways("${s} == 'a'"), "yes": agent("y"), "no": agent("n")}
    for text in ("a' or '1' == '1", "().__class__.__mro__", "${workflow.input.other}", "true"):
        assert "no" in results_of(steps, {"s": text}, start="check")


def test_what_both_ways_come_to_follows_once() -> None:
    calls: list[str] = []

    def note(given: str) -> str:
        calls.append(given)
        return given

    steps = {
        "check": ways("${workflow.input.n} > 1"),
        "yes": agent("yes", "note", next_step="more"),
        "more": agent("more", "note", next_step="end"),
        "no": agent("no", "note", next_step="end"),
        "end": agent("end", "note", next_step="really"),
        "really": agent("really", "note"),
    }
    for n, wanted in ((2, ["yes", "more", "end", "really"]), (1, ["no", "end", "really"])):
        calls.clear()
        pipeline = loaded(steps, start="check", agents={"note": note})
        pipeline.run(Context(results={"n": n}))
        assert calls == wanted
        # The end stands in the plan once.
        assert len(pipeline._plan.steps) == 6


def test_a_conditionals_own_next_step_follows_both_ways() -> None:
    steps = {
        "check": ways("${n} > 1", next_step="end"),
        "yes": agent("y"),
        "no": agent("n", next_step="end"),
        "end": agent("e"),
    }
    for n in (1, 2):
        assert results_of(steps, {"n": n}, start="check")["end"] == "e"


def test_a_way_may_be_missing_or_go_straight_on() -> None:
    check = ways("${n} > 1", if_false_step="end")
    steps = {"check": check, "yes": agent("y", next_step="end"), "end": agent("e")}
    assert list(results_of(steps, {"n": 1}, start="check")) == ["n", "check", "end"]
    assert list(results_of(steps, {"n": 2}, start="check")) == ["n", "check", "yes", "end"]
    del check["if_false_step"]
    results = results_of(steps, {"n": 1}, start="check")
    assert results["check"] == {"result": False, "next_step": None}
    assert "end" not in results


def test_conditionals_in_ways_of_conditionals() -> None:
    steps = {
        "one": ways("${n} > 1", if_true_step="two", if_false_step="c"),
        "two": ways("${n} > 2", if_true_step="a", if_false_step="b"),
        "a": agent("a", next_step="d"),
        "b": agent("b", next_step="d"),
        "d": agent("d", next_step="e"),
        "c": agent("c", next_step="e"),
        "e": agent("e"),
    }
    taken = {1: ["c", "e"], 2: ["b", "d", "e"], 3: ["a", "d", "e"]}
    for n, wanted in taken.items():
        results = results_of(steps, {"n": n}, start="one")
        assert [key for key in results if len(key) == 1 and key != "n"] == wanted


def test_ways_that_meet_only_now_and_then_are_written_out() -> None:
    steps = {
        "one": ways("${n} > 1", if_true_step="c", if_false_step="two"),
        "two": ways("${n} > 0", if_true_step="c", if_false_step="x"),
        "c": agent("c", next_step="d"),
        "d": agent("${c.output}"),
        "x": agent("x"),
    }
    for n, wanted in ((2, ["c", "d"]), (1, ["c", "d"]), (0, ["x"])):
        results = results_of(steps, {"n": n}, start="one")
        assert [key for key in results if len(key) == 1 and key != "n"] == wanted


def test_a_condition_in_a_branch_of_a_block() -> None:
    steps = {
        "block": parallel("check", "b", next_step="after"),
        "check": ways("true", if_true_step="yes", if_false_step="no"),
        "yes": agent("y", next_step="block"),
        "no": agent("n", next_step="block"),
        "b": agent(2),
        "after": agent("${yes.output}"),
    }
    results = results_of(steps, start="block")
    assert results["block"]["check"] == {"result": True, "next_step": "yes"}
    assert results["after"] == "y"


def test_a_condition_that_cannot_be_told_names_its_step() -> None:
    steps = {"check": ways("${workflow.input.n} > 'x'"), "yes": agent(1), "no": agent(1)}
    with pytest.raises(ConditionError, match=r"step 'check', field condition: .*steps\.check"):
        results_of(steps, {"n": 3}, start="check")
    with pytest.raises(MissingReferenceError, match="step 'check', field condition"):
        results_of(steps, {}, start="check")


def test_a_condition_may_look_at_files(tmp_path: Any) -> None:
    steps = {"check": ways("file_exists('here.txt')"), "yes": agent(1), "no": agent(0)}
    assert "no" in results_of(steps, start="check", root=tmp_path)
    (tmp_path / "here.txt").write_text("x", encoding="utf-8")
    assert "yes" in results_of(steps, start="check", root=tmp_path)
    steps = {"check": ways("file_exists('../x')"), "yes": agent(1), "no": agent(0)}
    with pytest.raises(
        PermissionError, match=r"step 'check', field condition \(steps.check\): '../x'"
    ):
        results_of(steps, start="check", root=tmp_path)


def test_a_conditional_that_is_not_critical() -> None:
    steps = {
        "check": ways("true", critical=False, next_step="end"),
        "yes": agent(1, "fail"),
        "no": agent(1),
        "end": agent(2),
    }
    assert results_of(steps, start="check")["end"] == 2


def test_a_long_chain_and_many_conditionals_are_no_trouble() -> None:
    steps: dict[str, Any] = {}
    for n in range(1000):
        steps[f"s{n}"] = agent(n, next_step=f"s{n + 1}")
    steps["s1000"] = agent("${s999.output}")
    results = results_of(steps, start="s0")
    assert results["s1000"] == 999
    steps = {}
    for n in range(200):
        steps[f"c{n}"] = ways("true", if_true_step=f"a{n}", if_false_step=f"c{n + 1}")
        steps[f"a{n}"] = agent(n, next_step=f"c{n + 1}")
    steps["c200"] = agent("end")
    assert results_of(steps, start="c0")["a199"] == 199


def test_what_conditions_and_collections_are_drawn_as() -> None:
    steps = {
        "check": ways("${n} > 1", next_step="fixed"),
        "yes": agent(1),
        "no": agent(2),
        "fixed": {"type": "conditional", "condition": True, "if_true_step": "lp"},
        "lp": {"type": "loop", "collection": "${l}", "loop_body": ["a"], "next_step": "lp2"},
        "a": agent(1),
        "lp2": {"type": "loop", "collection": [1, "x"], "loop_body": ["b"], "next_step": "sub"},
        "b": agent(1),
        "sub": {"type": "sub_workflow", "workflow": {"steps": {}}, "next_step": "sub2"},
        "sub2": {"type": "sub_workflow", "workflow": {"steps": {}}, "input_mapping": {"a": 1}},
    }
    groups = loaded(steps, start="check")._plan.groups
    asked: list[Any] = [
        getattr(group.dynamic, "condition", None) or getattr(group.dynamic, "over", None)
        for group in groups
        if group.dynamic is not None
    ]
    assert [one.words for one in asked] == [
        "${n} > 1",
        "true",
        "${l}",
        '[1, "x"]',
        "the input",
        '{"a": 1}',
    ]
    assert len({one.version for one in asked}) == len(asked)


def test_groups_and_steps_are_called_by_their_ids() -> None:
    steps = {
        "block": parallel("a", "b", next_step="check"),
        "a": agent(1, next_step="a2"),
        "a2": agent(1),
        "b": agent(1),
        "check": ways("true"),
        "yes": agent(1),
        "no": agent(1),
    }
    pipeline = loaded(steps, start="block")
    names = [group.name for group in pipeline._plan.groups]
    assert names[1:4] == ["block", "a", "check"]
    pipeline.run()
    assert pipeline.get_status()["step_details"]["no"]["status"] == Outcome.SKIPPED
