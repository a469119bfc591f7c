"""What a step is: classes and functions, their attributes, what they may return."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import Callable
from typing import Any, assert_type

import pytest

from task_pipeline import (
    Pipeline,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    StepAttributes,
    step,
)
from task_pipeline.steps import StepSpec, read_step

Context = PipelineContext[Any]


def read(source: object) -> StepSpec:
    spec, problems = read_step(source)
    assert problems == []
    assert spec is not None
    return spec


class Does(PipelineStep):
    """Do nothing.

    At length.
    """

    def run(self, context: Any) -> Any:
        return None


# Ids and descriptions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Fetch", "fetch"),
        ("FetchPages", "fetch_pages"),
        ("HTTPFetch2Pages", "http_fetch2_pages"),
        ("ParseJSON", "parse_json"),
        ("A", "a"),
        ("ABTest", "ab_test"),
        ("fetch_pages", "fetch_pages"),
        ("Über", "über"),
    ],
)
def test_the_id_of_a_class_is_its_name_in_snake_case(name: str, expected: str) -> None:
    kind: Any = type(name, (Does,), {})
    assert kind().step_id == expected
    assert kind.step_id == expected
    assert read(kind()).step_id == expected


def test_the_description_is_the_docstrings_first_line_or_the_id() -> None:
    class NoDocstring(Does):
        pass

    class Blank(Does):
        __doc__ = "  \n "
        step_id = "its id"

    def documented(context: Context) -> None:
        """
        Say what it does.

        And more.
        """

    assert Does().description == "Do nothing."
    assert NoDocstring().description == "no_docstring"
    assert Blank().description == read(Blank()).description == "its id"
    assert read(documented).description == "Say what it does."
    assert read(lambda context: None).description == "lambda"
    assert read(step(step_id="given")(lambda context: None)).description == "given"
    assert read(step(description="said")(documented)).description == "said"


class Calls:
    """What a callable object is described by is not what its class is."""

    def __call__(self, context: Any) -> None:
        pass

    def method(self, context: Any) -> None:
        """Be bound."""


class CallsAsync:
    async def __call__(self, context: Any) -> None:
        pass

    async def method(self, context: Any) -> None:
        pass


async def coroutine(context: Any, extra: int = 0) -> None:
    pass


def function(context: Any, extra: int = 0) -> None:
    """Be plain."""


class RunsAsync(PipelineStep):
    async def run(self, context: Any) -> Any:
        return None


@pytest.mark.parametrize(
    ("source", "step_id", "description", "is_async"),
    [
        (function, "function", "Be plain.", False),
        (lambda context: None, "lambda", "lambda", False),
        (coroutine, "coroutine", "coroutine", True),
        (functools.partial(function, extra=1), "function", "function", False),
        (functools.partial(functools.partial(coroutine), extra=1), "coroutine", "coroutine", True),
        (Calls(), "calls", "calls", False),
        (CallsAsync(), "calls_async", "calls_async", True),
        (Calls().method, "method", "Be bound.", False),
        (CallsAsync().method, "method", "method", True),
        (functools.partial(CallsAsync()), "calls_async", "calls_async", True),
        (len, "len", "Return the number of items in a container.", False),
        (Does(), "does", "Do nothing.", False),
        (RunsAsync(), "runs_async", "runs_async", True),
    ],
)
def test_whatever_can_be_called_is_a_step(
    source: Any, step_id: str, description: str, is_async: bool
) -> None:
    spec = read(source)
    assert (spec.step_id, spec.description, spec.is_async) == (step_id, description, is_async)
    assert spec.is_function is not isinstance(source, PipelineStep)
    assert spec.source is source


# Attributes


def test_attributes_not_set_have_their_defaults() -> None:
    for source in (Does(), lambda context: None, Calls()):
        spec = read(source)
        assert (spec.timeout, spec.policy, spec.critical) == (None, None, True)
        assert (spec.weight, spec.isolated) == (1.0, False)
        assert (spec.limit, spec.circuit_breaker) == (None, None)


ATTRIBUTES: dict[str, Any] = {
    "step_id": "mine",
    "description": "My own.",
    "timeout": 5,
    "retries": 2,
    "critical": False,
    "weight": 3,
    "isolated": True,
    "limit": "disk",
    "circuit_breaker": "search",
    "idempotent": False,
    "version": "2",
    "executor": "process",
    "executor_options": {"priority": 3},
}


def as_class_attributes() -> object:
    return type("Step", (Does,), dict(ATTRIBUTES))()


def as_properties() -> object:
    def getter(name: str) -> property:
        return property(lambda self: ATTRIBUTES[name])

    return type("Step", (Does,), {name: getter(name) for name in ATTRIBUTES})()


def set_in_init() -> object:
    class Step(Does):
        def __init__(self) -> None:
            for name, value in ATTRIBUTES.items():
                setattr(self, name, value)

    return Step()


def by_decorator() -> object:
    return step(**ATTRIBUTES)(lambda context: None)


def by_decorator_below_another() -> object:
    marked = step(**ATTRIBUTES)(function_of_its_own())

    @functools.wraps(marked)
    def wrapper(*args: Any) -> Any:
        return marked(*args)

    return wrapper


def by_decorator_on_a_method() -> object:
    class Service:
        @step(**ATTRIBUTES)
        def method(self, context: Any) -> None:
            pass

    return Service().method


def by_decorator_below_a_partial() -> object:
    return functools.partial(step(**ATTRIBUTES)(function_of_its_own()), extra=1)


def function_of_its_own() -> Callable[..., None]:
    return lambda context, extra=0: None


@pytest.mark.parametrize(
    "make",
    [
        *(as_class_attributes, as_properties, set_in_init),
        *(by_decorator, by_decorator_below_another, by_decorator_on_a_method),
        by_decorator_below_a_partial,
    ],
)
def test_attributes_may_be_set_in_every_way(make: Callable[[], object]) -> None:
    spec = read(make())
    assert (spec.step_id, spec.description) == ("mine", "My own.")
    assert (spec.timeout, type(spec.timeout)) == (5.0, float)
    assert (spec.weight, type(spec.weight)) == (3.0, float)
    assert spec.policy == RetryPolicy(attempts=3, delay=0.0)
    assert (spec.critical, spec.isolated) == (False, True)
    assert (spec.limit, spec.circuit_breaker) == ("disk", "search")
    assert (spec.idempotent, spec.version) == (False, "2")
    assert (spec.executor, spec.options) == ("process", {"priority": 3})
    assert ATTRIBUTES.keys() == StepAttributes.__annotations__.keys()


@pytest.mark.parametrize(
    ("retries", "isolated", "attempts", "is_isolated"),
    [
        (0, None, None, False),
        (1, None, 2, True),
        (1, False, 2, False),
        (0, True, None, True),
        (RetryPolicy(attempts=1), None, None, False),
        (RetryPolicy(attempts=4), None, 4, True),
    ],
)
def test_a_step_is_isolated_when_it_retries_unless_it_says_otherwise(
    retries: Any, isolated: bool | None, attempts: int | None, is_isolated: bool
) -> None:
    spec = read(step(retries=retries, isolated=isolated)(lambda context: None))
    assert (spec.policy.attempts if spec.policy else None) == attempts
    assert spec.isolated is is_isolated


@pytest.mark.parametrize(("isolated", "left"), [(None, ["2"]), (False, ["1", "2"])])
def test_a_failed_attempt_leaves_nothing_behind(isolated: bool | None, left: list[str]) -> None:
    @step(retries=1, isolated=isolated)
    def fails_first(context: Context) -> None:
        context.results["tried"].append(str(context.attempt))
        if context.attempt == 1:
            raise ValueError

    context: Context = PipelineContext(results={"tried": []})
    assert Pipeline([fails_first]).run(context).results == {"tried": left}


def test_a_step_class_must_have_run() -> None:
    class Nothing(PipelineStep):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()  # type: ignore[abstract]  # that is what the test is about


# The decorator


@step
def bare(context: PipelineContext[Any]) -> int:
    """Return one."""
    return 1


@step(critical=False, retries=RetryPolicy(attempts=2))
def with_settings(context: PipelineContext[Any], *, times: int = 2) -> list[str]:
    return ["a"] * times


@step(timeout=1.0)
async def waits(context: PipelineContext[Any]) -> str:
    return "done"


def test_the_decorator_keeps_the_functions_type() -> None:
    context: Context = PipelineContext()
    assert_type(bare(context), int)
    assert_type(with_settings(context, times=3), list[str])
    as_it_was: Callable[[PipelineContext[Any]], int] = bare
    assert as_it_was is bare
    assert_type(asyncio.run(waits(context)), str)
    assert bare(context) == 1
    assert with_settings(context, times=3) == ["a", "a", "a"]
    assert (bare.__name__, bare.__doc__) == ("bare", "Return one.")
    with pytest.raises(TypeError):
        with_settings(context, 3)  # type: ignore[call-arg]  # the type says keyword only, as before


def test_the_decorator_leaves_the_function_as_it_was() -> None:
    for target in (function, coroutine, len, Calls(), CallsAsync(), Calls().method):
        plain = read(target)
        first: Any = step(critical=False)(target)
        second = read(step(timeout=3.0)(first))
        assert (read(target).critical, read(first).critical) == (True, False)
        assert (read(first).timeout, second.timeout, second.critical) == (None, 3.0, False)
        assert second.step_id == read(first).step_id == plain.step_id
        assert second.is_async is plain.is_async
    assert inspect.iscoroutinefunction(waits)
    assert inspect.signature(with_settings).parameters.keys() == {"context", "times"}
    assert pickle.loads(pickle.dumps(bare)) is bare


def test_the_decorator_goes_on_every_kind_of_method() -> None:
    class Service:
        @step(critical=False)
        def method(self, context: Context) -> str:
            return type(self).__name__

        @step(critical=False)
        @staticmethod
        def without_self(context: Context) -> str:
            return "static"

        @staticmethod
        @step(critical=False)
        def inside(context: Context) -> str:
            return "static"

    methods: list[Any] = [Service().method, Service().without_self, Service.without_self]
    methods += [Service().inside, Service.inside]
    assert [read(method).critical for method in methods] == [False] * 5
    answers = [method(PipelineContext()) for method in methods]
    assert answers == ["Service", *["static"] * 4]


def test_the_decorator_knows_its_attributes() -> None:
    with pytest.raises(TypeError, match=r"@step does not know a, retrys; it takes step_id, desc"):
        step(retrys=1, a=2)  # type: ignore[call-overload]  # that is what the test is about


@pytest.mark.parametrize("target", [Does, 5, "text"])
def test_the_decorator_goes_on_functions(target: Any) -> None:
    for mark in (step, step(critical=False)):
        with pytest.raises(TypeError, match="@step goes on a function, not on"):
            mark(target)


def test_a_partial_that_is_marked_is_described_as_its_function() -> None:
    def documented(context: object, n: int) -> None:
        """Count to n.

        And no further.
        """

    def bare(context: object, n: int) -> None: ...

    described = [
        Pipeline([step(critical=False)(functools.partial(function, n=1))])._plan.specs[0]
        for function in (documented, bare)
    ]
    assert [spec.description for spec in described] == ["Count to n.", "bare"]
