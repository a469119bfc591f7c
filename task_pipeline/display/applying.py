"""What each event changes in the state of its run."""

from __future__ import annotations

from ..events import (
    AttemptEnded,
    GroupEnded,
    GroupEvent,
    GroupExpanded,
    GroupStarted,
    RunEnded,
    StepAbandoned,
    StepEvent,
    StepProgressed,
    StepRecovered,
    StepRetrying,
    StepSkipped,
    StepStarted,
)
from ..outcome import Outcome
from .nodes import DisplayNode, NodeKind, RunState
from .outcomes import outcome_of, parent_path
from .tracker import ParallelGroupTracker


def end_run(run: RunState, event: RunEnded) -> None:
    """The run has ended."""
    run.is_over = True
    run.outcome = run.root.outcome = outcome_of(event) or Outcome.FAILED
    run.error = event.error
    run.root.ended = event.monotonic
    if event.duration is not None:
        run.root.began = event.monotonic - event.duration


def _node(run: RunState, path: str, kind: NodeKind, parallel_path: str | None) -> DisplayNode:
    """The node at a path; it and what is around it are made if nobody has told of them."""
    missing = []
    place = path
    while place not in run.nodes:
        missing.append(place)
        place = parent_path(place)
    node = run.nodes[place]
    for place in reversed(missing):
        around = NodeKind.PARALLEL if place == parallel_path else NodeKind.SERIAL
        above, node = node, DisplayNode(place, kind if place == path else around, node)
        above.children[node.index] = node
        run.nodes[place] = node
    return node


def _begin(run: RunState, node: DisplayNode) -> None:
    if not node.is_running and not node.is_waiting:
        run.open += 1
        if node.parent is not None:
            node.parent.children_running += 1


def _end(run: RunState, node: DisplayNode, outcome: Outcome, now: float) -> None:
    """The node has its outcome."""
    if node.is_running or node.is_waiting:
        run.open -= 1
        if node.parent is not None:
            node.parent.children_running -= 1
    node.is_running = node.is_waiting = False
    node.outcome, node.ended = outcome, now
    if node.parent is not None:
        node.parent.children_ended += 1
    run.set_fraction(node, 1.0)


# Groups


def note_group(run: RunState, event: GroupEvent) -> None:
    """A group began, grew or ended."""
    if not event.path:
        return  # the run has said it all
    kind = NodeKind.PARALLEL if event.parallel else NodeKind.SERIAL
    node = _node(run, event.path, kind, None)
    if node.is_step:
        return
    node.kind = kind
    node.name = event.name or node.name
    node.total = max(node.total, event.total)
    if node.tracker is None:
        node.tracker = ParallelGroupTracker(group_id=event.path, name=node.name)
    node.tracker.note(event)
    parent = node.parent
    if parent is not None and parent.tracker is not None:
        parent.tracker.note(event)
    if isinstance(event, GroupStarted):
        _begin(run, node)
        node.is_running = True
        node.began = event.monotonic
        _let_grow(run, node, event.total == 0)
    elif isinstance(event, GroupExpanded):
        _let_grow(run, node, True)
    elif isinstance(event, GroupEnded) and node.outcome is None:
        node.error = event.error
        if node.began is None:
            node.began = event.monotonic - (event.duration or 0.0)
        run.growing.pop(node, None)
        _end(run, node, outcome_of(event) or Outcome.FAILED, event.monotonic)


def _let_grow(run: RunState, node: DisplayNode, is_dynamic: bool) -> None:
    if is_dynamic and node.outcome is None:
        node.is_dynamic = True
        run.growing[node] = None


# Steps


def note_step(run: RunState, event: StepEvent) -> None:
    """Something has happened to a step."""
    is_new = event.path not in run.nodes
    node = _node(run, event.path, NodeKind.STEP, event.group_id)
    if not node.is_step:
        return  # what looked like a step before has turned out to be a group
    if is_new:
        node.name = event.name or node.path
        if node.owner is not node:
            run.inner_seen += 1
        elif node.has_dynamic_above:
            run.grown_seen += 1
        else:
            run.planned_seen += 1
    parent = node.parent
    if parent is not None and parent.tracker is not None:
        parent.tracker.note(event)
    if isinstance(event, StepStarted):
        _start_attempt(run, node, event)
    elif isinstance(event, StepProgressed):
        if node.is_running:
            node.percent = event.percent
            run.set_fraction(node, max(node.fraction, min(1.0, event.percent / 100.0)))
    elif isinstance(event, AttemptEnded | StepSkipped | StepRecovered):
        _end_attempt(run, node, event)
    elif isinstance(event, StepAbandoned):
        run.abandoned += 1


def _start_attempt(run: RunState, node: DisplayNode, event: StepStarted) -> None:
    if node.outcome is not None:
        _reopen(run, node)
    _begin(run, node)
    node.is_running, node.is_waiting = True, False
    node.attempts = max(event.attempt, 1)
    node.percent = 0.0
    if node.began is None:
        node.began = event.monotonic
    if event.attempt > 1:
        run.extra_attempts += 1
        run.retried += event.attempt == 2
        above = node.parent
        while above is not None:  # the parent's tracker has counted it
            above = above.parent
            if above is not None and above.tracker is not None:
                above.tracker.note(event)
    run.running[node] = None
    run.set_fraction(node, 0.0)


def _end_attempt(run: RunState, node: DisplayNode, event: StepEvent) -> None:
    if node.outcome is not None:
        return
    is_recovered = isinstance(event, StepRecovered)
    if is_recovered:  # its time was spent in an earlier part of the run
        node.attempts = max(event.attempt, 1)
    else:
        node.busy += event.duration or 0.0
    node.error = event.error
    if isinstance(event, StepRetrying):
        _begin(run, node)
        node.is_running, node.is_waiting = False, True
        run.running[node] = None
        return
    if isinstance(event, StepSkipped):
        node.reason = event.reason
    outcome = outcome_of(event)
    if outcome is None:
        return
    run.running.pop(node, None)
    if node.began is None and event.attempt > 0 and not is_recovered:
        node.began = event.monotonic - (event.duration or 0.0)
    run.note_outcome(node, outcome)
    _end(run, node, outcome, event.monotonic)


def _reopen(run: RunState, node: DisplayNode) -> None:
    """A step begins that had ended: a loop has come round to it again."""
    if node.outcome is None:
        return
    run.outcomes[node.outcome] -= 1
    run.bad.pop(node, None)
    if node.parent is not None:
        node.parent.children_ended -= 1
    node.outcome = node.ended = node.error = None
    node.began = None
