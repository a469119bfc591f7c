"""Run steps in series and side by side, inside your own program.

```python
from task_pipeline import Pipeline

def load(context): context.results["numbers"] = [3, 1, 2]
def smallest(context): return min(context.results["numbers"])
def largest(context): return max(context.results["numbers"])

context = Pipeline([load, [smallest, largest]]).run()
assert (context.results["smallest"], context.results["largest"]) == (1, 3)
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import (
        ErrorStrategy,
        LogicOperator,
        OnConflict,
        ParallelConfig,
        PipelineConfig,
        Reducer,
        RetryPolicy,
    )
    from .context import PipelineContext
    from .engine.pool import SharedThreadPoolExecutor
    from .engine.run import Run
    from .errors import (
        CircuitOpenError,
        ConfigurationError,
        ContextCopyError,
        ContextTypeError,
        EventFormatError,
        GroupTimeoutError,
        MergeConflictError,
        MissingExtraError,
        ParallelGroupError,
        PipelineDefinitionError,
        PoolShutdownError,
        RecordedError,
        ReducerError,
        RunCancelledError,
        RunTimeoutError,
        SkipStep,
        StepAbandonedError,
        StepCancelledError,
        StepError,
        StepReturnError,
        StepTimeoutError,
        StopPipeline,
        TaskGroupError,
        TaskPipelineError,
    )
    from .executors import ParallelTaskExecutor, PipelineExecutor, TaskExecutor
    from .groups import Parallel, ProgressCallback, Serial, TaskStep
    from .outcome import Outcome
    from .pipeline import Pipeline, Subscription
    from .progress import ProgressTracker, with_progress_callback
    from .steps import PipelineStep, StepAttributes, step

__version__ = "0.1.0"

# Where each public name is. They are imported when first asked for, as pydantic does it,
# so a program pays for the engine when it builds a pipeline, not when it starts.
_HOMES = {
    ".config": (
        "ErrorStrategy LogicOperator OnConflict ParallelConfig PipelineConfig Reducer RetryPolicy"
    ),
    ".context": "PipelineContext",
    ".engine.pool": "SharedThreadPoolExecutor",
    ".engine.run": "Run",
    ".errors": (
        "CircuitOpenError ConfigurationError ContextCopyError ContextTypeError "
        "EventFormatError GroupTimeoutError MergeConflictError MissingExtraError "
        "ParallelGroupError PipelineDefinitionError PoolShutdownError RecordedError "
        "ReducerError RunCancelledError RunTimeoutError SkipStep StepAbandonedError "
        "StepCancelledError StepError StepReturnError StepTimeoutError StopPipeline "
        "TaskGroupError TaskPipelineError"
    ),
    ".executors": "ParallelTaskExecutor PipelineExecutor TaskExecutor",
    ".groups": "Parallel ProgressCallback Serial TaskStep",
    ".outcome": "Outcome",
    ".pipeline": "Pipeline Subscription",
    ".progress": "ProgressTracker with_progress_callback",
    ".steps": "PipelineStep StepAttributes step",
}
_home_of = {name: home for home, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker shall go on finding misspelt names

    def __getattr__(name: str) -> Any:
        home = _home_of.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home, __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "CircuitOpenError",
    "ConfigurationError",
    "ContextCopyError",
    "ContextTypeError",
    "ErrorStrategy",
    "EventFormatError",
    "GroupTimeoutError",
    "LogicOperator",
    "MergeConflictError",
    "MissingExtraError",
    "OnConflict",
    "Outcome",
    "Parallel",
    "ParallelConfig",
    "ParallelGroupError",
    "ParallelTaskExecutor",
    "Pipeline",
    "PipelineConfig",
    "PipelineContext",
    "PipelineDefinitionError",
    "PipelineExecutor",
    "PipelineStep",
    "PoolShutdownError",
    "ProgressCallback",
    "ProgressTracker",
    "RecordedError",
    "Reducer",
    "ReducerError",
    "RetryPolicy",
    "Run",
    "RunCancelledError",
    "RunTimeoutError",
    "Serial",
    "SharedThreadPoolExecutor",
    "SkipStep",
    "StepAbandonedError",
    "StepAttributes",
    "StepCancelledError",
    "StepError",
    "StepReturnError",
    "StepTimeoutError",
    "StopPipeline",
    "Subscription",
    "TaskExecutor",
    "TaskGroupError",
    "TaskPipelineError",
    "TaskStep",
    "step",
    "with_progress_callback",
]
