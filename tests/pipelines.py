"""Pipelines drawn by Hypothesis as plain data, and the real `Pipeline` built from one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import strategies as st

from task_pipeline import (
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    Serial,
    SharedThreadPoolExecutor,
    TaskStep,
    step,
)
from tests.interpreter import Group, Step
from tests.step_work import AT_A_PLACE, READS, WHOLE, Edit, Work

KEYS = ("a", "b", "c", "d")
INNER = ("x", "y")
NAMES = ("load", "parse", "rank")
ERRORS: tuple[type[Exception], ...] = (ValueError, KeyError, OSError)


# Drawing


SCALARS = st.sampled_from([0, 1, 3, -2, 2.5, True, False, None, "s", "t"])
LISTS = st.lists(SCALARS, max_size=3)
VALUES: st.SearchStrategy[Any] = st.one_of(
    SCALARS,
    SCALARS,
    LISTS,
    st.sets(st.sampled_from("pqr"), max_size=3),
    st.dictionaries(st.sampled_from(INNER), st.one_of(SCALARS, LISTS), max_size=2),
)
PLACES = st.one_of(
    st.tuples(st.sampled_from(KEYS)),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(INNER)),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(INNER), st.sampled_from(INNER)),
)
GIVEN = {
    "put": VALUES,
    "add": st.integers(-3, 3),
    "append": SCALARS,
    "insert": SCALARS,
    "include": st.sampled_from("pqr"),
    "exclude": st.sampled_from("pqr"),
    "default": VALUES,
    "copy": st.sampled_from(KEYS),
    "tell": st.sampled_from(sorted(READS)),
    "spoil": st.sampled_from(sorted(READS)),
    "replace": st.lists(st.sampled_from(KEYS), unique=True),
    "update": st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    "total": st.integers(-3, 3),
    "tag": st.sampled_from("pqr"),
    "tags": st.sampled_from("pqr"),
    "warn": st.sampled_from(["odd", "late"]),
}
EDITS = st.one_of(
    *(
        st.builds(Edit, st.just(kind), PLACES if kind in AT_A_PLACE else st.just(()), given)
        for kind, given in ((kind, GIVEN.get(kind, st.none())) for kind in [*AT_A_PLACE, *WHOLE])
    )
)
WORKS = st.builds(
    Work,
    st.lists(EDITS, max_size=4).map(tuple),
    fails=st.sampled_from([0, 0, 0, 0, 1, 2, 9]),
    at=st.integers(0, 3),
    error=st.sampled_from(ERRORS),
    gives=st.sampled_from(["nothing", "nothing", "context", "copy", "value"]),
    value=VALUES,
)
ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "attempts": st.sampled_from([1, 1, 1, 2, 3]),
    "delay": st.sampled_from([0.0, 0.0, 1.0]),
    "never_on": st.sampled_from([(), (), (KeyError,)]),
    "critical": st.sampled_from([True, True, True, False]),
    "isolated": st.sampled_from([None, None, None, True, False]),
    "is_function": st.booleans(),
    "is_coroutine": st.booleans(),
}
STEPS = st.builds(Step, st.sampled_from(NAMES), WORKS, **ATTRIBUTES)
TIMEOUTS = st.sampled_from([None, None, None, 1.0, 2.0])
TIMED = {"attempts": st.sampled_from([1, 2, 3]), "timeout": st.sampled_from([None, 1.0, 2.0])}
TIMED_STEPS = st.builds(Step, st.sampled_from(NAMES), WORKS, **{**ATTRIBUTES, **TIMED})
IDLE_STEPS = st.builds(Step, st.just("idle"), st.just(Work(())), critical=st.booleans())
"""For the scheduler alone, which runs no step's work."""
CONFLICTS = st.sampled_from([None, None, "last", "first", "error"])
LIMITS = st.sampled_from([None, None, 1, 2])


def longer(one: Any, other: Any) -> Any:
    """A reducer that takes any two values."""
    return one if len(str(one)) >= len(str(other)) else other


def added(one: Any, other: Any) -> Any:
    """A reducer that raises for many."""
    return one + other


REDUCERS = st.sampled_from(
    [
        {},
        {},
        {},
        {"a": longer},
        {"a": added},
        {"b.x": longer, "told": added},
        {"context.tags": added},
    ]
)


class Chosen(NamedTuple):
    """What may be in a drawn pipeline: error strategies, kinds of steps, timeouts of groups."""

    strategies: tuple[str, ...] = ("FAIL_SLOW",)
    steps: st.SearchStrategy[Any] = STEPS
    timed: bool = False


SLOW = Chosen()
EARLY = Chosen(("FAIL_FAST", "FAIL_FAST", "FAIL_SLOW"))
LATE = Chosen(EARLY.strategies, TIMED_STEPS, timed=True)
IDLE = Chosen(EARLY.strategies, IDLE_STEPS, timed=True)


