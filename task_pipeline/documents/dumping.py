"""`dump_pipeline`."""

from __future__ import annotations

from typing import Any

from ..pipeline import Pipeline


def dump_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """The workflow document of a pipeline."""
    raise NotImplementedError(pipeline)
