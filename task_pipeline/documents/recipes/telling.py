"""How messages at run time say where in a document something stands."""

from __future__ import annotations

from ..mistakes.problems import DocumentProblem, Path, path_text
from ..typed_steps import Place


def told(place: Place, path: Path, found: object, hint: str = "") -> str:
    """What was found at a path below a place: "file:line:column: path: found; hint"."""
    whole = place.path + path
    line, column = place.source.locate(whole) or (None, None)
    return str(
        DocumentProblem(
            str(found),
            hint,
            path=path_text(whole),
            file=place.source.name,
            line=line,
            column=column,
        )
    )
