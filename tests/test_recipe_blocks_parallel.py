"""`parallel` in recipes: isolation, what comes back, delay, limits, failures and deadlines."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    GroupTimeoutError,
    ParallelGroupError,
    PipelineConfig,
    RunCancelledError,
    SubstepError,
)
from task_pipeline.documents import load_pipeline
from tests.recipe_work import (
    PATIENCE,
    Scene,
    _types,
    fail,
    mistakes,
    note,
    put,
    results_of,
    started,
    wait,
)

__all__ = ["_types"]


def parallel(*substeps: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "parallel", "substeps": list(substeps), **fields}


# What comes back


def test_the_parent_is_as_it_was() -> None:
    steps = [parallel(put("a", 1), {"type": "t_add", "key": "items", "item": 2})]
    assert results_of(steps, items=[1], a=0) == {"items": [1], "a": 0}


def test_a_substep_sees_the_parent_and_no_sibling() -> None:
    scene = Scene()
    steps = [
        parallel(
            [wait("first"), put("seen", "{{ a }}{{ b }}")],
            [put("b", 2), wait("second")],
            result_key="each",
        )
    ]
    with started(steps, scene, a=1) as run:
        scene.gate("second").wait_until_reached()
        scene.gate("first").open()
        scene.gate("second").open()
        assert run.result().results == {"a": 1, "each": [{"seen": "1"}, {"b": 2}]}


def test_merge_is_the_librarys() -> None:
    steps = [
        parallel(
            {"type": "t_add", "key": "items", "item": 2},
            {"type": "t_add", "key": "items", "item": 3},
            put("a", 1),
            merge=True,
        )
    ]
    assert results_of(steps, items=[1]) == {"items": [1, 2, 3], "a": 1}


def test_merge_of_some_keys() -> None:
    steps = [parallel(put("a", "x"), put("b", 2), [put("a", "y"), put("c", 4)], merge=["a", "b"])]
    assert results_of(steps) == {"a": "y", "b": 2}


def test_merge_goes_by_the_pipelines_settings() -> None:
    config = PipelineConfig(reducers={"a": max})
    steps = [parallel(put("a", 5), put("a", 3), merge=True)]
    assert load_pipeline({"steps": steps}, config=config).run().results == {"a": 5}


def test_result_key_has_what_each_substep_has_set() -> None:
    steps = [parallel(put("a", [1]), note("x"), [put("a", 2), put("b", 3)], result_key="each")]
    assert results_of(steps) == {"each": [{"a": [1]}, {}, {"a": 2, "b": 3}]}


def test_result_key_and_merge_have_nothing_in_common() -> None:
    steps = [
        parallel(put("a", [1]), merge=True, result_key="each"),
        {"type": "t_add", "key": "a", "item": 2},
    ]
    assert results_of(steps) == {"a": [1, 2], "each": [{"a": [1]}]}


def test_an_empty_block_does_nothing() -> None:
    assert results_of([parallel(result_key="each"), put("a", 1)]) == {"each": [], "a": 1}


# Limits and delay


@pytest.mark.parametrize("form", [dict, lambda **fields: {"config": fields}])
def test_the_recipe_that_the_reference_prints(
    form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    for name in ("a", "b"):
        steps = [note(f"{name} {{{{ input_data }}}}"), wait(name)]
        file = tmp_path / f"recipes/subtask_{name}.json"
        file.write_text(json.dumps({"steps": steps}))
    substeps = [
        {
            "type": "execute_recipe",
            **form(
                recipe_path=f"recipes/subtask_{name}.json",
                context_overrides={"input_data": "{{shared_input}}"},
            ),
        }
        for name in ("a", "b")
    ]
    block = {"type": "parallel", **form(substeps=substeps, max_concurrency=2, delay=1)}
    scene = Scene()
    with started([block], scene, shared_input="x") as run:
        scene.gate("a").wait_until_reached()
        scene.clock.advance(1)
        scene.gate("b").wait_until_reached()
        scene.gate("a").open()
        scene.gate("b").open()
        assert run.result().results == {"shared_input": "x"}
    assert scene.notes == [("a x", 0.0), ("b x", 1.0)]


def test_delay_is_between_launches_and_not_before_the_first() -> None:
    scene = Scene()
    steps = [parallel([note("a"), wait("a")], [note("b"), wait("b")], note("c"), delay=1)]
    with started(steps, scene) as run:
        scene.gate("a").wait_until_reached()
        scene.clock.advance(0.75)
        assert scene.names() == ["a"]
        scene.clock.advance(0.25)
        scene.gate("b").wait_until_reached()
        scene.gate("a").open()
        scene.gate("b").open()
        scene.clock.advance(1)
        run.result()
    assert scene.notes == [("a", 0.0), ("b", 1.0), ("c", 2.0)]


def test_an_outer_limit_holds_over_inner_blocks() -> None:
    scene = Scene(barrier=threading.Barrier(2))
    inner = parallel(*[{"type": "t_meet"}] * 4, max_concurrency=4)
    results_of([parallel(inner, inner, max_concurrency=2)], scene)
    assert scene.peak == 2


def test_an_outer_limit_holds_over_recipes_that_are_read_when_they_are_reached(
    tmp_path: Path,
) -> None:
    scene = Scene(barrier=threading.Barrier(2))
    inner = parallel(*[{"type": "t_meet"}] * 4, max_concurrency=4)
    (tmp_path / "inner.json").write_text(json.dumps([inner]))
    late = {"type": "execute_recipe", "recipe_path": "{{ which }}.json"}
    pipeline = load_pipeline(
        {"steps": [parallel(late, late, max_concurrency=2)]}, base_dir=tmp_path
    )
    pipeline.run(scene.context(which="inner"))
    assert scene.peak == 2


@pytest.mark.parametrize("limit", [{}, {"max_concurrency": 0}, {"max_concurrency": 40}])
def test_without_a_limit_all_run_at_once(limit: dict[str, int]) -> None:
    """However many workers there are by default."""
    scene = Scene(barrier=threading.Barrier(40))
    results_of([parallel(*[{"type": "t_meet"}] * 40, **limit)], scene)
    assert scene.peak == 40


def test_zero_is_no_limit_whatever_the_pipelines_own_is() -> None:
    from task_pipeline import ParallelConfig

    scene = Scene(barrier=threading.Barrier(3))
    config = PipelineConfig(parallel_config=ParallelConfig(max_workers=1))
    steps = [parallel(*[{"type": "t_meet"}] * 3, max_concurrency=0)]
    load_pipeline({"steps": steps}, config=config).run(scene.context())
    assert scene.peak == 3


# Failures


def test_the_first_failure_starts_nothing_more(tmp_path: Path) -> None:
    file = tmp_path / "file"
    steps = [parallel(fail("boom"), {"type": "t_touch", "path": str(file)}, max_concurrency=1)]
    with pytest.raises(SubstepError) as caught:
        results_of(steps)
    assert not file.exists()
    assert caught.value.index == 0
    assert caught.value.step_type == "t_fail"
    assert caught.value.recipe is None
    assert (
        caught.value.message
        == "parallel block 'parallel': substep 0 (t_fail) failed: ValueError: boom"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert list(caught.value.outcomes.values()) == ["failed", "cancelled"]


def test_a_failure_stops_what_runs_and_what_comes_after_it(tmp_path: Path) -> None:
    scene, file = Scene(), tmp_path / "file"
    steps = [
        parallel(
            [wait("running"), {"type": "t_touch", "path": str(file)}],
            [wait("failing"), fail("boom")],
            id="both",
        )
    ]
    with started(steps, scene) as run:
        scene.gate("running").wait_until_reached()
        scene.gate("failing").open()
        with pytest.raises(SubstepError, match=r"'both': substep 1 \(series\) failed: .*boom"):
            run.result()
        scene.gate("running").open()
        assert scene.passed.acquire(timeout=PATIENCE)  # the one that failed
        assert scene.passed.acquire(timeout=PATIENCE)
    assert not file.exists()


def test_the_error_names_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"steps": [{"type": "t_fail", "text": "boom"}]}')
    substeps = [put("a", 1), {"type": "execute_recipe", "config": {"recipe_path": "bad.json"}}]
    pipeline = load_pipeline({"steps": [parallel(*substeps)]}, base_dir=tmp_path)
    with pytest.raises(SubstepError, match=r"substep 1 \(execute_recipe 'bad.json'\)") as caught:
        pipeline.run()
    assert (caught.value.index, caught.value.recipe) == (1, "bad.json")
    assert isinstance(caught.value.__cause__, ValueError)


def test_of_several_failures_the_first_in_order_is_named() -> None:
    with pytest.raises(ParallelGroupError, match=r"substep 1 .*: ValueError: one") as caught:
        results_of([parallel(note("x"), fail("one"), max_concurrency=1)])
    assert caught.group_contains(ValueError)


def test_a_failure_in_an_inner_block_tells_the_way_to_it() -> None:
    with pytest.raises(SubstepError) as caught:
        results_of([parallel(parallel(fail("boom"), id="inner"), id="outer")])
    assert str(caught.value).startswith(
        "parallel block 'outer': substep 0 (parallel) failed: SubstepError: "
        "parallel block 'inner': substep 0 (t_fail) failed: ValueError: boom"
    )
    assert isinstance(caught.value.__cause__, SubstepError)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_without_a_text_is_told_all_the_same() -> None:
    def refuse(config: Any, context: Any) -> None:
        raise Mute

    def say_nothing(config: Any, context: Any) -> None:
        raise KeyError

    for handler, told in ((refuse, "Mute: <its text"), (say_nothing, "failed: KeyError")):
        pipeline = load_pipeline([parallel({"type": "mine"})], handlers={"mine": handler})
        with pytest.raises(SubstepError) as caught:
            pipeline.run()
        assert told in caught.value.message


# Deadlines and cancellation


def test_the_timeout_of_a_block_ends_what_waits(tmp_path: Path) -> None:
    scene = Scene()
    steps = [
        parallel(wait("slow"), note("second"), id="slow block", max_concurrency=1, timeout=0.2)
    ]
    with started(steps, scene) as run:
        scene.gate("slow").wait_until_reached()
        scene.clock.advance(0.2)
        with pytest.raises(GroupTimeoutError) as caught:
            run.result()
        assert str(caught.value) == (
            "steps[0].timeout: parallel block 'slow block' timed out after 0.2 s, with 2 of 2 "
            "substeps not ended: 0 (t_wait), 1 (t_note); give it more seconds, or a larger "
            "`max_concurrency`"
        )
        scene.gate("slow").open()
        assert scene.passed.acquire(timeout=PATIENCE)
    assert scene.names() == []


def test_launches_count_for_the_timeout() -> None:
    scene = Scene()
    steps = [parallel([note("a"), wait("a")], note("b"), note("c"), delay=1, timeout=1.5)]
    with started(steps, scene) as run:
        scene.gate("a").wait_until_reached()
        scene.clock.advance(1.5)
        with pytest.raises(GroupTimeoutError):
            run.result()
    assert scene.names()[0] == "a"
    assert "c" not in scene.names()


def late_recipe(folder: Path, steps: str) -> dict[str, Any]:
    (folder / "late.json").write_text(steps)
    return {"type": "execute_recipe", "recipe_path": "{{ 'late' }}.json"}


@pytest.mark.parametrize("where", ["in the recipe", "in a recipe read when it is reached"])
@pytest.mark.parametrize("how", ["timeout", "failure", "cancel"])
def test_what_is_around_ends_inner_blocks(how: str, where: str, tmp_path: Path) -> None:
    scene, file = Scene(), tmp_path / "file"
    inner: Any = parallel(
        [wait("inner"), {"type": "t_touch", "path": str(file)}], max_concurrency=4
    )
    if where != "in the recipe":
        inner = late_recipe(tmp_path, json.dumps([inner]))
        inner["recipe_path"] = str(tmp_path / inner["recipe_path"])
    steps = [parallel(parallel(inner), [wait("other"), fail("boom")], timeout=5)]
    pipeline = load_pipeline({"steps": steps}, root=tmp_path)
    with scene.clock.installed():
        run = pipeline.start(scene.context())
    try:
        scene.gate("inner").wait_until_reached()
        scene.gate("other").wait_until_reached()
        if how == "timeout":
            scene.clock.advance(5)
        elif how == "failure":
            scene.gate("other").open()
        else:
            run.cancel()
        expected: Any = {"timeout": GroupTimeoutError, "failure": SubstepError}.get(
            how, RunCancelledError
        )
        with pytest.raises(expected):
            run.result()
    finally:
        for gate in scene.gates.values():
            gate.open()
    assert scene.passed.acquire(timeout=PATIENCE)
    assert scene.passed.acquire(timeout=PATIENCE)
    assert not file.exists()


def test_a_coroutine_in_an_inner_block_is_cancelled() -> None:
    scene = Scene()
    steps = [parallel(parallel({"type": "t_async_wait", "gate": "in"}), timeout=2)]
    with started(steps, scene) as run:
        scene.gate("in").wait_until_reached()
        scene.clock.advance(2)
        with pytest.raises(GroupTimeoutError):
            run.result()
        assert scene.passed.acquire(timeout=PATIENCE)


# Mistakes


def test_what_shapes_the_pipeline_is_no_template() -> None:
    assert mistakes(
        [parallel(max_concurrency="{{ n }}", result_key="a{{ b }}", delay="{{ d }}")]
    ) == [
        f"[0].{key}: a template cannot stand here: `{key}` shapes the pipeline, which is made "
        "before anything runs; write the value itself"
        for key in ("max_concurrency", "result_key", "delay")
    ]


def test_mistakes_in_and_around_the_substeps_are_all_found() -> None:
    found = mistakes(
        [parallel({"type": "t_putt"}, 3, [4], max_concurrency=-1, delay=-1, timeout=0, merges=1)]
    )
    assert [line.partition(": ")[0] for line in found] == [
        "[0].max_concurrency",
        "[0].delay",
        "[0].timeout",
        "[0].merges",
        "[0].substeps[0].type",
        "[0].substeps[1]",
        "[0].substeps[2][0]",
    ]
    assert "did you mean 'merge'" in found[3]
