"""Bringing a run to where its record says it was, before anything in it runs.

The scheduler is told the recorded facts, in the order they happened; what follows
from them, such as joins, happens again. It is a pure function of the facts, so the
run is then where it was. Limits and delays do not hold meanwhile, as nothing runs.
"""

from __future__ import annotations

from typing import Any

from ..context import is_kept_as_value
from ..errors import JournalDataError
from ..outcome import Outcome
from ..plan import GroupNode, Kind, Node, StepNode
from ..state.delta import apply
from . import reports
from .commands import Commands
from .expansion import expand, leave_empty
from .flow import context_of, context_within, record_error, seal
from .recorder import Fact, FactKind, Recovery
from .states import GroupState, State, StepState, Timer
from .step import ActiveGroup, ActiveStep

Begun = dict[tuple[str, bool], ActiveStep]
"""Steps that were reached, by path, and by whether they find out what a group is to run."""


class _ImpossibleError(Exception):
    """A fact cannot have happened where the run is; the text says why."""


def recover(run: Commands, recovery: Recovery) -> None:
    """Tell a run that has just been started what has happened in it before.

    Raises `JournalDataError` for facts that cannot have happened in it.
    """
    scheduler = run.scheduler
    places = scheduler.places
    around, places.around = places.around, None
    places.suspended = True
    begun: Begun = {}
    try:
        _do_chores(run)
        for fact in recovery.facts:
            if run.is_over:
                break
            try:
                _happen(run, fact, begun, recovery.left)
            except _ImpossibleError as error:
                if recovery.drop is None:
                    raise _does_not_fit(run, fact, error) from error
                recovery.drop(fact)
            _do_chores(run)
        _join_all(run)
        if recovery.is_whole:
            _enter_groups(run, begun)
            _join_all(run)
        if recovery.is_whole and not run.is_over:
            raise JournalDataError(
                f"run {run.run_id!r} has ended, and its record does not tell all of it: something "
                "was removed. Resume it from a step on (from_step=...), or run the pipeline anew.",
                run_id=run.run_id,
            )
    finally:
        with run.lock:
            run.joins = None
            places.suspended = False
            places.around = around
            if not run.is_over:
                _wait_again(run, begun)


def _enter_groups(run: Commands, begun: Begun) -> None:
    """Begin all groups that are ready."""
    while _enter_group(run, begun):
        pass


def _enter_group(run: Commands, begun: Begun) -> bool:
    """Begin what is in a group that is ready; False if there is none.

    Of groups without a step nothing is recorded, and they may be in the way of what is.
    """
    if run.is_over:
        return False
    with run.lock:
        for state, timer in list(run.postponed or ()):
            if timer is Timer.LAUNCH and run.postponed is not None:
                del run.postponed[state, timer]
                run.scheduler.fired(state, timer)
        ready = run.scheduler.ready
        groups = [item for item in ready if not isinstance(item, StepState)]
        if groups:
            _begin_next(run, groups[-1], begun)
    _do_chores(run)
    return bool(groups)


def _begin_next(run: Commands, item: State, begun: Begun) -> None:
    """Have the scheduler begin what is ready there. Under the lock."""
    # What is ready is a stack: this is to be asked next.
    run.scheduler.ready.remove(item)
    run.scheduler.ready.append(item)
    step: Any = run.scheduler.next()
    run.obey()
    if step is not None:
        begun[step.node.path, step.node.chooses] = step


def _wait_again(run: Commands, begun: Begun) -> None:
    """Steps that were reached, and of which nothing is recorded, are still to begin."""
    for step in reversed(begun.values()):
        if step.outcome is None:
            step.attempt = 0
            step.running = False
            run.scheduler.live.pop(step, None)
            run.scheduler.ready.append(step)
    # A stack: what is written first is to be begun first.
    run.scheduler.ready.sort(key=_as_written, reverse=True)


def _as_written(item: State) -> list[int]:
    """Where a step stands, or the next child of a group."""
    indices = [int(part) for part in item.node.path.split(".") if part]
    return [*indices, item.cursor] if isinstance(item, GroupState) else indices


def _do_chores(run: Commands) -> None:
    """Join what is to be joined, and so on. Nobody else does any of this run's work yet."""
    while run.chores:
        run.chores.popleft()()


