"""Which parts of a run a name stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from ..errors import ConfigurationError
from .outline import Entry, entry_at
from .records import StepRecord


def paths_of(name: str, outline: Entry, steps: Iterable[StepRecord]) -> list[str]:
    """The paths of what is called so: a step, a group, all instances of a step; or a path itself.

    Raises `ConfigurationError`, with what comes near, if there is none.
    """
    written = {path: _name(entry) for path, entry in _walk(outline)}
    found = [path for path, known in written.items() if known == name]
    recorded = [
        step.path
        for step in steps
        if step.step_id == name or step.step_id.partition("[")[0] == name
    ]
    if found or recorded:
        return sorted({*found, *recorded})
    if _is_path(name) and entry_at(outline, name) is not None:
        return [name]
    near = difflib.get_close_matches(name, [known for known in written.values() if known], n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ConfigurationError(f"from_step: no step or group is called {name!r}{hint}")


def _walk(outline: Entry) -> Iterator[tuple[str, Entry]]:
    stack = [("", outline)]
    while stack:
        path, entry = stack.pop()
        yield path, entry
        for index, child in enumerate(entry.get("children", ())):
            stack.append((f"{path}.{index}" if path else str(index), child))


def _name(entry: Entry) -> str | None:
    name: str | None = entry.get("step") or entry.get("name")
    return name


def _is_path(name: str) -> bool:
    return all(part.isdigit() for part in name.split("."))
