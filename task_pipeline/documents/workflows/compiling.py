"""From the graph of a workflow's steps to series and groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

from ...groups import Branch, PipelineGroup, Serial, TaskStep
from ..mistakes.problems import Path, Problems
from ..surroundings import Surroundings
from .block_making import MAKING, Maker
from .linking import Links, link, meeting_points
from .making import Made, as_way, set_critical
from .native import settings_of
from .reading import Node, Reader
from .scopes import Anywhere, References, Scope
from .spelling import Spot
from .values import View

MOST_STEPS = 10_000
DEEPEST = 220
MOST_INCLUDED = 1_000
"""How many files may be included: each may include others twice, and so on."""

OF_A_WORKFLOW = 2
"""Levels that a workflow inside of another counts more than a block."""


class Compiler:
    """Compiles one workflow, and those in it."""

    def __init__(
        self,
        surroundings: Surroundings,
        problems: Problems,
        files: tuple[File, ...] = (),
        depth: int = 0,
        included: list[File] | None = None,
    ) -> None:
        self.surroundings = surroundings
        self.problems = problems
        self.files = files  # that are being read, the innermost last
        self.depth = depth
        # All files that were included, each as often as it was; one list for the whole document.
        self._included: list[File] = [] if included is None else included
        self._nodes: dict[str, Node] = {}
        self._links: dict[str, Links] = {}
        self._meets: dict[str, str | None] = {}
        self._ids: dict[str, int] = {}
        self._open: dict[str, None] = {}  # the steps on the way to where it is
        self._ends: set[str | None] = set()  # where the ways of the last chain have come to
        self._around: tuple[tuple[str, str], ...] = ()
        self._count = 0
        self._has_given_up = False
        self._told: set[tuple[str, ...]] = set()

    def compile(self, given: Any, spot: Spot) -> Made:
        """The steps of a workflow, in series. What is wrong with it is in `problems`."""
        workflow = Reader(self.surroundings, self.problems, spot).read(given)
        if workflow is None:
            return Made([], ())
        self._nodes = workflow.nodes
        self._links = link(workflow, self.problems)
        self._meets = meeting_points(self._links)
        self.references = References(self._nodes, self.surroundings, self.problems)
        self._maker = Maker(self)
        made = self._chain(workflow.start, frozenset(), Scope())
        unreached = [step_id for step_id in self._nodes if step_id not in self._ids]
        if workflow.start is not None and not self._has_given_up:
            self._tell_unreached(unreached)
        self._look_at(unreached)
        self.references.settle()
        return made

    def _chain(self, start: str | None, stops: frozenset[str], scope: Scope) -> Made:
        """What runs from a step on, until there is nothing more, or one of `stops` is reached."""
        steps: list[TaskStep] = []
        last: tuple[str, ...] = ()
        entered: list[str] = []
        ends: set[str | None] = set()
        step_id, has_ended = start, False
        self.depth += 1
        while step_id is not None and step_id not in stops:
            if not self._may_enter(step_id, scope):
                has_ended = True
                break
            self._open[step_id] = None
            entered.append(step_id)
            node = self._nodes[step_id]
            links = self._links[step_id]
            self._ids.setdefault(step_id, len(self._ids))
            self.references.enter(step_id, self._around)
            if node.kind == "conditional":
                step, last = self._conditional(node, links, stops, scope)
                step_id = self._meets.get(step_id)
                has_ended = step_id is None
                # What ends in one of its ways goes on where they meet.
                ends |= self._ends if has_ended else self._ends - {step_id, None}
            else:
                step = MAKING[node.kind](self._maker, node, links, scope, stops)
                last = (step_id,)
                scope.seen[step_id] = None
                step_id = links.following
            if step is not None:
                steps.append(step)
        self._ends = ends if has_ended else ends | {step_id}
        for step_id in entered:
            del self._open[step_id]
        self.depth -= 1
        return Made(steps, last)

    def _may_enter(self, step_id: str, scope: Scope) -> bool:
        if self._has_given_up:
            return False
        if step_id in self._open:
            self._tell_circle(step_id)
            return False
        if scope.has_run(step_id):
            self.tell_twice(step_id)
            return False
        self._count += 1
        most = MOST_STEPS + len(self._nodes)  # as many as are written are not too many
        if self._count > most or self.depth > DEEPEST:
            self._has_given_up = True
            found = f"its steps would be nested more than {DEEPEST} levels deep"
            if self._count > most:
                found = f"its ways on would take more than {MOST_STEPS:,} steps"
            hint = "have the ways of conditionals meet again, or split it into sub_workflows"
            self.wrong(self._nodes[step_id], (), found, hint)
            return False
        return True

    def view(self, node: Node, scope: Scope) -> View:
        """What a step can see in a run."""
        turn = self._ids.setdefault(node.id, len(self._ids))
        return View(node.id, node.place, self._ids, turn, scope.in_loop, scope.in_rounds)

    def _conditional(
        self, node: Node, links: Links, stops: frozenset[str], scope: Scope
    ) -> tuple[TaskStep | None, tuple[str, ...]]:
        choice = self._maker.choice(node, links, scope)
        scope.seen[node.id] = None
        meet = self._meets.get(node.id)
        inner = stops if meet is None else stops | {meet}
        last: tuple[str, ...] = (node.id,)
        ways, scopes = [], []
        ends: set[str | None] = set()
        for way in links.ways:
            scopes.append(Scope(scope))
            made = self._chain(way, inner, scopes[-1])
            ways.append(made.steps)
            last += made.last
            ends |= self._ends
        self._ends = ends
        for one in scopes:
            scope.take(one)
        if choice is None:
            return None, last
        true, false = (as_way(*way) for way in zip(ways, ("if_true", "if_false"), strict=True))
        group = Branch(choice, true or Serial([], "if_true"), false, name=node.id)
        set_critical(node, group)
        return group, last

    def branches(
        self, node: Node, lists: Sequence[tuple[str, Sequence[str], Scope]], stops: frozenset[str]
    ) -> list[Made]:
        """Lists of steps of a block: those of one run in series, each with what follows it."""
        following = self._links[node.id].following
        around = self._around
        made = []
        for name, ids, scope in lists:
            ends = stops.union(ids, (node.id,))
            if following is not None:
                ends |= {following}
            self._around = (*around, (node.id, name))
            steps: list[TaskStep] = []
            last: tuple[str, ...] = ()
            for number, step_id in enumerate(ids):
                inner = self._chain(step_id, ends - {step_id}, scope)
                steps += inner.steps
                last += inner.last
                self._check_order(node, ids, number)
            made.append(Made(steps, last))
        self._around = around
        return made

    def _check_order(self, block: Node, ids: Sequence[str], number: int) -> None:
        """Whether a step of a series leads to what comes next in it, if to anything in it."""
        next_id = ids[number + 1] if number + 1 < len(ids) else None
        node = self._nodes[ids[number]]
        listed = f"in the list of {block.id!r}"
        for step_id in ids:
            if step_id in self._ends and step_id != next_id:
                comes = f"{next_id!r} comes next" if next_id else "it is the last"
                found = f"it leads to {step_id!r}, and {comes} {listed}"
                self.wrong(node, (), found, "list them in the order in which they are to run")
                return
        if next_id in self._ends and len(self._ends) > 1:
            found = f"only one of its ways leads to {next_id!r}, which comes next {listed} anyway"
            hint = f"leave {next_id!r} out of the list if it is not to run each time"
            self.wrong(node, (), found, hint)

    def within(self, given: Any, spot: Spot, node: Node) -> Made | None:
        """The steps of a workflow in this one; None if it is in itself."""
        file = getattr(spot.source, "file", None) if spot.path == () else None
        files = self.files
        if file is not None:
            if file in files:
                names = [one.name for one in (*files[files.index(file) :], file)]
                text = " → ".join(names)
                self.wrong(node, ("workflow_path",), f"the workflow contains itself: {text}")
                return None
            files = (*files, file)
            self._included.append(file)
            if len(self._included) > MOST_INCLUDED:
                found = f"more than {MOST_INCLUDED:,} workflows would be included"
                self.wrong(node, ("workflow_path",), found, "split the workflow, or use a loop")
                return None
        if self.depth + OF_A_WORKFLOW >= DEEPEST:
            found = "workflows and their blocks are nested too deep in each other"
            self.wrong(node, (), found, "have some of them run one after another instead")
            return None
        depth = self.depth + OF_A_WORKFLOW
        inner = Compiler(self.surroundings, self.problems, files, depth, self._included)
        made = inner.compile(given, spot)
        written = given.get("config") if isinstance(given, dict) else None
        place, at = node.place.source if file is None else spot.source, (*spot.path, "config")
        config = settings_of(written, place, at, self.surroundings, self.problems)  # type: ignore[arg-type]  # a source that was read
        if config is None:
            return made
        return Made([PipelineGroup(made.steps, node.id, config)], made.last)

    def tell_twice(self, step_id: str) -> None:
        """Note that a step would run more than once."""
        if ("twice", step_id) not in self._told:
            self._told.add(("twice", step_id))
            self.wrong(
                self._nodes[step_id],
                (),
                f"the step {step_id!r} would run more than once: several of the steps that lead "
                "to it run",
                "give it as next_step to the block whose steps come together in it, or write a "
                "second step",
            )

    def _tell_circle(self, step_id: str) -> None:
        way = list(self._open)
        circle = way[way.index(step_id) :]
        key = tuple(sorted(circle))
        if key in self._told:
            return
        self._told.add(key)
        node = self._nodes[circle[-1]]
        path = _path_to(node, step_id)
        shown = circle if len(circle) <= 12 else [*circle[:6], "...", *circle[-5:]]
        text = " → ".join([*shown, step_id])
        hint = "a step runs once; for repetition there is the type loop"
        self.wrong(node, path, f"the steps run in a circle: {text}", hint)

    def _tell_unreached(self, unreached: Sequence[str]) -> None:
        # What is wrong itself may be meant to lead to them.
        broken = [node.given for node in self._nodes.values() if node.fields is None]
        named = set(_texts_in(broken)) if broken else set()
        for step_id in unreached:
            if step_id not in named:
                self.wrong(
                    self._nodes[step_id],
                    (),
                    f"nothing leads to the step {step_id!r}",
                    "name it as the next_step of another step, in a block, or take it out",
                )

    def _look_at(self, unreached: Sequence[str]) -> None:
        """Find what is wrong with these for itself, wherever they are meant to stand."""
        for step_id in unreached:
            node, alone = self._nodes[step_id], Links()
            self.references.enter(step_id, ())
            if node.kind == "conditional":
                self._maker.choice(node, alone, Anywhere())
            else:
                MAKING[node.kind](self._maker, node, alone, Anywhere(), frozenset())

    def wrong(self, node: Node, path: Path, found: str, hint: str = "") -> None:
        """Note a mistake in a step."""
        self.problems.add(node.place.source, node.at(path), found, hint)


def _path_to(node: Node, step_id: str) -> Path:
    """Where a step says that another follows it."""
    for key in ("next_step", "if_true_step", "if_false_step"):
        if node.given.get(key) == step_id:
            return (key,)
    return ()


def _texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value but the keys."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict):
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
