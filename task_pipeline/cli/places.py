"""Where in a document the step of a pipeline is written."""

from __future__ import annotations

from collections.abc import Callable

from ..compiler import compile_plan
from ..journal.outline import node_at
from ..pipeline import Pipeline


def place_in(pipeline: Pipeline) -> Callable[[str], str]:
    """Gives "file:line:column" of the step at a path; "" for one that no document has."""

    def place_of(path: str) -> str:
        step = node_at(compile_plan(pipeline), path)
        place = None if step is None else getattr(step.spec.source, "place", None)
        source = getattr(place, "source", None)
        if place is None or source is None:
            return ""
        found = source.locate(place.path)
        numbers = () if found is None else found
        name = source.name
        return ":".join(map(str, [*(() if name is None else (name,)), *numbers]))

    return place_of
