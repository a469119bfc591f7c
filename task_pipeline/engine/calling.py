"""Between a run and whoever calls its steps: the one protocol of all executors.

A run hands an executor a batch of calls and goes on. Of each call it is told
that it begins, how it is getting on, and once what it has come to. Everything
else, what may start and when, what depends on it, is decided in the run.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..context import PipelineContext
from ..events import Event
from ..state.delta import Delta

if TYPE_CHECKING:
    from ..plan import StepNode  # with all of pydantic, which a worker can do without


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an executor can do for the calls it is given.

    - `kills`: a call that is to stop is ended, whatever its code does
    - `leaves`: the run can go on without a call that does not end; without it, an executor
      takes no step that a deadline may end
    - `shares_memory`: the step works on the run's own objects, as on a thread
    - `needs_pickling`: what a step is given, and brings back, is pickled
    - `reports`: progress, events, log records and the wish to stop travel while a call runs
    - `tells_start`: calls may wait inside of it, and it tells when one begins; for others a
      call begins when it is handed over
    """

    kills: bool = False
    leaves: bool = True
    shares_memory: bool = False
    needs_pickling: bool = True
    reports: bool = False
    tells_start: bool = False


class Relay:
    """What tells the run of groups that a step opens which is called elsewhere.

    `tell` takes an event; `path` is the step's.
    """

    def __init__(self, path: str, run_id: str, tell: Callable[[Event], object]) -> None:
        self.path = path
        self.run_id = run_id
        self.tell = tell
        self._numbers = itertools.count()

    def next_number(self) -> int:
        """The number of one more group in the step."""
        return next(self._numbers)


current_relay: contextvars.ContextVar[Relay | None] = contextvars.ContextVar(
    "task_pipeline_relay", default=None
)
"""That of the step which the current code is part of, if its run is elsewhere."""


@dataclass(slots=True)
class Reply:
    """What a call has come to: what the step changed, and what it raised, if it did.

    A step that failed may have changed something too. A `StopPipeline` or `SkipStep` is
    given as an error.
    """

    delta: Delta | None = None
    error: BaseException | None = None


class Call(Protocol):
    """One attempt of a step, as its executor sees it. Every method is safe from any thread."""

    @property
    def node(self) -> StepNode:
        """The step in its plan."""

    @property
    def attempt(self) -> int:
        """1 for the first."""

    @property
    def context(self) -> PipelineContext[Any]:
        """What it works on; raises `StepAbandonedError` if the step was left."""

    @property
    def enclosing(self) -> PipelineContext[Any] | None:
        """The context of the branch it works in, of which `context` is a fork, or that very one."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The step's `executor_options`."""

    @property
    def kept(self) -> dict[Any, Any]:
        """What executors keep for as long as the run goes, by keys of their own."""

    @property
    def contextvars(self) -> contextvars.Context:
        """The context variables that the run was started with."""

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to the run's events."""

    @property
    def run_id(self) -> str:
        """The id of the run."""

    @property
    def idempotency_key(self) -> str:
        """The run and the step's place in it."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for it: False once it was left; what it comes to is dropped."""

    def remaining(self) -> float | None:
        """Seconds to the nearest deadline over the step, its own included; None if none."""

    def begins(self) -> bool:
        """It begins now, if the executor `tells_start`; False if it is not wanted any more."""

    def progressed(self, percent: float) -> None:
        """The step has reported progress."""

    def logged(self, record: logging.LogRecord) -> None:
        """The step has logged something: it is handled here as if it had been logged here."""

    def told(self, event: Event) -> None:
        """Something inside the step has happened, such as a group of tasks that began."""

    def perform(self) -> None:
        """Call the step here, in the current thread, and end: if memory is shared."""

    def ended(self, reply: Reply) -> None:
        """It has come to its end. Each call must be ended or failed once, also one that was left.

        The second time does nothing.
        """

    def failed(self, error: Exception) -> None:
        """The executor could not do it, or knows no more than that it is over."""


@runtime_checkable
class StepExecutor(Protocol):
    """Whoever calls steps: one of the library's executors, or your own.

    - `name`: how messages call it
    - `max_calls`: how many calls of one run it is given at once; None for no limit
    """

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def max_calls(self) -> int | None:
        """How many calls of one run it is given at once."""

    def problems(self, node: StepNode) -> list[str]:
        """What it cannot do for a step, each as the end of a sentence about it. Without effect."""

    def preflight(self, steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
        """What is wrong with these steps and this data, before a run starts with them."""

    def submit(self, calls: Sequence[Call]) -> None:
        """Take calls, and return at once. What goes wrong with one is its own failure."""

    def stop(self, calls: Sequence[Call]) -> None:
        """These have been left, or are not wanted: have them end, and return at once.

        One may have ended by then, or be stopped a second time.
        """
