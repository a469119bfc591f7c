"""The plan that a run recorded, read back: what each path is called, and what it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from ..errors import JournalDataError
from ..journal.outline import chain, entry_at

_JOINS = {"AND": "all", "OR": "any"}


class Outline:
    """All nodes that stand in a plan by their paths, and those that are made of its templates."""

    def __init__(self, text: str, run_id: str) -> None:
        """Raises `JournalDataError` if the text is no outline; an empty one has no nodes."""
        self._root: dict[str, Any] | None = None
        self.nodes: dict[str, dict[str, Any]] = {}
        if not text:
            return
        try:
            self._root = json.loads(text)
            found = list(_checked(self._root))
        except (TypeError, ValueError, RecursionError) as error:
            raise JournalDataError(
                f"workflow_runs, run {run_id!r}, column plan: this is no outline of a plan: "
                f"{error}",
                run_id,
            ) from error
        for _, entry in reversed(found):  # what is in a group comes after it
            entry["idle"] = _has_nothing_to_do(entry)
        self.nodes = {path: entry for path, entry in found if path is not None}

    def at(self, path: str) -> dict[str, Any] | None:
        """What stands there in the plan, or what it is an instance of."""
        found = self.nodes.get(path)
        if found is not None or self._root is None or not _is_of_numbers(path):
            return found
        return entry_at(self._root, path)

    def name_at(self, path: str) -> str:
        """What is called so there; an instance of a template has its index behind that.

        "" if nothing stands there.
        """
        entry = self.at(path)
        if entry is None or path in self.nodes or self._root is None:
            return "" if entry is None else name_in(entry)
        above = itertools.pairwise(chain(self._root, path))
        suffix = "".join(f"[{at.rpartition('.')[2]}]" for (_, up), (at, _) in above if "each" in up)
        if "unnamed" in entry and "dynamic" not in entry:
            return f"{entry['group']}_group_{path}"
        return name_in(entry) + suffix


def name_in(entry: dict[str, Any]) -> str:
    """What a node is called."""
    return str(entry["step"] if "step" in entry else entry["name"])


def is_idle(entry: dict[str, Any]) -> bool:
    """Whether a node has nothing to do, and so leaves no row that says that it was done."""
    return entry["idle"] is True


def _has_nothing_to_do(entry: dict[str, Any]) -> bool:
    """The same, of a node whose children know it of themselves."""
    if entry.get("group") != "serial":
        return False
    dynamic = entry.get("dynamic")
    return all(map(is_idle, entry["children"])) if dynamic is None else dynamic.get("times") == 0


def join_in(entry: dict[str, Any], count: int) -> str:
    """How many of so many branches of a group must succeed; "" if it is none of branches."""
    if entry.get("group") != "parallel":
        return ""
    quorum = entry.get("quorum")
    return _JOINS.get(str(entry.get("operator")), f"{quorum} of {count}")


def _is_of_numbers(path: str) -> bool:
    return all(part.isascii() and part.isdigit() and len(part) < 10 for part in path.split("."))


def _checked(root: object) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Every node, in order, with its path; without one below a template."""
    stack: list[tuple[str | None, object]] = [("", root)]
    while stack:
        path, entry = stack.pop()
        if not isinstance(entry, dict):
            raise TypeError(f"a node is an object, not {entry!r:.80}")
        yield path, entry
        if isinstance(entry.get("step"), str):
            continue
        if not (isinstance(entry.get("group"), str) and isinstance(entry.get("name"), str)):
            raise TypeError(f"a node is a step, or a group with a name, not {entry!r:.80}")
        dynamic = entry.get("dynamic")
        if not (dynamic is None or isinstance(dynamic, dict)):
            raise TypeError(f"what a dynamic group is stands in an object, not {dynamic!r:.80}")
        if "each" in entry:
            stack.append((None, entry["each"]))
            continue
        children = entry.get("children")
        if not isinstance(children, list):
            raise TypeError(f"a group has a list of children, not {children!r:.80}")
        below = None if path is None else f"{path}." if path else ""
        stack += [
            (None if below is None else f"{below}{index}", child)
            for index, child in reversed(list(enumerate(children)))
        ]
