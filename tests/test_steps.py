"""What a step is: classes and functions, their attributes, what they may return."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, assert_type

import pytest

from task_pipeline import (
    Pipeline,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    StepAttributes,
    StepReturnError,
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


ATTRIBUTES: dict[str, Any] = {
    "step_id": "mine",
    "description": "My own.",
    "timeout": 5,
    "retries": 2,
    "critical": False,
    "weight": 3,
    "isolated": True,
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


def test_the_decorator_returns_the_function_itself() -> None:
    def plain(context: Context) -> None:
        pass

    assert step(plain) is plain
    assert step(critical=False)(plain) is plain
    for without_attributes in (len, Calls().method):
        marked = step(critical=False)(without_attributes)
        assert read(marked).critical is False
        assert read(without_attributes).critical is True


def test_the_decorator_knows_its_attributes() -> None:
    with pytest.raises(TypeError, match=r"@step does not know a, retrys; it takes step_id, desc"):
        step(retrys=1, a=2)  # type: ignore[call-overload]  # that is what the test is about


@pytest.mark.parametrize("target", [Does, 5, "text"])
def test_the_decorator_goes_on_functions(target: Any) -> None:
    for mark in (step, step(critical=False)):
        with pytest.raises(TypeError, match="@step goes on a function, not on"):
            mark(target)


# What a step returns


@pytest.mark.parametrize("value", [0, "", False, [], 1.5, {"a": 1}, (), object(), Calls])
def test_what_a_function_returns_is_stored_under_its_id(value: Any) -> None:
    def give(context: Context) -> Any:
        return value

    results = Pipeline([give, [give, [give, step(step_id="named", isolated=True)(give)]]]).run()
    assert list(results.results) == ["named", "named#2", "named#3", "named#4"]
    first, *others = results.results.values()
    assert first is value
    assert [type(other) for other in others] == [type(value)] * 3


def test_none_and_the_context_are_not_stored() -> None:
    steps: list[Any] = [lambda context: None, lambda context: context]
    assert Pipeline([*steps, steps]).run().results == {}


class Gives(PipelineStep):
    def __init__(self, value: Any) -> None:
        self.value = value

    def run(self, context: Any) -> Any:
        return self.value


@pytest.mark.parametrize("value", [0, False, "text", {"a": 1}, [], PipelineContext])
@pytest.mark.parametrize("attributes", [{}, {"retries": 1}, {"timeout": 30.0}])
def test_a_class_step_returns_a_context_or_nothing(value: Any, attributes: dict[str, Any]) -> None:
    gives = Gives(value)
    vars(gives).update(attributes)
    context: Context = PipelineContext()
    with pytest.raises(StepReturnError) as caught:
        Pipeline([len_of_results, gives]).run(context)
    error = caught.value
    assert isinstance(error, TypeError)
    assert (error.step_id, error.path) == ("gives", "1")
    assert f"step 'gives' at path 1 returned a {type(value).__name__}" in str(error)
    assert context.errors == [error]
    assert context.results == {"len_of_results": 0}


def len_of_results(context: Context) -> int:
    return len(context.results)


def test_a_pipeline_is_a_step() -> None:
    inner = Pipeline([len_of_results, lambda context: None])
    context = Pipeline([len_of_results, inner, [inner, len_of_results]]).run()
    assert context.results == {
        "len_of_results": 0,
        "len_of_results#2": 1,
        "len_of_results#3": 2,
        "len_of_results#4": 2,
    }
