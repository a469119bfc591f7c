"""Facts of a run, in the past tense, in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries.

    - `run_id`; `seq`: 0, 1, 2 … in the run, without a gap
    - `at`: when, in UTC; `monotonic`: seconds of the run's clock
    - `path`, `name`: of the step or group; "" and the pipeline's name for the run
    - `step_id`: of the step, None for a group or run
    - `group_id`: the path of a group in its own events, and of the nearest parallel group
      in those of a step; None for what is in no parallel group. The same in every run
    - `is_parallel`: whether it is, or is part of, a parallel group; `parallel_index`: of
      the branch it is in, in the nearest parallel group above it
    - `attempt`: 1 for the first; 0 for what is not about an attempt
    - `duration`: seconds, of what has ended
    - `error`: what ended it, if an exception did
    """

    run_id: str
    seq: int
    at: datetime
    monotonic: float
    path: str
    name: str
    step_id: str | None = None
    group_id: str | None = None
    is_parallel: bool = False
    parallel_index: int | None = None
    attempt: int = 0
    duration: float | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run began. `total`: how many steps its lists have."""

    total: int = 0


class RunEnded(Event):
    """The run ended; base of the ways it can."""

    __slots__ = ()


class RunSucceeded(RunEnded):
    """The run ended without an error to raise."""

    __slots__ = ()


class RunFailed(RunEnded):
    """The run ended with an error, or passed its deadline."""

    __slots__ = ()


class RunCancelled(RunEnded):
    """The run was cancelled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvent(Event):
    """What every event of a group carries: whether it is `parallel`, and its `total` of children.

    The `total` of a group whose children come while it runs is 0 as long as it is not known.
    """

    parallel: bool
    total: int = 0


class GroupStarted(GroupEvent):
    """A group began."""

    __slots__ = ()


class GroupExpanded(GroupEvent):
    """A group whose children come while it runs has been given its `total` of them."""

    __slots__ = ()


class GroupEnded(GroupEvent):
    """A group ended; base of the ways it can."""

    __slots__ = ()


class GroupSucceeded(GroupEnded):
    """Its operator was satisfied."""

    __slots__ = ()


class GroupFailed(GroupEnded):
    """Its operator cannot be satisfied any more, or its branches did not merge."""

    __slots__ = ()


class GroupTimedOut(GroupEnded):
    """Its deadline passed first."""

    __slots__ = ()


class GroupCancelled(GroupEnded):
    """A group around it ended early."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeConflictFound(Event):
    """Branches of a group changed one key in ways that do not merge.

    `key`: a path in the context; `branches`: the names of those that changed it;
    `winner`: whose value was taken, None if that is an error.
    """

    key: str
    branches: tuple[str, ...]
    winner: str | None = None


class StepEvent(Event):
    """Base of the events of a step."""

    __slots__ = ()


class StepStarted(StepEvent):
    """An attempt began."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgressed(StepEvent):
    """A step has reported how far it is: `percent`, 0 to 100.

    At most one for each whole percent of an attempt.
    """

    percent: float


class AttemptEnded(StepEvent):
    """An attempt ended; base of the ways it can. After `StepRetrying` another follows."""

    __slots__ = ()


class StepSucceeded(AttemptEnded):
    """The step did its work."""

    __slots__ = ()


class StepFailed(AttemptEnded):
    """The step raised, and will not be tried again."""

    __slots__ = ()


class StepTimedOut(AttemptEnded):
    """An attempt passed its deadline, or a deadline above it passed."""

    __slots__ = ()


class StepCancelled(AttemptEnded):
    """The step was left because what is around it ended early; attempt 0 if it never began."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetrying(AttemptEnded):
    """An attempt failed, and another follows after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped(StepEvent):
    """The step did not run, or gave up its turn; `reason` says why if that is known.

    With `attempt` 0 it never began; else that attempt has ended by it.
    """

    reason: str = ""


class StepAbandoned(StepEvent):
    """A thread or coroutine was left in the middle of a step; what it still does is dropped."""

    __slots__ = ()


class AbandonedThreadEnded(StepEvent):
    """A thread that was left in the middle of a step has come to its end."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitEvent(Event):
    """What every event of a circuit breaker carries; path and step are of the attempt it is about.

    `circuit`: the breaker's name; `failures`: how many of the last attempts failed;
    `retry_after`: seconds until an open one lets an attempt through.
    """

    circuit: str
    failures: int = 0
    retry_after: float | None = None


class CircuitOpened(CircuitEvent):
    """Too many attempts failed: the next ones are rejected."""

    __slots__ = ()


class CircuitHalfOpened(CircuitEvent):
    """An open circuit lets an attempt through, to see how it goes."""

    __slots__ = ()


class CircuitClosed(CircuitEvent):
    """The attempt that was let through succeeded: all are let through again."""

    __slots__ = ()
