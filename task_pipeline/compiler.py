"""Compile nested lists to a plan, and say everything that is wrong with them.

All walks are loops, so nesting is as deep as memory allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from .config import ErrorStrategy, ParallelConfig, PipelineConfig
from .errors import PipelineDefinitionError
from .groups import Dynamic, Group, Map, Parallel, PipelineGroup, Serial, TaskStep
from .plan import ChooserNode, GroupNode, Kind, Node, Plan, StepNode, Template, needed_of
from .steps import PipelineStep, StepSpec, chooser_spec, read_step


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
        self._specs: list[StepSpec] = []
        self._templates: list[Template] = []
        self._in_order: list[StepNode] = []  # all steps, those of templates too
        # What the templates around the one being read have so far: steps, and limits before.
        self._around: list[tuple[list[StepNode], int]] = []
        self._placed: list[tuple[StepNode, Any]] = []  # steps, and who is to call them
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
                self._complete(group)
                continue
            index = len(group.children)
            inner = self._group(group, index, item)
            if inner is None:
                self._step(group, index, item)
            else:
                group.children.append(inner)
                stack.append((inner, item, self._children(inner, item)))
        self.problems += name_steps(self._in_order, self._templates)
        share_out(root, self._templates)
        plan = Plan(root, self._steps, self._groups, self._specs)
        plan.limits = plan.thread_limits = self._limits
        plan.placed = tuple(self._placed)
        return plan

    def _complete(self, group: GroupNode) -> None:
        """All children of a group have been read."""
        if group.repeats:
            steps = self._steps
            self._steps, before = self._around.pop()
            node = group.children.pop() if group.children else GroupNode(Kind.SERIAL, group, 0)
            group.template = Template(group, node, steps, range(before, len(self._limits)))
            self._templates.append(group.template)
        group.last = len(self._steps)
        self._settle_operator(group)

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
            for name, count in source.config.limits.items():
                above = node.named_limits.get(name, ())
                node.named_limits = {**node.named_limits, name: (self._limit(count), *above)}
        elif node.kind is Kind.SERIAL:
            node.goes_on = parent is not None and parent.goes_on and parent.kind is Kind.SERIAL
        if isinstance(source, Group):
            node.collector, node.critical = source.collector, source.critical
            node.tolerant, node.max_open = source.tolerates_failures, source.max_open
            node.executor = node.executor if source.executor is None else source.executor
        if node.kind is Kind.PARALLEL:
            defaults = node.scope.parallel_config
            own = source.config if isinstance(source, Parallel | Map) else None
            if own is not None and not isinstance(own, ParallelConfig):
                self.problems.append(f"{_at(node)}: config must be a ParallelConfig, not {own!r}")
                own = None
            node.config = defaults if own is None else own.over(defaults)
            node.timeout, limit = node.config.timeout, node.config.max_workers
        self._name_group(node, source)
        if limit is not None:
            node.limits = (self._limit(limit), *node.limits)
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
        several = len(elements) > 1 or isinstance(source, Map)
        ends_early = node.config.error_strategy is ErrorStrategy.FAIL_FAST and several
        if node.timeout is not None:
            node.leavable = True
            node.exposes = node.kind is Kind.SERIAL
        elif node.kind is Kind.PARALLEL and ends_early:
            node.leavable = True
        if node.kind is Kind.PARALLEL:
            node.exposes = False  # each branch has a fork, which is cut as a whole
        if isinstance(source, Dynamic):
            self._set_up_dynamic(node, source)
        return iter(tuple(elements))

    def _limit(self, count: int) -> int:
        self._limits.append(count)
        return len(self._limits) - 1

    def _set_up_dynamic(self, node: GroupNode, source: Dynamic) -> None:
        problems = source.problems()
        self.problems += [f"{_at(node)}, {source.form}: {text}" for text in problems]
        node.dynamic = source
        node.goes_on = False  # a failed round ends a loop; what is around it may go on
        spec = chooser_spec(node.name, _nothing if problems else source.call, source)
        node.chooser = ChooserNode(node, spec, len(self._steps))
        self._steps.append(node.chooser)
        self._in_order.append(node.chooser)
        self._specs.append(spec)
        if node.repeats:
            self._around.append((self._steps, len(self._limits)))
            self._steps = []

    def _name_group(self, node: GroupNode, source: Any) -> None:
        name = getattr(source, "name", None)
        if name is not None and not (isinstance(name, str) and name.strip()):
            self.problems.append(
                f"{_at(node)}: name must be a text that is not empty, not {name!r}"
            )
            name = None
        path = node.path
        kind = f"{node.kind.name.lower()}_group"
        if isinstance(source, Dynamic):
            kind = source.form.lower()
        node.is_unnamed = name is None
        default = f"{kind}_{path}" if path else "pipeline"
        node.name = default if name is None else name

    def _group(self, parent: GroupNode, index: int, item: Any) -> GroupNode | None:
        if isinstance(item, list | tuple):
            # What a Branch or Loop is given is read as what a pipeline is given: a series.
            in_series = parent.kind is Kind.PARALLEL or parent.dynamic is not None
            return GroupNode(Kind.SERIAL if in_series else Kind.PARALLEL, parent, index)
        if isinstance(item, Parallel | Map):
            return GroupNode(Kind.PARALLEL, parent, index)
        return GroupNode(Kind.SERIAL, parent, index) if isinstance(item, Group) else None

    def _step(self, parent: GroupNode, index: int, item: Any) -> None:
        def place() -> str:  # asked for only where something is wrong: it takes a walk to the root
            return ".".join(filter(None, (parent.path, str(index))))

        if isinstance(item, type):
            self.problems.append(
                f"path {place()}: {item.__name__} is a class; "
                f"write {item.__name__}() to make a step"
            )
        elif not isinstance(item, PipelineStep) and not callable(item):
            self.problems.append(
                f"path {place()}: {_show(item)} is not a step; a list holds PipelineStep objects, "
                "functions, lists, Serial, Parallel and Pipeline"
            )
        else:
            spec, problems = read_step(item)
            self.problems += [f"path {place()}, step {_show(item)}: {text}" for text in problems]
            if spec is not None:
                node = StepNode(parent, index, spec, len(self._steps))
                if spec.limit is not None:
                    node.limits = (*parent.named_limits.get(spec.limit, ()), *parent.limits)
                self._steps.append(node)
                self._in_order.append(node)
                self._specs.append(spec)
                parent.children.append(node)
                executor = parent.executor if spec.executor is None else spec.executor
                if executor is not None or spec.options:
                    self._placed.append((node, executor))
                return
        # Keep the indices of what follows right, so that later messages name the right path.
        parent.children.append(GroupNode(Kind.SERIAL, parent, index))

    def _settle_operator(self, group: GroupNode) -> None:
        quorum, count = group.config.quorum, len(group.children)
        group.needed = needed_of(group, count)
        group.fails_fast = group.config.error_strategy is ErrorStrategy.FAIL_FAST
        group.delay = group.config.delay
        is_known = group.kind is Kind.PARALLEL and group.dynamic is None
        if is_known and quorum is not None and quorum > count > 0:
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


def _nothing(context: object) -> None:
    """What a group with mistakes is asked for."""


def name_steps(steps: Sequence[StepNode], templates: Sequence[Template]) -> list[str]:
    """Make ids unique: the second `fetch` is `fetch#2`. Returns what is wrong with them.

    A `Map` of one step is called as the step is, unless it has a name; its instances
    are then told from it by their index.
    """
    named_after = [template for template in templates if template.names_its_group]
    for template in named_after:  # inner ones first
        chooser = template.group.chooser
        assert chooser is not None
        chooser.step_id = template.node.name
    shared = {template.node for template in named_after}
    _make_unique([node for node in steps if node not in shared])
    for template in named_after:
        chooser = template.group.chooser
        assert chooser is not None
        assert isinstance(template.node, StepNode)
        template.node.step_id = template.node.name = chooser.step_id
        template.node.result_key = chooser.step_id
    for node in steps:
        if isinstance(node, ChooserNode):
            node.parent.name = node.step_id
    problems = []
    for template in templates:
        written, only = template.group.dynamic, template.node
        if isinstance(written, Map) and isinstance(only, StepNode):
            only.result_key = written.result_key or only.result_key
            shares_a_key = only.result_key == written.item_key and not written.result_key
            if only.spec.is_function and shares_a_key:
                problems.append(
                    f"{_at(template.group)}, Map: items and results would both stand under "
                    f"{written.item_key!r}; set item_key or result_key"
                )
    return problems


def _make_unique(steps: Sequence[StepNode]) -> None:
    taken = {node.step_id for node in steps}
    counts: dict[str, int] = {}
    for node in steps:
        base = node.step_id
        counts[base] = counts.get(base, 0) + 1
        if counts[base] > 1:
            name = f"{base}#{counts[base]}"
            while name in taken:  # somebody has called a step "fetch#2" outright
                counts[base] += 1
                name = f"{base}#{counts[base]}"
            taken.add(name)
            node.step_id = name
        node.name = node.step_id
        node.result_key = node.step_id


def share_out(root: GroupNode, templates: Sequence[Template]) -> None:
    """Split 100 % from the top down, by weight; what holds no step gets nothing.

    In a template it is 100 % of one instance.
    """
    root.share = 100.0
    stack = [root]
    for template in templates:
        template.node.share = 100.0
        if isinstance(template.node, GroupNode):
            stack.append(template.node)
    while stack:
        group = stack.pop()
        if group.chooser is not None:
            # What a Branch does not take is written off, so each way has it all.
            group.chooser.share = group.share if group.repeats else 0.0
            shares = [group.share for _ in group.children]
        else:
            shares = _shares(group)
        for child, share in zip(group.children, shares, strict=True):
            child.share = share
            if isinstance(child, GroupNode):
                stack.append(child)


def _shares(group: GroupNode) -> list[float]:
    weights = [_weight(child) for child in group.children]
    largest = max(weights, default=0.0)
    if largest > 0.0:  # divided by it, so that no sum of weights is too large
        weights = [weight / largest for weight in weights]
    total = math.fsum(weights)
    if total == 0.0:  # nothing but weights of 0: equal parts after all
        weights = [float(child.last > child.first) for child in group.children]
        total = math.fsum(weights)
    return [group.share * weight / total if total else 0.0 for weight in weights]


def _weight(child: Node) -> float:
    if isinstance(child, StepNode):
        return child.spec.weight
    return 1.0 if child.last > child.first else 0.0


def as_steps(steps: Sequence[TaskStep]) -> Sequence[TaskStep]:
    """The list itself; raises `PipelineDefinitionError` for what is not one."""
    if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
        raise PipelineDefinitionError(f"a pipeline takes a list of steps, not {_show(steps)}")
    return steps
