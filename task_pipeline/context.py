"""The data a step sees, and its way to report progress and hear of cancellation."""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import math
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from .errors import ContextTypeError

AppConfig = TypeVar("AppConfig")

DEFAULT_LOGGER = logging.getLogger("task_pipeline")

# Where the engine keeps its two things in a context's __dict__, beside the user's fields.
SOURCE = "_source"
BINDING = "_binding"
# Passed by reference to every fork and copy; never copied, never merged.
BY_REFERENCE = ("shared", "logger_instance")


class Source(Protocol):
    """Where a fork finds a field that it has not touched yet."""

    def load(self, context: PipelineContext[Any], name: str) -> Any:
        """Give the fork its own version of a field; AttributeError if there is none."""

    def names(self) -> Iterator[str]:
        """The names of all fields there are to load."""


class Binding(Protocol):
    """The step that a context is bound to while it runs."""

    attempt: int
    cancelled: bool

    @property
    def step_id(self) -> str:
        """The step's id."""

    @property
    def idempotency_key(self) -> str:
        """The run and the step's place in it."""

    def remaining(self) -> float | None:
        """Seconds to the nearest deadline, or None."""

    def update_progress(self, percent: float) -> None:
        """Record progress, 0 to 100; raises in a step that has been asked to stop."""

    def raise_if_cancelled(self) -> None:
        """Raise in a step that has been asked to stop."""


class Snapshot(Protocol):
    """The data of a context, as a snapshot of a run keeps it."""

    @property
    def results(self) -> dict[Any, Any]:
        """What steps have produced."""

    @property
    def errors(self) -> list[Any]:
        """The exceptions of steps that failed."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that a subclass has added."""


def context_or_new(given: object) -> PipelineContext[Any]:
    """The context itself, a new one for None; raises `ContextTypeError` for anything else."""
    return PipelineContext() if given is None else require_context(given, " or None")


def require_context(given: object, otherwise: str = "") -> PipelineContext[Any]:
    """The context itself; raises `ContextTypeError` for anything else."""
    if not isinstance(given, PipelineContext):
        raise ContextTypeError(
            f"a run takes a PipelineContext{otherwise}, not a {type(given).__name__}; put your "
            "data into PipelineContext(results={...})"
        )
    return given


def is_kept_as_value(kind: type, name: str) -> bool:
    """Whether setting an attribute of an instance runs no code of its class, nor hides any."""
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, types.FunctionType | staticmethod | classmethod):
        return False
    return isinstance(found, types.MemberDescriptorType) or not hasattr(type(found), "__set__")


def _no_config() -> Any:
    return None


def _no_logger() -> Any:
    return DEFAULT_LOGGER


