"""Standing in for `sys.stdout` and `sys.stderr`, and giving them back exactly."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from ..engine.step import ActiveStep, current_step

Sink = Callable[[TextIO, list[str], ActiveStep | None], None]
"""Where whole lines go: the stream they were meant for, the lines, the step they are from."""

STREAMS = ("stdout", "stderr")


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


def _living(stream: TextIO) -> TextIO:
    """The first stand-in that is still open, or what is below all."""
    while isinstance(stream, LineStream) and not stream.is_open:
        stream = stream.target
    return stream


_changing = threading.RLock()


class Redirection:
    """Stand-ins for `sys.stdout`, `sys.stderr` and the same streams held by log handlers.

    Several may be there at once and go in any order. One that goes `below` is what the
    others write to; without it, it is on top and writes to them.
    """

    def __init__(self, make: Callable[[TextIO], LineStream | None], below: bool = False) -> None:
        """`make` gives the stand-in for a stream, or None to leave that one alone."""
        self._make = make
        self._below = below
        self._streams: list[LineStream] = []
        self._handlers: list[tuple[logging.StreamHandler[Any], TextIO]] = []

    def start(self) -> None:
        """Put the stand-ins in their places; once they are there, this does nothing."""
        with _changing:
            if self._streams:
                return
            stands_for: dict[int, LineStream] = {}
            for name in STREAMS:
                top = getattr(sys, name)
                if top is None:  # a program without a console
                    continue
                target = bottom_of(top) if self._below else top
                stand_in = self._make(target)
                if stand_in is None:
                    continue
                self._streams.append(stand_in)
                above = _above(top, target)
                if above is None:
                    setattr(sys, name, stand_in)
                else:
                    above.target = cast(TextIO, stand_in)
                for stream in (target, bottom_of(top), getattr(sys, f"__{name}__")):
                    stands_for.setdefault(id(stream), stand_in)
            for handler in _stream_handlers():
                if id(handler.stream) in stands_for:
                    self._handlers.append((handler, handler.stream))
                    handler.setStream(stands_for[id(handler.stream)])

    def stop(self) -> None:
        """Take them away again, and leave everything as it would be without them."""
        with _changing:
            for stream in self._streams:
                stream.is_open = False
                for name in STREAMS:
                    _take_out(name, stream)
            mine = {id(stream) for stream in self._streams}
            for handler, before in self._handlers:
                if id(handler.stream) in mine:
                    handler.setStream(_living(before))
            streams, self._streams, self._handlers = self._streams, [], []
        for stream in streams:
            stream.end_lines()

    def end_lines(self, belongs: Callable[[ActiveStep], bool]) -> None:
        """Give away the lines that steps have not ended."""
        for stream in tuple(self._streams):
            stream.end_lines(belongs)


def _above(top: TextIO, target: TextIO) -> LineStream | None:
    """The stand-in that writes to `target`, if `target` is not at the top itself."""
    above = None
    stream = top
    while stream is not target and isinstance(stream, LineStream):
        above, stream = stream, stream.target
    return above


def _take_out(name: str, stand_in: LineStream) -> None:
    mine = cast(TextIO, stand_in)
    top = getattr(sys, name)
    if top is stand_in:
        setattr(sys, name, _living(stand_in.target))
        return
    above = _above(top, mine)
    if above is not None and above.target is mine:
        above.target = stand_in.target


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    """The handlers that hold a stream of their own, of all loggers there are."""
    root = logging.root
    loggers = [root, *(item for item in [*root.manager.loggerDict.values()])]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            for handler in tuple(logger.handlers):
                # The stream of a file that is not open yet is None.
                if isinstance(handler, logging.StreamHandler) and vars(handler).get("stream"):
                    yield handler
