"""A live view in a notebook: one output that is replaced as the run goes on."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.text import Text

from .nodes import RunState
from .picture import live_picture, still
from .rows import Look
from .summary import RunSummary
from .ticker import Ticker
from .view import View

SECONDS_PER_FRAME = 0.25
WIDTH = 100  # cells
MOST_LINES = 60  # of what runs
STYLE = (
    "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "font-size:13px;line-height:1.35;white-space:pre;overflow-x:auto;margin:0"
)


def has_kernel() -> bool:
    """Whether this process is a notebook's: IPython runs in it, with a kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def html_of(lines: Sequence[Text]) -> str:
    """Lines as HTML, with their colours and nothing to fetch."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        force_terminal=True,
        color_system="truecolor",
        force_jupyter=False,
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
    return console.export_html(
        inline_styles=True, code_format=f'<pre style="{STYLE}">{{code}}</pre>'
    )


class NotebookView(View):
    """One HTML output for the runs that overlap, replaced a few times a second."""

    def open(self) -> None:
        """Show the output."""
        shown: Any = import_module("IPython.display")
        self._html = shown.HTML
        self._ended: list[Text] = []
        self._handle: Any = shown.display(self._html(self._draw()), display_id=True)
        self._updating = threading.RLock()  # so that an older picture cannot come last
        self._ticker = Ticker(SECONDS_PER_FRAME, self._update)
        self._ticker.start()

    def end_run(self, run: RunState) -> RunSummary:
        """Keep what stays of it."""
        summary, lines = still(run, self.look(is_final=True))
        with self.lock:
            self._ended += lines
        return summary

    def close(self) -> None:
        """Draw it for the last time."""
        self._ticker.stop()
        self._update()

    def look(self, is_final: bool = False) -> Look:
        """As wide as a cell's output commonly is."""
        return replace(super().look(is_final), width=WIDTH)

    def _update(self) -> None:
        with self._updating:
            self._handle.update(self._html(self._draw()))

    def _draw(self) -> str:
        with self.lock:
            running = live_picture([*self.model.runs.values()], self.look(), MOST_LINES)
            return html_of([*self._ended, *running])
