"""Steps of workflows that stand for the library's own: its groups, and functions as its steps.

What stands in such a group shares its context and is merged as in Python; the workflow's
own blocks collect outputs instead. `dump_pipeline` writes what is read here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from ...config import PipelineConfig
from ...groups import Branch, Group, Loop, Map, Parallel, PipelineGroup, Serial, TaskStep
from ...steps import _ATTRIBUTE, StepAttributes, marks_of, read_step
from ..problems import Path, Problems, did_you_mean, from_pydantic, shown
from ..registry import AGENTS, FUNCTIONS
from ..source import Source
from ..surroundings import Surroundings
from ..typed_steps import Place
from .native_models import (
    GROUPS,
    Attributes,
    BranchGroup,
    Expression,
    FunctionRef,
    FunctionStep,
    LoopGroup,
    MapGroup,
    ParallelGroup,
    PipelineSettings,
    SerialGroup,
    SeriesGroup,
)

__all__ = [
    "GROUPS",
    "TYPES",
    "Attributes",
    "NativeStep",
    "Nested",
    "build",
    "callables",
    "function_step",
    "nested_fields",
    "pipeline_config",
    "read",
]

TYPES = frozenset({"group", "function"})
"""The types of steps that are read here."""

ConditionOf = Callable[[str, Path], "Callable[[Any], Any] | None"]
"""Makes a condition of an expression that stands at a path; None if it is wrong."""


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
    """One that has been read and found right: its fields, and the functions that they name."""

    fields: BaseModel
    place: Place
    nested: tuple[Nested, ...]
    functions: Mapping[str, Callable[..., Any]]
    conditions: Mapping[str, Callable[[Any], Any]]


def callables(surroundings: Surroundings) -> dict[str, Callable[..., Any]]:
    """The functions that a document may name: the caller's before those that are registered."""
    return {**AGENTS, **surroundings.agents, **FUNCTIONS, **surroundings.functions}


def model_of(kind: str, fields: Mapping[str, Any]) -> type[BaseModel] | None:
    """The model of such a step; None for a group of no known kind."""
    if kind == "function":
        return FunctionStep
    group = fields.get("group")
    return GROUPS.get(group) if isinstance(group, str) else None


def nested_fields(kind: str) -> tuple[str, ...]:
    """Which fields of such a step hold ids of others."""
    return () if kind == "function" else ("steps", "then", "otherwise")


def read(
    kind: str,
    fields: Mapping[str, Any],
    place: Place,
    surroundings: Surroundings,
    problems: Problems,
    condition_of: ConditionOf,
) -> NativeStep | None:
    """Read a step of one of these types; None if its mistakes are in `problems` now."""
    model = model_of(kind, fields)
    if model is None:
        _unknown_group(fields, place, problems)
        return None
    try:
        step = model.model_validate(fields)
    except ValidationError as error:
        from_pydantic(error, place.source, place.path, problems, model, fields)
        return None
    before = len(problems)
    known = callables(surroundings)
    functions: dict[str, Callable[..., Any]] = {}
    conditions: dict[str, Callable[[Any], Any]] = {}
    for path, name in _named_functions(step):
        if name in known:
            functions[name] = known[name]
        else:
            _unknown_function(name, (*place.path, *path), known, place.source, problems)
    for field, expression in _expressions(step):
        made = condition_of(expression, (*place.path, field, "expression"))
        if made is not None:
            conditions[field] = made
    nested = tuple(_nested(step))
    _check_quorum(step, place, problems)
    return (
        NativeStep(step, place, nested, functions, conditions) if len(problems) == before else None
    )


def _unknown_group(fields: Mapping[str, Any], place: Place, problems: Problems) -> None:
    if "group" not in fields:
        found = "'group' is missing, which says what kind of group it is"
        problems.add(place.source, place.path, found, f"it is one of {', '.join(GROUPS)}")
        return
    group = fields["group"]
    found = f"there is no kind of group called {shown(group)}"
    problems.add(place.source, (*place.path, "group"), found, did_you_mean(str(group), GROUPS))


def _unknown_function(
    name: str,
    path: Path,
    known: Mapping[str, Any],
    source: Source,
    problems: Problems,
) -> None:
    def hint() -> str:
        register = f'register it with @register_function("{name}"), or pass functions={{...}}'
        return "; or ".join(filter(None, (did_you_mean(name, known), register)))

    problems.add(source, path, f"no function is registered as {shown(name)}", hint)


