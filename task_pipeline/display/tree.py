"""Which lines a tree of a run has: all of them, or, where there is no room, those that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from .nodes import DisplayNode, RunState
from .outcomes import BAD
from .text import Signs

MOST_CHILDREN = 200
"""How many children of one group are listed at most when a run has ended; the rest are counted."""

MOST_LOOKED_AT = 100

MOST_GUIDE = 200  # cells; no terminal shows more, and nesting may be thousands deep


@dataclass(frozen=True, slots=True)
class Row:
    """A line: of the run itself, of a node, or, with neither, a `text` about what is hidden."""

    run: RunState
    node: DisplayNode | None = None
    guide: str = ""
    text: str = ""
    is_header: bool = False


Chosen = Callable[[DisplayNode], tuple[list[DisplayNode], str]]
"""Of a node: which children are shown, and what is said of the others ("" for nothing)."""


def full_tree(run: RunState, signs: Signs) -> list[Row]:
    """Every step once; of a group with very many children, the failed ones and the first."""

    def choose(node: DisplayNode) -> tuple[list[DisplayNode], str]:
        children = node.ordered()
        if len(children) <= MOST_CHILDREN:
            return children, ""
        bad = [child for child in children if child.outcome in BAD or child.outcome is None]
        shown = dict.fromkeys(bad[:MOST_CHILDREN])
        for child in children:
            if len(shown) >= MOST_CHILDREN:
                break
            shown[child] = None
        hidden = [child for child in children if child not in shown]
        return [child for child in children if child in shown], _count_hidden(hidden, signs)

    return _rows(run, signs, choose)


def fitting_tree(run: RunState, signs: Signs, room: int) -> list[Row]:
    """At most `room` lines: what runs and what failed, and what is around it, comes first."""
    if len(run.nodes) <= room:  # the root is the header
        return _rows(run, signs, lambda node: (node.ordered(), ""))
    shown = _choose(run, room)
    if not shown:  # too deep for the room: without what is around them
        flat = [*run.running][: max(0, room - 1)]
        return [_header(run), *(Row(run, node, signs.last) for node in flat)][:room]

    def choose(node: DisplayNode) -> tuple[list[DisplayNode], str]:
        children = sorted(shown.get(node, ()), key=lambda child: child.index)
        return children, _say_hidden(node, children, signs)

    return _rows(run, signs, choose)[:room]


def _choose(run: RunState, room: int) -> dict[DisplayNode, list[DisplayNode]]:
    """Which children of which nodes to show, the most important ones first, until it is full."""
    shown: dict[DisplayNode, list[DisplayNode]] = {}
    seen = {run.root}
    lines = 2  # the header, and how many are hidden below it
    for node in _by_importance(run):
        chain: list[DisplayNode] = []
        current: DisplayNode | None = node
        while current is not None and current not in seen:
            chain.append(current)
            current = current.parent
        # A group may need a line more, for how many are hidden in it.
        cost = len(chain) + sum(bool(link.children) for link in chain)
        if not chain or lines + cost > room:
            continue
        lines += cost
        for link in chain:
            seen.add(link)
            if link.parent is not None:
                shown.setdefault(link.parent, []).append(link)
        if lines >= room:
            break
    return shown


def _by_importance(run: RunState) -> Iterable[DisplayNode]:
    # Not all of a thousand: each that does not fit costs a look.
    yield from islice(run.running, MOST_LOOKED_AT)
    yield from islice(reversed(run.bad), MOST_LOOKED_AT)
    yield from reversed(run.recent)


def _header(run: RunState) -> Row:
    return Row(run, run.root, is_header=True)


def _rows(run: RunState, signs: Signs, choose: Chosen) -> list[Row]:
    rows = [] if run.is_implied else [_header(run)]
    # Beside each node, the guide of its own line and of those below it.
    waiting: list[tuple[DisplayNode | str, str, str]] = []

    def push(node: DisplayNode, below: str) -> None:
        children, hidden = choose(node)
        below = below[-MOST_GUIDE:]
        lines: list[DisplayNode | str] = [*children, *([hidden] if hidden else [])]
        is_top = node is run.root and run.is_implied
        for number, line in reversed([*enumerate(lines)]):
            is_last = number == len(lines) - 1
            own = "" if is_top else below + (signs.last if is_last else signs.branch)
            inner = "" if is_top else below + (signs.blank if is_last else signs.line)
            waiting.append((line, own, inner))

    push(run.root, "")
    while waiting:
        line, own, inner = waiting.pop()
        if isinstance(line, str):
            rows.append(Row(run, None, own, line))
        else:
            rows.append(Row(run, line, own))
            if line.children:
                push(line, inner)
    return rows


def _count_hidden(hidden: list[DisplayNode], signs: Signs) -> str:
    outcomes: dict[str, int] = {}
    for node in hidden:
        word = "not ended" if node.outcome is None else node.outcome.value.replace("_", " ")
        outcomes[word] = outcomes.get(word, 0) + 1
    told = ", ".join(f"{number} {word}" for word, number in outcomes.items())
    return f"{signs.ellipsis} {len(hidden)} more: {told}"


def _say_hidden(node: DisplayNode, shown: list[DisplayNode], signs: Signs) -> str:
    done = node.children_ended - sum(child.outcome is not None for child in shown)
    active = sum(child.is_running or child.is_waiting for child in shown)
    running = node.children_running - active
    known = max(node.total, len(node.children))
    coming = known - node.children_ended - node.children_running
    parts = [(done, "done"), (running, "running"), (coming, "to come")]
    told = [(number, word) for number, word in parts if number > 0]
    if not told:
        return ""
    (first, word), *others = told
    rest = "".join(f", {number} {word}" for number, word in others)
    return f"{signs.ellipsis} {first} more {word}{rest}"
