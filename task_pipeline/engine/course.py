"""What follows from a step's end: which group goes on, is decided, ends, and what ends with it.

The pure part below the scheduler's facts and questions. All walks are loops.
"""

from __future__ import annotations

from typing import Any

from ..outcome import Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from .places import Places
from .states import Command, GroupState, State, StepState, Timer
from .verdict import verdict


class Course:
    """The state of one run, and how one thing leads to another in it.

    `step_type` and `group_type` let a driver keep more in the states.
    """

    def __init__(
        self,
        plan: Plan,
        step_type: type[StepState] = StepState,
        group_type: type[GroupState] = GroupState,
    ) -> None:
        self._step_type = step_type
        self._group_type = group_type
        self._plan = plan
        self.outcomes: list[Outcome | None] = [None] * len(plan.steps)
        self.commands: list[tuple[Any, ...]] = []
        self.live: dict[StepState, None] = {}  # steps with an attempt behind or before them
        self.ready: list[State] = []  # a stack: what has begun goes on before more is begun
        self.root: GroupState
        self.places = Places(plan.limits, self.ready)
        self.stopped = False  # a step has ended the run, and well
        self.waits_for_all = False  # no group is ended early: what was left then stays away
        self.nodes: list[StepNode] = list(plan.steps)
        self._open: dict[GroupState, None] = {}

    def open_groups(self) -> list[GroupState]:
        """The groups that have begun and not ended, in the order they began."""
        return list(self._open)

    def _begin(self, step: StepState) -> StepState:
        step.attempt += 1
        step.running = True
        self.live[step] = None
        if step.node.limits:
            self.places.take(step.node.limits)
        return step

    def _release(self, step: StepState) -> None:
        """Give back the places of a step that runs no more."""
        step.running = False
        if step.node.limits or self.places.around is not None:
            self.places.give_back(step.node.limits, step.node.spec.limit)

    def _try_again(self, step: StepState, after: float) -> None:
        if after > 0:
            self.commands.append((Command.SET_TIMER, step, Timer.RETRY, after))
        else:
            self.ready.append(step)

    def _close_step(self, step: StepState, outcome: Outcome, error: BaseException | None) -> None:
        self.live.pop(step, None)
        step.outcome = outcome
        if not step.node.chooses:  # a chooser stands for its group, which has not ended yet
            self.outcomes[step.node.leaf] = outcome
        step.error = error
        # A step that is not critical counts as succeeded, however it ended.
        step.counts = outcome is Outcome.SUCCEEDED or (
            outcome is Outcome.SKIPPED or not step.node.spec.critical
        )

    def _enter(self, node: GroupNode, parent: GroupState | None) -> GroupState | None:
        """Begin a group and, serially, what it begins with; returns an empty one, ended at once."""
        while True:
            group = self._group_type(node, parent)
            if parent is None:
                self.root = group
            elif parent.kind is Kind.PARALLEL:
                parent.branches[node.index] = group
            self._open[group] = None
            self.commands.append((Command.ENTER, group))
            if (not node.children and node.chooser is None) or _has_had_its_rounds(group):
                self._end_group(group, Outcome.SUCCEEDED, None)
                return group
            if node.timeout is not None:
                self.commands.append((Command.SET_TIMER, group, Timer.DEADLINE, node.timeout))
            if node.chooser is not None:
                self.ready.append(self._step_type(node.chooser, group))
                return None
            if node.kind is Kind.PARALLEL:
                self.ready.append(group)
                return None
            group.cursor = 1
            first = node.children[0]
            if isinstance(first, StepNode):
                self.ready.append(self._step_type(first, group))
                return None
            assert isinstance(first, GroupNode)
            node, parent = first, group

    def _tell(self, state: State | None) -> None:
        """Tell a node's parent that it ended, and that one's parent if it ends by it, and so on."""
        while state is not None:
            group = state.parent
            if group is None:
                self.commands.append((Command.OVER,))
                return
            if group.closed:
                return
            if group.node.chooser is state.node:
                chooser: Any = state
                state = self._expand(group, chooser)
            elif group.kind is Kind.SERIAL:
                state = self._go_on(group, state)
            else:
                self._count(group, state)
                return

    def _go_on(self, group: GroupState, child: State) -> State | None:
        """A serial group's child ended; returns the next state that ended by it, if any."""
        node = group.node
        if node.callback is not None or group.parent is None:
            self.commands.append((Command.ITEM, group, child))
        if not child.counts and not node.goes_on:
            self._settle(child.node.last, node.last, Outcome.SKIPPED)
            outcome = child.outcome or Outcome.FAILED
            self._end_group(group, outcome, child.error)
            return group
        if self.stopped:
            self._settle(child.node.last, node.last, Outcome.SKIPPED)
            self._end_group(group, Outcome.SUCCEEDED, None)
            return group
        if group.cursor < len(group.children):
            return self._follow(group)
        if node.repeats and node.chooser is not None and not _has_had_its_rounds(group):
            self.ready.append(self._step_type(node.chooser, group))
            return None
        self._end_group(group, Outcome.SUCCEEDED, None)
        return group

    def _follow(self, group: GroupState) -> State | None:
        """A serial group's next child begins; returns it if it ended by that."""
        following = group.children[group.cursor]
        group.cursor += 1
        if isinstance(following, StepNode):
            self.ready.append(self._step_type(following, group))
            return None
        assert isinstance(following, GroupNode)
        return self._enter(following, group)

    def _expand(self, group: GroupState, chooser: StepState) -> State | None:
        """A dynamic group knows what it is to run; returns it if that ends it."""
        if not chooser.counts or self.stopped:
            for way in group.node.children:
                self._settle(way.first, way.last, Outcome.SKIPPED)
            if group.node.repeats:  # what it was to run, if that is known, never came to be
                group.children, group.span = [], None
            self._end_group(group, chooser.outcome or Outcome.FAILED, chooser.error)
            return group
        if group.children:
            group.rounds += 1
        self.commands.append((Command.EXPANDED, group))
        for way in group.node.children:
            if way not in group.children:
                self._settle(way.first, way.last, Outcome.SKIPPED)
        if group.kind is Kind.PARALLEL and group.children:
            self.ready.append(group)
            return None
        if group.kind is Kind.PARALLEL:
            group.closed = True
            group.verdict = Outcome.SUCCEEDED
            self.commands.append((Command.JOIN, group))
            return None
        if group.children:
            return self._follow(group)
        self._end_group(group, Outcome.SUCCEEDED, None)
        return group

    def _count(self, group: GroupState, child: State) -> None:
        """A parallel group's branch ended; close the group if that decides it."""
        group.ended += 1
        group.succeeded += child.counts
        decided = Outcome.SUCCEEDED if self.stopped else verdict(group)
        if decided is None:
            if group.is_full:
                group.is_full = False
                self.ready.append(group)
            return
        if group.ended < len(group.children) + group.more:
            if self.waits_for_all and not self.stopped:
                return
            not_begun = Outcome.SKIPPED if self.stopped else Outcome.CANCELLED
            self._close(group, decided, Outcome.CANCELLED, not_begun)
        else:
            group.closed = True
            group.verdict = decided
            self.commands.append((Command.JOIN, group))

    def _close(
        self,
        group: GroupState,
        decided: Outcome,
        left: Outcome,
        not_begun: Outcome = Outcome.CANCELLED,
    ) -> None:
        """End a group before all below it has; what runs below is left with outcome `left`."""
        group.closed = True
        group.verdict = decided
        for step in [step for step in self.live if step.below(group)]:
            was_running = step.running
            if was_running:
                self._release(step)
            self._close_step(step, left, None)
            step.was_left = True
            self.commands.append((Command.LEAVE, step, was_running))
            step.lingering = False
        below = [inner for inner in self._open if inner.below(group)]
        # In place: next() may be in the middle of it.
        self.ready[:] = [item for item in self.ready if item is not group and not item.below(group)]
        waiting = self.places.waiting()
        self.places.forget(item for item in waiting if item is group or item.below(group))
        self._settle_all(group, below, not_begun)
        for inner in reversed(below):
            inner.closed = inner.was_left = True
            self._end_group(inner, left, None)
            if inner.kind is Kind.PARALLEL and _is_in_series(inner, group):
                group.cut_short = inner
        self.commands.append((Command.JOIN, group))

    def _settle_all(self, group: GroupState, below: list[GroupState], outcome: Outcome) -> None:
        """What has not begun in a group, and in those open below it, will not."""
        for inner in (group, *below):
            if inner.node.chooser is not None:  # has its outcome from the group, which has begun
                self.outcomes[inner.node.chooser.leaf] = outcome
        self._settle(group.node.first, group.node.last, outcome)
        for inner in (group, *below):
            if inner.span is not None:
                self._settle(*inner.span, outcome)

    def _settle(self, first: int, last: int, outcome: Outcome) -> None:
        for leaf in range(first, last):
            if self.outcomes[leaf] is None:
                self.outcomes[leaf] = outcome
                self.commands.append((Command.SETTLE, self.nodes[leaf], outcome))

    def _end_group(self, group: GroupState, outcome: Outcome, error: BaseException | None) -> None:
        self._open.pop(group, None)
        group.outcome = outcome
        group.error = error
        # One that is not critical counts as succeeded, unless it was ended from outside.
        group.counts = outcome is Outcome.SUCCEEDED or (
            not group.node.critical and outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
        )
        if group.node.chooser is not None:
            self.outcomes[group.node.chooser.leaf] = outcome
        if group.node.timeout is not None:
            self.commands.append((Command.CANCEL_TIMER, group, Timer.DEADLINE))
        self.commands.append((Command.END, group))


def _has_had_its_rounds(group: GroupState) -> bool:
    times = getattr(group.node.dynamic, "times", None)
    return times is not None and group.rounds >= times


def _is_in_series(inner: GroupState, group: GroupState) -> bool:
    """Whether nothing but series lie between a group and one around it."""
    above = inner.parent
    while above is not None and above is not group:
        if above.kind is Kind.PARALLEL:
            return False
        above = above.parent
    return group.kind is Kind.SERIAL
