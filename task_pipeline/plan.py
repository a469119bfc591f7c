"""The immutable tree that nested lists compile to.

Everything that can be known before a run is worked out here, once: ids, paths,
shares of the progress, which limits and deadlines lie over a step. Compiling
and all later walks are loops, so nesting is as deep as memory allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any

from .config import ErrorStrategy, LogicOperator, ParallelConfig, PipelineConfig
from .errors import PipelineDefinitionError
from .groups import Group, Parallel, PipelineGroup, ProgressCallback, Serial, TaskStep
from .steps import PipelineStep, StepSpec, read_step


class Kind(IntEnum):
    """What a node is."""

    STEP = 0
    SERIAL = 1
    PARALLEL = 2


class Node:
    """One node of the plan: a step or a group.

    `leaves` are the numbers of the first step below and of the one after the
    last; `share` is its part of the progress in percent.
    """

    __slots__ = ("depth", "first", "index", "last", "name", "parent", "share")
    kind: Kind
    parent: GroupNode | None
    depth: int

    def __init__(self, parent: GroupNode | None, index: int) -> None:
        self.parent = parent
        self.index = index
        self.depth = 0 if parent is None else parent.depth + 1
        self.name = ""
        self.share = 0.0
        self.first = self.last = 0

    @property
    def path(self) -> str:
        """Its index at each level, such as "2.0.1"; "" for the whole pipeline."""
        parts: list[str] = []
        node: Node = self
        while node.parent is not None:
            parts.append(str(node.index))
            node = node.parent
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
    """

    __slots__ = ("exposed", "leaf", "leavable", "spec", "step_id")
    kind = Kind.STEP
    parent: GroupNode

    def __init__(self, parent: GroupNode, index: int, spec: StepSpec, leaf: int) -> None:
        super().__init__(parent, index)
        self.spec = spec
        self.leaf = leaf
        self.first, self.last = leaf, leaf + 1
        self.step_id = self.name = spec.step_id
        self.leavable = parent.leavable or spec.timeout is not None
        self.exposed = parent.exposes or spec.timeout is not None


class GroupNode(Node):
    """A serial or parallel group; `config` is set for a parallel one, `scope` for a pipeline.

    - `limits`: numbers of the limits that hold for steps below it
    - `needed`: how many branches of a parallel group must succeed; `fails_fast`: it
      ends once that is decided; `delay`: seconds between their launches
    - `goes_on`: a failed child does not end it (`fail_fast=False`, not in a branch)
    """

    __slots__ = (
        *("callback", "children", "config", "delay", "exposes", "fails_fast", "goes_on"),
        *("kind", "leavable", "limits", "needed", "scope", "timeout"),
    )
    exposes: bool
    leavable: bool

    def __init__(self, kind: Kind, parent: GroupNode | None, index: int) -> None:
        super().__init__(parent, index)
        self.kind = kind
        self.children: list[Node] = []
        self.config = ParallelConfig()
        self.scope: PipelineConfig = PipelineConfig() if parent is None else parent.scope
        self.timeout: float | None = None
        self.callback: ProgressCallback | None = None
        self.needed = 0
        self.fails_fast = False
        self.delay = 0.0
        self.goes_on = False
        self.leavable = parent is not None and parent.leavable
        self.exposes = parent is not None and parent.kind is Kind.SERIAL and parent.exposes
        self.limits: tuple[int, ...] = () if parent is None else parent.limits


class Plan:
    """A compiled pipeline: `root`, all `steps` in the order written, and the `limits`."""

    __slots__ = ("groups", "has_async", "limits", "root", "steps")

    def __init__(self, root: GroupNode, steps: list[StepNode], groups: list[GroupNode]) -> None:
        self.root = root
        self.steps = tuple(steps)
        self.groups = tuple(groups)
        self.limits: list[int] = []
        self.has_async = any(step.spec.is_async for step in steps)


def compile_plan(source: PipelineGroup | Parallel | Serial) -> Plan:
    """Compile nested lists. Raises `PipelineDefinitionError` with every mistake in them."""
    compiler = _Compiler()
    plan = compiler.compile(source)
    if compiler.problems:
        raise PipelineDefinitionError(compiler.problems)
    return plan


