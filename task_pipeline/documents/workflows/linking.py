"""How the steps of a workflow lead to each other, as far as it can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..mistakes.problem_words import did_you_mean, nearest
from ..mistakes.problems import Path, Problems
from . import native
from .reading import Node, Workflow


@dataclass(slots=True)
class Links:
    """Where a step leads to: ids of steps that are there.

    - `following`: its next step; `ways`: the two of a conditional
    - `lists`: of a block, the lists of steps that run in it, each with its name
    """

    following: str | None = None
    ways: tuple[str | None, str | None] = (None, None)
    lists: list[tuple[str, list[str]]] = field(default_factory=list)


def link(workflow: Workflow, problems: Problems) -> dict[str, Links]:
    """Where every step leads to; unknown ids are mistakes, and read as the nearest known."""
    linking = _Linking(workflow, problems)
    links = {step_id: linking.links(node) for step_id, node in workflow.nodes.items()}
    linking.find_start(links)
    return links


class _Linking:
    def __init__(self, workflow: Workflow, problems: Problems) -> None:
        self._workflow = workflow
        self._nodes = workflow.nodes
        self._problems = problems
        self._listed: dict[str, tuple[str, Path]] = {}  # members: of which block

    def links(self, node: Node) -> Links:
        given, kind = node.given, node.kind
        following = given.get("next_step")
        if following is not None:
            following = self._known(node, ("next_step",), following)
        links = Links(following)
        if kind == "conditional":
            true, false = (
                self._known(node, (key,), given.get(key))
                for key in ("if_true_step", "if_false_step")
            )
            links.ways = (true, false)
            if not (given.get("if_true_step") or given.get("if_false_step")):
                self._add(node, (), "it leads nowhere", "give it if_true_step or if_false_step")
        elif kind in ("parallel", "fork_join", "loop", "native"):
            for name, path, ids in _lists(kind, given):
                known = [
                    self._member(node, (*path, number), step_id)
                    for number, step_id in enumerate(ids)
                    if isinstance(step_id, str)
                ]
                links.lists.append((name, [step_id for step_id in known if step_id is not None]))
            if kind == "parallel":  # each of its steps is a branch
                links.lists = [(one, [one]) for _, ids in links.lists for one in ids]
        return links

    def _known(self, node: Node, path: Path, step_id: Any) -> str | None:
        if not isinstance(step_id, str) or not step_id or step_id in self._nodes:
            return step_id if isinstance(step_id, str) and step_id else None
        names = list(self._nodes)
        hint = did_you_mean(step_id, names)
        self._add(node, path, f"there is no step {step_id!r}", hint)
        return nearest(step_id, names)

    def _member(self, node: Node, path: Path, step_id: str) -> str | None:
        if step_id == node.id:
            self._add(node, path, "the block lists itself", "take it out of the list")
            return None
        known = self._known(node, path, step_id)
        if known is None or step_id not in self._nodes:
            return known
        before = self._listed.setdefault(step_id, (node.id, path))
        if before == (node.id, path):
            return known
        if before[0] == node.id:
            found = f"the step {step_id!r} is listed twice"
            self._add(node, path, found, "a step runs once in a block")
        else:
            found = f"the step {step_id!r} is part of the block {before[0]!r} already"
            self._add(node, path, found, "a step is part of one block; give the other a step more")
        return None

    def find_start(self, links: dict[str, Links]) -> None:
        """Which step is the first, if the workflow does not say so."""
        workflow = self._workflow
        names = list(self._nodes)
        spot = workflow.spot
        if workflow.start is not None:
            if workflow.start not in self._nodes:
                self._problems.add(
                    spot.source,
                    (*spot.path, "start_step"),
                    f"there is no step {workflow.start!r}",
                    did_you_mean(workflow.start, names),
                )
                workflow.start = nearest(workflow.start, names)
            elif workflow.start in self._listed:
                self._problems.add(
                    spot.source,
                    (*spot.path, "start_step"),
                    f"the step {workflow.start!r} is part of the block "
                    f"{self._listed[workflow.start][0]!r}",
                    "start with the block, or with a step that no block has",
                )
            return
        if workflow.is_list:
            workflow.start = names[0]
            return
        led_to = {step_id for one in links.values() for step_id in _ids(one)}
        first = [step_id for step_id in names if step_id not in led_to]
        if len(first) == 1:
            (workflow.start,) = first
        else:
            shown_ids = ", ".join(map(repr, first[:12]))
            hint = f"it may be one of {shown_ids}" if first else "every step follows another one"
            self._problems.add(spot.source, spot.path, "`start_step` is missing", hint)

    def _add(self, node: Node, path: Path, found: str, hint: str) -> None:
        self._problems.add(node.place.source, node.at(path), found, hint)


def _lists(kind: str, given: dict[str, Any]) -> Iterator[tuple[str, Path, list[Any]]]:
    """The lists of ids in a block, whatever else may be wrong with it."""
    if kind == "fork_join":
        branches = given.get("branches")
        for name, branch in branches.items() if isinstance(branches, dict) else ():
            steps = branch.get("steps") if isinstance(branch, dict) else None
            if isinstance(steps, list):
                yield name, ("branches", name, "steps"), steps
        return
    if kind == "native":
        for name in native.nested_fields(str(given.get("type"))):
            if isinstance(given.get(name), list):
                yield name, (name,), given[name]
        return
    path: Path = ("parallel_steps",) if kind == "parallel" else ("loop_config", "loop_body")
    value: Any = given
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, list):
        yield "", path, value


def _ids(links: Links) -> Iterator[str]:
    if links.following is not None:
        yield links.following
    for way in links.ways:
        if way is not None:
            yield way
    for _, ids in links.lists:
        yield from ids


def meeting_points(links: dict[str, Links]) -> dict[str, str | None]:
    """For each conditional, the first step that both its ways come to, whatever they do before.

    For every other step, what follows it; nothing at all if there are no conditionals. Steps of
    blocks are not looked into: a block is one step. In a circle, which is a mistake, the answer
    has no meaning.
    """
    if all(one.ways == (None, None) for one in links.values()):
        return {}
    meets: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}
    for step_id in _last_first(links):
        one = links[step_id]
        if one.following is not None or one.ways == (None, None):
            after = one.following
        else:
            after = _common(one.ways[0], one.ways[1], meets, depth)
        if after not in depth:  # on a circle
            after = None
        meets[step_id] = after
        depth[step_id] = depth[after] + 1
    return meets


def _common(
    one: str | None,
    other: str | None,
    meets: dict[str, str | None],
    depth: dict[str | None, int],
) -> str | None:
    one, other = (way if way in depth else None for way in (one, other))
    while one != other:
        if depth[one] < depth[other]:
            one, other = other, one
        assert one is not None  # the end has the least depth
        one = meets[one]
    return one


def _last_first(links: dict[str, Links]) -> Iterator[str]:
    """The steps in an order in which each comes after all that it leads to."""
    seen: set[str] = set()
    for first, its_links in links.items():
        if first in seen:
            continue
        seen.add(first)
        stack = [(first, _onward(its_links))]
        while stack:
            step_id, onward = stack[-1]
            following = next(onward, None)
            if following is None:
                stack.pop()
                yield step_id
            elif following not in seen:
                seen.add(following)
                stack.append((following, _onward(links[following])))


def _onward(links: Links) -> Iterator[str]:
    return (step_id for step_id in (links.following, *links.ways) if step_id is not None)
