"""A run of tasks: calls with their own arguments, that share no context and merge nothing.

What a dynamic group is for the engine: one parallel group whose steps are made
from what was added, on the same scheduler, pool and loops as any other run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..context import PipelineContext
from ..errors import (
    GroupTimeoutError,
    RunCancelledError,
    StepCancelledError,
    TaskGroupError,
)
from ..outcome import ExecutionResult, Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from ..progress import ProgressTracker
from ..signals import SkipStep, StopPipeline
from . import reports
from .core import Setup
from .execution import Execution
from .flow import add_note
from .measure import Totals
from .own_breaker import OwnBreaker
from .states import State
from .step import ActiveGroup, ActiveStep
from .tally import Tally
from .task_nodes import TaskNode

if TYPE_CHECKING:
    import asyncio


class NoTracker(ProgressTracker):
    """Tasks have no weights: a group's progress is how many have ended."""

    def advance(self, leaf: int, percent: float = 100.0) -> float:
        """Nothing is kept."""
        return percent

    def complete(self) -> None:
        """Nothing is kept."""


_NO_TRACKER = NoTracker.of_plan(Plan(GroupNode(Kind.PARALLEL, None, 0), [], [], []))
_NO_CONTEXT: PipelineContext[Any] = PipelineContext()  # tasks bring their own arguments


