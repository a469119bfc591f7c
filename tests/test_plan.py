"""How nested lists are read: the shape they run in, ids, paths, shares, and every mistake."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Parallel,
    ParallelConfig,
    ParallelTaskExecutor,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    PipelineExecutor,
    PipelineStep,
    ProgressTracker,
    RetryPolicy,
    Serial,
    SharedThreadPoolExecutor,
    step,
)
from task_pipeline.compiler import compile_plan
from task_pipeline.groups import PipelineGroup
from task_pipeline.plan import GroupNode, Kind, Node, Plan, walk


def named(step_id: str, **attributes: Any) -> Any:
    return step(step_id=step_id, **attributes)(lambda context: None)


a, b, c, d, e, f = map(named, "abcdef")


def plan_of(steps: Any, **settings: Any) -> Plan:
    return compile_plan(PipelineGroup(steps, config=PipelineConfig(**settings)))


def shape(node: Node) -> str:
    """As DESIGN.md writes it: `a → (b ∥ c)`."""
    if not isinstance(node, GroupNode):
        return node.name
    sign = " → " if node.kind is Kind.SERIAL else " ∥ "
    return "(" + sign.join(map(shape, node.children)) + ")"


# Nesting


@pytest.mark.parametrize(
    ("written", "runs_as"),
    [
        ([a, b], "(a → b)"),
        ([a, [b, c], d], "(a → (b ∥ c) → d)"),
        ([[[a, b], [c, d]]], "(((a → b) ∥ (c → d)))"),
        ([[a, [b, [c, d], e]]], "((a ∥ (b → (c ∥ d) → e)))"),
        ([a, Parallel([b, c], config=ParallelConfig(timeout=3)), d], "(a → (b ∥ c) → d)"),
        ([a, []], "(a → ())"),
        ([], "()"),
        ([a, Pipeline([b, [c, d]]), e], "(a → (b → (c ∥ d)) → e)"),
        ([[a, Pipeline([b, [c, d]])]], "((a ∥ (b → (c ∥ d))))"),
        ([Serial([a, [b, c]])], "((a → (b ∥ c)))"),
        ([[Serial([a, [b, [c, d]]]), e]], "(((a → (b ∥ (c → d))) ∥ e))"),
        ([Parallel([a, [b, [c, d]]])], "((a ∥ (b → (c ∥ d))))"),
        ([[Parallel([a, [b, c]])]], "(((a ∥ (b → c))))"),
        ([Serial([Parallel([Serial([Parallel([a, b])]), c])])], "(((((a ∥ b)) ∥ c)))"),
        ((a, (b, c)), "(a → (b ∥ c))"),
        ([Serial((a, (b, c)))], "((a → (b ∥ c)))"),
        (collections.deque([a, [b, c]]), "(a → (b ∥ c))"),
    ],
)  # fmt: skip
def test_each_line_of_the_nesting_table(written: Any, runs_as: str) -> None:
    assert shape(plan_of(written).root) == runs_as
    assert Pipeline(written).run().results == {}


def test_order_and_side_by_side_are_what_they_say() -> None:
    seen: list[str] = []

    def note(context: PipelineContext[Any]) -> None:
        seen.append(str(context.step_id))

    first, second, third = (step(step_id=name)(functools.partial(note)) for name in "123")
    Pipeline([first, Serial([second, Serial([third])]), Pipeline([first])]).run()
    assert seen == ["1", "2", "3", "1#2"]


@pytest.mark.no_cover
def test_guarantee_1_nesting_is_as_deep_as_memory_allows() -> None:
    nested: Any = [a]
    for _ in range(5000):
        nested = [nested]
    plan = plan_of(nested)
    [node] = plan.steps
    assert (node.depth, node.share) == (5001, 100.0)
    assert node.path == ".".join("0" * 5001)


def test_the_plan_is_made_once_and_does_not_follow_the_lists() -> None:
    inner: list[Any] = [named("x")]
    steps: list[Any] = [inner]
    pipeline = Pipeline(steps)
    steps.append(named("late"))
    inner.append(lambda context: 1)
    assert pipeline.run().results == {}
    assert [*pipeline.get_status()["step_details"]] == ["x"]


# Paths, ids and names


def test_every_node_has_its_path() -> None:
    plan = plan_of([a, [b, [c, [d]], []], Serial([e, Parallel([f], name="io")], name="s"), []])
    found = []
    walk(plan, lambda node: found.append((node.path, node.name)))
    assert found == [
        *[("", "pipeline"), ("0", "a"), ("1", "parallel_group_1"), ("1.0", "b")],
        *[("1.1", "serial_group_1.1"), ("1.1.0", "c"), ("1.1.1", "parallel_group_1.1.1")],
        *[("1.1.1.0", "d"), ("1.2", "serial_group_1.2"), ("2", "s"), ("2.0", "e")],
        *[("2.1", "io"), ("2.1.0", "f"), ("3", "parallel_group_3")],
    ]
    assert plan.root.label == "'pipeline'"
    assert plan.steps[2].label == "'c' at path 1.1.0"
    assert [(node.leaf, node.first, node.last) for node in plan.steps[:2]] == [(0, 0, 1), (1, 1, 2)]


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ([a, b], "a b"),
        ([a, a, a], "a a#2 a#3"),
        ([a, [a, [a, b]], Serial([b, a])], "a a#2 a#3 b b#2 a#4"),
        ([named("a#2"), a, a], "a#2 a a#3"),
        ([a, a, named("a#2")], "a a#3 a#2"),
        ([a, a, named("a#2"), named("a#2")], "a a#3 a#2 a#2#2"),
        ([a, a, a, named("a#3"), named("a#2")], "a a#4 a#5 a#3 a#2"),
        ([named("a#2"), named("a#2"), a, a, named("a#2#2")], "a#2 a#2#3 a a#3 a#2#2"),
        ([Pipeline([a]), Pipeline([a])], "a a#2"),
    ],
)
def test_the_same_id_again_becomes_another(written: Any, ids: str) -> None:
    assert [node.step_id for node in plan_of(written).steps] == ids.split()


def test_a_groups_config_is_its_own_over_the_pipelines() -> None:
    default = ParallelConfig(operator=LogicOperator.OR, timeout=5, max_workers=3)
    strict = ParallelConfig(operator=LogicOperator.AND, error_strategy=ErrorStrategy.FAIL_FAST)
    inner = Pipeline([[c]], PipelineConfig(parallel_config=ParallelConfig(delay=2), timeout=7))
    plan = plan_of([[a], Parallel([b], config=strict), inner], parallel_config=default)
    plain, own, within = (group for group in plan.groups if group.kind is Kind.PARALLEL)
    assert plain.config == default
    assert own.config == ParallelConfig(
        operator=LogicOperator.AND,
        error_strategy=ErrorStrategy.FAIL_FAST,
        timeout=5,
        max_workers=3,
    )
    assert within.config == ParallelConfig(delay=2)
    assert [group.timeout for group in plan.groups] == [None, 5, 5, 7, None]
    assert plan.limits == [3, 3]


# Shares of the progress


def shares(steps: Any) -> list[float]:
    return [round(node.share, 2) for node in plan_of(steps).steps]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([a, [b, c, d], e], [33.33, 11.11, 11.11, 11.11, 33.33]),
        ([a], [100.0]),
        ([[a, [b, [c, d]]]], [50.0, 25.0, 12.5, 12.5]),
        ([named("w", weight=3), a], [75.0, 25.0]),
        ([[named("w", weight=3), a], b], [37.5, 12.5, 50.0]),
        ([named("w", weight=0), a], [0.0, 100.0]),
        ([named("w", weight=0), named("v", weight=0)], [50.0, 50.0]),
        ([named("w", weight=0), []], [100.0]),
        ([[named("w", weight=0)], a], [50.0, 50.0]),
        ([a, [], [[]], Serial([])], [100.0]),
        ([a, Serial([b, c]), Pipeline([d, [e, f]])], [33.33, 16.67, 16.67, 16.67, 8.33, 8.33]),
        ([named("w", weight=1e-300), named("v", weight=1e-300)], [50.0, 50.0]),
        ([named("w", weight=1e308), [named("v", weight=1e308)] * 2], [100.0, 0.0, 0.0]),
        ([named("w", weight=1e308), named("v", weight=1e308)], [50.0, 50.0]),
    ],
)
def test_the_progress_is_shared_out_from_the_top_down(written: Any, expected: list[float]) -> None:
    assert shares(written) == expected


# Mistakes


class Fetch(PipelineStep):
    def run(self, context: Any) -> Any:
        return None


def fetch(**attributes: Any) -> Fetch:
    made = Fetch()
    vars(made).update(attributes)
    return made


class Broken(Fetch):
    @property
    def weight(self) -> float:
        raise LookupError("no weight")


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


MISTAKES: list[tuple[str, Any, str]] = [
    ("class", Fetch, "Fetch is a class; write Fetch() to make a step"),
    ("text", "load", "'load' is not a step; a list holds PipelineStep objects, functions, lists"),
    ("number", 5, "5 is not a step"),
    ("nothing", None, "None is not a step"),
    ("dict", {"a": a}, "is not a step"),
    ("unspeakable", Unspeakable(), "<Unspeakable> is not a step"),
    ("long", "x" * 100, "'" + "x" * 56 + "... is not a step"),
    ("timeout -1", fetch(timeout=-1), "timeout must be seconds above 0, or None, not -1"),
    ("timeout 0", fetch(timeout=0), "timeout must be seconds above 0, or None, not 0"),
    ("timeout True", fetch(timeout=True), "timeout must be seconds above 0, or None, not True"),
    ("timeout inf", fetch(timeout=float("inf")), "timeout must be seconds above 0"),
    ("timeout text", fetch(timeout="5"), "timeout must be seconds above 0, or None, not '5'"),
    ("timeout huge", fetch(timeout=10**400), "timeout must be seconds above 0, or None, not 1000"),
    ("weight huge", fetch(weight=10**400), "weight must be a number from 0, not 1000"),
    ("weight nan", fetch(weight=float("nan")), "weight must be a number from 0, not nan"),
    ("weight -1", fetch(weight=-1), "weight must be a number from 0, not -1"),
    ("weight True", fetch(weight=True), "weight must be a number from 0, not True"),
    ("weight None", fetch(weight=None), "weight must be a number from 0, not None"),
    ("retries -1", fetch(retries=-1), "retries must be a whole number from 0, or a RetryPolicy"),
    ("retries 1.0", fetch(retries=1.0), "retries must be a whole number from 0"),
    ("retries True", fetch(retries=True), "retries must be a whole number from 0"),
    ("retries None", fetch(retries=None), "retries must be a whole number from 0"),
    ("critical", fetch(critical=1), "critical must be True or False, not 1"),
    ("isolated", fetch(isolated="yes"), "isolated must be True, False or None, not 'yes'"),
    ("step_id empty", fetch(step_id=" ", description="x"), "step_id must be a text that is not"),
    ("step_id number", fetch(step_id=5), "step_id must be a text that is not empty, not 5"),
    ("description", fetch(description=""), "description must be a text that is not empty, not ''"),
    ("property", Broken(), "reading 'weight' raised LookupError: no weight"),
    ("by @step", named("x", timeout=-2), "timeout must be seconds above 0, or None, not -2"),
    ("group name", Serial([a], name=""), "name must be a text that is not empty, not ''"),
    ("group name number", Parallel([a], name=5), "name must be a text that is not empty"),  # type: ignore[arg-type]  # a mistake
    ("children text", Serial("ab"), "a group's children must be a list, not 'ab'"),
    ("children set", Parallel({a}), "a group's children must be a list, not"),  # type: ignore[arg-type]  # a mistake
    ("children generator", Serial(x for x in [a]), "a group's children must be a list"),  # type: ignore[arg-type]  # a mistake
    ("config", Parallel([a], config={}), "config must be a ParallelConfig, not {}"),  # type: ignore[arg-type]  # a mistake
    (
        "quorum",
        Parallel([a, b], config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=3)),
        "quorum 3 is more than its 2 branches can reach",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "text"), [pytest.param(*row, id=name) for name, *row in MISTAKES]
)
def test_a_mistake_is_reported_with_its_path(mistake: Any, text: str) -> None:
    for steps, path in [([mistake], "0"), ([a, [b, [c, mistake]]], "1.1.1")]:
        with pytest.raises(PipelineDefinitionError) as caught:
            Pipeline(steps)
        [problem] = caught.value.problems
        assert problem.startswith(f"path {path}")
        assert text in problem
        assert str(caught.value) == f"1 mistake in the pipeline's definition:\n  {problem}"
        assert isinstance(caught.value, ValueError)


def test_all_mistakes_are_reported_together() -> None:
    items = [item for _, item, _ in MISTAKES]
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([a, items, a, Serial(items)])
    expected = [
        (f"path {outer}.{index}", text)
        for outer in (1, 3)
        for index, (_, _, text) in enumerate(MISTAKES)
    ]
    assert len(caught.value.problems) == len(expected)
    for problem, (path, text) in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith((f"{path}:", f"{path},"))
        assert text in problem
    assert str(caught.value).startswith(f"{len(expected)} mistakes in the pipeline's definition:")


def test_several_mistakes_of_one_step_are_all_reported() -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([fetch(timeout=-1, retries=-1, weight=-1, critical=None)])
    assert [problem.split(": ")[1].split()[0] for problem in caught.value.problems] == [
        *("timeout", "retries", "critical", "weight")
    ]


def test_a_list_that_contains_itself_is_reported_where_it_does() -> None:
    direct: list[Any] = [a]
    direct.append(direct)
    around: list[Any] = [a]
    around.append([b, Serial(around)])
    for steps, path in ((direct, "1"), (around, "1.1"), ([c, direct], "1.1")):
        with pytest.raises(PipelineDefinitionError) as caught:
            Pipeline(steps)
        assert caught.value.problems == (f"path {path}: this list contains itself",)
    twice = [a, b]
    assert shape(plan_of([twice, twice]).root) == "((a ∥ b) → (a#2 ∥ b#2))"


@pytest.mark.parametrize("steps", ["ab", b"ab", 5, None, {a}, {"a": a}, (x for x in [a]), a])
def test_what_is_no_list_of_steps_is_refused_everywhere(steps: Any) -> None:
    takers: list[Callable[[Any], Any]] = [
        *(Pipeline, Pipeline.create, ProgressTracker),
        lambda steps: PipelineExecutor().execute(steps, PipelineContext()),
        lambda steps: ParallelTaskExecutor().execute(steps, PipelineContext()),
    ]
    for taker in takers:
        with pytest.raises(PipelineDefinitionError, match="a pipeline takes a list of steps, not"):
            taker(steps)


def test_wrong_arguments_of_a_pipeline_are_reported_together() -> None:
    wrong: Any = {"config": {}, "progress_callback": 5, "executor": "mine"}
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([a], **wrong)
    assert caught.value.problems == (
        "config must be a PipelineConfig, not {}",
        "progress_callback must be callable, not 5",
        (
            "executor: there is no executor 'mine'; it is one of 'thread', 'inline', 'process', or "
            "an object"
        ),
    )
    with pytest.raises(PipelineDefinitionError, match="name must be a text that is not empty"):
        Pipeline([a], name=" ")
    Pipeline(
        [a], PipelineConfig(), print, executor=SharedThreadPoolExecutor(max_workers=1), name="n"
    )


def test_a_quorum_may_not_be_larger_than_any_group_it_is_for() -> None:
    two = PipelineConfig(parallel_config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=2))
    Pipeline([[a, b], [], [a, b, c]], two)
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([[a, b], [c]], two)
    assert caught.value.problems == ("path 1: quorum 2 is more than its 1 branches can reach",)


def test_groups_say_what_they_are() -> None:
    assert repr(Serial([a, b], name="both")) == "<Serial both of 2>"
    assert "of ?" in repr(Serial(iter([a])))  # type: ignore[arg-type]  # a mistake
    assert "of 1" in repr(Pipeline([RetryPolicy.__call__]))
