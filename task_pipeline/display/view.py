"""What all ways of showing runs have in common: a console, and what is written to it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..events import Event
from .model import DisplayModel
from .nodes import RunState
from .picture import still
from .rows import Look
from .summary import RunSummary
from .text import signs_for

FILE_WIDTH = 160  # cells of a line where nobody has a terminal
MOST_WIDTH = 120  # of a wide one: further to the right, a figure is far from its name


class View:
    """A way of showing the runs of a model, from the first that begins to the last that ends.

    `lock` is the model's; it is never held while something is written, so that a terminal
    that hangs holds up no more than whoever waits for its run to be shown as ended.
    """

    def __init__(
        self, console: Console, model: DisplayModel, lock: threading.RLock, show_progress: bool
    ) -> None:
        self.console = console
        self.model = model
        self.lock = lock
        self.show_progress = show_progress

    def open(self) -> None:
        """Begin to show."""

    def wants(self, event: Event) -> bool:
        """Whether the event is to be given to `show`."""
        return False

    def show(self, event: Event, run: RunState | None) -> None:
        """Show an event; its run is None if that is not known (any more)."""

    def end_run(self, run: RunState) -> RunSummary:
        """Show what stays of a run that has left the model, and sum it up."""
        summary, lines = still(run, self.look(is_final=True))
        self.write(lines)
        return summary

    def close(self) -> None:
        """Nothing is left to show."""

    def look(self, is_final: bool = False) -> Look:
        """How lines are drawn on this console."""
        # A terminal's last column stays free: what is in it may wrap, or be wider than told.
        is_terminal = self.console.is_terminal
        width = min(self.console.width - 1, MOST_WIDTH) if is_terminal else FILE_WIDTH
        encoding = encoding_of(self.console)
        return Look(
            width=max(1, width),
            signs=signs_for(encoding),
            encoding=encoding,
            now=self.model.clock(),
            show_progress=self.show_progress,
            is_final=is_final,
        )

    def write(self, lines: Sequence[Text]) -> None:
        """Write lines."""
        if lines:
            text = Text("\n", end="").join(lines)
            text.end = "\n"
            self.console.print(text, soft_wrap=True, highlight=False)


def encoding_of(console: Console) -> str:
    """What the console's file can take."""
    return getattr(console.file, "encoding", None) or "utf-8"
