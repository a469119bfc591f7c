"""What a pipeline means, in the plainest words: one thread, recursion, a deep copy per branch.

It has nothing from the library; the engine is compared with it. How a run went may be given
in `Ended`: which steps were cancelled, which groups had begun. Without, nothing is cancelled.
"""

from __future__ import annotations

import copy
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
    """A parallel group failed: every branch's outcome, the failed ones' names and errors."""

    def __init__(self, name: str, outcomes: Sequence[str], failed: Sequence[Ending]) -> None:
        super().__init__(name)
        self.name = name
        self.outcomes = tuple(outcomes)
        self.failed = tuple(failed)


class _Left:
    """The ending of a node that was left in the middle, or never begun."""


LEFT: Final = _Left()


class Ending(NamedTuple):
    """How a node ended: `failure` None counts as a success."""

    name: str
    outcome: str
    failure: Exception | _Left | None


class Branch(NamedTuple):
    """A branch that has ended, and what of its work is to be merged."""

    ending: Ending
    changes: Changes


class Ended(NamedTuple):
    """How a run went that ended groups early: ids of cancelled steps, groups that had begun."""

    cancelled: frozenset[str]
    begun: frozenset[Path]


class _Place(NamedTuple):
    """Where a node stands: its path, the pipeline whose settings hold, how it is run."""

    path: Path
    scope: Mapping[str, Any]
    in_parallel: bool
    goes_on: bool


class Interpretation:
    """A whole pipeline, interpreted: what a run of it must come to.

    - `world`: the data afterwards
    - `failure`: what the run raises, or None, or `LEFT` if it was cancelled
    - `outcomes`: of each step, by id
    - `conflicts`: the keys that branches disagreed on, with the branches' names
    """

    def __init__(self, tree: Group, world: World, ended: Ended | None = None) -> None:
        self.world = world
        self.outcomes: dict[str, str] = {}
        self.conflicts: list[tuple[str, tuple[str, ...]]] = []
        self._ids = dict(numbered(tree))
        self._ended = ended
        self._known: list[tuple[Path, Exception]] = []  # recorded errors, in the order written
        self.failure = self._serial(tree, world, _Place((), tree.settings, False, False))

    def _node(self, node: Step | Group, world: World, place: _Place) -> Ending:
        if isinstance(node, Step):
            name = self._ids[place.path]
            failure = self._step(node, name, world, place.path)
            return Ending(name, self.outcomes[name], failure)
        parallel = node.kind == "parallel" or (node.kind == "list" and not place.in_parallel)
        name = node.name or f"{'parallel' if parallel else 'serial'}_group_{dotted(place.path)}"
        group_failure: Exception | _Left | None
        if self._ended is not None and place.path not in self._ended.begun:
            self._mark(node, place.path, "cancelled")
            group_failure = LEFT
        elif parallel:
            group_failure = self._parallel(node, name, world, place)
        else:
            group_failure = self._serial(node, world, place)
        ended = "cancelled" if group_failure is LEFT else "failed"
        return Ending(name, "succeeded" if group_failure is None else ended, group_failure)

    # Steps

    def _step(self, step: Step, name: str, world: World, path: Path) -> Exception | _Left | None:
        if self._ended is not None and name in self._ended.cancelled:
            self.outcomes[name] = "cancelled"
            return LEFT
        isolated = step.attempts > 1 if step.isolated is None else step.isolated
        for attempt in range(1, step.attempts + 1):
            mine = copy.deepcopy(world) if isolated else world
            try:
                _accept(step.work(mine, attempt), mine, name if step.is_function else None)
            except Exception as error:
                if attempt < step.attempts and not isinstance(error, step.never_on):
                    continue
                where = f"step {name!r} at path {dotted(path)}"
                error.add_note(f"{where}, attempt {attempt} of {step.attempts}")
                self._record(error, world, path)
                self.outcomes[name] = "failed"
                return error if step.critical else None
            if isolated:
                commit(world, mine)
            break
        self.outcomes[name] = "succeeded"
        return None

    def _record(self, error: Exception, world: World, path: Path) -> None:
        world.errors.append(error)
        self._known.append((path, error))

    # Groups

    def _serial(self, group: Group, world: World, place: _Place) -> Exception | _Left | None:
        scope, goes_on = place.scope, place.goes_on
        if group.kind == "pipeline":
            scope, goes_on = group.settings, not group.settings.get("fail_fast", True)
        for index, child in enumerate(group.children):
            inner = _Place((*place.path, index), scope, False, goes_on)
            failure = self._node(child, world, inner).failure
            if failure is not None and (failure is LEFT or not goes_on):
                rest = "cancelled" if failure is LEFT else "skipped"
                for later in range(index + 1, len(group.children)):
                    self._mark(group.children[later], (*place.path, later), rest)
                return failure
        return None

    def _parallel(
        self, group: Group, name: str, world: World, place: _Place
    ) -> Exception | _Left | None:
        if not group.children:
            return None
        config = _settings(group.settings, place.scope.get("parallel", {}))
        branches = [
            self._branch(child, world, _Place((*place.path, index), place.scope, True, False))
            for index, child in enumerate(group.children)
        ]
        failures = [branch.ending.failure for branch in branches]
        succeeds = _verdict(config, failures)
        if succeeds is None:
            return LEFT
        conflict = config.get("on_conflict") or place.scope.get("on_conflict", "last")
        rules = Rules(conflict, place.scope.get("reducers", {}), self.conflicts, [])
        wrong: Exception | None = None
        for branch in branches:
            world.errors.extend(branch.changes.errors)
        try:
            write(
                world, merge(world, [(item.ending.name, item.changes) for item in branches], rules)
            )
        except Unmerged as error:
            wrong = error
        if wrong is not None:
            self._record(wrong, world, place.path)
        if succeeds:
            return wrong
        failed = [item.ending for item in branches if isinstance(item.ending.failure, Exception)]
        return GroupFailed(name, [branch.ending.outcome for branch in branches], failed)

    def _branch(self, child: Step | Group, world: World, place: _Place) -> Branch:
        mine = copy.deepcopy(world)
        before = len(self._known)
        ending = self._node(child, mine, place)
        changes = changes_between(world, mine)
        if ending.failure is LEFT:
            known = [error for _, error in self._known[before:]]
            changes = Changes({}, {}, known)
        elif ending.failure is not None:
            changes = Changes({}, {}, changes.errors)
        return Branch(ending, changes)

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


def _verdict(
    config: Mapping[str, Any], failures: Sequence[Exception | _Left | None]
) -> bool | None:
    """Whether a group succeeds; None if it was left before that was known."""
    total = len(failures)
    needed = {"AND": total, "OR": 1}.get(config.get("operator", "AND"), config.get("quorum"))
    assert needed is not None
    succeeded = sum(failure is None for failure in failures)
    left = sum(failure is LEFT for failure in failures)
    if left and config.get("error_strategy") != "FAIL_FAST":
        return None
    if succeeded >= needed:
        return True
    return False if succeeded + left < needed else None
