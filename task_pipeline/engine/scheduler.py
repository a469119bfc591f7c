"""The scheduler: facts in, commands out. It knows no thread, clock or socket.

A driver tells it what happened (`ended`, `fired`, `joined`, `cancel`), asks
`next()` for a step to start, and carries out what has gathered in `commands`.
Steps are pulled, one for each thread that has time, so a group of ten thousand
costs nothing until its branches start. All walks are loops: depth is free.

Not safe for threads: a driver calls it under one lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..outcome import Outcome
from ..plan import GroupNode, Kind, Node, StepNode, needed_of
from .course import Course
from .places import AROUND
from .states import Command, GroupState, State, StepState, Timer
from .verdict import verdict, verdict_at_deadline


class Scheduler(Course):
    """One run of a plan. `step_type` and `group_type` let a driver keep more in the states."""

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
        stops: bool = False,
    ) -> None:
        """An attempt ended; with `retry_after` seconds the step is to be tried again.

        One that `stops` ends the run: each group around it ends, well, as soon as what has
        ended in it is merged.
        """
        if step.outcome is not None:
            return
        self.stopped = self.stopped or stops
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
                judged = verdict_at_deadline(state)
                self._close(state, judged, Outcome.TIMED_OUT)

    def allocate(self, steps: int, limits: Sequence[int]) -> tuple[int, int]:
        """Numbers for steps and limits that only come to be now: the first of each."""
        first = len(self.outcomes)
        self.outcomes.extend([None] * steps)
        self.nodes.extend([None] * steps)  # type: ignore[list-item]  # filled when they are supplied
        return first, self.places.add(limits)

    def supplied(
        self, group: GroupState, children: list[Node], steps: Sequence[StepNode], first: int
    ) -> None:
        """What a dynamic group is to run was found out: known once its chooser has ended."""
        last = first + len(steps)
        self.nodes[first:last] = steps
        self.outcomes[first:last] = [None] * len(steps)
        group.span = (first, last)
        group.children = children
        group.cursor = 0
        if group.kind is Kind.PARALLEL:
            group.branches = [None] * len(children)
            group.needed = needed_of(group.node, len(children))

    def extended(self, group: GroupState, children: Sequence[StepNode], more: bool) -> None:
        """A parallel group was given more steps; without `more` to come, it ends with them."""
        if group.closed:
            return
        waits = group.cursor == len(group.children)
        self.outcomes.extend([None] * len(children))
        self.nodes.extend(children)
        group.children.extend(children)
        group.branches.extend([None] * len(children))
        group.more = more
        group.needed = needed_of(group.node, len(group.children) + more)
        if waits and children:
            self.ready.append(group)
        elif not more and group.ended == len(group.children):
            self._close(group, verdict(group) or Outcome.SUCCEEDED, Outcome.CANCELLED)

    def freed_around(self) -> None:
        """The limits around this run may have places again."""
        self.places.call(AROUND)

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
        ready, places = self.ready, self.places
        while ready and not self.stopped:
            item = ready[-1]
            if isinstance(item, StepState):
                if staying and item.node.leavable:
                    return None
                ready.pop()
                if item.node.limits and places.park_if_full(item.node.limits, item):
                    continue
                limit = item.node.spec.limit
                if places.around is not None and places.park_if_none_around(item, limit):
                    continue
                return self._begin(item)
            group: Any = item
            node: GroupNode = group.node
            if node.limits and places.full(node.limits) is not None:
                ready.pop()
                places.park_if_full(node.limits, group)
                continue
            if node.max_open is not None and self._holds(group):
                continue
            index, refused = group.cursor, False
            child = group.children[index]
            if staying and isinstance(child, StepNode) and child.leavable:
                return None
            if (
                places.around is not None
                and isinstance(child, StepNode)
                and not places.around.take(child.spec.limit)
            ):
                if not places.around.lacks_name:
                    ready.pop()
                    places.park_around(group)
                    continue
                refused = True
            group.cursor = index + 1
            if group.cursor == len(group.children):
                ready.pop()
            elif node.delay:
                ready.pop()
                self.commands.append((Command.SET_TIMER, group, Timer.LAUNCH, node.delay))
            if isinstance(child, StepNode):
                step = group.branches[index] = self._step_type(child, group)
                if refused:
                    places.park_around(step)
                    continue
                # It may have limits that its group has not; the others go on without it then.
                if child.limits is not node.limits and places.park_if_full(child.limits, step):
                    if places.around is not None:
                        places.around.give_back(child.spec.limit)
                    continue
                return self._begin(step)
            self._tell(self._enter(child, group))
        return None

    def _holds(self, group: Any) -> bool:
        """Have a group wait for the end of a branch, if as many as may be are under way."""
        if self.places.suspended or group.cursor - group.ended < group.node.max_open:
            return False
        self.ready.pop()
        group.is_full = True
        return True

    def succeeded(self, step: StepState) -> StepState | None:
        """A step ended well: as `ended()` and then `next()`, which it is for most of them.

        In the middle of a large group under a limit, the next branch takes the very place
        that the ended one had, so nobody has to be asked and nobody has to be called.
        """
        group = step.parent
        cursor = group.cursor + 1
        plain = step.outcome is None and step.running and group.kind is Kind.PARALLEL
        if (
            not plain
            or group.closed
            or self.ready
            or self.stopped
            or cursor >= len(group.children)
            or group.node.fails_fast
            or group.node.delay
            or not self.places.only_waits(step.node.limits, group)
        ):
            self.ended(step, Outcome.SUCCEEDED)
            return self.next()
        child = group.children[group.cursor]
        if not isinstance(child, StepNode) or child.limits != step.node.limits:
            self.ended(step, Outcome.SUCCEEDED)
            return self.next()
        step.running = False
        step.counts = True
        step.outcome = self.outcomes[step.node.leaf] = Outcome.SUCCEEDED
        del self.live[step]
        group.ended += 1
        group.succeeded += 1
        group.cursor = cursor
        following = group.branches[child.index] = self._step_type(child, group)
        following.attempt = 1
        following.running = True
        self.live[following] = None
        return following

    def stays(self) -> bool:
        """Whether `next(staying=True)` is likely to find a step."""
        if not self.ready or self.stopped:
            return False
        item: Any = self.ready[-1]
        if item.kind is Kind.PARALLEL:
            return not item.children[item.cursor].leavable
        return not item.node.leavable

    def startable(self) -> bool:
        """Whether a step is likely to be found by `next()`."""
        if self.stopped:
            return False
        for item in reversed(self.ready):
            limits = item.node.limits
            if not limits or self.places.full(limits) is None:
                return True
        return False