class TaskRun(Execution):
    """A run of tasks.

    - `on_result`: told, under the lock, of each task that has its result
    - `totals`: those of the state it belongs to, if it does
    """

    def __init__(
        self,
        plan: Plan,
        setup: Setup,
        loop: asyncio.AbstractEventLoop | None = None,
        breaker: Any = None,
    ) -> None:
        super().__init__(plan, _NO_CONTEXT, setup, loop)
        self._breaker = breaker
        self.own_breaker: OwnBreaker | None = breaker if isinstance(breaker, OwnBreaker) else None
        if self.own_breaker is not None:
            self.own_breaker.use(self.clock)
        self._has_breakers = breaker is not None
        plan.steps = ()  # the scheduler has them, and lets go of those that were dropped
        self.values: dict[int, Any] = {}
        self.completed = self.failed = 0
        self.timeout_error: GroupTimeoutError | None = None
        self.on_result: Callable[[int], object] | None = None
        self.totals: Totals | None = None
        self._told: set[int] = set()
        self._added_at: dict[int, float] = {}  # of tasks that came when the group had begun
        self._first_error: BaseException | None = None
        self._stop: StopPipeline | None = None
        outer = self.outer
        if outer is not None:
            self.notes.feed.nest(plan.root, outer.node)
            self._progress_before = outer.run.tracker.progress_of(outer.node.leaf)

    # What is different from a run of steps

    def tracker_of(self, plan: Plan) -> ProgressTracker:
        """Nothing to keep."""
        return _NO_TRACKER

    def give_context(self, step: ActiveStep, on_owner: bool) -> None:
        """Tasks bring their own arguments."""
        step.context = step.enclosing = self.context
        if self._added_at:
            step.ready_at = self._added_at.pop(step.node.leaf, step.ready_at)

    def breaker_of(self, step: ActiveStep) -> Any:
        """The group's circuit breaker."""
        return self._breaker

    def call(self, step: ActiveStep) -> Any:
        """Call the task."""
        return step.node.work()  # type: ignore[attr-defined]  # a TaskNode

    def hand_in(
        self, step: ActiveStep, value: Any, error: BaseException | None
    ) -> tuple[BaseException | None, float | None]:
        """Keep what the task returned."""
        if isinstance(value, ExecutionResult) and not value.ok:
            error = value.error or TaskGroupError(value.error_message or "the task has failed")
        if step.admission is not None:
            self.settle_admission(step, error)
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

    def _await_with(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is None:
            super()._await_with(loop)
        else:
            from .task_loop import TaskCoroutines

            self.coroutines = TaskCoroutines(self, loop)
            self._starts_ahead = True

    def finish(self, step: ActiveStep, value: Any) -> ActiveStep | None:
        """A coroutine has returned; gives the next one to start on the loop. On the loop.

        What `conclude` does, for the one way that most attempts end in.
        """
        if isinstance(value, ExecutionResult) or step.outcome is not None:
            self.conclude(step, value, None)
            return None
        following: Any = None
        with self.lock:
            if step.outcome is not None or self.is_over:
                self._came_late(step)
            else:
                step.ended_at = self.clock.monotonic()
                if step.admission is not None and not step.admission.is_quiet:
                    self.settle_admission(step, None)
                if value is not None:
                    self.values[step.node.leaf] = value
                self.completed += 1
                if self.notes.of_steps:
                    reports.attempt_ended(self.notes, step, None, None, step.ended_at)
                if self.outer is None or not self.outer.cancelled:
                    following = self.scheduler.succeeded(step)
                else:  # about to be cancelled: nothing more begins
                    self.scheduler.ended(step, Outcome.SUCCEEDED)
                step.task = None
                if self.outer is not None:
                    self._tell_outer()
                if self.on_result is not None:
                    self._tell_result(step.node.leaf)
                if self.scheduler.commands:
                    self.obey()
                if following is not None:
                    following = self._begin_here(following)
                elif self.scheduler.ready:
                    self.call_for_help()
            pending = self.chores or self.notes or (self.is_over and not self.is_done)
        if pending:
            self.do_chores(delivers=False)
        return following  # type: ignore[no-any-return]  # the scheduler makes ActiveSteps

    def _begin_here(self, step: ActiveStep) -> ActiveStep | None:
        """A step that was taken on the loop: for the loop itself, or for a thread."""
        if step.node.spec.is_async:
            self.prepare(step, None, False)
            return step
        self._given.append(step)
        self.call_for_help()
        return None

    def record_failure(self, step: ActiveStep, error: BaseException) -> None:
        """Note on the error which task it comes from."""
        group = step.node.parent
        add_note(error, f"task {step.node.name!r} of group {group.label}, attempt {step.attempt}")
        step.recorded = True
        if self._first_error is None:
            self._first_error = error

    def remember(self, state: State, error: BaseException) -> None:
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

    def ask_for_join(self, group: ActiveGroup) -> None:
        """There is nothing to merge, so it is done here and now. Under the lock."""
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
        self.failed += self.scheduler.outcomes.count(Outcome.TIMED_OUT)
        for leaf, node in enumerate(self.scheduler.nodes):
            if node is not None:  # else it was told of, and dropped
                self._tell_result(leaf)

    def _announce(self) -> None:
        if self.totals is not None:
            self.totals.keep(self)
        super()._announce()

    # What a group asks

    @property
    def is_complete(self) -> bool:
        """Whether no more tasks are to come."""
        root: Any = getattr(self.scheduler, "root", None)
        return root is None or not root.more

    @property
    def has_left_nothing(self) -> bool:
        """Whether the run is over, and no coroutine of it goes on."""
        return self.is_done and (self.coroutines is None or self.coroutines.is_empty)

    def extend(self, tasks: Sequence[TaskNode], more: bool) -> None:
        """Give the run more tasks; without `more` to come, it ends with them."""
        with self.lock:
            if self.is_over:
                return
            self.steps.extend([None] * len(tasks))
            if self.totals is not None:
                now = self.clock.monotonic()
                self._added_at.update((task.leaf, now) for task in tasks)
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
            own = value if isinstance(value, ExecutionResult) else None
            found = value if own is None else own.result
            return ExecutionResult(
                True, found, None, "", node.title, node.index, attempts, seconds, outcome
            )
        error = None if step is None else step.error
        if error is None:
            error = self._why_not(node, outcome)
        return ExecutionResult(
            False, None, error, text_of(error), node.title, node.index, attempts, seconds, outcome
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

    def forget(self) -> None:
        """Its group lets go of what it has needed, once it has the results."""

    def let_go(self) -> None:
        """Nobody asks any more: let go of each other what would wait for the garbage collector."""
        with self.lock:
            self.steps = []
            self.values = {}
            self.coroutines = None

    def drop(self, leaf: int) -> None:
        """Nobody asks for a task any more."""
        with self.lock:
            node = self.scheduler.nodes[leaf]
            if self.totals is not None:
                self.past = self.past or Tally()
                self.past.add_ended([(node, self.scheduler.outcomes[leaf], self.steps[leaf])])
            self.values.pop(leaf, None)
            self._told.discard(leaf)
            self.steps[leaf] = None
            root: Any = self.scheduler.root
            nothing: Any = None
            self.scheduler.nodes[leaf] = nothing
            root.children[node.index] = nothing
            if root.branches:  # else the group has been joined
                root.branches[node.index] = None


def text_of(error: BaseException) -> str:
    """What an exception says, also if its own text cannot be had."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001  # an exception's own __str__ may raise
        return type(error).__name__
