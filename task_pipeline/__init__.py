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
        ReplayMode,
        RetryPolicy,
        TaskGroupConfig,
    )
    from .context import PipelineContext
    from .display import (
        OutputMode,
        ParallelDisplayMode,
        ParallelEventPrinter,
        ParallelGroupTracker,
        RunSummary,
        StepOutput,
        step_output,
    )
    from .documents import (
        STEP_REGISTRY,
        DocumentProblem,
        StepConfig,
        document_schema,
        dump_pipeline,
        load_pipeline,
        register_agent,
        register_function,
        register_handler,
        register_step,
    )
    from .engine.breaker import CircuitBreaker
    from .engine.bus import EventBus, Subscription
    from .engine.circuit_states import CircuitState
    from .engine.logs import StepLogFilter
    from .engine.metrics import Durations, GroupMetrics, Metrics, StepMetrics
    from .engine.pool import SharedThreadPoolExecutor
    from .engine.run import Run
    from .engine.task_group import GroupInfo
    from .engine.task_map import OnError, ResultMap
    from .errors import (
        AgentCallError,
        CircuitOpenError,
        ConditionError,
        ConfigurationError,
        ContextCopyError,
        ContextTypeError,
        DocumentError,
        EventFormatError,
        ExecutorError,
        GroupTimeoutError,
        JournalDataError,
        JournalError,
        JournalVersionError,
        MergeConflictError,
        MissingExtraError,
        MissingReferenceError,
        NotAllowedError,
        NotPortableError,
        ParallelGroupError,
        PassingAgentCallError,
        PipelineDefinitionError,
        PlanChangedError,
        PoolShutdownError,
        RecordedError,
        ReducerError,
        RunCancelledError,
        RunExistsError,
        RunLeasedError,
        RunNotFoundError,
        RunTimeoutError,
        StepAbandonedError,
        StepCancelledError,
        StepError,
        StepReturnError,
        StepTimeoutError,
        SubstepError,
        TaskGroupError,
        TaskPipelineError,
        TemplateError,
        UncertainStepError,
        WorkerDiedError,
    )
    from .events import Event
    from .executors import (
        DaskExecutor,
        FuturesExecutor,
        InlineExecutor,
        ParallelTaskExecutor,
        PipelineExecutor,
        ProcessExecutor,
        StepExecutor,
        TaskExecutor,
    )
    from .groups import Branch, Loop, Map, Parallel, ProgressCallback, Serial, TaskStep
    from .journal.codec import register_type
    from .journal.opening import open_journal
    from .journal.replay import ReplayReport
    from .journal.snapshot import StateSnapshot
    from .journal.store import Journal as Journal  # public, if not for a *
    from .outcome import ExecutionResult, GroupStatus, Outcome
    from .parallel import (
        AsyncTaskGroup,
        ExecutionState,
        ParallelGroup,
        TaskGroup,
        map_parallel,
        parallel,
    )
    from .pipeline import Pipeline
    from .progress import ProgressTracker, with_progress_callback
    from .signals import SkipStep, StopPipeline
    from .steps import PipelineStep, StepAttributes, step

__version__ = "0.1.0"

