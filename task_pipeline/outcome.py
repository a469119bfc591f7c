"""How a step, a group or a run ended."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Exactly one of these for every step, group and run.

    ```python
    from task_pipeline import Outcome

    assert Outcome.TIMED_OUT == "timed_out"
    ```
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
