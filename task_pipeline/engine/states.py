"""What the scheduler remembers of a step or group while a run is under way."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ..outcome import Outcome
from ..plan import GroupNode, Kind, StepNode


class Timer(IntEnum):
    """What a timer is for."""

    DEADLINE = 0  # a group's, or a pipeline's
    LAUNCH = 1  # the next branch of a group with a delay
    RETRY = 2  # a step's next attempt
    LINGER = 3  # waiting for a timed-out attempt to end, so that the step can be retried
    ATTEMPT = 4  # an attempt's; the driver's own, as it knows when an attempt really starts


class Command(IntEnum):
    """What the scheduler wants done; each comes as a tuple, with what the line says behind it."""

    SET_TIMER = 0  # state, Timer, seconds
    CANCEL_TIMER = 1  # state, Timer
    LEAVE = 2  # step: it ends here, whatever its thread does; was it running
    SETTLE = 3  # step node, Outcome: it never ran and will not
    ENTER = 4  # group: it began
    JOIN = 5  # group: merge what its branches did, then report joined()
    END = 6  # group: it has its outcome
    ITEM = 7  # pipeline's group, state: one of its items ended
    EXPANDED = 9  # dynamic group: it has been given its children
    OVER = 8  # the run is over


class State:
    """A node under way.

    `counts`: whether its parent takes it for a success; `was_left`: what is around it
    ended before it did.
    """

    __slots__ = ("counts", "error", "node", "outcome", "parent", "was_left")
    kind: Kind

    def __init__(self, node: Any, parent: GroupState | None) -> None:
        self.node = node
        self.parent = parent
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.counts = False
        self.was_left = False

    def below(self, group: GroupState) -> bool:
        """Whether it stands anywhere below a group."""
        depth = group.node.depth
        state: State | None = self
        while state is not None and state.node.depth > depth:
            state = state.parent
        return state is group and state is not self


class StepState(State):
    """A step that has been reached. Between attempts it is neither running nor ended."""

    __slots__ = ("attempt", "lingering", "running")
    kind = Kind.STEP
    node: StepNode
    parent: GroupState

    def __init__(self, node: StepNode, parent: GroupState) -> None:
        super().__init__(node, parent)
        self.attempt = 0
        self.running = False
        self.lingering = False


class GroupState(State):
    """A group that has begun. `cursor`: the next child to start; `closed`: no more to come in.

    `children` are those of the node, or what a dynamic group was found to run, whose steps
    are numbers `span` of the run; `rounds` of a loop. `more` says that others may come.
    `branches` has the state of each branch that was started, in the order written.
    `cut_short`: the parallel group that a series was in when it was ended early; `is_full`:
    as many branches as may be are under way, and the next waits for one of them to end.
    """

    __slots__ = (
        *("branches", "children", "closed", "cursor", "cut_short", "ended", "is_full"),
        *("kind", "more", "needed", "rounds", "span", "succeeded", "verdict"),
    )
    node: GroupNode

    def __init__(self, node: GroupNode, parent: GroupState | None) -> None:
        super().__init__(node, parent)
        self.kind = node.kind
        self.cursor = 0
        self.ended = 0
        self.succeeded = 0
        self.closed = self.is_full = False
        self.verdict: Outcome | None = None
        self.cut_short: GroupState | None = None
        self.children = node.children
        self.needed = node.needed
        self.more = node.is_open
        self.rounds = 0
        self.span: tuple[int, int] | None = None
        self.branches: list[State | None] = (
            [None] * len(node.children) if node.kind is Kind.PARALLEL else []
        )
