"""The types of steps that documents may name, and the functions and agents they may call.

A document can only name what stands here, or what its caller passes: nothing is imported
because a document says so.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from ..errors import ConfigurationError
from ..steps import PipelineStep, StepAttributes, is_async

C = TypeVar("C", bound=type[PipelineStep])
F = TypeVar("F", bound=Callable[..., Any])


class StepConfig(BaseModel):
    """The fields of a type of step: a pydantic model that takes no others.

    ```python
    from task_pipeline import PipelineStep, StepConfig, register_step

    class GreetConfig(StepConfig):
        name: str
        key: str = "greeting"

    @register_step("greet")
    class Greet(PipelineStep):
        config: GreetConfig

        def run(self, context):
            context.results[self.config.key] = f"Hello, {self.config.name}"
    ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, eq=False)
class StepType:
    """A class of steps as documents use it: the model of its fields, and how to make one.

    `attributes` are those that the class sets itself, of a step's; `description` is its
    docstring's first line.
    """

    name: str
    step_class: type[PipelineStep]
    model: type[BaseModel]
    make: Callable[[BaseModel], PipelineStep]
    attributes: tuple[str, ...]
    is_async: bool
    description: str

    @property
    def version(self) -> str | None:
        """What the class says of the version of what it does."""
        found = getattr(self.step_class, "version", None)
        return found if isinstance(found, str) else None

    def __reduce__(self) -> tuple[Any, ...]:
        """By its name: what it is made of are functions."""
        return _type_named, (self.name,)


class StepRegistry(dict[str, type[PipelineStep]]):
    """The types of steps, by name: `STEP_REGISTRY["name"] = StepClass`."""

    def __init__(self) -> None:
        super().__init__()
        self._types: dict[str, StepType] = {}

    def __setitem__(self, name: str, step_class: type[PipelineStep]) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"a type of steps is named by a text, not {name!r}")
        made = _step_type(name, step_class)
        super().__setitem__(name, step_class)
        self._types[name] = made

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        del self._types[name]

    def type_of(self, name: str) -> StepType:
        """A type by its name; raises `KeyError`."""
        return self._types[name]


STEP_REGISTRY = StepRegistry()
"""The types of steps that recipes and workflows may name; a class put in is checked at once.

```python
from task_pipeline import STEP_REGISTRY

