"""What all dynamic groups have in common: tasks are added, run once, and asked about."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, field_serializer

from ..config import ErrorStrategy, TaskGroupConfig
from ..errors import TaskGroupError
from ..outcome import ExecutionResult, GroupStatus, Outcome
from ..steps import StepSpec, is_async
from .calling import current_relay
from .clock import current_clock
from .core import Setup
from .feed import Feed
from .measure import Totals
from .own_breaker import OwnBreaker
from .pools import pool_for
from .step import ActiveStep, current_step
from .task_nodes import TaskNode, group_node, task_plan, task_spec
from .tasks import TaskRun, text_of

Results = list[ExecutionResult[Any]]


class GroupInfo(BaseModel):
    """What a dynamic group is and how far: `group.group`.

    - `id`: its path, the same in every run; `total`, `completed`, `failed`: of its tasks;
      those that timed out have failed, those that were cancelled count as neither
    - `start`, `end`: in UTC; `duration`: seconds, so far if it has not ended
    - `errors`: what its tasks raised, in the order added
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    id: str
    name: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    status: GroupStatus = GroupStatus.PENDING
    start: datetime | None = None
    end: datetime | None = None
    errors: tuple[BaseException, ...] = ()
    error_strategy: ErrorStrategy = ErrorStrategy.FAIL_SLOW
    max_workers: int = 5
    timeout: float | None = None

    @property
    def success_rate(self) -> float:
        """The part of the tasks that have succeeded, 0.0 to 1.0: of all once the group has ended.

        Until then of those that have ended; 1.0 before any has.
        """
        ended = self.total if self.end is not None else self.completed + self.failed
        return self.completed / ended if ended else 1.0

    @property
    def duration(self) -> float:
        """Seconds from the start to the end, or until now."""
        if self.start is None:
            return 0.0
        return ((self.end or datetime.now(UTC)) - self.start).total_seconds()

    @field_serializer("errors")
    def _texts(self, errors: tuple[BaseException, ...]) -> list[str]:
        return [f"{type(error).__name__}: {text_of(error)}" for error in errors]


class Home(NamedTuple):
    """Where a group stands: the paths below it, and who is told of its events, who counts it."""

    prefix: str
    feed: Feed | None
    totals: Totals | None = None


def home_in_step() -> Home:
    """The home of a group that is opened here: in the current step, if there is one."""
    outer = running_step()
    if outer is None:
        relay = current_relay.get()
        if relay is None:
            return Home("0", None)
        feed = Feed(relay.run_id, [lambda told: relay.tell(told.event)])
        return Home(f"{relay.path}.{relay.next_number()}", feed)
    with outer.run.lock:
        number = outer.groups
        outer.groups += 1
    return Home(f"{outer.node.path}.{number}", outer.run.feed)


def running_step() -> ActiveStep | None:
    """The step that the current code is part of, unless that has ended already."""
    outer = current_step.get()
    return None if outer is None or outer.outcome is not None else outer


