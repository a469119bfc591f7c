"""Whatever stands in a recipe: it becomes a pipeline, or its mistakes are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import (
    DocumentError,
    ErrorStrategy,
    GroupTimeoutError,
    Outcome,
    ParallelGroupError,
    PipelineConfig,
    PipelineContext,
    RecordedError,
    RunTimeoutError,
)
from task_pipeline.collectors import BranchEnd
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.mistakes.problems import DocumentProblem
from task_pipeline.documents.recipes.conditional import ResultNames
from task_pipeline.documents.recipes.loop import RoundCollector
from task_pipeline.documents.recipes.parallel import type_and_text
from task_pipeline.documents.recipes.rendering import render_nothing
from task_pipeline.errors import ConditionError
from tests.recipe_work import _types, note, put

__all__ = ["_types"]

WORDS = [
    *("", "a", "x", "data.0.a", "{{ a }}", "{{ a | size }}", "{{ a", "{% if a %}1{% endif %}"),
    *("a == 1", "a >", "len(a) > 0", "../x.json", "x.json", "[1, 2]", "null", "\0", "ß"),
]
KEYS = [
    *("type", "config", "id", "substeps", "steps", "if_true", "if_false", "condition", "items"),
    *("item_key", "result_key", "merge", "delay", "timeout", "max_concurrency", "fail_fast"),
    *("key", "value", "text", "item", "recipe_path", "context_overrides", "a"),
]
TYPES = [
    *("parallel", "loop", "conditional", "execute_recipe", "set_context", "read_files"),
    *("t_put", "t_add", "t_fail", "t_async_put", "nothing"),
]
plain = st.one_of(
    st.sampled_from(WORDS), st.integers(-2, 3), st.booleans(), st.none(), st.just(0.001)
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)


def fields_of(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(steps, max_size=3)
    good = {
        "parallel": {"substeps": several, "merge": st.booleans(), "result_key": st.just("r")},
        "loop": {
            "items": st.sampled_from(["a", "data", "{{ a }}", [1, 2], {"k": "{{ a }}"}]),
            "item_key": st.just("x"),
            "result_key": st.just("r"),
            "substeps": several,
            "fail_fast": st.booleans(),
        },
        "conditional": {
            "condition": st.sampled_from(["a", "len(data) > 0", "{{ x }} == 1", True]),
            "if_true": several,
            "if_false": st.one_of(several, steps),
        },
        "set_context": {"key": st.sampled_from(["a", "x", "r"]), "value": values},
        "t_add": {"key": st.just("a"), "item": values},
        "t_fail": {"text": st.just("boom")},
        "t_async_put": {"key": st.just("x"), "value": values},
    }
    return st.one_of(
        *[st.fixed_dictionaries({"type": st.just(name), **fields}) for name, fields in good.items()]
    )


def mutated(step: dict[str, Any], key: str, value: Any, how: int) -> dict[str, Any]:
    if how == 0:
        return {**step, key: value}
    if how == 1:
        return {name: field for name, field in step.items() if name != key}
    return {"type": step["type"], "config": {k: v for k, v in step.items() if k != "type"}}


steps = st.recursive(
    fields_of(st.just(put("x", "{{ a }}"))),
    lambda inner: st.one_of(
        fields_of(inner),
        st.builds(mutated, fields_of(inner), st.sampled_from(KEYS), values, st.integers(0, 2)),
        st.fixed_dictionaries({"type": st.sampled_from(TYPES)}),
    ),
    max_leaves=6,
)


def what_is_raised(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


@given(st.lists(st.one_of(steps, steps, steps, values), max_size=4))
def test_any_document_becomes_a_pipeline_or_its_mistakes_are_told(document: list[Any]) -> None:
    loaded: list[Any] = []
    config = PipelineConfig(timeout=20)
    error = what_is_raised(lambda: loaded.append(load_pipeline(document, "recipe", config=config)))
    if error is not None:
        assert isinstance(error, DocumentError)
        assert error.problems
        assert all(isinstance(problem, DocumentProblem) for problem in error.problems)
        return
    context: PipelineContext[Any] = PipelineContext(results={"a": [1], "data": [{"a": [2]}]})
    error = what_is_raised(lambda: loaded[0].run(context))
    assert not isinstance(error, RunTimeoutError | RecursionError)
    assert isinstance(context.results, dict)


@given(st.lists(st.sampled_from("abc"), max_size=3), st.integers(1, 4))
def test_a_loop_comes_to_the_same_with_any_limit(items: list[str], limit: int) -> None:
    loop = {
        "type": "loop",
        "items": items,
        "item_key": "x",
        "result_key": "out",
        "max_concurrency": limit,
        "fail_fast": False,
        "substeps": [
            {"type": "t_fail", "text": "boom", "if_item": "b"},
            put("out", "{{ x }}{{ __index }}"),
        ],
    }
    found = load_pipeline([loop]).run().results
    assert found["out"] == [None if x == "b" else f"{x}{i}" for i, x in enumerate(items)]
    assert [error["index"] for error in found["out__errors"]] == [
        index for index, item in enumerate(items) if item == "b"
    ]
    assert [entry["index"] for entry in found["out__history"]] == list(range(len(items)))


# What is asked of the parts


def test_words_for_graphs() -> None:
    chosen = {"type": "conditional", "condition": "a  > 1", "if_true": []}
    loops = [{"type": "loop", "items": i, "item_key": "x", "substeps": []} for i in ("a.b", [1])]
    always = {"type": "conditional", "condition": False}
    pipeline: Any = load_pipeline([chosen, *loops, always])
    first, second, third, last = pipeline.steps
    assert first.condition.words == "a  > 1"
    assert last.condition.words == "false"
    assert (second.over.words, third.over.words) == ("a.b", "[1]")
    assert first.condition.version != last.condition.version


def test_a_collector_leaves_other_errors_as_they_are() -> None:
    late = GroupTimeoutError("late")
    failed = ParallelGroupError("failed", [ValueError()])
    pipeline: Any = load_pipeline([{"type": "parallel", "substeps": [note("x")]}])
    block, loop = pipeline.steps[0].collector, RoundCollector("l", "x", "out")
    assert loop.failure(late, ()) is late
    assert [one.failure(failed, ()) for one in (block, loop)] == [failed] * 2


def test_a_timeout_names_some_of_many_substeps() -> None:
    steps = [{"type": "parallel", "substeps": [note("x")] * 23, "timeout": 1.5}]
    pipeline: Any = load_pipeline(steps)
    ended = BranchEnd(0, "note", Outcome.SUCCEEDED, None, {}, None, True)
    left = [BranchEnd(index, "note", None, None, {}, None, False) for index in range(1, 23)]
    late = GroupTimeoutError("late", outcomes={"note": Outcome.FAILED}, errors=[ValueError()])
    found = pipeline.steps[0].collector.failure(late, [ended, *left])
    assert (found.outcomes, found.errors) == (late.outcomes, late.errors)
    assert "after 1.5 s, with 22 of 23 substeps not ended: 1 (t_note), 2 " in str(found)
    assert str(found).endswith(", 20 (t_note) and 2 more; give it more seconds")


def test_an_error_that_was_recorded_is_told_as_it_was() -> None:
    assert type_and_text(RecordedError("builtins.ValueError", "boom")) == ("ValueError", "boom")
    assert type_and_text(ValueError("boom")) == ("ValueError", "boom")


def test_a_recipe_has_no_references() -> None:
    pipeline: Any = load_pipeline([{"type": "conditional", "condition": "a"}])
    holds = pipeline.steps[0].condition
    names = ResultNames(PipelineContext(), holds.place, holds.surroundings)
    with pytest.raises(ConditionError, match="only workflows"):
        names.reference("${a}")
    fields = {"a": 1}
    assert render_nothing(fields, PipelineContext()) is fields


def test_a_block_ends_early_and_a_loop_without_fail_fast_does_not() -> None:
    pipeline: Any = load_pipeline(
        [
            {"type": "parallel", "substeps": [note("x")]},
            {"type": "loop", "items": [1], "item_key": "x", "substeps": [], "fail_fast": False},
        ]
    )
    block, loop = pipeline.steps
    assert block.config.error_strategy is ErrorStrategy.FAIL_FAST
    assert loop.config.error_strategy is ErrorStrategy.FAIL_SLOW
