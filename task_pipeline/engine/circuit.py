"""A circuit's three states, and what the end of an attempt does to them. Never waits or calls.

Each state is an object, and an attempt belongs to the one it was admitted in. Whatever it
comes to after the next change of state, it finds another object there and changes nothing.
"""

from __future__ import annotations

import threading
from weakref import WeakSet

from ..errors import CircuitOpenError, StepCancelledError
from ..signals import SkipStep, StopPipeline
from .circuit_states import Change, CircuitState, HalfOpen, Open
from .clock import Clock
from .failures import Closed, InARow, Settings, Share

# All that the engine needs of a circuit, in one place.
__all__ = ["Admission", "Change", "Circuit", "CircuitState"]

_SAY_NOTHING = (StepCancelledError, SkipStep, StopPipeline, CircuitOpenError)


class Admission:
    """Leave for one attempt. Say what it came to: of `succeeded`, `failed`, `released` the first.

    `change` is what letting it through has done to the circuit, if anything; `succeeded`
    and `failed` return what its end has.
    """

    __slots__ = ("__weakref__", "_circuit", "_clock", "_state", "change")
    is_quiet = False

    def __init__(
        self, circuit: Circuit, state: Closed | HalfOpen, clock: Clock, change: Change | None
    ) -> None:
        self._circuit = circuit
        self._state: Closed | HalfOpen | None = state  # None once it has been said
        self._clock = clock
        self.change = change

    def succeeded(self) -> Change | None:
        """The attempt has succeeded."""
        return self._end(failed=False)

    def failed(self, error: BaseException) -> Change | None:
        """The attempt has raised `error`.

        What is no `Exception` says nothing about the circuit, nor does one that says the
        work was left or not needed (`StepCancelledError`, `SkipStep`, `StopPipeline`,
        `CircuitOpenError`): then it is `released`.
        """
        if isinstance(error, Exception) and not isinstance(error, _SAY_NOTHING):
            return self._end(failed=True)
        self.released()
        return None

    def released(self) -> None:
        """The attempt has not shown anything, and will not: a probe gives its place back."""
        with self._circuit.lock:
            state, self._state = self._state, None
            if isinstance(state, HalfOpen):
                state.probes.discard(self)

    def _end(self, failed: bool) -> Change | None:
        circuit = self._circuit
        with circuit.lock:
            state, self._state = self._state, None
            if state is None or state is not circuit.state:
                return None
            if isinstance(state, Closed):
                reason = state.add(failed, self._clock)
                return circuit.open(self._clock, state.failures(), reason) if reason else None
            if failed:
                return circuit.open(self._clock, state.failures + 1, "a failed probe")
            state.probes.discard(self)
            state.succeeded += 1
            if state.succeeded < circuit.settings.half_open_max_calls:
                return None
            circuit.state = circuit.closed()
            return Change(circuit.name, CircuitState.CLOSED)


class Circuit:
    """What all breakers of one name share."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.is_configured = bool(settings.model_fields_set)
        self.is_forgotten = False
        # Held for a change of state only, never while anybody's code runs. Reentrant, since
        # a signal handler may ask in the middle of one.
        self.lock = threading.RLock()
        self.state: Closed | Open | HalfOpen = self.closed()

    def closed(self) -> Closed:
        """A closed state that remembers nothing."""
        rate = self.settings.failure_rate
        return InARow(self.settings) if rate is None else Share(self.settings, rate)

    def configure(self, settings: Settings) -> None:
        """Go by these settings; a count that was begun by others is begun anew."""
        with self.lock:
            self.settings, self.is_configured = settings, True
            if isinstance(self.state, Closed):
                self.state = self.closed()

    def open(self, clock: Clock, failures: int, reason: str) -> Change:
        """Let nothing through from now on. Under the lock."""
        self.state = Open(clock, failures, reason)
        return Change(self.name, CircuitState.OPEN, failures, self.settings.recovery_timeout)

    def reset(self) -> None:
        """Close, and forget all; what is under way changes nothing any more."""
        with self.lock:
            self.state = self.closed()

    def admit(self, clock: Clock) -> Admission:
        """Let an attempt through, or raise `CircuitOpenError`."""
        with self.lock:
            state = self.state
            if isinstance(state, Closed):
                return Admission(self, state, clock, None)
            wait = state.wait(self.settings)
            if wait:
                raise self._rejection(state, wait)
            change = None
            if isinstance(state, Open):
                self.state = state = HalfOpen(state)
                change = Change(self.name, CircuitState.HALF_OPEN, state.failures)
            admission = Admission(self, state, clock, change)
            state.since = state.clock.monotonic()
            state.probes.add(admission)
            return admission

    def _rejection(self, state: Open | HalfOpen, wait: float) -> CircuitOpenError:
        if isinstance(state, Open):
            why = f"open after {state.reason}"
        else:
            why = "half-open, and the attempts that try it are under way"
        shown = f"{wait:.1f}" if wait >= 1 else f"{wait:.3f}"
        text = f"circuit {self.name!r} is {why}; try again in {shown} s"
        return CircuitOpenError(text, circuit=self.name, retry_after=wait)

    def renew_lock(self) -> None:
        """In a forked child: whoever held the lock, or a place, may not be here."""
        self.lock = threading.RLock()
        if isinstance(self.state, HalfOpen):
            self.state.probes = WeakSet()
