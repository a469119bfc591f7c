"""When a closed circuit opens: the settings of a circuit breaker, and the count it keeps."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..config import Count, Seconds
from ..errors import ConfigurationError
from .clock import SYSTEM_CLOCK, Clock

_PARTS = 20


class Settings(BaseModel):
    """Settings of a circuit; which were given is in `model_fields_set`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    failure_threshold: Count = 5
    failure_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    window: Seconds = 120.0
    recovery_timeout: Seconds = 60.0
    half_open_max_calls: Count = 1


def checked(name: str, given: dict[str, Any]) -> Settings:
    """The settings of a circuit, or a `ConfigurationError` with every mistake in them."""
    problems = []
    if not isinstance(name, str) or not name.strip():
        problems.append(f"name must be a text that is not empty, not {name!r}")
    settings = Settings()
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems += [
            f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}, not {mistake['input']!r}"
            for mistake in error.errors()
        ]
    if problems:
        head = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        lines = [f"{head} in circuit breaker {name!r}:", *map("  {}".format, problems)]
        raise ConfigurationError("\n".join(lines))
    return settings


class Closed:
    """All attempts are let through, and what they come to is counted."""

    # Not an ABC: to tell its instances from others would take several times as long.

    __slots__ = ("clock",)

    def __init__(self) -> None:
        self.clock: Clock = SYSTEM_CLOCK  # that the counted times are of

    @abstractmethod
    def add(self, failed: bool, clock: Clock) -> str:
        """Count an attempt; returns why the circuit is to open now, "" if it is not."""

    @abstractmethod
    def failures(self) -> int:
        """How many failed attempts count at the moment."""


class InARow(Closed):
    """The times of the failures since the last success."""

    __slots__ = ("_limit", "_times", "_window")

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._limit, self._window = settings.failure_threshold, settings.window
        self._times: deque[float] = deque()  # at most the limit: with that many it opens

    def add(self, failed: bool, clock: Clock) -> str:
        """Count an attempt; returns why the circuit is to open now, "" if it is not."""
        if not failed or clock is not self.clock:  # times of two clocks do not compare
            self._times.clear()
            self.clock = clock
        if not failed:
            return ""
        self._times.append(clock.monotonic())
        count = self.failures()
        return f"{spelled(count)} in a row" if count >= self._limit else ""

    def failures(self) -> int:
        """How many failed attempts count at the moment."""
        times, since = self._times, self.clock.monotonic() - self._window
        while times and times[0] < since:
            times.popleft()
        return len(times)


class Share(Closed):
    """How many attempts there were, and how many failed, in each twentieth of the window.

    A twentieth is forgotten as a whole: a busy circuit takes no more memory than a quiet one.
    """

    __slots__ = ("_attempts", "_failures", "_least", "_parts", "_rate", "_width")

    def __init__(self, settings: Settings, rate: float) -> None:
        super().__init__()
        self._least, self._rate = settings.failure_threshold, rate
        self._width = max(settings.window / _PARTS, 1e-9)  # not 0, whatever the window
        self._parts: deque[list[float]] = deque()  # number of the part, attempts, failures
        self._attempts = self._failures = 0.0  # in all parts

    def add(self, failed: bool, clock: Clock) -> str:
        """Count an attempt; returns why the circuit is to open now, "" if it is not."""
        parts = self._parts
        if clock is not self.clock:
            parts.clear()
            self._attempts = self._failures = 0.0
            self.clock = clock
        number = clock.monotonic() // self._width
        if not parts or parts[-1][0] != number:
            self._forget(number)
            parts.append([number, 0.0, 0.0])
        parts[-1][1] += 1
        parts[-1][2] += failed
        self._attempts += 1
        self._failures += failed
        # A quotient is rounded as the rate that is written down was: 3 / 30 == 0.1.
        share = self._failures / self._attempts
        if self._attempts < self._least or share < self._rate:
            return ""
        return f"{spelled(int(self._failures))} of {int(self._attempts)}"

    def failures(self) -> int:
        """How many failed attempts count at the moment."""
        self._forget(self.clock.monotonic() // self._width)
        return int(self._failures)

    def _forget(self, number: float) -> None:
        parts = self._parts
        while parts and parts[0][0] <= number - _PARTS:
            _, attempts, failures = parts.popleft()
            self._attempts -= attempts
            self._failures -= failures


def spelled(failures: int) -> str:
    """The count, in words."""
    return "1 failed attempt" if failures == 1 else f"{failures} failed attempts"
