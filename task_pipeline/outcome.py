"""How a step, a group or a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from .errors import TaskGroupError

T = TypeVar("T")


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


class GroupStatus(StrEnum):
    """Where a dynamic group is.

    `COMPLETED`: every task has succeeded, or was skipped; `FAILED`: one has not, or the
    group timed out; `CANCELLED`: it was left before the end.
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ExecutionResult(Generic[T]):
    """What became of one task of a dynamic group.

    - `ok`; `result`: what it returned; `error`, `error_message`: what it raised, and its text
    - `name`, `index`: given, and in the order added; `attempts`: how many it took
    - `execution_time`: seconds from its first attempt's start to its end
    - `status`: its `Outcome`

    A task may return one itself: with `ok=False` it has failed.

    ```python
    from task_pipeline import parallel

    with parallel() as group:
        group.add(pow, 2, 3)
        group.add(int, "x")
        good, bad = group.gather()

    assert good.unwrap() == 8
    assert not bad.ok and "invalid literal" in bad.error_message
    ```
    """

    ok: bool = True
    result: T | None = None
    error: BaseException | None = None
    error_message: str = ""
    name: str | None = None
    index: int = 0
    attempts: int = 0
    execution_time: float = 0.0
    status: Outcome = Outcome.SUCCEEDED

    def unwrap(self) -> T:
        """What the task returned; raises what it raised."""
        if self.ok:
            return self.result  # type: ignore[return-value]  # T may be optional itself
        raise self.error or TaskGroupError(self.error_message or "the task has failed")
