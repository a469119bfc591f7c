"""Facts of a run, in the past tense, in order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries.

    - `run_id`; `seq`: 0, 1, 2 … in the run, without a gap
    - `monotonic`: seconds of the run's clock
    - `path`, `name`: of the step or group; "" and the pipeline's name for the run
    """

    run_id: str
    seq: int
    monotonic: float
    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run ended; base of the ways it can."""

    duration: float
    error: BaseException | None = None


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
class GroupStarted(Event):
    """A group began."""

    parallel: bool
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEnded(Event):
    """A group ended; base of the ways it can."""

    parallel: bool
    duration: float
    error: BaseException | None = None


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
class StepEvent(Event):
    """What every event of a step carries: which attempt; 0 for an end outside of one."""

    attempt: int


class StepStarted(StepEvent):
    """An attempt began."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(StepEvent):
    """An attempt ended; base of the ways it can. With `RetryScheduled` another follows."""

    duration: float
    error: BaseException | None = None


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


class StepSkipped(StepEvent):
    """The step did not run: one before it failed."""

    __slots__ = ()


class AbandonedThreadEnded(StepEvent):
    """A thread that was left in the middle of a step has come to its end."""

    __slots__ = ()