def _named_functions(step: BaseModel) -> Iterator[tuple[Path, str]]:
    """Every function that a step names, and where."""
    if isinstance(step, FunctionStep):
        yield ("function",), step.function
    for field in ("over", "condition", "while_"):
        value = getattr(step, field, None)
        if isinstance(value, FunctionRef):
            yield (field.rstrip("_"), "function"), value.function
    config = getattr(step, "config", None)
    if isinstance(config, PipelineSettings):
        for key, name in config.reducers.items():
            yield ("config", "reducers", key), name


def _expressions(step: BaseModel) -> Iterator[tuple[str, str]]:
    for field in ("condition", "while_"):
        value = getattr(step, field, None)
        if isinstance(value, Expression):
            yield field.rstrip("_"), value.expression


def _nested(step: BaseModel) -> Iterator[Nested]:
    if isinstance(step, BranchGroup):
        yield Nested("then", step.then, in_series=True)
        if step.otherwise is not None:
            yield Nested("otherwise", step.otherwise, in_series=True)
    elif isinstance(step, SeriesGroup):
        brings = (step.item_key,) if isinstance(step, MapGroup) else ()
        yield Nested("steps", step.steps, not isinstance(step, ParallelGroup), brings)


def _check_quorum(step: BaseModel, place: Place, problems: Problems) -> None:
    if not isinstance(step, ParallelGroup) or step.config is None:
        return
    quorum, count = step.config.quorum, len(step.steps)
    if quorum is not None and quorum > count > 0:
        problems.add(
            place.source,
            (*place.path, "config", "quorum"),
            f"is {quorum}, and the group has {count} steps",
            f"it must be {count} or less",
        )


# From what was read to the library's own.


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
    fields: Any = read.fields
    name = fields.name if "name" in fields.model_fields_set else step_id
    made = _group(read, name, children)
    if "critical" in attributes:
        made.critical = attributes["critical"]
    if getattr(fields, "tolerates_failures", False):
        made.tolerates_failures = True
    return made


def _group(read: NativeStep, name: str | None, children: Mapping[str, Sequence[TaskStep]]) -> Group:
    step = read.fields
    if isinstance(step, BranchGroup):
        otherwise = None if step.otherwise is None else _one(children["otherwise"])
        return Branch(_asked(read, "condition"), _one(children["then"]), otherwise, name)
    inner = list(children["steps"])
    if isinstance(step, MapGroup):
        over = _asked(read, "over")
        return Map(_one(inner), over, step.item_key, step.result_key, step.config, name)
    if isinstance(step, LoopGroup):
        return Loop(_one(inner), _asked(read, "while"), step.times, name)
    if isinstance(step, ParallelGroup):
        return Parallel(inner, name, step.config)
    if isinstance(step, SerialGroup):
        return Serial(inner, name)
    settings: PipelineSettings | None = getattr(step, "config", None)
    return PipelineGroup(inner, name, _pipeline_config(settings, read.functions))


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


def pipeline_config(
    source: Source, surroundings: Surroundings, problems: Problems
) -> PipelineConfig | None:
    """The settings that a workflow has in its key `config`; None if it has none, or wrong ones."""
    document = source.value
    given = document.get("config") if isinstance(document, Mapping) else None
    if given is None:
        return None
    try:
        settings = PipelineSettings.model_validate(given)
    except ValidationError as error:
        from_pydantic(error, source, ("config",), problems, PipelineSettings, given)
        return None
    known = callables(surroundings)
    unknown = {key: name for key, name in settings.reducers.items() if name not in known}
    for key, name in unknown.items():
        _unknown_function(name, ("config", "reducers", key), known, source, problems)
    return None if unknown else _pipeline_config(settings, known)


def _pipeline_config(
    settings: PipelineSettings | None, functions: Mapping[str, Callable[..., Any]]
) -> PipelineConfig | None:
    if settings is None:
        return None
    given: dict[str, Any] = {name: getattr(settings, name) for name in settings.model_fields_set}
    if "reducers" in given:
        given["reducers"] = {key: functions[name] for key, name in settings.reducers.items()}
    return PipelineConfig(**given)
