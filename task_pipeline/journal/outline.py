"""What of a plan decides which results come out of it: written down, and compared.

Timeouts, retries, limits, delays and weights are not part of it: who raises a
timeout wants to go on with the run that missed it. Nor is the code of a step:
its `version` says when that matters.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import JournalDataError
from ..groups import Branch, Dynamic, Loop, Map
from ..plan import GroupNode, Kind, Node, Plan, StepNode
from .records import StepRecord

Entry = dict[str, Any]
"""One node: `step` or `group` says what it is; a group has `children`, or `each`."""


def outline_of(plan: Plan) -> Entry:
    """The tree of a plan as JSON has it."""
    made: dict[Node, Entry] = {}
    # Children before the groups they are in, so that no nesting is too deep.
    for node in reversed(list(_nodes(plan.root))):
        made[node] = _group_entry(node, made) if isinstance(node, GroupNode) else _step_entry(node)
    root = made[plan.root]
    root["name"] = "pipeline"  # whatever it is called: nothing that a step does depends on it
    root.pop("unnamed", None)
    return root


def _nodes(root: Node) -> Iterator[Node]:
    stack: list[Node] = [root]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, GroupNode):
            stack.extend(reversed(node.children))
            if node.template is not None:
                stack.append(node.template.node)


def _step_entry(node: Node) -> Entry:
    assert isinstance(node, StepNode)
    entry: Entry = {"step": node.step_id}
    if not node.spec.critical:
        entry["critical"] = False
    if node.spec.version is not None:
        entry["version"] = node.spec.version
    return entry


def _group_entry(node: GroupNode, made: dict[Node, Entry]) -> Entry:
    parallel = node.kind is Kind.PARALLEL
    entry: Entry = {"group": "parallel" if parallel else "serial", "name": node.name}
    if node.is_unnamed:
        entry["unnamed"] = True
    if parallel:
        config = node.config
        entry["operator"] = config.operator.value
        if config.quorum is not None:
            entry["quorum"] = config.quorum
        entry["on_error"] = config.error_strategy.value
        entry["on_conflict"] = config.on_conflict or node.scope.on_conflict
        entry["reducers"] = sorted(map(str, node.scope.reducers))
    if node.goes_on:
        entry["goes_on"] = True
    if not node.critical:
        entry["critical"] = False
    if node.collector is not None and node.collector.version is not None:
        entry["collects"] = node.collector.version
    if node.tolerant:
        entry["tolerant"] = True
    written = node.dynamic
    if written is not None:
        entry["dynamic"] = _dynamic_entry(written)
    if node.template is not None:
        entry["each"] = made[node.template.node]
    else:
        entry["children"] = [made[child] for child in node.children]
    return entry


def _dynamic_entry(written: Dynamic) -> Entry:
    entry: Entry = {"kind": written.form}
    if isinstance(written, Map):
        entry |= {"item_key": written.item_key, "result_key": written.result_key}
        entry["over"] = _key(written.over)
    elif isinstance(written, Loop):
        entry |= {"times": written.times, "while": _key(written.while_)}
    elif isinstance(written, Branch):
        entry["condition"] = _key(written.condition)
    return entry


def _key(asked: object) -> str | None:
    """What a dynamic group asks, as far as it can be told: a key, or the version of a function."""
    told = asked if isinstance(asked, str) else getattr(asked, "version", None)
    return told if isinstance(told, str) else None


def node_at(plan: Plan, path: str) -> StepNode | None:
    """The step at a path, or the one it is an instance of."""
    node: Node = plan.root
    for index in _indices(path):
        if not isinstance(node, GroupNode):
            return None
        if node.template is not None:
            node = node.template.node
        elif index < len(node.children):
            node = node.children[index]
        else:
            return None
    return node if isinstance(node, StepNode) else None


def text_of(entry: Entry) -> str:
    """The outline as it is stored; raises `JournalDataError` for one that is too deep."""
    try:
        return json.dumps(entry, separators=(",", ":"))
    except RecursionError as error:
        raise JournalDataError(
            "the pipeline is nested too deep to be recorded: write its lists flatter"
        ) from error


def written_outline(plan: Plan) -> tuple[str, str]:
    """A plan's outline as it is stored, and its fingerprint; kept with the plan.

    Raises `JournalDataError` for a plan that a journal cannot hold.
    """
    if plan.outline is None:
        _require_plain_ids(plan)
        text = text_of(outline_of(plan))
        plan.outline = text, fingerprint_of(text)
    return plan.outline


def _require_plain_ids(plan: Plan) -> None:
    """Steps are told by their ids, so a journal must be able to give them back as they are."""
    wrong = [spec.step_id for spec in plan.specs if not _is_plain(spec.step_id)]
    if wrong:
        raise JournalDataError(
            f"a journal cannot hold the ids of the steps {', '.join(map(repr, wrong))}: NUL and "
            "lone surrogates have no place in a database; call the steps something else"
        )


def _is_plain(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def fingerprint_of(text: str) -> str:
    """What is the same for two runs of one plan."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def entry_at(root: Entry, path: str) -> Entry | None:
    """The entry of the node at a path, or of the template it is an instance of."""
    entry: Entry | None = root
    for index in _indices(path):
        if entry is None:
            return None
        entry = _child(entry, index)
    return entry


