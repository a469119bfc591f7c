"""The states of a circuit that is not closed, and what is said of a change from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakSet

from .clock import Clock
from .failures import Settings

_EARLY = 1e-6  # seconds: who waits as long as it was told is not sent away for a rounding


class CircuitState(StrEnum):
    """Whether a circuit lets attempts through: all, none, or a few to see how they go."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Change:
    """The state that an attempt has brought its circuit into.

    `failures`: how many failed attempts led there; `retry_after`: seconds, if it is open.
    """

    circuit: str
    state: CircuitState
    failures: int = 0
    retry_after: float | None = None


class Open:
    """Nothing is let through; or, once its time is over, nothing has been yet."""

    __slots__ = ("clock", "failures", "reason", "since")

    def __init__(self, clock: Clock, failures: int, reason: str) -> None:
        # Its time runs by the clock of the attempt that has opened it, whoever asks.
        self.clock, self.since = clock, clock.monotonic()
        self.failures, self.reason = failures, reason

    def wait(self, settings: Settings) -> float:
        """Seconds until a probe is let through."""
        left = self.since + settings.recovery_timeout - self.clock.monotonic()
        return left if left > _EARLY else 0.0


class HalfOpen:
    """As many attempts as must succeed to close it are let through, the probes, and no more."""

    __slots__ = ("clock", "failures", "probes", "since", "succeeded")

    def __init__(self, opened: Open) -> None:
        self.clock, self.failures = opened.clock, opened.failures
        self.since = self.clock.monotonic()  # when the last probe was let through
        self.succeeded = 0
        # Weak: a probe that nobody holds any more, so that nobody will ever say what it
        # came to, must not keep its place for good.
        self.probes: WeakSet[Any] = WeakSet()

    def wait(self, settings: Settings) -> float:
        """Seconds until it is worth asking for a place; 0.0 if there is one.

        When the probes will be over nobody knows. It is as long again as they have taken
        already: who has asked in vain then waits twice as long, and need not ask often.
        """
        if self.succeeded + len(self.probes) < settings.half_open_max_calls:
            return 0.0
        longest = settings.recovery_timeout
        return min(max(self.clock.monotonic() - self.since, longest / 10), longest)
