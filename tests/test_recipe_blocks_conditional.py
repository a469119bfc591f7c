"""`conditional` in recipes: what a condition sees, which way is taken, what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from task_pipeline import ConditionError, NotAllowedError, TemplateError
from task_pipeline.documents import load_pipeline
from tests.recipe_work import Scene, _types, mistakes, note, put, results_of

__all__ = ["_types"]


def conditional(condition: Any, **ways: Any) -> dict[str, Any]:
    ways = ways or {"if_true": [note("yes")], "if_false": [note("no")]}
    return {"type": "conditional", "condition": condition, **ways}


def way_taken(condition: Any, start: dict[str, Any] | None = None, **options: Any) -> list[str]:
    scene = Scene()
    load_pipeline([conditional(condition)], **options).run(scene.context(**(start or {})))
    return scene.names()


START = {"n": 3, "name": "Ada", "items": [1, 2], "data": [{"ok": True}], "no": "false", "zero": 0}


@pytest.mark.parametrize(
    "condition",
    [
        True,
        "n > 2",
        "{{ n }} >= 3 and not zero",
        "and(n == 3, or(zero, name == 'Ada'))",
        "'{{ name }} L' == 'Ada L'",
        "items contains 2 && 2 in items",
        "len(items) == 2",
        "data[0].ok and data.0.ok",
        "missing == null",
        "not missing.deeper",
        "{{ missing }} == null and '{{ missing }}' == ''",
        "not {{ no }}",
        "{% if n == 3 %}true{% else %}false{% endif %}",
    ],
)
def test_conditions_that_hold(condition: Any) -> None:
    assert way_taken(condition, START) == ["yes"]


@pytest.mark.parametrize("condition", [False, "n > 3", "{{ no }}", "missing", "zero or {{ zero }}"])
def test_conditions_that_do_not(condition: Any) -> None:
    assert way_taken(condition, START) == ["no"]


@pytest.mark.parametrize(
    "value", ["().__class__.__mro__", "a or true", "' == '", "{{ n }}", "__import__('os')"]
)
def test_values_are_only_ever_values(value: str) -> None:
    assert way_taken("value == 'no'", {"value": value}) == ["no"]
    assert way_taken("'{{ value }}' == 'no'", {"value": value}) == ["no"]
    assert way_taken("{{ value }} == wanted", {"value": value, "wanted": value}) == ["yes"]


def test_files_are_those_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("")
    start = {"name": "here"}
    assert way_taken("file_exists('{{ name }}.txt')", start, root=tmp_path) == ["yes"]
    assert way_taken("file_exists('there.txt')", root=tmp_path) == ["no"]
    with pytest.raises(NotAllowedError, match=r"^\[0\].condition: a file: '../x' is outside of"):
        way_taken("file_exists('../x')", root=tmp_path)
    assert way_taken("file_exists('/')", root=tmp_path, allow={"files"}) == ["yes"]


@pytest.mark.parametrize("way", [[put("a", 1)], put("a", 1), {"steps": [put("a", 1)]}])
def test_a_way_is_a_list_or_one_step_or_an_object_of_steps(way: Any) -> None:
    assert results_of([conditional(True, if_true=way)]) == {"a": 1}
    assert results_of([conditional(False, if_false=way)]) == {"a": 1}


def test_a_way_that_is_not_there_does_nothing() -> None:
    assert results_of([conditional(True, if_false=[put("a", 1)]), put("b", 1)]) == {"b": 1}
    assert results_of([conditional(False, if_true=[put("a", 1)]), put("b", 1)]) == {"b": 1}
    assert results_of([{"type": "conditional", "condition": "x"}]) == {}


def test_a_way_is_a_series_in_the_same_context() -> None:
    steps = [
        conditional("a", if_true=[put("b", "{{ a }}!"), conditional("b", if_true=put("c", 1))])
    ]
    assert results_of(steps, a=1) == {"a": 1, "b": "1!", "c": 1}


def test_a_condition_that_cannot_be_evaluated_says_where_it_stands() -> None:
    with pytest.raises(
        ConditionError, match=r"^\[0\].condition: .* condition 'n < name'"
    ) as caught:
        way_taken("n < name", START)
    assert caught.value.text == "n < name"
    with pytest.raises(TemplateError, match=r"^\[0\].condition: "):
        way_taken("{{ 1 | divided_by: zero }} == 1", START)


def test_references_are_for_workflows() -> None:
    assert len(mistakes([conditional("${step-a.output} == 1")])) == 1


def test_mistakes_of_conditionals() -> None:
    found = mistakes(
        [
            conditional("n >"),
            conditional("{{ n | nofilter }} == 1"),
            conditional(3, if_true=5, if_else=[]),
            conditional("{{ n", if_true={"steps": [], "more": 1}, if_false={"steps": 4}),
            {"type": "conditional", "if_true": [{"type": "t_pt"}], "if_false": {"steps": [3]}},
            conditional("a ==", if_else=[]),
        ]
    )
    assert [line.partition(": ")[0] for line in found] == [
        "[0].condition",
        "[1].condition",
        "[2].condition",
        "[2].if_true",
        "[2].if_else",
        "[3].if_true.more",
        "[3].if_false.steps",
        "[3].condition",
        "[4]",
        "[4].if_true[0].type",
        "[4].if_false.steps[0]",
        "[5].if_else",
        "[5].condition",
    ]
    assert "`condition` is missing" in found[8]
    assert found[0].endswith("of the condition")
