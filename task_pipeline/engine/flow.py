"""How data flows through a run: which context a step gets, what becomes of its changes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from ..config import ParallelConfig
from ..context import BINDING, SOURCE, PipelineContext
from ..errors import (
    GroupTimeoutError,
    ParallelGroupError,
    RunCancelledError,
    RunTimeoutError,
    StepReturnError,
)
from ..groups import Map
from ..outcome import Outcome
from ..plan import GroupNode, Kind, Node, StepNode
from ..state.delta import Delta, added_errors, adopt, delta_of
from ..state.fork import Fork, ForkPoint, is_cut
from ..state.merge import Branch, Merged, MergeRules, merge
from .collecting import branch_ends, collect, hide_keys, limited, start_with
from .states import State
from .step import ActiveGroup, ActiveStep, Context

logger = logging.getLogger("task_pipeline.run")
MOST_LINES = 20  # of a nested group's error in the text of the one around it


def give_context(
    step: ActiveStep, root: Context, in_place: bool, forks: bool | None = None
) -> None:
    """Set the context that the step's next attempt works on.

    `in_place`: the thread is the run's own, which cannot be left, so a step of
    the outermost series may work on the user's own context. `forks`: its changes are
    wanted apart, None for no; a step that is a whole branch has them apart unless True.
    """
    enclosing = step.enclosing
    spec, node = step.node.spec, step.node
    if enclosing is None:
        enclosing = context_of(step.parent, root) if node.chooses else context_within(step, root)
        step.enclosing = enclosing
    if spec.isolated:
        context = Fork(ForkPoint(enclosing)).context()
    elif forks or (forks is False and (step.parent.kind is Kind.SERIAL or node.chooses)):
        in_branch = SOURCE in enclosing.__dict__
        context = Fork(ForkPoint(enclosing), strict=in_branch).context()
    elif node.exposed or (enclosing is root and not in_place):
        # A fork has values that are still its parent's: they must be copied, or refused. The
        # user's own context has none but its own, so what cannot be copied passes as it is.
        in_branch = SOURCE in enclosing.__dict__
        point = ForkPoint(enclosing)
        context = Fork(point, copies=node.exposed or in_branch, strict=in_branch).context()
    else:
        context = enclosing
    step.has_fork = context is not enclosing
    step.context = context
    context.__dict__[BINDING] = step


def context_within(state: State, root: Context) -> Context:
    """The context a node works in; branches on the way down to it are forked now."""
    chain: list[Any] = [state]
    above: Any = state.parent
    while above is not None and above.context is None:
        chain.append(above)
        above = above.parent
    context = root if above is None else above.context
    for below in reversed(chain):
        group: Any = below.parent
        if group is not None and group.kind is Kind.PARALLEL:
            if group.point is None:
                group.point = ForkPoint(context)
                if isinstance(group.node.dynamic, Map):
                    hide_keys(group.point, group.node)
            fork = Fork(group.point)
            context = fork.context()
            if isinstance(group.node.dynamic, Map):
                start_with(fork, context, group.node.dynamic, group.items[below.node.index])
        if isinstance(below, ActiveGroup):
            below.context = context
    return context


def context_of(group: Any, root: Context) -> Context:
    """The context a group works in."""
    context: Context | None = group.context
    return context if context is not None else context_within(group, root)


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an exception if it takes one: a frozen one does not."""
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001  # the error itself matters, where it comes from is extra
        logger.debug("%r takes no note: %s", error, text)


def record_error(context: Context, error: Exception) -> None:
    """Add an error to a context, unless that very error is there already.

    Of a parallel group's error, its steps' errors are what is kept.
    """
    if is_cut(context):
        return  # of a step that was left: what its run still does is dropped
    if isinstance(error, ParallelGroupError):
        for part in error.exceptions:
            record_error(context, part)
        return
    errors = context.errors
    if not isinstance(errors, list):  # replaced by a step: what it put there is kept
        context.errors = errors = [errors]
    if not any(known is error for known in errors):
        errors.append(error)


def accept(step: ActiveStep, value: Any) -> None:
    """Take what a step returned, which is neither None nor its own context."""
    context = step.context
    assert context is not None
    if isinstance(value, PipelineContext):
        adopt(context, value)
    elif step.node.spec.is_function:
        context.results[step.node.result_key] = value
    else:
        raise StepReturnError(
            f"step {step.step_id!r} at path {step.node.path} returned a {type(value).__name__}; "
            "run() must return the context, another context or None. Put what it produced into "
            "context.results.",
            step_id=step.step_id,
            path=step.node.path,
            attempt=step.attempt,
        )


