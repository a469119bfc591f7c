"""Metrics in the text format of Prometheus, version 0.0.4.

One block for each metric: a HELP line, a TYPE line, then its samples. Units are seconds;
what is counted ends in `_total`. A summary without quantiles is a sum and a count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..errors import ConfigurationError

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN = {"pipeline", "path", "name", "outcome"}

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float | int | None]


def text_of(metrics: Any, extra: Labels) -> str:
    """The whole text of a `Metrics`, with some labels on each line."""
    _check(extra)
    common = {"pipeline": metrics.name, **extra} if metrics.name else dict(extra)
    lines = [line for block in _blocks(metrics, common) for line in block]
    # Names may hold what UTF-8 has no bytes for, such as parts of file names.
    return "".join(lines).encode("utf-8", "replace").decode()


def _check(labels: Labels) -> None:
    for name in labels:
        if not _LABEL.fullmatch(name) or name.startswith("__") or name in _OWN:
            raise ConfigurationError(
                f"{name!r} cannot be a label: it must have letters, digits and _ only, begin "
                f"with no digit and not with __, and differ from {', '.join(sorted(_OWN))}"
            )


def _blocks(metrics: Any, common: Labels) -> Iterator[Iterator[str]]:
    steps, groups = _Rows(metrics.steps, common), _Rows(metrics.groups, common)
    prefix = "task_pipeline_"
    yield _block(prefix + "steps_total", "counter", "Steps that have ended.", steps.by_outcome())
    yield _block(
        prefix + "steps_running",
        "gauge",
        "Steps that are under way.",
        steps.each(lambda step: step.running),
    )
    yield _block(
        prefix + "step_retries_total",
        "counter",
        "Attempts beyond a step's first.",
        steps.each(lambda step: step.retried),
    )
    yield _block(
        prefix + "step_abandoned_total",
        "counter",
        "Threads and coroutines that were left inside a step.",
        steps.each(lambda step: step.abandoned),
    )
    yield from _durations(
        prefix + "step_run_seconds",
        "Time inside a step's attempts",
        steps,
        lambda step: step.run_time,
    )
    yield from _durations(
        prefix + "step_queue_seconds",
        "Time that a step waited for a worker",
        steps,
        lambda step: step.queue_time,
    )
    yield _block(prefix + "groups_total", "counter", "Groups that have ended.", groups.by_outcome())
    yield from _durations(
        prefix + "group_seconds",
        "Time from a group's start to its end",
        groups,
        lambda group: group.run_time,
    )
    for name, kind, about, value in (
        ("workers", "gauge", "How many steps can run at once.", metrics.workers),
        ("elapsed_seconds_total", "counter", "Time from start to end.", metrics.elapsed),
        ("worker_busy_seconds_total", "counter", "Workers' time in steps.", metrics.busy),
        ("worker_capacity_seconds_total", "counter", "Workers' time in all.", metrics.capacity),
        ("worker_utilisation_ratio", "gauge", "The part of it in steps.", metrics.utilisation),
    ):
        yield _block(prefix + name, kind, about, [("", common, value)])


class _Rows:
    """Steps or groups, with their labels."""

    def __init__(self, entries: Mapping[str, Any], common: Labels) -> None:
        self._rows = [
            ({**common, "path": path, "name": entry.name}, entry) for path, entry in entries.items()
        ]

    def each(self, value: Callable[[Any], float | int | None], suffix: str = "") -> list[Sample]:
        """One sample of each."""
        return [(suffix, labels, value(entry)) for labels, entry in self._rows]

    def by_outcome(self) -> list[Sample]:
        """One sample of each for every outcome."""
        outcomes = ("succeeded", "failed", "timed_out", "cancelled", "skipped")
        return [
            ("", {**labels, "outcome": outcome}, getattr(entry, outcome))
            for labels, entry in self._rows
            for outcome in outcomes
        ]


def _durations(
    name: str, about: str, rows: _Rows, find: Callable[[Any], Any]
) -> Iterator[Iterator[str]]:
    sums = rows.each(lambda entry: find(entry).total, "_sum")
    counts = rows.each(lambda entry: find(entry).count, "_count")
    both = [sample for pair in zip(sums, counts, strict=True) for sample in pair]
    yield _block(name, "summary", f"{about}.", both)
    least = rows.each(lambda entry: find(entry).min)
    yield _block(f"{name}_min", "gauge", f"{about}: the shortest.", least)
    most = rows.each(lambda entry: find(entry).max)
    yield _block(f"{name}_max", "gauge", f"{about}: the longest.", most)


def _block(name: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    """A metric with its samples; nothing if there are none."""
    there = [sample for sample in samples if sample[2] is not None]
    if there:
        yield f"# HELP {name} {about}\n"
        yield f"# TYPE {name} {kind}\n"
    for suffix, labels, value in there:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{suffix}{'{' + inside + '}' if inside else ''} {value!r}\n"


def _escaped(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
