"""What a run tells whoever keeps its record, and what it is told of an earlier part of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from ..errors import JournalError
from ..outcome import Outcome
from ..plan import StepNode
from ..state.delta import Delta
from .feed import Told
from .step import ActiveGroup, ActiveStep


class Recorder(Protocol):
    """Keeps the record of one run.

    What happens is told under the run's lock, in its order, so these are quick. Each record
    has a number, and `latest` is the last one's: what begins waits until all that it depends
    on is safe, by number.

    - `forks_all`: every step works on a fork, also one that is a branch of its own
    - `follows`: the run follows an earlier one, so it keeps no deadlines and ends no group early
    - `refuses`: whether there are steps that are not to run
    """

    forks_all: bool
    follows: bool
    refuses: bool

    @property
    def latest(self) -> int:
        """The number of the last record."""

    def handed_in(
        self, step: ActiveStep, delta: Delta | None, error: BaseException | None
    ) -> tuple[Delta | None, BaseException | None]:
        """An attempt has changed this; returns what is to be taken for it. Without the lock.

        Raises what makes the change impossible to record.
        """

    def chosen(self, step: ActiveStep, decided: Any) -> Any:
        """A dynamic group has found this out; returns what it is to run. Otherwise as above."""

    def refusal(self, step: ActiveStep) -> Exception | None:
        """What a step is to end with that is not to run; under the run's lock."""

    def started(self, step: ActiveStep) -> None:
        """An attempt was made ready of a step that is not idempotent."""

    def ended(
        self, step: ActiveStep, outcome: Outcome, error: BaseException | None, is_final: bool
    ) -> None:
        """An attempt ended, and with the last one the step."""

    def left(self, step: ActiveStep, is_inside: bool) -> None:
        """A step was ended by what is around it, with a thread or coroutine inside or not."""

    def settled(self, node: StepNode, outcome: Outcome) -> None:
        """A step will not run."""

    def deadline_passed(self, group: ActiveGroup) -> None:
        """A group's time is over: what follows from it is told next."""

    def group_ended(self, group: ActiveGroup) -> None:
        """A group below the root ended."""

    def tell(self, told: Told) -> None:
        """An event that somebody is told of. Under a lock, as a feed's sinks are called."""

    def run_ended(
        self,
        outcome: Outcome | None,
        error: BaseException | None,
        then: Callable[[JournalError | None], object],
    ) -> None:
        """The run is over; `then` is called once all of it is safe, or cannot be. Without the lock.

        Waits for that itself, unless an event loop runs here.
        """

    def aborted(self, error: BaseException | None) -> None:
        """The run was given up without coming to its end; never raises."""

    def wait(self, step: ActiveStep) -> None:
        """Wait until all is safe that the step depends on; raises `JournalError`."""

    def when_safe(self, step: ActiveStep, then: Callable[[JournalError | None], object]) -> bool:
        """Whether it is safe already; else `then` is called when it is, in any thread."""


class FactKind(Enum):
    """What a fact is about."""

    STEP = "step"
    CHOICE = "choice"
    DEADLINE = "deadline"
    JOIN = "join"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened in an earlier part of a run, and is not to happen again.

    - `path`: of the step, or of the group that chose, whose time was over or whose branches
      were merged; `step_id`: of the step
    - `outcome`: the step's, or how choosing ended; `stops`: it ended the run, and well
    - `decided`: what the group found out; `dynamic`: the kind of group it was; `round`: of a
      loop, which of its answers
    - `attempt`: how many attempts there were; `duration`: of the last one, in seconds
    """

    kind: FactKind
    path: str
    outcome: Outcome
    delta: Delta | None = None
    error: Exception | None = None
    decided: Any = None
    stops: bool = False
    attempt: int = 1
    duration: float = 0.0
    step_id: str | None = None
    dynamic: str | None = None
    round: int = 0


@dataclass(slots=True)
class Recovery:
    """What a run begins with that is not from the start: its facts, in their order.

    - `drop` is called with each that cannot have happened in the plan as it is, and then
      happens anew; without it, that is an error
    - `left`: paths of steps that were left in the middle by a deadline, so had begun
    - `is_whole`: the run has ended, so nothing may be left to be done
    """

    facts: list[Fact]
    drop: Callable[[Fact], object] | None = None
    left: frozenset[str] = frozenset()
    is_whole: bool = False
