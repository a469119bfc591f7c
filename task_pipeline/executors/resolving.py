"""Who calls the steps of a plan: what was written beside them becomes executors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from ..context import PipelineContext
from ..engine.calling import StepExecutor
from ..engine.pool import SharedThreadPoolExecutor
from ..plan import Kind, Node, Plan, StepNode

_THREAD = "thread"


def _inline() -> StepExecutor:
    from .inline import InlineExecutor

    return InlineExecutor()


def _process() -> StepExecutor:
    from .process import shared_process_executor

    return shared_process_executor()


_BY_NAME: dict[str, Callable[[], StepExecutor]] = {"inline": _inline, "process": _process}


_PARTS = ("name", "capabilities", "max_calls", "problems", "preflight", "submit", "stop")


def executor_named(given: Any) -> tuple[StepExecutor | None, str]:
    """The executor that somebody means, None for threads; or what is wrong with it."""
    if given is None or given == _THREAD:
        return None, ""
    if isinstance(given, str):
        make = _BY_NAME.get(given)
        if make is None:
            names = ", ".join(map(repr, (_THREAD, *_BY_NAME)))
            return None, f"there is no executor {given!r}; it is one of {names}, or an object"
        return make(), ""
    if isinstance(given, type):
        return None, f"{given.__qualname__} is a class: give an object of it, {given.__name__}(...)"
    if isinstance(given, SharedThreadPoolExecutor):
        return None, (
            "a SharedThreadPoolExecutor is the pool of a whole pipeline, not of a step or group "
            "in it; give it to the Pipeline that is run"
        )
    if isinstance(given, StepExecutor):
        return given, ""
    if isinstance(given, Executor) or (
        callable(getattr(given, "submit", None)) and callable(getattr(given, "shutdown", None))
    ):
        from .futures import FuturesExecutor

        return FuturesExecutor(given), ""
    missing = [name for name in _PARTS if not hasattr(given, name)]
    if hasattr(given, "submit"):
        return None, f"{given!r:.80} is no StepExecutor: it has no {', no '.join(missing)}"
    return None, (
        f"{given!r:.80} is no executor: give a name, a StepExecutor or an executor as of "
        "concurrent.futures"
    )


def settle_executors(plan: Plan) -> list[str]:
    """Have each step of a plan know who calls it; returns every mistake in what was written."""
    problems: list[str] = []
    found: dict[Any, StepExecutor | None] = {}  # by name, or by the object's id
    numbers: dict[int, int] = {}
    plan.thread_limits = list(plan.limits)
    for node, given in plan.placed:
        key = given if isinstance(given, str) else id(given)
        if key not in found:
            executor, wrong = executor_named(given)
            found[key] = executor
            if wrong:
                problems.append(f"step {node.label}, executor: {wrong}")
                continue
        executor = found[key]
        if executor is None:
            if node.spec.options and (given is None or given == _THREAD):
                problems.append(
                    f"step {node.label}: it has executor_options, and runs on a thread, which "
                    "takes none; say which executor they are for"
                )
            continue
        said = executor.problems(node)
        problems += [f"step {node.label} on {executor.name}: {text}" for text in said]
        node.executor = executor
        if executor.max_calls is not None:
            number = numbers.get(id(executor))
            if number is None:
                number = numbers[id(executor)] = len(plan.limits)
                plan.limits.append(executor.max_calls)
            node.limits = (number, *node.limits)
    plan.placed = tuple(pair for pair in plan.placed if pair[0].executor is not None)
    plan.callers = _callers(plan)
    if numbers:
        _share_limits(plan, frozenset(numbers.values()))
    return problems


def _share_limits(plan: Plan, numbers: frozenset[int]) -> None:
    """A group waits as a whole for what every step in it has to wait for.

    Else each of its branches would be begun, only to wait, and be called whenever one ends.
    """
    held: dict[Node, frozenset[int] | None] = {}  # by which limits all in it are; None for nothing

    def limits_of(node: Node) -> frozenset[int] | None:
        return numbers & set(node.limits) if isinstance(node, StepNode) else held[node]

    for group in reversed(plan.groups):  # what is in a group comes before it
        children = [group.template.node] if group.template is not None else group.children
        known = [limits for child in children if (limits := limits_of(child)) is not None]
        shared = frozenset.intersection(*known) if known else None
        held[group] = shared
        if group.kind is not Kind.PARALLEL or not shared:
            continue
        group.limits = (*sorted(shared), *group.limits)
        for child in children:  # one object, by which the scheduler knows that it is the same
            if isinstance(child, StepNode) and child.limits == group.limits:
                child.limits = group.limits


def preflight(plan: Plan, context: PipelineContext[Any]) -> list[str]:
    """What is wrong with the steps and the data of a run for those who are to call them."""
    wrong = [
        text for executor, nodes in plan.callers for text in executor.preflight(nodes, context)
    ]
    return list(dict.fromkeys(wrong))


def _callers(plan: Plan) -> tuple[tuple[StepExecutor, tuple[StepNode, ...]], ...]:
    """Each executor of a plan, with one node for each step that it calls, wherever that stands."""
    found: dict[int, tuple[StepExecutor, dict[int, StepNode]]] = {}
    for node, _ in plan.placed:
        nodes = found.setdefault(id(node.executor), (node.executor, {}))[1]
        nodes.setdefault(id(node.spec.source), node)
    return tuple((executor, tuple(nodes.values())) for executor, nodes in found.values())
