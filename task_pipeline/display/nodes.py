"""What a display remembers of a run: a tree of groups and steps, and totals."""

from __future__ import annotations

from collections import Counter, deque
from enum import IntEnum

from ..outcome import Outcome
from .outcomes import BAD, index_in
from .tracker import ParallelGroupTracker

RECENT = 64  # how many of the steps that ended last are remembered, for a tree that is too tall


class NodeKind(IntEnum):
    """What a node is; a group that no event has told of is taken for a series."""

    STEP = 0
    SERIAL = 1
    PARALLEL = 2


class DisplayNode:
    """A step or group of a run. Times are seconds of the run's clock.

    - `began`: when its first attempt did, `ended`: when it had its `outcome`
    - `busy`: seconds inside its attempts, all of them together
    - `percent`: what the step has reported of its last attempt
    - `fraction`: how far it is, 0 to 1
    - `owner`: the topmost step at or above it: a step may have groups below it
    - `is_dynamic`: its children came while it ran, so no total was known before
    - `children_ended`, `children_running`: how many of its own children
    """

    __slots__ = (
        *("attempts", "began", "busy", "children", "children_ended", "children_running", "depth"),
        *("ended", "error", "fraction", "has_dynamic_above", "index", "is_dynamic", "is_running"),
        *("is_waiting", "kind", "name", "outcome", "owner", "parent", "path", "percent"),
        *("reason", "sum", "total", "tracker"),
    )

    def __init__(self, path: str, kind: NodeKind, parent: DisplayNode | None) -> None:
        self.path = path
        self.kind = kind
        self.parent = parent
        self.index = index_in(path)
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.name = path if kind is NodeKind.STEP else f"{kind.name.lower()}_group_{path}"
        self.children: dict[int, DisplayNode] = {}
        self.children_ended = self.children_running = 0
        self.total = 0
        self.tracker: ParallelGroupTracker | None = None
        self.outcome: Outcome | None = None
        self.is_running = False
        self.is_waiting = False  # between two attempts
        self.is_dynamic = False
        self.attempts = 0
        self.began: float | None = None
        self.ended: float | None = None
        self.busy = 0.0
        self.percent = 0.0
        self.error: BaseException | None = None
        self.reason = ""
        self.fraction = self.sum = 0.0
        self.has_dynamic_above: bool = parent is not None and (
            parent.is_dynamic or parent.has_dynamic_above
        )
        above = None if parent is None else parent.owner
        is_owner = above is None and kind is NodeKind.STEP
        self.owner: DisplayNode | None = self if is_owner else above

    @property
    def is_step(self) -> bool:
        """Whether it is a step."""
        return self.kind is NodeKind.STEP

    @property
    def span(self) -> float:
        """Seconds from its beginning to its end, waits between attempts included; 0.0 before."""
        if self.began is None or self.ended is None:
            return 0.0
        return max(0.0, self.ended - self.began)

    def ordered(self) -> list[DisplayNode]:
        """Its children in the order they are written."""
        return [self.children[index] for index in sorted(self.children)]


class RunState:
    """A run as far as its events have told.

    - `is_implied`: it has no events of its own, only groups; it is over when none is open
    - `total`: how many steps its lists have, as it said when it started
    - `outcomes`: how many steps ended in which way; `retried`: how many needed more than
      one attempt, `extra_attempts`: how many more, all together
    - `running`: steps in an attempt or between two, in the order they began
    - `bad`: steps that failed or timed out, in the order they did
    """

    def __init__(self, run_id: str, name: str, total: int, is_implied: bool) -> None:
        self.run_id = run_id
        self.name = name
        self.total = total
        self.is_implied = is_implied
        self.root = DisplayNode("", NodeKind.SERIAL, None)
        self.root.name = name
        self.nodes: dict[str, DisplayNode] = {"": self.root}
        self.outcome: Outcome | None = None
        self.is_over = False
        self.error: BaseException | None = None
        self.open = 0  # groups and steps under way
        self.outcomes: Counter[Outcome] = Counter()
        # Steps seen: of the lists, of dynamic groups, and of groups below another step.
        self.planned_seen = self.grown_seen = self.inner_seen = 0
        self.done = 0.0  # the sum of the fractions of the steps that are not below another
        self.retried = self.extra_attempts = 0
        self.conflicts = 0
        self.abandoned = 0
        self.running: dict[DisplayNode, None] = {}
        self.bad: dict[DisplayNode, None] = {}
        self.recent: deque[DisplayNode] = deque(maxlen=RECENT)
        self.growing: dict[DisplayNode, None] = {}  # dynamic groups that are open
        self.offset = 0.0  # of this process's clock from the run's
        self._best = 0.0

    @property
    def step_total(self) -> int:
        """How many steps there are, as far as one can know."""
        return self._top_total + self.inner_seen + self._unseen(inner=True)

    @property
    def _top_total(self) -> int:
        """Without the steps of groups below another step: those are part of that one."""
        return max(self.total, self.planned_seen) + self.grown_seen + self._unseen(inner=False)

    def _unseen(self, inner: bool) -> int:
        return sum(
            max(0, group.total - len(group.children))
            for group in self.growing
            if (group.owner is not None) is inner
        )

    @property
    def steps_ended(self) -> int:
        """How many steps have ended, in whatever way."""
        return self.outcomes.total()

    @property
    def percent(self) -> float:
        """How far it is, 0.0 to 100.0, never going backwards; 100.0 once it has succeeded."""
        if self.outcome is Outcome.SUCCEEDED:
            return 100.0
        if self.is_implied:
            now = self.root.fraction
        else:
            total = self._top_total
            now = self.done / total if total > 0 else 0.0
        self._best = max(self._best, min(100.0, 100.0 * now))
        return self._best

    def elapsed(self, node: DisplayNode, now: float) -> float:
        """Seconds since a node began, or that it took; `now` is this process's clock."""
        if node.began is None:
            return 0.0
        if node.ended is not None:
            return node.span
        return max(0.0, now - self.offset - node.began)

    def set_fraction(self, node: DisplayNode, fraction: float) -> None:
        """Set how far a node is, and with it what is around it."""
        current: DisplayNode | None = node
        while current is not None and fraction != current.fraction:
            delta, current.fraction = fraction - current.fraction, fraction
            if current.owner is current:
                self.done += delta
            parent = current.parent
            if parent is not None:
                parent.sum += delta
                if parent.outcome is None:
                    known = max(parent.total, len(parent.children), 1)
                    fraction = max(0.0, min(1.0, parent.sum / known))
                    if parent.is_step:  # what a step has reported of itself may be more
                        fraction = max(parent.percent / 100.0, fraction)
                else:
                    fraction = parent.fraction
            current = parent

    def note_outcome(self, node: DisplayNode, outcome: Outcome) -> None:
        """Count a step that has ended."""
        self.outcomes[outcome] += 1
        if outcome in BAD:
            self.bad[node] = None
        self.recent.append(node)
