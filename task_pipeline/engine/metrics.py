"""`Metrics`: what steps and groups have come to, in numbers; as a dict, JSON or Prometheus text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from . import exposition

G = TypeVar("G", bound="GroupMetrics")


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds that something took, `count` times; `min` and `max` are None if it never did."""

    count: int = 0
    total: float = 0.0
    min: float | None = None
    max: float | None = None

    @property
    def mean(self) -> float | None:
        """Seconds on average; None if there was nothing."""
        return self.total / self.count if self.count else None

    def __add__(self, other: Durations) -> Durations:
        return Durations(
            self.count + other.count,
            self.total + other.total,
            _extreme(self.min, other.min, -1),
            _extreme(self.max, other.max, 1),
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it, `mean` included."""
        return {
            "count": self.count,
            "total": self.total,
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
        }


def _extreme(one: float | None, other: float | None, sign: int) -> float | None:
    """The smaller (-1) or larger (1) of two numbers of which there may be none."""
    if one is None or other is None:
        return other if one is None else one
    return one if sign * one >= sign * other else other


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """What a group has come to, or all groups that are instances of one.

    - `path`, `name`: where it stands, and what it is called
    - `count`: how many have ended: as many as `succeeded`, `failed`, `timed_out`,
      `cancelled` and `skipped` together; `running`: how many are under way
    - `run_time`: of those that have begun and ended, from the beginning to the end
    """

    path: str
    name: str
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    skipped: int = 0
    run_time: Durations = field(default_factory=Durations)

    @property
    def count(self) -> int:
        """How many have ended."""
        return self.succeeded + self.failed + self.timed_out + self.cancelled + self.skipped

    def __add__(self, other: Self) -> Self:
        """Both together, under the path and name of the first."""
        names = (each.name for each in fields(self) if each.name not in ("path", "name"))
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {
            "path": self.path,
            "name": self.name,
            "count": self.count,
            "running": self.running,
            **{outcome: getattr(self, outcome) for outcome in OUTCOMES},
            "run_time": self.run_time.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class StepMetrics(GroupMetrics):
    """What a step has come to, or all steps that are instances of one.

    - `run_time`: inside its attempts; the waits between them do not count
    - `queue_time`: of those that have begun, from when nothing was in their way but other
      steps, for a worker or a place under a limit, to the first attempt
    - `retried`: attempts beyond the first ones; `abandoned`: threads and coroutines that
      were left inside an attempt
    """

    retried: int = 0
    abandoned: int = 0
    queue_time: Durations = field(default_factory=Durations)

    def as_dict(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {
            **GroupMetrics.as_dict(self),
            "retried": self.retried,
            "abandoned": self.abandoned,
            "queue_time": self.queue_time.as_dict(),
        }


OUTCOMES = ("succeeded", "failed", "timed_out", "cancelled", "skipped")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counts and times of a run, or of all that an `ExecutionState` has had; all in seconds.

    - `steps`, `groups`: by path, or in a state by name. What a `Map` or a `Loop` makes of
      one step is one entry, with `*` in the path for the item or round
    - `workers`: how many steps could run at once; `elapsed`: from the beginning to the end
      or until now; of several groups or runs, the longest and the sum
    - `busy`: inside attempts, all workers together; `capacity`: what it could have been

    Metrics of several runs can be added up by `+`.

    ```python
    from task_pipeline import Pipeline

    def load(context): ...

    pipeline = Pipeline([load, [load, load]])
    pipeline.run()
    metrics = pipeline.metrics()
    assert metrics.total.succeeded == 3
    assert metrics.steps["1.0"].name == "load#2" and metrics.groups["1"].count == 1
    ```
    """

    name: str = ""
    steps: Mapping[str, StepMetrics] = field(default_factory=dict)
    groups: Mapping[str, GroupMetrics] = field(default_factory=dict)
    workers: int = 0
    elapsed: float = 0.0
    busy: float = 0.0
    capacity: float = 0.0

    @property
    def utilisation(self) -> float:
        """The part of the workers' time that was spent inside attempts; 0.0 if there was none.

        Above 1.0 only where coroutines ran that no `max_workers` bounds: they need no worker.
        """
        return self.busy / self.capacity if self.capacity else 0.0

    @property
    def total(self) -> StepMetrics:
        """All steps together."""
        total = StepMetrics("", self.name)
        for each in self.steps.values():
            total += each
        return total

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(
            self.name if other.name in (self.name, "") else "" if self.name else other.name,
            _merged(self.steps, other.steps),
            _merged(self.groups, other.groups),
            max(self.workers, other.workers),
            self.elapsed + other.elapsed,
            self.busy + other.busy,
            self.capacity + other.capacity,
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it, in plain values that JSON knows."""
        return {
            "name": self.name,
            "workers": self.workers,
            "elapsed": self.elapsed,
            "busy": self.busy,
            "capacity": self.capacity,
            "utilisation": self.utilisation,
            "total": self.total.as_dict(),
            "steps": {path: each.as_dict() for path, each in self.steps.items()},
            "groups": {path: each.as_dict() for path, each in self.groups.items()},
        }

    def to_json(self, indent: int | None = None) -> str:
        """`as_dict()` as JSON; what there is nothing of is null, never NaN."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    def to_prometheus(self, labels: Mapping[str, str] | None = None) -> str:
        """The text that Prometheus reads (exposition format 0.0.4), with `labels` on each line.

        Each line has the label `pipeline` if there is a name, those of steps and groups
        `path` and `name` besides. What there is nothing of has no line.

        Raises `ConfigurationError` for a label that Prometheus would not take.
        """
        return exposition.text_of(self, labels or {})


def _merged(one: Mapping[str, G], other: Mapping[str, G]) -> dict[str, G]:
    merged = dict(one)
    for path, each in other.items():
        merged[path] = merged[path] + each if path in merged else each
    return merged