class GroupCore:
    """A group under way: its tasks, and the run they become.

    Safe from any thread.
    """

    def __init__(self, config: TaskGroupConfig, home: Home) -> None:
        self.config = config
        self.home = home
        self.node = group_node(config, home.prefix)
        self.run: TaskRun | None = None
        self._lock = threading.Lock()
        self.tasks: list[TaskNode] = []
        self._names: set[str] = set()
        self._results: Results | None = None
        self._is_left = False
        self._start: datetime | None = None
        self._breaker: Any = config.circuit_breaker
        if self._breaker is None and config.circuit_breaker_threshold is not None:
            self._breaker = OwnBreaker(
                self.node.name, config.circuit_breaker_threshold, config.circuit_breaker_timeout
            )
        self._specs: dict[bool, StepSpec] = {}
        self._latest: Any = None
        self._latest_spec: StepSpec

    # Adding

    def add(self, work: Any, args: Sequence[Any], kwargs: dict[str, Any], name: str | None) -> int:
        """Add a task; returns its index."""
        try:
            with self._lock:
                if self.run is not None or self._is_left:
                    raise TaskGroupError(
                        f"group {self.node.name!r} has been gathered, or left: nothing can be "
                        "added to it any more; open another one"
                    )
                index = len(self.tasks)
                task = self.task(work, args, kwargs, index, name)
                self._take_name(index, name)
                self.tasks.append(task)
                return index
        except TaskGroupError:
            if inspect.iscoroutine(work):
                work.close()
            raise

    def _take_name(self, index: int, name: str | None) -> None:
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise TaskGroupError(f"a task's name must be a text that is not empty, not {name!r}")
        if name is None:
            is_taken = bool(self._names) and str(index) in self._names
        else:
            # Those without a name have their index as text, the ones that are to come as well.
            is_taken = name in self._names or (name.isdecimal() and self._is_index(name, index))
            self._names.add(name)
        if is_taken:
            raise TaskGroupError(
                f"group {self.node.name!r} has a task {name or str(index)!r} already; names, and "
                "the indices of tasks without one, must differ"
            )

    def _is_index(self, name: str, count: int) -> bool:
        """Whether an earlier task without a name is called so."""
        index = int(name)
        return name == str(index) and index < count and self.tasks[index].title is None

    def task(
        self, work: Any, args: Sequence[Any], kwargs: dict[str, Any], index: int, name: str | None
    ) -> TaskNode:
        """Make a task of a call or an awaitable."""
        if not callable(work) and inspect.isawaitable(work):
            return self._given_task(work, args, kwargs, index, name)
        if not callable(work):
            raise TaskGroupError(
                f"group {self.node.name!r} takes a function with its arguments or a coroutine, not "
                f"a {type(work).__name__}: write add(function, argument), not "
                "add(function(argument))"
            )
        call = functools.partial(work, *args, **kwargs) if args or kwargs else work
        if work is not self._latest:  # mostly it is one function for all
            self._latest, self._latest_spec = work, self._spec(is_async(work))
        return TaskNode(self.node, index, self._latest_spec, call, name)

    def _given_task(
        self, work: Any, args: Sequence[Any], kwargs: dict[str, Any], index: int, name: str | None
    ) -> TaskNode:
        problem = ""
        if args or kwargs:
            problem = "a coroutine takes no further arguments"
        elif self.config.policy is not None:
            problem = (
                "a coroutine can be awaited once only, so it cannot be tried again; write "
                "add(function, argument), not add(function(argument)), or leave max_retries at 0"
            )
        if problem:
            raise TaskGroupError(f"group {self.node.name!r}: {problem}")
        task = TaskNode(self.node, index, self._spec(True), lambda: work, name)
        task.given = work
        return task

    def _spec(self, is_coroutine: bool) -> StepSpec:
        spec = self._specs.get(is_coroutine)
        if spec is None:
            spec = task_spec(self.config.policy, is_coroutine)
            self._specs[is_coroutine] = spec
        return spec

    # Running

    def make_run(self, loop: Any = None, is_open: bool = False) -> TaskRun | None:
        """The group's run, which has not begun; None for whoever does not ask first."""
        with self._lock:
            if self.run is not None:
                return None
            if self._is_left:
                raise TaskGroupError(
                    f"group {self.node.name!r} has been left: nothing is begun any more"
                )
            outer = running_step()
            limit = self.config.max_workers
            pool = outer.run.pool if outer is not None else pool_for(None, [limit])
            setup = Setup(pool, current_clock.get(), self.node.name, self.home.feed)
            plan = task_plan(self.node, self.tasks, limit, is_open)
            self._start = datetime.now(UTC)
            self.run = run = TaskRun(plan, setup, loop, self._breaker)
            run.on_done.append(self._close_given)
            if self.home.totals is not None:
                run.totals = self.home.totals
                run.totals.watch(run)
            return run

    def refuse_own_task(self) -> None:
        """Raise in a task of the group: it would wait for itself."""
        step = None if self.run is None else running_step()
        while step is not None:
            if step.run is self.run:
                raise TaskGroupError(
                    f"task {step.node.name!r} of group {self.node.name!r} waits for its own group, "
                    "which waits for it; have the code around the group gather"
                )
            step = step.run.outer

    def results(self) -> Results:
        """What became of each task, in the order added; once the run is over."""
        run = self.run
        assert run is not None
        with self._lock:
            if self._results is None:
                self._results = [run.result_of(task.leaf) for task in self.tasks]
                if run.on_result is None:  # else somebody may be asking for them one by one
                    run.let_go()
                    self.node.children = []
        return list(self._results)

    def by_name(self) -> dict[str, ExecutionResult[Any]]:
        """The results by name, or by the index as text."""
        return {
            str(result.index) if result.name is None else result.name: result
            for result in self.results()
        }

    def leave(self) -> None:
        """Start nothing more, and cancel what runs."""
        with self._lock:
            self._is_left = True
            run = self.run
        if run is not None:
            run.cancel()
        else:
            self._close_given()

    def _close_given(self) -> None:
        """Coroutines that nobody will await any more are closed, or Python warns of them."""
        for task in self.tasks:
            given = task.given
            is_new = inspect.iscoroutine(given) and (
                inspect.getcoroutinestate(given) == inspect.CORO_CREATED
            )
            if is_new:
                given.close()

    # Asking

    @property
    def info(self) -> GroupInfo:
        """What the group is, and how far."""
        run, config = self.run, self.config
        known: dict[str, Any] = {
            "id": self.node.prefix,
            "name": self.node.name,
            "total": len(self.tasks),
            "error_strategy": config.error_strategy,
            "max_workers": config.max_workers,
            "timeout": config.timeout,
            "start": self._start,
        }
        if run is None:
            status = GroupStatus.CANCELLED if self._is_left else GroupStatus.PENDING
            return GroupInfo(status=status, **known)
        with run.lock:
            errors: Iterable[BaseException | None]
            if self._results is not None:
                errors = (result.error for result in self._results)
            else:
                errors = (step.error for step in run.steps if step is not None and step.outcome)
            known["errors"] = tuple(error for error in errors if error is not None)
            known.update(completed=run.completed, failed=run.failed)
            known["total"] = max(len(self.tasks), len(run.scheduler.nodes))
            ended = None
            if run.ended_at is not None and self._start is not None:
                ended = datetime.fromtimestamp(
                    self._start.timestamp() + run.ended_at - run.started_at, UTC
                )
            return GroupInfo(status=_status(run), end=ended, **known)


def _status(run: TaskRun) -> GroupStatus:
    if not run.is_over:
        return GroupStatus.RUNNING if run.has_begun else GroupStatus.PENDING
    is_interrupted = run.error is not None and not isinstance(run.error, Exception)
    if run.outcome is Outcome.CANCELLED or is_interrupted:
        return GroupStatus.CANCELLED
    is_well = run.outcome is Outcome.SUCCEEDED and not run.failed
    return GroupStatus.COMPLETED if is_well else GroupStatus.FAILED
