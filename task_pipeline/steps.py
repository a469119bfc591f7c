"""What users write: `PipelineStep` to subclass, `@step` for functions."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, Unpack, overload

from .step_checks import CHECKS

if TYPE_CHECKING:
    from .config import RetryPolicy  # with all of pydantic, which a worker can do without

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_ATTRIBUTE = "__task_step__"
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """`HTTPFetch2Pages` → `http_fetch2_pages`."""
    return _WORD_START.sub("_", name).lower()


class Default(Generic[T]):
    """A computed default that an instance attribute, class attribute or property may replace.

    Unlike a property it has no `__set__`, so `self.step_id = "x"` in `__init__` works.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute

    def __get__(self, instance: object, owner: type) -> T:
        return self._compute(owner if instance is None else instance)


def _default_id(step: Any) -> str:
    return snake_case(step.__name__ if isinstance(step, type) else type(step).__name__)


def _default_description(step: Any) -> str:
    kind = step if isinstance(step, type) else type(step)
    # Not inspect.getdoc: a step without a docstring must not inherit this library's.
    return _first_line(kind.__dict__.get("__doc__")) or str(step.step_id)


def _first_line(text: object) -> str:
    return text.strip().splitlines()[0].strip() if isinstance(text, str) and text.strip() else ""


class PipelineStep(ABC):
    """One unit of work. Only `run` must be written; it may be `async def`.

    Each attribute may be a class attribute, a property or set in `__init__`:

    - `step_id`: default the class name in snake_case
    - `description`: default the docstring's first line, else the id
    - `timeout`: seconds for one attempt, or None
    - `retries`: extra attempts, or a `RetryPolicy`
    - `critical`: whether its failure fails what it is part of
    - `weight`: its share of the progress among its siblings
    - `isolated`: work on a fork that is kept only on success (None: only when it retries)
    - `limit`: the name of a limit of the pipeline's that it counts against
    - `circuit_breaker`: the breaker its attempts go through, or the name of one
    - `idempotent`: whether it may be run again if nobody knows what a cut attempt has done
    - `version`: of what it does; with another one, a journal takes it for another step
    - `executor`: who calls it, if not who calls what is around it; see `Pipeline`
    - `executor_options`: what that one is to know, such as `{"priority": 10}`

    ```python
    from task_pipeline import Pipeline, PipelineStep

    class Fetch(PipelineStep):
        retries, timeout = 2, 5.0

        def run(self, context):
            context.results["page"] = "<html>"

    assert Pipeline([Fetch()]).run().results == {"page": "<html>"}
    ```
    """

    if TYPE_CHECKING:
        # Any, as that alone lets a checker accept a class attribute, a property and __init__.
        step_id: Any
        description: Any
        timeout: Any
        retries: Any
        critical: Any
        weight: Any
        isolated: Any
        limit: Any
        circuit_breaker: Any
        idempotent: Any
        version: Any
        executor: Any
        executor_options: Any
    else:
        step_id = Default(_default_id)
        description = Default(_default_description)
        timeout: float | None = None
        retries: Any = 0
        critical: bool = True
        weight: float = 1.0
        isolated: bool | None = None
        limit: str | None = None
        circuit_breaker: object = None
        idempotent: bool = True
        version: str | None = None
        executor: object = None
        executor_options: Mapping[str, Any] | None = None

    @abstractmethod
    def run(self, context: Any) -> Any:
        """Do the work; return the context, another context, or None for the one given."""


class StepAttributes(TypedDict, total=False):
    """What `@step` may set; each means what the attribute of `PipelineStep` means."""

    step_id: str
    description: str
    timeout: float | None
    retries: int | RetryPolicy
    critical: bool
    weight: float
    isolated: bool | None
    limit: str | None
    circuit_breaker: Any
    idempotent: bool
    version: str | None
    executor: Any
    executor_options: Mapping[str, Any] | None


@overload
def step(function: F, /) -> F: ...
@overload
def step(**attributes: Unpack[StepAttributes]) -> Callable[[F], F]: ...
def step(function: F | None = None, /, **attributes: Unpack[StepAttributes]) -> Any:
    """Set a function's step attributes; what it returns is called as the function is.

    The function itself is left as it was, so it can be marked in several ways.

    Raises `TypeError` for an attribute that does not exist.

    ```python
    from task_pipeline import Pipeline, step

    @step(critical=False, timeout=2.0)
    def notify(context): ...

    Pipeline([notify]).run()
    ```
    """
    unknown = sorted(attributes.keys() - StepAttributes.__annotations__.keys())
    if unknown:
        known = ", ".join(StepAttributes.__annotations__)
        raise TypeError(f"@step does not know {', '.join(unknown)}; it takes {known}")

    def mark(target: F) -> F:
        if isinstance(target, staticmethod | classmethod):  # it is its function that is marked
            inner: Any = target
            return type(inner)(mark(inner.__func__))  # type: ignore[no-any-return]  # as given
        if isinstance(target, type) or not callable(target):
            raise TypeError(f"@step goes on a function, not on {target!r}")
        wrapped = _wrapper(target)
        # On a function of its own: the one given may be used elsewhere, as it was.
        setattr(wrapped, _ATTRIBUTE, {**marks_of(target), **attributes})
        return wrapped  # type: ignore[no-any-return]  # it is called as F is

    return mark if function is None else mark(function)


