"""The way back to the run while a step is performed elsewhere: progress, log records, events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ..events import Event


class Channel(Protocol):
    """What a step that is performed elsewhere can tell its run, and hear of it.

    `owns_process`: the process does nothing but perform steps, so that its loggers may be
    set as the run's are.
    """

    owns_process: bool

    @property
    def cancelled(self) -> bool:
        """Whether the step has been asked to stop."""

    def progressed(self, percent: float) -> None:
        """The step has reported progress."""

    def logged(self, record: logging.LogRecord) -> None:
        """The step has logged something; what the record holds can be pickled."""

    def told(self, event: Event) -> None:
        """Something inside the step has happened."""


class NoChannel:
    """A channel to nobody."""

    owns_process = False
    cancelled = False

    def progressed(self, percent: float) -> None:
        """Nobody hears of it."""

    def logged(self, record: logging.LogRecord) -> None:
        """Nobody hears of it."""

    def told(self, event: Event) -> None:
        """Nobody hears of it."""


NO_CHANNEL = NoChannel()


class _Facts(Protocol):
    """What log records say of where they come from, and which of them are wanted."""

    run_id: str
    step_id: str
    path: str
    attempt: int
    levels: dict[str, int]


_current: ContextVar[tuple[Any, Channel] | None] = ContextVar("task_pipeline_channel", default=None)
_lock = threading.Lock()
_active: list[tuple[Any, Channel]] = []
_plain = logging.Formatter()
_RELAYED = "is_relayed"


class _Relay(logging.Handler):
    """Sends what a step logs to where its run is, in place of handling it here."""

    def emit(self, record: logging.LogRecord) -> None:
        if _RELAYED in record.__dict__:  # it has arrived: the run is in this very process
            return
        at_work = _current.get()
        if at_work is None:  # a thread that the step has started: if there is but one step
            with _lock:
                at_work = _active[0] if len(_active) == 1 else None
        if at_work is None:
            return
        about, channel = at_work
        try:
            channel.logged(_sendable(record, about))
        except Exception:  # noqa: BLE001  # as every handler does: logging must not fail a step
            self.handleError(record)


def _sendable(record: logging.LogRecord, about: _Facts) -> logging.LogRecord:
    """A copy with its text made, as its arguments may be anything."""
    copied = logging.makeLogRecord(record.__dict__)
    copied.msg, copied.args = record.getMessage(), None
    if record.exc_info:
        copied.exc_text = record.exc_text or _plain.formatException(record.exc_info)
        copied.exc_info = None
    known = logging.makeLogRecord({}).__dict__
    for name, value in list(copied.__dict__.items()):
        if name not in known and not isinstance(value, str | int | float | bool | None):
            copied.__dict__[name] = str(value)
    copied.__dict__[_RELAYED] = True
    for name in ("run_id", "step_id", "path", "attempt"):
        # A filter over there, which knows of no step, may have said that there is none.
        copied.__dict__[name] = copied.__dict__.get(name) or getattr(about, name)
    return copied


_relay = _Relay()


@contextmanager
def relaying(about: Any, channel: Channel) -> Iterator[None]:
    """Have what is logged meanwhile go the channel's way."""
    if isinstance(channel, NoChannel):
        yield
        return
    root = logging.getLogger()
    at_work = (about, channel)
    with _lock:
        if _relay not in root.handlers:
            root.addHandler(_relay)
        _active.append(at_work)
    if channel.owns_process:
        for name, level in about.levels.items():
            logger = logging.getLogger(name)
            if logger.level != level:  # to set one makes all loggers forget what they know
                logger.setLevel(level)
    token = _current.set(at_work)
    try:
        yield
    finally:
        _current.reset(token)
        with _lock:
            _active.remove(at_work)
