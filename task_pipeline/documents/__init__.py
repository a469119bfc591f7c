"""Recipes and workflows: pipelines written as JSON or YAML, run by the same engine.

```python
from task_pipeline.documents import load_pipeline

pipeline = load_pipeline('{"steps": [{"type": "set_context", "key": "n", "value": 1}]}')
assert pipeline.run().results == {"n": 1}
```
"""

from __future__ import annotations

from . import recipes as recipes
from . import steps as steps
from .dumping.pipelines import dump_pipeline
from .loading import DocumentPipeline, LoadOptions, load_pipeline
from .mistakes.problems import DocumentProblem
from .registry import (
    STEP_REGISTRY,
    StepConfig,
    register_agent,
    register_function,
    register_handler,
    register_step,
)
from .schemas.documents import document_schema
from .typed_steps import DocumentStep

__all__ = [
    "STEP_REGISTRY",
    "DocumentPipeline",
    "DocumentProblem",
    "DocumentStep",
    "LoadOptions",
    "StepConfig",
    "document_schema",
    "dump_pipeline",
    "load_pipeline",
    "register_agent",
    "register_function",
    "register_handler",
    "register_step",
]
