"""Points at which real threads wait until a test lets them go on."""

from __future__ import annotations

import threading


class Gate:
    """A closed gate: a step waits at it until the test opens it.

    ```python
    from task_pipeline import Pipeline
    from task_pipeline.testing import Gate

    gate = Gate()
    run = Pipeline([lambda context: gate.wait()]).start()
    gate.wait_until_reached()  # now the step is inside
    assert run.status()["running_steps"] == ["lambda"]
    gate.open()
    run.result()
    ```
    """

    def __init__(self, patience: float = 30.0) -> None:
        """`patience`: seconds after which any wait gives up with `TimeoutError`."""
        self._patience = patience
        self._condition = threading.Condition()
        self._is_open = False
        self._arrived = 0

    def wait(self) -> None:
        """For the step: wait until the gate is open."""
        with self._condition:
            self._arrived += 1
            self._condition.notify_all()
            if not self._condition.wait_for(lambda: self._is_open, self._patience):
                raise TimeoutError(f"the gate was not opened within {self._patience} s")

    def wait_until_reached(self, count: int = 1) -> None:
        """For the test: wait until `count` threads have come to the gate."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._arrived >= count, self._patience):
                raise TimeoutError(
                    f"{self._arrived} of {count} threads came to the gate within {self._patience} s"
                )

    def open(self) -> None:
        """For the test: let everybody through, now and later."""
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    @property
    def arrived(self) -> int:
        """How many threads have come to the gate so far."""
        with self._condition:
            return self._arrived
