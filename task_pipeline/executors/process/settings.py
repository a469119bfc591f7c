"""What a process executor is told when it is made."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

from ...errors import ConfigurationError


class Settings(NamedTuple):
    """All of it, checked."""

    max_workers: int
    grace: float
    idle: float
    max_calls_per_worker: int | None


def settings_of(
    max_workers: object, grace: object, idle: object, max_calls_per_worker: object
) -> Settings:
    """Raises `ConfigurationError`, which names every mistake."""
    given = {"max_workers": max_workers, "max_calls_per_worker": max_calls_per_worker}
    problems = [
        f"{name} must be a whole number from 1, not {value!r}"
        for name, value in given.items()
        if value is not None and not _is_count(value)
    ]
    problems += [
        f"{name} must be a number of seconds from 0, not {value!r}"
        for name, value in {"grace": grace, "idle": idle}.items()
        if not _is_duration(value)
    ]
    if problems:
        raise ConfigurationError("a process executor cannot be made so: " + "; ".join(problems))
    known: Any = (max_workers or usable_cpus(), grace, idle, max_calls_per_worker)
    return Settings(*known)


def usable_cpus() -> int:
    """How many processors this process may use."""
    count: Any = getattr(os, "process_cpu_count", None)  # from Python 3.13 on
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_duration(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and value >= 0 and not math.isnan(value)  # type: ignore[operator, arg-type]  # a number
