"""One Dask cluster of two worker processes, for all tests of a session that need one.

Steps of these tests are made inside of functions: so they go to workers by value, which need not
import any test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline.executors import DaskExecutor

PATIENCE = 30.0


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskExecutor]:
    """An executor with a cluster of its own; its `client` is what others connect by."""
    with DaskExecutor.local(
        n_workers=2, threads_per_worker=2, resources={"slots": 1}, silence_logs="CRITICAL"
    ) as executor:
        yield executor


class ClusterGate:
    """A closed gate at which steps on a cluster wait until the test opens it."""

    def __init__(self, client: Any) -> None:
        from distributed import Event

        self.name = f"gate-{uuid.uuid4().hex}"
        self._reached = Event(f"{self.name}-reached", client=client)
        self._open = Event(self.name, client=client)

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()

    def wait_until_reached(self) -> None:
        """Wait until a step has come to it."""
        assert self._reached.wait(PATIENCE)

    def clear(self) -> None:
        """Have it reached again before it counts."""
        self._reached.clear()

    def step(self) -> Any:
        """A function that waits at the gate, for a step to call."""
        name, patience = self.name, PATIENCE

        def wait() -> None:
            from distributed import Event

            Event(f"{name}-reached").set()
            assert Event(name).wait(patience)

        return wait
