"""The immutable tree that nested lists compile to.

What is known before a run stands in it: ids, paths, shares of the progress,
which limits and deadlines lie over a step. A `Map` or a `Loop` keeps templates,
of which a run makes instances as it learns how many there are to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from .collectors import Collector
from .config import LogicOperator, ParallelConfig, PipelineConfig
from .groups import Dynamic, Loop, Map, ProgressCallback
from .steps import StepSpec

_PARALLEL, _PIPELINE = ParallelConfig(), PipelineConfig()  # frozen, so one serves all


class Kind(IntEnum):
    """What a node is."""

    STEP = 0
    SERIAL = 1
    PARALLEL = 2


class Node:
    """One node of the plan: a step or a group.

    `leaves` are the numbers of the first step below and of the one after the
    last; `share` is its part of the progress in percent; `place` is what its events
    say of where it stands.
    """

    __slots__ = ("depth", "first", "index", "last", "name", "parent", "place", "share")
    kind: Kind
    place: Any
    parent: GroupNode | None
    depth: int

    def __init__(self, parent: GroupNode | None, index: int) -> None:
        self.parent = parent
        self.index = index
        self.depth = 0 if parent is None else parent.depth + 1
        self.name = ""
        self.share = 0.0
        self.first = self.last = 0
        self.place = None

    @property
    def path(self) -> str:
        """Its index at each level, such as "2.0.1"; "" for the whole pipeline."""
        parts: list[str] = []
        node: Node = self
        while node.parent is not None:
            parts.append(str(node.index))
            node = node.parent
        if isinstance(node, GroupNode) and node.prefix:  # a group that a step of a run has opened
            parts.append(node.prefix)
        return ".".join(reversed(parts))

    @property
    def label(self) -> str:
        """How a message names it."""
        path = self.path
        return f"{self.name!r} at path {path}" if path else repr(self.name)


class StepNode(Node):
    """A step: a leaf of the tree.

    - `leavable`: a deadline or an early end can leave it while it runs, so the
      thread that called `run()` must not be the one inside it
    - `exposed`: a deadline below the nearest fork lies over it, so it works on a
      fork of its own that can be cut off
    - `limits`: numbers of the limits that hold for it
    - `result_key`: where in `results` goes what a function returns
    - `executor`: who calls it, in place of a thread of the pool's
    """

    __slots__ = (
        *("executor", "exposed", "leaf", "leavable", "limits"),
        *("result_key", "spec", "step_id"),
    )
    kind = Kind.STEP
    chooses = False
    parent: GroupNode
    limits: tuple[int, ...]

    def __init__(self, parent: GroupNode, index: int, spec: StepSpec, leaf: int) -> None:
        super().__init__(parent, index)
        self.spec = spec
        self.leaf = leaf
        self.first, self.last = leaf, leaf + 1
        self.step_id = self.name = self.result_key = spec.step_id
        self.leavable = parent.leavable or spec.timeout is not None
        self.exposed = parent.exposes or spec.timeout is not None
        self.limits = parent.limits
        self.executor: Any = None


class ChooserNode(StepNode):
    """What finds out, when a dynamic group begins, what it is to run.

    A step without events of its own: it stands for its group in whatever has a place for
    each step, such as progress and status, and works in the context the group works in.
    """

    __slots__ = ()
    chooses = True

    def __init__(self, group: GroupNode, spec: StepSpec, leaf: int) -> None:
        super().__init__(group, 0, spec, leaf)
        above = group.parent
        self.exposed = group.timeout is not None or (above is not None and above.exposes)

    @property
    def path(self) -> str:
        """The group's."""
        return self.parent.path


