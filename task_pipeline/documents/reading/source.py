"""A document as it was read, and the way back from its values to the lines they stand in."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import DocumentError
from ..mistakes.problems import MOST_SHOWN, DocumentProblem, Problems, path_text, shown
from .json_positions import JsonReading
from .json_reading import read_json
from .json_values import (
    DEFAULT,
    Limits,
    Lines,
    Mistake,
    MistakesError,
    Spot,
    copied,
    offset_of,
)
from .yaml_reading import YamlReading

__all__ = ["DEFAULT", "Limits", "Source", "read_source"]

TEXT = "<text>"
_KINDS: dict[str, Literal["json", "yaml"]] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_TEXT_BEGINS = ("{", "[", "---", "#", "%")
# A mapping of one line: a key, a colon, and a blank or the end.
_ONE_LINE = re.compile(r"""(?:[\w.-]+|"[^"]*"|'[^']*')[ \t]*:(?:[ \t]|$)""")


@dataclass(eq=False)
class Source:
    """A document and where it is from.

    - `value`: what was read; dicts, lists, texts, numbers, true, false and null
    - `name`: the file as its user wrote it, "<text>", or None for a dict or list
    - `file`: the file's absolute path
    - `folder`: what relative paths in the document start from
    """

    value: Any
    name: str | None
    file: Path | None
    folder: Path
    text: str | None = field(default=None, repr=False)
    kind: Literal["json", "yaml"] | None = None
    limits: Limits = field(default=DEFAULT, repr=False)
    # Found when first asked for. Two threads may both find them, and find the same.
    _positions: tuple[Spot, Lines] | None = field(default=None, init=False, repr=False)

    def locate(self, path: tuple[str | int, ...], of_key: bool = False) -> tuple[int, int] | None:
        """Line and column, from 1, of the value at a path, or of its key (`of_key`).

        Of the nearest thing around it if nothing is there; None for a dict or list, which
        stands in no text.
        """
        if self.text is None:
            return None
        if self._positions is None:
            reading = JsonReading if self.kind == "json" else YamlReading
            self._positions = (reading(self.text, self.limits).spot, Lines(self.text))
        spot, lines = self._positions
        return lines.place(offset_of(spot, path, of_key))


def read_source(
    given: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any],
    *,
    base_dir: str | os.PathLike[str] | None = None,
    limits: Limits = DEFAULT,
) -> Source:
    """Read a document: a dict or list, a file, or a text.

    A `str` is a text if it begins with `{`, `[`, `---`, `#` or `%`, has a line break in it, or
    is a mapping of one line such as "steps: []"; if not, it names a file. `.json` is read as
    JSON, `.yaml` and `.yml` as YAML; everything else as JSON if it begins with `{` or `[`, and
    if not as YAML. Relative paths in the document start from `base_dir`, by default the file's
    folder, or the working directory.

    A dict or list is copied: what is done to it afterwards does not change the document.

    Raises `DocumentError` for what cannot be read, with every mistake that can be named, and
    `MissingExtraError` for YAML if PyYAML is not installed.
    """
    if isinstance(given, str):
        text = given.removeprefix("\ufeff")
        if _is_text(text):
            return _from_text(text, TEXT, None, _folder(base_dir), None, limits)
        return _from_file(given, base_dir, limits)
    if isinstance(given, os.PathLike):
        return _from_file(os.fsdecode(given), base_dir, limits)
    if isinstance(given, Mapping | Sequence) and not isinstance(given, bytes | bytearray):
        return _from_values(given, _folder(base_dir), limits)
    raise _error(None, f"a document is a file's name, a text, a dict or a list, not {shown(given)}")


def _folder(base_dir: str | os.PathLike[str] | None) -> Path:
    return Path(base_dir if base_dir is not None else ".").absolute()


def _is_text(given: str) -> bool:
    begin = given.lstrip()
    return (
        begin.startswith(_TEXT_BEGINS)
        or "\n" in given
        or "\r" in given
        or _ONE_LINE.match(begin) is not None
    )


def _from_values(given: Any, folder: Path, limits: Limits) -> Source:
    value, oddities = copied(given, limits)
    source = Source(value, None, None, folder)
    problems = Problems()
    for odd in oddities:
        problems.add(source, odd.path, odd.found, odd.hint, of_key=odd.of_key)
    problems.raise_if_any()
    return source


def _from_file(name: str, base_dir: str | os.PathLike[str] | None, limits: Limits) -> Source:
    if not name or "\0" in name:
        what = "has a null character" if name else "is empty"
        raise _error(name or None, f"the name of the document's file {what}")
    content = _content(name, limits)
    file = Path(name).resolve()
    text = _decoded(content, name)
    folder = file.parent if base_dir is None else _folder(base_dir)
    return _from_text(text, name, file, folder, _KINDS.get(file.suffix.lower()), limits)


def _content(name: str, limits: Limits) -> bytes:
    """What a file holds; of one that is not an ordinary file, or too large, nothing is kept."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        # A device is not even opened, and a FIFO not waited for.
        _check_regular(name, Path(name).stat().st_mode)
        with open(os.open(name, flags), "rb") as file:  # noqa: PTH123  # Path knows no flags
            _check_regular(name, os.fstat(file.fileno()).st_mode)
            content = file.read(limits.size + 1)
    except OSError as error:
        raise _error(name, f"cannot be read: {error.strerror or error}") from None
    if len(content) > limits.size:
        most = f"{limits.size:,} bytes, the most that a document may have"
        raise _error(name, f"is larger than {most}")
    return content


def _check_regular(name: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise _error(name, "is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise _error(name, "is not an ordinary file")


def _decoded(content: bytes, name: str) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding, called = ("utf-16", "UTF-16") if is_utf16 else ("utf-8-sig", "UTF-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        line, column = Lines(before).place(len(before))
        raise _error(name, f"is not {called}", "save it as UTF-8", line, column) from None


def _from_text(
    text: str,
    name: str,
    file: Path | None,
    folder: Path,
    kind: Literal["json", "yaml"] | None,
    limits: Limits,
) -> Source:
    if len(text) > limits.size:
        raise _error(
            name, f"is longer than {limits.size:,} characters, the most that a document may have"
        )
    begin = text.lstrip()[:1]
    if not begin:
        raise _error(name, "is empty")
    if kind is None:
        kind = "json" if begin in ("{", "[") else "yaml"
    try:
        value = read_json(text, limits) if kind == "json" else YamlReading(text, limits).value
    except MistakesError as error:
        raise _told(error.mistakes, text, name) from None
    return Source(value, name, file, folder, text, kind, limits)


def _told(mistakes: list[Mistake], text: str, name: str) -> DocumentError:
    lines = Lines(text)
    told = []
    for mistake in mistakes[:MOST_SHOWN]:
        line, column = lines.place(mistake.offset)
        path = path_text(mistake.path)
        told.append(
            DocumentProblem(
                mistake.found, mistake.hint, path=path, file=name, line=line, column=column
            )
        )
    error = DocumentError(told)
    error.more = len(mistakes) - len(told)
    return error


def _error(
    name: str | None,
    found: str,
    hint: str = "",
    line: int | None = None,
    column: int | None = None,
) -> DocumentError:
    return DocumentError([DocumentProblem(found, hint, file=name, line=line, column=column)])
