"""`--display`: how a run is shown while it goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TextIO

from ..display import ParallelDisplayMode, ParallelEventPrinter
from ..display.redirection import Redirection
from ..display.streams import LineStream
from ..pipeline import Pipeline
from .options import DisplayMode


def possible(show: DisplayMode | None, file: TextIO) -> DisplayMode:
    """The way of showing that is wanted, or that there can be."""
    if show in (DisplayMode.LINES, DisplayMode.NONE):
        return show
    return DisplayMode.LIVE if _is_live(file) else DisplayMode.LINES


@contextlib.contextmanager
def showing(pipeline: Pipeline, show: DisplayMode, file: TextIO) -> Iterator[None]:
    """Show the runs of a pipeline."""
    if show is DisplayMode.NONE:
        yield
        return
    is_live = show is DisplayMode.LIVE
    mode = ParallelDisplayMode.PROGRESS if is_live else ParallelDisplayMode.REALTIME
    with contextlib.ExitStack() as stack:
        printer = stack.enter_context(ParallelEventPrinter(mode, show_progress=is_live, file=file))
        if not is_live:  # the tree sees to it itself
            steps = Redirection(lambda target: LineStream(target, _write_lines, only_steps=True))
            steps.start()
            stack.callback(steps.stop)
        stack.enter_context(printer.attach(pipeline))
        yield


def _write_lines(target: TextIO, lines: list[str], step: object) -> None:
    """Whole lines at once, or an event's line would come to stand in the middle of one."""
    target.write("".join(f"{line}\n" for line in lines))


def _is_live(file: TextIO) -> bool:
    """Whether a tree can be redrawn there."""
    from ..display.terminal import TerminalView
    from ..display.views import console_for, view_for

    return view_for(console_for(file), is_realtime=False, is_free=False) is TerminalView
