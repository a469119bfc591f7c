"""A call under way on a worker, and its way to tell its run of it."""

from __future__ import annotations

import importlib
import logging
import os
import platform
from collections.abc import Callable
from typing import Any

from ...events import Event
from ..channels import NoChannel
from .parcels import Note, Order

BEGINS, PROGRESS, LOGGED, TOLD, OVER = "begins", "progress", "logged", "told", "over"
"""The kinds of notes."""


def home() -> str:
    """The name of this process, which no other on the network has."""
    return f"{platform.node()}/{os.getpid()}"


class Job:
    """One call that a worker is performing, and the channel to its run.

    Notes wait until the workshop sends them, or go with the reply if that is sooner.
    """

    owns_process = True

    def __init__(self, order: Order, leave: Callable[[Job], list[Note]]) -> None:
        self.order = order
        self.notes: list[Note] = [(BEGINS, b"")]
        self.is_stopped = False
        self._leave = leave

    @property
    def cancelled(self) -> bool:
        """Whether the step has been asked to stop."""
        return self.is_stopped

    def progressed(self, percent: float) -> None:
        """The step has reported progress."""
        self._note(PROGRESS, percent)

    def logged(self, record: logging.LogRecord) -> None:
        """The step has logged something."""
        self._note(LOGGED, record)

    def told(self, event: Event) -> None:
        """Something inside the step has happened."""
        self._note(TOLD, event)

    def leave(self) -> list[Note]:
        """It is over; returns the notes that have not been sent."""
        return self._leave(self)

    def _note(self, kind: str, content: Any) -> None:
        self.notes.append((kind, importlib.import_module("cloudpickle").dumps(content)))


class JobAtHome(Job, NoChannel):  # type: ignore[override]  # a property in place of a constant
    """One on a worker in the run's own process, where what is logged is handled as ever."""

    owns_process = False