def commit_delta(step: ActiveStep, error: BaseException | None) -> Delta | None:
    """What a step's fork brings to the enclosing context, now that it has ended.

    An isolated step that failed brings nothing; one that only has a deadline
    brings what it did, as it would without.
    """
    assert step.context is not None
    if error is not None and step.node.spec.isolated:
        return None
    return delta_of(step.context)


def seal(state: State) -> None:
    """If this node is the last of its branch, take the branch's delta and let its context go."""
    branch: Any = state
    group = branch.parent
    if group is None or group.node.chooser is branch.node:
        return  # the whole run; or what stands for a dynamic group and is no branch of it
    while group is not None and group.kind is Kind.SERIAL:
        # Whether a dynamic series goes on is not known yet; its branch is sealed when it is merged.
        if branch.node.index + 1 < len(group.children) or group.node.chooser is not None:
            return
        branch, group = group, group.parent
    if group is None:
        return
    context = _branch_context(branch)
    if context is not None:
        if branch.delta is None:
            branch.delta = delta_of(context)
        if isinstance(branch, ActiveStep):
            branch.enclosing = None
        else:
            branch.context = None


def _branch_context(branch: Any) -> Context | None:
    """The context of a branch that has not been sealed."""
    context: Context | None
    context = branch.enclosing if isinstance(branch, ActiveStep) else branch.context
    return context


def branch_changes(group: ActiveGroup, failures: Sequence[Failure]) -> list[Branch]:
    """What each branch brings to the merge: one that failed, its errors only."""
    branches = []
    for state in group.branches:
        if state is None:
            branches.append(Branch("", None))
            continue
        branch: Any = state
        node = state.node
        context = _branch_context(branch)
        delta: Delta | None = branch.delta
        if state.was_left or state.outcome is None:  # what failed in it before is not lost
            inside = [failure for failure in failures if _is_in(failure[0], state)]
            found = [error for _, error in sorted(inside, key=_as_written)]
            delta = Delta(errors=found) if found else None
        elif not state.counts:
            errors = added_errors(context) if context is not None else delta and delta.errors
            delta = Delta(errors=errors) if errors else None
        elif context is not None:  # ended by its own deadline, or with an empty group: not sealed
            delta = delta_of(context)
        branches.append(Branch(node.name, delta))
    return branches


Failure = tuple[State, Exception]
"""A step that failed, or a group that timed out or could not be merged, and its error."""


def _as_written(failure: Failure) -> list[float]:
    """Where it stands: its index at each level. Numbers of instances say nothing of it.

    A group's own error comes after those of what is in it.
    """
    node: Node | None = failure[0].node
    indices: list[float] = [] if isinstance(node, StepNode) else [math.inf]
    while node is not None:
        indices.append(node.index)
        node = node.parent
    return indices[::-1]


def _is_in(state: State, branch: State) -> bool:
    return state is branch or (isinstance(branch, ActiveGroup) and state.below(branch))


def merge_branches(group: ActiveGroup, failures: Sequence[Failure]) -> Merged:
    """Merge what a parallel group's branches did, in the order written."""
    node = group.node
    branches = branch_changes(group, failures)
    collector = node.collector
    try:
        # Before anything is taken from them.
        ends = [] if collector is None else branch_ends(group, branches)
        merged = _merged(group, branches)
    except Exception as error:  # noqa: BLE001  # a value that is elsewhere cannot be had any more
        return Merged(Delta(), [], error)
    if collector is None or merged.error is not None:
        return merged
    if node.chooser is not None and group.span is None:
        return merged  # it never came to be known what it was to run
    base = {} if group.point is None else group.point.results
    try:
        merged.delta.results.update(collector.collect(base, ends))
    except Exception as error:  # noqa: BLE001  # the collector's own code may raise anything
        return Merged(Delta(errors=merged.delta.errors), [], error)
    return merged


def _merged(group: ActiveGroup, branches: list[Branch]) -> Merged:
    node = group.node
    merges = True if node.collector is None else node.collector.merges
    if merges is not True:
        branches = [limited(branch, merges or frozenset()) for branch in branches]
    if group.point is None:  # nothing was ever started
        collected = collect(group, []) if node.collector is None else {}
        merged = Merged(Delta(), [])
    else:
        rules = MergeRules(node.config.on_conflict or node.scope.on_conflict, node.scope.reducers)
        collected = collect(group, branches) if node.collector is None else {}
        merged = merge(group.point, branches, rules)
    if collected and merged.error is None and group.span is not None:
        merged.delta.results.update(collected)
    return merged


