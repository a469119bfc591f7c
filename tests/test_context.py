"""The context: what a step sees of its run, fields of subclasses, copies, and its end."""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, assert_type

import pydantic
import pytest

from task_pipeline import (
    ContextCopyError,
    ContextTypeError,
    MergeConflictError,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    Run,
    step,
)
from task_pipeline.testing import ManualClock

Context = PipelineContext[Any]


# Outside and inside of a step


def test_a_new_context_has_a_logger_and_nothing_else() -> None:
    context: Context = PipelineContext()
    assert (context.app_config, context.results, context.errors, context.shared) == (
        None,
        {},
        [],
        {},
    )
    assert context.logger is context.logger_instance is logging.getLogger("task_pipeline")
    assert PipelineContext(logger_instance=None).logger is context.logger
    assert PipelineContext(results={"a": 1}) == PipelineContext(results={"a": 1})


def test_outside_of_a_step_a_context_belongs_to_none() -> None:
    context: Context = PipelineContext()
    Pipeline([lambda context: None, [lambda context: None]]).run(context)
    assert (context.step_id, context.attempt) == (None, 0)
    assert (context.cancelled, context.remaining) == (False, None)
    context.raise_if_cancelled()
    context.update_step_progress(50)


@pytest.mark.parametrize("percent", ["50", None, float("nan"), [1]])
def test_progress_must_be_a_number(percent: Any) -> None:
    with pytest.raises(ValueError, match="progress is a number from 0 to 100"):
        PipelineContext().update_step_progress(percent)


def test_inside_a_step_it_knows_the_step_and_the_nearest_deadline() -> None:
    seen: list[tuple[object, ...]] = []

    def free(context: Context) -> None:
        seen.append((context.step_id, context.attempt, context.cancelled, context.remaining))

    @step(timeout=5, retries=1)
    def timed(context: Context) -> None:
        free(context)
        context.raise_if_cancelled()
        if context.attempt == 1:
            raise ValueError

    def nested(context: Context) -> None:
        inner = step(step_id="inner", timeout=4)(lambda context: free(context))
        Pipeline([inner, free]).run()

    with ManualClock().installed():
        Pipeline([free, timed, timed]).run()
        Pipeline([timed, free, nested], PipelineConfig(timeout=3)).run()
    assert seen == [
        *[("free", 1, False, None), ("timed", 1, False, 5), ("timed", 2, False, 5)],
        *[("timed#2", 1, False, 5), ("timed#2", 2, False, 5)],
        *[("timed", 1, False, 3), ("timed", 2, False, 3), ("free", 1, False, 3)],
        *[("inner", 1, False, 3), ("free", 1, False, 3)],
    ]


def test_a_misspelt_attribute_is_an_error() -> None:
    def misspelt(context: Any) -> None:
        for name in ("result", "__nothing__"):
            with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
                getattr(context, name)
        context.results["done"] = True

    misspelt(PipelineContext())
    assert Pipeline([misspelt, [misspelt, misspelt]]).run().results == {"done": True}


@pytest.mark.parametrize("given", [{}, "context", 5, PipelineContext])
def test_a_run_takes_only_a_context(given: Any) -> None:
    with pytest.raises(ContextTypeError, match=r"a run takes a PipelineContext.*, not a"):
        Pipeline([]).run(given)


@pytest.mark.parametrize("bad", [None, [], "results"])
@pytest.mark.parametrize("shape", ["branch", "isolated", "before a group"])
def test_results_must_stay_a_dict(bad: Any, shape: str) -> None:
    def replaces(context: Context) -> None:
        context.results = bad

    def nothing(context: Context) -> None:
        pass

    steps: dict[str, Any] = {
        "branch": [[replaces, nothing]],
        "isolated": [step(isolated=True)(replaces)],
        "before a group": [replaces, [lambda context: context.results, nothing]],
    }
    context: Context = PipelineContext()
    with pytest.raises((ContextTypeError, ParallelGroupError)):
        Pipeline(steps[shape]).run(context)
    [error, *_] = context.errors
    assert isinstance(error, ContextTypeError)
    assert f"must be a dict, not a {type(bad).__name__}" in str(error)