def _happen(run: Commands, fact: Fact, begun: Begun, left: frozenset[str]) -> None:
    if fact.kind is FactKind.JOIN:
        while not _join(run, fact.path) and (
            _enter_below(run, fact.path, begun) or _begin_on_the_way(run, (fact.path, False), begun)
        ):
            _do_chores(run)
        return
    if fact.kind is FactKind.DEADLINE:
        while (group := _open_group(run, fact)) is None:
            if not _enter_group(run, begun):
                raise _ImpossibleError("no group is open there")
        for path in left:
            if path.startswith(f"{fact.path}."):
                _begin_left(run, path, begun)
        with run.lock:
            run.scheduler.fired(group, Timer.DEADLINE)
            run.obey()
        return
    step = _reach(run, fact, begun)
    del begun[fact.path, step.node.chooses]
    with run.lock:
        _enter(run, step, fact)
    if fact.kind is FactKind.CHOICE:
        _choose(run, step, fact)
    else:
        _apply_change(run, step, fact)
        _hand_in(run, step, fact)
    with run.lock:
        _end(run, step, fact)
        run.obey()


def _join(run: Commands, path: str) -> bool:
    """Merge what a group's branches did, if it has come to that.

    When a group is joined is a fact like others, as it takes time: what its siblings do
    meanwhile comes before it. One that was left, or has got another branch, is not joined now.
    """
    for group in run.joins or ():
        if group.node.path == path:
            assert run.joins is not None
            run.joins.remove(group)
            run.join(group)
            return True
    return False


def _enter_below(run: Commands, path: str, begun: Begun) -> bool:
    """Begin a group in one that is about to be joined: no step is in it, so it has ended."""
    with run.lock:
        _launch(run, f"{path}.")
        groups = [
            item
            for item in run.scheduler.ready
            if not isinstance(item, StepState) and f"{item.node.path}.".startswith(f"{path}.")
        ]
        if groups:
            _begin_next(run, groups[-1], begun)
    _do_chores(run)
    return bool(groups)


def _join_all(run: Commands) -> None:
    """Join what was about to be joined when the record ended."""
    while run.joins and not run.is_over:
        run.join(run.joins.pop(0))
        _do_chores(run)


def _begin_left(run: Commands, path: str, begun: Begun) -> None:
    """What had begun when its group's time was over has timed out, and is not cancelled."""
    fact = Fact(FactKind.STEP, path, Outcome.TIMED_OUT)
    if isinstance(_node_at(run, path), GroupNode):
        while _open_group(run, fact) is None and _begin_on_the_way(run, (path, False), begun):
            _do_chores(run)
        return
    try:
        _reach(run, fact, begun)
    except _ImpossibleError:
        return  # what is around it has ended by another fact


def _node_at(run: Commands, path: str) -> Node | None:
    """What stands at a path, as far as it is known what does."""
    node: Node = run.scheduler.root.node
    groups = {group.node.path: group for group in run.scheduler.open_groups()}
    for part in path.split("."):
        if not isinstance(node, GroupNode):
            return None
        group = groups.get(node.path)
        children = node.children if group is None else group.children
        if int(part) >= len(children):
            return None
        node = children[int(part)]
    return node


def _begin_on_the_way(run: Commands, wanted: tuple[str, bool], begun: Begun) -> bool:
    """Begin the next of what has to begin before a step or group does; False if nothing has."""
    with run.lock:
        _launch(run, wanted[0])
        leading = [item for item in run.scheduler.ready if _leads_to(item, wanted)]
        if leading:
            _begin_next(run, leading[-1], begun)
    return bool(leading)


def _open_group(run: Commands, fact: Fact) -> ActiveGroup | None:
    for group in run.scheduler.open_groups():
        if isinstance(group, ActiveGroup) and group.node.path == fact.path:
            return group
    return None


def _does_not_fit(run: Commands, fact: Fact, why: _ImpossibleError) -> JournalDataError:
    return JournalDataError(
        f"run {run.run_id!r}: its record does not fit the pipeline: a {fact.kind.value} at path "
        f"{fact.path or 'of the whole'} is recorded, but {why}. Resume it with the pipeline that "
        "it was started with, or run the pipeline anew under another run_id.",
        run_id=run.run_id,
    )