# Where each public name is. They are imported when first asked for, as pydantic does it,
# so a program pays for the engine when it builds a pipeline, not when it starts.
_HOMES = {
    ".config": (
        "ErrorStrategy LogicOperator OnConflict ParallelConfig PipelineConfig Reducer "
        "ReplayMode RetryPolicy TaskGroupConfig"
    ),
    ".context": "PipelineContext",
    ".display": (
        "OutputMode ParallelDisplayMode ParallelEventPrinter ParallelGroupTracker RunSummary "
        "StepOutput step_output"
    ),
    ".documents": (
        "DocumentProblem STEP_REGISTRY StepConfig document_schema dump_pipeline load_pipeline "
        "register_agent register_function register_handler register_step"
    ),
    ".engine.breaker": "CircuitBreaker",
    ".engine.circuit_states": "CircuitState",
    ".engine.bus": "EventBus Subscription",
    ".engine.logs": "StepLogFilter",
    ".engine.metrics": "Durations GroupMetrics Metrics StepMetrics",
    ".engine.pool": "SharedThreadPoolExecutor",
    ".engine.run": "Run",
    ".engine.task_group": "GroupInfo",
    ".engine.task_map": "OnError ResultMap",
    ".errors": (
        "AgentCallError CircuitOpenError ConditionError ConfigurationError "
        "ContextCopyError ContextTypeError DocumentError EventFormatError ExecutorError "
        "GroupTimeoutError JournalDataError JournalError JournalVersionError "
        "MergeConflictError MissingExtraError MissingReferenceError NotAllowedError "
        "NotPortableError ParallelGroupError PassingAgentCallError "
        "PipelineDefinitionError PlanChangedError PoolShutdownError RecordedError "
        "ReducerError RunCancelledError RunExistsError RunLeasedError RunNotFoundError "
        "RunTimeoutError StepAbandonedError StepCancelledError StepError StepReturnError "
        "StepTimeoutError SubstepError TaskGroupError TaskPipelineError TemplateError "
        "UncertainStepError WorkerDiedError"
    ),
    ".events": "Event",
    ".executors": (
        "DaskExecutor FuturesExecutor InlineExecutor ParallelTaskExecutor PipelineExecutor "
        "ProcessExecutor StepExecutor TaskExecutor"
    ),
    ".groups": "Branch Loop Map Parallel ProgressCallback Serial TaskStep",
    ".journal.codec": "register_type",
    ".journal.opening": "open_journal",
    ".journal.replay": "ReplayReport",
    ".journal.snapshot": "StateSnapshot",
    ".journal.store": "Journal",
    ".outcome": "ExecutionResult GroupStatus Outcome",
    ".parallel": "AsyncTaskGroup ExecutionState ParallelGroup TaskGroup map_parallel parallel",
    ".pipeline": "Pipeline",
    ".progress": "ProgressTracker with_progress_callback",
    ".signals": "SkipStep StopPipeline",
    ".steps": "PipelineStep StepAttributes step",
}
_home_of = {name: home for home, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker shall go on finding misspelt names

    def __getattr__(name: str) -> Any:
        home = _home_of.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(home, __name__)
        except ModuleNotFoundError as error:
            if error.name != "sqlalchemy":
                raise
            missing = import_module(".errors", __name__).MissingExtraError
            raise missing(name, "journal", "SQLAlchemy") from error
        # Importing `.parallel` has set that name here to the module: it is the function's.
        for public in {name, home[1:]} & _home_of.keys():
            globals()[public] = getattr(module, public)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "STEP_REGISTRY",
    "AgentCallError",
    "AsyncTaskGroup",
    "Branch",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "ConditionError",
    "ConfigurationError",
    "ContextCopyError",
    "ContextTypeError",
    "DaskExecutor",
    "DocumentError",
    "DocumentProblem",
    "Durations",
    "ErrorStrategy",
    "Event",
    "EventBus",
    "EventFormatError",
    "ExecutionResult",
    "ExecutionState",
    "ExecutorError",
    "FuturesExecutor",
    "GroupInfo",
    "GroupMetrics",
    "GroupStatus",
    "GroupTimeoutError",
    "InlineExecutor",
    "JournalDataError",
    "JournalError",
    "JournalVersionError",
    "LogicOperator",
    "Loop",
    "Map",
    "MergeConflictError",
    "Metrics",
    "MissingExtraError",
    "MissingReferenceError",
    "NotAllowedError",
    "NotPortableError",
    "OnConflict",
    "OnError",
    "Outcome",
    "OutputMode",
    "Parallel",
    "ParallelConfig",
    "ParallelDisplayMode",
    "ParallelEventPrinter",
    "ParallelGroup",
    "ParallelGroupError",
    "ParallelGroupTracker",
    "ParallelTaskExecutor",
    "PassingAgentCallError",
    "Pipeline",
    "PipelineConfig",
    "PipelineContext",
    "PipelineDefinitionError",
    "PipelineExecutor",
    "PipelineStep",
    "PlanChangedError",
    "PoolShutdownError",
    "ProcessExecutor",
    "ProgressCallback",
    "ProgressTracker",
    "RecordedError",
    "Reducer",
    "ReducerError",
    "ReplayMode",
    "ReplayReport",
    "ResultMap",
    "RetryPolicy",
    "Run",
    "RunCancelledError",
    "RunExistsError",
    "RunLeasedError",
    "RunNotFoundError",
    "RunSummary",
    "RunTimeoutError",
    "Serial",
    "SharedThreadPoolExecutor",
    "SkipStep",
    "StateSnapshot",
    "StepAbandonedError",
    "StepAttributes",
    "StepCancelledError",
    "StepConfig",
    "StepError",
    "StepExecutor",
    "StepLogFilter",
    "StepMetrics",
    "StepOutput",
    "StepReturnError",
    "StepTimeoutError",
    "StopPipeline",
    "Subscription",
    "SubstepError",
    "TaskExecutor",
    "TaskGroup",
    "TaskGroupConfig",
    "TaskGroupError",
    "TaskPipelineError",
    "TaskStep",
    "TemplateError",
    "UncertainStepError",
    "WorkerDiedError",
    "document_schema",
    "dump_pipeline",
    "load_pipeline",
    "map_parallel",
    "open_journal",
    "parallel",
    "register_agent",
    "register_function",
    "register_handler",
    "register_step",
    "register_type",
    "step",
    "step_output",
    "with_progress_callback",
]
