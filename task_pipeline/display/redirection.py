"""Standing in for `sys.stdout` and `sys.stderr`, and giving them back exactly."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from ..engine.step import ActiveStep
from .streams import LineStream, bottom_of

STREAMS = ("stdout", "stderr")


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
