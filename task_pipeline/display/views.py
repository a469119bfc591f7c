"""Which view there is for which console; all that needs rich is imported from here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

from rich.console import Console

from .lines import EventLines, PlainLines
from .notebook import NotebookView, has_kernel
from .streams import bottom_of
from .terminal import TerminalView
from .view import View


def view_for(console: Console, is_realtime: bool, is_free: bool) -> type[View]:
    """How to show runs; `is_free` if nobody has said where to."""
    if is_realtime:
        return EventLines
    if is_free and has_kernel():
        return NotebookView
    if console.is_terminal and console.is_interactive and not console.is_dumb_terminal:
        return TerminalView
    return PlainLines


def console_for(file: TextIO | None) -> Console:
    """A console that writes to a file, with colours and control codes in a terminal only."""
    target = bottom_of(sys.stdout) if file is None else file
    # Whatever the environment says of colours, what is no terminal gets no codes.
    is_terminal = target is not None and bool(getattr(target, "isatty", bool)())
    return Console(file=target, force_terminal=is_terminal, force_jupyter=False)


def pin(console: Console) -> Callable[[], None]:
    """Have a console go on writing where it does, whoever stands in for `sys.stdout` meanwhile.

    Returns what undoes it.
    """
    before: Any = getattr(console, "_file", None)  # None for one that follows `sys.stdout`
    console.file = bottom_of(cast(TextIO, console.file))

    def unpin() -> None:
        console.file = before

    return unpin
