"""Who runs calls: the executors of the classic interface, thin over the engine."""

from .classic import ParallelTaskExecutor, PipelineExecutor, TaskExecutor

__all__ = ["ParallelTaskExecutor", "PipelineExecutor", "TaskExecutor"]
