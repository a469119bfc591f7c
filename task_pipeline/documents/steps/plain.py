"""What the library's plain types have in common: how they name a place, and find files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field

from ...context import PipelineContext
from ...errors import NotAllowedError
from ..mistakes.problems import Path
from ..surroundings import Surroundings
from ..templating.templates import as_value
from ..typed_steps import DocumentStep, Place

Context = PipelineContext[Any]
Finding = tuple[Path, str, str]
"""Where in a step's fields something is wrong, what was found, what to do."""

Key = Annotated[str, Field(min_length=1)]
"""A key of `results`: a text that is not empty, taken as it is, dots too."""


class PlainStep(DocumentStep):
    """A step whose messages say which step, field and place of the document they are about."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return ()

    def where(self, context: Context, *field: str | int) -> str:
        """The step, and the field of it, in words: how a message begins."""
        place = str(Place(self.place.source, (*self.place.path, *field)))
        step = f"step {context.step_id!r}" if context.step_id else ""
        return ", ".join(part for part in (step, place) if part)

    def file(self, context: Context, given: str, *field: str | int) -> FilePath:
        """The file or folder that a field names, with every link in its path followed.

        Raises `NotAllowedError` for one that is outside of root.
        """
        what = self.where(context, *field)
        if not given.strip():
            raise ValueError(f"{what}: the text is empty; name a file or a folder")
        return self.surroundings.path(given, what)


def names_in(text: str) -> list[str]:
    """The names in a text that is not one itself: of the list that it spells, or between commas.

    A list is what a template gives that is nothing but a variable with one.
    """
    spelled = as_value(text) if text.lstrip().startswith("[") else None
    if isinstance(spelled, list) and all(isinstance(name, str) for name in spelled):
        return spelled
    if "," not in text:
        return [text]
    return [name for name in map(str.strip, text.split(",")) if name]


def has_tag(text: str) -> bool:
    """Whether a text of a document is to be replaced, by a template or a reference, in a run."""
    return "{{" in text or "{%" in text or "${" in text


def texts_in(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The texts of a field that is one, or a list of them."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, str):
                yield (*path, index), item


def outside(texts: Iterable[tuple[Path, str]], surroundings: Surroundings) -> Iterator[Finding]:
    """Those that name a file outside of root, as far as that can be seen without running.

    Only what looks as if it could is asked for: a look at the disk for each would take longer
    than all the rest of loading.
    """
    for path, text in texts:
        if has_tag(text) or not (".." in text or "\0" in text or text.startswith("/")):
            continue
        try:
            surroundings.path(text, "a file")
        except NotAllowedError as error:
            yield path, str(error), ""
