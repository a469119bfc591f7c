"""Workflows for tests: agents that note what they are given, and short ways to load and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from task_pipeline import DocumentError, PipelineContext
from task_pipeline.documents import DocumentPipeline, load_pipeline

Context = PipelineContext[Any]


def echo(given: Any) -> Any:
    """Puts out what it is given."""
    return given


def add(given: Any) -> Any:
    """Adds up the numbers it is given."""
    return sum(given)


def fail(given: Any) -> Any:
    """Fails with what it is given."""
    raise ValueError(f"no {given}")


def refuse(given: Any) -> Any:
    """Fails if it is given a number above 1."""
    if given > 1:
        raise ValueError(f"too many: {given}")
    return given


AGENTS = {"echo": echo, "add": add, "fail": fail, "refuse": refuse}


def loaded(steps: Any, start: str | None = None, **options: Any) -> DocumentPipeline:
    """The pipeline of a workflow with these steps; the agents above are there beside the given."""
    document: dict[str, Any] = {"workflow_id": "test", "steps": steps}
    if start is not None:
        document["start_step"] = start
    options["agents"] = {**AGENTS, **options.get("agents", {})}
    return load_pipeline(document, "workflow", **options)


def results_of(
    steps: Any, given: Mapping[str, Any] | None = None, start: str | None = None, **options: Any
) -> dict[str, Any]:
    """What stands in `results` after a run with this input."""
    pipeline = loaded(steps, start, **options)
    return pipeline.run(Context(results=dict(given or {}))).results


def mistakes_in(document: Any, **options: Any) -> list[str]:
    """Everything that is said to be wrong with a workflow."""
    options["agents"] = {**AGENTS, **options.get("agents", {})}
    with pytest.raises(DocumentError) as caught:
        load_pipeline(document, "workflow", **options)
    return [str(problem) for problem in caught.value.problems]


def wrong_steps(steps: Any, start: str | None = None, **options: Any) -> list[str]:
    """Everything that is said to be wrong with these steps."""
    document: dict[str, Any] = {"steps": steps}
    if start is not None:
        document["start_step"] = start
    return mistakes_in(document, **options)


def agent(mapping: Any = ..., name: str = "echo", **more: Any) -> dict[str, Any]:
    """A step that calls an agent."""
    step: dict[str, Any] = {"agent_name": name, **more}
    if mapping is not ...:
        step["input_mapping"] = mapping
    return step
