"""Facts of a run, in the past tense, in order."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from typing import Any, Self, TypeVar

from .errors import EventFormatError
from .event_values import READERS, write

E = TypeVar("E", bound="Event")


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

    ```python
    from task_pipeline import EventBus, Pipeline
    from task_pipeline.events import Event

    bus = EventBus()
    Pipeline([lambda context: 42], event_bus=bus).run()
    lines = [event.to_json() for event in bus.history]
    assert tuple(map(Event.from_json, lines)) == bus.history
    ```
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

    def to_dict(self) -> dict[str, Any]:
        """All fields as what JSON knows; `kind` is the name of the class.

        `at` is in ISO 8601, an error a dict of its `type`, `text` and `notes`, and a number
        that JSON does not know a string: "inf", "-inf", "nan".
        """
        written = {field.name: write(getattr(self, field.name)) for field in fields(self)}
        return {"kind": type(self).__name__, **written}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, given: object) -> Self:
        """The event that `to_dict` was called on; its error comes back as a `RecordedError`.

        Raises `EventFormatError`, which names every mistake.
        """
        return _read_event(cls, given)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """As `from_dict`, from JSON."""
        try:
            given = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise EventFormatError(f"an event is one object of JSON: {error}") from error
        return cls.from_dict(given)


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
    """A group whose children come while it runs was given some: `total` so far.

    Once for a `Map`, with all of its items; for a `Loop` at each round.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecovered(StepEvent):
    """The step ended in an earlier part of this run, with this `outcome`, and is not run again.

    `attempt` and `duration` are those it had then.
    """

    outcome: str = "succeeded"


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


def _read_event(base: type[E], given: object) -> E:
    if not isinstance(given, dict):
        raise EventFormatError(f"an event is a dict with its fields, not {given!r:.80}")
    name = given.get("kind")
    kind = globals().get(name) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise EventFormatError(f"kind must name {base.__name__} or a subclass, not {name!r:.80}")
    problems: list[str] = []
    facts: dict[str, Any] = {}
    known = {field.name: field for field in fields(kind)}
    for name, field in known.items():
        if name in given:
            what, read = READERS[str(field.type)]
            try:
                facts[name] = read(given[name])
            except (TypeError, ValueError, OverflowError):
                problems.append(f"{name} must be {what}, not {given[name]!r:.80}")
        elif field.default is MISSING:
            problems.append(f"{name} is missing")
    unknown = given.keys() - known.keys() - {"kind"}
    problems += [f"{name!r:.80} is not a field of it" for name in sorted(unknown, key=str)]
    if problems:
        raise EventFormatError(f"this is not a {kind.__name__}: {'; '.join(problems)}")
    return kind(**facts)