assert "set_context" in STEP_REGISTRY
```
"""

AGENTS: dict[str, Callable[..., Any]] = {}
FUNCTIONS: dict[str, Callable[..., Any]] = {}
HANDLERS: dict[str, Callable[..., Any]] = {}


class Handlers(Mapping[str, Callable[..., Any]]):
    """The handlers that a caller has brought, and behind them those that are registered."""

    def __init__(self, brought: Mapping[str, Callable[..., Any]]) -> None:
        self._brought = dict(brought)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._brought[name] if name in self._brought else HANDLERS[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**HANDLERS, **self._brought})

    def __len__(self) -> int:
        return len({**HANDLERS, **self._brought})


def register_step(name: str) -> Callable[[C], C]:
    """Register a subclass of `PipelineStep` as the type of steps of that name.

    Its fields are a pydantic model: the annotation of its attribute `config`, or what its
    `__init__` takes. Raises `ConfigurationError` for a class that has neither.

    ```python
    from task_pipeline import PipelineStep, load_pipeline, register_step

    @register_step("shout")
    class Shout(PipelineStep):
        def __init__(self, text: str) -> None:
            self.text = text

        def run(self, context):
            context.results["shout"] = self.text.upper()

    pipeline = load_pipeline({"steps": [{"type": "shout", "text": "hello"}]})
    assert pipeline.run().results == {"shout": "HELLO"}
    ```
    """

    def register(step_class: C) -> C:
        STEP_REGISTRY[name] = step_class
        return step_class

    return register


def register_agent(name: str) -> Callable[[F], F]:
    """Register a function as the agent of that name, for the steps of workflows.

    It is called as `fn(input)` or `fn(input, context)` with what the step's `input_mapping`
    comes to, and returns the step's output. It may be `async def`.

    ```python
    from task_pipeline import load_pipeline, register_agent

    @register_agent("double")
    def double(input):
        return {"result": 2 * input["n"]}

    step = {"agent_name": "double", "input_mapping": {"n": "${workflow.input.n}"}}
    pipeline = load_pipeline({"start_step": "a", "steps": {"a": step}})
    ```
    """
    return _registering(AGENTS, name, "an agent")


def register_function(name: str) -> Callable[[F], F]:
    """Register a function that documents may call by that name, with a step of type `python`.

    ```python
    from task_pipeline import load_pipeline, register_function

    @register_function("count_words")
    def count_words(context):
        return len(context.results["text"].split())

    pipeline = load_pipeline({"steps": [{"type": "python", "function": "count_words"}]})
    ```
    """
    return _registering(FUNCTIONS, name, "a function")


def _type_named(name: str) -> StepType:
    return STEP_REGISTRY.type_of(name)


def register_handler(name: str) -> Callable[[F], F]:
    """Register a function as the handler of a type of steps, such as `llm_generate`.

    It is called as `fn(config, context)` with a dict of the step's fields, and what it returns
    is kept under the step's `output_key`. It may be `async def`.

    ```python
    from task_pipeline import load_pipeline, register_handler

    @register_handler("llm_generate")
    def echo(config, context):
        return f"You said: {config['prompt']}"

    pipeline = load_pipeline({"steps": [{"type": "llm_generate", "prompt": "Hello"}]})
    assert pipeline.run().results == {"llm_output": "You said: Hello"}
    ```
    """
    return _registering(HANDLERS, name, "a handler")


def _registering(into: dict[str, Callable[..., Any]], name: str, what: str) -> Callable[[F], F]:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"{what} is named by a text, not {name!r}")

    def register(function: F) -> F:
        if not callable(function):
            raise ConfigurationError(f"{what} must be callable, and {name!r} is {function!r}")
        into[name] = function
        return function

    return register


def _step_type(name: str, step_class: Any) -> StepType:
    if not isinstance(step_class, type) or not issubclass(step_class, PipelineStep):
        raise ConfigurationError(
            f"type {name!r} must be a subclass of PipelineStep, not {step_class!r}"
        )
    if inspect.isabstract(step_class):
        raise ConfigurationError(f"type {name!r}: {step_class.__name__} has no run() of its own")
    model, make = _fields_of(name, step_class)
    own = tuple(
        attribute
        for attribute in StepAttributes.__annotations__
        if inspect.getattr_static(step_class, attribute, None)
        is not inspect.getattr_static(PipelineStep, attribute)
    )
    doc = inspect.getdoc(step_class) if step_class.__dict__.get("__doc__") else None
    said = doc.partition("\n")[0].strip() if doc else ""
    return StepType(name, step_class, model, make, own, is_async(step_class.run), said)


def _fields_of(
    name: str, step_class: type[PipelineStep]
) -> tuple[type[BaseModel], Callable[[BaseModel], PipelineStep]]:
    """The model of a class's fields, and what makes a step of a config."""
    model = _declared_model(step_class)
    takes = _parameters(name, step_class)
    if model is not None and not takes:

        def make(config: BaseModel) -> PipelineStep:
            made = step_class()
            made.config = config  # type: ignore[attr-defined]  # declared by the class itself
            return made

        return model, make
    if len(takes) == 1:
        (only,) = takes.values()
        annotated = only.annotation
        if isinstance(annotated, type) and issubclass(annotated, BaseModel):
            return annotated, step_class
        if model is not None:
            return model, step_class
    if model is not None:
        raise ConfigurationError(
            f"type {name!r}: {step_class.__name__} declares its config, so its __init__ must take "
            f"that or nothing, and not {', '.join(takes)}"
        )
    fields: dict[str, Any] = {
        key: (
            Any if taken.annotation is inspect.Parameter.empty else taken.annotation,
            ... if taken.default is inspect.Parameter.empty else taken.default,
        )
        for key, taken in takes.items()
    }
    made_up = create_model(f"{step_class.__name__}Config", __base__=StepConfig, **fields)

    def make_of_fields(config: BaseModel) -> PipelineStep:
        return step_class(**{key: getattr(config, key) for key in takes})

    return made_up, make_of_fields


def _declared_model(step_class: type[PipelineStep]) -> type[BaseModel] | None:
    found = getattr(step_class, "config_model", None)
    if found is None:
        try:
            found = typing.get_type_hints(step_class).get("config")
        except Exception as error:
            raise ConfigurationError(
                f"{step_class.__name__}: its annotations cannot be read: {error}"
            ) from error
    if found is None:
        found = getattr(step_class, "Config", None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _parameters(name: str, step_class: type[PipelineStep]) -> dict[str, inspect.Parameter]:
    if step_class.__init__ is object.__init__:
        return {}
    try:
        signature = inspect.signature(step_class, eval_str=True)
    except Exception as error:
        raise ConfigurationError(
            f"type {name!r}: the parameters of {step_class.__name__} cannot be read: {error}"
        ) from error
    takes = dict(signature.parameters)
    wrong = [
        key
        for key, taken in takes.items()
        if taken.kind in (taken.POSITIONAL_ONLY, taken.VAR_POSITIONAL, taken.VAR_KEYWORD)
    ]
    if wrong:
        raise ConfigurationError(
            f"type {name!r}: {step_class.__name__}() takes {', '.join(wrong)}, which a document "
            "cannot give by name; write out the fields, or declare config: a pydantic model"
        )
    return takes
