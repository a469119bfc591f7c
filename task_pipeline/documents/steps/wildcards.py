"""Files by a pattern such as `notes/**/*.md`, without following a link out of where they may be."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from .regular_files import mode_of

WILD = re.compile(r"[*?\[]")
ANY_DEPTH = "**"

# No folder, not to be read, gone meanwhile, links that go in a circle, or no name of a file.
_EMPTY = frozenset(
    {errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG}
)


def matching_files(
    folder: Path, pattern: Sequence[str], may_enter: Callable[[Path], bool]
) -> Iterator[Path]:
    """The ordinary files that match, relative to the folder; hidden ones only if asked for.

    `**` stands for folders at any depth, links left out; what else is a link to a folder is
    entered if it may be. A folder that may not be read has nothing in it.
    """
    asks_for_hidden = any(part.startswith(".") for part in pattern)
    for match in _matches(folder, pattern, may_enter):
        name = match.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if (asks_for_hidden or not is_hidden) and stat.S_ISREG(mode_of(match) or 0):
            yield name


def _matches(
    folder: Path, pattern: Sequence[str], may_enter: Callable[[Path], bool]
) -> Iterator[Path]:
    """What matches. Without recursion: folders may be nested deeper than the stack goes."""
    wanted = [re.compile(translate(os.path.normcase(part))).match for part in pattern]
    last = len(pattern) - 1
    waiting = [(folder, 0)]
    seen = {(folder, 0)}
    while waiting:
        within, index = waiting.pop()
        is_deep = pattern[index] == ANY_DEPTH
        below = [(within, index + 1)] if is_deep and index < last else []
        for entry in _entries(within):
            path = within / entry.name
            if is_deep and entry.is_dir(follow_symlinks=False):
                below.append((path, index))
            elif is_deep or wanted[index](os.path.normcase(entry.name)):
                if index == last:
                    yield path
                elif not is_deep and (not entry.is_symlink() or may_enter(path)):
                    below.append((path, index + 1))
        for one in below:
            if one not in seen:
                seen.add(one)
                waiting.append(one)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if error.errno not in _EMPTY:
            raise
        return []
