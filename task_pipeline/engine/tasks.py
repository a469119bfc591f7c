"""A run of tasks: calls with their own arguments, that share no context and merge nothing.

What a dynamic group is for the engine: one parallel group whose steps are made
from what was added, on the same scheduler, pool and loops as any other run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config import ErrorStrategy, ParallelConfig, TaskGroupConfig
from ..context import PipelineContext
from ..errors import (
    GroupTimeoutError,
    RunCancelledError,
    SkipStep,
    StepCancelledError,
    StopPipeline,
    TaskGroupError,
)
from ..outcome import ExecutionResult, Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from ..progress import ProgressTracker
from ..steps import StepSpec
from .core import Setup
from .execution import Execution
from .flow import add_note
from .step import ActiveGroup, ActiveStep

if TYPE_CHECKING:
    import asyncio

Work = Callable[[], Any]


class TaskNode(StepNode):
    """A task: `work` is the call, `given` the coroutine if it was added as one."""

    __slots__ = ("given", "title", "work")

    def __init__(
        self, group: GroupNode, index: int, spec: StepSpec, work: Work, title: str | None
    ) -> None:
        self.parent = group
        self.index = index
        self.depth = 1
        self.spec = spec
        self.leaf = self.first = index
        self.last = index + 1
        self.work = work
        self.title = title
        self.given: Any = None
        self.step_id = self.name = title or f"{_name_of(work)}[{index}]"
        self.result_key = ""
        self.share = 0.0
        self.leavable = group.leavable
        self.exposed = False
        self.limits = group.limits


def _name_of(work: Any) -> str:
    target = work
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", None) or type(target).__name__).strip("<>")


def task_spec(config: TaskGroupConfig, breaker: Any, is_async: bool) -> StepSpec:
    """What all tasks of a group have in common, plain ones or coroutine functions."""
    return StepSpec(
        step_id="task",
        description="task",
        timeout=None,
        policy=config.policy,
        critical=True,
        weight=1.0,
        isolated=False,
        call=_no_call,
        is_function=True,
        is_async=is_async,
        source=None,
        circuit_breaker=breaker,
    )


def _no_call(context: object) -> None:
    """Tasks are called by what they were added with."""


def group_node(config: TaskGroupConfig, prefix: str) -> GroupNode:
    """The group that a run of tasks consists of."""
    node = GroupNode(Kind.PARALLEL, None, 0)
    node.prefix = prefix
    node.name = config.name or f"parallel_group_{prefix}"
    node.config = ParallelConfig(error_strategy=config.error_strategy)
    node.timeout = config.timeout
    node.fails_fast = config.error_strategy is ErrorStrategy.FAIL_FAST
    node.leavable = node.fails_fast or node.timeout is not None
    node.limits = (0,)
    return node


def task_plan(
    node: GroupNode, tasks: Sequence[TaskNode], max_workers: int, is_open: bool = False
) -> Plan:
    """A plan of tasks; one that is open may be given more in the run."""
    node.children = list(tasks)
    node.is_open = is_open
    node.needed = len(tasks) + is_open
    node.last = len(tasks)
    plan = Plan(node, list(tasks), [node], [])
    plan.has_async = any(task.spec.is_async for task in tasks)
    plan.limits = [max_workers]
    return plan


class NoTracker(ProgressTracker):
    """Tasks have no weights: a group's progress is how many have ended."""

    def advance(self, leaf: int, percent: float = 100.0) -> float:
        """Nothing is kept."""
        return percent

    def complete(self) -> None:
        """Nothing is kept."""


