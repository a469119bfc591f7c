"""The library's own groups and steps, of what a workflow says of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from ...config import PipelineConfig
from ...groups import Branch, Group, Loop, Map, Parallel, PipelineGroup, Serial, TaskStep
from ...steps import _ATTRIBUTE, PipelineStep, StepAttributes, marks_of, read_step
from ..mistakes.problems import Problems
from ..registry import StepType
from ..surroundings import Surroundings
from ..typed_steps import AsyncTypedStep, Place, TypedStep
from .native_models import (
    BranchGroup,
    Expression,
    FunctionRef,
    FunctionStep,
    LoopGroup,
    MapGroup,
    ParallelGroup,
    PipelineSettings,
    SerialGroup,
)


class Nested(NamedTuple):
    """Steps that stand in a group: `ids`, in a `field` of it.

    - `in_series`: they run one after another, and each sees what the ones before have done
    - `brings`: keys of results that are only there for them
    """

    field: str
    ids: list[str]
    in_series: bool
    brings: tuple[str, ...] = ()


@dataclass(frozen=True)
class NativeStep:
    """One that has been read and found right: its fields, and what they name.

    - `problems`: what is wrong with the document it stands in
    - `functions`: by name; `conditions`: of the fields that have expressions
    - `typed`: the type of a class, and the model of its fields
    """

    fields: BaseModel
    place: Place
    nested: tuple[Nested, ...]
    surroundings: Surroundings
    problems: Problems
    functions: Mapping[str, Callable[..., Any]]
    conditions: Mapping[str, Callable[[Any], Any]]
    typed: tuple[StepType, BaseModel] | None = None


def build(
    read: NativeStep,
    step_id: str,
    attributes: Mapping[str, Any],
    children: Mapping[str, Sequence[TaskStep]],
) -> TaskStep:
    """The step or group that was read.

    `attributes` are those that are written beside the fields, as `@step` takes them;
    `children` are the compiled steps of each of its `nested`.
    """
    if isinstance(read.fields, FunctionStep):
        function = read.functions[read.fields.function]
        return function_step(function, read.fields.args, step_id, attributes)
    if read.typed is not None:
        return typed_step(read.typed, read.place, read.surroundings, step_id, attributes)
    fields: Any = read.fields
    name = fields.name if "name" in fields.model_fields_set else step_id
    made = _group(read, name, children)
    _set_attributes(made, attributes, read)
    if getattr(fields, "tolerates_failures", False):
        made.tolerates_failures = True
    return made


def _set_attributes(group: Group, attributes: Mapping[str, Any], read: NativeStep) -> None:
    """A group can only be told that it is not critical; the rest is of single steps."""
    for name, value in attributes.items():
        if name == "critical":
            group.critical = value
            continue
        key = {"timeout": "timeout", "retries": "retry"}.get(name, "attributes")
        hint = f"leave {key!r} out; of a step in it, it can be said"
        if key == "timeout":
            hint = "write it into the `config` of a parallel group, a map or a pipeline"
        place = read.place
        read.problems.add(
            place.source, (*place.path, key), f"a group has no {key!r}", hint, of_key=True
        )


def _group(read: NativeStep, name: str | None, children: Mapping[str, Sequence[TaskStep]]) -> Group:
    step = read.fields
    if isinstance(step, BranchGroup):
        otherwise = None if step.otherwise is None else _one(children["otherwise"])
        return Branch(_asked(read, "condition"), _one(children["then"]), otherwise, name)
    inner = list(children["steps"])
    if isinstance(step, MapGroup):
        _check_keys(step, inner, read)
        over = _asked(read, "over")
        return Map(_one(inner), over, step.item_key, step.result_key, step.config, name)
    if isinstance(step, LoopGroup):
        return Loop(_one(inner), _asked(read, "while"), step.times, name)
    if isinstance(step, ParallelGroup):
        return Parallel(inner, name, step.config)
    if isinstance(step, SerialGroup):
        return Serial(inner, name)
    settings: PipelineSettings | None = getattr(step, "config", None)
    return PipelineGroup(inner, name, config_of(settings, read.functions))


def _check_keys(step: MapGroup, inner: Sequence[TaskStep], read: NativeStep) -> None:
    """What a function returns must not come to stand where the items are."""
    if step.result_key is not None or len(inner) != 1 or isinstance(inner[0], PipelineStep):
        return
    spec = read_step(inner[0])[0] if callable(inner[0]) else None
    if spec is not None and spec.step_id == step.item_key:
        read.problems.add(
            read.place.source,
            (*read.place.path, "steps", 0),
            f"items and results would both stand under {step.item_key!r}",
            "set item_key or result_key",
        )


def _one(steps: Sequence[TaskStep]) -> TaskStep:
    """A single step as it is; several are a series, as a list is there."""
    return steps[0] if len(steps) == 1 else list(steps)


def _asked(read: NativeStep, field: str) -> Any:
    """What a dynamic group is to ask: a key, a list, or a function."""
    value = getattr(read.fields, "while_" if field == "while" else field)
    if isinstance(value, FunctionRef):
        return read.functions[value.function]
    return read.conditions[field] if isinstance(value, Expression) else value


def function_step(
    function: Callable[..., Any],
    args: Mapping[str, Any],
    step_id: str,
    attributes: Mapping[str, Any],
) -> Callable[[Any], Any]:
    """A registered function as a step of that id, with arguments and attributes of its own.

    A partial carries the marks, and not what `@step` makes, so that it can be pickled.
    """
    made = functools.partial(function, **args)
    marks: StepAttributes = {**marks_of(function), "step_id": step_id}
    spec, _ = read_step(function)
    if spec is not None and "description" not in marks and spec.description != spec.step_id:
        marks["description"] = spec.description  # else of a partial nothing is known
    marks.update(attributes)  # type: ignore[typeddict-item]  # checked where they were read
    setattr(made, _ATTRIBUTE, marks)
    return made


def typed_step(
    typed: tuple[StepType, BaseModel],
    place: Place,
    surroundings: Surroundings,
    step_id: str,
    attributes: Mapping[str, Any],
) -> TypedStep:
    """A step of a registered class, with fields of which nothing is to be rendered."""
    kind, config = typed
    fields = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    make = AsyncTypedStep if kind.is_async else TypedStep
    renders_nothing: Any = None  # its fields are ready
    made = make(step_id, kind, fields, config, renders_nothing, place, surroundings)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def config_of(
    settings: PipelineSettings | None, functions: Mapping[str, Callable[..., Any]]
) -> PipelineConfig | None:
    """The settings, with the functions that they name; None for none."""
    if settings is None:
        return None
    given: dict[str, Any] = {name: getattr(settings, name) for name in settings.model_fields_set}
    if "reducers" in given:
        given["reducers"] = {key: functions[name] for key, name in settings.reducers.items()}
    return PipelineConfig(**given)
