"""Drives the pure scheduler with facts drawn by chance, and looks at everything it does.

A mistake of the scheduler is an `AssertionError` at the fact that shows it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from task_pipeline import LogicOperator, Outcome
from task_pipeline.engine.scheduler import Scheduler
from task_pipeline.engine.states import Command, GroupState, State, StepState, Timer
from task_pipeline.plan import GroupNode, Kind, Node, Plan, StepNode

Fact = Callable[[], None]
ATTEMPTS = 3
"""How often a step is tried at most; failing, lingering and retrying are by chance."""


def ancestors(node: Node) -> Iterator[GroupNode]:
    group = node.parent
    while group is not None:
        yield group
        group = group.parent


def limit_of(node: GroupNode) -> int | None:
    """How many steps a group or pipeline allows at once."""
    if node.kind is Kind.PARALLEL:
        return node.config.max_workers
    own = node.parent is None or node.scope is not node.parent.scope
    return node.scope.max_workers if own else None


class ScheduleDriver:
    """One run of the scheduler, by chance.

    `cancel_after`: the run is cancelled after so many facts.
    """

    def __init__(self, plan: Plan, chance: random.Random, cancel_after: int = -1) -> None:
        self.plan = plan
        self.chance = chance
        self.cancel_after = cancel_after
        self.scheduler = Scheduler(plan)
        self.running: list[StepState] = []
        self.lingering: list[StepState] = []
        self.waiting: set[StepState] = set()  # between two attempts
        self.left: list[StepState] = []  # their threads are still inside
        self.stale: list[tuple[State, Timer]] = []
        self.timers: dict[tuple[State, Timer], None] = {}
        self.joins: list[GroupState] = []
        self.joined: list[GroupState] = []
        self.begun: dict[GroupNode, GroupState] = {}
        self.ended: set[GroupNode] = set()
        self.fates: dict[int, Outcome] = {}
        self.peak = 0
        self.over = False

    def run(self) -> None:
        """From the start to the end."""
        self._tell(self.scheduler.start)
        idle = False
        while not self.over:
            if self.cancel_after == 0:
                self._cancel()
            self.cancel_after -= 1
            if self.over:
                break
            if not idle and self.chance.random() < 0.7:
                idle = not self._take()
                continue
            facts = list(self._facts())
            if not facts:
                assert not idle or self._take(), "nothing runs, nothing is due, nothing starts"
            else:
                self.chance.choice(facts)()
            idle = False
        self._look_at_the_end()

    # Facts

    def _facts(self) -> Iterator[Fact]:
        if self.running:
            yield self._end_one
            yield self._end_one
            yield self._linger_one
        if self.lingering:
            yield self._return_one
        if self.timers:
            yield self._fire_one
        if self.joins:
            yield self._join_one
        under_way = self.running or self.lingering or self.timers or self.joins
        if under_way and (self.left or self.stale or self.joined):
            yield self._come_late

    def _tell(self, fact: Fact) -> None:
        fact()
        self._obey()
        self._look()

    def _take(self) -> bool:
        staying = self.chance.random() < 0.1
        step = self.scheduler.next(staying)
        if step is not None:
            self._look_at_start(step)
            assert not (staying and step.node.leavable)
            self.running.append(step)
        self._obey()
        self._look()
        if step is None and not staying and not self.over and not self.joins:
            self._look_for_forgotten()
        return step is not None or staying

    def _pop(self, states: list[Any]) -> Any:
        return states.pop(self.chance.randrange(len(states)))

    def _end_one(self) -> None:
        step = self._pop(self.running)
        drawn = self.chance.random()
        if drawn < 0.2 and step.attempt < ATTEMPTS:
            self.waiting.add(step)
            after = self.chance.choice([0.0, 1.0])
            self._tell(lambda: self.scheduler.ended(step, Outcome.FAILED, ValueError(), after))
        else:
            outcome = Outcome.SUCCEEDED if drawn < 0.7 else Outcome.FAILED
            self._meets(step.node, outcome)
            self._tell(lambda: self.scheduler.ended(step, outcome))

    def _linger_one(self) -> None:
        step = self._pop(self.running)
        step.error = TimeoutError()
        if step.attempt < ATTEMPTS:
            self.lingering.append(step)
            self._tell(lambda: self.scheduler.linger(step, 1.0))
        else:
            self._meets(step.node, Outcome.TIMED_OUT)
            self._tell(lambda: self.scheduler.ended(step, Outcome.TIMED_OUT, step.error))

    def _return_one(self) -> None:
        step = self._pop(self.lingering)
        self.waiting.add(step)
        self._tell(lambda: self.scheduler.returned(step, self.chance.choice([0.0, 1.0])))

    def _fire_one(self) -> None:
        state, timer = self.chance.choice(list(self.timers))
        del self.timers[state, timer]
        if timer is Timer.LINGER:
            assert isinstance(state, StepState)
            self.lingering.remove(state)
            self.left.append(state)
            self._meets(state.node, Outcome.TIMED_OUT)
        verdict: Outcome | None = None
        if timer is Timer.DEADLINE and isinstance(state, GroupState):
            verdict = state.verdict if state.closed else judged(state)
        self._tell(lambda: self.scheduler.fired(state, timer))
        if timer is Timer.DEADLINE and isinstance(state, GroupState):
            assert state.verdict is verdict

    def _join_one(self) -> None:
        group = self._pop(self.joins)
        self.joined.append(group)
        outcome = group.verdict
        assert outcome is not None
        if outcome is Outcome.SUCCEEDED and self.chance.random() < 0.1:
            outcome = Outcome.FAILED  # its branches did not merge
        self._tell(lambda: self.scheduler.joined(group, outcome, None))

    def _come_late(self) -> None:
        """What is out of date changes nothing."""
        before = (list(self.scheduler.outcomes), list(self.scheduler.ready))
        if self.left:
            step = self.chance.choice(self.left)
            self.scheduler.ended(step, Outcome.SUCCEEDED, None, self.chance.choice([None, 0.0]))
            self.scheduler.returned(step, 0.0)
        if self.stale:
            self.scheduler.fired(*self.chance.choice(self.stale))
        if self.joined:
            self.scheduler.joined(self.chance.choice(self.joined), Outcome.FAILED, None)
        assert self.scheduler.commands == []
        assert (list(self.scheduler.outcomes), list(self.scheduler.ready)) == before

    def _cancel(self) -> None:
        outcome = self.chance.choice([Outcome.CANCELLED, Outcome.FAILED])
        self._tell(lambda: self.scheduler.cancel(outcome))

    # Commands

    def _obey(self) -> None:
        commands, self.scheduler.commands = self.scheduler.commands, []
        for command, *about in commands:
            assert not self.over, "a command after the run was over"
            self._OBEY[command](self, *about)
        for group in self.ended:
            assert None not in self.scheduler.outcomes[group.first : group.last]

    def _set_timer(self, state: State, timer: Timer, seconds: float) -> None:
        assert seconds > 0
        assert (state, timer) not in self.timers
        self.timers[state, timer] = None

    def _cancel_timer(self, state: State, timer: Timer) -> None:
        self.timers.pop((state, timer), None)

    def _leave(self, step: StepState, was_running: bool) -> None:
        assert was_running == (step in self.running)
        for states in (self.running, self.lingering):
            if step in states:
                states.remove(step)
                self.left.append(step)
        self.waiting.discard(step)
        for timer in (Timer.RETRY, Timer.LINGER):
            if (step, timer) in self.timers:
                del self.timers[step, timer]
                self.stale.append((step, timer))
        assert step.outcome is not None
        self._meets(step.node, step.outcome)

    def _settle(self, node: StepNode, outcome: Outcome) -> None:
        assert outcome in (Outcome.SKIPPED, Outcome.CANCELLED)
        self._meets(node, outcome)

    def _enter(self, group: GroupState) -> None:
        node = group.node
        assert node not in self.begun
        self.begun[node] = group
        for above in ancestors(node):
            assert above in self.begun and above not in self.ended
        self._look_at_predecessors(node)

    def _join(self, group: GroupState) -> None:
        assert group.closed and group not in self.joins and group not in self.joined
        assert group.node not in self.ended
        self.joins.append(group)

    def _end(self, group: GroupState) -> None:
        assert group.outcome is not None
        assert group.node in self.begun and group.node not in self.ended
        self.ended.add(group.node)
        for pending in [key for key in self.timers if key[0] is group]:
            assert pending[1] is Timer.LAUNCH
            del self.timers[pending]
            self.stale.append(pending)
        if group in self.joins:
            self.joins.remove(group)
            self.joined.append(group)

    def _item(self, group: GroupState, child: State) -> None:
        assert group.node not in self.ended
        assert child.outcome is not None

    def _finish(self) -> None:
        self.over = True

    _OBEY: dict[Command, Callable[..., None]] = {
        Command.SET_TIMER: _set_timer,
        Command.CANCEL_TIMER: _cancel_timer,
        Command.LEAVE: _leave,
        Command.SETTLE: _settle,
        Command.ENTER: _enter,
        Command.JOIN: _join,
        Command.END: _end,
        Command.ITEM: _item,
        Command.OVER: _finish,
    }

    # What must hold

    def _meets(self, node: StepNode, outcome: Outcome) -> None:
        assert node.leaf not in self.fates, f"{node.path} has two outcomes"
        self.fates[node.leaf] = outcome

    def _look_at_start(self, step: StepState) -> None:
        node = step.node
        assert node.leaf not in self.fates, f"{node.path} starts after its end"
        assert step.outcome is None
        assert step not in self.running and step not in self.lingering
        if step.attempt > 1:
            self.waiting.remove(step)
            assert (step, Timer.RETRY) not in self.timers
        else:
            assert all(node is not other.node for other in [*self.running, *self.waiting])
            self._look_at_predecessors(node)
        group: GroupState | None = step.parent
        while group is not None:
            assert not group.closed and group.outcome is None
            group = group.parent

    def _look_at_predecessors(self, node: Node) -> None:
        """In a series, all before a node has ended."""
        group = node.parent
        if group is not None and group.kind is Kind.SERIAL and node.index:
            before = group.children[node.index - 1]
            assert None not in self.scheduler.outcomes[before.first : before.last]

    def _look(self) -> None:
        """After every fact: limits are kept, and an outcome is for good."""
        for group, count in self._in_use().items():
            limit = limit_of(group)
            assert limit is None or count <= limit, f"{count} run in group {group.path}"
        outcomes = self.scheduler.outcomes
        known = {leaf: outcome for leaf, outcome in enumerate(outcomes) if outcome is not None}
        assert known == self.fates
        self.peak = max(self.peak, len(self.running))

    def _in_use(self) -> dict[GroupNode, int]:
        used: dict[GroupNode, int] = {}
        for step in self.running:
            for group in ancestors(step.node):
                used[group] = used.get(group, 0) + 1
        return used

    def _look_for_forgotten(self) -> None:
        """Where nothing can be started, every group with branches left is at a limit."""
        used = self._in_use()
        for node, group in self.begun.items():
            left = node.kind is Kind.PARALLEL and group.cursor < len(node.children)
            if not left or group.closed or (group, Timer.LAUNCH) in self.timers:
                continue
            limits = [(used.get(above, 0), limit_of(above)) for above in [node, *ancestors(node)]]
            assert any(limit is not None and count >= limit for count, limit in limits)

    def _look_at_the_end(self) -> None:
        assert self.scheduler.root.outcome is not None
        assert None not in self.scheduler.outcomes
        assert self.ended == self.begun.keys()
        assert not self.running and not self.lingering and not self.joins and not self.waiting
        assert not self.scheduler.live
        assert [timer for _, timer in self.timers if timer is not Timer.LAUNCH] == []
        assert self.scheduler.next() is None
        self._come_late()


def judged(group: GroupState) -> Outcome:
    """What becomes of a group whose deadline has passed."""
    if group.kind is Kind.SERIAL:
        return Outcome.TIMED_OUT
    config = group.node.config
    needed = {LogicOperator.AND: len(group.branches), LogicOperator.OR: 1}
    counts = sum(branch is not None and branch.counts for branch in group.branches)
    enough = counts >= needed.get(config.operator, config.quorum or 0)
    return Outcome.SUCCEEDED if enough else Outcome.TIMED_OUT
