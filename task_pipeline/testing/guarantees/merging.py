"""One merged context, the same for every executor: guarantees 4 and 5."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from ...config import ParallelConfig, PipelineConfig
from ...engine.bus import EventBus
from ...engine.run import Run
from ...errors import MergeConflictError, ParallelGroupError
from ...events import MergeConflictFound
from ...groups import Map, Parallel, Serial
from ...pipeline import Pipeline
from ...steps import step
from .base import Conformance, Context, Steps, check_events, equal, raised, true
from .changing_steps import (
    Looks,
    Writes,
    books,
    doubles,
    extends_both,
    extends_one,
    left,
    left_alone,
    makes_aliases,
    reorders,
    replaces,
    returns_a_copy,
    returns_another,
    right,
    warns,
)
from .drawing import built, draw
from .sequential import Results, interpret
from .steps import Ledger, leave_trace, traces

BASE: dict[str, Any] = {
    "number": 10,
    "list": [1],
    "tree": {"deep": {"number": 1}, "list": [0]},
    "set": {"p", "q"},
    "gone": 1,
    "equal": 0,
    "text": "base",
    "best": 0,
    "untouched": [[1]],
}
MERGED = {
    "number": 13,
    "list": [1, "left", "right"],
    "tree": {"deep": {"number": 4}, "list": [0, "right"], "left": 1},
    "set": {"q", "left", "right"},
    "equal": "same",
    "text": "right",
    "best": 9,
    "untouched": [[1]],
    "made": ["left", "right"],
}


class MergingConformance(Conformance):
    """Isolation of branches, merge rules, and equality with other ways to run the same."""

    def test_branches_merge_by_the_rules(self) -> None:
        """Numbers, lists, dicts, sets, deletions, equal values, conflicts and reducers."""
        config = PipelineConfig(reducers={"best": max})
        watched = self.watch([[left, right]], _with(BASE), config).succeeded()
        equal(watched.results, MERGED, "the merged results")
        conflict = watched.first(MergeConflictFound)
        assert isinstance(conflict, MergeConflictFound)
        found = (conflict.key, conflict.branches, conflict.winner)
        equal(found, ("text", ("left", "right"), "right"), "the conflict that was told of")

    def test_a_conflict_is_settled_as_the_group_says(self) -> None:
        """By the first branch, or not at all."""
        reducers: dict[str, Callable[[Any, Any], Any]] = {"best": max}
        config = PipelineConfig(reducers=reducers, on_conflict="first")
        watched = self.watch([[left, right]], _with(BASE), config).succeeded()
        equal(watched.results["text"], "left", "the winner's value")
        strict = Parallel([left, right], config=ParallelConfig(on_conflict="error"))
        error = self.watch([strict], _with(BASE), PipelineConfig(reducers=reducers)).error
        while isinstance(error, ParallelGroupError):
            error = error.exceptions[0]
        raised(error, MergeConflictError, "text", "left", "right")

    def test_fields_of_a_context_merge_as_results_do(self) -> None:
        """And the context is still of its class."""
        context = Ledger(total=1, tags=["begun"])
        self.watch([[books, books], books], context).succeeded()
        equal((type(context), context.total), (Ledger, 16), "the context's class and its total")
        equal(context.tags, ["begun", "booked", "booked", "booked"], "its tags")

    def test_branches_do_not_see_each_other_nor_the_parent_them(self) -> None:
        """Until the join, whoever ends first."""
        folder = self.folder()
        context = Ledger(results={"list": [1]})
        run = self.pipeline([[Writes(folder), Looks(folder)]]).start(context)
        try:
            self.wait_for(lambda: traces(folder, "written") and traces(folder, "looking"), "both")
            before = (list(context.results["list"]), sorted(context.results), context.total)
        finally:
            leave_trace(str(folder), "go")
        run.result(self.patience)
        equal(before, ([1], ["list"], 0), "what the parent has before the join")
        equal(context.results["looks"], [[1], ["list"], 0], "what one branch sees of the other")
        after = (context.results["list"], context.results["made"], context.total)
        equal(after, ([1, "changed"], 1, 1), "what the parent has after the join")

    def test_it_is_the_context_that_was_given_and_its_own_objects(self) -> None:
        """What no step has touched is not a copy afterwards."""
        untouched = [[1]]
        context = Ledger(results={"list": [1], "untouched": untouched})
        again = self.pipeline([[left_alone, left_alone], left_alone]).run(context)
        true(again is context, "run() returns the context it was given")
        true(context.results["untouched"] is untouched, "an untouched value is the same object")

    def test_whatever_a_step_does_to_its_context_is_what_it_does_on_a_thread(self) -> None:
        """Aliases, deletions, other results, other contexts, the order of keys, errors."""
        doings: dict[str, Steps] = {
            "aliases": [makes_aliases, extends_both],
            "aliases of an isolated step": [makes_aliases, step(isolated=True)(extends_one)],
            "aliases in a branch": [makes_aliases, [extends_both, left]],
            "a copy": [returns_a_copy],
            "a copy in a branch": [[returns_a_copy, right]],
            "another context": [returns_another],
            "other results": [replaces],
            "other results in a branch": [[replaces, left]],
            "another order": [reorders],
            "another order in a branch": [[reorders, right]],
            "errors": [warns, [warns, warns]],
        }
        if self.capabilities.shares_memory:  # else every step is as an isolated one in this
            doings["aliases in place"] = [
                makes_aliases,
                extends_one,
                [Serial([extends_one, extends_both]), left],
            ]
        for name, steps in doings.items():
            self._compare(name, self._started(steps, BASE), self._started(steps, BASE, "thread"))

    def test_a_map_gives_each_branch_its_item_and_collects_what_they_return(self) -> None:
        """In the order of the items; other changes are merged."""
        watched = self.watch([Map(doubles, over=[3, 1, 2], result_key="doubled")]).succeeded()
        equal(watched.results, {"seen": [3, 1, 2], "doubled": [6, 2, 4]}, "the results")

    def test_drawn_pipelines_come_to_the_same_everywhere(self) -> None:
        """As on threads, and as one thing after another: values, their types, and their order."""
        trees = [draw(random.Random(seed)) for seed in range(self.drawn)]
        begun = [
            (self._started([built(tree)], START), self._started([built(tree)], START, "thread"))
            for tree in trees
        ]
        for tree, (mine, threads) in zip(trees, begun, strict=True):
            results: Results = copy.deepcopy(START)
            errors: list[str] = []
            interpret(tree, results, errors)
            context = self._compare(str(tree), mine, threads)
            equal(_plain(context.results), _plain(results), f"{tree}: the results")
            texts = [str(error) for error in context.errors]
            equal(texts, errors, f"{tree}: the errors")

    def _started(self, steps: Steps, start: Results, executor: Any = None) -> Begun:
        bus = EventBus(history=100_000)
        executor = self.executor if executor is None else executor
        run = Pipeline(steps, executor=executor, event_bus=bus).start(_with(start))
        return run, bus

    def _compare(self, name: str, mine: Begun, threads: Begun) -> Context:
        contexts: list[Context] = []
        came_to: list[Any] = []
        for run, bus in (mine, threads):
            context = run.result(self.patience)
            check_events(bus.history)
            details = run.status()["step_details"]
            statuses = {step_id: about["status"] for step_id, about in details.items()}
            contexts.append(context)
            came_to.append((_plain(context.results), _told(context), statuses))
        what = f"{name}: results, errors and outcomes, against threads,"
        equal(came_to[0], came_to[1], what)
        return contexts[0]


Begun: TypeAlias = tuple[Run[Any], EventBus]
START: Results = {"a": 1, "b": [1], "c": {"x": 1}}


def _with(results: Results) -> Ledger:
    return Ledger(results=copy.deepcopy(results))


def _told(context: Context) -> tuple[list[str], bool]:
    """Its errors, and whether two keys have one value."""
    results = context.results
    errors = [f"{type(error).__name__}: {error}" for error in context.errors]
    return errors, results.get("one") is results.get("other")


def _plain(value: Any) -> Any:
    """A value so that types and the order of keys count when two are compared."""
    if isinstance(value, dict):
        return [(key, _plain(inner)) for key, inner in value.items()]
    if isinstance(value, set):
        return ("set", sorted(value, key=repr))
    return [_plain(item) for item in value] if isinstance(value, list) else (type(value), value)
