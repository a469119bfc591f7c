"""`write_files`: texts and values of the context into files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from ...errors import NotAllowedError
from ..mistakes.problems import Path, shown
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings
from ..typed_steps import Fields
from .plain import Context, Finding, Key, PlainStep, has_tag, outside
from .regular_files import ToWrite, write_files

_NOTHING = object()


class FileToWrite(StepConfig):
    """One of the files of `write_files`."""

    path: str | None = Field(default=None, description="The file, below the step's root.")
    content: Any = Field(
        default=None, description="What to write: a text as it is, any other value as JSON."
    )
    path_key: Key | None = Field(default=None, description="The key of the results for its path.")
    content_key: Key | None = Field(
        default=None, description="The key of the results for what to write."
    )

    @model_validator(mode="after")
    def _has_one_of_each(self) -> FileToWrite:
        for name in ("path", "content"):
            if (name in self.model_fields_set) == (f"{name}_key" in self.model_fields_set):
                raise ValueError(f"a file has either {name} or {name}_key")
        return self


class WriteFilesConfig(StepConfig):
    """The fields of `write_files`."""

    files: list[FileToWrite] | None = Field(default=None, description="The files to write.")
    files_key: Key | None = Field(
        default=None,
        description="The key of the results for a list of files, each with path and content, or "
        "for one file.",
    )
    root: str = Field(default=".", description="The folder for the files, below the document's.")

    @model_validator(mode="after")
    def _has_files(self) -> WriteFilesConfig:
        if self.files is None and self.files_key is None:
            raise ValueError("there is nothing to write: give files or files_key")
        if self.files is not None and self.files_key is not None:
            raise ValueError("give either files or files_key, not both")
        return self


class _Entry(NamedTuple):
    path: Any
    content: Any
    at: Path


@register_step("write_files")
class WriteFiles(PlainStep):
    """Write files below root, all of them or, if the step is stopped or fails, none.

    Folders are made; a file that is there is replaced.
    """

    config: WriteFilesConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse what is outside of root."""
        root = fields.get("root", ".")
        if not isinstance(root, str) or has_tag(root):
            return ()
        return outside(_texts(root, fields), surroundings)

    def run(self, context: Context) -> None:
        """Write. Raises `NotAllowedError`, `OSError`, and `ValueError` for what is no file."""
        folder = self.file(context, self.config.root, "root")
        files = [self._to_write(context, folder, entry) for entry in self._entries(context)]
        write_files(files, context.raise_if_cancelled)

    def _entries(self, context: Context) -> Iterator[_Entry]:
        config = self.config
        if config.files is not None:
            for index, file in enumerate(config.files):
                at = ("files", index)
                yield _Entry(
                    self._value(context, file.path, file.path_key, (*at, "path_key")),
                    self._value(context, file.content, file.content_key, (*at, "content_key")),
                    at,
                )
            return
        given = self._value(context, None, config.files_key, ("files_key",))
        for item in given if isinstance(given, list | tuple) else [given]:
            yield _Entry(_part(item, "path"), _part(item, "content"), ("files_key",))

    def _value(self, context: Context, value: Any, key: str | None, at: Path) -> Any:
        if key is None:
            return value
        if key not in context.results:
            raise ValueError(
                f"{self.where(context, *at)}: there is no results[{key!r}]; "
                "name a key that an earlier step has set"
            )
        return context.results[key]

    def _to_write(self, context: Context, folder: Any, entry: _Entry) -> ToWrite:
        what = self.where(context, *entry.at)
        path, content, _ = entry
        if path is _NOTHING or content is _NOTHING:
            raise ValueError(f"{what}: each file must have a path and a content")
        if not isinstance(path, str) or not path.strip():
            raise ValueError(f"{what}: a path must be a text that is not empty, not {shown(path)}")
        named = self.file(context, str(folder / path), *entry.at)
        if "files" not in self.surroundings.allow and not named.is_relative_to(folder):
            raise NotAllowedError(
                f"{what}: {path!r} is outside of the step's root, {self.config.root!r}; "
                "name a file in it, or another root"
            )
        return ToWrite(named, _bytes_of(content, f"{what}, {path!r}"), what)


def _texts(root: str, fields: Fields) -> Iterator[tuple[Path, str]]:
    yield ("root",), root
    files = fields.get("files")
    for index, file in enumerate(files if isinstance(files, list) else ()):
        path = file.get("path") if isinstance(file, Mapping) else None
        if isinstance(path, str) and not has_tag(path):
            yield ("files", index, "path"), path if path.startswith("/") else f"{root}/{path}"


def _part(item: Any, name: str) -> Any:
    """A part of a file as a dict has it, or an object of the application's own."""
    if isinstance(item, Mapping):
        return item.get(name, _NOTHING)
    return getattr(item, name, _NOTHING)


def _bytes_of(content: Any, what: str) -> bytes:
    try:
        if isinstance(content, str):
            return content.encode("utf-8")
        text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:  # also half of a surrogate pair
        raise ValueError(f"{what}: the content cannot be written: {error}") from error
