"""The groups that the blocks of a workflow become."""

from __future__ import annotations

from typing import Any

from ...config import ErrorStrategy, LogicOperator, ParallelConfig, PipelineConfig
from ...groups import Parallel, PipelineGroup, Serial, TaskStep
from .agents import NO_MAPPING
from .blocks import CallGroup, CallInput, Items, looping
from .collecting import BlockCollector, CallCollector, LoopCollector
from .inclusion import included
from .linking import Links
from .making import Made, StepMaker, Stops, as_branch, as_way, set_critical
from .reading import Node
from .scopes import Scope


class Maker(StepMaker):
    """Makes what a step becomes, by its kind."""

    def unknown(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """Nothing, of a type that there is not."""
        return None

    def parallel(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A `parallel` block: all of its steps go on, whatever the others do."""
        lists = [(name, ids, Scope(scope)) for name, ids in links.lists]
        inside = self._builder.branches(node, lists, stops)
        self.take_all([inner for *_, inner in lists], scope)
        branches = [(name, made) for (name, *_), made in zip(lists, inside, strict=True)]
        fields = node.fields
        if fields is None:
            return None
        config = ParallelConfig(
            operator=LogicOperator.AND,
            error_strategy=ErrorStrategy.FAIL_SLOW,
            max_workers=fields.max_parallelism,
            timeout=fields.timeout,
        )
        steps = [as_branch(made.steps, name) for name, made in branches]
        group = Parallel(steps, name=node.id, config=config)
        group.max_open = fields.max_parallelism
        # Its output has each step's own, whatever follows that in its branch.
        group.collector = BlockCollector(node.id, [(name, (name,)) for name, _ in branches])
        set_critical(node, group)
        return group

    def fork_join(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A `fork_join` block: it ends as soon as its policy is decided."""
        lists = [(name, ids, Scope(scope)) for name, ids in links.lists]
        inside = self._builder.branches(node, lists, stops)
        self.take_all([inner for *_, inner in lists], scope)
        branches = [(name, made) for (name, *_), made in zip(lists, inside, strict=True)]
        self._check_count(node, len(branches))
        fields = node.fields
        if fields is None:
            return None
        needed = _needed(fields, len(branches))
        operator = {0: LogicOperator.AND, 1: LogicOperator.OR}.get(needed, LogicOperator.QUORUM)
        config = ParallelConfig(
            operator=operator,
            quorum=needed if operator is LogicOperator.QUORUM else None,
            error_strategy=ErrorStrategy.FAIL_FAST,
            max_workers=fields.max_parallelism,
            timeout=fields.timeout,
        )
        steps: list[TaskStep] = []
        for name, made in branches:
            timeout = fields.branches[name].timeout_seconds or fields.branch_timeout_seconds
            if timeout is None:
                steps.append(as_branch(made.steps, name))
            else:
                steps.append(PipelineGroup(made.steps, name, PipelineConfig(timeout=timeout)))
        group = Parallel(steps, name=node.id, config=config)
        group.max_open = fields.max_parallelism
        group.collector = BlockCollector(node.id, [(name, made.last) for name, made in branches])
        set_critical(node, group)
        return group

    def _check_count(self, node: Node, count: int) -> None:
        """Whether `n_required` goes with the policy, and with the branches."""
        policy, required = node.given.get("join_policy", "all"), node.given.get("n_required")
        written = node.given.get("branches")
        if isinstance(written, dict):  # those with mistakes of their own count, too
            count = len(written)
        wrong = self._builder.wrong
        if policy == "n_of_m" and required is None:
            found = "`n_required` is missing"
            wrong(node, (), found, "with join_policy n_of_m it says how many branches must succeed")
        elif policy in ("all", "any", "majority") and required is not None:
            found = f"`n_required` means nothing with join_policy {policy!r}"
            wrong(node, ("n_required",), found, "leave it out, or write join_policy n_of_m")
        elif isinstance(required, int) and required > count > 0:
            found = f"{required} branches must succeed, and there are {count}"
            wrong(node, ("n_required",), found, f"it must be {count} or less")

    def loop(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A `loop`: its body for each item, each time apart from all others."""
        builder = self._builder
        written = node.given.get("loop_config")
        collection = written.get("collection") if isinstance(written, dict) else None
        path = ("loop_config", "collection")
        refers = builder.references.check(node, path, collection, scope)
        inner = Scope(scope, in_loop=True)
        made = Made([], ())
        for _, ids in links.lists:
            for step_id in ids:
                builder.references.loops.setdefault(step_id, node.id)
            (made,) = builder.branches(node, [("", ids, inner)], stops)
        for step_id in inner.seen:
            builder.references.loops.setdefault(step_id, node.id)
        scope.hide(inner)
        if isinstance(collection, str) and not refers:
            found = f"{collection!r} refers to nothing"
            builder.wrong(node, path, found, "write ${...} around it, or a list right here")
        if node.fields is None:
            return None
        config = node.fields.loop_config
        in_series = config.execution_mode == "sequential"
        stops_early = config.on_error == "stop"
        settings = ParallelConfig(
            operator=LogicOperator.AND,
            error_strategy=ErrorStrategy.FAIL_FAST if stops_early else ErrorStrategy.FAIL_SLOW,
            max_workers=None if in_series else config.max_parallelism,
            timeout=node.fields.timeout,
        )
        items = Items(builder.view(node, scope), collection, config.max_iterations)
        body = as_way(made.steps, node.id) or Serial([], node.id)
        group = looping(body, items, node.id, settings, not stops_early)
        group.max_open = 1 if in_series else config.max_parallelism
        group.collector = LoopCollector(node.id, made.last, config.on_error)
        set_critical(node, group)
        return group

    def sub_workflow(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A `sub_workflow`: another workflow, with an input of its own."""
        builder = self._builder
        mapping = node.given.get("input_mapping", NO_MAPPING)
        if mapping is not NO_MAPPING:
            builder.references.check(node, ("input_mapping",), mapping, scope)
        made: Made | None = included(node, builder)
        if made is None or node.fields is None:
            return None
        given: Any = CallInput(builder.view(node, scope), mapping)
        config = ParallelConfig(
            operator=LogicOperator.AND,
            error_strategy=ErrorStrategy.FAIL_SLOW,
            timeout=node.fields.timeout,
        )
        steps = as_way(made.steps, node.id) or Serial([], node.id)
        group = CallGroup(steps, given, name=node.id, config=config)
        group.collector = CallCollector(node.id, made.last)
        set_critical(node, group)
        return group


def _needed(fields: Any, count: int) -> int:
    """How many branches must succeed; 0 for all."""
    policy = fields.join_policy
    if policy == "majority":
        return count // 2 + 1
    return {"all": 0, "any": 1}.get(policy, fields.n_required or 0)


MAKING: dict[str, Any] = {
    "": Maker.unknown,
    "agent": Maker.agent,
    "typed": Maker.typed,
    "native": Maker.native,
    "parallel": Maker.parallel,
    "fork_join": Maker.fork_join,
    "loop": Maker.loop,
    "sub_workflow": Maker.sub_workflow,
}
"""What makes the steps of each kind."""
