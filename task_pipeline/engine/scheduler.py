"""The scheduler: facts in, commands out. It knows no thread, clock or socket.

A driver tells it what happened (`ended`, `fired`, `joined`, `cancel`), asks
`next()` for a step to start, and carries out what has gathered in `commands`.
Steps are pulled, one for each thread that has time, so a group of ten thousand
costs nothing until its branches start. All walks are loops: depth is free.

Not safe for threads: a driver calls it under one lock.
"""

from __future__ import annotations

from typing import Any

from ..outcome import Outcome
from ..plan import GroupNode, Kind, Plan, StepNode
from .states import Command, GroupState, State, StepState, Timer
from .verdict import verdict, verdict_at_deadline


class Scheduler:
    """One run of a plan. `step_type` and `group_type` let a driver keep more in the states."""

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
        self._open: dict[GroupState, None] = {}
        self._limits = plan.limits
        self._used = [0] * len(plan.limits)
        self._parked: dict[int, list[State]] = {}  # by the limit they wait for

    # Facts

    def start(self) -> None:
        """The run begins."""
        empty = self._enter(self._plan.root, None)
        self._tell(empty)

    def ended(
        self,
        step: StepState,
        outcome: Outcome,
        error: BaseException | None = None,
        retry_after: float | None = None,
    ) -> None:
        """An attempt ended; with `retry_after` seconds the step is to be tried again."""
        if step.outcome is not None:
            return
        if step.running:
            self._release(step)
        if retry_after is not None:
            self._try_again(step, retry_after)
            return
        if step.lingering:
            step.lingering = False
            self.commands.append((Command.CANCEL_TIMER, step, Timer.LINGER))
        self._close_step(step, outcome, error)
        self._tell(step)

    def linger(self, step: StepState, seconds: float) -> None:
        """An attempt timed out and still runs; the step is retried if it ends in time."""
        self._release(step)
        step.lingering = True
        self.commands.append((Command.SET_TIMER, step, Timer.LINGER, seconds))

    def returned(self, step: StepState, retry_after: float) -> None:
        """The attempt that a step lingers for has ended."""
        if step.outcome is None and step.lingering:
            step.lingering = False
            self.commands.append((Command.CANCEL_TIMER, step, Timer.LINGER))
            self._try_again(step, retry_after)

    def fired(self, state: State, timer: Timer) -> None:
        """A timer went off. One that is out of date changes nothing."""
        if state.outcome is not None:
            return
        if isinstance(state, StepState):
            if timer is Timer.LINGER:
                if state.lingering:
                    self.ended(state, Outcome.TIMED_OUT, state.error)
            else:
                self.ready.append(state)
        elif isinstance(state, GroupState) and not state.closed:
            if timer is Timer.LAUNCH:
                self.ready.append(state)
            elif state.kind is Kind.SERIAL:
                self._close(state, Outcome.TIMED_OUT, Outcome.TIMED_OUT)
            else:
                judged = verdict_at_deadline(state.node, state.succeeded)
                self._close(state, judged, Outcome.TIMED_OUT)

    def joined(self, group: GroupState, outcome: Outcome, error: BaseException | None) -> None:
        """A group that was to be joined has been."""
        if group.outcome is None:
            self._end_group(group, outcome, error)
            self._tell(group)

    def cancel(self, outcome: Outcome = Outcome.CANCELLED) -> None:
        """End the run here, with this outcome."""
        root: GroupState | None = getattr(self, "root", None)  # None if it has not begun
        if root is not None and root.outcome is None and not root.closed:
            self._close(self.root, outcome, Outcome.CANCELLED)

    def forget(self) -> None:
        """The run is over and done with: keep the outcomes only."""
        root: GroupState | None = getattr(self, "root", None)
        if root is not None:
            self.root = GroupState(root.node, None)
            self.root.outcome, self.root.closed = root.outcome, True
        self._open.clear()

    # Questions

    def next(self, staying: bool = False) -> StepState | None:
        """The next step to start, which is then running; None if there is none to start now.

        `staying` asks for one that no deadline or early end can leave.
        """
        ready = self.ready
        while ready:
            item = ready[-1]
            if isinstance(item, StepState):
                if staying and item.node.leavable:
                    return None
                limits = item.node.parent.limits
                ready.pop()
                if limits and self._park_if_full(limits, item):
                    continue
                return self._begin(item)
            group: Any = item
            node: GroupNode = group.node
            if node.limits and self._is_full(node.limits) is not None:
                ready.pop()
                self._park_if_full(node.limits, group)
                continue
            index = group.cursor
            child = node.children[index]
            if staying and isinstance(child, StepNode) and child.leavable:
                return None
            group.cursor = index + 1
            if group.cursor == len(node.children):
                ready.pop()
            elif node.delay:
                ready.pop()
                self.commands.append((Command.SET_TIMER, group, Timer.LAUNCH, node.delay))
            if isinstance(child, StepNode):
                step = group.branches[index] = self._step_type(child, group)
                return self._begin(step)
            self._tell(self._enter(child, group))
        return None

    def stays(self) -> bool:
        """Whether `next(staying=True)` is likely to find a step."""
        if not self.ready:
            return False
        item: Any = self.ready[-1]
        if item.kind is Kind.PARALLEL:
            return not item.node.children[item.cursor].leavable
        return not item.node.leavable

    def startable(self) -> bool:
        """Whether a step is likely to be found by `next()`."""
        for item in reversed(self.ready):
            if isinstance(item, GroupState):
                limits = item.node.limits
            else:
                limits = item.parent.node.limits if item.parent else ()
            if not limits or self._is_full(limits) is None:
                return True
        return False

    # Inside

    def _begin(self, step: StepState) -> StepState:
        step.attempt += 1
        step.running = True
        self.live[step] = None
        for limit in step.node.parent.limits:
            self._used[limit] += 1
        return step

    def _release(self, step: StepState) -> None:
        """Give back the places of a step that runs no more, and look again at who waits."""
        step.running = False
        for limit in step.node.parent.limits:
            self._used[limit] -= 1
            waiting = self._parked.pop(limit, None)
            if waiting:
                self.ready.extend(reversed(waiting))

    def _is_full(self, limits: tuple[int, ...]) -> int | None:
        for limit in limits:
            if self._used[limit] >= self._limits[limit]:
                return limit
        return None

    def _park_if_full(self, limits: tuple[int, ...], item: State) -> bool:
        full = self._is_full(limits)
        if full is not None:
            self._parked.setdefault(full, []).append(item)
        return full is not None

    def _try_again(self, step: StepState, after: float) -> None:
        if after > 0:
            self.commands.append((Command.SET_TIMER, step, Timer.RETRY, after))
        else:
            self.ready.append(step)

    def _close_step(self, step: StepState, outcome: Outcome, error: BaseException | None) -> None:
        self.live.pop(step, None)
        step.outcome = self.outcomes[step.node.leaf] = outcome
        step.error = error
        # A step that is not critical counts as succeeded, however it ended.
        step.counts = outcome is Outcome.SUCCEEDED or not step.node.spec.critical

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
            if not node.children:
                self._end_group(group, Outcome.SUCCEEDED, None)
                return group
            if node.timeout is not None:
                self.commands.append((Command.SET_TIMER, group, Timer.DEADLINE, node.timeout))
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
            if group.kind is Kind.SERIAL:
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
        if group.cursor == len(node.children):
            self._end_group(group, Outcome.SUCCEEDED, None)
            return group
        following = node.children[group.cursor]
        group.cursor += 1
        if isinstance(following, StepNode):
            self.ready.append(self._step_type(following, group))
            return None
        assert isinstance(following, GroupNode)
        return self._enter(following, group)

    def _count(self, group: GroupState, child: State) -> None:
        """A parallel group's branch ended; close the group if that decides it."""
        group.ended += 1
        group.succeeded += child.counts
        decided = verdict(group.node, group.ended, group.succeeded)
        if decided is None:
            return
        if group.ended < len(group.node.children):
            self._close(group, decided, Outcome.CANCELLED)
        else:
            group.closed = True
            group.verdict = decided
            self.commands.append((Command.JOIN, group))

    def _close(self, group: GroupState, decided: Outcome, left: Outcome) -> None:
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
        # In place: next() may be in the middle of it.
        self.ready[:] = [item for item in self.ready if item is not group and not item.below(group)]
        for limit, waiting in list(self._parked.items()):
            self._parked[limit] = [
                item for item in waiting if item is not group and not item.below(group)
            ]
        self._settle(group.node.first, group.node.last, Outcome.CANCELLED)
        for inner in [inner for inner in reversed(self._open) if inner.below(group)]:
            inner.closed = inner.was_left = True
            self._end_group(inner, left, None)
            if inner.kind is Kind.PARALLEL and _is_in_series(inner, group):
                group.cut_short = inner
        self.commands.append((Command.JOIN, group))

    def _settle(self, first: int, last: int, outcome: Outcome) -> None:
        for leaf in range(first, last):
            if self.outcomes[leaf] is None:
                self.outcomes[leaf] = outcome
                self.commands.append((Command.SETTLE, self._plan.steps[leaf], outcome))

    def _end_group(self, group: GroupState, outcome: Outcome, error: BaseException | None) -> None:
        self._open.pop(group, None)
        group.outcome = outcome
        group.error = error
        group.counts = outcome is Outcome.SUCCEEDED
        if group.node.timeout is not None:
            self.commands.append((Command.CANCEL_TIMER, group, Timer.DEADLINE))
        self.commands.append((Command.END, group))


def _is_in_series(inner: GroupState, group: GroupState) -> bool:
    """Whether nothing but series lie between a group and one around it."""
    above = inner.parent
    while above is not None and above is not group:
        if above.kind is Kind.PARALLEL:
            return False
        above = above.parent
    return group.kind is Kind.SERIAL