class GroupNode(Node):
    """A serial or parallel group; `config` is set for a parallel one, `scope` for a pipeline.

    - `limits`: numbers of the limits that hold for steps below it
    - `needed`: how many branches of a parallel group must succeed; `fails_fast`: it
      ends once that is decided; `delay`: seconds between their launches
    - `goes_on`: a failed child does not end it (`fail_fast=False`, not in a branch)
    - `collector`: what takes the place of its merge; `critical`: its failure fails what is
      around it; `tolerant`: it succeeds however many branches fail; `max_open`: how many of
      them may be under way at once
    - `dynamic`: what was written, if it is only known in a run what runs in it; `chooser`
      finds it out, and `template` is what each item or round is an instance of
    - `executor`: who calls the steps in it, as written; None for threads of the pool's
    - `is_open`: more children may be given to it than it begins with
    - `prefix`: of the paths below, for a root that stands somewhere in another run, below
      the step `above`; `inside`: what the places of its children have in common;
      `suffix`: of the names below, for an instance, and `remapped` what stands in it
      for the limits of its template
    """

    __slots__ = (
        *("above", "collector", "critical", "executor", "inside", "max_open"),
        *("callback", "children", "chooser", "config", "delay", "dynamic", "exposes"),
        *("fails_fast", "goes_on", "kind", "leavable", "limits", "needed", "prefix", "scope"),
        *(
            "tolerant",
            "is_open",
            "is_unnamed",
            "named_limits",
            "remapped",
            "suffix",
            "template",
            "timeout",
        ),
    )
    exposes: bool
    leavable: bool

    def __init__(self, kind: Kind, parent: GroupNode | None, index: int) -> None:
        super().__init__(parent, index)
        self.kind = kind
        self.children: list[Node] = []
        self.dynamic: Dynamic | None = None
        self.chooser: ChooserNode | None = None
        self.template: Template | None = None
        self.prefix = self.suffix = ""
        self.above: StepNode | None = None
        self.inside: Any = None
        self.is_open = self.is_unnamed = False
        self.named_limits: dict[str, tuple[int, ...]] = (
            {} if parent is None else parent.named_limits
        )
        self.remapped: dict[int, int] = {}
        self.config = _PARALLEL
        self.scope: PipelineConfig = _PIPELINE if parent is None else parent.scope
        self.timeout: float | None = None
        self.executor: Any = None if parent is None else parent.executor
        self.callback: ProgressCallback | None = None
        self.collector: Collector | None = None
        self.critical = True
        self.tolerant = False
        self.max_open: int | None = None
        self.needed = 0
        self.fails_fast = False
        self.delay = 0.0
        self.goes_on = False
        self.leavable = parent is not None and parent.leavable
        self.exposes = parent is not None and parent.kind is Kind.SERIAL and parent.exposes
        self.limits: tuple[int, ...] = () if parent is None else parent.limits

    @property
    def repeats(self) -> bool:
        """Whether what it runs are instances of a template."""
        return isinstance(self.dynamic, Map | Loop)


class Template:
    """What a `Map` or `Loop` makes instances of: a step or group, and all steps in it.

    `limits` are the numbers of those that are set in it.
    """

    __slots__ = ("group", "limits", "node", "steps")

    def __init__(self, group: GroupNode, node: Node, steps: list[StepNode], limits: range) -> None:
        self.group = group
        self.node = node
        self.steps = tuple(steps)
        self.limits = limits

    @property
    def names_its_group(self) -> bool:
        """Whether its group is called as the only step in it."""
        return (
            self.group.is_unnamed
            and isinstance(self.node, StepNode)
            and (isinstance(self.group.dynamic, Map))
        )


class Plan:
    """A compiled pipeline: `root`, all `steps` in the order written, and the `limits`.

    `specs` are those of all steps, also of what is only run as an instance. `placed` are the
    steps, of templates too, that say or are told who is to call them, `callers` those, each
    with the steps it calls; `thread_limits` are the limits without those of executors.
    """

    __slots__ = (
        *("callers", "groups", "has_async", "has_breakers", "limits", "outline", "placed"),
        "thread_limits",
        *("root", "specs", "steps"),
    )

    def __init__(
        self, root: GroupNode, steps: list[StepNode], groups: list[GroupNode], specs: list[StepSpec]
    ) -> None:
        self.root = root
        self.steps = tuple(steps)
        self.groups = tuple(groups)
        self.specs = tuple(specs)
        self.limits: list[int] = []
        self.thread_limits = self.limits
        self.placed: Sequence[tuple[StepNode, Any]] = ()
        self.callers: Sequence[tuple[Any, Sequence[StepNode]]] = ()
        self.outline: tuple[str, str] | None = None  # its text and fingerprint, once asked for
        self.has_async = any(spec.is_async for spec in specs)
        self.has_breakers = any(spec.circuit_breaker is not None for spec in specs)


