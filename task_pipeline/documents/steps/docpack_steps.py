"""`docpack_create` and `docpack_extract`: files in one archive with an outline, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import Field

from ...errors import NotAllowedError
from ..reading.json_reading import read_json
from ..reading.json_values import Lines, MistakesError
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings
from ..typed_steps import Fields
from .docpack import FILES, MOST_BYTES, MOST_FILES, OUTLINE, names_for, pack, unpack
from .plain import Context, Finding, Key, PlainStep, names_in, outside, texts_in
from .regular_files import ToWrite, decoded, mode_of, read_file, write_files


class DocpackCreateConfig(StepConfig):
    """The fields of `docpack_create`."""

    outline_path: str = Field(description="The JSON file with the outline.")
    resource_files: str | list[str] = Field(
        description="The files to pack: a list, or a text with commas between them."
    )
    output_path: str = Field(description="The archive to write, such as report.docpack.")
    output_key: Key | None = Field(
        default=None,
        description="A key of the results for {output_path, resource_count}.",
    )


@register_step("docpack_create")
class DocpackCreate(PlainStep):
    """Pack an outline and its files into one archive.

    Where a path in the outline's `resources` names one of the files, it is their name in the
    archive there. The same files give the same archive, byte by byte.
    """

    config: DocpackCreateConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse what is outside of root."""
        return _outside(("outline_path", "resource_files", "output_path"), fields, surroundings)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return () if self.config.output_key is None else (self.config.output_key,)

    def run(self, context: Context) -> None:
        """Pack. Raises `OSError`, and `ValueError` for what cannot be packed."""
        config = self.config
        at = self.where(context, "outline_path")
        path = self.file(context, config.outline_path, "outline_path")
        outline = _outline(read_file(path, at, MOST_BYTES), path, at)
        output = self.file(context, config.output_path, "output_path")
        what = self.where(context, "resource_files")
        paths = self._resources(context, what)
        try:
            names = names_for(path.name for path in paths)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from error
        contents, size = {}, 0
        for name, path in zip(names, paths, strict=True):
            context.raise_if_cancelled()
            contents[name] = read_file(path, what, MOST_BYTES)
            size += len(contents[name])
            if size > MOST_BYTES:
                raise ValueError(f"{what}: the files have more than {MOST_BYTES:,} bytes together")
        packed: dict[object, str] = {path: name for name, path in zip(names, paths, strict=True)}
        _rename(outline, lambda given: packed.get(self._resolved(given) or given))
        archive = ToWrite(output, pack(outline, contents), self.where(context, "output_path"))
        write_files([archive], context.raise_if_cancelled)
        if config.output_key is not None:
            context.results[config.output_key] = {
                "output_path": str(output),
                "resource_count": len(names),
            }

    def _resources(self, context: Context, what: str) -> list[FilePath]:
        given = self.config.resource_files
        if isinstance(given, str):
            # A single file whose name has a comma in it is one.
            is_one = given.strip() and mode_of(self.file(context, given, "resource_files"))
            given = (
                [given] if is_one else [name.strip() for name in names_in(given) if name.strip()]
            )
        paths = [self.file(context, name, "resource_files") for name in given]
        if len(paths) >= MOST_FILES:
            raise ValueError(f"{what}: {MOST_FILES - 1:,} files are the most in a docpack")
        return list(dict.fromkeys(paths))

    def _resolved(self, given: str) -> FilePath | None:
        try:
            return self.surroundings.path(given, "a resource")
        except NotAllowedError:  # then it is none of those that are packed
            return None


class DocpackExtractConfig(StepConfig):
    """The fields of `docpack_extract`."""

    docpack_path: str = Field(description="The archive to unpack.")
    extract_dir: str = Field(description="The folder for what is in it; it is made.")
    outline_key: Key = Field(
        default="outline_json", description="The key of the results for the outline."
    )
    resources_key: Key = Field(
        default="resource_files",
        description="The key of the results for the list of the files that were unpacked.",
    )


@register_step("docpack_extract")
class DocpackExtract(PlainStep):
    """Unpack an archive that `docpack_create` has made, all of it or nothing.

    Paths in the outline's `resources` are those of the unpacked files.
    """

    config: DocpackExtractConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse what is outside of root."""
        return _outside(("docpack_path", "extract_dir"), fields, surroundings)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return (self.config.outline_key, self.config.resources_key)

    def run(self, context: Context) -> None:
        """Unpack. Raises `OSError`, and `ValueError` for an archive that is refused."""
        config = self.config
        what = self.where(context, "docpack_path")
        path = self.file(context, config.docpack_path, "docpack_path")
        folder = self.file(context, config.extract_dir, "extract_dir")
        try:
            contents = unpack(read_file(path, what, MOST_BYTES))
        except ValueError as error:
            raise ValueError(f"{what}: {config.docpack_path!r} is refused: {error}") from error
        outline = _outline(contents[OUTLINE], path / OUTLINE, what)
        places = {name: self.file(context, str(folder / name), "extract_dir") for name in contents}
        to = self.where(context, "extract_dir")
        files = [ToWrite(places[name], content, to) for name, content in contents.items()]
        write_files(files, context.raise_if_cancelled)
        resources = {name: str(place) for name, place in places.items() if name != OUTLINE}
        # Archives of others have their files beside the outline, or name them without folder.
        _rename(outline, lambda given: resources.get(given) or resources.get(FILES + given))
        context.results[config.outline_key] = outline
        context.results[config.resources_key] = list(resources.values())


def _outside(names: Iterable[str], fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
    texts = [text for name in names for text in texts_in(fields.get(name), (name,))]
    return outside(texts, surroundings)


def _outline(content: bytes, path: FilePath, what: str) -> Any:
    text = decoded(content, path, what)
    try:
        return read_json(text)
    except MistakesError as error:
        mistake = error.mistakes[0]
        line, column = Lines(text).place(mistake.offset)
        raise ValueError(
            f"{what}: {str(path)!r} is no JSON: line {line}, column {column}: {mistake.found}"
        ) from error


def _rename(outline: Any, name_of: Any) -> None:
    """Give the resources that an outline lists other paths, where there is another."""
    resources = outline.get("resources") if isinstance(outline, Mapping) else None
    for resource in resources if isinstance(resources, list) else ():
        path = resource.get("path") if isinstance(resource, dict) else None
        if isinstance(path, str):
            resource["path"] = name_of(path) or path
