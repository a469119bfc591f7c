"""What a pipeline means, in the plainest words: one thread, recursion, a deep copy per branch.

It has nothing from the library; the engine is compared with it. Where time and chance have a
say, the `Course` of a run tells what they did, and all else must follow from that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tests.drawn import DYNAMIC, REPEATED, Group, Path, Skips, Step, Stops
from tests.interpreted_course import (
    LEFT,
    SUCCESS,
    Branch,
    Course,
    Ending,
    GroupFailed,
    Imposed,
    Place,
)
from tests.interpreted_static import Static, settings_of
from tests.three_way import Changes, World

NOTHING: Final[Any] = object()
"""The answer of what has given up its turn, or has ended the run."""


class Interpretation(Static):
    """A whole pipeline, interpreted: what a run of it must come to.

    - `world`: the data afterwards
    - `ending`: of the run; its failure is what the run raises
    - `outcomes`: of each step, by id; `paths`: where it stands
    - `dynamic`: the outcome of each dynamic group, by its id
    - `conflicts`: the keys that branches disagreed on, with the branches' names
    """

    def __init__(self, tree: Group, world: World, course: Course | None = None) -> None:
        super().__init__(tree, course)
        self.world = world
        self.dynamic: dict[str, str] = {}
        whole = Place((), (), "", tree.settings, in_series=False, goes_on=False)
        self.ending = self._serial(tree, world, whole)
        if self.ending.cut_short is not None:  # the run was cancelled
            self.ending.cut_short()

    def _group(self, group: Group, world: World, place: Place) -> Ending:
        meaning: Mapping[str, Callable[[Group, World, Place], Ending]] = {
            "map": self._map,
            "branch": self._either,
            "loop": self._loop,
        }
        if group.kind not in meaning:
            return super()._group(group, world, place)
        ending = meaning[group.kind](group, world, place)
        self.dynamic[self._name(group, place)] = ending.outcome
        return ending

    def _mark(self, node: Step | Group, place: Place, outcome: str) -> None:
        if isinstance(node, Group) and node.kind in DYNAMIC:
            self.dynamic[self._name(node, place)] = outcome
            if node.kind in REPEATED:
                return
            place = place._replace(in_series=True)
            for index, child in enumerate(node.children):
                self._mark(child, place.child(index), outcome)
        else:
            super()._mark(node, place, outcome)

    # Finding out what to run

    def _answer(self, group: Group, world: World, place: Place, rounds: int = 0) -> Any:
        """What a group is to run; or how it ended, if it is not to run anything by that."""
        interrupted = self._interrupted(group, world, place, rounds)
        if interrupted is not None:
            return interrupted
        if group.kind == "loop" and rounds == group.times:
            return False
        try:
            return _asked(group.asked, group.kind == "map", world)
        except Skips:
            return NOTHING
        except Stops:
            self.stopped = True
            return NOTHING
        except Exception as error:
            return self._cannot_tell(group, world, place, error)

    def _interrupted(self, group: Group, world: World, place: Place, rounds: int) -> Ending | None:
        """How a group ended by what befell the run while it was found out what it is to run."""
        course = self._course
        if course is None:
            return None
        if place.path in course.unanswered and course.expanded.get(place.path, 0) == rounds:
            failure = Imposed("SimulatedFailure", course.unanswered[place.path])
            return self._cannot_tell(group, world, place, failure)
        if self._was_left(group, place, rounds):
            return Ending(self._end_of(place).outcome, LEFT)
        return None

    def _cannot_tell(self, group: Group, world: World, place: Place, error: Exception) -> Ending:
        self._fails(self._name(group, place), place, "1 of 1", error, world)
        return Ending("failed", error)

    def _was_left(self, group: Group, place: Place, rounds: int) -> bool:
        assert self._course is not None
        outcome, left = self._end_of(place)
        if group.kind != "branch":
            told = self._course.expanded.get(place.path, 0)
            return told == rounds and (left or outcome == "timed_out")
        # Of one that has been decided the steps of one way are skipped, or something has begun.
        ways = [place.child(index) for index in range(len(group.children))]
        steps = [
            name
            for child, way in zip(group.children, ways, strict=True)
            for name in self._steps_in(child, way)
        ]
        return (
            left
            and all(self._course.left.get(name) == "cancelled" for name in steps)
            and not any(name in self._course.ended for name in steps)
            and not any(_is_below(path, way.path) for path in self._course.groups for way in ways)
        )

    def _steps_in(self, node: Step | Group, place: Place) -> Iterator[str]:
        """The steps that are known to be there before it is found out what is to run."""
        if isinstance(node, Step):
            yield self._name(node, place)
        elif node.kind not in REPEATED:
            for index, child in enumerate(node.children):
                yield from self._steps_in(child, place.child(index))

    # Map

    def _map(self, group: Group, world: World, place: Place) -> Ending:
        items = self._answer(group, world, place)
        if isinstance(items, Ending):
            if items.failure is not LEFT or self._end_of(place).left:
                return items
            error = GroupFailed([], in_time=False)
            self._record(error, world)
            return Ending("timed_out", error)
        if items is NOTHING and self.stopped:
            return SUCCESS
        (child,), (item_key, _) = group.children, group.keys
        key = self._collected_as(group, place)
        base = copy.deepcopy(world)
        for name in (item_key, key):
            base.results.pop(name, None)
        if isinstance(child, Step) and key is not None:
            self._stored_as[(*place.written, 0)] = key
        items = [] if items is NOTHING else items
        config = settings_of(group.settings, place.scope.get("parallel", {}))
        quorum = config.get("quorum", 0)
        if 0 < len(items) < quorum:
            text = f"quorum {quorum} is more than its {len(items)} items can reach"
            return self._cannot_tell(group, world, place, ValueError(text))
        inner = place._replace(in_series=True, goes_on=False)
        branches = [
            self._branch(child, base, inner.instance(index), {item_key: item})
            for index, item in enumerate(items)
        ]
        if branches:
            return self._joined(group, world, place, branches, base)
        world.results.update(self._collect(group, place, [])[1])
        return SUCCESS

    def _collected_as(self, group: Group, place: Place) -> str | None:
        """Under which key each branch of a map has what is to be collected."""
        (child,), (_, result_key) = group.children, group.keys
        if result_key is not None or not isinstance(child, Step) or not child.is_function:
            return result_key
        return self._ids[*place.written, 0]

    def _collect(
        self, group: Group, place: Place, branches: Sequence[Branch]
    ) -> tuple[list[Changes], Mapping[str, Any]]:
        if group.kind != "map":
            return super()._collect(group, place, branches)
        item_key, result_key = group.keys
        key = self._collected_as(group, place)
        changes = [branch.changes for branch in branches]
        common = [
            Changes(
                {
                    name: value
                    for name, value in each.results.items()
                    if name not in (item_key, key)
                },
                each.fields,
                each.errors,
            )
            for each in changes
        ]
        has_any = any(key in each.results for each in changes)
        if key is None or (result_key is None and branches and not has_any):
            return common, {}
        return common, {key: [each.results.get(key) for each in changes]}

    # Branch

    def _either(self, group: Group, world: World, place: Place) -> Ending:
        answer = self._answer(group, world, place)
        inner = place._replace(in_series=True, goes_on=False)
        is_left = isinstance(answer, Ending) and answer.failure is LEFT
        is_decided = not isinstance(answer, Ending) and answer is not NOTHING
        taken = (0 if answer else 1) if is_decided else None
        for index, child in enumerate(group.children):
            if index != taken:
                self._mark(child, inner.child(index), "cancelled" if is_left else "skipped")
        if isinstance(answer, Ending):
            return answer
        if taken is None or taken >= len(group.children):
            return SUCCESS
        return self._within(group.children[taken], world, inner.child(taken), place)

    def _within(self, child: Step | Group, world: World, inner: Place, place: Place) -> Ending:
        ending = self._node(child, world, inner)
        if ending.failure is LEFT:
            return Ending(self._end_of(place).outcome, LEFT, ending.cut_short)
        return SUCCESS if ending.failure is None else ending

    # Loop

    def _loop(self, group: Group, world: World, place: Place) -> Ending:
        rounds = 0
        inner = place._replace(in_series=True, goes_on=False)
        (child,) = group.children
        while True:
            answer = self._answer(group, world, place, rounds)
            if isinstance(answer, Ending):
                return answer
            if answer is NOTHING or not answer:
                return SUCCESS
            ending = self._within(child, world, inner.instance(rounds), place)
            if ending.failure is not None or self.stopped:
                return ending
            rounds += 1


def _asked(asked: Any, for_items: bool, world: World) -> Any:
    """The answer to what is asked: a key of the results, a function, or the answer itself."""
    if asked is None:  # a loop that only counts
        return True
    if callable(asked):
        return asked(world)
    if not isinstance(asked, str):
        return asked
    if for_items and asked not in world.results:
        raise Imposed("KeyError", repr(f"over={asked!r}: there is no {asked!r} in results"))
    answer = world.results.get(asked)
    if for_items and answer is None:
        raise Imposed("TypeError", "`over` must lead to a list of items, not to None")
    return answer


def _is_below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above
