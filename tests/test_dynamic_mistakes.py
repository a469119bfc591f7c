"""What is wrong with a `Map`, `Branch` or `Loop` is told when the pipeline is made, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from task_pipeline import (
    Branch,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    PipelineExecutor,
    ProgressTracker,
    Serial,
    step,
)


def wrong(value: Any) -> Any:
    """A value of a type that a checker would not let pass."""
    return value


def fine(context: Any) -> int:
    return 1


def item(context: Any) -> int:
    return 1


MISTAKES: list[tuple[Any, str]] = [
    (Map(fine, ""), "path 0, Map: over must not be ''; name a key of results"),
    (Map(fine, wrong(b"ab")), "path 0, Map: over must not be b'ab'; name a key of results"),
    (Map(fine, wrong(5)), "path 0, Map: over must be a key, a function or a list, not int 5"),
    (Map(fine, wrong(None)), "path 0, Map: over must be a key, a function or a list, not None"),
    (
        Map(fine, wrong({1, 2})),
        "path 0, Map: over must be a key, a function or a list, not set",
    ),
    (Map(fine, "xs", ""), "path 0, Map: item_key must be a key of results, not ''"),
    (Map(fine, "xs", wrong(None)), "path 0, Map: item_key must be a key of results, not None"),
    (Map(fine, "xs", "k", ""), "path 0, Map: result_key must be a key of results, or None, not ''"),
    (Map(fine, "xs", "k", "k"), "both"),
    (Map(item, "xs"), "Map: items and results would both stand under 'item'"),
    (Map(step(step_id="x")(fine), "xs", "x"), "Map: items and results would both stand under 'x'"),
    (Map(fine, "xs", name=" "), "path 0: name must be a text that is not empty, not ' '"),
    (
        Map(fine, "xs", config=wrong({"timeout": 3})),
        "path 0: config must be a ParallelConfig, not",
    ),
    (Map(wrong(5), "xs"), "path 0.0: 5 is not a step"),
    (Map([fine, "no"], "xs"), "path 0.0.1: 'no' is not a step"),
    (Map(step(timeout=0)(fine), "xs"), "path 0.0, step fine: timeout must be seconds above 0"),
    (Branch("", fine), "path 0, Branch: condition must be a function or a key of results, not ''"),
    (
        Branch(wrong(True), fine),
        "path 0, Branch: condition must be a function or a key of results, not",
    ),
    (Branch("k", wrong(None)), "path 0.0: None is not a step"),
    (Branch("k", fine, wrong(5)), "path 0.1: 5 is not a step"),
    (Loop(fine), "path 0, Loop: a Loop needs `while_` or `times`, or it would never end"),
    (
        Loop(fine, while_=wrong(5)),
        "Loop: while_ must be a function or a key of results, not 5",
    ),
    (Loop(fine, times=-1), "path 0, Loop: times must be a whole number from 0, not -1"),
    (Loop(fine, times=True), "path 0, Loop: times must be a whole number from 0, not True"),
    (Loop(fine, times=wrong(2.0)), "path 0, Loop: times must be a whole number from 0, not 2.0"),
]


@pytest.mark.parametrize(("node", "text"), MISTAKES, ids=range(len(MISTAKES)))
def test_each_mistake_is_told_with_its_path(node: Any, text: str) -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([node])
    [problem] = caught.value.problems
    assert text in problem
    assert problem.startswith("path 0")


def test_all_mistakes_are_told_together_at_any_depth() -> None:
    steps: list[Any] = [
        Map(Map(wrong(5), wrong(7), item_key=""), "", result_key=wrong(3)),
        [Branch(wrong(0), [fine, [Loop(wrong("x"))]], otherwise=wrong(9))],
        Serial([Loop([Parallel([fine, "y"])], times=-1, name="")]),
    ]
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline(steps)
    where = [problem.split(":")[0].split(" is")[0] for problem in caught.value.problems]
    assert where == [
        *("path 0, Map", "path 0, Map", "path 0.0, Map", "path 0.0, Map", "path 0.0.0"),
        *("path 1.0, Branch", "path 1.0.0.1.0, Loop", "path 1.0.0.1.0.0", "path 1.0.1"),
        *("path 2.0", "path 2.0, Loop", "path 2.0.0.0.1"),
    ]
    with pytest.raises(PipelineDefinitionError) as again:
        PipelineExecutor().execute(steps, PipelineContext())
    assert again.value.problems == caught.value.problems
    with pytest.raises(PipelineDefinitionError):
        ProgressTracker(steps)


def test_a_list_that_contains_itself_is_found_in_them_too() -> None:
    steps: list[Any] = [fine]
    steps.append(Branch("k", [Loop(steps, times=2)]))
    with pytest.raises(PipelineDefinitionError, match="this list contains itself"):
        Pipeline(steps)
    looped: list[Any] = [fine]
    looped.append(Map(looped, "xs"))
    with pytest.raises(PipelineDefinitionError, match="this list contains itself"):
        Pipeline([Map(looped, "xs")])


def test_a_quorum_is_looked_at_when_the_items_are_known() -> None:
    config = ParallelConfig(operator=LogicOperator.QUORUM, quorum=3)
    assert Pipeline([Map(fine, [1, 2, 3], config=config)]).run().results == {"fine": [1, 1, 1]}


def test_one_object_in_several_places_is_told_apart() -> None:
    node = Map(fine, [1, 2])
    found = Pipeline([node, [node, Loop(node, times=1)]]).run().results
    assert found == {"fine": [1, 1], "fine#2": [1, 1], "fine#3": [1, 1]}


def test_they_say_what_they_are() -> None:
    for node in (Map(fine, "xs", name="all"), Branch("k", fine), Loop(fine, times=1, name="all")):
        assert repr(node).startswith(f"<{type(node).__name__} {node.name or ''}")