# Subclasses with more fields


@dataclass
class WithDefaults(PipelineContext[Any]):
    total: int = 0
    items: list[int] = field(default_factory=list)
    unit: str = "EUR"
    LIMIT: ClassVar[int] = 9


@dataclass(slots=True)
class WithSlots(PipelineContext[Any]):
    total: int = 0
    items: list[int] = field(default_factory=list)
    unit: str = "EUR"


@dataclass(kw_only=True)
class WithPostInit(PipelineContext[Any]):
    start: int
    total: int = field(init=False)
    items: list[int] = field(init=False)
    unit: str = field(default="EUR", repr=False, compare=False)

    def __post_init__(self) -> None:
        self.total, self.items = self.start, []


@dataclass
class Further(WithDefaults):
    total: int = 0
    extra: dict[str, int] = field(default_factory=dict)


class WithoutDataclass(PipelineContext[Any]):
    total: int = 0
    unit = "EUR"

    def __init__(self) -> None:
        super().__init__()
        self.items: list[int] = []

    @functools.cached_property
    def described(self) -> str:
        return f"{self.total} {self.unit}"


def bare() -> Any:
    """A plain context that was given more attributes."""
    context: Any = PipelineContext()
    context.total, context.items, context.unit = 0, [], "EUR"
    return context


KINDS: list[Callable[[], Any]] = [
    *(WithDefaults, WithSlots, functools.partial(WithPostInit, start=0), Further),
    *(WithoutDataclass, bare),
]


@pytest.mark.parametrize("make", KINDS)
def test_more_fields_are_isolated_and_merged(make: Callable[[], Any]) -> None:
    context = make()
    context.total = 10
    parents_items = context.items

    def branch(number: int) -> Callable[[Any], None]:
        def work(mine: Any) -> None:
            assert type(mine) is type(context)
            assert (mine.total, mine.items, mine.unit) == (10, [], "EUR")
            assert mine.items is not parents_items
            mine.total += number
            mine.items.append(number)
            mine.results[f"by_{number}"] = number
            assert (mine.total, mine.items) == (10 + number, [number])

        return work

    assert Pipeline([[branch(1), [branch(2)], branch(-4)]]).run(context) is context
    assert (context.total, context.items, context.unit) == (9, [1, 2, -4], "EUR")
    assert context.results == {"by_1": 1, "by_2": 2, "by_-4": -4}
    assert parents_items == []


@pytest.mark.parametrize("make", KINDS)
def test_more_fields_go_through_every_kind_of_step(make: Callable[[], Any]) -> None:
    def grow(mine: Any) -> None:
        mine.total += 1
        mine.items.append(mine.step_id)
        mine.results["last"] = mine.step_id
        if mine.attempt == 1 and mine.step_id == "retried":
            raise ValueError

    steps: list[Any] = [
        step(step_id="plain")(functools.partial(grow)),
        step(step_id="timed", timeout=60.0)(functools.partial(grow)),
        step(step_id="isolated", isolated=True)(functools.partial(grow)),
        step(step_id="retried", retries=1)(functools.partial(grow)),
    ]
    context = make()
    Pipeline([*steps, [[*steps], [steps]]]).start(context).result()
    names = ["plain", "timed", "isolated", "retried"]
    assert (context.total, context.results["last"]) == (12, "retried#3")
    assert context.items == [*names, *(f"{name}#{number}" for number in (2, 3) for name in names)]


