"""An executor that does nothing by itself: a test begins and ends each call by hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from task_pipeline.engine.calling import Call, Capabilities, Reply
from task_pipeline.plan import StepNode
from task_pipeline.state.delta import Delta


class Held:
    """Keeps what it is given, in order; `stopped` has those it was told to stop."""

    name = "held"

    def __init__(
        self,
        capabilities: Capabilities | None = None,
        max_calls: int | None = None,
        refuses: str = "",
    ) -> None:
        self.capabilities = capabilities or Capabilities(tells_start=True, kills=True)
        self.max_calls = max_calls
        self.refuses = refuses
        self.calls: list[Any] = []
        self.batches: list[int] = []
        self.stopped: list[Any] = []
        self._came = threading.Condition()

    def problems(self, node: StepNode) -> list[str]:
        return [self.refuses] if self.refuses else []

    def preflight(self, steps: Sequence[StepNode], context: Any) -> list[str]:
        return []

    def submit(self, calls: Sequence[Call]) -> None:
        with self._came:
            self.calls += calls
            self.batches.append(len(calls))
            self._came.notify_all()

    def stop(self, calls: Sequence[Call]) -> None:
        with self._came:
            self.stopped += calls
            self._came.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        """The calls, as soon as there are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.calls) >= count, 10), self.calls
            return list(self.calls)

    def wait_for_stops(self, count: int) -> list[Any]:
        """The calls that are to stop, as soon as there are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.stopped) >= count, 10), self.stopped
            return list(self.stopped)


def sets(**results: Any) -> Reply:
    """A reply of a step that has set these keys."""
    return Reply(Delta(results))