class TaskRun(Execution):
    """A run of tasks.

    - `on_result`: told, under the lock, of each task that has its result
    - `raises_first`: the first error is raised, once the group has ended by it
    """

    def __init__(
        self, plan: Plan, setup: Setup, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(plan, PipelineContext(), setup, loop)
        self.tracker = NoTracker.of_plan(Plan(plan.root, [], [], []))
        self.values: dict[int, Any] = {}
        self.completed = self.failed = 0
        self.timeout_error: GroupTimeoutError | None = None
        self.on_result: Callable[[int], object] | None = None
        self._told: set[int] = set()
        self._first_error: BaseException | None = None
        self._stop: StopPipeline | None = None
        outer = self.outer
        if outer is not None:
            self.notes.feed.nest(plan.root, outer.node)
            self._progress_before = outer.run.tracker.progress_of(outer.node.leaf)

    # What is different from a run of steps

    def give_context(self, step: ActiveStep, on_owner: bool) -> None:
        """Tasks bring their own arguments."""
        step.context = step.enclosing = self.context

    def call(self, step: ActiveStep) -> Any:
        """Call the task."""
        return step.node.work()  # type: ignore[attr-defined]  # a TaskNode

    def hand_in(
        self, step: ActiveStep, value: Any, error: BaseException | None
    ) -> tuple[BaseException | None, float | None]:
        """Keep what the task returned."""
        if type(value) is ExecutionResult and not value.ok:
            error = value.error or TaskGroupError(value.error_message or "the task has failed")
        if error is None:
            if step.outcome is None:
                self.values[step.node.leaf] = value
            return None, None
        if isinstance(error, StopPipeline):
            step.stops = True
            with self.lock:
                self._stop = self._stop or error
            return None, None
        return error, self.wait_before_retry(step, error)

    def record_failure(self, step: ActiveStep, error: BaseException) -> None:
        """Note on the error which task it comes from."""
        group = step.node.parent
        add_note(error, f"task {step.node.name!r} of group {group.label}, attempt {step.attempt}")
        step.recorded = True
        if self._first_error is None:
            self._first_error = error

    def remember(self, step: ActiveStep, error: BaseException) -> None:
        """Results have the errors."""

    def _end_attempt(
        self, step: ActiveStep, error: BaseException | None, retry: float | None
    ) -> None:
        super()._end_attempt(step, error, retry)
        if step.outcome is not None:
            if error is None or isinstance(error, SkipStep):
                self.completed += 1
            else:
                self.failed += 1
            self._tell_outer()
            self._tell_result(step.node.leaf)

    def _tell_result(self, leaf: int) -> None:
        if self.on_result is not None and leaf not in self._told:
            self._told.add(leaf)
            self.on_result(leaf)

    def _tell_outer(self) -> None:
        """The step that has opened the group is so much further."""
        outer = self.outer
        if outer is not None and not outer.cancelled:
            # Not all of what is left: it may open another group after this one.
            part = 0.9 * (self.completed + self.failed) / max(1, len(self.scheduler.nodes))
            before = self._progress_before
            outer.run.tracker.advance(outer.node.leaf, before + (100.0 - before) * part)

    def _join(self, group: ActiveGroup) -> None:
        """There is nothing to merge."""
        with self.lock:
            if group.outcome is not None:
                return
            outcome = group.verdict or Outcome.FAILED
            error: BaseException | None = None
            if outcome is Outcome.TIMED_OUT:
                self.timeout_error = self._timed_out(group)
            if self._stop is not None:
                error = self._stop
            elif outcome is Outcome.CANCELLED:
                error = self.error or RunCancelledError(f"group {group.node.label} was cancelled")
            elif group.node.fails_fast:
                error = self.timeout_error or self._first_error
            self.scheduler.joined(group, outcome, error)
            group.branches = []
            self.obey()

    def _timed_out(self, group: ActiveGroup) -> GroupTimeoutError:
        total = len(group.children)
        # As a person would write it: the seconds as they were given.
        text = (
            f"group {group.node.name!r} timed out after {group.node.timeout}s, completed "
            f"{group.ended} of {total}, consider a larger timeout or max_workers"
        )
        error = GroupTimeoutError(text)
        if self.outer is not None:
            add_note(error, f"group {group.node.label}")
        return error

    def end(self) -> None:
        """The scheduler has ended the run. Under the lock."""
        super().end()
        for leaf, node in enumerate(self.scheduler.nodes):
            if node is not None:  # else it was told of, and dropped
                self._tell_result(leaf)

    # What a group asks

    @property
    def is_complete(self) -> bool:
        """Whether no more tasks are to come."""
        root: Any = getattr(self.scheduler, "root", None)
        return root is None or not root.more

    def extend(self, tasks: Sequence[TaskNode], more: bool) -> None:
        """Give the run more tasks; without `more` to come, it ends with them."""
        with self.lock:
            if self.is_over:
                return
            self.steps.extend([None] * len(tasks))
            if self.coroutines is None and any(task.spec.is_async for task in tasks):
                self._await_with(self._loop)
            root: Any = self.scheduler.root
            self.scheduler.extended(root, tasks, more)
            self.obey()
            self.call_for_help()
        self.do_chores(delivers=self._loop is None)

    def result_of(self, leaf: int) -> ExecutionResult[Any]:
        """What became of a task. Once it has been told of, or the run is over."""
        node: Any = self.scheduler.nodes[leaf]
        step = self.steps[leaf]
        outcome = self.scheduler.outcomes[leaf] or Outcome.CANCELLED
        attempts, seconds = 0, 0.0
        if step is not None:
            attempts = step.attempt
            ended_at = step.ended_at if step.ended_at is not None else step.first_started
            seconds = max(0.0, ended_at - step.first_started)
        value = self.values.get(leaf)
        if outcome in (Outcome.SUCCEEDED, Outcome.SKIPPED):
            own = value if type(value) is ExecutionResult else None
            found = value if own is None else own.result
            return ExecutionResult(
                True, found, None, "", node.title, node.index, attempts, seconds, outcome
            )
        error = None if step is None else step.error
        if error is None:
            error = self._why_not(node, outcome)
        return ExecutionResult(
            False, None, error, _text(error), node.title, node.index, attempts, seconds, outcome
        )

    def _why_not(self, node: StepNode, outcome: Outcome) -> BaseException:
        if self.timeout_error is not None:
            return self.timeout_error
        error = StepCancelledError(
            f"task {node.name!r} of group {node.parent.label} was cancelled before it ended",
            step_id=node.step_id,
            path=node.path,
        )
        error.__cause__ = self._first_error or self.error
        return error

    def drop(self, leaf: int) -> None:
        """Nobody asks for a task any more."""
        with self.lock:
            node = self.scheduler.nodes[leaf]
            self.values.pop(leaf, None)
            self._told.discard(leaf)
            self.steps[leaf] = None
            root: Any = self.scheduler.root
            nothing: Any = None
            self.scheduler.nodes[leaf] = nothing
            if root.children and not self.is_over:
                root.children[node.index] = nothing
                root.branches[node.index] = None


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001  # an exception's own __str__ may raise
        return type(error).__name__


