"""A worker: performs the calls that come over its line, one after another."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from ...engine.calling import Reply
from ...errors import ExecutorError
from ...events import Event
from ..image import Image
from ..performing import About, not_loaded, pack_reply, perform
from ..portable import dumps, loads
from ..raised import portable_error
from .flags import Flags
from .lines import From, Line, To
from .parcels import Item, Setup, from_item, message, opened, to_item
from .remembering import Memory
from .scratch import Writer
from .surroundings import go_to


class Wire:
    """The channel of one call, over the worker's line."""

    __slots__ = ("_flags", "_line", "_number", "_slot", "_writer")
    owns_process = True

    def __init__(self, service: Service, number: int) -> None:
        self._line = service.line
        self._writer = service.writer
        self._flags = service.flags
        self._slot = service.slot
        self._number = number

    @property
    def cancelled(self) -> bool:
        """Whether the step has been asked to stop."""
        return self._flags.is_asked_to_stop(self._slot, self._number)

    def progressed(self, percent: float) -> None:
        """The step has reported progress."""
        self._line.send(message(From.PROGRESS, self._number, percent))

    def logged(self, record: logging.LogRecord) -> None:
        """The step has logged something."""
        item = to_item(dumps(record, "a log record"), self._writer)
        self._line.send(message(From.RECORD, self._number, item))

    def told(self, event: Event) -> None:
        """Something inside the step has happened."""
        if event.error is not None:
            event = dataclasses.replace(event, error=portable_error(event.error))
        item = to_item(dumps(event, "an event"), self._writer)
        self._line.send(message(From.EVENT, self._number, item))


class Service:
    """All of a worker."""

    def __init__(self, line: Line, setup: Setup) -> None:
        self.line = line
        self.slot = setup.slot
        self.flags = Flags(setup.flags)
        self.writer = Writer(setup.places, setup.stem)
        self._memory = Memory()
        self._removals = self.flags.removals
        self._where = b""

    def work(self) -> None:
        """Work until there is to be an end, or nobody is left to work for."""
        self.line.send(message(From.READY, os.getpid()))
        while (text := self.line.receive()) is not None:
            kind, *parts = opened(text)
            if kind == To.CALL:
                number, where, *parts = parts
                self._perform(number, where, parts)
            elif kind == To.END:
                return
            self._look_at_removals()

    def _perform(self, number: int, where: bytes, parts: Sequence[Any]) -> None:
        digest, code, base, image, plain, about = parts
        try:
            self._go_to(where)
            function = self._memory.function(digest, code)
            picture: Image = self._memory.image(base, image)
            facts: About = loads(from_item(about)) if about is not None else About(*plain)
        except Exception as wrong:  # noqa: BLE001  # a module of the user's may raise anything
            reply = Reply(None, not_loaded(wrong))
        else:
            reply = perform(function, picture, facts, Wire(self, number))
        _flush()
        self.line.send(message(From.REPLY, number, self._reply_item(reply)))

    def _reply_item(self, reply: Reply) -> Item | None:
        if reply.delta is None and reply.error is None:
            return None
        try:
            return to_item(pack_reply(reply), self.writer)
        except OSError as error:  # there is no room for it
            lost = ExecutorError(
                f"what the step has brought back cannot be written to a file ({error}); it goes "
                f"through {' or '.join(self.writer.places)}"
            )
        except Exception as error:  # noqa: BLE001  # a class of the user's may raise anything
            lost = ExecutorError(
                "what the step has brought back cannot be sent: "
                f"{type(error).__name__}: {error!s:.500}"
            )
        return to_item(pack_reply(Reply(None, lost)), self.writer)

    def _go_to(self, where: bytes) -> None:
        """Be where the parent was: its directory, and the path of its modules."""
        if where == self._where:
            return
        go_to(where)
        self._where = where

    def _look_at_removals(self) -> None:
        removals = self.flags.removals
        if removals != self._removals:
            self._removals = removals
            self._memory.forget_removed()


def _flush() -> None:
    """Show what the step has printed before anybody hears that it has ended."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or nobody at its end
            continue
