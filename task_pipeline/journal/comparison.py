"""Two runs side by side: how each step ended, how long it took, and what it wrote.

What steps wrote is compared as it stands in the journal. So no class has to be loaded, and
nothing that was recorded is executed, a pickle neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .written import Change, compare_written

if TYPE_CHECKING:
    from .records import RunRecord, StepRecord
    from .store import Journal

_OF_A_RUN = ("name", "status", "context_type")


@dataclass(frozen=True, slots=True)
class StepSide:
    """A step in one of the runs; `duration` is of all attempts together, in seconds."""

    status: str
    attempts: int
    duration: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StepDiff:
    """One step in both runs: `a` and `b`, None where it is not, and `changes` in what it wrote.

    `omitted`: how many more changes there are than are listed.
    """

    path: str
    step_id: str
    a: StepSide | None
    b: StepSide | None
    changes: tuple[Change, ...] = ()
    omitted: int = 0

    @property
    def differs(self) -> bool:
        """Whether it is not the same; time and the number of attempts do not count."""
        if self.a is None or self.b is None:
            return True
        return bool(self.changes) or (self.a.status, self.a.error) != (self.b.status, self.b.error)


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What `compare_runs` finds; true if the runs differ.

    - `run_a`, `run_b`: their ids
    - `changes`: in the runs themselves: their status, error, plan, and what they began with
    - `steps`: every step of either, by path, also those that are the same
    """

    run_a: str
    run_b: str
    changes: tuple[Change, ...] = ()
    omitted: int = 0
    steps: tuple[StepDiff, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.changes) or any(step.differs for step in self.steps)

    def __str__(self) -> str:
        """One line for each difference."""
        lines = [_line("run", change) for change in self.changes]
        for step in self.steps:
            name = f"{step.step_id} ({step.path})"
            if step.a is None or step.b is None:
                lines.append(f"{name}: only in {self.run_b if step.a is None else self.run_a}")
                continue
            if step.a.status != step.b.status:
                lines.append(f"{name}: {step.a.status} → {step.b.status}")
            if step.a.error != step.b.error:
                lines.append(f"{name}: error {step.a.error} → {step.b.error}")
            lines += [_line(name, change) for change in step.changes]
            if step.omitted:
                lines.append(f"{name}: {step.omitted} more")
        return "\n".join(lines) or "no difference"

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON: `differs`, and the fields; each step has a `differs`, too."""
        document = asdict(self)
        for step, made in zip(self.steps, document["steps"], strict=True):
            made["differs"] = step.differs
        return {"differs": bool(self), **document}


def compare_runs(journal: Journal, run_a: str, run_b: str) -> RunDiff:
    """Compare two runs of a journal, which may be under way.

    A step is the same in both if its path is.
    Raises `RunNotFoundError`, and `JournalDataError` for what the journal cannot have written.
    """
    a, b = journal.run(run_a), journal.run(run_b)
    own, omitted = _compare_records(journal, a, b)
    left, right = _by_path(journal.steps(run_a, True)), _by_path(journal.steps(run_b, True))
    steps = [
        _compare_steps(journal, left.get(path), right.get(path))
        for path in sorted(left.keys() | right.keys(), key=path_order)
    ]
    return RunDiff(run_a, run_b, own, omitted, tuple(steps))


def path_order(path: str) -> list[tuple[bool, int, str]]:
    """Puts paths in the order written: "2" before "10"."""
    return [_part_order(part) for part in path.split(".")] if path else []


def _part_order(part: str) -> tuple[bool, int, str]:
    # Not isdigit alone, and not any number of digits: a journal may hold any text as a path.
    if part.isascii() and part.isdigit() and len(part) < 19:
        return False, int(part), ""
    return True, 0, part


class _Step:
    """All attempts of one step, in order; `last` is the one that counts."""

    def __init__(self, records: list[StepRecord], last: StepRecord) -> None:
        self.last = last
        spent = [record.duration for record in records if record.duration is not None]
        finite = [seconds for seconds in spent if math.isfinite(seconds)]
        self.side = StepSide(
            last.status,
            sum(record.attempt > 0 for record in records),
            sum(finite) if finite else None,
            error_of(last),
        )


def error_of(record: StepRecord | RunRecord) -> str | None:
    """Type and text of an error; None for none."""
    if record.error_type is None:
        return None
    return f"{record.error_type}: {record.error_text or ''}"


def _by_path(records: Iterable[StepRecord]) -> dict[str, _Step]:
    found: dict[str, list[StepRecord]] = {}
    for record in records:
        found.setdefault(record.path, []).append(record)
    steps = {}
    for path, attempts in found.items():
        attempts.sort(key=lambda record: record.attempt)
        current = [record for record in attempts if not record.superseded]
        if current:  # else a resume has set it aside, and it has not run again
            steps[path] = _Step(attempts, current[-1])
    return steps


def _compare_records(
    journal: Journal, a: RunRecord, b: RunRecord
) -> tuple[tuple[Change, ...], int]:
    pairs = {name: (getattr(a, name), getattr(b, name)) for name in _OF_A_RUN}
    pairs["error"] = (error_of(a), error_of(b))
    pairs["plan"] = (a.fingerprint, b.fingerprint)
    changes = [
        Change(name, None if old is None else str(old), None if now is None else str(now))
        for name, (old, now) in pairs.items()
        if old != now
    ]
    inside, omitted = compare_written(a.input, b.input, journal.large)
    changes += [Change(f"input {change.path}", change.a, change.b) for change in inside]
    return tuple(changes), omitted


def _compare_steps(journal: Journal, a: _Step | None, b: _Step | None) -> StepDiff:
    either = a or b
    assert either is not None
    changes: Sequence[Change] = ()
    omitted = 0
    if a is not None and b is not None:
        changes, omitted = compare_written(a.last.delta, b.last.delta, journal.large)
    return StepDiff(
        either.last.path,
        either.last.step_id,
        None if a is None else a.side,
        None if b is None else b.side,
        tuple(changes),
        omitted,
    )


def _line(name: str, change: Change) -> str:
    if change.a is None:
        return f"{name}: {change.path} added: {change.b}"
    if change.b is None:
        return f"{name}: {change.path} removed: {change.a}"
    return f"{name}: {change.path}: {change.a} → {change.b}"
