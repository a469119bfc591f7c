"""Loops and workflows in workflows."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    GroupTimeoutError,
    MissingReferenceError,
    ParallelGroupError,
    RunTimeoutError,
)
from task_pipeline.documents import load_pipeline
from task_pipeline.testing import Gate, ManualClock
from tests.workflow_documents import AGENTS, Context, agent, loaded, mistakes_in, results_of


def loop(collection: Any, *body: str, **more: Any) -> dict[str, Any]:
    next_step = more.pop("next_step", None)
    step: dict[str, Any] = {
        "type": "loop",
        "loop_config": {"collection": collection, "loop_body": list(body), **more},
    }
    return step if next_step is None else {**step, "next_step": next_step}


ABOUT = {key: f"${{loop.{key}}}" for key in ("item", "index", "total", "is_first", "is_last")}


def test_each_iteration_knows_where_it_is() -> None:
    steps = {"lp": loop("${workflow.input.items}", "a"), "a": agent(ABOUT)}
    results = results_of(steps, {"items": ["x", "y"]}, start="lp")
    assert results["lp"] == [
        {"item": "x", "index": 0, "total": 2, "is_first": True, "is_last": False},
        {"item": "y", "index": 1, "total": 2, "is_first": False, "is_last": True},
    ]
    assert list(results) == ["items", "lp"]  # what the body does stays in it


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_every_iteration_of_a_two_step_body_sees_its_own_item(mode: str) -> None:
    barrier = threading.Barrier(3 if mode == "parallel" else 1, timeout=30)

    def meet(given: Any) -> Any:
        barrier.wait()
        return given

    steps = {
        "lp": loop([10, 20, 30], "one", "two", execution_mode=mode, next_step="after"),
        "one": agent({"v": "${loop.item}"}, "meet"),
        "two": agent(["${one.output.v}", "${loop.item}", "${loop.index}"], "meet"),
        "after": agent("${lp.output[1][0]}"),
    }
    results = results_of(steps, start="lp", agents={"meet": meet})
    assert results["lp"] == [[10, 10, 0], [20, 20, 1], [30, 30, 2]]
    assert results["after"] == 20


def test_one_after_another_in_order_or_so_many_at_once() -> None:
    order: list[int] = []
    lock, now, most = threading.Lock(), [0], [0]
    barrier = threading.Barrier(2, timeout=30)

    def note(given: int) -> int:
        order.append(given)
        return given

    def count(given: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if given < 2:
            barrier.wait()
        with lock:
            now[0] -= 1
        return given

    steps = {"lp": loop(list(range(20)), "a"), "a": agent("${loop.item}", "note")}
    assert results_of(steps, start="lp", agents={"note": note})["lp"] == order == list(range(20))
    alone = threading.Lock()

    def work(given: int) -> int:
        assert alone.acquire(blocking=False)
        time.sleep(0.001)  # the step's work
        alone.release()
        return given

    steps["a"] = agent("${loop.item}", "work")
    assert results_of(steps, start="lp", agents={"work": work})["lp"] == list(range(20))
    more = {"execution_mode": "parallel", "max_parallelism": 2}
    steps = {"lp": loop(list(range(20)), "a", **more), "a": agent("${loop.item}", "count")}
    assert results_of(steps, start="lp", agents={"count": count})["lp"] == list(range(20))
    assert most[0] == 2


@pytest.mark.parametrize(
    ("collection", "items"),
    [
        ("${workflow.input.list}", [1, 2]),
        ("${workflow.input.object}", [["a", 1], ["b", 2]]),
        (["${workflow.input.list[0]}", "x"], [1, "x"]),
        ({"k": "${workflow.input.list}"}, [["k", [1, 2]]]),
        ([], []),
        ("${made.output}", ["m"]),
    ],
)
def test_what_a_loop_runs_over(collection: Any, items: list[Any]) -> None:
    steps = {
        "made": agent(["m"], next_step="lp"),
        "lp": loop(collection, "a"),
        "a": agent("${loop.item}"),
    }
    given = {"list": [1, 2], "object": {"a": 1, "b": 2}}
    assert results_of(steps, given, start="made")["lp"] == items


def test_what_a_loop_cannot_run_over() -> None:
    steps = {"lp": loop("${n}", "a"), "a": agent(1)}
    with pytest.raises(
        ConfigurationError, match=r"step 'lp', field loop_config\.collection: .*not"
    ):
        results_of(steps, {"n": "text"}, start="lp")
    with pytest.raises(MissingReferenceError, match=r"step 'lp', field loop_config\.collection"):
        results_of(steps, {}, start="lp")


def test_what_is_beyond_max_iterations_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    steps = {
        "lp": loop([1, 2, 3, 4], "a", max_iterations=2),
        "a": agent(["${loop.item}", "${loop.total}", "${loop.is_last}"]),
    }
    with caplog.at_level(logging.WARNING, "task_pipeline.documents"):
        results = results_of(steps, start="lp")
    assert results["lp"] == [[1, 2, False], [2, 2, True]]
    assert caplog.messages == ["loop 'lp' has 4 items; max_iterations lets 2 of them run"]


def test_a_failed_iteration_ends_the_loop_or_counts_as_null_or_an_error() -> None:
    steps = {
        "lp": loop([1, 2, 0], "a", "b"),
        "a": agent("${loop.item}", "refuse"),
        "b": agent("${a.output}"),
    }
    pipeline = loaded(steps, start="lp")
    context = Context()
    with pytest.raises(ParallelGroupError, match="too many: 2"):
        pipeline.run(context)
    assert context.results["lp"] == [1, None, None]
    steps["lp"] = loop([1, 2, 0], "a", "b", on_error="continue")
    assert results_of(steps, start="lp")["lp"] == [1, None, 0]
    steps["lp"] = loop([1, 2, 0], "a", "b", on_error="collect", next_step="c")
    steps["c"] = agent("${lp.output[1].error.message}")
    results = results_of(steps, start="lp")
    assert results["lp"] == [1, {"error": {"type": "ValueError", "message": "too many: 2"}}, 0]
    assert results["c"] == "too many: 2"
    steps["lp"]["critical"] = False
    steps["lp"]["loop_config"]["on_error"] = "stop"
    steps["c"] = agent("on")
    assert results_of(steps, start="lp")["c"] == "on"


def test_loops_in_loops_see_their_own_items_and_the_outer_ones_come_back() -> None:
    steps = {
        "outer": loop([1, 2], "before", "inner", "after", execution_mode="parallel"),
        "before": agent("${loop.item}"),
        "inner": loop([10, 20], "deep"),
        "deep": agent(["${before.output}", "${loop.item}"]),
        "after": agent(["${inner.output}", "${loop.item}", "${loop.index}"]),
    }
    assert results_of(steps, start="outer")["outer"] == [
        [[[1, 10], [1, 20]], 1, 0],
        [[[2, 10], [2, 20]], 2, 1],
    ]


def test_other_blocks_in_the_body() -> None:
    steps = {
        "lp": loop([1, 2], "check", "block"),
        "check": {
            "type": "conditional",
            "condition": "${loop.item} > 1",
            "if_true_step": "big",
            "if_false_step": "small",
        },
        "big": agent("big"),
        "small": agent("small"),
        "block": {"type": "parallel", "parallel_steps": ["a", "b"]},
        "a": agent("${loop.item}"),
        "b": agent("${check.output.next_step}"),
    }
    assert results_of(steps, start="lp")["lp"] == [{"a": 1, "b": "small"}, {"a": 2, "b": "big"}]


def test_what_stands_side_by_side_in_a_body_runs_so_in_a_sequential_loop_too() -> None:
    barrier = threading.Barrier(2, timeout=30)

    def meet(given: Any) -> Any:
        barrier.wait()
        return given

    steps = {
        "lp": loop([1, 2], "block"),
        "block": {"type": "parallel", "parallel_steps": ["a", "b"]},
        "a": agent("${loop.item}", "meet"),
        "b": agent("${loop.item}", "meet"),
    }
    results = results_of(steps, start="lp", agents={"meet": meet})
    assert results["lp"] == [{"a": 1, "b": 1}, {"a": 2, "b": 2}]


def test_what_an_agent_does_to_the_loop_stays_in_its_branch() -> None:
    def spoil(given: Any, context: Any) -> None:
        context.results["loop"] = {"item": "spoilt"}

    steps = {
        "lp": loop([1], "block", "c"),
        "block": {"type": "parallel", "parallel_steps": ["a"]},
        "a": agent(1, "spoil"),
        "c": agent("${loop.item}"),
    }
    assert results_of(steps, start="lp", agents={"spoil": spoil})["lp"] == [1]


def test_a_chain_may_be_the_body() -> None:
    steps = {
        "lp": loop([1], "a", next_step="end"),
        "a": agent("${loop.item}", next_step="b"),
        "b": agent(["${a.output}"], next_step="c"),
        "c": agent(["${b.output}"], next_step="lp"),
        "end": agent("${lp.output}"),
    }
    assert results_of(steps, start="lp")["end"] == [[[1]]]


def test_a_body_that_ends_in_one_of_two_ways_puts_out_what_was_taken() -> None:
    steps = {
        "lp": loop([1, 2, 3], "check"),
        "check": {
            "type": "conditional",
            "condition": "${loop.item} > 1",
            "if_true_step": "big",
        },
        "big": agent("big ${loop.item}"),
    }
    nothing = {"result": False, "next_step": None}
    assert results_of(steps, start="lp")["lp"] == [nothing, "big 2", "big 3"]


def test_an_output_that_is_what_the_input_had_is_an_output_all_the_same() -> None:
    steps = {"lp": loop([1, 2], "a"), "a": agent("${loop.item}")}
    results = results_of(steps, {"a": 1, "lp": "x"}, start="lp")
    assert results["lp"] == [1, 2]
    assert results["a"] == 1


def test_an_iteration_without_an_output_is_null() -> None:
    steps = {"lp": loop([1, 2], "a"), "a": agent("${loop.item}", "refuse", critical=False)}
    assert results_of(steps, start="lp")["lp"] == [1, None]


def test_a_loops_timeout() -> None:
    clock, gate = ManualClock(), Gate()

    def wait(given: int) -> int:
        if given == 2:
            gate.wait()
        return given

    steps = {"lp": {**loop([1, 2, 3], "a"), "timeout": 5}, "a": agent("${loop.item}", "wait")}
    pipeline = loaded(steps, start="lp", agents={"wait": wait})
    context = Context()
    with clock.installed():
        run = pipeline.start(context)
    gate.wait_until_reached()
    clock.advance(5)
    with pytest.raises(GroupTimeoutError):
        run.result()
    gate.open()
    assert context.results["lp"] == [1, None, None]


# sub_workflow

INNER = {
    "workflow_id": "inner",
    "start_step": "a",
    "steps": {
        "a": agent({"n": "${workflow.input.n}", "all": "${workflow.input}"}, next_step="b"),
        "b": agent(["${a.output.n}", "${a.output.all}"]),
    },
}


def test_a_workflow_in_a_workflow_sees_its_input_and_nothing_else() -> None:
    steps = {
        "a": agent("outer a", next_step="sub"),
        "sub": {
            "type": "sub_workflow",
            "workflow": INNER,
            "input_mapping": {"n": "${workflow.input.x}", "t": "${a.output}"},
            "next_step": "end",
        },
        "end": agent(["${sub.output[0]}", "${a.output}"]),
    }
    results = results_of(steps, {"x": 7, "n": 8}, start="a")
    assert results["sub"] == [7, {"n": 7, "t": "outer a"}]
    assert results["end"] == [7, "outer a"]
    assert list(results) == ["x", "n", "a", "sub", "end"]


def test_without_a_mapping_it_has_the_same_input() -> None:
    steps = {"sub": {"type": "sub_workflow", "workflow": INNER}}
    assert results_of(steps, {"n": 8, "m": 9})["sub"] == [8, {"n": 8, "m": 9}]


def test_its_input_is_an_object() -> None:
    steps = {"sub": {"type": "sub_workflow", "workflow": INNER, "input_mapping": ["x"]}}
    with pytest.raises(ConfigurationError, match=r"step 'sub', field input_mapping: .*an object"):
        results_of(steps)


def test_what_fails_in_it_fails_as_if_it_stood_here() -> None:
    inner = {"steps": {"a": agent(1, "fail")}}
    steps = {"sub": {"type": "sub_workflow", "workflow": inner, "next_step": "b"}, "b": agent(1)}
    pipeline = loaded(steps, start="sub")
    context = Context()
    with pytest.raises(ValueError, match="no 1"):
        pipeline.run(context)
    assert context.results == {} and len(context.errors) == 1
    steps["sub"]["critical"] = False
    assert results_of(steps, start="sub") == {"b": 1}


def test_a_workflow_that_does_nothing_puts_out_null() -> None:
    assert results_of({"sub": {"type": "sub_workflow", "workflow": {"steps": {}}}})["sub"] is None
    inner = {"steps": {"a": agent(1, "fail", critical=False)}}
    assert (
        results_of({"sub": {"type": "sub_workflow", "workflow": inner, "timeout": 30}})["sub"]
        is None
    )


def test_it_may_be_called_from_a_loop() -> None:
    inner = {"steps": {"a": agent("${workflow.input.i}")}}
    call = {"type": "sub_workflow", "workflow": inner, "input_mapping": {"i": "${loop.item}"}}
    steps = {"lp": loop([1, 2], "sub", execution_mode="parallel"), "sub": call}
    assert results_of(steps, start="lp")["lp"] == [1, 2]


def write(folder: Path, name: str, document: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return file


def test_a_workflow_in_a_file_is_looked_for_beside_the_one_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, "parts/leaf.json", INNER)
    middle = {"steps": {"m": {"type": "sub_workflow", "workflow_path": "leaf.json"}}}
    write(tmp_path, "parts/middle.json", middle)
    top = {"steps": {"t": {"type": "sub_workflow", "workflow_path": "parts/middle.json"}}}
    pipeline = load_pipeline(write(tmp_path, "top.json", top), "workflow", agents=AGENTS)
    context = pipeline.run(Context(results={"n": 1}))
    assert context.results["t"] == [1, {"n": 1}]


def test_mistakes_in_it_are_told_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, "part.json", {"steps": {"a": agent("${b.output}")}})
    top = {"steps": {"t": {"type": "sub_workflow", "workflow_path": "part.json"}}}
    (mistake,) = mistakes_in(write(tmp_path, "top.json", top))
    assert mistake.startswith(
        f"{tmp_path / 'part.json'}:5:21: steps.a.input_mapping: ${{b.output}}"
    )
    inner = {"steps": {"a": agent(1, "ehco")}}
    (mistake,) = mistakes_in({"steps": {"s": {"type": "sub_workflow", "workflow": inner}}})
    assert mistake.startswith("steps.s.workflow.steps.a.agent_name: there is no agent 'ehco'")


def test_a_workflow_that_contains_itself(tmp_path: Path) -> None:
    one = {"steps": {"a": {"type": "sub_workflow", "workflow_path": "two.json"}}}
    two = {"steps": {"b": {"type": "sub_workflow", "workflow_path": "one.json"}}}
    write(tmp_path, "two.json", two)
    (mistake,) = mistakes_in(write(tmp_path, "one.json", one))
    assert "the workflow contains itself: one.json → two.json → one.json" in mistake
    assert "two.json:5:21: steps.b.workflow_path" in mistake


def test_files_that_may_not_be_read_or_cannot_be(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write(inside, "deep/part.json", INNER)
    write(tmp_path, "outside.json", INNER)
    write(inside, "bad.json", [])
    (inside / "broken.json").write_text('{"steps": ', encoding="utf-8")

    def told(path: Any, **options: Any) -> list[str]:
        document = {"steps": {"s": {"type": "sub_workflow", "workflow_path": path}}}
        return mistakes_in(document, base_dir=inside, **options)

    (mistake,) = told("../outside.json")
    assert "'../outside.json' is outside of the folders" in mistake
    (mistake,) = told("nowhere.json")
    assert "nowhere.json" in mistake and "No such file" in mistake
    (mistake,) = told("broken.json")
    assert "broken.json:1" in mistake
    (mistake,) = told("bad.json")
    assert "a workflow is an object with `steps`, not an empty list" in mistake
    (mistake,) = told("a\0b")
    assert "cannot be the name of a file" in mistake
    (mistake,) = told("")
    assert "workflow_path" in mistake
    (mistake,) = told("deep")
    assert "folder" in mistake
    document = {"steps": {"s": {"type": "sub_workflow", "workflow_path": "../outside.json"}}}
    load_pipeline(document, "workflow", base_dir=inside, allow={"files"}, agents=AGENTS)


def test_a_workflow_in_yaml_needs_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part.yaml").write_text("steps:\n  a: {agent_name: echo}\n", encoding="utf-8")
    document = {"steps": {"s": {"type": "sub_workflow", "workflow_path": "part.yaml"}}}
    pipeline = load_pipeline(document, "workflow", base_dir=tmp_path, agents=AGENTS)
    assert pipeline.run(Context(results={"n": 1})).results["s"] == {"n": 1}
    monkeypatch.setitem(sys.modules, "yaml", None)
    (mistake,) = mistakes_in(document, base_dir=tmp_path)
    assert "needs PyYAML" in mistake


def test_a_file_outside_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "secret.json", INNER)
    path = "../../secret.json"
    inner = {"steps": {"s": {"type": "sub_workflow", "workflow_path": path}}}
    write(tmp_path, "inside/deep/part.json", inner)
    (tmp_path / "inside/a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inside/a/b")  # from there it would be inside
    document = {"steps": {"t": {"type": "sub_workflow", "workflow_path": "deep/part.json"}}}
    (mistake,) = mistakes_in(document, base_dir=tmp_path / "inside")
    assert "inside/secret.json: cannot be read: No such file" in mistake


def test_it_says_where_the_workflow_is_once() -> None:
    (mistake,) = mistakes_in({"steps": {"s": {"type": "sub_workflow"}}})
    assert "it says neither `workflow` nor `workflow_path`" in mistake
    both = {"type": "sub_workflow", "workflow": INNER, "workflow_path": "x.json"}
    (mistake,) = mistakes_in({"steps": {"s": both}})
    assert "it says both" in mistake
    (mistake,) = mistakes_in({"steps": {"s": {"type": "sub_workflow", "workflow": 3}}})
    assert "workflow: must be an object, not 3" in mistake


def test_workflows_in_workflows_have_an_end(tmp_path: Path) -> None:
    for number in range(80):
        step = {"type": "sub_workflow", "workflow_path": f"w{number + 1}.json"}
        write(tmp_path, f"w{number}.json", {"steps": {"s": step}})
    first = write(tmp_path, "w0.json", json.loads((tmp_path / "w0.json").read_text()))
    write(tmp_path, "w60.json", {"steps": {"s": agent("${workflow.input.n}")}})
    pipeline = load_pipeline(first, agents=AGENTS)
    assert pipeline.run(Context(results={"n": 7})).results["s"] == 7
    write(tmp_path, "w60.json", json.loads((tmp_path / "w61.json").read_text()))
    (mistake,) = mistakes_in(first)
    assert "workflows and their blocks are nested too deep in each other" in mistake


def test_a_workflow_in_a_workflow_keeps_its_own_settings(tmp_path: Path) -> None:
    def waits(given: Any) -> None:
        gate.wait()

    inner = {"config": {"timeout": 3}, "steps": {"a": agent(1, "waits")}}
    file = write(tmp_path, "inner.json", inner)
    for step in ({"workflow": inner}, {"workflow_path": str(file)}):
        steps = {"s": {"type": "sub_workflow", **step}}
        clock, gate = ManualClock(), Gate()
        pipeline = loaded(steps, agents={"waits": waits}, base_dir=tmp_path)
        with clock.installed():
            run = pipeline.start(Context())
        gate.wait_until_reached()
        clock.advance(3)
        with pytest.raises(RunTimeoutError, match="pipeline 's"):
            run.result()
        gate.open()
    inner["config"] = {"timeout": 0, "max_wrokers": 2}
    for step, place in (
        ({"workflow": inner}, "steps.s.workflow.config"),
        ({"workflow_path": str(write(tmp_path, "inner.json", inner))}, "inner.json:"),
    ):
        told = mistakes_in({"steps": {"s": {"type": "sub_workflow", **step}}}, base_dir=tmp_path)
        assert [place in mistake for mistake in told if "waits" not in mistake] == [True] * 2
    inner["config"] = {"reducers": {"a": "nobody"}}
    told = mistakes_in({"steps": {"s": {"type": "sub_workflow", "workflow": inner}}})
    assert any("steps.s.workflow.config.reducers.a: " in mistake for mistake in told)
