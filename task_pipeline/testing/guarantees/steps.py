"""Steps for the suite, which any worker can import.

What they leave in a folder tells what they did even where no result comes back.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ...context import PipelineContext
from ...signals import SkipStep, StopPipeline
from ...steps import PipelineStep

WHO: ContextVar[str] = ContextVar("conformance_who", default="nobody")
LOGGER = "task_pipeline.conformance"


@dataclass
class Ledger(PipelineContext[Any]):
    """A context with fields of its own."""

    total: int = 0
    tags: list[str] = field(default_factory=list)


class Note(PipelineStep):
    """Adds its name to the trail."""

    def __init__(self, name: str) -> None:
        self.step_id = name

    def run(self, context: Any) -> None:
        """Add it."""
        context.results.setdefault("trail", []).append(self.step_id)


class Span(PipelineStep):
    """Takes some time, and says from when to when it did."""

    def __init__(self, seconds: float, limit: str | None = None) -> None:
        self._seconds = seconds
        self.limit = limit
        self.step_id = "span" if limit is None else f"span_{limit}"

    def run(self, context: Any) -> None:
        """Take the time."""
        begun = time.monotonic()
        time.sleep(self._seconds)  # the step's work
        spans = context.results.setdefault(self.step_id, [])
        spans.append((begun, time.monotonic()))


class Meet(PipelineStep):
    """Waits until so many steps have come to a folder."""

    def __init__(self, folder: Path, count: int, patience: float) -> None:
        self._folder, self._count, self._patience = str(folder), count, patience

    def run(self, context: Any) -> None:
        """Come, and wait for the others."""
        leave_trace(self._folder, "came")
        until = time.monotonic() + self._patience
        while traces(self._folder, "came") < self._count:
            if time.monotonic() > until:
                raise TimeoutError(f"fewer than {self._count} steps run at once")
            time.sleep(0.005)  # the step's work


class Nap(PipelineStep):
    """Takes some time, and hears nothing meanwhile; leaves a trace at its begin and its end."""

    def __init__(
        self, seconds: float, folder: Path, timeout: float | None = None, retries: int = 0
    ) -> None:
        self._seconds, self._folder = seconds, str(folder)
        self.timeout, self.retries = timeout, retries

    def run(self, context: Any) -> None:
        """Take the time, in the first attempt."""
        leave_trace(self._folder, f"began{context.attempt}")
        if context.attempt == 1:
            time.sleep(self._seconds)  # the step's work
        leave_trace(self._folder, f"ended{context.attempt}")
        context.results["napped"] = context.attempt


class Computes(Nap):
    """Takes its time with Python code, which never pauses."""

    def run(self, context: Any) -> None:
        """Count as long as it takes."""
        leave_trace(self._folder, "began1")
        until = time.monotonic() + self._seconds
        count = 0
        while time.monotonic() < until:
            count += 1
        leave_trace(self._folder, "ended1")


class Fails(PipelineStep):
    """Raises in its first attempts, after it has changed something; then it succeeds."""

    def __init__(self, times: int, retries: int = 0, name: str = "fails", **kw: Any) -> None:
        self._times = times
        self.retries, self.step_id = retries, name
        for attribute, value in kw.items():
            setattr(self, attribute, value)

    def run(self, context: Any) -> None:
        """Raise, or say in which attempt it did not."""
        context.results.setdefault("touched", []).append(context.attempt)
        if context.attempt <= self._times:
            error = ValueError(f"{self.step_id}, attempt {context.attempt}")
            error.add_note("of the step's own")
            raise error
        context.results[self.step_id] = context.attempt


class Once(PipelineStep):
    """Fails as long as a file is not there, and leaves a trace of each call."""

    def __init__(self, name: str, folder: Path, fails: bool = False) -> None:
        self.step_id, self._folder, self._fails = name, str(folder), fails

    def run(self, context: Any) -> None:
        """Leave a trace."""
        leave_trace(self._folder, self.step_id)
        if self._fails and not Path(self._folder, "go").exists():
            raise RuntimeError("not yet")
        context.results[self.step_id] = context.idempotency_key


def leave_trace(folder: str, name: str) -> None:
    """Put one more file of that name into a folder."""
    handle, _ = tempfile.mkstemp(prefix=f"{name}.", dir=folder)
    os.close(handle)


def traces(folder: str | Path, name: str) -> int:
    """How many files of that name are in a folder."""
    return sum(entry.startswith(f"{name}.") for entry in os.listdir(folder))  # noqa: PTH208


def nothing(context: Any) -> None:
    """Do nothing."""


def add_one(context: Any) -> None:
    """Count."""
    context.results["count"] = context.results.get("count", 0) + 1


def answer(context: Any) -> int:
    """Return something."""
    return 42


def boom(context: Any) -> NoReturn:
    """Fail."""
    raise ValueError("boom")


def skips(context: Any) -> NoReturn:
    """Give up its turn."""
    context.results["skipped"] = True
    raise SkipStep("nothing to do")


def stops(context: Any) -> NoReturn:
    """End the run."""
    raise StopPipeline("enough")


def where(context: Any) -> tuple[Any, ...]:
    """Tell what a step can know of itself."""
    return (context.step_id, context.attempt, context.idempotency_key, context.app_config)


def time_left(context: Any) -> float | None:
    """Tell how much time there is."""
    left: float | None = context.remaining
    return left


def who(context: Any) -> str:
    """Look at a context variable, and change it."""
    seen = WHO.get()
    WHO.set("a step")
    return seen


async def waits_a_turn(context: Any) -> str:
    """Let others go first, and return something."""
    await asyncio.sleep(0)  # the step's work
    context.results.setdefault("trail", []).append("coroutine")
    return "came back"


class Unusual(Exception):
    """An exception that pickling does not bring back: its `__init__` wants more."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")


class Unportable(Exception):
    """An exception that has something with it which cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raises_unusual(context: Any) -> NoReturn:
    """Fail in a way of its own."""
    raise Unusual(7, "no such thing")


def raises_unportable(context: Any) -> NoReturn:
    """Fail in a way that cannot be pickled."""
    raise Unportable("locked")
