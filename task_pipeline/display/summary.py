"""What is to be said of a run once it has ended."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

from ..outcome import Outcome
from .critical import Timed, critical_path, inner_seconds
from .nodes import DisplayNode, RunState

SLOWEST = 3


class Failure(NamedTuple):
    """A step that failed, and why."""

    name: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The end of a run in numbers; times in seconds.

    - `outcome`: None for a run whose end was not seen
    - `steps`: how many it had; `failed` counts those that timed out, too, which
      `timed_out` tells apart; `retried`: how many needed more than one attempt
    - `recovered`: how many of those that ended did so in an earlier part of the run
    - `slowest`: the steps that took longest, from their first attempt's start to the
      last one's end, and without what groups below them took
    - `critical_path`: the steps that the run could not have been faster than: of a series
      all, of a parallel group the branch that took longest
    - `work`: what all attempts took together; `speed_up`: how many times longer than `duration`
      that is
    - `abandoned`: threads that were left inside a step

    ```python
    from task_pipeline.display import RunSummary

    assert RunSummary(duration=2.0, work=5.0).speed_up == 2.5
    ```
    """

    name: str = ""
    outcome: Outcome | None = None
    duration: float = 0.0
    steps: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    skipped: int = 0
    retried: int = 0
    extra_attempts: int = 0
    recovered: int = 0
    conflicts: int = 0
    abandoned: int = 0
    work: float = 0.0
    slowest: tuple[Timed, ...] = ()
    critical_path: tuple[Timed, ...] = ()
    failures: tuple[Failure, ...] = field(default=())
    error: str = ""

    @property
    def critical_seconds(self) -> float:
        """How long the critical path is."""
        return sum(step.seconds for step in self.critical_path)

    @property
    def speed_up(self) -> float | None:
        """How many times faster it was than its steps one after another; None if it took no time.

        Below 1 it has waited more than it gained, between attempts for instance.
        """
        return self.work / self.duration if self.duration > 0.0 else None


def summarize(run: RunState, now: float) -> RunSummary:
    """Sum a run up; `now` is this process's clock, for a run whose end was not seen."""
    inner = inner_seconds(run)
    steps = [node for node in run.nodes.values() if node.is_step and node.began is not None]
    own = [Timed(node.name, max(0.0, node.span - inner.get(node, 0.0))) for node in steps]
    count = run.outcomes
    duration = run.elapsed(run.root, now)
    if run.is_implied:
        ends = [node.ended for node in run.nodes.values() if node.ended is not None]
        duration = max(ends) - (run.root.began or 0.0) if ends else duration
    return RunSummary(
        name=run.name,
        outcome=_outcome(run),
        duration=duration,
        steps=run.step_total,
        succeeded=count[Outcome.SUCCEEDED],
        failed=count[Outcome.FAILED] + count[Outcome.TIMED_OUT],
        timed_out=count[Outcome.TIMED_OUT],
        cancelled=count[Outcome.CANCELLED],
        skipped=count[Outcome.SKIPPED],
        retried=run.retried,
        extra_attempts=run.extra_attempts,
        recovered=sum(map(_is_recovered, run.nodes.values())),
        conflicts=run.conflicts,
        abandoned=run.abandoned,
        work=sum(max(0.0, node.busy - inner.get(node, 0.0)) for node in steps),
        slowest=tuple(heapq.nlargest(SLOWEST, own, key=lambda step: step.seconds)),
        critical_path=tuple(critical_path(run)),
        failures=tuple(Failure(node.name, describe(node.error)) for node in run.bad),
        error=describe(run.error),
    )


def describe(error: BaseException | None) -> str:
    """An error in one line; "" for none."""
    if error is None:
        return ""
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001  # an error that cannot be read is still to be shown
        text = ""
    name = type(error).__name__
    return f"{name}: {text.splitlines()[0]}" if text else name


def _is_recovered(node: DisplayNode) -> bool:
    return node.is_step and node.outcome is not None and node.began is None and node.attempts > 0


def _outcome(run: RunState) -> Outcome | None:
    if not run.is_implied:
        return run.outcome
    ends = [node.outcome for node in run.root.children.values() if node.outcome is not None]
    bad = [outcome for outcome in ends if outcome is not Outcome.SUCCEEDED]
    return bad[0] if bad else Outcome.SUCCEEDED if ends else None
