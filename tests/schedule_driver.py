"""Drives the pure scheduler with facts drawn by chance, and looks at everything it does.

A mistake of the scheduler is an `AssertionError` at the fact that shows it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from task_pipeline import Map, Outcome, ProgressTracker
from task_pipeline.engine.expansion import expand, leave_empty
from task_pipeline.engine.scheduler import Scheduler
from task_pipeline.engine.states import Command, GroupState, State, StepState, Timer
from task_pipeline.engine.step import ActiveGroup, ActiveStep
from task_pipeline.plan import GroupNode, Kind, Node, Plan, StepNode
from tests.schedule_rules import ancestors, is_pipeline, judged, limit_of

Fact = Callable[[], None]
ATTEMPTS = 3
"""How often a step is tried at most; failing, lingering and retrying are by chance."""


class ScheduleDriver:
    """One run of the scheduler, by chance.

    `cancel_after`: the run is cancelled after so many facts. `may_stop`: a step may end it.
    """

    def __init__(
        self, plan: Plan, chance: random.Random, cancel_after: int = -1, may_stop: bool = True
    ) -> None:
        self.may_stop = may_stop
        self.plan = plan
        self.chance = chance
        self.cancel_after = cancel_after
        self.lock = threading.RLock()
        self.tracker = ProgressTracker.of_plan(plan)
        self.steps: list[ActiveStep | None] = [None] * len(plan.steps)
        self.scheduler = Scheduler(plan, StepState, ActiveGroup)
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
        self.dropped: set[int] = set()  # steps of items that nobody wants any more
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
        if self.scheduler.stopped:
            assert step is None, "a step begins after the run was ended"
        elif step is None and not staying and not self.over and not self.joins:
            self._look_for_forgotten()
        return step is not None or staying

    def _pop(self, states: list[Any]) -> Any:
        return states.pop(self.chance.randrange(len(states)))

    def _end_one(self) -> None:
        step = self._pop(self.running)
        drawn = self.chance.random()
        if step.node.chooses:
            self._choose(step, drawn)
        elif drawn < 0.2 and step.attempt < ATTEMPTS:
            self.waiting.add(step)
            after = self.chance.choice([0.0, 1.0])
            self._tell(lambda: self.scheduler.ended(step, Outcome.FAILED, ValueError(), after))
        else:
            outcome = Outcome.SUCCEEDED if drawn < 0.7 else Outcome.FAILED
            outcome = Outcome.SKIPPED if 0.6 < drawn < 0.65 else outcome
            self._meets(step.node, outcome)
            self._tell(lambda: self.scheduler.ended(step, outcome, stops=self._stops(drawn)))

    def _stops(self, drawn: float) -> bool:
        return self.may_stop and 0.68 < drawn < 0.7

    def _choose(self, step: StepState, drawn: float) -> None:
        """It is found out what a dynamic group is to run; or not."""
        group: Any = step.parent
        outcome = Outcome.SUCCEEDED if drawn < 0.85 else Outcome.FAILED
        if drawn < 0.65:
            items = range(self.chance.randrange(4))
            is_map = isinstance(group.node.dynamic, Map)
            try:
                expand(self, group, items if is_map else self.chance.random() < 0.7)
            except ValueError:  # fewer items than its quorum
                outcome = Outcome.FAILED
            for leaf in range(*(group.span or (0, 0))):
                self.fates.pop(leaf, None)  # another round, in the places of the one before
        elif outcome is Outcome.SUCCEEDED:
            leave_empty(self, group)
        stops = outcome is Outcome.SUCCEEDED and self._stops(drawn)
        supplied = group.span
        self._tell(lambda: self.scheduler.ended(step, outcome, stops=stops))
        if supplied is not None and group.span is None:  # the run was stopped meanwhile
            outcomes = self.scheduler.outcomes
            self.dropped.update(leaf for leaf in range(*supplied) if outcomes[leaf] is None)

    def _linger_one(self) -> None:
        tried = [step for step in self.running if not step.node.chooses]
        if not tried:
            return
        step = self.chance.choice(tried)
        self.running.remove(step)
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
        for group in [about[0] for command, *about in commands if command is Command.END]:
            assert None not in self.scheduler.outcomes[group.node.first : group.node.last]
            assert None not in self.scheduler.outcomes[slice(*(group.span or (0, 0)))]

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
        assert not node.chooses or node.parent not in self.begun
        self._meets(node, outcome)

    def _expanded(self, group: GroupState) -> None:
        assert group.node.dynamic is not None and group.node not in self.ended
        assert None not in group.children

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
        if group.node.chooser is not None:
            assert self.scheduler.outcomes[group.node.chooser.leaf] is group.outcome
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
        Command.EXPANDED: _expanded,
        Command.OVER: _finish,
    }

    # What must hold

    def _meets(self, node: StepNode, outcome: Outcome) -> None:
        if node.chooses:  # it has the outcome of its group
            return
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
        if group is not None and group.kind is Kind.SERIAL and node.index and not group.dynamic:
            before = group.children[node.index - 1]
            assert None not in self.scheduler.outcomes[before.first : before.last]

    def _look(self) -> None:
        """After every fact: limits are kept, and an outcome is for good."""
        for group, count in self._in_use().items():
            limit = limit_of(group)
            assert limit is None or count <= limit, f"{count} run in group {group.path}"
        for (group, name), count in self._in_use_by_name().items():
            assert count <= group.scope.limits[name], f"{count} run by limit {name} of {group.path}"
        known = {
            leaf: outcome
            for leaf, outcome in enumerate(self.scheduler.outcomes)
            if outcome is not None and not self.scheduler.nodes[leaf].chooses
        }
        assert known == self.fates
        self.peak = max(self.peak, len(self.running))

    def _in_use(self) -> dict[GroupNode, int]:
        used: dict[GroupNode, int] = {}
        for step in self.running:
            for group in ancestors(step.node):
                used[group] = used.get(group, 0) + 1
        return used

    def _in_use_by_name(self) -> dict[tuple[GroupNode, str], int]:
        used: dict[tuple[GroupNode, str], int] = {}
        for step in self.running:
            name = step.node.spec.limit
            for group in ancestors(step.node):
                if name is not None and is_pipeline(group) and name in group.scope.limits:
                    used[group, name] = used.get((group, name), 0) + 1
        return used

    def _look_for_forgotten(self) -> None:
        """Where nothing can be started, every group with branches left is at a limit."""
        used = self._in_use()
        for node, group in self.begun.items():
            left = node.kind is Kind.PARALLEL and group.cursor < len(group.children)
            if not left or group.closed or (group, Timer.LAUNCH) in self.timers:
                continue
            limits = [(used.get(above, 0), limit_of(above)) for above in [node, *ancestors(node)]]
            assert any(limit is not None and count >= limit for count, limit in limits)

    def _look_at_the_end(self) -> None:
        assert self.scheduler.root.outcome is not None
        blank = {leaf for leaf, known in enumerate(self.scheduler.outcomes) if known is None}
        assert blank == self.dropped
        assert self.ended == self.begun.keys()
        assert not self.running and not self.lingering and not self.joins and not self.waiting
        assert not self.scheduler.live
        assert [timer for _, timer in self.timers if timer is not Timer.LAUNCH] == []
        assert self.scheduler.next() is None
        self._come_late()
