"""Single steps as entries of a workflow: functions by their names, classes by their types."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, ValidationError

from ...config import RetryPolicy
from ...steps import PipelineStep, StepAttributes, StepSpec, read_step, snake_case
from ..registry import STEP_REGISTRY, StepType
from ..typed_steps import TypedStep
from ..workflows.native import function_step, typed_step
from ..workflows.native_models import Attributes
from .functions import FunctionNames
from .values import inexact

Entry = dict[str, Any]
Loaded = Callable[[str, dict[str, Any]], Any]
"""Makes the step that loading makes of an entry, with an id and attributes beside its fields."""


class WrittenStep(NamedTuple):
    """A step that could be written: the id it is to have, and its entry."""

    step_id: str
    entry: Entry


def write_step(
    step: Any, is_class: bool, names: FunctionNames, own_id: Callable[[str], str]
) -> WrittenStep | list[str]:
    """The entry of a step, or all that keeps it from being written."""
    spec, problems = read_step(step)
    assert spec is not None, problems  # the pipeline has been compiled
    what = f"step {spec.step_id!r}"
    step_id = own_id(spec.step_id)
    written = _of_class(step) if is_class else _of_function(step, names)
    if isinstance(written, str):
        return [f"{what}: {written}"]
    entry, loaded = written
    problems = _add_attributes(entry, spec, step_id, loaded)
    if spec.executor is not None or spec.options:
        problems.append("a document cannot hold its executor, nor executor_options; take them away")
    problems += inexact(entry.get("args", {}), "args")
    problems += inexact(entry.get("attributes", {}), "attributes")
    if problems:
        return [f"{what}: {problem}" for problem in problems]
    return WrittenStep(step_id, entry)


def _of_function(function: Any, names: FunctionNames) -> tuple[Entry, Loaded] | str:
    found = names.find(function)
    if isinstance(found, str):
        return found
    entry: Entry = {"type": "function", "function": found.name}
    if found.args:
        entry["args"] = found.args
    return entry, functools.partial(function_step, found.function, found.args)


# Steps of registered classes


def _of_class(step: PipelineStep) -> tuple[Entry, Loaded] | str:
    if isinstance(step, TypedStep):
        return f"it is part of a document, where it stands at {step.place}; dump that one"
    cls = type(step)
    name = next((name for name, known in STEP_REGISTRY.items() if known is cls), None)
    if name is None:
        return (
            f"its class {cls.__name__} is no registered type; register it with "
            f'@register_step("{snake_case(cls.__name__)}")'
        )
    kind = STEP_REGISTRY.type_of(name)
    fields = _fields(step, kind)
    if isinstance(fields, str):
        return fields
    written, config = fields
    entry: Entry = {"type": "step", "step_type": name}
    if written:
        entry["config"] = written
    nowhere = cast(Any, None)  # only its attributes are looked at
    return entry, functools.partial(typed_step, (kind, config), nowhere, nowhere)


def _fields(step: PipelineStep, kind: StepType) -> tuple[Entry, BaseModel] | str:
    """The fields of a step as JSON, of which its like can be made; or why there are none."""
    given = _config_of(step, kind)
    if isinstance(given, str):
        return given
    try:
        written = given.model_dump(mode="json", by_alias=True, exclude_unset=True)
        config = kind.model.model_validate(written, strict=True)
    except (ValidationError, ValueError, TypeError) as error:
        return f"its fields cannot be written as JSON and read again: {error}"
    lost = [name for name in kind.model.model_fields if not _same(config, given, name)]
    if lost:
        return f"what it has as {', '.join(lost)} cannot be written as JSON and read again"
    problem = next(inexact(written, "config"), None)
    return problem or _unlike(step, kind, config) or (written, config)


def _config_of(step: PipelineStep, kind: StepType) -> BaseModel | str:
    """The model of a step's fields: an attribute of it, or made of its attributes."""
    own = [value for value in vars(step).values() if type(value) is kind.model]
    if len(own) == 1:
        return own[0]
    names = list(kind.model.model_fields)
    missing = [name for name in names if not hasattr(step, name)]
    if missing:
        return (
            f"it has no attribute {', '.join(missing)}, so its fields are not known; have "
            f"{type(step).__name__}.__init__ keep what it takes under the same names, or declare "
            "config: a pydantic model"
        )
    try:
        return kind.model.model_validate({name: getattr(step, name) for name in names})
    except ValidationError as error:
        return f"its attributes are not what its fields may be: {error}"


