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
    ConfigurationError,
    ContextCopyError,
    ContextTypeError,
    GroupTimeoutError,
    MergeConflictError,
    ParallelGroupError,
    PipelineDefinitionError,
    PoolShutdownError,
    ReducerError,
    RunCancelledError,
    RunTimeoutError,
    StepAbandonedError,
    StepCancelledError,
    StepError,
    StepReturnError,
    StepTimeoutError,
    TaskPipelineError,
)
from .executors import ParallelTaskExecutor, PipelineExecutor, TaskExecutor
from .groups import Parallel, ProgressCallback, Serial, TaskStep
from .outcome import Outcome
from .pipeline import Pipeline, Subscription
from .progress import ProgressTracker, with_progress_callback
from .steps import PipelineStep, StepAttributes, step

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "ContextCopyError",
    "ContextTypeError",
    "ErrorStrategy",
    "GroupTimeoutError",
    "LogicOperator",
    "MergeConflictError",
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
    "Reducer",
    "ReducerError",
    "RetryPolicy",
    "Run",
    "RunCancelledError",
    "RunTimeoutError",
    "Serial",
    "SharedThreadPoolExecutor",
    "StepAbandonedError",
    "StepAttributes",
    "StepCancelledError",
    "StepError",
    "StepReturnError",
    "StepTimeoutError",
    "Subscription",
    "TaskExecutor",
    "TaskPipelineError",
    "TaskStep",
    "step",
    "with_progress_callback",
]
