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

    Until then every attempt has the same admission, so a group in which nothing fails
    pays next to nothing.
    """

    __slots__ = ("_name", "_quiet", "_threshold", "_timeout", "circuit", "first_state")

    def __init__(self, name: str, threshold: int, timeout: float) -> None:
        self._name = name
        self._threshold = threshold
        self._timeout = timeout
        self._quiet = _Quiet(self)
        self.circuit: Circuit | None = None
        self.first_state: object = None

    def admit(self, clock: Clock) -> Admission | _Quiet:
        """Leave for one attempt; raises `CircuitOpenError`."""
        self._quiet.clock = clock
        return self._quiet if self.circuit is None else self.circuit.admit(clock)

    def begin(self) -> None:
        """From now on there is a circuit."""
        with _beginning:
            if self.circuit is None:
                settings = Settings(
                    failure_threshold=self._threshold, recovery_timeout=self._timeout
                )
                circuit = Circuit(self._name, settings)
                self.first_state = circuit.state
                self.circuit = circuit


class _Quiet:
    """Leave for every attempt that began before the first failure."""

    __slots__ = ("_breaker", "clock")
    change: Change | None = None

    def __init__(self, breaker: OwnBreaker) -> None:
        self._breaker = breaker
        self.clock: Clock = SYSTEM_CLOCK

    def succeeded(self) -> Change | None:
        """Of note only if another has failed meanwhile."""
        admission = self._admission()
        return None if admission is None else admission.succeeded()

    def failed(self, error: BaseException) -> Change | None:
        """The first failure, or one of the first."""
        self._breaker.begin()
        admission = self._admission()
        return None if admission is None else admission.failed(error)

    def released(self) -> None:
        """Nothing was taken."""

    def _admission(self) -> Admission | None:
        """One to say what the attempt came to, unless the circuit has opened since it began."""
        circuit = self._breaker.circuit
        if circuit is None or circuit.state is not self._breaker.first_state:
            return None
        try:
            return circuit.admit(self.clock)
        except CircuitOpenError:  # opened in this very moment
            return None


def _after_fork_in_child() -> None:
    global _beginning
    _beginning = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
