"""The real `Pipeline` built from a drawn one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    SharedThreadPoolExecutor,
    SkipStep,
    StopPipeline,
    TaskStep,
    step,
)
from tests.drawn import DYNAMIC, Group, Skips, Step, Stops
from tests.dynamic_work import Asked


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
        self.limit = drawn.limit
        self._work = drawn.work

    @property
    def step_id(self) -> str:
        return self._name

    def run(self, context: Any) -> Any:
        returned = told(self._work, context, context.attempt)
        return returned if isinstance(returned, PipelineContext) else None


class DrawnCoroutine(Drawn):
    """The same as a coroutine, which lets others go first."""

    async def run(self, context: Any) -> Any:
        await asyncio.sleep(0)  # the step's work
        return super().run(context)


def told(work: Callable[..., Any], *args: Any) -> Any:
    """Do the work, and say in the library's words what it says in the interpreter's."""
    try:
        return work(*args)
    except Skips as skip:
        raise SkipStep(str(skip)) from None
    except Stops as stop:
        raise StopPipeline(stop.result) from None


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
            return told(drawn.work, context, context.attempt)

        async def coroutine(context: Any) -> Any:
            await asyncio.sleep(0)  # the step's work
            return told(drawn.work, context, context.attempt)

        return step(
            step_id=drawn.name,
            retries=_retries(drawn, self._how),
            critical=drawn.critical,
            isolated=drawn.isolated,
            timeout=drawn.timeout,
            limit=drawn.limit,
        )(coroutine if as_coroutine else function)

    def _group(self, group: Group) -> TaskStep:
        children = self.children(group)
        if group.kind in DYNAMIC:
            return self._dynamic(group, children)
        if group.kind == "list":
            return children
        if group.kind == "serial":
            return Serial(children, group.name)
        if group.kind == "parallel":
            return Parallel(children, group.name, self._parallel_config(group.settings))
        return Pipeline(children, self.pipeline_config(group), name=group.name)

    def _dynamic(self, group: Group, children: list[TaskStep]) -> TaskStep:
        asked = self._asked(group.asked)
        if group.kind == "map":
            config = self._parallel_config(group.settings)
            return Map(children[0], asked, *group.keys, config, group.name)
        if group.kind == "branch":
            then, otherwise = [*children, None][:2]
            assert then is not None
            return Branch(asked, then, otherwise, group.name)
        return Loop(children[0], asked, group.times, group.name)

    def _asked(self, asked: Any) -> Any:
        if not isinstance(asked, Asked):
            return asked

        def function(context: Any) -> Any:
            return told(asked, context)

        async def coroutine(context: Any) -> Any:
            await asyncio.sleep(0)  # the step's work
            return told(asked, context)

        return coroutine if asked.is_coroutine and self._how.coroutines else function

    def _parallel_config(self, settings: Mapping[str, Any]) -> ParallelConfig:
        unwanted = set() if self._how.waits else {"delay"}
        return ParallelConfig(**{k: v for k, v in settings.items() if k not in unwanted})

    def pipeline_config(self, group: Group) -> PipelineConfig:
        settings = dict(group.settings)
        return PipelineConfig(
            parallel_config=self._parallel_config(settings.pop("parallel", {})), **settings
        )