def _unlike(step: PipelineStep, kind: StepType, config: BaseModel) -> str:
    """How a step that is made of these fields differs from the one at hand, if it does."""
    try:
        made = kind.make(config)
    except Exception as error:  # noqa: BLE001  # a user's __init__ may raise anything
        return f"making another one of its fields raised {type(error).__name__}: {error}"
    fields = set(kind.model.model_fields)
    own = {name for name, value in vars(step).items() if next(inexact(value, name), None) is None}
    names = (own | fields & vars(step).keys()) - set(StepAttributes.__annotations__)
    other = sorted(name for name in names if not _same(made, step, name))
    if not other:
        return ""
    return (
        f"it has {', '.join(other)} set to what its fields do not make of it; only fields are "
        "written: make it a field of its type"
    )


def _same(one: Any, other: Any, name: str) -> bool:
    """Whether two have the same under a name; what cannot be compared is not the same."""
    try:
        mine, theirs = getattr(one, name), getattr(other, name)
        return type(mine) is type(theirs) and bool(mine == theirs)
    except Exception:  # noqa: BLE001  # a user's own attribute or == may raise anything
        return False


# What stands beside the fields


def _add_attributes(entry: Entry, spec: StepSpec, step_id: str, loaded: Loaded) -> list[str]:
    """Write the attributes that the step would not have by itself; returns what cannot be."""
    problems: list[str] = []
    given: dict[str, Any] = {}
    plain = _read(loaded, step_id, given)
    if spec.policy != plain.policy:
        problems += _add_retry(entry, spec.policy)
        given["retries"] = spec.policy or 0
    if spec.timeout != plain.timeout:
        entry["timeout"] = given["timeout"] = spec.timeout
    if spec.critical != plain.critical:
        entry["critical"] = given["critical"] = spec.critical
    attributes: Entry = {}
    if spec.step_id != step_id:
        attributes["step_id"] = given["step_id"] = spec.step_id
    if given:  # others depend on these: the description on the id, for one
        plain = _read(loaded, step_id, given)
    for name in Attributes.model_fields:
        value = getattr(spec, name)
        if name != "step_id" and value != _plain_value(plain, name):
            attributes[name] = value
    if not isinstance(attributes.get("circuit_breaker"), str | None):
        del attributes["circuit_breaker"]
        problems.append("a document cannot hold its circuit breaker; name it instead")
    if attributes:
        entry["attributes"] = attributes
    return problems


def _read(loaded: Loaded, step_id: str, given: dict[str, Any]) -> StepSpec:
    spec, problems = read_step(loaded(step_id, given))
    assert spec is not None, problems  # the step itself has been read, and has the same
    return spec


def _plain_value(plain: StepSpec, name: str) -> Any:
    """What a step has by itself; the version of a typed step is told by its class and fields."""
    source = plain.source
    if name == "version" and isinstance(source, TypedStep):
        return source.kind.version
    return getattr(plain, name)


def _add_retry(entry: Entry, policy: RetryPolicy | None) -> list[str]:
    if policy is None:
        entry["retry"] = 0
        return []
    written = {"max_attempts": policy.attempts}
    written |= policy.model_dump(
        exclude_defaults=True, exclude={"attempts", "retry_on", "never_on"}
    )
    entry["retry"] = written
    blank = RetryPolicy()
    return [
        f"a document cannot name the exceptions in {name} of its RetryPolicy; leave them out, or "
        "mark the function with @step before it is registered"
        for name in ("retry_on", "never_on")
        if getattr(policy, name) != getattr(blank, name)
    ]