def test_a_class_attribute_is_found_whatever_other_instances_have_done() -> None:
    seen = []

    def look(mine: Any) -> None:
        seen.append((mine.total, mine.unit, mine.described))

    shadowed = WithoutDataclass()
    shadowed.total, shadowed.unit = 5, "USD"
    assert shadowed.described == "5 USD"
    Pipeline([[look, look]]).run(shadowed)
    Pipeline([[look, look]]).run(WithoutDataclass())
    assert seen == [(5, "USD", "5 USD")] * 2 + [(0, "EUR", "0 EUR")] * 2
    assert (WithoutDataclass.total, WithoutDataclass().total) == (0, 0)
    assert WithoutDataclass().described == "0 EUR"


def test_fields_conflict_and_reduce_by_their_name() -> None:
    def rename(unit: str) -> Callable[[Any], None]:
        def work(mine: Any) -> None:
            mine.unit = unit
            mine.total = len(unit)

        return work

    def run(**settings: Any) -> WithDefaults:
        steps: list[Any] = [[rename("A"), rename("BCD")]]
        return Pipeline(steps, PipelineConfig(**settings)).run(WithDefaults())

    assert run().unit == "BCD"
    assert run(reducers={"context.total": max}).total == 3
    with pytest.raises(MergeConflictError) as caught:
        run(on_conflict="error")
    assert caught.value.key == "context.unit"


def test_a_run_keeps_the_type_of_its_context() -> None:
    pipeline = Pipeline([])
    assert_type(pipeline.run(WithDefaults()), WithDefaults)
    assert_type(pipeline.start(WithDefaults()), Run[WithDefaults])
    assert_type(asyncio.run(pipeline.arun(WithDefaults())), WithDefaults)
    assert_type(pipeline.run(), PipelineContext[Any])
    typed = PipelineContext(app_config=Settings())
    assert_type(typed.app_config.url, str)
    assert pipeline.run(typed).app_config.url == "old"


# app_config, shared and the logger


class Settings(pydantic.BaseModel):
    url: str = "old"
    tags: list[str] = []


@pytest.mark.parametrize(
    "settings", [Settings(), {"url": "old", "tags": []}], ids=["model", "dict"]
)
def test_app_config_is_isolated_and_what_one_branch_changes_is_kept(settings: Any) -> None:
    before = copy.deepcopy(settings)
    seen = []

    def change(context: Context) -> None:
        tags = context.app_config["tags"] if type(settings) is dict else context.app_config.tags
        tags.append("new")

    def look(context: Context) -> None:
        seen.append(context.app_config == before)

    context: Context = PipelineContext(app_config=settings)
    Pipeline([[look, change, look], look]).run(context)
    assert seen == [True, True, False]
    assert settings == before
    assert dict(context.app_config) == {"url": "old", "tags": ["new"]}


def test_an_app_config_that_cannot_be_copied_may_be_left_alone() -> None:
    lock = threading.Lock()
    context: Context = PipelineContext(app_config=lock)
    Pipeline([[lambda context: None, lambda context: None]]).run(context)
    assert context.app_config is lock
    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([[lambda context: context.app_config, lambda context: None]]).run(context)
    [error] = caught.value.exceptions
    assert isinstance(error, ContextCopyError)
    assert error.key == "context.app_config"


def test_shared_and_the_logger_are_the_same_objects_everywhere() -> None:
    class Logger(logging.LoggerAdapter[logging.Logger]):
        lock = threading.Lock()

    logger, lock = Logger(logging.getLogger("mine")), threading.Lock()
    shared = {"lock": lock, "seen": []}
    met = threading.Barrier(2, timeout=30)

    def branch(context: Context) -> None:
        assert context.shared is shared
        assert context.logger is logger
        with context.shared["lock"]:
            context.shared["seen"].append(context.step_id)
        met.wait()
        assert len(context.shared["seen"]) == 2

    context: Context = PipelineContext(logger_instance=logger, shared=shared)
    run = Pipeline([[branch, branch], step(isolated=True)(lambda context: None)]).start(context)
    run.result()
    assert context.shared is shared
    assert sorted(context.shared["seen"]) == ["branch", "branch#2"]
