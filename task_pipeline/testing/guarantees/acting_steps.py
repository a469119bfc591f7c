"""Steps of the suite that run, report or return what others do not, for any worker to import."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from ...steps import PipelineStep
from .steps import LOGGER, Note, leave_trace, traces


def runs_a_pipeline(context: Any) -> list[str]:
    """Run a pipeline of its own, on threads, inside a step."""
    from ...pipeline import Pipeline

    inner = Pipeline([Note("x"), [Note("y"), Note("z")]]).run()
    trail: list[str] = inner.results["trail"]
    return trail


def inline_pipeline(context: Any) -> list[str]:
    """Run a pipeline of its own in the very thread the step is in."""
    from ...pipeline import Pipeline

    inner = Pipeline([Note("x"), [Note("y"), Note("z")]], executor="inline").run()
    trail: list[str] = inner.results["trail"]
    return trail


class Reports:
    """A step that says how far it is, and goes on when it is let."""

    def __init__(self, folder: Path, patience: float) -> None:
        self._folder, self._patience = str(folder), patience

    def __call__(self, context: Any) -> str:
        """Report progress, log something, wait."""
        logging.getLogger(LOGGER).warning("of %s", "a step")
        context.update_step_progress(40)
        leave_trace(self._folder, "reported")
        until = time.monotonic() + self._patience
        while not traces(self._folder, "go"):
            if time.monotonic() > until:
                raise TimeoutError("nobody let the step go on")
            time.sleep(0.005)  # the step's work
        return "went on"


class Listens:
    """A step that goes on until it is asked to stop."""

    def __init__(self, folder: Path, patience: float) -> None:
        self._folder, self._patience = str(folder), patience

    def __call__(self, context: Any) -> None:
        """Wait to be asked."""
        leave_trace(self._folder, "began1")
        until = time.monotonic() + self._patience
        while not context.cancelled and time.monotonic() < until:
            time.sleep(0.005)  # the step's work
        leave_trace(self._folder, "heard" if context.cancelled else "deaf")


def spreads(context: Any) -> list[int]:
    """Have tasks of its own."""
    with context.parallel(max_workers=2, name="inner") as group:
        for number in range(3):
            group.add(pow, number, 2)
        return [result.unwrap() for result in group.gather()]


class ReturnsText(PipelineStep):
    """A class step that returns what it may not."""

    def run(self, context: Any) -> Any:
        """Return a text."""
        return "a text"
