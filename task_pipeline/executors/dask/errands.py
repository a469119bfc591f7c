"""A call that an executor has taken, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...engine.calling import Call
from ...errors import ExecutorError, StepError, WorkerDiedError
from .holdings import Holding


@dataclass(slots=True, eq=False)
class Errand:
    """One call on its way.

    - `token`: its name between run and workers; `claim`: the one it is claimed by, if it must
      not be begun twice
    - `future`: Dask's; `holdings`: the values on the cluster that it needs
    - `worker`: where it has begun, as far as is known
    - `is_stopped`: nobody wants it any more; `is_over`: its call knows that it has ended
    - `times`: how often it has been handed over
    """

    call: Call
    token: str
    claim: str | None = None
    future: Any = None
    holdings: dict[str, Holding] = field(default_factory=dict)
    worker: str | None = None
    is_stopped: bool = False
    is_over: bool = False
    times: int = 0

    @property
    def label(self) -> str:
        """How messages call its step."""
        return self.call.node.label

    def lost(self) -> Holding | None:
        """A value it needs that is lost."""
        return next((each for each in self.holdings.values() if each.lost is not None), None)

    def worker_died(self, reason: str) -> StepError:
        """The error of a step whose worker is gone."""
        node = self.call.node
        return WorkerDiedError(
            f"step {self.label}: {reason}",
            step_id=node.step_id,
            path=node.path,
            attempt=self.call.attempt,
        )

    def error_of(self, error: BaseException) -> Exception:
        """What has become of a call that Dask itself gave up."""
        kind = type(error).__name__
        wrong: Exception
        if kind == "KilledWorker":
            wrong = self.worker_died(
                f"every worker that ran it died ({error}). It may need more memory than a worker "
                "has, or crash the interpreter"
            )
        elif isinstance(error, ImportError):
            wrong = ExecutorError(
                f"step {self.label} could not be run on the Dask cluster: {error}. Scheduler and "
                "workers must have task_pipeline installed, and what the step imports, in the "
                "same versions as here"
            )
        else:
            wrong = ExecutorError(
                f"step {self.label} could not be run on the Dask cluster ({kind}: {error})"
            )
        wrong.__cause__ = error
        return wrong