def group_error(group: ActiveGroup) -> Exception | None:
    """The error of a group that did not succeed; None if it did."""
    error = _own_error(group)
    collector = group.node.collector
    if error is None or collector is None or group.verdict is Outcome.CANCELLED:
        return error
    return collector.failure(error, branch_ends(group, ()))


def _own_error(group: ActiveGroup) -> Exception | None:
    verdict = group.verdict
    node = group.node
    if verdict is Outcome.SUCCEEDED:
        return None
    if verdict is Outcome.CANCELLED:
        return RunCancelledError(f"the run of {node.name!r} was cancelled before it ended")
    if node.kind is Kind.SERIAL:
        where = f"pipeline {node.label}" if node.parent is not None else f"the run of {node.name!r}"
        return RunTimeoutError(
            f"{where} timed out after {node.timeout} s; raise PipelineConfig.timeout, or look at "
            "what took so long: step timeouts name the step"
        )
    outcomes = branch_outcomes(group)
    errors = [
        state.error
        for state in group.branches
        if state is not None and not state.counts and isinstance(state.error, Exception)
    ]
    if verdict is Outcome.TIMED_OUT:
        return _timeout_error(group, outcomes, errors)
    return ParallelGroupError(_failure_text(group, outcomes), errors, outcomes)


def branch_outcomes(group: ActiveGroup) -> dict[str, Outcome]:
    """Each branch's name and outcome, in the order written; names made unique by their path."""
    outcomes: dict[str, Outcome] = {}
    for child, state in zip(group.children, group.branches, strict=True):
        outcome = None if state is None else state.outcome
        name = child.name if child.name not in outcomes else f"{child.name} ({child.path})"
        outcomes[name] = outcome or Outcome.CANCELLED
    return outcomes


def _needs(config: ParallelConfig) -> str:
    return {"AND": "every branch", "OR": "at least one branch"}.get(
        config.operator, f"at least {config.quorum} branches"
    )


def _failure_text(group: ActiveGroup, outcomes: dict[str, Outcome]) -> str:
    node: GroupNode = group.node
    failed = [
        state
        for state in group.branches
        if state is not None and not state.counts and state.error is not None
    ]
    head = (
        f"Parallel group failed: {node.label} needs {_needs(node.config)} to succeed, and "
        f"{len(failed)} of {len(outcomes)} failed"
    )
    return "\n".join([head, *(f"  {text}" for state in failed for text in _branch_text(state))])


def _words_of(error: BaseException | None) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an exception's own __str__ must not hide the failure
        return "(its text cannot be shown)"


def _branch_text(state: State) -> list[str]:
    """What went wrong in one branch: a line, or for a group's error its steps' lines."""
    error = state.error
    head = f"{state.node.name!r} at path {state.node.path}: "
    if isinstance(error, ParallelGroupError):
        # Its own lines only: each level quoting all of the next would be of cubic size.
        inner = [line.strip() for line in error.message.splitlines()[1:]]
        shown = inner if len(inner) <= MOST_LINES else [*inner[:MOST_LINES], "…"]
        return [
            f"{head}ParallelGroupError: Parallel group failed",
            *(f"  {line}" for line in shown),
        ]
    lines = _words_of(error).splitlines() or [""]
    notes = getattr(error, "__notes__", None)
    if notes and not isinstance(state, ActiveStep):
        lines.append(f"  {notes[0]}")
    return [f"{head}{type(error).__name__}: {lines[0]}", *lines[1:]]


def _timeout_error(
    group: ActiveGroup, outcomes: dict[str, Outcome], errors: Sequence[Exception]
) -> GroupTimeoutError:
    node = group.node
    if node.chooser is not None and group.span is None:
        return GroupTimeoutError(
            f"group {node.label} timed out after {node.timeout} s, before it was known what it is "
            "to run: `over` has not answered. Consider a larger timeout.",
            errors=errors,
        )
    missing = [
        f"{child.name!r} at path {child.path}"
        for child, state in zip(group.children, group.branches, strict=True)
        if state is None or state.was_left or state.outcome is None
    ]
    shown = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if missing[20:] else "")
    text = (
        f"group {node.label} timed out after {node.timeout} s: {group.ended} of {len(outcomes)} "
        f"branches ended, {group.succeeded} succeeded, and it needs {_needs(node.config)}. "
        f"Not ended: {shown}. Consider a larger timeout or more max_workers."
    )
    return GroupTimeoutError(text, outcomes=outcomes, errors=errors)
