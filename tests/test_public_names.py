"""The public API is a list: nothing becomes public, or stops being so, by accident."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import task_pipeline
from task_pipeline import errors, executors, testing

PUBLIC = [
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
    "STEP_REGISTRY",
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


def test_the_public_names_are_these() -> None:
    assert sorted(task_pipeline.__all__) == PUBLIC
    assert len(set(task_pipeline.__all__)) == len(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_imported(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from task_pipeline import {name}", namespace)
    assert namespace[name] is getattr(task_pipeline, name)
    assert name in dir(task_pipeline)


def test_every_error_is_public() -> None:
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.TaskPipelineError):
            assert getattr(task_pipeline, name) is error


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'task_pipeline' has no attribute 'Pipelin'"):
        task_pipeline.Pipelin  # type: ignore[attr-defined]  # noqa: B018  # it does not exist


def test_the_rooms_with_public_names_of_their_own() -> None:
    assert executors.__all__ == [
        *("Call", "Capabilities", "DaskExecutor", "FuturesExecutor", "InlineExecutor"),
        *("Packed", "ParallelTaskExecutor", "PipelineExecutor", "ProcessExecutor", "Reply"),
        *("Shipment", "StepExecutor", "TaskExecutor"),
        *("dumps", "open_reply", "perform_packed", "preflight", "shipment_of"),
    ]
    assert sorted(testing.__all__) == [
        *("ExecutorConformance", "Gate", "ManualClock"),
        *("SimulatedFailure", "SimulatedRun", "Simulator"),
    ]
    for room in (executors, testing):
        for name in room.__all__:
            assert getattr(importlib.import_module(room.__name__), name).__name__ == name
    for_all = {name for name in executors.__all__ if name.endswith("Executor")}
    for name in for_all:  # the others are for those who write one
        assert getattr(executors, name) is getattr(task_pipeline, name)


@pytest.mark.parametrize("name", ["Pipeline", "step", "executors", "RetryPolicy", "testing"])
def test_a_first_import_of_any_one_name_works(name: str) -> None:
    program = f"from task_pipeline import {name}; import task_pipeline; task_pipeline.Pipeline([])"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=50)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert task_pipeline.__version__ == importlib.metadata.version("task-pipeline")
