"""The circuit breaker that a dynamic group has for itself, and mostly never needs."""

from __future__ import annotations

import os
import threading

from ..errors import CircuitOpenError
from .circuit import Admission, Change, Circuit
from .clock import SYSTEM_CLOCK, Clock
from .failures import Settings

_beginning = threading.RLock()


class OwnBreaker:
    """A private circuit breaker that comes to be with the first failure.

    Until then it is itself the admission of every attempt, so a group in which nothing
    fails pays next to nothing.
    """

    __slots__ = (
        "_circuit",
        "_clock",
        "_first_state",
        "_name",
        "_threshold",
        "_timeout",
        "is_quiet",
    )
    change: Change | None = None

    def __init__(self, name: str, threshold: int, timeout: float) -> None:
        self._name = name
        self._threshold = threshold
        self._timeout = timeout
        self._circuit: Circuit | None = None
        self._first_state: object = None
        self._clock: Clock = SYSTEM_CLOCK
        self.is_quiet = True  # nothing has failed: every attempt may begin, none need be told of

    def use(self, clock: Clock) -> None:
        """Take the time from this clock."""
        self._clock = clock

    def admit(self, clock: Clock) -> Admission | OwnBreaker:
        """Leave for one attempt; raises `CircuitOpenError`."""
        return self if self._circuit is None else self._circuit.admit(clock)

    # As the admission of attempts that began before the first failure.

    def succeeded(self) -> Change | None:
        """Of note only if another has failed meanwhile."""
        if self._circuit is None:
            return None
        admission = self._admission(self._circuit)
        return None if admission is None else admission.succeeded()

    def failed(self, error: BaseException) -> Change | None:
        """The first failure, or one of the first."""
        with _beginning:
            if self._circuit is None:
                settings = Settings(
                    failure_threshold=self._threshold, recovery_timeout=self._timeout
                )
                circuit = Circuit(self._name, settings)
                self._first_state = circuit.state
                self._circuit = circuit
                self.is_quiet = False
        admission = self._admission(self._circuit)
        return None if admission is None else admission.failed(error)

    def released(self) -> None:
        """Nothing was taken."""

    def _admission(self, circuit: Circuit) -> Admission | None:
        """One to say what the attempt came to, unless the circuit has opened since it began."""
        if circuit.state is not self._first_state:
            return None
        try:
            return circuit.admit(self._clock)
        except CircuitOpenError:  # opened in this very moment
            return None


def _after_fork_in_child() -> None:
    global _beginning
    _beginning = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
