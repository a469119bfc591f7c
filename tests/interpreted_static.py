"""What steps, series and parallel groups mean: the part of the interpreter that needs no run."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from tests.drawn import Group, Path, Skips, Step, Stops, dotted, is_parallel, numbered
from tests.interpreted_course import (
    LEFT,
    SUCCESS,
    Branch,
    Course,
    Ending,
    GroupEnd,
    GroupFailed,
    Imposed,
    PipelineTimedOut,
    Place,
)
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


class Static:
    """What is known before a run: steps, series, parallel groups."""

    def __init__(self, tree: Group, course: Course | None) -> None:
        self.outcomes: dict[str, str] = {}
        self.paths: dict[str, Path] = {}
        self.conflicts: list[tuple[str, tuple[str, ...]]] = []
        self.stopped = False  # a step has ended the run, and well
        self._ids = numbered(tree)
        self._course = course
        self._known: list[Exception] = []  # recorded errors, in the order written
        self._stored_as: dict[Path, str] = {}  # keys of functions that are not their ids

    def _node(self, node: Step | Group, world: World, place: Place) -> Ending:
        if isinstance(node, Step):
            return self._step(node, world, place)
        if self._course is not None and place.path not in self._course.groups:
            self._mark(node, place, "cancelled")
            return Ending("cancelled", LEFT)
        return self._group(node, world, place)

    def _group(self, group: Group, world: World, place: Place) -> Ending:
        if is_parallel(group, place.in_series):
            return self._parallel(group, world, place)
        return self._serial(group, world, place)

    def _name(self, node: Step | Group, place: Place) -> str:
        if place.written in self._ids:
            return self._ids[place.written] + place.suffix
        assert isinstance(node, Group)
        kind = "parallel" if is_parallel(node, place.in_series) else "serial"
        return node.name + place.suffix if node.name else f"{kind}_group_{dotted(place.path)}"

    def _record(self, error: Exception, world: World) -> None:
        world.errors.append(error)
        self._known.append(error)

    def _fails(self, name: str, place: Place, attempts: str, error: Exception, to: World) -> None:
        error.add_note(f"step {name!r} at path {dotted(place.path)}, attempt {attempts}")
        self._record(error, to)

    # Steps

    def _step(self, step: Step, world: World, place: Place) -> Ending:
        name = self._name(step, place)
        self.paths[name] = place.path
        isolated = step.attempts > 1 if step.isolated is None else step.isolated
        for attempt in range(1, step.attempts + 1):
            if self._is_left(name, attempt):
                return Ending(self.outcomes[name], LEFT)
            mine = copy.deepcopy(world) if isolated else world
            try:
                self._impose(name, attempt)
                stopped, returned = self._performed(step, mine, attempt)
                keeps = step.is_function or stopped
                _accept(returned, mine, self._key_of(place) if keeps else None)
            except Skips:  # what an isolated step did until then is not kept
                self.outcomes[name] = "skipped"
                return Ending("skipped", None)
            except Exception as error:
                if self._is_tried_again(step, name, attempt, error):
                    continue
                self._fails(name, place, f"{attempt} of {step.attempts}", error, world)
                late = isinstance(error, Imposed) and error.kind == "StepTimeoutError"
                self.outcomes[name] = "timed_out" if late else "failed"
                return Ending(self.outcomes[name], error if step.critical else None)
            if isolated:
                commit(world, mine)
            break
        self.outcomes[name] = "succeeded"
        return SUCCESS

    def _performed(self, step: Step, world: World, attempt: int) -> tuple[bool, Any]:
        """Whether it ends the run, and what it returns or ends it with."""
        try:
            return False, step.work(world, attempt)
        except Stops as stop:
            self.stopped = True
            return True, stop.result

    def _key_of(self, place: Place) -> str:
        """Under which key goes what a function returns: all instances have the same."""
        return self._stored_as.get(place.written, self._ids[place.written])

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

    def _serial(self, group: Group, world: World, place: Place) -> Ending:
        scope, goes_on = place.scope, place.goes_on
        if group.kind == "pipeline":
            scope, goes_on = group.settings, not group.settings.get("fail_fast", True)
        for index, child in enumerate(group.children):
            inner = place.child(index, scope=scope, in_series=False, goes_on=goes_on)
            ending = self._node(child, world, inner)
            has_failed = ending.failure is LEFT or (ending.failure is not None and not goes_on)
            if not has_failed and not self.stopped:
                continue
            rest = "cancelled" if ending.failure is LEFT else "skipped"
            for later in range(index + 1, len(group.children)):
                self._mark(group.children[later], place.child(later, in_series=False), rest)
            if ending.failure is LEFT:
                return self._left_series(ending, world, place)
            return ending if has_failed else SUCCESS
        return SUCCESS

    def _left_series(self, ending: Ending, world: World, place: Place) -> Ending:
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

    def _end_of(self, place: Place) -> GroupEnd:
        return GroupEnd("", left=False) if self._course is None else self._course.groups[place.path]

    def _parallel(self, group: Group, world: World, place: Place) -> Ending:
        if not group.children:
            return SUCCESS
        branches = [
            self._branch(child, world, place.child(index, in_series=True, goes_on=False))
            for index, child in enumerate(group.children)
        ]
        return self._joined(group, world, place, branches, world)

    def _joined(
        self, group: Group, world: World, place: Place, branches: Sequence[Branch], base: World
    ) -> Ending:
        """All branches of a group have ended; they began as copies of `base`."""
        config = settings_of(group.settings, place.scope.get("parallel", {}))
        finish = functools.partial(self._merge, group, branches, (config, place), world, base)
        told = self._end_of(place)
        if told.left:
            return Ending(told.outcome, LEFT, finish)
        unmerged = finish()
        outcome = "timed_out" if told.outcome == "timed_out" else "failed"
        if _succeeds(config, branches, at_deadline=outcome == "timed_out"):
            return SUCCESS if unmerged is None else Ending("failed", unmerged)
        error = GroupFailed(branches, in_time=outcome == "failed")
        if not error.in_time:
            self._record(error, world)
        return Ending(outcome, error)

    def _branch(
        self,
        child: Step | Group,
        world: World,
        place: Place,
        begins_with: Mapping[str, Any] = {},  # nobody changes it
    ) -> Branch:
        mine = copy.deepcopy(world)
        mine.results.update(copy.deepcopy(begins_with))
        before = len(self._known)
        ending = self._node(child, mine, place)
        changes = changes_between(world, mine)
        if ending.failure is LEFT:
            changes = Changes({}, {}, self._known[before:])
        elif ending.failure is not None:
            changes = Changes({}, {}, changes.errors)
        return Branch(self._name(child, place), ending, changes)

    def _merge(
        self,
        group: Group,
        branches: Sequence[Branch],
        at: tuple[Mapping[str, Any], Place],
        world: World,
        base: World,
    ) -> Exception | None:
        config, place = at
        conflict = config.get("on_conflict") or place.scope.get("on_conflict", "last")
        rules = Rules(conflict, place.scope.get("reducers", {}), [], [])
        for branch in branches:
            world.errors.extend(branch.changes.errors)
        changes, collected = self._collect(group, place, branches)
        named = [(branch.name, changed) for branch, changed in zip(branches, changes, strict=True)]
        try:
            write(world, merge(base, named, rules))
        except Unmerged as error:
            self._record(error, world)
            return error
        world.results.update(collected)
        self.conflicts.extend(rules.conflicts)
        return None

    def _collect(
        self, group: Group, place: Place, branches: Sequence[Branch]
    ) -> tuple[list[Changes], Mapping[str, Any]]:
        """What branches have in common to be merged, and what is made of all they have alone."""
        return [branch.changes for branch in branches], {}

    def _mark(self, node: Step | Group, place: Place, outcome: str) -> None:
        """Neither a node nor anything in it will begin."""
        if isinstance(node, Step):
            name = self._name(node, place)
            self.outcomes[name] = outcome
            self.paths[name] = place.path
        else:
            in_series = is_parallel(node, place.in_series)
            for index, child in enumerate(node.children):
                self._mark(child, place.child(index, in_series=in_series), outcome)


def _accept(returned: Any, world: World, stored_as: str | None) -> None:
    if isinstance(returned, World):
        vars(world).update(vars(returned))
    elif returned is not None and stored_as is not None:
        world.results[stored_as] = returned


def settings_of(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A group's settings, over what its pipeline has for those that were left out."""
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
