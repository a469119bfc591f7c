"""Where large things lie on their way between processes: files in memory, or on disk.

Each executor has a directory of its own. A lock on a file in it tells that its process is
there; whoever finds one without removes it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import secrets
import shutil
import struct
import sys
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PREFIX = "task_pipeline-"
ALIGNMENT = 64  # of each part of a file: arrays like it
MAPPED = 1024 * 1024
"""The size in bytes from which on a file is mapped, and not read."""
MOST_MAPS = 100
"""Before Python 3.13 each map holds a descriptor, of which a process has but so many."""
_CAN_LET_GO = sys.version_info >= (3, 13)
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_MEMORY = "/dev/shm"  # directories made there are private
_COUNT = struct.Struct("<Q")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Scratch:
    """The directories of one executor, the best first."""

    def __init__(self, roots: Sequence[str] | None = None) -> None:
        """Raises `OSError` if there is no place at all."""
        self._pid = os.getpid()
        self._locks: list[int] = []
        places = []
        refused: OSError | None = None
        for root in possible_roots() if roots is None else roots:
            sweep(root)
            try:
                place, lock = _new_directory(root)
            except OSError as error:
                refused = error
                continue
            places.append(place)
            self._locks.append(lock)
        if not places:
            raise refused or OSError(errno.ENOENT, "there is no directory for temporary files")
        self.places = tuple(places)

    def is_ours(self) -> bool:
        """Whether this process has made them, and is not a fork of that one."""
        return self._pid == os.getpid()

    def forget(self) -> None:  # pragma: no cover  # in forks of the process
        """In a fork of this process: they are its parent's."""
        for lock in self._locks:
            os.close(lock)
        self._locks = []

    def close(self) -> None:
        """Remove them, and what is in them."""
        if not self.is_ours() or not self._locks:
            return
        for place in self.places:
            shutil.rmtree(place, ignore_errors=True)  # what is left, the next one sweeps
        for lock in self._locks:
            os.close(lock)
        self._locks = []

    def remove_of(self, stem: str) -> None:
        """Remove the files whose names begin so."""
        for place in self.places:
            with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(stem):
                        remove(entry.path)


class Writer:
    """Writes files whose names begin with a stem of its own."""

    def __init__(self, places: Sequence[str], stem: str) -> None:
        self.places = places
        self._stem = stem
        self._numbers = itertools.count()

    def write(self, parts: Sequence[Any]) -> str:
        """Write buffers to a file; its path. If there is no room in memory, then on disk."""
        name = f"{self._stem}{next(self._numbers)}"
        for place in self.places[:-1]:
            try:
                return _write(f"{place}/{name}", parts)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
        return _write(f"{self.places[-1]}/{name}", parts)


def _write(path: str, parts: Sequence[Any]) -> str:
    views = [memoryview(part).cast("B") for part in parts]
    head = b"".join(map(_COUNT.pack, (len(views), *(view.nbytes for view in views))))
    try:
        with Path(path).open("xb") as stream:
            written = stream.write(head)
            for view in views:
                written += stream.write(bytes(-written % ALIGNMENT))
                written += stream.write(view)
    except BaseException:
        remove(path)
        raise
    return path


def read(path: str) -> list[memoryview]:
    """The buffers in a file. A large one is mapped: its parts are not read before they are used.

    They can be written to; that changes nothing in the file.
    """
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size >= MAPPED and (_CAN_LET_GO or len(_maps) < MOST_MAPS):
            whole = memoryview(_mapped(stream.fileno()))
        else:
            whole = memoryview(bytearray(size))
            stream.readinto(whole)
    count = _COUNT.unpack_from(whole)[0]
    sizes = struct.unpack_from(f"<{count}Q", whole, _COUNT.size)
    parts, at = [], _COUNT.size * (count + 1)
    for size in sizes:
        at += -at % ALIGNMENT
        parts.append(whole[at : at + size])
        at += size
    return parts


def _mapped(descriptor: int) -> mmap.mmap:
    options: Any = {"trackfd": False} if _CAN_LET_GO else {}
    mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY, **options)
    _maps.add(mapped)
    return mapped


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  # also called while the interpreter ends


def possible_roots() -> Iterable[str]:
    """Where directories may be made: in memory, and where temporary files go."""
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        yield _MEMORY
    with contextlib.suppress(FileNotFoundError):
        yield tempfile.gettempdir()


def _new_directory(root: str) -> tuple[str, int]:
    """A directory, and a lock on it that ends with this process."""
    import fcntl

    while True:
        place = f"{root}/{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        os.mkdir(place, 0o700)  # noqa: PTH102  # as the rest
        try:
            lock = os.open(f"{place}/alive", os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # swept by another process while it was empty
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return place, lock
        except BlockingIOError:  # it is being swept, before it was locked
            pass
        os.close(lock)


def sweep(root: str) -> None:
    """Remove the directories of processes that are gone."""
    with contextlib.suppress(OSError):
        for path in Path(root).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_uid == os.getuid():
                    _sweep(path)


def _sweep(path: Path) -> None:
    import fcntl

    try:
        lock = os.open(path / "alive", os.O_RDWR)
    except FileNotFoundError:
        path.rmdir()  # refused if it has just been made, and has something in it by now
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # its process is there
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
