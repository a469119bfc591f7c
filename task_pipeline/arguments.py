"""What a pipeline is made with, looked at before anything else is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import PipelineConfig
from .context import PipelineContext, context_or_new
from .engine.bus import EventBus
from .engine.pool import SharedThreadPoolExecutor
from .engine.retry import prepare as prepare_retries
from .errors import NotPortableError, PipelineDefinitionError
from .executors.resolving import executor_named, preflight, settle_executors
from .plan import Plan


def with_limits(
    config: PipelineConfig | None, limits: Mapping[str, int]
) -> tuple[PipelineConfig | None, list[str]]:
    """The config with these limits, or what is wrong with them."""
    fields = (
        {} if config is None else {name: getattr(config, name) for name in config.model_fields_set}
    )
    try:
        given = dict(limits)
        return PipelineConfig(**{**fields, "limits": {**fields.get("limits", {}), **given}}), []
    except (TypeError, ValueError) as error:
        return config, [f"limits must map names to whole numbers from 1: {error}"]


def pool_or_executor(given: Any) -> tuple[SharedThreadPoolExecutor | None, Any]:
    """A pool of threads for a pipeline's runs, or who is to call its steps."""
    return (given, None) if isinstance(given, SharedThreadPoolExecutor) else (None, given)


def made_ready(plan: Plan) -> Plan:
    """A plan that can be run: its steps know who calls them, and when they are tried again.

    Raises `PipelineDefinitionError` for what an executor cannot do.
    """
    if plan.placed:
        problems = settle_executors(plan)
        if problems:
            raise PipelineDefinitionError(problems)
    return prepare_retries(plan)


def checked_context(plan: Plan, given: object) -> PipelineContext[Any]:
    """The context of a run, a new one for None.

    Raises `ContextTypeError`, and `NotPortableError` for a step or a value in it that cannot go
    where it is to.
    """
    context = context_or_new(given)
    if plan.placed:
        problems = preflight(plan, context)
        if problems:
            raise NotPortableError(problems)
    return context


def wrong_arguments(
    config: object, callback: object, executor: object, event_bus: object
) -> list[str]:
    """Every mistake in a pipeline's arguments."""
    problems = []
    if config is not None and not isinstance(config, PipelineConfig):
        problems.append(f"config must be a PipelineConfig, not {config!r}")
    if callback is not None and not callable(callback):
        problems.append(f"progress_callback must be callable, not {callback!r}")
    if not isinstance(executor, SharedThreadPoolExecutor):
        wrong = executor_named(executor)[1]
        problems += [f"executor: {wrong}"] if wrong else []
    if event_bus is not None and not isinstance(event_bus, EventBus):
        problems.append(f"event_bus must be an EventBus, not a {type(event_bus).__name__}")
    return problems