class _Compiler:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._steps: list[StepNode] = []
        self._groups: list[GroupNode] = []
        self._limits: list[int] = []
        self._open: set[int] = set()  # the lists being read, to see one that contains itself

    def compile(self, source: Group) -> Plan:
        kind = Kind.PARALLEL if isinstance(source, Parallel) else Kind.SERIAL
        root = GroupNode(kind, None, 0)
        stack = [(root, source, self._children(root, source))]
        while stack:
            group, origin, children = stack[-1]
            item = next(children, _END)
            if item is _END:
                stack.pop()
                self._open.discard(id(_elements(origin)))
                group.last = len(self._steps)
                self._settle_operator(group)
                continue
            index = len(group.children)
            inner = self._group(group, index, item)
            if inner is None:
                self._step(group, index, item)
            else:
                group.children.append(inner)
                stack.append((inner, item, self._children(inner, item)))
        _name_steps(self._steps)
        _share_out(root, self._steps)
        plan = Plan(root, self._steps, self._groups)
        plan.limits = self._limits
        return plan

    def _children(self, node: GroupNode, source: Any) -> Iterator[Any]:
        """Set a group up from what was written, and give what stands in it."""
        self._groups.append(node)
        node.first = len(self._steps)
        limit: int | None = None
        parent = node.parent
        if isinstance(source, PipelineGroup) and not isinstance(source.config, PipelineConfig):
            self.problems.append(
                f"{_at(node)}: config must be a PipelineConfig, not {source.config!r}"
            )
        elif isinstance(source, PipelineGroup):
            node.scope = source.config
            node.callback = source.progress_callback
            node.timeout, limit = source.config.timeout, source.config.max_workers
            node.goes_on = not source.config.fail_fast
        elif node.kind is Kind.SERIAL:
            node.goes_on = parent is not None and parent.goes_on and parent.kind is Kind.SERIAL
        if node.kind is Kind.PARALLEL:
            defaults = node.scope.parallel_config
            own = source.config if isinstance(source, Parallel) else None
            if own is not None and not isinstance(own, ParallelConfig):
                self.problems.append(f"{_at(node)}: config must be a ParallelConfig, not {own!r}")
                own = None
            node.config = defaults if own is None else own.over(defaults)
            node.timeout, limit = node.config.timeout, node.config.max_workers
        self._name_group(node, source)
        if limit is not None:
            node.limits = (len(self._limits), *node.limits)
            self._limits.append(limit)
        elements = _elements(source)
        if id(elements) in self._open:
            self.problems.append(f"{_at(node)}: this list contains itself")
            return iter(())
        if isinstance(elements, str | bytes) or not isinstance(elements, Sequence):
            self.problems.append(
                f"{_at(node)}: a group's children must be a list, not {_show(elements)}"
            )
            return iter(())
        self._open.add(id(elements))
        ends_early = node.config.error_strategy is ErrorStrategy.FAIL_FAST and len(elements) > 1
        if node.timeout is not None:
            node.leavable = True
            node.exposes = node.kind is Kind.SERIAL
        elif node.kind is Kind.PARALLEL and ends_early:
            node.leavable = True
        if node.kind is Kind.PARALLEL:
            node.exposes = False  # each branch has a fork, which is cut as a whole
        return iter(tuple(elements))

    def _name_group(self, node: GroupNode, source: Any) -> None:
        name = getattr(source, "name", None)
        if name is not None and not (isinstance(name, str) and name.strip()):
            self.problems.append(
                f"{_at(node)}: name must be a text that is not empty, not {name!r}"
            )
            name = None
        path = node.path
        default = f"{node.kind.name.lower()}_group_{path}" if path else "pipeline"
        node.name = default if name is None else name

    def _group(self, parent: GroupNode, index: int, item: Any) -> GroupNode | None:
        if isinstance(item, list | tuple):
            turned = Kind.SERIAL if parent.kind is Kind.PARALLEL else Kind.PARALLEL
            return GroupNode(turned, parent, index)
        if isinstance(item, Parallel):
            return GroupNode(Kind.PARALLEL, parent, index)
        return GroupNode(Kind.SERIAL, parent, index) if isinstance(item, Group) else None

    def _step(self, parent: GroupNode, index: int, item: Any) -> None:
        place = ".".join(filter(None, (parent.path, str(index))))
        if isinstance(item, type):
            self.problems.append(
                f"path {place}: {item.__name__} is a class; write {item.__name__}() to make a step"
            )
        elif not isinstance(item, PipelineStep) and not callable(item):
            self.problems.append(
                f"path {place}: {_show(item)} is not a step; a list holds PipelineStep objects, "
                "functions, lists, Serial, Parallel and Pipeline"
            )
        else:
            spec, problems = read_step(item)
            self.problems += [f"path {place}, step {_show(item)}: {text}" for text in problems]
            if spec is not None:
                node = StepNode(parent, index, spec, len(self._steps))
                self._steps.append(node)
                parent.children.append(node)
                return
        # Keep the indices of what follows right, so that later messages name the right path.
        parent.children.append(GroupNode(Kind.SERIAL, parent, index))

    def _settle_operator(self, group: GroupNode) -> None:
        quorum, count = group.config.quorum, len(group.children)
        group.needed = {LogicOperator.AND: count, LogicOperator.OR: 1}.get(
            group.config.operator, quorum or count
        )
        group.fails_fast = group.config.error_strategy is ErrorStrategy.FAIL_FAST
        group.delay = group.config.delay
        wrong = quorum is not None and quorum > count > 0
        if group.kind is Kind.PARALLEL and group.config.operator is LogicOperator.QUORUM and wrong:
            self.problems.append(
                f"{_at(group)}: quorum {quorum} is more than its {count} branches can reach"
            )


