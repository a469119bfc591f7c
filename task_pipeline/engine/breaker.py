"""Circuit breakers: what keeps failing is left alone for a while, and then tried with care."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from ..errors import ConfigurationError
from .circuit import Admission, Circuit
from .circuit_states import CircuitState, Open
from .clock import Clock, current_clock
from .failures import Closed, Settings, checked

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")

_shared: dict[str, Circuit] = {}
_everywhere: WeakSet[Circuit] = WeakSet()
_lock = threading.RLock()


def _new(name: str, settings: Settings) -> Circuit:
    circuit = Circuit(name, settings)
    with _lock:
        _everywhere.add(circuit)
    return circuit


def _join(name: str, settings: Settings, *, insists: bool) -> Circuit:
    """The circuit of that name; it may have to have the settings that were given."""
    with _lock:
        circuit = _shared.get(name)
        if circuit is None:
            circuit = _shared[name] = _new(name, settings)
        elif not settings.model_fields_set:
            pass
        elif not circuit.is_configured:
            circuit.configure(settings)
        elif insists:
            _compare(circuit, settings)
        return circuit


def _compare(circuit: Circuit, settings: Settings) -> None:
    differences = [
        f"{field}={has!r}, not {wanted!r}"
        for field in Settings.model_fields
        if field in settings.model_fields_set
        and (has := getattr(circuit.settings, field)) != (wanted := getattr(settings, field))
    ]
    if differences:
        raise ConfigurationError(
            f"circuit breaker {circuit.name!r} exists and has {'; '.join(differences)}: give "
            "its settings in one place and its name alone in others, or use another name"
        )


def _with_what_is_given(init: Callable[P, None]) -> Callable[P, None]:
    """Have `_define` do the work of `__init__`: it must know what was left out."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def define(*args: P.args, **kwargs: P.kwargs) -> None:
        given = signature.bind(*args, **kwargs).arguments
        breaker: CircuitBreaker = given.pop("self")
        breaker._define(given.pop("name"), given)

    return define


