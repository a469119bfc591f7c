"""What the tests of metrics have in common: a clock that steps move, and short ways to look."""

from __future__ import annotations

import threading
from typing import Any

from task_pipeline import PipelineConfig, step
from task_pipeline.testing import ManualClock

ONE = PipelineConfig(max_workers=1)


class Clock(ManualClock):
    """A clock that says when a timer was set."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = threading.Semaphore(0)

    def call_later(self, seconds: float, callback: Any) -> Any:
        timer = super().call_later(seconds, callback)
        self.timers.release()
        return timer


def works(clock: ManualClock, seconds: float, name: str = "work"):
    """A step that takes so long by the clock."""

    @step(step_id=name)
    def work(context):
        clock.advance(seconds)

    return work


def fails(context):
    raise ValueError("no")


def times(durations: Any) -> tuple[int, float, float | None, float | None, float | None]:
    return durations.count, durations.total, durations.min, durations.max, durations.mean


def len_of(context):
    """Does nothing."""