_END: Any = object()


def _elements(source: Any) -> Any:
    return source.children if isinstance(source, Group) else source


def _at(node: Node) -> str:
    path = node.path
    return f"path {path}" if path else "the pipeline's list"


def _show(item: object) -> str:
    try:
        text = str(getattr(item, "__name__", None) or repr(item))
    except Exception:  # noqa: BLE001  # an element's own repr must not hide what is wrong with it
        text = f"<{type(item).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def _name_steps(steps: Sequence[StepNode]) -> None:
    """Make ids unique: the second `fetch` is `fetch#2`."""
    taken = {node.spec.step_id for node in steps}
    counts: dict[str, int] = {}
    for node in steps:
        base = node.spec.step_id
        counts[base] = counts.get(base, 0) + 1
        if counts[base] > 1:
            name = f"{base}#{counts[base]}"
            while name in taken:  # somebody has called a step "fetch#2" outright
                counts[base] += 1
                name = f"{base}#{counts[base]}"
            taken.add(name)
            node.step_id = node.name = name


def _share_out(root: GroupNode, steps: Sequence[StepNode]) -> None:
    """Split 100 % from the top down, by weight; what holds no step gets nothing."""
    root.share = 100.0
    stack = [root]
    while stack:
        group = stack.pop()
        weights = [_weight(child) for child in group.children]
        largest = max(weights, default=0.0)
        if largest > 0.0:  # divided by it, so that no sum of weights is too large
            weights = [weight / largest for weight in weights]
        total = math.fsum(weights)
        if total == 0.0:  # nothing but weights of 0: equal parts after all
            weights = [float(child.last > child.first) for child in group.children]
            total = math.fsum(weights)
        for child, weight in zip(group.children, weights, strict=True):
            child.share = group.share * weight / total if total else 0.0
            if isinstance(child, GroupNode):
                stack.append(child)


def _weight(child: Node) -> float:
    if isinstance(child, StepNode):
        return child.spec.weight
    return 1.0 if child.last > child.first else 0.0


def walk(plan: Plan, visit: Callable[[Node], None]) -> None:
    """Call `visit` with every node, in the order written, groups before what they hold."""
    stack: list[Node] = [plan.root]
    while stack:
        node = stack.pop()
        visit(node)
        if isinstance(node, GroupNode):
            stack.extend(reversed(node.children))


def as_steps(steps: Sequence[TaskStep]) -> Sequence[TaskStep]:
    """The list itself; raises `PipelineDefinitionError` for what is not one."""
    if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
        raise PipelineDefinitionError(f"a pipeline takes a list of steps, not {_show(steps)}")
    return steps