class CircuitBreaker:
    """Rejects attempts at once, for a while, when too many before them have failed.

    All breakers of one `name` in a process share one circuit; the settings are given
    once, and elsewhere the name alone will do. *Closed*, it lets all attempts through and
    counts failures. It *opens* after

    - `failure_threshold` failed attempts in a row, all in the last `window` seconds; or
    - with a `failure_rate` (above 0, up to 1): when so large a share of the attempts in the
      last `window` seconds has failed, if they are `failure_threshold` at least.

    Open, it rejects attempts for `recovery_timeout` seconds. Then it is *half-open*:
    `half_open_max_calls` attempts are let through. When all of them have succeeded it
    closes and has forgotten everything; when one fails it is open again.

    Every `Exception` is a failure, except those that say the work was left or not needed:
    `StepCancelledError`, `SkipStep`, `StopPipeline`, `CircuitOpenError`. Those, and what is
    no `Exception` (Ctrl-C, a cancelled task), are not counted at all.

    Raises `ConfigurationError` with every mistake in the settings, or if the circuit exists
    and has other settings than those given.

    ```python
    from task_pipeline import CircuitBreaker

    breaker = CircuitBreaker("search", failure_threshold=3, recovery_timeout=30.0)

    @breaker
    def search(text): return [text]

    assert search("pipelines") == ["pipelines"]
    assert breaker.call(sorted, "ba") == ["a", "b"]
    ```
    """

    _name: str
    _settings: Settings
    _circuit: Circuit
    _is_private: bool

    @_with_what_is_given
    def __init__(
        self,
        name: str,
        failure_threshold: int = 5,
        failure_rate: float | None = None,
        window: float = 120.0,
        recovery_timeout: float = 60.0,
        half_open_max_calls: int = 1,
    ) -> None:
        """Take part in the circuit `name`; `window` and `recovery_timeout` are in seconds."""

    def _define(self, name: str, given: dict[str, Any]) -> None:
        self._name, self._settings, self._is_private = name, checked(name, given), False
        self._circuit = _join(name, self._settings, insists=True)

    @classmethod
    def private(cls, name: str, **settings: Any) -> Self:
        """A breaker whose circuit nobody else has; the name is for messages and events only.

        Raises `ConfigurationError` with every mistake in the settings.

        ```python
        from task_pipeline import CircuitBreaker

        one = CircuitBreaker.private("calls", failure_threshold=2)
        other = CircuitBreaker.private("calls", failure_threshold=3)
        ```
        """
        breaker = cls.__new__(cls)
        breaker._name, breaker._is_private = name, True
        breaker._settings = checked(name, settings)
        breaker._circuit = _new(name, breaker._settings)
        return breaker

    @staticmethod
    def named(name: str) -> CircuitBreaker:
        """The breaker of that name, with the settings its circuit has, or will be given.

        Raises `ConfigurationError` if it is no name.
        """
        return _named(name)

    @staticmethod
    def forget_all() -> None:
        """Begin anew with all circuits that have a name, for a test: their settings go too.

        A breaker from before takes part in the new circuit of its name, which has its
        settings unless it was given others meanwhile.
        """
        with _lock:
            for circuit in _shared.values():
                circuit.is_forgotten = True
            _shared.clear()

    def _current(self) -> Circuit:
        circuit = self._circuit
        if circuit.is_forgotten:
            circuit = self._circuit = _join(self._name, self._settings, insists=False)
        return circuit

    @property
    def name(self) -> str:
        """Which circuit it takes part in."""
        return self._name

    @property
    def state(self) -> CircuitState:
        """Closed, open or half-open.

        An open circuit is half-open from the moment it would let an attempt through.
        """
        circuit = self._current()
        with circuit.lock:
            state = circuit.state
            if isinstance(state, Closed):
                return CircuitState.CLOSED
            waits = isinstance(state, Open) and state.wait(circuit.settings)
            return CircuitState.OPEN if waits else CircuitState.HALF_OPEN

    @property
    def failures(self) -> int:
        """How many failed attempts count at the moment; unless closed, how many opened it."""
        circuit = self._current()
        with circuit.lock:
            state = circuit.state
            return state.failures() if isinstance(state, Closed) else state.failures

    @property
    def retry_after(self) -> float:
        """Seconds until it is worth trying again; 0.0 if an attempt would be let through."""
        circuit = self._current()
        with circuit.lock:
            state = circuit.state
            return 0.0 if isinstance(state, Closed) else state.wait(circuit.settings)

    def reset(self) -> None:
        """Close, and forget all failures; what is under way changes nothing any more."""
        self._current().reset()

    def admit(self, clock: Clock | None = None) -> Admission:
        """Ask leave for an attempt that is not just a call, and then say what it came to.

        Of the admission's `succeeded()`, `failed(error)` and `released()` the first one
        that is called counts. Who drops it gives it back. Time goes by `clock`; by default
        that of the run it is called in.

        Raises `CircuitOpenError`.

        ```python
        from task_pipeline import CircuitBreaker

        admission = CircuitBreaker("socket").admit()
        try:
            ...  # connect
        except OSError as error:
            admission.failed(error)
            raise
        admission.succeeded()
        ```
        """
        return self._current().admit(current_clock.get() if clock is None else clock)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function as one attempt; no lock is held meanwhile.

        Raises `CircuitOpenError` without calling it, or what it raises; `TypeError` if it
        is a coroutine function, which is for `acall`.
        """
        admission = self.admit()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            admission.failed(error)
            raise
        if isinstance(result, CoroutineType):
            result.close()
            admission.released()
            raise TypeError(f"{function!r} is a coroutine function: use acall()")
        admission.succeeded()
        return result

    async def acall(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the coroutine function as one attempt; cancelled, it is not counted.

        Raises `CircuitOpenError` without calling it, or what it raises.
        """
        admission = self.admit()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            admission.failed(error)
            raise
        admission.succeeded()
        return result

    def __call__(self, function: F) -> F:
        """Have every call of a function, coroutine function or plain, go through the breaker.

        Raises `TypeError` for what is no function, or a generator function, whose call is
        over before its work begins.
        """
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"a circuit breaker goes on a function, not on {function!r}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function!r} is a generator function: use admit()")
        guarded: Any
        if inspect.iscoroutinefunction(function):

            async def guarded(*args: Any, **kwargs: Any) -> Any:
                return await self.acall(function, *args, **kwargs)

        else:

            def guarded(*args: Any, **kwargs: Any) -> Any:
                return self.call(function, *args, **kwargs)

        return functools.update_wrapper(guarded, function)  # type: ignore[return-value]  # called as F is

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._current().settings)
        return f"<CircuitBreaker {self._name!r}: {self.state}, {settings}>"

    # A step that has a breaker is copied with its pipeline, and still means the same circuit.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._settings.model_dump(exclude_unset=True)
        return _restored, (type(self), self._name, given, self._is_private)


def _restored(
    kind: type[CircuitBreaker], name: str, given: dict[str, Any], is_private: bool
) -> CircuitBreaker:
    if is_private:
        return kind.private(name, **given)
    breaker = kind.__new__(kind)
    breaker._name, breaker._is_private, breaker._settings = name, False, checked(name, given)
    breaker._circuit = _join(name, breaker._settings, insists=False)
    return breaker


@functools.cache
def _named(name: str) -> CircuitBreaker:
    return CircuitBreaker(name)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for circuit in _everywhere:
        circuit.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
