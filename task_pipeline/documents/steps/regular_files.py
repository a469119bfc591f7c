"""Ordinary files, read and written so that nothing blocks and nothing is left half done."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 10_000_000
"""The largest file that is read."""

MOST_FOLDERS = 200
"""How deep a file that is written may be: nobody could remove folders a thousand deep again."""

_CHUNK = 1 << 20
# Never to wait for the other end of a pipe, nor to follow a link put there meanwhile; what a
# system does not have it does not need.
_OPEN = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class ToWrite(NamedTuple):
    """A file that is to be written: `what` begins the messages about it."""

    path: Path
    content: bytes
    what: str


def mode_of(path: Path) -> int | None:
    """What kind of file it is, following links; None if there is none of that name."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def read_file(path: Path, what: str, most: int = MOST_BYTES) -> bytes:
    """What is in an ordinary file. Raises `OSError`, or `ValueError` for any other kind."""
    mode = mode_of(path)
    if mode is None:
        raise FileNotFoundError(f"{what}: there is no file {str(path)!r}")
    _require_regular(mode, path, what)  # before it is opened: that alone can have an effect
    try:
        opened = os.open(path, os.O_RDONLY | _OPEN)
        with os.fdopen(opened, "rb") as file:
            _require_regular(os.fstat(opened).st_mode, path, what)
            content = file.read(most + 1)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(f"{what}: {str(path)!r} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise ValueError(f"{what}: {str(path)!r} is larger than {most:,} bytes")
    return content


def decoded(content: bytes, path: Path, what: str) -> str:
    """The text in a file, which must be UTF-8; a byte order mark is left out."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{what}: {str(path)!r} is not UTF-8: it has the byte "
            f"{error.object[error.start]:#04x} at {error.start:,}; save it as UTF-8"
        ) from error


def _require_regular(mode: int, path: Path, what: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{what}: {str(path)!r} is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{what}: {str(path)!r} is not an ordinary file")


def require_writable(files: Sequence[ToWrite]) -> None:
    """See that every file can be written, before the first is. Raises `OSError`, `ValueError`."""
    by_path: dict[Path, str] = {}
    for path, _, what in files:
        if path in by_path:
            raise ValueError(
                f"{what}: {str(path)!r} is written by {by_path[path]} too; name another"
            )
        if len(path.parts) > MOST_FOLDERS:
            raise ValueError(f"{what}: {str(path)!r:.200} is in more than {MOST_FOLDERS} folders")
        by_path[path] = what
    for path, _, what in files:
        mode = mode_of(path)
        if mode is not None:
            _require_regular(mode, path, what)
        for parent in path.parents:
            if parent in by_path:
                raise ValueError(
                    f"{what}: {str(parent)!r} is to be a folder, and {by_path[parent]} writes it "
                    "as a file"
                )
            above = mode_of(parent)
            if above is not None:
                if not stat.S_ISDIR(above):
                    raise NotADirectoryError(f"{what}: {str(parent)!r} is a file, not a folder")
                break


def write_files(files: Sequence[ToWrite], may_go_on: Callable[[], None]) -> None:
    """Write files, all or none of them: each beside its place first, then all are put there.

    `may_go_on` raises when it is to stop; nothing of any file is in its place then.
    """
    require_writable(files)
    beside: list[tuple[Path, ToWrite]] = []
    try:
        for one in files:
            may_go_on()
            with _told(one):
                path = one.path
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.parent.resolve() != path.parent:
                    raise ValueError(f"{one.what}: {str(path.parent)!r} has become a link")
                beside.append((_beside(path), one))
                _write(beside[-1][0], one, may_go_on)
        may_go_on()
        while beside:
            written, one = beside[0]
            with _told(one):
                written.replace(one.path)
            del beside[0]
    finally:
        for written, _ in beside:
            written.unlink(missing_ok=True)


@contextmanager
def _told(one: ToWrite) -> Iterator[None]:
    """Say of what the system refuses which file it is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # it has been said
            raise
        raise type(error)(
            f"{one.what}: {str(one.path)!r} cannot be written: {error.strerror}"
        ) from error


def _beside(path: Path) -> Path:
    # Not of the file's own name: that may be as long as a name can be.
    return path.parent / f".{secrets.token_hex(8)}.partial"


def _write(path: Path, one: ToWrite, may_go_on: Callable[[], None]) -> None:
    try:
        mode = one.path.stat().st_mode  # also finds what cannot be a name there
    except FileNotFoundError:
        mode = None
    # With the permissions that any new file has, or those of the file whose place it takes.
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o666)
    with os.fdopen(opened, "wb") as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(opened, stat.S_IMODE(mode) & 0o777)
        for start in range(0, len(one.content), _CHUNK):
            may_go_on()
            file.write(one.content[start : start + _CHUNK])