def _wrapper(target: Any) -> Any:
    """A function that does what the one given does, coroutine function or plain."""
    if is_async(target):

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await target(*args, **kwargs)

        return _named_like(target, call_async)

    def call(*args: Any, **kwargs: Any) -> Any:
        return target(*args, **kwargs)

    return _named_like(target, call)


def _named_like(target: Any, wrapped: Any) -> Any:
    functools.update_wrapper(wrapped, target)
    if isinstance(target, functools.partial):  # what it says of itself is said of all partials
        wrapped.__doc__ = getattr(target.func, "__doc__", None)
    return wrapped


@dataclass(frozen=True, slots=True)
class StepSpec:
    """What the plan keeps of a step: its attributes, read once, and how to call it."""

    step_id: str
    description: str
    timeout: float | None
    policy: RetryPolicy | None
    critical: bool
    weight: float
    isolated: bool
    call: Callable[[Any], Any]
    is_function: bool
    is_async: bool
    source: object
    limit: str | None = None
    circuit_breaker: Any = None
    idempotent: bool = True
    version: str | None = None
    executor: Any = None
    options: Mapping[str, Any] | None = None


def read_step(source: object) -> tuple[StepSpec | None, list[str]]:
    """Read a step or function; returns its spec, and every mistake found in it."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    is_function = not isinstance(source, PipelineStep)
    given = marks_of(source) if is_function else {}
    for name in StepAttributes.__annotations__:
        try:
            if is_function:
                values[name] = given.get(name, ...)
                if values[name] is ...:
                    values[name] = _function_default(source, name)
            else:
                values[name] = getattr(source, name)
        except Exception as error:  # noqa: BLE001  # a user's property may raise anything
            problems.append(f"reading {name!r} raised {type(error).__name__}: {error}")
    if problems:
        return None, problems
    problems += [text for name, check in CHECKS.items() if (text := check(name, values[name]))]
    call = source if is_function else source.run  # type: ignore[attr-defined]  # a PipelineStep
    if problems:
        return None, problems
    policy = _policy(values["retries"])
    isolated = values["isolated"]
    return (
        StepSpec(
            step_id=values["step_id"],
            description=values["description"],
            timeout=None if values["timeout"] is None else float(values["timeout"]),
            policy=policy,
            critical=values["critical"],
            weight=float(values["weight"]),
            isolated=policy is not None if isolated is None else isolated,
            call=call,  # type: ignore[arg-type]  # callable: checked by the plan before
            is_function=is_function,
            is_async=is_async(call),
            source=source,
            limit=values["limit"],
            circuit_breaker=values["circuit_breaker"],
            idempotent=values["idempotent"],
            version=values["version"],
            executor=values["executor"],
            options=values["executor_options"],
        ),
        [],
    )


def chooser_spec(name: str, call: Callable[[Any], Any], source: object) -> StepSpec:
    """The spec of what finds out, in a run, what a dynamic group is to run."""
    return StepSpec(
        step_id=name,
        description=name,
        timeout=None,
        policy=None,
        critical=True,
        weight=1.0,
        isolated=False,
        call=call,
        is_function=True,
        is_async=is_async(call),
        source=source,
    )


def marks_of(function: Any) -> StepAttributes:
    """What `@step` has set; a partial has what the function below it has."""
    while True:
        marks: StepAttributes | None = getattr(function, _ATTRIBUTE, None)
        if marks is not None or not isinstance(function, functools.partial):
            return marks or {}
        function = function.func


def _function_default(function: Any, name: str) -> Any:
    if name == "step_id":
        target = function
        while True:  # through partials, and through what @step has put around a function
            if isinstance(target, functools.partial):
                target = target.func
            elif _ATTRIBUTE in getattr(target, "__dict__", ()) and hasattr(target, "__wrapped__"):
                target = target.__wrapped__
            else:
                break
        own = getattr(target, "__name__", None)
        return own.strip("<>") if own else snake_case(type(target).__name__)
    if name == "description":
        given = marks_of(function).get("step_id")
        doc = function.__doc__ if inspect.isroutine(function) else None
        return _first_line(doc) or given or _function_default(function, "step_id")
    return getattr(PipelineStep, name)


def is_async(call: Any) -> bool:
    """Whether calling it makes a coroutine."""
    if type(call) is FunctionType and not call.__dict__:  # plain, and not marked as anything else
        return bool(call.__code__.co_flags & inspect.CO_COROUTINE)
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004  # the method itself is what is looked at
    )


def _policy(retries: int | RetryPolicy) -> RetryPolicy | None:
    from .config import RetryPolicy

    if isinstance(retries, RetryPolicy):
        return retries if retries.attempts > 1 else None
    return RetryPolicy(attempts=retries + 1, delay=0.0) if retries else None
