"""Groups that say outright how their children run: `Serial` and `Parallel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .config import ParallelConfig, PipelineConfig
from .steps import PipelineStep

ProgressCallback: TypeAlias = Callable[[int, int, str, float], object]
"""Called as `callback(step_index, total_steps, name, percent)` when a top-level item ends."""


class Group:
    """What every group has: `children`, in the order written, and a `name`."""

    children: Sequence[TaskStep]
    name: str | None

    def __init__(self, children: Sequence[TaskStep], name: str | None = None) -> None:
        self.children = children
        self.name = name

    def __repr__(self) -> str:
        count = len(self.children) if isinstance(self.children, Sequence) else "?"
        return f"<{type(self).__name__} {self.name or ''} of {count}>"


class Serial(Group):
    """Children that run one after another, wherever the group stands.

    A list inside it is a parallel group again.

    ```python
    from task_pipeline import Pipeline, Serial

    def first(context): ...
    def second(context): ...

    Pipeline([Serial([first, second], name="both")]).run()
    ```
    """


class Parallel(Group):
    """Children that run side by side, with a name and settings of their own.

    ```python
    from task_pipeline import Parallel, ParallelConfig, Pipeline

    def left(context): ...
    def right(context): ...

    Pipeline([Parallel([left, right], name="io", config=ParallelConfig(timeout=3))]).run()
    ```
    """

    def __init__(
        self,
        children: Sequence[TaskStep],
        name: str | None = None,
        config: ParallelConfig | None = None,
    ) -> None:
        super().__init__(children, name)
        self.config = config


class PipelineGroup(Group):
    """A serial group with a pipeline's settings: what a `Pipeline` in a list is."""

    def __init__(
        self,
        children: Sequence[TaskStep],
        name: str | None = None,
        config: PipelineConfig | None = None,
        progress_callback: ProgressCallback | None = None,
    ) -> None:
        super().__init__(children, name)
        self.config = config if config is not None else PipelineConfig()
        self.progress_callback = progress_callback


TaskStep: TypeAlias = "PipelineStep | Callable[[Any], Any] | Group | Sequence[TaskStep]"
"""The type of one element of a pipeline's list: a step, a function, a group or a list."""
