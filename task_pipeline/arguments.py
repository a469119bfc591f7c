"""What a pipeline is made with, looked at before anything else is."""

from __future__ import annotations

from collections.abc import Mapping

from .config import PipelineConfig
from .engine.bus import EventBus
from .engine.pool import SharedThreadPoolExecutor


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


def wrong_arguments(
    config: object, callback: object, executor: object, event_bus: object
) -> list[str]:
    """Every mistake in a pipeline's arguments."""
    problems = []
    if config is not None and not isinstance(config, PipelineConfig):
        problems.append(f"config must be a PipelineConfig, not {config!r}")
    if callback is not None and not callable(callback):
        problems.append(f"progress_callback must be callable, not {callback!r}")
    if executor is not None and not isinstance(executor, SharedThreadPoolExecutor):
        problems.append(
            f"executor must be a SharedThreadPoolExecutor, not a {type(executor).__name__}"
        )
    if event_bus is not None and not isinstance(event_bus, EventBus):
        problems.append(f"event_bus must be an EventBus, not a {type(event_bus).__name__}")
    return problems