def _reach(run: Commands, fact: Fact, begun: Begun) -> ActiveStep:
    """Have the scheduler begin a step, and whatever has to begin before it."""
    wanted = (fact.path, fact.kind is FactKind.CHOICE)
    while wanted not in begun:
        if not _begin_on_the_way(run, wanted, begun) and not _enter_group(run, begun):
            raise _ImpossibleError("the run cannot have come there")
        _do_chores(run)
    step: ActiveStep = begun[wanted]
    if fact.step_id not in (None, step.step_id):
        raise _ImpossibleError(f"step {step.step_id!r} stands there, and not {fact.step_id!r}")
    if step.node.chooses:
        written: Any = step.node.parent.dynamic
        if fact.dynamic not in (None, written.form):
            raise _ImpossibleError(f"a {written.form} stands there")
        if fact.decided is not None and type(fact.decided) is not type(written.decide([])):
            raise _ImpossibleError(f"{fact.decided!r:.80} is no answer of a {fact.dynamic}")
    return step


def _leads_to(item: State, wanted: tuple[str, bool]) -> bool:
    path, chooses = wanted
    at = item.node.path
    if isinstance(item, StepState):
        return at == path and item.node.chooses == chooses
    before = f"{at}." if at else ""
    if not path.startswith(before):
        return False
    # What stands there has begun, and ended, if the group has come further.
    return int(path[len(before) :].partition(".")[0]) >= getattr(item, "cursor", 0)


def _launch(run: Commands, path: str) -> None:
    """A group that waits before it launches its next branch waits no more."""
    for state, timer in list(run.postponed or ()):
        if timer is Timer.LAUNCH and path.startswith(f"{state.node.path}."):
            assert run.postponed is not None
            del run.postponed[state, timer]
            run.scheduler.fired(state, timer)


def _enter(run: Commands, step: ActiveStep, fact: Fact) -> None:
    """Have the run know the step, as if it had been made ready."""
    now = run.clock.monotonic()
    group: Any = step.parent
    step.run = run
    step.recovered = True
    step.attempt = step.prepared = fact.attempt
    step.ready_at = group.since
    step.first_started = max(now - fact.duration, run.started_at)
    step.started_at = now - fact.duration
    run.steps[step.node.leaf] = step


def _apply_change(run: Commands, step: ActiveStep, fact: Fact) -> None:
    """Write what the step changed to where it worked."""
    parent: Any = step.parent
    if step.node.chooses:
        enclosing = context_of(parent, run.context)
    else:
        enclosing = context_within(step, run.context)
    step.enclosing = enclosing
    if fact.delta is not None:
        for name in fact.delta.fields:
            if not is_kept_as_value(run.context.__class__, name):
                raise _ImpossibleError(f"{name} is no field of the context")
        if fact.delta.kept and max(fact.delta.kept) >= len(enclosing.errors):
            raise _ImpossibleError("there were not so many errors")
        apply(enclosing, fact.delta)


def _choose(run: Commands, step: ActiveStep, fact: Fact) -> None:
    _apply_change(run, step, fact)
    group: Any = step.parent
    if fact.error is not None:
        record_error(step.enclosing or run.context, fact.error)
        step.recorded = True
        return
    if fact.stops or fact.outcome is not Outcome.SUCCEEDED:
        leave_empty(run, group)
    elif group.span is None:
        expand(run, group, fact.decided)
    else:
        run.remember_round(group)
        try:
            expand(run, group, fact.decided)
        finally:
            run.count_round(group)


def _hand_in(run: Commands, step: ActiveStep, fact: Fact) -> None:
    if fact.error is not None:
        record_error(step.enclosing or run.context, fact.error)
        step.recorded = True
    if step.enclosing is not run.context:
        seal(step)


def _end(run: Commands, step: ActiveStep, fact: Fact) -> None:
    node: StepNode = step.node
    group: Any = step.parent
    now = step.ended_at = run.clock.monotonic()
    step.stops = fact.stops
    if fact.error is not None:
        run.remember(step, fact.error)
    run.scheduler.ended(step, fact.outcome, fact.error, stops=fact.stops)
    if not node.chooses:
        reports.step_recovered(run.notes, step, fact.outcome, now, fact.duration)
        if step.counts or group.node.goes_on:
            run.tracker.advance(node.leaf)
    step.context = step.slot = None
    if group.kind is Kind.SERIAL:
        step.enclosing = None
        group.since = now
    elif node.chooses:
        group.since = now
