"""The files of the recipes that a recipe runs: where they are, and what is in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...context import PipelineContext
from ...errors import DocumentError, NotAllowedError
from ..mistakes.problems import Problems
from ..reading.source import Source, read_source
from ..surroundings import Surroundings, refusal


class Inclusions:
    """Reads the recipes that one load includes, each once."""

    def __init__(self) -> None:
        self._read: dict[Path, Source | None] = {}

    def read(self, file: Path, problems: Problems) -> Source | None:
        """The recipe in a file; None, and what is wrong with it, if it cannot be read."""
        if file not in self._read:
            self._read[file] = None
            try:
                self._read[file] = read_recipe(file)
            except DocumentError as error:
                problems.take(error)
        return self._read[file]


@dataclass(frozen=True, slots=True)
class IsUnchanged:
    """Whether a recipe still is what it was when the recipe around it was loaded.

    Asked if a step before it may have written the file.
    """

    file: Path
    text: str | None

    @property
    def words(self) -> str:
        """What is asked."""
        return f"{self.file.name} is unchanged"

    def __call__(self, context: PipelineContext[Any]) -> bool:
        """Look at the file, as carefully as when it is to be run."""
        try:
            return read_recipe(self.file).text == self.text
        except DocumentError:
            return False


def find_recipe(written: str, source: Source, surroundings: Surroundings) -> Path | None:
    """The file of a recipe that another one names; None if there is none.

    It is looked for from the folder of the recipe that names it, from the working directory
    and from the root. It must lie in the working directory, the root or the folder of the
    outermost recipe. Raises `NotAllowedError`.
    """
    if not written.strip() or "\0" in written:
        raise NotAllowedError(f"{written!r} is no name of a file")
    starts = (source.folder, Path.cwd(), surroundings.root, surroundings.folder)
    allowed = [_resolved(start, "") for start in starts[1:]]
    may_be_anywhere = "files" in surroundings.allow
    is_refused = True
    for start in dict.fromkeys(starts):
        file = _resolved(start, written)
        if may_be_anywhere or any(map(file.is_relative_to, allowed)):
            is_refused = False
            if os.path.exists(file):  # noqa: PTH110  # raises nothing: what cannot be is not there
                return file
    if is_refused:
        raise NotAllowedError(refusal("files", f"running the recipe {written!r} from elsewhere"))
    return None


def _resolved(start: Path, written: str) -> Path:
    try:
        return (start / written).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # such as links that go in a circle
        raise NotAllowedError(f"{written!r} cannot be the name of a file: {error}") from error


def places_of(source: Source, surroundings: Surroundings) -> str:
    """Where a recipe has been looked for, in words."""
    starts = (source.folder, Path.cwd(), surroundings.root, surroundings.folder)
    return ", ".join(dict.fromkeys(repr(str(start)) for start in starts))


def files_written(fields: Mapping[str, Any], surroundings: Surroundings) -> Iterator[Path]:
    """The files that a step names which writes files, as far as they are written out."""
    root, files = fields.get("root", "."), fields.get("files")
    for one in files if isinstance(files, list) else ():
        path = one.get("path") if isinstance(one, dict) else None
        if isinstance(path, str) and isinstance(root, str):
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                yield (surroundings.root / root / path).resolve()


def read_recipe(file: Path) -> Source:
    """What is in a file, by its shortest name. Raises `DocumentError`."""
    folder = Path.cwd()
    return read_source(file.relative_to(folder) if file.is_relative_to(folder) else file)
