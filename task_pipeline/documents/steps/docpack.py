"""Docpacks: a zip archive of an outline in JSON and the files that belong to it.

In the archive `outline.json` comes first and the files stand in `files/`. The same content
gives the same bytes, whenever and wherever it is packed.
"""

from __future__ import annotations

import io
import json
import posixpath
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

OUTLINE = "outline.json"
FILES = "files/"
MOST_FILES = 1_000
MOST_BYTES = 50_000_000
"""The most that an archive, and all that is in it, may have."""

MOST_RATIO = 200
"""How many times larger than in the archive a file may be, once it is larger than 1 MB."""

_SMALL = 1_000_000
_LONGEST_NAME = 500
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_WHAT_ZIPS_RAISE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def pack(outline: Any, files: Mapping[str, bytes]) -> bytes:
    """An archive with the outline, and files by their names in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        text = json.dumps(outline, ensure_ascii=False, indent=2) + "\n"
        for name, content in {OUTLINE: text.encode("utf-8"), **files}.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # else it says on what kind of system it was made
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=6)
    return made.getvalue()


def names_for(own_names: Iterable[str]) -> list[str]:
    """The names in an archive of files with these names; a number is added to those taken.

    Raises `ValueError` for a name that could not be unpacked everywhere.
    """
    taken: set[str] = set()
    names = []
    for own in own_names:
        stem, suffix = posixpath.splitext(own)
        name, number = f"{FILES}{stem}{suffix}", 0
        while _folded(name) in taken:
            number += 1
            name = f"{FILES}{stem}_{number}{suffix}"
        problem = _name_problem(name)
        if problem:
            raise ValueError(f"{own!r} {problem}; rename it")
        taken.add(_folded(name))
        names.append(name)
    return names


def unpack(content: bytes) -> dict[str, bytes]:
    """What is in an archive, by name, the outline too.

    Raises `ValueError` for what is no archive, has no outline, or is not safe to unpack: a
    name that leads elsewhere or is there twice, a link, more or larger files than there may be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = _checked(archive.infolist())
            return {info.filename: _content(archive, info) for info in infos}
    except _Refused:
        raise
    except _WHAT_ZIPS_RAISE as error:
        raise ValueError(f"it is no zip archive, or a damaged one: {error}") from error


class _Refused(ValueError):
    """An archive that is refused: its text says why."""


def _checked(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    if len(infos) > MOST_FILES:
        raise _Refused(f"it has {len(infos):,} files in it; {MOST_FILES:,} are the most")
    seen: dict[str, str] = {}
    files = []
    for info in infos:
        name = info.filename
        problem = _name_problem(name.removesuffix("/")) or _entry_problem(info)
        if problem:
            raise _Refused(f"{name!r} in it {problem}")
        folded = _folded(name.removesuffix("/"))
        if folded in seen:
            raise _Refused(f"{name!r} is in it twice" + _as(seen[folded], name))
        seen[folded] = name
        if not info.is_dir():
            files.append(info)
    for info in files:
        above = posixpath.dirname(_folded(info.filename))
        while above:
            if above in seen and not seen[above].endswith("/"):
                raise _Refused(f"{seen[above]!r} in it is a file, and a folder for others")
            above = posixpath.dirname(above)
    if sum(info.file_size for info in files) > MOST_BYTES:
        raise _Refused(f"the files in it have more than {MOST_BYTES:,} bytes together")
    if OUTLINE not in {info.filename for info in files}:
        raise _Refused(f"it has no {OUTLINE} in it")
    return files


def _as(first: str, second: str) -> str:
    return "" if first == second else f", also as {first!r}"


def _folded(name: str) -> str:
    """The name as the least particular of file systems takes it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _name_problem(name: str) -> str:
    if not name or name.startswith("/"):
        return "is no name below a folder"
    if len(name) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} characters"
    if not name.isprintable() or any(character in name for character in '\\:*?"<>|'):
        return "has a character that a file's name cannot have everywhere"
    if any(part.strip(" .") == "" or part.endswith((" ", ".")) for part in name.split("/")):
        return "has a part that is empty, or ends in a dot or a blank"
    return ""


def _entry_problem(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(kind):
        return "is a link"
    if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        return "is not an ordinary file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return "is compressed in a way that is not understood"
    if info.file_size > _SMALL and info.file_size > MOST_RATIO * info.compress_size:
        return f"would be more than {MOST_RATIO} times as large as it is in the archive"
    return ""


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise _Refused(f"{info.filename!r} in it is not as large as the archive says")
    return content
