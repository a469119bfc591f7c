"""What a dynamic group becomes for the engine: a plan of one group, with a step for each task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config import ErrorStrategy, ParallelConfig, RetryPolicy, TaskGroupConfig
from ..plan import GroupNode, Kind, Plan, StepNode
from ..steps import StepSpec

Work = Callable[[], Any]


class TaskNode(StepNode):
    """A task: `work` is the call, `given` the coroutine if it was added as one."""

    __slots__ = ("given", "title", "work")

    def __init__(
        self, group: GroupNode, index: int, spec: StepSpec, work: Work, title: str | None
    ) -> None:
        # Not what the classes above do, as there may be very many of these.
        self.parent = group
        self.index = self.leaf = index
        self.depth = 1
        self.spec = spec
        self.work = work
        self.title = title
        self.given: Any = None
        self.place = None
        self.leavable = group.leavable
        self.limits = group.limits

    if not TYPE_CHECKING:
        exposed, share, result_key, executor = False, 0.0, "", None

        @property
        def name(self) -> str:
            """The name it was given, else that of its function, and its index."""
            return self.title or f"{name_of_work(self.given or self.work)}[{self.index}]"

        step_id = name

        @property
        def first(self) -> int:
            """Its own number."""
            return self.leaf

        @property
        def last(self) -> int:
            """The number after its own."""
            return self.leaf + 1


def name_of_work(work: Any) -> str:
    """The name of the function that a task calls."""
    target = work
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", None) or type(target).__name__).strip("<>")


@functools.lru_cache(maxsize=64)
def task_spec(policy: RetryPolicy | None, is_async: bool) -> StepSpec:
    """What all tasks of a group have in common, plain ones or coroutine functions."""
    return StepSpec(
        step_id="task",
        description="task",
        timeout=None,
        policy=policy,
        critical=True,
        weight=1.0,
        isolated=False,
        call=_no_call,
        is_function=True,
        is_async=is_async,
        source=None,
    )


def _no_call(context: object) -> None:
    """Tasks are called by what they were added with."""


_CONFIGS = {strategy: ParallelConfig(error_strategy=strategy) for strategy in ErrorStrategy}


def group_node(config: TaskGroupConfig, prefix: str) -> GroupNode:
    """The group that a run of tasks consists of."""
    node = GroupNode(Kind.PARALLEL, None, 0)
    node.prefix = prefix
    node.name = config.name or f"parallel_group_{prefix}"
    node.config = _CONFIGS[config.error_strategy]
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
