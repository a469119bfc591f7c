"""The executors of the classic interface: one step, one parallel group, one pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from ..compiler import as_steps, compile_plan
from ..config import ParallelConfig, PipelineConfig
from ..context import PipelineContext, require_context
from ..engine.clock import current_clock
from ..engine.core import Setup
from ..engine.execution import Execution
from ..engine.pools import pool_for
from ..engine.run import run_here
from ..errors import NotPortableError, PipelineDefinitionError
from ..groups import Parallel, PipelineGroup, Serial, TaskStep
from ..plan import GroupNode, Node, Plan, StepNode
from ..progress import ProgressTracker
from ..steps import PipelineStep, StepSpec, step
from .resolving import preflight, settle_executors

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
        given: C = _run(compile_plan(Serial([step])), context, None)
        return given


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
            runner, nodes = self.task_executor, plan.root.children
            children = [_through(runner, *pair) for pair in zip(steps, nodes, strict=True)]
            plan = compile_plan(Parallel(children, name="parallel_group", config=config))
        given: C = _run(plan, context, None, progress_tracker)
        return given


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
        plan = compile_plan(source)
        given: C = _run(plan, context, source.config.max_workers)
        return given


def _run(
    plan: Plan, context: object, run_limit: int | None, tracker: ProgressTracker | None = None
) -> Any:
    given = require_context(context)
    problems = settle_executors(plan) if plan.placed else []
    if problems:
        raise PipelineDefinitionError(problems)
    problems = preflight(plan, given) if plan.placed else []
    if problems:
        raise NotPortableError(problems)
    setup = Setup(
        pool=pool_for(run_limit, plan.thread_limits),
        clock=current_clock.get(),
        name=plan.root.name,
    )
    execution = Execution(plan, given, setup)
    if tracker is not None:
        execution.tracker = MirroredProgress(plan, tracker)
    run_here(execution)
    return given


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
        if leaf >= len(self._plan.steps):
            return  # it only came to be in the run: nobody else knows it
        step_id = self._plan.steps[leaf].step_id
        if step_id in self._known:
            self._target.update_step_progress(step_id, percent)


class _Delegated(PipelineStep):
    """A step that has an executor of the user's run it.

    Timeout, retries and isolation are the executor's to apply.
    """

    def __init__(self, runner: StepRunner, source: Any, spec: StepSpec, step_id: str) -> None:
        self._runner = runner
        self._source = source if step_id == spec.step_id else _renamed(source, spec, step_id)
        self.step_id = step_id
        self.description = spec.description
        self.weight = spec.weight
        self.critical = spec.critical

    def run(self, context: Any) -> Any:
        """Have the executor run the step."""
        return self._runner.execute(self._source, context)


class _Renamed(PipelineStep):
    """A step that stands in the list a second time, under the name that makes it unique."""

    def __init__(self, source: PipelineStep, spec: StepSpec, step_id: str) -> None:
        self.step_id = step_id
        self.description = spec.description
        self.timeout, self.retries, self.isolated = spec.timeout, spec.policy or 0, spec.isolated
        self.critical, self.weight = spec.critical, spec.weight
        self.run = source.run  # type: ignore[method-assign]  # the very method, async or not

    def run(self, context: Any) -> Any:
        """Replaced by `__init__`."""


def _renamed(source: Any, spec: StepSpec, step_id: str) -> Any:
    if isinstance(source, PipelineStep):
        return _Renamed(source, spec, step_id)
    return step(step_id=step_id)(source)


def _through(runner: StepRunner, item: Any, node: Node) -> TaskStep:
    """The same lists, with each step run by the user's executor."""
    if isinstance(node, StepNode):
        return _Delegated(runner, item, node.spec, node.step_id)
    is_list = isinstance(item, list | tuple)
    if not isinstance(node, GroupNode) or not (is_list or isinstance(item, Parallel)):
        return item  # type: ignore[no-any-return]  # a Serial or a Pipeline keeps to itself
    inner = item if is_list else item.children
    children = [_through(runner, *pair) for pair in zip(inner, node.children, strict=True)]
    return children if is_list else Parallel(children, item.name, item.config)
