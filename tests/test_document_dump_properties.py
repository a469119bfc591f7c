"""Random pipelines, written as documents and loaded from them, run as they did before."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import (
    Branch,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    Serial,
    TaskStep,
    step,
)
from task_pipeline.documents import STEP_REGISTRY, dump_pipeline, load_pipeline, register_step
from task_pipeline.journal.outline import outline_of
from tests.building import Ledger, told
from tests.drawn import DYNAMIC, Group, Step
from tests.dynamic_work import Asked
from tests.pipelines import EARLY, STARTS, trees
from tests.test_properties import (
    ledger,
    plain_context,
    plain_error,
    run_here,
    simulate,
    status_outcomes,
)

CASES = settings().max_examples
DRAWN: dict[int, Step] = {}
"""What the steps of the registered types below do, by the number that they have as a field."""

pytestmark = pytest.mark.stress

Functions = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module", autouse=True)
def _types() -> Iterator[None]:
    """The types are there for these tests alone, and nothing is logged of thousands of runs."""
    register_step("drawn")(Drawn)
    register_step("drawn_coroutine")(DrawnCoroutine)
    logger = logging.getLogger("task_pipeline")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)
    del STEP_REGISTRY["drawn"], STEP_REGISTRY["drawn_coroutine"]
    DRAWN.clear()


class Drawn(PipelineStep):
    """A step that does what was drawn under its number; `text` is for what must not be read."""

    retries = 1  # of the class: a step with none says so itself

    def __init__(self, number: int, text: str = "${no.reference}") -> None:
        self.number = number
        self.text = text

    def run(self, context: Any) -> Any:
        assert "$${" not in self.text.removeprefix("$$${")
        returned = told(DRAWN[self.number].work, context, context.attempt)
        return returned if isinstance(returned, PipelineContext) else None


class DrawnCoroutine(Drawn):
    """The same as a coroutine, which lets others go first."""

    async def run(self, context: Any) -> Any:
        await asyncio.sleep(0)  # the step's work
        return super().run(context)


class Builder:
    """Builds a pipeline of which all that a document must name has a name.

    `is_real`: for real workers, which have coroutine steps, and no delays to wait for.
    """

    def __init__(self, is_real: bool = False) -> None:
        self.functions: Functions = {}
        self._is_real = is_real

    def pipeline(self, tree: Group) -> Pipeline:
        name = f"tree of {len(tree.children)}" if len(tree.children) > 1 else None
        return Pipeline(self._children(tree), self._config(tree.settings), name=name)

    def _children(self, group: Group) -> list[TaskStep]:
        return [self._node(child) for child in group.children]

    def _node(self, node: Step | Group) -> TaskStep:
        if isinstance(node, Group):
            return self._group(node)
        return self._function(node) if node.is_function else self._step(node)

    def _step(self, drawn: Step) -> PipelineStep:
        number = len(DRAWN)
        DRAWN[number] = drawn
        is_coroutine = drawn.is_coroutine and self._is_real
        made = (DrawnCoroutine if is_coroutine else Drawn)(number)
        if number % 2:
            made.text = "$${x} {{ y }} ${"
        for name, value in self._attributes(drawn).items():
            setattr(made, name, value)
        return made

    def _attributes(self, drawn: Step) -> dict[str, Any]:
        return {
            "step_id": drawn.name,
            "retries": (
                RetryPolicy(attempts=drawn.attempts, backoff="constant", delay=drawn.delay)
                if drawn.delay and not self._is_real
                else drawn.attempts - 1
            ),
            "critical": drawn.critical,
            "isolated": drawn.isolated,
            "timeout": drawn.timeout,
            "limit": drawn.limit,
        }

    def _function(self, drawn: Step) -> TaskStep:
        def function(context: Any, more: str = "") -> Any:
            return told(drawn.work, context, context.attempt)

        async def coroutine(context: Any, more: str = "") -> Any:
            await asyncio.sleep(0)  # the step's work
            return told(drawn.work, context, context.attempt)

        plain = coroutine if drawn.is_coroutine and self._is_real else function
        attributes = self._attributes(drawn)
        if drawn.never_on:  # no document can say that: what is registered is marked already
            delay = 0.0 if self._is_real else drawn.delay
            attributes["retries"] = RetryPolicy(
                attempts=drawn.attempts, delay=delay, never_on=drawn.never_on
            )
            marked: TaskStep = self._named(step(**attributes)(plain))
            return marked
        named = self._named(plain)
        if len(self.functions) % 2:
            named = functools.partial(named, more=f"${{{drawn.name}}}")
        made: TaskStep = step(**attributes)(named)
        return made

    def _named(self, function: Any) -> Any:
        self.functions[f"function {len(self.functions)}"] = function
        return function

    def _group(self, group: Group) -> TaskStep:
        children = self._children(group)
        if group.kind in DYNAMIC:
            return self._dynamic(group, children)
        if group.kind == "list":
            return children
        if group.kind == "serial":
            return Serial(children, group.name)
        if group.kind == "parallel":
            return Parallel(children, group.name, self._parallel(group.settings))
        return Pipeline(children, self._config(group.settings), name=group.name)

    def _dynamic(self, group: Group, children: list[TaskStep]) -> TaskStep:
        asked = group.asked
        if isinstance(asked, Asked):
            asked = self._named(functools.partial(told, asked))
        if group.kind == "map":
            if isinstance(asked, tuple):  # sets are what JSON does not have
                asked = [item for item in asked if json_has(item)]
            return Map(children[0], asked, *group.keys, self._parallel(group.settings), group.name)
        if group.kind == "branch":
            then, otherwise = [*children, None][:2]
            assert then is not None
            return Branch(asked, then, otherwise, group.name)
        return Loop(children[0], asked, group.times, group.name)

    def _config(self, given: Mapping[str, Any]) -> PipelineConfig:
        chosen = dict(given)
        for reducer in chosen.get("reducers", {}).values():
            self.functions[reducer.__name__] = reducer
        parallel = self._parallel(chosen.pop("parallel", {}))
        return PipelineConfig(parallel_config=parallel, **chosen)

    def _parallel(self, given: Mapping[str, Any]) -> ParallelConfig:
        unwanted = {"delay"} if self._is_real else set()
        return ParallelConfig(**{key: given[key] for key in given.keys() - unwanted})


def json_has(value: Any) -> bool:
    return not isinstance(value, set) and not (
        isinstance(value, dict) and any(isinstance(inner, set) for inner in value.values())
    )


def through_json(document: dict[str, Any]) -> Any:
    return json.loads(json.dumps(document))


def through_yaml(document: dict[str, Any]) -> Any:
    return yaml.safe_dump(document, sort_keys=False)


def loaded(pipeline: Pipeline, functions: Functions, way: Callable[..., Any]) -> Pipeline:
    document = dump_pipeline(pipeline, functions)
    note(json.dumps(document))
    again = load_pipeline(way(document), "workflow", functions=functions)
    assert again.name == pipeline.name
    assert dump_pipeline(again) == document
    return again


def outline(pipeline: Pipeline) -> Any:
    """As a journal has it, but for the versions that steps of documents have of their fields."""
    return without_versions(outline_of(pipeline._plan))


def without_versions(entry: Any) -> Any:
    if isinstance(entry, list):
        return [without_versions(inner) for inner in entry]
    if not isinstance(entry, dict):
        return entry
    return {key: without_versions(inner) for key, inner in entry.items() if key != "version"}


def specs(pipeline: Pipeline) -> list[dict[str, Any]]:
    """What the plan keeps of each step, but for what was written to make it."""
    unlike = {"call", "source", "version", "description"}
    return [
        {name: getattr(spec, name) for name in spec.__slots__ if name not in unlike}
        for spec in pipeline._plan.specs
    ]


def limits(pipeline: Pipeline) -> list[Any]:
    plan = pipeline._plan
    return [
        plan.limits,
        [node.limits for node in plan.steps],
        [(group.timeout, group.config, group.delay, group.needed) for group in plan.groups],
    ]


@settings(max_examples=2 * CASES)
@given(trees(), STARTS, st.integers(0, 2**32), st.sampled_from([through_json, through_yaml]))
def test_a_pipeline_that_was_dumped_and_loaded_is_the_same_and_runs_the_same(
    tree: Group, start: dict[str, Any], seed: int, way: Callable[..., Any]
) -> None:
    note(f"{tree} on {start}")
    builder = Builder()
    pipeline = builder.pipeline(tree)
    again = loaded(pipeline, builder.functions, way)
    assert outline(again) == outline(pipeline)
    assert specs(again) == specs(pipeline)
    assert limits(again) == limits(pipeline)
    for chance in (seed, seed + 1):
        one, other = (simulate(each, start, chance, 3) for each in (pipeline, again))
        assert plain_context(other.context) == plain_context(one.context)
        assert other.outcomes == one.outcomes
        assert other.outcome is one.outcome
        assert same_error(other.error, one.error)


@settings(max_examples=CASES)
@given(trees(EARLY), STARTS, st.integers(0, 2**32))
def test_it_runs_the_same_where_groups_end_early(
    tree: Group, start: dict[str, Any], seed: int
) -> None:
    note(f"{tree} on {start}")
    builder = Builder()
    pipeline = builder.pipeline(tree)
    again = loaded(pipeline, builder.functions, through_json)
    one, other = (simulate(each, start, seed, 1 + seed % 4) for each in (pipeline, again))
    assert plain_context(other.context) == plain_context(one.context)
    assert other.outcomes == one.outcomes
    assert same_error(other.error, one.error)


@settings(max_examples=CASES)
@given(trees(), STARTS)
def test_real_workers_run_the_same_coroutines_too(tree: Group, start: dict[str, Any]) -> None:
    note(f"{tree} on {start}")
    builder = Builder(is_real=True)
    pipeline = builder.pipeline(tree)
    again = loaded(pipeline, builder.functions, through_json)
    (one, error), (other, later) = (run(each, start) for each in (pipeline, again))
    assert plain_context(other) == plain_context(one)
    assert same_error(later, error)
    assert status_outcomes(again) == status_outcomes(pipeline)


def run(pipeline: Pipeline, start: dict[str, Any]) -> tuple[Ledger, BaseException | None]:
    return run_here(pipeline, ledger(start))


def same_error(one: BaseException | None, other: BaseException | None) -> bool:
    return plain_error(one) == plain_error(other) and str(one) == str(other)
