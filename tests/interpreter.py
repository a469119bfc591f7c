"""What a pipeline means, in the plainest words: one thread, recursion, a deep copy per branch.

It has nothing from the library; the engine is compared with it. Where time and chance have a
say, the `Course` of a run tells what they did, and all else must follow from that.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from tests.three_way import (
    Changes,
    Rules,
    Unmerged,
    World,
    changes_between,
    commit,
    merge,
    write,
)

Path = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A step as written. `work(context, attempt)` is the user's code.

    What only takes time, or limits how much, changes nothing here: `delay`, `timeout`.
    """

    name: str
    work: Callable[[Any, int], Any]
    attempts: int = 1
    delay: float = 0.0
    never_on: tuple[type[Exception], ...] = ()
    critical: bool = True
    isolated: bool | None = None
    is_function: bool = False
    is_coroutine: bool = False
    timeout: float | None = None

    def __repr__(self) -> str:
        return shown(self)


@dataclass(frozen=True, eq=False)
class Group:
    """A group as written; `kind`: "list", "serial", "parallel" or "pipeline".

    `settings` has what was set and nothing else: `operator`, `quorum`, `error_strategy`,
    `on_conflict` … of a parallel group; `fail_fast`, `parallel` (defaults for the groups
    in it), `on_conflict`, `reducers` … of a pipeline.
    """

    kind: str
    children: tuple[Step | Group, ...]
    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return shown(self)


def shown(drawn: Any) -> str:
    """A dataclass with what is not by default only: counterexamples are to be read."""
    blank = [item.default for item in fields(drawn)]
    values = [(item.name, getattr(drawn, item.name)) for item in fields(drawn)]
    told = [
        f"{name}={value!r}"
        for (name, value), default in zip(values, blank, strict=True)
        if value is not default and value not in (default, {})
    ]
    return f"{type(drawn).__name__}({', '.join(told)})"


class GroupFailed(Exception):
    """A parallel group failed, or timed out."""

    def __init__(self, branches: Sequence[Branch], in_time: bool) -> None:
        super().__init__(branches, in_time)
        self.outcomes = [branch.ending.outcome for branch in branches]
        self.failed = [item for item in branches if isinstance(item.ending.failure, Exception)]
        self.in_time = in_time


class PipelineTimedOut(Exception):
    """A nested pipeline, or the whole run, timed out."""


