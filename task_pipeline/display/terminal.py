"""The live tree in a terminal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..engine.step import ActiveStep
from .model import DisplayModel
from .nodes import RunState
from .picture import live_picture
from .redirection import Redirection
from .streams import LineStream
from .summary import RunSummary
from .ticker import Ticker
from .view import View, encoding_of

SECONDS_PER_FRAME = 0.125


class TerminalView(View):
    """A tree that is redrawn in place; what is printed meanwhile goes above it.

    It is drawn by a thread of its own, so many events cost no more than few. When a run
    has ended its tree is taken away and written once more, as ordinary lines.
    """

    def __init__(
        self, console: Console, model: DisplayModel, lock: threading.RLock, show_progress: bool
    ) -> None:
        super().__init__(console, model, lock, show_progress)
        # Held by whoever writes or draws, before rich's own locks: a line printed while the
        # tree is being taken away would go with it.
        self._writing = threading.RLock()
        self._redirection = Redirection(self._stand_in, below=True)
        self._live = Live(
            get_renderable=self._draw,
            console=console,
            auto_refresh=False,  # its thread takes the locks the other way round
            transient=True,
            redirect_stdout=False,  # rich's own mixes the lines of several threads
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._ticker = Ticker(SECONDS_PER_FRAME, self._redraw)

    def open(self) -> None:
        """Draw the first tree, and have prints and logs go above it."""
        self._redirection.start()
        try:
            with self._writing:
                self._begin_line()
                self._live.start(refresh=True)
            self._ticker.start()
        except BaseException:
            self.close()
            raise

    def end_run(self, run: RunState) -> RunSummary:
        """Take its tree away, and write it as lines, with the summary."""
        with self._writing:
            self._live.refresh()
            return super().end_run(run)

    def write(self, lines: Sequence[Text]) -> None:
        """Write lines above the tree."""
        with self._writing:
            super().write(lines)

    def close(self) -> None:
        """Take the tree away, and put everything back."""
        try:
            with self._writing:
                self._live.stop()
        finally:
            self._redirection.stop()
            self._ticker.stop()

    def _begin_line(self) -> None:
        """Go to a line of its own, without knowing whether the cursor is in one's middle.

        Only if it is, so many blanks run over the line's end; back at a line's beginning,
        there is nothing but blanks in it.
        """
        self.console.file.write(" " * (self.console.width - 1) + "\r")

    def _redraw(self) -> None:
        with self._writing:
            if self._live.is_started:
                self._live.refresh()

    def _draw(self) -> Text:
        with self.lock:
            runs = [*self.model.runs.values()]
            room = max(1, self.console.height - 1)
            lines = live_picture(runs, self.look(), room) if runs else []
        picture = Text("\n", no_wrap=True, overflow="crop", end="").join(lines)
        picture.no_wrap = True
        return picture

    def _stand_in(self, target: TextIO) -> LineStream | None:
        # What goes to a file does not disturb the tree, and is to stay in that file.
        return LineStream(target, self._print) if _is_terminal(target) else None

    def _print(self, target: TextIO, lines: list[str], step: ActiveStep | None) -> None:
        encoding = encoding_of(self.console)
        with self._writing:
            for line in lines:
                safe = line.removesuffix("\r").encode(encoding, "replace").decode(encoding)
                self.console.print(Text.from_ansi(safe), soft_wrap=True, highlight=False)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # something else that has `write`, or it is closed
        return False
