"""`loop` in recipes: where its items come from, what a round sees, what comes back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    ContextCopyError,
    GroupTimeoutError,
    MissingReferenceError,
    SubstepError,
    TemplateError,
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


def loop(items: Any, *substeps: Any, **fields: Any) -> dict[str, Any]:
    return {
        "type": "loop",
        "items": items,
        "item_key": "x",
        "result_key": "out",
        "substeps": list(substeps),
        **fields,
    }


def rounds(items: Any, start: dict[str, Any] | None = None) -> Any:
    """What a loop over these items has seen."""
    seen = {"item": "{{ x }}", "index": "{{ __index }}", "key": "{{ __key }}"}
    steps = [loop(items, {"type": "set_context", "key": "out", "value": seen})]
    return results_of(steps, **(start or {}))["out"]


# Items


@pytest.mark.parametrize(
    "items",
    [
        "xs",
        "data.0.xs",
        "data[0].xs",
        "data.0['xs']",
        "{{ xs }}",
        "{{ text }}",
        " {{ data[0].xs }} ",
        "{{ xs | join: ',' | prepend: '[' | append: ']' }}",
        "[10, {{ twenty }}]",
        [10, "{{ twenty }}"],
        "odd key, with a comma",
    ],
)
def test_items_of_a_list(items: Any) -> None:
    start = {"xs": [10, 20], "data": [{"xs": [10, 20]}], "twenty": 20, "text": "[10, 20]"}
    start["odd key, with a comma"] = [10, 20]
    assert rounds(items, start) == [
        {"item": 10, "index": 0, "key": ""},
        {"item": 20, "index": 1, "key": ""},
    ]


@pytest.mark.parametrize("items", ["ages", "{{ ages }}", {"ada": 36, "bob": "{{ old }}"}])
def test_items_of_an_object(items: Any) -> None:
    start = {"ages": {"ada": 36, "bob": [80]}, "old": [80]}
    assert rounds(items, start) == {
        "ada": {"item": 36, "index": 0, "key": "ada"},
        "bob": {"item": [80], "index": 1, "key": "bob"},
    }


def test_texts_in_a_list_that_is_written_out_keep_their_type() -> None:
    items = [
        "{{ flag }}",
        "{{ count }}",
        "{{ name }}",
        "is {{ name }}",
        "null",
        "{{ none }}",
        "{{ no }}",
    ]
    steps = [loop(items)]
    found = results_of(steps, flag=True, count=3, name="true", none=None)["out"]
    assert found == [True, 3, "true", "is true", "null", None, ""]


@pytest.mark.parametrize("nothing", [[], {}, ()])
def test_no_items(nothing: Any) -> None:
    found = results_of([loop("xs", fail("boom")), put("after", 1)], xs=nothing)
    kind: Any = {} if isinstance(nothing, dict) else []
    assert found == {"xs": nothing, "out": kind, "out__errors": [], "out__history": [], "after": 1}


def test_no_items_and_nothing_to_come_back() -> None:
    step = loop([], fail("boom"))
    del step["result_key"]
    assert results_of([step]) == {}


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ("ys", r"\[0\].items: there is no 'ys' in the context; known are 'xs' and 'data'"),
        ("{{ ys }}", "there is no 'ys' in the context"),
        ("data.0.ys", r"there is no 'ys' in data\[0\]; known are 'xs'"),
        ("data.7", r"there is no 7 in data, which is a list"),
        ("data.0.xs.b", r"there is no 'b' in data\[0\]\['xs'\], which is a list"),
        ("a, b", "there is no 'a, b' in the context"),
    ],
)
def test_what_is_missing_is_named(items: str, told: str) -> None:
    with pytest.raises(MissingReferenceError, match=told):
        results_of([loop(items, note("never"))], xs=[1], data=[{"xs": [1]}])


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ("number", r"\[0\].items: must come to a list or an object, not 5"),
        ("{{ number }}{{ number }}", "not the text '55'"),
        ("text", "not the text 'abc'"),
        ("{{ text }}", "not the text 'abc'"),
    ],
)
def test_what_is_no_list_is_refused(items: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        results_of([loop(items, note("never"))], number=5, text="abc")


def test_items_whose_template_fails() -> None:
    with pytest.raises(TemplateError, match=r"\[0\].items"):
        results_of([loop("[{{ 1 | divided_by: zero }}]")], zero=0)


def test_items_that_cannot_be_copied() -> None:
    with pytest.raises(ContextCopyError, match=r"\[0\].items\[1\]: .*context.shared"):
        results_of([loop([1, "{{ lock }}"])], lock=threading.Lock())


# What a round sees, and what it gives back


def test_a_round_is_isolated() -> None:
    steps = [
        loop(
            [1, 2],
            {"type": "t_add", "key": "items", "item": "{{ x }}"},
            put("out", "{{ items }} {{ kept }}"),
        )
    ]
    found = results_of(steps, items=["old"], kept="yes")
    assert found["items"] == ["old"]
    assert "x" not in found
    assert found["out"] == ['["old", 1] yes', '["old", 2] yes']


def test_the_value_is_what_was_set_under_the_key_else_the_item() -> None:
    assert results_of([loop([1, 2], put("out", "{{ x }}!"))])["out"] == ["1!", "2!"]
    assert results_of([loop([1, 2], put("x", "{{ x }}?"))])["out"] == ["1?", "2?"]
    assert results_of([loop([1, 2], put("other", 0))])["out"] == [1, 2]
    changed = results_of([loop("xs", {"type": "t_add", "key": "x", "item": 2})], xs=[[1], []])
    assert changed["out"] == [[1, 2], [2]]
    assert changed["xs"] == [[1], []]


def test_a_value_that_the_parent_has_too_counts() -> None:
    """Also one that is equal: it was set in the round."""
    assert results_of([loop([1], put("out", "same"))], out="same")["out"] == ["same"]
    assert results_of([loop([1], put("x", 5))], x=5)["out"] == [5]
    assert results_of([loop([1], note("x"))], x=5, out="before")["out"] == [1]


def test_an_unchanged_item_is_not_the_parents_object() -> None:
    found = results_of([loop("xs"), {"type": "t_add", "key": "out", "item": 0}], xs=[[1]])
    found["out"][0].append(2)
    assert found["xs"] == [[1]]


def test_without_a_result_key_nothing_comes_back() -> None:
    step = loop([1, 2], put("a", 1))
    del step["result_key"]
    assert results_of([step], b=2) == {"b": 2}


def test_loops_in_loops() -> None:
    inner = loop("{{ x }}", put("y", "{{ z }}{{ __index }}"), item_key="z", result_key="y")
    assert results_of([loop([[1, 2], [3]], inner, put("out", "{{ y }} {{ __index }}"))])["out"] == [
        '["10", "21"] 0',
        '["30"] 1',
    ]


def test_substeps_may_be_one_step_or_stand_in_an_object() -> None:
    one = loop([1], substeps=put("out", "one"))
    several = loop([1], substeps={"steps": [put("a", 1), put("out", "{{ a }}")]})
    assert results_of([one])["out"] == ["one"]
    assert results_of([several])["out"] == [1]


# Order, limits, delay


def test_a_loop_is_a_series_unless_it_says_otherwise() -> None:
    scene = Scene()
    results_of([loop([1, 2, 3], note("{{ x }}a"), {"type": "t_meet"}, note("{{ x }}b"))], scene)
    assert scene.names() == ["1a", "1b", "2a", "2b", "3a", "3b"]
    assert scene.peak == 1


@pytest.mark.parametrize(("limit", "peak"), [(2, 2), (0, 4)])
def test_rounds_side_by_side(limit: int, peak: int) -> None:
    scene = Scene(barrier=threading.Barrier(peak))
    results_of([loop([1, 2, 3, 4], {"type": "t_meet"}, max_concurrency=limit)], scene)
    assert scene.peak == peak


def test_results_are_in_the_order_of_the_items() -> None:
    scene = Scene()
    steps = [loop([1, 2, 3], wait("{{ x }}"), put("out", "{{ x }}"), max_concurrency=0)]
    with started(steps, scene) as run:
        for name in ("3", "2", "1"):
            scene.gate(name).wait_until_reached()
            scene.gate(name).open()
            assert scene.passed.acquire(timeout=PATIENCE)
        assert run.result().results["out"] == [1, 2, 3]


def test_each_round_of_a_parallel_loop_sees_its_own_item() -> None:
    scene = Scene(barrier=threading.Barrier(3))
    steps = [
        loop(
            [10, 20, 30],
            put("first", "{{ x }}"),
            {"type": "t_meet"},
            put("out", "{{ first }}/{{ x }}/{{ __index }}"),
            max_concurrency=0,
        )
    ]
    assert results_of(steps, scene)["out"] == ["10/10/0", "20/20/1", "30/30/2"]


def test_delay_is_between_rounds() -> None:
    scene = Scene()
    steps = [loop([1, 2], note("{{ x }}"), wait("{{ x }}"), delay=1, max_concurrency=0)]
    with started(steps, scene) as run:
        scene.gate("1").wait_until_reached()
        scene.clock.advance(1)
        scene.gate("2").wait_until_reached()
        scene.gate("1").open()
        scene.gate("2").open()
        run.result()
    assert scene.notes == [("1", 0.0), ("2", 1.0)]


def test_what_is_around_a_loop_ends_it() -> None:
    scene = Scene()
    block = {
        "type": "parallel",
        "timeout": 3,
        "substeps": [loop([1, 2], wait("in"), note("after"))],
    }
    with started([block], scene) as run:
        scene.gate("in").wait_until_reached()
        scene.clock.advance(3)
        with pytest.raises(GroupTimeoutError):
            run.result()
        scene.gate("in").open()
        assert scene.passed.acquire(timeout=PATIENCE)
    assert scene.names() == []


# Failures


def test_the_first_failure_ends_the_loop() -> None:
    scene = Scene()
    steps = [loop([1, 2, 3], note("{{ x }}"), fail("boom", if_item=2), id="each")]
    with pytest.raises(SubstepError) as caught:
        results_of(steps, scene)
    assert scene.names() == ["1", "2"]
    assert caught.value.message == "loop 'each': item 1 failed: ValueError: boom"
    assert (caught.value.index, caught.value.step_type) == (1, "loop")
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_failing_item_of_an_object_is_named_by_its_key() -> None:
    with pytest.raises(SubstepError, match=r"loop 'loop': item 1 \('b'\) failed: ValueError: boom"):
        results_of([loop({"a": 1, "b": 2}, fail("boom", if_item=2))])


def test_fail_fast_false_goes_on() -> None:
    scene = Scene()
    steps = [
        loop(
            [1, 2, 3],
            note("{{ x }}"),
            fail("boom", if_item=2),
            put("out", "{{ x }}!"),
            fail_fast=False,
        )
    ]
    context = scene.context()
    load_pipeline(steps).run(context)
    assert scene.names() == ["1", "2", "3"]
    assert context.results == {
        "out": ["1!", None, "3!"],
        "out__errors": [{"index": 1, "error": "boom", "type": "ValueError"}],
        "out__history": [
            {"index": 0, "status": "succeeded"},
            {"index": 1, "status": "failed", "error": "ValueError: boom"},
            {"index": 2, "status": "succeeded"},
        ],
    }
    assert [str(error) for error in context.errors] == ["boom"]


def test_fail_fast_false_over_an_object() -> None:
    found = results_of([loop({"a": 1, "b": 2}, fail("boom", if_item=1), fail_fast=False)])
    assert found == {
        "out": {"a": None, "b": 2},
        "out__errors": [{"index": 0, "key": "a", "error": "boom", "type": "ValueError"}],
        "out__history": [
            {"index": 0, "key": "a", "status": "failed", "error": "ValueError: boom"},
            {"index": 1, "key": "b", "status": "succeeded"},
        ],
    }


def test_without_failures_there_are_no_errors() -> None:
    found = results_of([loop([1])])
    assert found["out__errors"] == []
    assert found["out__history"] == [{"index": 0, "status": "succeeded"}]


def test_an_error_of_a_block_in_a_round_is_told_in_a_line() -> None:
    inner = {"type": "parallel", "substeps": [fail("boom")]}
    found = results_of([loop([1], inner, fail_fast=False)])
    assert found["out__errors"] == [
        {
            "index": 0,
            "error": "parallel block 'parallel': substep 0 (t_fail) failed: ValueError: boom",
            "type": "SubstepError",
        }
    ]


# Mistakes


def test_mistakes_of_a_loop() -> None:
    found = mistakes(
        [
            {"type": "loop", "items": 5, "item_key": "", "substeps": 7, "result_kye": "y"},
            loop("xs", item_key="out"),
            loop("{{ xs", max_concurrency="{{ n }}", item_key="{{ x }}", result_key="{{ x }}"),
            {
                "type": "loop",
                "items": ["{% if %}"],
                "item_key": "x",
                "substeps": [{"type": "t_pu"}],
            },
        ]
    )
    assert [line.partition(": ")[0] for line in found] == [
        "[0].items",
        "[0].item_key",
        "[0].substeps",
        "[0].result_kye",
        "[1].result_key",
        "[2].items",
        "[2].item_key",
        "[2].result_key",
        "[2].max_concurrency",
        "[2].result_key",
        "[3].items[0]",
        "[3].substeps[0].type",
    ]
    assert "are both the text 'out'" in found[4]
    assert "the template is wrong" in found[5]