class Imposed(Exception):
    """An attempt's error that is not of the step's own making; `kind` is its type's name."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Left:
    """The ending of a node that was left in the middle, or never begun."""


LEFT: Final = _Left()


class GroupEnd(NamedTuple):
    """How a group ended; `left`: by what is around it."""

    outcome: str
    left: bool


class Course(NamedTuple):
    """What time and chance did in a run.

    - `left`: ids of steps that were left, or never begun, with their outcome
    - `ended`: how many attempts of each step ended by themselves
    - `imposed`: by id and attempt, the type and text of an error that came from outside
    - `groups`: how each group that had begun ended
    """

    left: Mapping[str, str]
    ended: Mapping[str, int]
    imposed: Mapping[tuple[str, int], tuple[str, str]]
    groups: Mapping[Path, GroupEnd]


class Ending(NamedTuple):
    """How a node ended: `failure` None counts as a success.

    `cut_short`: of a series that was left, merges what the group it was in had finished.
    """

    outcome: str
    failure: Exception | _Left | None
    cut_short: Callable[[], object] | None = None


SUCCESS: Final = Ending("succeeded", None)


class Branch(NamedTuple):
    """A branch that has ended, and what of its work is to be merged."""

    name: str
    ending: Ending
    changes: Changes


class _Place(NamedTuple):
    """Where a node stands: its path, the pipeline whose settings hold, how it is run."""

    path: Path
    scope: Mapping[str, Any]
    in_parallel: bool
    goes_on: bool


class Interpretation:
    """A whole pipeline, interpreted: what a run of it must come to.

    - `world`: the data afterwards
    - `ending`: of the run; its failure is what the run raises
    - `outcomes`: of each step, by id
    - `conflicts`: the keys that branches disagreed on, with the branches' names
    """

    def __init__(self, tree: Group, world: World, course: Course | None = None) -> None:
        self.world = world
        self.outcomes: dict[str, str] = {}
        self.conflicts: list[tuple[str, tuple[str, ...]]] = []
        self._ids = dict(numbered(tree))
        self._course = course
        self._known: list[Exception] = []  # recorded errors, in the order written
        self.ending = self._serial(tree, world, _Place((), tree.settings, False, False))
        if self.ending.cut_short is not None:  # the run was cancelled
            self.ending.cut_short()

    def _node(self, node: Step | Group, world: World, place: _Place) -> Ending:
        if isinstance(node, Step):
            return self._step(node, world, place.path)
        if self._course is not None and place.path not in self._course.groups:
            self._mark(node, place.path, "cancelled")
            return Ending("cancelled", LEFT)
        if self._is_parallel(node, place):
            return self._parallel(node, world, place)
        return self._serial(node, world, place)

    def _is_parallel(self, group: Group, place: _Place) -> bool:
        return group.kind == "parallel" or (group.kind == "list" and not place.in_parallel)

    def _name(self, node: Step | Group, place: _Place) -> str:
        if isinstance(node, Step):
            return self._ids[place.path]
        kind = "parallel" if self._is_parallel(node, place) else "serial"
        return node.name or f"{kind}_group_{dotted(place.path)}"

    def _record(self, error: Exception, world: World) -> None:
        world.errors.append(error)
        self._known.append(error)

    # Steps

    def _step(self, step: Step, world: World, path: Path) -> Ending:
        name = self._ids[path]
        isolated = step.attempts > 1 if step.isolated is None else step.isolated
        for attempt in range(1, step.attempts + 1):
            if self._is_left(name, attempt):
                return Ending(self.outcomes[name], LEFT)
            mine = copy.deepcopy(world) if isolated else world
            try:
                self._impose(name, attempt)
                _accept(step.work(mine, attempt), mine, name if step.is_function else None)
            except Exception as error:
                if self._is_tried_again(step, name, attempt, error):
                    continue
                where = f"step {name!r} at path {dotted(path)}"
                error.add_note(f"{where}, attempt {attempt} of {step.attempts}")
                self._record(error, world)
                late = isinstance(error, Imposed) and error.kind == "StepTimeoutError"
                self.outcomes[name] = "timed_out" if late else "failed"
                return Ending(self.outcomes[name], error if step.critical else None)
            if isolated:
                commit(world, mine)
            break
        self.outcomes[name] = "succeeded"
        return SUCCESS

    def _is_left(self, name: str, attempt: int) -> bool:
        course = self._course
        if course is None or name not in course.left or attempt <= course.ended.get(name, 0):
            return False
        self.outcomes[name] = course.left[name]
        return True

    def _impose(self, name: str, attempt: int) -> None:
        if self._course is not None and (name, attempt) in self._course.imposed:
            raise Imposed(*self._course.imposed[name, attempt])

    def _is_tried_again(self, step: Step, name: str, attempt: int, error: Exception) -> bool:
        if attempt == step.attempts or isinstance(error, step.never_on):
            return False
        # Whether there was time for another attempt, only the run can tell.
        course = self._course
        return course is None or name in course.left or attempt < course.ended[name]

    # Groups

    def _serial(self, group: Group, world: World, place: _Place) -> Ending:
        scope, goes_on = place.scope, place.goes_on
        if group.kind == "pipeline":
            scope, goes_on = group.settings, not group.settings.get("fail_fast", True)
        for index, child in enumerate(group.children):
            inner = _Place((*place.path, index), scope, False, goes_on)
            ending = self._node(child, world, inner)
            if ending.failure is None or (goes_on and ending.failure is not LEFT):
                continue
            rest = "cancelled" if ending.failure is LEFT else "skipped"
            for later in range(index + 1, len(group.children)):
                self._mark(group.children[later], (*place.path, later), rest)
            if ending.failure is not LEFT:
                return ending
            return self._left_series(ending, world, place)
        return SUCCESS

    def _left_series(self, ending: Ending, world: World, place: _Place) -> Ending:
        """A child was left: by the deadline of this very series, or by what is around it."""
        outcome, left = self._end_of(place)
        if left:
            return Ending(outcome, LEFT, ending.cut_short)
        assert outcome == "timed_out"
        if ending.cut_short is not None:
            ending.cut_short()
        late = PipelineTimedOut()
        self._record(late, world)
        return Ending(outcome, late)

    def _end_of(self, place: _Place) -> GroupEnd:
        return GroupEnd("", left=False) if self._course is None else self._course.groups[place.path]

    def _parallel(self, group: Group, world: World, place: _Place) -> Ending:
        if not group.children:
            return SUCCESS
        config = _settings(group.settings, place.scope.get("parallel", {}))
        branches = [
            self._branch(child, world, _Place((*place.path, index), place.scope, True, False))
            for index, child in enumerate(group.children)
        ]
        told = self._end_of(place)
        if told.left:
            cut_short = functools.partial(self._merge, branches, config, world, place)
            return Ending(told.outcome, LEFT, cut_short)
        unmerged = self._merge(branches, config, world, place)
        outcome = "timed_out" if told.outcome == "timed_out" else "failed"
        if _succeeds(config, branches, at_deadline=outcome == "timed_out"):
            return SUCCESS if unmerged is None else Ending("failed", unmerged)
        error = GroupFailed(branches, in_time=outcome == "failed")
        if not error.in_time:
            self._record(error, world)
        return Ending(outcome, error)

    def _branch(self, child: Step | Group, world: World, place: _Place) -> Branch:
        mine = copy.deepcopy(world)
        before = len(self._known)
        ending = self._node(child, mine, place)
        changes = changes_between(world, mine)
        if ending.failure is LEFT:
            changes = Changes({}, {}, self._known[before:])
        elif ending.failure is not None:
            changes = Changes({}, {}, changes.errors)
        return Branch(self._name(child, place), ending, changes)

    def _merge(
        self, branches: Sequence[Branch], config: Mapping[str, Any], world: World, place: _Place
    ) -> Exception | None:
        conflict = config.get("on_conflict") or place.scope.get("on_conflict", "last")
        rules = Rules(conflict, place.scope.get("reducers", {}), [], [])
        for branch in branches:
            world.errors.extend(branch.changes.errors)
        try:
            write(world, merge(world, [(item.name, item.changes) for item in branches], rules))
        except Unmerged as error:
            self._record(error, world)
            return error
        self.conflicts.extend(rules.conflicts)
        return None

    def _mark(self, node: Step | Group, path: Path, outcome: str) -> None:
        if isinstance(node, Step):
            self.outcomes[self._ids[path]] = outcome
        else:
            for index, child in enumerate(node.children):
                self._mark(child, (*path, index), outcome)


def dotted(path: Path) -> str:
    """A path as it is written in messages."""
    return ".".join(map(str, path))


def steps_of(tree: Group, path: Path = ()) -> Iterator[tuple[Path, Step]]:
    """Every step with its path, in the order written."""
    for index, child in enumerate(tree.children):
        below = (*path, index)
        if isinstance(child, Step):
            yield below, child
        else:
            yield from steps_of(child, below)


def numbered(tree: Group) -> Iterator[tuple[Path, str]]:
    """Every step's path and id: the second `load` is `load#2`."""
    seen: dict[str, int] = {}
    for path, step in steps_of(tree):
        seen[step.name] = count = seen.get(step.name, 0) + 1
        yield path, step.name if count == 1 else f"{step.name}#{count}"


def _accept(returned: Any, world: World, stored_as: str | None) -> None:
    if isinstance(returned, World):
        vars(world).update(vars(returned))
    elif returned is not None and stored_as is not None:
        world.results[stored_as] = returned


def _settings(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        name: value for name, value in defaults.items() if name != "quorum" or "operator" not in own
    }
    return {**kept, **own}


def _succeeds(config: Mapping[str, Any], branches: Sequence[Branch], at_deadline: bool) -> bool:
    """Whether a group succeeds that has ended: complete, early, or at its deadline."""
    total = len(branches)
    needed = {"AND": total, "OR": 1}.get(config.get("operator", "AND"), config.get("quorum"))
    assert needed is not None
    succeeded = sum(branch.ending.failure is None for branch in branches)
    left = sum(branch.ending.failure is LEFT for branch in branches)
    ends_early = config.get("error_strategy") == "FAIL_FAST" and not at_deadline
    # With branches left, it must have been decided, or there was a deadline to end it.
    assert (
        not left
        or "timeout" in config
        or (ends_early and (succeeded >= needed or succeeded + left < needed))
    )
    assert not (at_deadline and succeeded >= needed)
    return succeeded >= needed