def _set_only(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


@st.composite
def parallel_settings(draw: Any, count: int, chosen: Chosen) -> dict[str, Any]:
    """Settings of a parallel group with `count` branches; 0 for a pipeline's defaults."""
    operator = draw(st.sampled_from([None, "AND", "OR", "QUORUM"]))
    return _set_only(
        operator=operator,
        quorum=draw(st.integers(1, max(count, 1))) if operator == "QUORUM" else None,
        error_strategy=draw(st.sampled_from([None, *chosen.strategies])),
        on_conflict=draw(CONFLICTS),
        max_workers=draw(LIMITS),
        delay=draw(st.sampled_from([None, None, None, 1.0])),
        timeout=draw(TIMEOUTS) if chosen.timed else None,
    )


@st.composite
def pipeline_settings(draw: Any, chosen: Chosen) -> dict[str, Any]:
    """Settings of a pipeline."""
    return _set_only(
        fail_fast=draw(st.sampled_from([None, True, False])),
        parallel=draw(st.one_of(st.just({}), parallel_settings(0, chosen))),
        on_conflict=draw(CONFLICTS),
        reducers=draw(REDUCERS),
        max_workers=draw(LIMITS),
        timeout=draw(TIMEOUTS) if chosen.timed else None,
    )


@st.composite
def _groups(
    draw: Any, kinds: tuple[str, ...], inner: st.SearchStrategy[Any], chosen: Chosen
) -> Group:
    kind = draw(st.sampled_from(kinds))
    children = draw(st.lists(inner, max_size=4))
    if children and draw(st.integers(0, 7)) == 0:
        children.append(draw(st.sampled_from(children)))  # one and the same object, twice
    settings: dict[str, Any] = {}
    if kind == "pipeline":
        settings = draw(pipeline_settings(chosen))
    elif kind == "parallel":
        settings = draw(parallel_settings(len(children), chosen))
    name = None if kind == "list" else draw(st.sampled_from([None, None, "left", "right"]))
    return Group(kind, tuple(children), name, settings)


def trees(chosen: Chosen = SLOW, depth: int = 4) -> st.SearchStrategy[Group]:
    """Whole pipelines, nested `depth` deep at most."""
    kinds = ("list", "list", "serial", "parallel", "pipeline")
    nodes = chosen.steps
    for _ in range(depth):
        nodes = st.one_of(chosen.steps, _groups(kinds, nodes, chosen))
    return _groups(("pipeline",), nodes, chosen)


STARTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
"""What a context's results hold before the run."""


# Building


@dataclass
class Ledger(PipelineContext[None]):
    """A context with fields of its own, which merge as the values in `results` do."""

    total: int = 0
    tags: list[str] = field(default_factory=list)


class Drawn(PipelineStep):
    """A class step made from a drawn one."""

    def __init__(self, drawn: Step, how: Built) -> None:
        self._name = drawn.name
        self.retries = _retries(drawn, how)
        self.critical = drawn.critical
        self.isolated = drawn.isolated
        self.timeout = drawn.timeout
        self._work = drawn.work

    @property
    def step_id(self) -> str:
        return self._name

    def run(self, context: Any) -> Any:
        returned = self._work(context, context.attempt)
        return returned if isinstance(returned, PipelineContext) else None


class DrawnCoroutine(Drawn):
    """The same as a coroutine, which lets others go first."""

    async def run(self, context: Any) -> Any:
        await asyncio.sleep(0)  # the step's work
        return super().run(context)


class Built(NamedTuple):
    """How a pipeline is built: with its delays, with coroutine steps, with a pool of its own."""

    waits: bool = True
    coroutines: bool = False
    executor: SharedThreadPoolExecutor | None = None


def build(tree: Group, how: Built = Built()) -> Pipeline:  # noqa: B008  # immutable
    """The real pipeline."""
    builder = _Builder(how)
    config = builder.pipeline_config(tree)
    return Pipeline(builder.children(tree), config, executor=how.executor)


def _retries(drawn: Step, how: Built) -> int | RetryPolicy:
    if not drawn.delay and not drawn.never_on:
        return drawn.attempts - 1
    delay = drawn.delay if how.waits else 0.0
    return RetryPolicy(
        attempts=drawn.attempts, backoff="constant", delay=delay, never_on=drawn.never_on
    )


class _Builder:
    """What was drawn once and stands in two places is one and the same object there too."""

    def __init__(self, how: Built) -> None:
        self._how = how
        self._built: dict[int, TaskStep] = {}

    def children(self, group: Group) -> list[TaskStep]:
        return [self._node(child) for child in group.children]

    def _node(self, node: Step | Group) -> TaskStep:
        if id(node) not in self._built:
            made = self._step(node) if isinstance(node, Step) else self._group(node)
            self._built[id(node)] = made
        return self._built[id(node)]

    def _step(self, drawn: Step) -> TaskStep:
        as_coroutine = drawn.is_coroutine and self._how.coroutines
        if not drawn.is_function:
            return (DrawnCoroutine if as_coroutine else Drawn)(drawn, self._how)

        def function(context: Any) -> Any:
            return drawn.work(context, context.attempt)

        async def coroutine(context: Any) -> Any:
            await asyncio.sleep(0)  # the step's work
            return drawn.work(context, context.attempt)

        return step(
            step_id=drawn.name,
            retries=_retries(drawn, self._how),
            critical=drawn.critical,
            isolated=drawn.isolated,
            timeout=drawn.timeout,
        )(coroutine if as_coroutine else function)

    def _group(self, group: Group) -> TaskStep:
        children = self.children(group)
        if group.kind == "list":
            return children
        if group.kind == "serial":
            return Serial(children, group.name)
        if group.kind == "parallel":
            return Parallel(children, group.name, self._parallel_config(group.settings))
        return Pipeline(children, self.pipeline_config(group), name=group.name)

    def _parallel_config(self, settings: Mapping[str, Any]) -> ParallelConfig:
        unwanted = set() if self._how.waits else {"delay"}
        return ParallelConfig(**{k: v for k, v in settings.items() if k not in unwanted})

    def pipeline_config(self, group: Group) -> PipelineConfig:
        settings = dict(group.settings)
        return PipelineConfig(
            parallel_config=self._parallel_config(settings.pop("parallel", {})), **settings
        )
