"""Which parts of a run a name stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from ..errors import ConfigurationError
from .outline import Entry, entry_at
from .records import StepRecord


def paths_of(name: str, outline: Entry, steps: Iterable[StepRecord]) -> list[str]:
    """The paths of what is called so: a step, a group, all instances of a step; or a path itself.

    None for what stands in a `Map` or `Loop` of which nothing is recorded. Raises
    `ConfigurationError`, with what comes near, if nothing is called so.
    """
    named = [(path, _name(entry)) for path, entry in _walk(outline)]
    found = [path for path, known in named if path is not None and known == name]
    recorded = [
        step.path
        for step in steps
        if step.step_id == name or step.step_id.partition("[")[0] == name
    ]
    if found or recorded or any(known == name for _, known in named):
        return sorted({*found, *recorded})
    if _is_path(name) and entry_at(outline, name) is not None:
        return [name]
    near = difflib.get_close_matches(name, [known for _, known in named if known], n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ConfigurationError(f"from_step: no step or group is called {name!r}{hint}")


def _walk(outline: Entry) -> Iterator[tuple[str | None, Entry]]:
    """All entries; what is only there as instances has no path of its own."""
    stack: list[tuple[str | None, Entry]] = [("", outline)]
    while stack:
        path, entry = stack.pop()
        yield path, entry
        if "each" in entry:
            stack.append((None, entry["each"]))
        for index, child in enumerate(entry.get("children", ())):
            below = None if path is None else f"{path}.{index}" if path else str(index)
            stack.append((below, child))


def _name(entry: Entry) -> str | None:
    name: str | None = entry.get("step") or entry.get("name")
    return name


def _is_path(name: str) -> bool:
    return all(part.isdigit() for part in name.split("."))
