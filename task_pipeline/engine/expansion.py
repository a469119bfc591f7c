"""What a dynamic group is to run, once its chooser has given the answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ..groups import Branch, Loop, Map
from ..plan import GroupNode, Node, StepNode, instantiate
from ..progress import ProgressTracker
from .scheduler import Scheduler
from .step import ActiveGroup, ActiveStep


class Host(Protocol):
    """What this needs of a run."""

    lock: threading.RLock
    scheduler: Scheduler
    tracker: ProgressTracker
    steps: list[ActiveStep | None]


def expand(run: Host, group: ActiveGroup, decided: Any) -> None:
    """Give a dynamic group its children; raises what the decision is not good for.

    Without the run's lock: making many instances may take a while.
    """
    written: Any = group.node.dynamic
    if isinstance(written, Branch):
        ways = group.node.children
        _supply(run, group, ways[decided : decided + 1], [], 0)
    elif isinstance(written, Loop):
        if not decided:
            leave_empty(run, group)
        else:
            _expand_round(run, group, written.times)
    elif isinstance(written, Map):
        quorum = group.node.config.quorum
        if quorum is not None and quorum > len(decided) > 0:
            raise ValueError(f"quorum {quorum} is more than its {len(decided)} items can reach")
        group.items = decided
        _expand_items(run, group, len(decided))


def leave_empty(run: Host, group: ActiveGroup) -> None:
    """Have a dynamic group end without running anything, or anything more."""
    _supply(run, group, [], [], 0)


def _expand_items(run: Host, group: ActiveGroup, count: int) -> None:
    template = group.node.template
    assert template is not None
    limits = _limits(run, group.node)
    width = len(template.steps)
    first, first_limit = _allocate(run, count * width, limits * count)
    children: list[Node] = []
    steps: list[StepNode] = []
    for index in range(count):
        at, limit_at = first + index * width, first_limit + index * len(limits)
        child, below = instantiate(group.node, index, at, limit_at)
        children.append(child)
        steps += below
    shares = [step.share / max(1, count) for step in template.steps] * count
    _supply(run, group, children, steps, first, shares)


def _expand_round(run: Host, group: ActiveGroup, times: int | None) -> None:
    template = group.node.template
    assert template is not None
    limits = _limits(run, group.node)
    # Rounds follow each other, so the next takes the places of the one before.
    if group.span is None:
        group.first, group.first_limit = _allocate(run, len(template.steps), limits)
    child, steps = instantiate(group.node, group.rounds, group.first, group.first_limit)
    shares = [step.share / times if times else 0.0 for step in template.steps]
    _supply(run, group, [child], steps, group.first, shares)


def _limits(run: Host, node: GroupNode) -> list[int]:
    """How many may run at once under each limit that is set in the template."""
    assert node.template is not None
    return [run.scheduler.places.limit(number) for number in node.template.limits]


def _allocate(run: Host, steps: int, limits: Sequence[int]) -> tuple[int, int]:
    with run.lock:
        run.steps.extend([None] * steps)
        return run.scheduler.allocate(steps, limits)


def _supply(
    run: Host,
    group: ActiveGroup,
    children: list[Node],
    steps: list[StepNode],
    first: int,
    shares: Sequence[float] = (),
) -> None:
    with run.lock:
        if group.closed or group.outcome is not None:
            return  # ended with what is around it, meanwhile
        if steps and group.node.chooser is not None:
            run.tracker.host(group.node.chooser.leaf, first, shares)
        for way in group.node.children if children else ():
            if way not in children:  # the other one has all of the group's progress
                for leaf in range(way.first, way.last):
                    run.tracker.write_off(leaf)
        run.scheduler.supplied(group, children, steps, first)