def stands_at(root: Entry, path: str, step_id: str) -> bool:
    """Whether that step, or the template that it is an instance of, is at a path."""
    name = (entry_at(root, path) or {}).get("step")
    return name is not None and (step_id == name or step_id.startswith(f"{name}["))


def _child(entry: Entry, index: int) -> Entry | None:
    if "each" in entry:
        each: Entry = entry["each"]
        return each
    children: list[Entry] = entry.get("children", [])
    return children[index] if index < len(children) else None


def _indices(path: str) -> list[int]:
    return [int(part) for part in path.split(".")] if path else []


def dynamic_kind(root: Entry, path: str) -> str | None:
    """Which kind of dynamic group stands at a path, if one does."""
    entry = entry_at(root, path)
    written = None if entry is None else entry.get("dynamic")
    return written.get("kind") if isinstance(written, dict) else None


def chain(root: Entry, path: str) -> list[tuple[str, Entry]]:
    """The nodes on the way down to a path, the root first, each with its own path."""
    found = [("", root)]
    entry: Entry | None = root
    parts: list[str] = []
    for index in _indices(path):
        entry = None if entry is None else _child(entry, index)
        if entry is None:
            break
        parts.append(str(index))
        found.append((".".join(parts), entry))
    return found


def relocated(step: StepRecord, root: Entry, path: str) -> StepRecord:
    """The record of a step that stands at another path now."""
    nodes = chain(root, path)
    above = [index for index, (_, entry) in enumerate(nodes[:-1]) if _is_parallel(entry)]
    if not above:
        return dataclasses.replace(step, path=path)
    group, child = nodes[above[-1]][1], nodes[above[-1] + 1][1]
    name = step.branch_name if "each" in group else child.get("step") or child.get("name")
    index = _indices(path)[above[-1]]
    return dataclasses.replace(
        step, path=path, parent_step_id=group["name"], branch_name=name, parallel_index=index
    )


def _is_parallel(entry: Entry) -> bool:
    return entry.get("group") == "parallel"


@dataclass(slots=True)
class Comparison:
    """How one plan became another.

    - `changes`: what changed, each in words
    - `kept`: where parts stand now that are what they were, by where they stood; what is in
      none of them is new, or comes after something that changed
    """

    changes: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def origin_of(self, path: str) -> str:
        """Where something stood that stands at `path` now; the same path, if it is new."""
        for old, new in self.kept.items():
            if path == new or path.startswith(f"{new}." if new else ""):
                return ".".join(filter(None, (old, path[len(new) :].lstrip("."))))
        return path

    def place_of(self, path: str) -> str | None:
        """Where something stands now that stood at `path`; None if it is to happen anew."""
        parts = path.split(".")
        for length in range(len(parts), -1, -1):
            before = ".".join(parts[:length])
            if before in self.kept:
                return ".".join(filter(None, (self.kept[before], *parts[length:])))
        return None


def compare(before: Entry, now: Entry) -> Comparison:
    """Find what changed between two outlines."""
    found = Comparison()
    _align(before, now, "", "", found)
    return found


def _align(before: Entry, now: Entry, old: str, new: str, found: Comparison) -> bool:
    """Whether two nodes are the same, with all below them."""
    if _is_equal(before, now):
        found.kept[old] = new
        return True
    at = f"at path {new}" if new else "in the whole pipeline"
    if not _is_same_group(before, now) or "children" not in now or "dynamic" in now:
        found.changes.append(f"{at}: {_changed(before, now)}")
        return False
    if now["group"] == "serial":
        _align_series(before["children"], now["children"], (old, new), found)
    else:
        _align_branches(before["children"], now["children"], (old, new), found)
    return False


