"""The executors of the classic interface: one step, one parallel group, one pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ..config import ParallelConfig, PipelineConfig
from ..context import PipelineContext
from ..engine.clock import current_clock
from ..engine.core import Setup
from ..engine.execution import Execution
from ..engine.pools import pool_for
from ..engine.run import run_here
from ..groups import Group, Parallel, PipelineGroup, Serial, TaskStep
from ..plan import Plan, as_steps, compile_plan
from ..progress import ProgressTracker
from ..steps import PipelineStep, StepSpec, read_step

C = TypeVar("C", bound=PipelineContext[Any])


class StepRunner(Protocol):
    """Anything with the `execute` of a `TaskExecutor`."""

    def execute(self, step: Any, context: Any) -> Any:
        """Run one step and return its context."""


class TaskExecutor:
    """Runs one step, with its timeout, retries and isolation.

    ```python
    from task_pipeline import PipelineContext, TaskExecutor

    context = TaskExecutor().execute(lambda context: 42, PipelineContext())
    assert context.results == {"lambda": 42}
    ```
    """

    def execute(self, step: TaskStep, context: C) -> C:
        """Run a step on the context, and return it. Raises what the step raises."""
        _run(compile_plan(Serial([step])), context, None)
        return context


class ParallelTaskExecutor:
    """Runs a list of steps as one parallel group.

    `task_executor`, if given, is what runs each step: its `execute(step, context)`
    is called in the step's place.

    ```python
    from task_pipeline import LogicOperator, ParallelConfig, ParallelTaskExecutor, PipelineContext

    def fails(context): raise OSError
    def works(context): return "done"

    context = ParallelTaskExecutor().execute(
        [fails, works], PipelineContext(), ParallelConfig(operator=LogicOperator.OR)
    )
    assert context.results == {"works": "done"}
    ```
    """

    def __init__(self, task_executor: StepRunner | None = None) -> None:
        """Keep the executor of single steps."""
        self.task_executor: StepRunner = TaskExecutor() if task_executor is None else task_executor

    def execute(
        self,
        steps: Sequence[TaskStep],
        context: C,
        config: ParallelConfig | None = None,
        progress_tracker: ProgressTracker | None = None,
    ) -> C:
        """Run the steps side by side, merge what they did into the context, and return it.

        `progress_tracker` is advanced by step id. Raises `ParallelGroupError`,
        `GroupTimeoutError` and, for steps that are none, `PipelineDefinitionError`.
        """
        plan = compile_plan(Parallel(as_steps(steps), name="parallel_group", config=config))
        if type(self.task_executor) is not TaskExecutor:
            children = [_through(self.task_executor, item) for item in steps]
            plan = compile_plan(Parallel(children, name="parallel_group", config=config))
        _run(plan, context, None, progress_tracker)
        return context


class PipelineExecutor:
    """Runs a list of steps as a pipeline.

    ```python
    from task_pipeline import PipelineContext, PipelineExecutor

    def one(context): return 1

    assert PipelineExecutor().execute([one], PipelineContext()).results == {"one": 1}
    ```
    """

    def execute(
        self, steps: Sequence[TaskStep], context: C, config: PipelineConfig | None = None
    ) -> C:
        """Run the steps on the context, and return it. Raises what `Pipeline.run` raises."""
        source = PipelineGroup(as_steps(steps), config=config)
        _run(compile_plan(source), context, source.config.max_workers)
        return context


def _run(
    plan: Plan,
    context: PipelineContext[Any],
    run_limit: int | None,
    tracker: ProgressTracker | None = None,
) -> None:
    setup = Setup(
        pool=pool_for(run_limit, plan.limits),
        clock=current_clock.get(),
        name=plan.root.name,
    )
    execution = Execution(plan, context, setup)
    if tracker is not None:
        execution.tracker = MirroredProgress(plan, tracker)
    run_here(execution)


class MirroredProgress(ProgressTracker):
    """A run's progress, told to a tracker of a larger whole as well."""

    def __init__(self, plan: Plan, target: ProgressTracker) -> None:
        self._set_up(plan)
        self._target = target
        self._known = target.get_step_details().keys()

    def advance(self, leaf: int, percent: float = 100.0) -> float:
        """As in `ProgressTracker`, then the same for the step of that id over there."""
        reached = super().advance(leaf, percent)
        self._tell(leaf, reached)
        return reached

    def complete(self) -> None:
        """As in `ProgressTracker`."""
        super().complete()
        for leaf in range(len(self._plan.steps)):
            self._tell(leaf, 100.0)

    def _tell(self, leaf: int, percent: float) -> None:
        step_id = self._plan.steps[leaf].step_id
        if step_id in self._known:
            self._target.update_step_progress(step_id, percent)


class _Delegated(PipelineStep):
    """A step that has an executor of the user's run it.

    Timeout, retries and isolation are the executor's to apply.
    """

    def __init__(self, runner: StepRunner, spec: StepSpec) -> None:
        self._runner = runner
        self._source = spec.source
        self.step_id = spec.step_id
        self.description = spec.description
        self.weight = spec.weight
        self.critical = spec.critical

    def run(self, context: Any) -> Any:
        """Have the executor run the step."""
        return self._runner.execute(self._source, context)


def _through(runner: StepRunner, item: TaskStep) -> TaskStep:
    if isinstance(item, Parallel):
        children = [_through(runner, child) for child in item.children]
        return Parallel(children, item.name, item.config)
    if isinstance(item, list | tuple):
        return [_through(runner, child) for child in item]
    if isinstance(item, Group):
        return item  # a Serial or a Pipeline keeps to itself
    spec, _ = read_step(item)  # the list has been compiled once: there is nothing wrong with it
    return item if spec is None else _Delegated(runner, spec)
