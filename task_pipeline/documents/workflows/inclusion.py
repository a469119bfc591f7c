"""Workflows inside of workflows: written right there, or in a file."""

from __future__ import annotations

import os
from pathlib import Path as File

from ...errors import DocumentError, MissingExtraError
from ..mistakes.problems import DocumentProblem, Path
from ..reading.source import Source, read_source
from ..surroundings import Surroundings
from .making import Builder, Made
from .reading import Node
from .spelling import Spot


def included(node: Node, builder: Builder) -> Made | None:
    """The steps of a sub_workflow; None if there is no having them."""
    right_here, path = node.given.get("workflow"), node.given.get("workflow_path")
    if (right_here is None) == (path is None):
        found = "it says neither `workflow` nor `workflow_path`"
        if path is not None:
            found = "it says both `workflow` and `workflow_path`"
        builder.wrong(node, (), found, "give it one of them")
        return None
    if right_here is not None:
        spot = Spot(node.place.source, node.at(("workflow",)))
        return builder.within(right_here, spot, node) if isinstance(right_here, dict) else None
    if not isinstance(path, str) or not path:
        return None
    at: Path = ("workflow_path",)
    file = _file(node.place.source, path, builder.surroundings)
    if isinstance(file, str):
        builder.wrong(node, at, file, 'name a file below, or pass allow={"files"} if it is meant')
        return None
    try:
        source = read_source(file)
    except DocumentError as error:
        for problem in error.problems:
            builder.wrong(node, at, _told(problem))
        return None
    except MissingExtraError as error:
        builder.wrong(node, at, str(error))
        return None
    return builder.within(source.value, Spot(source, ()), node)


def _told(problem: str) -> str:
    if isinstance(problem, DocumentProblem) and problem.file is not None:
        where = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
        return f"{where}: {problem.found}"
    return str(problem)


def _file(source: Source, path: str, surroundings: Surroundings) -> File | str:
    """The file of that path, looked for beside the document first; or why it may not be read."""
    folders = (source.folder, surroundings.folder, surroundings.root, File.cwd())
    try:
        wanted = [(folder / path).resolve() for folder in folders]
        allowed = [folder.resolve() for folder in folders[1:]]
    except (OSError, ValueError, RuntimeError) as error:
        return f"{path!r} cannot be the name of a file: {error}"
    if "files" not in surroundings.allow:
        inside = [one for one in wanted if any(one.is_relative_to(root) for root in allowed)]
        if not inside:
            return f"{path!r} is outside of the folders that this document may read"
        wanted = inside
    # It raises nothing: what cannot be a file's name is not there.
    return next((one for one in wanted if os.path.exists(one)), wanted[0])  # noqa: PTH110