def needed_of(group: GroupNode, count: int) -> int:
    """How many of so many branches must succeed."""
    config = group.config
    if group.tolerant:
        return 0
    needed = {LogicOperator.AND: count, LogicOperator.OR: 1}.get(config.operator)
    return (config.quorum or count) if needed is None else needed


def instantiate(
    group: GroupNode, index: int, first: int, first_limit: int
) -> tuple[Node, list[StepNode]]:
    """One more instance of a dynamic group's template, as its child number `index`.

    Its first step is number `first` of the run, its first own limit number `first_limit`.
    Names and ids get the index behind them, such as "fetch[2]". Returns it, and all steps
    in it in the order of their numbers.
    """
    assert group.template is not None
    origin = group.template.node
    suffix = f"{group.suffix}[{index}]"
    remapped = group.remapped
    if group.template.limits:  # each instance of a group has a limit of its own
        remapped = {**remapped, **dict(zip(group.template.limits, itertools.count(first_limit)))}
    steps: list[StepNode] = []
    copies: dict[Node, GroupNode] = {}
    stack: list[Node] = [origin]
    while stack:
        node = stack.pop()
        above = group if node is origin or node.parent is None else copies[node.parent]
        place = index if node is origin else node.index
        if isinstance(node, StepNode):
            step = _instance_of_step(node, above, place, first, suffix, remapped)
            steps.append(step)
            if node is origin:
                return step, steps
            if isinstance(step, ChooserNode):
                above.chooser = step
            else:
                above.children[place] = step
        elif isinstance(node, GroupNode):
            copied = copies[node] = _instance_of_group(node, above, place, first, suffix, remapped)
            if node is not origin:
                above.children[place] = copied
            stack.extend(reversed(node.children))
            if node.chooser is not None:
                stack.append(node.chooser)
    return copies[origin], steps


def _instance_of_step(
    node: StepNode, parent: GroupNode, index: int, first: int, suffix: str, limits: dict[int, int]
) -> StepNode:
    made: StepNode = object.__new__(type(node))
    made.parent = parent
    made.index = index
    made.depth = node.depth
    made.spec = node.spec
    made.leaf = made.first = node.leaf + first
    made.last = made.leaf + 1
    made.step_id = made.name = node.step_id + suffix
    made.result_key = node.result_key
    made.share = node.share
    made.place = None
    made.leavable, made.exposed, made.executor = node.leavable, node.exposed, node.executor
    made.limits = _remap(node.limits, limits)
    return made


def _instance_of_group(
    node: GroupNode, parent: GroupNode, index: int, first: int, suffix: str, limits: dict[int, int]
) -> GroupNode:
    made = GroupNode(node.kind, parent, index)
    for slot in GroupNode.__slots__:
        setattr(made, slot, getattr(node, slot))
    made.parent, made.index = parent, index
    if node.is_unnamed and node.chooser is None:
        made.name = f"{node.kind.name.lower()}_group_{made.path}"
    else:
        made.name = node.name + suffix
    made.share = node.share
    made.suffix = suffix
    made.first, made.last = node.first + first, node.last + first
    made.children = list(node.children)  # each is replaced by its instance
    made.limits = _remap(node.limits, limits)
    made.inside = None
    made.remapped = limits
    if limits:
        named = made.named_limits.items()
        made.named_limits = {name: _remap(numbers, limits) for name, numbers in named}
    return made


def _remap(limits: tuple[int, ...], remapped: dict[int, int]) -> tuple[int, ...]:
    return tuple(remapped.get(limit, limit) for limit in limits) if remapped else limits


def walk(plan: Plan, visit: Callable[[Node], None]) -> None:
    """Call `visit` with every node, in the order written, groups before what they hold."""
    stack: list[Node] = [plan.root]
    while stack:
        node = stack.pop()
        visit(node)
        if isinstance(node, GroupNode):
            stack.extend(reversed(node.children))
