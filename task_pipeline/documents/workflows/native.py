"""Steps of workflows that stand for the library's own: groups, functions, steps of classes.

What stands in such a group shares its context and is merged as in Python, and a step sets in
`results` what it sets there; the workflow's own blocks and steps have outputs instead.
`dump_pipeline` writes what is read here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ...config import PipelineConfig
from ..mistakes.problems import Path, Problems, did_you_mean, from_pydantic, shown
from ..reading.source import Source
from ..registry import AGENTS, FUNCTIONS, STEP_REGISTRY, StepType
from ..steps.calls import takes
from ..surroundings import Surroundings
from ..typed_steps import DocumentStep, Place
from .native_building import (
    NativeStep,
    Nested,
    build,
    config_of,
    function_step,
    typed_step,
)
from .native_models import (
    GROUPS,
    Attributes,
    BranchGroup,
    ClassStep,
    Expression,
    FunctionRef,
    FunctionStep,
    LoopGroup,
    MapGroup,
    ParallelGroup,
    PipelineSettings,
    SeriesGroup,
)

__all__ = [
    "GROUPS",
    "TYPES",
    "Attributes",
    "NativeStep",
    "Nested",
    "build",
    "function_step",
    "nested_fields",
    "pipeline_config",
    "read",
    "settings_of",
    "typed_step",
]

TYPES = frozenset({"group", "function", "step"})
"""The types of steps that are read here."""

ConditionOf = Callable[[str, Path], "Callable[[Any], Any] | None"]
"""Makes a condition of an expression that stands at a path; None if it is wrong."""

_MODELS: dict[str, type[BaseModel]] = {"function": FunctionStep, "step": ClassStep}


def _named(name: str, surroundings: Surroundings) -> Callable[..., Any] | None:
    """The function of that name: the caller's before one that is registered."""
    for known in (surroundings.functions, FUNCTIONS, surroundings.agents, AGENTS):
        if name in known:
            return known[name]
    return None


def model_of(kind: str, fields: Mapping[str, Any]) -> type[BaseModel] | None:
    """The model of such a step; None for a group of no known kind."""
    if kind in _MODELS:
        return _MODELS[kind]
    group = fields.get("group")
    return GROUPS.get(group) if isinstance(group, str) else None


def nested_fields(kind: str) -> tuple[str, ...]:
    """Which fields of such a step hold ids of others."""
    return ("steps", "then", "otherwise") if kind == "group" else ()


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
    functions: dict[str, Callable[..., Any]] = {}
    conditions: dict[str, Callable[[Any], Any]] = {}
    for path, name in _named_functions(step):
        function = _named(name, surroundings)
        if function is not None:
            functions[name] = function
            _check_arguments(step, function, place, problems)
        else:
            _unknown_function(name, (*place.path, *path), surroundings, place.source, problems)
    for field, expression in _expressions(step):
        made = condition_of(expression, (*place.path, field, "expression"))
        if made is not None:
            conditions[field] = made
    nested = tuple(_nested(step))
    _check_quorum(step, place, problems)
    typed = None
    if isinstance(step, ClassStep):
        typed = _read_typed(step, place, surroundings, problems)
    if len(problems) != before:
        return None
    return NativeStep(step, place, nested, surroundings, problems, functions, conditions, typed)


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
    surroundings: Surroundings,
    source: Source,
    problems: Problems,
) -> None:
    def hint() -> str:
        known = {**AGENTS, **surroundings.agents, **FUNCTIONS, **surroundings.functions}
        decorator = f'@register_function("{name}"), or pass functions={{...}}'
        return _or_register(did_you_mean(name, known), decorator)

    problems.add(source, path, f"no function is registered as {shown(name)}", hint)


def _check_arguments(
    step: BaseModel, function: Callable[..., Any], place: Place, problems: Problems
) -> None:
    """A function step's arguments must be such that the function takes."""
    if isinstance(step, FunctionStep) and step.args and not takes(function, None, **step.args):
        problems.add(
            place.source,
            (*place.path, "args"),
            f"{step.function}{inspect.signature(function)} cannot be called with the context and "
            f"{', '.join(step.args)}",
            "give the arguments that it takes, beside the context",
        )


def _or_register(near: str, decorator: str) -> str:
    register = f"register it with {decorator}"
    return f"{near}; or {register}" if near else register


def _named_functions(step: BaseModel) -> Iterator[tuple[Path, str]]:
    """Every function that a step names, and where."""
    if isinstance(step, FunctionStep):
        yield ("function",), step.function
        return
    for field in ("over", "condition", "while_"):
        value = getattr(step, field, None)
        if isinstance(value, FunctionRef):
            yield (field.rstrip("_"), "function"), value.function
    config = getattr(step, "config", None)
    if isinstance(config, PipelineSettings):
        for key, name in config.reducers.items():
            yield ("config", "reducers", key), name


def _expressions(step: BaseModel) -> Iterator[tuple[str, str]]:
    if isinstance(step, BranchGroup) and isinstance(step.condition, Expression):
        yield "condition", step.condition.expression
    if isinstance(step, LoopGroup) and isinstance(step.while_, Expression):
        yield "while", step.while_.expression


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


def _read_typed(
    step: ClassStep, place: Place, surroundings: Surroundings, problems: Problems
) -> tuple[StepType, BaseModel] | None:
    """The type of a step of a class, and the model of its fields."""
    name, path = step.step_type, (*place.path, "config")
    if name not in STEP_REGISTRY or _is_of_recipes(name):
        found = f"no class is registered as {shown(name)}"
        if name in STEP_REGISTRY:
            found = f"{shown(name)} is a type of step of recipes"

        def hint() -> str:
            known = [other for other in STEP_REGISTRY if not _is_of_recipes(other)]
            return _or_register(did_you_mean(name, known), f'@register_step("{name}")')

        problems.add(place.source, (*place.path, "step_type"), found, hint)
        return None
    kind = STEP_REGISTRY.type_of(name)
    if issubclass(kind.step_class, DocumentStep):
        for inner, found, what_to_do in kind.step_class.check(step.config, surroundings):
            problems.add(place.source, (*path, *inner), found, what_to_do)
    try:
        return kind, kind.model.model_validate(step.config, strict=True)
    except ValidationError as error:
        from_pydantic(error, place.source, path, problems, kind.model, step.config)
        return None


def _is_of_recipes(name: str) -> bool:
    return getattr(STEP_REGISTRY[name], "is_recipe_block", False)


def pipeline_config(
    source: Source, surroundings: Surroundings, problems: Problems
) -> PipelineConfig | None:
    """The settings that a workflow has in its key `config`; None if it has none, or wrong ones."""
    document = source.value
    given = document.get("config") if isinstance(document, Mapping) else None
    return settings_of(given, source, ("config",), surroundings, problems)


def settings_of(
    given: Any, source: Source, path: Path, surroundings: Surroundings, problems: Problems
) -> PipelineConfig | None:
    """The settings that stand at a path; None if there are none, or wrong ones."""
    if given is None:
        return None
    try:
        settings = PipelineSettings.model_validate(given)
    except ValidationError as error:
        from_pydantic(error, source, path, problems, PipelineSettings, given)
        return None
    functions: dict[str, Callable[..., Any]] = {}
    for key, name in settings.reducers.items():
        function = _named(name, surroundings)
        if function is None:
            where = (*path, "reducers", key)
            _unknown_function(name, where, surroundings, source, problems)
            return None
        functions[name] = function
    return config_of(settings, functions)
