"""Pipelines as plain data: what Hypothesis draws, the library builds and the interpreter reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

Path = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A step as written. `work(context, attempt)` is the user's code.

    What only takes time, or limits how much, changes nothing here: `delay`, `timeout`, `limit`.
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
    limit: str | None = None

    def __repr__(self) -> str:
        return shown(self)


@dataclass(frozen=True, eq=False)
class Group:
    """A group as written; `kind`: "list", "serial", "parallel", "pipeline", or a dynamic one.

    `settings` has what was set and nothing else: `operator`, `quorum`, `error_strategy`,
    `on_conflict` … of a parallel group; `fail_fast`, `parallel` (defaults for the groups
    in it), `on_conflict`, `reducers` … of a pipeline.

    What is only known in a run is for `asked` to find out: the items of a "map", the condition
    of a "branch" or a "loop". A map has the settings of a parallel group, and as `item_key`
    and `result_key` what `keys` says; of a loop there are `times` rounds at most.
    """

    kind: str
    children: tuple[Step | Group, ...]
    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    asked: Any = None
    keys: tuple[str, str | None] = ("item", None)
    times: int | None = None

    def __repr__(self) -> str:
        return shown(self)


class Skips(Exception):
    """What a drawn step raises to give up its turn."""


class Stops(Exception):
    """What a drawn step raises to end the run early, and well."""

    def __init__(self, result: Any = None) -> None:
        super().__init__(result)
        self.result = result


DYNAMIC = ("map", "branch", "loop")
REPEATED = ("map", "loop")
"""Kinds of groups whose steps are only there in a run, once for each item or round."""


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


def dotted(path: Path) -> str:
    """A path as it is written in messages."""
    return ".".join(map(str, path))


def is_parallel(group: Group, in_series: bool) -> bool:
    """Whether a group's children run side by side, given what a list would be where it stands."""
    return group.kind in ("parallel", "map") or (group.kind == "list" and not in_series)


def nodes_of(tree: Group, path: Path = (), repeats: bool = True) -> Iterator[tuple[Path, Any]]:
    """Every step and group below, with its path, in the order written.

    Without `repeats`, only what is there before the run.
    """
    for index, child in enumerate(tree.children):
        below = (*path, index)
        yield below, child
        if isinstance(child, Group) and (repeats or child.kind not in REPEATED):
            yield from nodes_of(child, below, repeats)


def is_named_after_its_step(group: Group) -> bool:
    """Whether a map is called as the only step in it."""
    return group.kind == "map" and group.name is None and isinstance(group.children[0], Step)


def numbered(tree: Group) -> dict[Path, str]:
    """The id of each step and dynamic group: the second `load` is `load#2`."""
    ids: dict[Path, str] = {}
    seen: dict[str, int] = {}
    for path, node in nodes_of(tree):
        if isinstance(node, Group) and node.kind not in DYNAMIC:
            continue
        if path[:-1] in ids and is_named_after_its_step(_at(tree, path[:-1])):
            ids[path] = ids[path[:-1]]
            continue
        if isinstance(node, Step):
            name = node.name
        elif is_named_after_its_step(node):
            name = node.children[0].name
        else:
            name = node.name or f"{node.kind}_{dotted(path)}"
        seen[name] = count = seen.get(name, 0) + 1
        ids[path] = name if count == 1 else f"{name}#{count}"
    return ids


def _at(tree: Group, path: Path) -> Any:
    node: Any = tree
    for index in path:
        node = node.children[index]
    return node


def known_before(tree: Group) -> set[str]:
    """The ids of the steps and dynamic groups that are there before the run."""
    ids = numbered(tree)
    return {ids[path] for path, _ in nodes_of(tree, repeats=False) if path in ids}


def changed_in_branches(tree: Group, change: Callable[[Any], Any]) -> Group:
    """The same tree, with whatever is asked or worked in a branch replaced.

    What stands in two places as one object does so afterwards, as far as it is the same.
    """
    done: dict[tuple[int, bool, bool], Any] = {}

    def node(old: Any, in_series: bool, in_branch: bool) -> Any:
        key = (id(old), in_series, in_branch)
        if key not in done:
            done[key] = made(old, in_series, in_branch)
        return done[key]

    def made(old: Any, in_series: bool, in_branch: bool) -> Any:
        if isinstance(old, Step):
            return replace(old, work=change(old.work)) if in_branch else old
        parallel = is_parallel(old, in_series)
        below = parallel or old.kind in DYNAMIC
        children = tuple(node(child, below, in_branch or parallel) for child in old.children)
        asked = change(old.asked) if in_branch else old.asked
        return replace(old, children=children, asked=asked)

    return node(tree, False, False)  # type: ignore[no-any-return]  # it is a group as given
