"""`read_files`: what is in files into the context."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Any, Literal

from pydantic import Field

from ...errors import NotAllowedError
from ..reading.json_reading import read_json
from ..reading.json_values import DEFAULT, Lines, MistakesError
from ..reading.yaml_reading import YamlReading
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings
from ..typed_steps import Fields
from .plain import Context, Finding, Key, PlainStep, names_in, outside, texts_in
from .regular_files import decoded, mode_of, read_file
from .wildcards import WILD, matching_files

MOST_FILES = 10_000
MOST_BYTES_IN_ALL = 50_000_000
MOST_DEEP = 2
"""How many ** a pattern may have: each more is a walk through all folders for every folder."""


class ReadFilesConfig(StepConfig):
    """The fields of `read_files`."""

    path: str | list[str] = Field(
        description="The file, or a list of files: below root, with * ? [...] and ** as "
        "wildcards. A text that names no file itself may be several with commas between them."
    )
    content_key: Key = Field(description="The key of the results for what is in the files.")
    optional: bool = Field(
        default=False,
        description="Go on without a file that is not there: a single one is the empty text then.",
    )
    merge_mode: Literal["concat", "dict"] = Field(
        default="concat",
        description="What several files give: one text, each under a line with its name, or a "
        "dict by name.",
    )


@register_step("read_files")
class ReadFiles(PlainStep):
    """Read text files, which must be UTF-8.

    A single file, or one in a dict, whose name ends in .json, .yaml or .yml gives the value
    that stands in it; every other gives its text.
    """

    config: ReadFilesConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse what is outside of root."""
        # A text may be several names, of which each is looked at when it is read.
        return outside(texts_in(fields.get("path"), ("path",)), surroundings)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return (self.config.content_key,)

    def run(self, context: Context) -> None:
        """Read. Raises `FileNotFoundError`, and `ValueError` for what cannot be read as text."""
        config = self.config
        is_single = False
        if isinstance(config.path, str):
            names = list(self._named(context, config.path, "path"))
            is_single = config.merge_mode == "concat" and names == [config.path]
        else:
            names = []
            for index, given in enumerate(config.path):
                names += self._expanded(context, given, "path", index)
        contents: dict[str, Any] = {}
        left = MOST_BYTES_IN_ALL
        for name in dict.fromkeys(names):
            context.raise_if_cancelled()
            path = self.file(context, name, "path")
            what = self.where(context, "path")
            try:
                content = read_file(path, what)
            except FileNotFoundError as error:
                if config.optional:
                    continue
                raise FileNotFoundError(
                    f"{what}: there is no file {name!r} in {str(self.surroundings.root)!r}; "
                    "name one that is there, or say optional: true"
                ) from error
            left -= len(content)
            if left < 0:
                raise ValueError(
                    f"{what}: the files have more than {MOST_BYTES_IN_ALL:,} bytes together"
                )
            text = decoded(content, path, what)
            is_value = is_single or config.merge_mode == "dict"
            contents[name] = _value_of(text, path, what) if is_value else text
        context.results[config.content_key] = _together(contents, config.merge_mode, is_single)

    def _named(self, context: Context, given: str, *field: str | int) -> Iterator[str]:
        """The names in a text: itself, if there is such a file, or else several."""
        parts = names_in(given)
        if parts != [given] and mode_of(self.file(context, given, *field)) is not None:
            parts = [given]
        for part in parts:
            yield from self._expanded(context, part, *field)

    def _expanded(self, context: Context, given: str, *field: str | int) -> Iterable[str]:
        """The name itself, or the files that its wildcards match, in the order of their names."""
        if not WILD.search(given) or mode_of(self.file(context, given, *field)) is not None:
            return [given]
        parts = FilePath(given).parts
        wild = next(at for at, part in enumerate(parts) if WILD.search(part))
        above, below = FilePath(*parts[:wild]), parts[wild:]
        what = self.where(context, *field)
        if ".." in below:
            raise ValueError(f"{what}: {given!r} has .. behind a wildcard; name the folder itself")
        if below.count("**") > MOST_DEEP:
            raise ValueError(f"{what}: {given!r} has ** more than {MOST_DEEP} times")
        folder = self.file(context, str(above), *field)
        found = matching_files(folder, below, functools.partial(self._may_enter, context))
        try:
            matches = list(itertools.islice(found, MOST_FILES + 1))
        except OSError as error:
            raise type(error)(
                f"{what}: {given!r} cannot be looked for: {error.strerror}"
            ) from error
        if len(matches) > MOST_FILES:
            raise ValueError(f"{what}: {given!r} matches more than {MOST_FILES:,} files")
        if not matches and not self.config.optional:
            raise FileNotFoundError(
                f"{what}: {given!r} matches no file in {str(self.surroundings.root)!r}; "
                "name files that are there, or say optional: true"
            )
        return sorted((above / match).as_posix() for match in matches)

    def _may_enter(self, context: Context, link: FilePath) -> bool:
        """Whether what a link leads to may be looked into: not what is outside of root."""
        context.raise_if_cancelled()
        try:
            self.file(context, str(link), "path")
        except NotAllowedError:
            return False
        return True


def _value_of(text: str, path: FilePath, what: str) -> Any:
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return read_json(text)
        if suffix in (".yaml", ".yml"):
            return YamlReading(text, DEFAULT).value
    except MistakesError as error:
        mistake = error.mistakes[0]
        line, column = Lines(text).place(mistake.offset)
        raise ValueError(
            f"{what}: {str(path)!r} is no {suffix[1:].upper()}: line {line}, column {column}: "
            f"{mistake.found}"
        ) from error
    return text


def _together(contents: dict[str, Any], merge_mode: str, is_single: bool) -> Any:
    if is_single:
        return next(iter(contents.values()), "")
    if merge_mode == "dict":
        return contents
    return "\n".join(f"{name}\n{text}" for name, text in contents.items())