@dataclass
class PipelineContext(Generic[AppConfig]):
    """What a step reads and writes.

    - `app_config`: the application's settings
    - `logger_instance`: any logger; the `task_pipeline` logger by default
    - `results`: a dict; what steps produce
    - `errors`: the exceptions of steps that failed, each once
    - `shared`: passed by reference to every branch, never copied, never merged

    Subclass it as a dataclass to add fields; branches isolate and merge them as
    they do the values in `results`.

    ```python
    from dataclasses import dataclass
    from task_pipeline import Pipeline, PipelineContext

    @dataclass
    class Order(PipelineContext[dict[str, str]]):
        total: int = 0

    def add(context): context.total += 5

    assert Pipeline([[add, add]]).run(Order()).total == 10
    ```
    """

    # Factories leave no class attribute behind, so that __getattr__ is asked in a fork.
    app_config: AppConfig = field(default_factory=_no_config)
    logger_instance: Any = field(default_factory=_no_logger)
    results: dict[str, Any] = field(default_factory=dict)
    errors: list[Any] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, **others: Any) -> Self:
        """A context with the data of a snapshot, copied, for a run that goes on from there.

        `others` are what a snapshot does not have: `app_config`, `shared`, `logger_instance`.
        Called on a subclass it makes one of that. Raises `ContextTypeError` for a field
        that this class does not have, or that it needs and the snapshot does not have.

        ```python
        from task_pipeline import Pipeline, PipelineContext

        run = Pipeline([lambda context: 42], name="answer").start()
        run.result()
        context = PipelineContext.from_snapshot(run.snapshot())
        assert list(context.results.values()) == [42]
        ```
        """
        wrong = [repr(name) for name in others if name not in ("app_config", *BY_REFERENCE)]
        known = {item.name: item for item in fields(cls)}
        wrong += [repr(name) for name in snapshot.fields if name not in known]
        if wrong:
            raise ContextTypeError(
                f"{cls.__name__} cannot be made from the snapshot: it has no field "
                f"{', '.join(wrong)}. Call from_snapshot on the class that the run's context had."
            )
        memo: dict[int, Any] = {id(error): error for error in snapshot.errors}

        def copied() -> dict[str, Any]:
            data = copy.deepcopy({**snapshot.fields, "results": snapshot.results}, dict(memo))
            return {**data, "errors": list(snapshot.errors)}

        data = copied()
        given = {name: value for name, value in data.items() if known[name].init}
        try:
            context = cls(**given, **others)
        except TypeError as error:
            raise ContextTypeError(
                f"{cls.__name__} cannot be made from the snapshot: {error}"
            ) from error
        # Whatever a __post_init__ has done to them, they are what they were.
        for name, value in (copied() if hasattr(cls, "__post_init__") else data).items():
            object.__setattr__(context, name, value)
        return context

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "logger_instance" and value is None:
            value = DEFAULT_LOGGER
        object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # a checker shall go on finding misspelt attributes

        def __getattr__(self, name: str) -> Any:
            source = self.__dict__.get(SOURCE)
            if source is None or name.startswith("__"):
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            return source.load(self, name)

    @property
    def logger(self) -> Any:
        """The logger: `logger_instance` under a shorter name."""
        return self.logger_instance

    @property
    def step_id(self) -> str | None:
        """The id of the step that runs with this context, or None outside of one."""
        binding: Binding | None = self.__dict__.get(BINDING)
        return None if binding is None else binding.step_id

    @property
    def attempt(self) -> int:
        """1 for a step's first attempt, 2 for its first retry; 0 outside of a step."""
        binding: Binding | None = self.__dict__.get(BINDING)
        return 0 if binding is None else binding.attempt

    @property
    def idempotency_key(self) -> str | None:
        """What tells this step of this run from every other; None outside of a step.

        The same in each attempt, and in each part of a run that is resumed: give it to whoever
        is to do something once only.
        """
        binding: Binding | None = self.__dict__.get(BINDING)
        return None if binding is None else binding.idempotency_key

    @property
    def cancelled(self) -> bool:
        """Whether the running step has been asked to stop."""
        binding: Binding | None = self.__dict__.get(BINDING)
        return binding is not None and binding.cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds to the nearest deadline over the running step, never negative; None if none."""
        binding: Binding | None = self.__dict__.get(BINDING)
        return None if binding is None else binding.remaining()

    def raise_if_cancelled(self) -> None:
        """Raise `StepCancelledError` if the running step has been asked to stop."""
        binding: Binding | None = self.__dict__.get(BINDING)
        if binding is not None:
            binding.raise_if_cancelled()

    def update_step_progress(self, percent: float) -> None:
        """Report how far the running step is, in percent; what is outside 0 to 100 is clamped.

        Raises `StepCancelledError` in a step that has been asked to stop, and
        `ValueError` for something that is not a number. Outside of a step it does nothing.
        """
        try:
            number = float(percent)  # of whatever kind of number it is
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isnan(number) or isinstance(percent, str | bytes):
            raise ValueError(f"progress is a number from 0 to 100, not {percent!r}")
        binding: Binding | None = self.__dict__.get(BINDING)
        if binding is not None:
            binding.update_progress(min(max(number, 0.0), 100.0))

    def parallel(self, **options: Any) -> Any:
        """A dynamic group in the running step, as `task_pipeline.parallel()` makes it.

        Raises what that raises.

        ```python
        from task_pipeline import Pipeline

        def crawl(context):
            with context.parallel(max_workers=8) as group:
                for number in range(3):
                    group.add(pow, number, 2)
                return [result.unwrap() for result in group.gather()]

        assert Pipeline([crawl]).run().results["crawl"] == [0, 1, 4]
        ```
        """
        # By name: groups are made in a room above this one, which only passes the wish on.
        return importlib.import_module("task_pipeline").parallel(**options)

    def __copy__(self) -> PipelineContext[AppConfig]:
        """A detached context with the same values; not bound to a step."""
        return self._rebuilt(lambda name, value: value)

    def __deepcopy__(self, memo: dict[int, Any]) -> PipelineContext[AppConfig]:
        """A detached context with copied values; `shared` and the logger stay the same objects."""
        shared = self.shared
        memo.update({id(shared): shared, **{id(value): value for value in shared.values()}})

        def own(name: str, value: Any) -> Any:
            if name in BY_REFERENCE:
                return value
            # Exceptions stay the objects they are: who holds one compares by identity.
            return list(value) if name == "errors" else copy.deepcopy(value, memo)

        return self._rebuilt(own)

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: the fields, without the binding to a running step."""
        return {name: getattr(self, name) for name in self._names()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For unpickling."""
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def _names(self) -> list[str]:
        """The names of all fields, whether or not this context has touched them yet."""
        names = {item.name: None for item in fields(self)}
        names.update({name: None for name in self.__dict__ if name not in (SOURCE, BINDING)})
        source: Source | None = self.__dict__.get(SOURCE)
        if source is not None:
            names.update(dict.fromkeys(source.names()))
        return list(names)

    def _rebuilt(self, value_of: Callable[[str, Any], Any]) -> PipelineContext[AppConfig]:
        other = object.__new__(type(self))
        for name in self._names():
            object.__setattr__(other, name, value_of(name, getattr(self, name)))
        return other
