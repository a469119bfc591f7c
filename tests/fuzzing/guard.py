"""An audit hook that sees what a document makes the interpreter do. It cannot be taken out."""

from __future__ import annotations

import ast
import linecache
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import babel.plural

# Events about a file or folder, and which of their arguments name one.
_OF_PATHS = {
    "open": (0,),
    "os.listdir": (0,),
    "os.scandir": (0,),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.truncate": (0,),
    "os.utime": (0,),
    "os.chmod": (0,),
    "glob.glob": (),
    "pathlib.Path.glob": (0,),
    "pathlib.Path.rglob": (0,),
    "os.walk": (0,),
    "os.fwalk": (0,),
}
# Whatever begins so is not for a document.
_REFUSED = (
    *("exec", "compile", "import", "marshal.", "pickle.", "code.__new__", "builtins.input"),
    *("subprocess.", "pty.", "socket.", "ctypes.", "shutil.", "tempfile.", "sqlite3.", "urllib."),
    *("os.", "http.", "ftplib.", "smtplib.", "webbrowser.", "syslog.", "mmap.", "resource."),
    *("signal.", "gc.", "sys.set", "sys.unraisablehook", "sys.addaudithook", "cpython."),
)
# Of these each is an act that must not be carried out, even to find out about it.
_PREVENTED = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill", "pty.")
# Packages of others that read tables of their own: names of currencies, of time zones and so on.
_TABLES = ("babel", "pytz", "dateutil", "tzdata", "zoneinfo", "encodings")


def stack_of(frame: FrameType | None, most: int = 15) -> str:
    """Where a thread is, without reading the lines: that would open files."""
    lines: list[str] = []
    while frame is not None and len(lines) < most:
        lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return "\n".join(lines)


class NotForDocuments(BaseException):
    """Raised in place of something that a document must not do."""


class Guard:
    """What is allowed inside of a root, and what was done that is not."""

    def __init__(self) -> None:
        self._root: str | None = None
        self._extra: tuple[str, ...] = ()
        self.found: list[str] = []
        sys.addaudithook(self._heard)

    @contextmanager
    def watching(self, root: os.PathLike[str], *extra: str) -> Iterator[list[str]]:
        """See to it that nothing happens outside of that root; `extra`: events let through."""
        self.found = []
        self._extra = extra
        self._root = os.path.realpath(root)
        try:
            yield self.found
        finally:
            self._root = None

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        root = self._root
        if root is None or event.startswith(self._extra):
            return
        paths = _OF_PATHS.get(event)
        if paths is not None:
            wrong = [args[at] for at in paths if not _is_inside(args[at], root)]
            if not wrong or (event == "open" and _is_let_read(wrong[0], args)):
                return
        elif not event.startswith(_REFUSED) or _ALLOWED.get(event, _never)(args):
            return
        said = f"{event} {args!r:.300}"
        if len(self.found) < 20:
            self.found.append(f"{said}\n{stack_of(sys._getframe(1))}")
        if event.startswith(_PREVENTED):
            raise NotForDocuments(said)


def _is_inside(path: Any, root: str) -> bool:
    if isinstance(path, int):  # a file that is open already
        return True
    try:
        real = os.path.realpath(os.fsdecode(path))
    except (TypeError, ValueError):  # no name at all: the call fails
        return True
    return real == root or real.startswith(f"{root}{os.sep}")


def _is_let_read(path: Any, args: tuple[Any, ...]) -> bool:
    """Whether it is a table of another package, or a line of source for a traceback."""
    flags = args[2] if isinstance(args[2], int) else 0
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
        return False
    name = os.path.realpath(os.fsdecode(path))
    if name.endswith(".py"):
        return _is_called_by(linecache.updatecache.__code__)
    is_table = any(part in _TABLES for part in Path(name).parts)
    return is_table and name.startswith((sys.prefix, sys.base_prefix, "/usr/share/zoneinfo"))


def _is_called_by(code: CodeType) -> bool:
    return any(one is code for one in _callers())


def _callers() -> Iterator[CodeType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _never(args: tuple[Any, ...]) -> bool:
    return False


def _is_literal(args: tuple[Any, ...]) -> bool:
    """Whether something is only parsed: as a literal, or as a line of a traceback.

    Or is one of babel's own rules of plurals, which come with it.
    """
    is_of_traceback = any(code.co_filename == traceback.__file__ for code in _callers())
    return is_of_traceback or _is_called_by(ast.literal_eval.__code__) or _is_rule(args)


def _is_rule(args: tuple[Any, ...]) -> bool:
    return _is_called_by(babel.plural.to_python.__code__)


def _is_always(args: tuple[Any, ...]) -> bool:
    return True


def _is_of_loop(args: tuple[Any, ...]) -> bool:
    """Whether an event loop makes the pair of sockets that it wakes itself with."""
    return _is_called_by(socket.socketpair.__code__)


def _is_codec(args: tuple[Any, ...]) -> bool:
    return str(args[0]).startswith("encodings.")


def _is_of_tables(args: tuple[Any, ...]) -> bool:
    return str(args[0]).startswith("babel.") or args[0] in ("decimal", "datetime")


_ALLOWED: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "compile": _is_literal,
    "exec": _is_rule,
    "socket.__new__": _is_of_loop,
    "sys.set_asyncgen_hook_finalizer": _is_always,
    "sys.set_asyncgen_hook_firstiter": _is_always,
    "import": _is_codec,
    "pickle.find_class": _is_of_tables,  # babel's tables, which come with it
}
