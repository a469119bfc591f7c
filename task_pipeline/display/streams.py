"""A stream that stands for another, and gives whole lines to whoever wants them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TextIO

from ..engine.step import ActiveStep, current_step

Sink = Callable[[TextIO, list[str], ActiveStep | None], None]
"""Where whole lines go: the stream they were meant for, the lines, the step they are from."""


class LineStream:
    """A stream that gives whole lines to a sink, never a mixture of two writers' lines.

    Everything else is asked of the stream it stands for. Once closed, and in a forked
    child, where the sink's locks may be held by threads that are not there, it lets all
    through: whoever still holds it prints as ever.
    """

    def __init__(self, target: TextIO, sink: Sink, only_steps: bool = False) -> None:
        """With `only_steps`, what is written outside of steps goes straight through."""
        self.target = target
        self._sink = sink
        self._only_steps = only_steps
        self._partial: dict[object, list[str]] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self.is_open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    @property
    def is_active(self) -> bool:
        """Whether it gives lines to its sink."""
        return self.is_open and self._pid == os.getpid()

    def write(self, text: str) -> int:
        """Take text in; what has no line end yet is kept for its writer."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        step = current_step.get()
        if not self.is_active or (self._only_steps and step is None):
            self.target.write(text)
            return len(text)
        key: object = threading.get_ident() if step is None else step
        head, newline, tail = text.rpartition("\n")
        with self._lock:
            before = self._partial.pop(key, [])
            if tail or not newline:
                kept = [tail] if newline else [*before, tail]
                self._partial[key] = kept
        if newline:
            self._sink(self.target, ("".join(before) + head).split("\n"), step)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what it stands for; lines that have not ended go on waiting."""
        self.target.flush()

    def end_lines(self, belongs: Callable[[ActiveStep], bool] | None = None) -> None:
        """Give away lines that have not ended: of the steps that `belong`, or all."""
        with self._lock:
            keys = [
                key
                for key in self._partial
                if belongs is None or (isinstance(key, ActiveStep) and belongs(key))
            ]
            lines = [(key, "".join(self._partial.pop(key))) for key in keys]
        for key, line in lines:
            if line:
                self._sink(self.target, [line], key if isinstance(key, ActiveStep) else None)


def bottom_of(stream: TextIO) -> TextIO:
    """What is below all that stands in for a stream."""
    while isinstance(stream, LineStream):
        stream = stream.target
    return stream