def _changed(before: Entry, now: Entry) -> str:
    """What became of a node, in words: another one, or one with other settings."""
    words, then = _words(now), _words(before)
    if words != then:
        return f"{words}, where it was {then}"
    keys = sorted((before.keys() | now.keys()) - {"children"})
    settings = [
        f"{key}={now.get(key)!r}, where it was {before.get(key)!r}"
        for key in keys
        if before.get(key) != now.get(key) and key != "goes_on"
    ]
    if before.get("goes_on") != now.get("goes_on"):
        fails_fast = "goes_on" not in now
        settings.append(f"fail_fast={fails_fast}, where it was {not fails_fast}")
    return f"{words} has {'; '.join(settings) or 'other steps in it'}"


def _is_same_group(before: Entry, now: Entry) -> bool:
    inside: tuple[str, ...] = ("children", "each")
    if "group" not in before or "group" not in now:
        return False
    if before.get("unnamed") and now.get("unnamed"):  # called by where it stands
        inside = (*inside, "name")
    return {key: value for key, value in before.items() if key not in inside} == {
        key: value for key, value in now.items() if key not in inside
    }


def _align_series(
    before: list[Entry], now: list[Entry], at: tuple[str, str], found: Comparison
) -> None:
    """What stands before the first change is kept."""
    for index, entry in enumerate(now):
        place = _below(at[1], index)
        if index >= len(before):
            found.changes.append(f"at path {place}: {_words(entry)} was added")
            return
        if not _align(before[index], entry, _below(at[0], index), place, found):
            return
    found.changes += [
        f"{_words(entry)} was removed, which was at path {_below(at[0], index)}"
        for index, entry in enumerate(before[len(now) :], len(now))
    ]


def _align_branches(
    before: list[Entry], now: list[Entry], at: tuple[str, str], found: Comparison
) -> None:
    """Branches are told by what they are, then by their names, wherever they stand."""
    left = dict(enumerate(before))
    partner: dict[int, int] = {}
    for is_alike in (_is_equal, _has_same_name):
        for index, entry in enumerate(now):
            if index not in partner:
                alike = next((old for old, other in left.items() if is_alike(other, entry)), None)
                if alike is not None:
                    partner[index] = alike
                    del left[alike]
    for index, entry in enumerate(now):
        place = _below(at[1], index)
        if index not in partner:
            found.changes.append(f"at path {place}: {_words(entry)} was added")
            continue
        same = _align(before[partner[index]], entry, _below(at[0], partner[index]), place, found)
        if same and partner[index] != index:
            found.changes.append(f"at path {place}: {_words(entry)} has moved")
    found.changes += [
        f"{_words(entry)} was removed, which was at path {_below(at[0], index)}"
        for index, entry in left.items()
    ]


def _is_equal(before: Entry, now: Entry) -> bool:
    return before == now or _without_places(before) == _without_places(now)


def _without_places(entry: Entry) -> Entry:
    """An entry without the names of groups that are called by where they stand."""
    plain = {key: value for key, value in entry.items() if key != "name" or "unnamed" not in entry}
    if "children" in entry:
        plain["children"] = [_without_places(child) for child in entry["children"]]
    if "each" in entry:
        plain["each"] = _without_places(entry["each"])
    return plain


def _has_same_name(before: Entry, now: Entry) -> bool:
    same: bool = _name(before) == _name(now)
    return same


def _name(entry: Entry) -> Any:
    return entry.get("step") or (entry["group"], None if "unnamed" in entry else entry["name"])


def _below(path: str, index: int) -> str:
    return f"{path}.{index}" if path else str(index)


def _words(entry: Entry) -> str:
    if "step" in entry:
        version = entry.get("version")
        more = [] if version is None else [f"version {version!r}"]
        more += ["not critical"] if entry.get("critical") is False else []
        return f"step {entry['step']!r}" + (f" ({', '.join(more)})" if more else "")
    kind = entry.get("dynamic", {}).get("kind") or f"{entry['group']} group"
    details = [f"{key}={entry[key]}" for key in ("operator", "quorum", "on_error") if key in entry]
    count = len(entry["children"]) if "children" in entry else 1
    details.append(f"of {count}")
    return f"{kind} {entry['name']!r} ({', '.join(details)})"
