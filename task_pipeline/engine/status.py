"""What `get_status()` says, at any moment, from any thread."""

from __future__ import annotations

import threading
from typing import Any

from . import live
from .core import RunCore
from .states import StepState
from .step import ActiveStep


def status_of(run: RunCore) -> dict[str, Any]:
    """A run's status: progress and times in percent and seconds."""
    if run.generation != live.generation:  # of the process that this one was forked from
        run.generation = live.generation
        run.lock = threading.RLock()
        run.tracker.renew_lock()
    with run.lock:
        now = run.clock.monotonic() if run.ended_at is None else run.ended_at
        outcomes = list(run.scheduler.outcomes)
        details = run.tracker.get_step_details()
        for node, outcome, step in zip(run.plan.steps, outcomes, run.steps, strict=False):
            detail = details[node.step_id]
            if step is not None and step.attempt == 1 and _waits(step):
                step = None  # noqa: PLW2901  # its executor has not begun with it
            detail["status"] = _status(step) if outcome is None else str(outcome)
            detail["attempts"] = 0 if step is None else step.attempt
            detail["started_at"] = None if step is None else step.first_started - run.started_at
            detail["elapsed"] = _elapsed(step, now, outcome is None and node.chooses)
        running = [
            step.node.step_id for step in sorted(run.scheduler.live, key=_leaf) if _runs(step)
        ]
        return {
            "state": "running" if run.outcome is None else str(run.outcome),
            "progress": run.tracker.get_overall_progress(),
            "current_step": current_name(run),
            "is_running": not run.is_over,
            "running_steps": running,
            "abandoned": run.abandoned,
            "elapsed": now - run.started_at,
            "step_details": details,
        }


def current_name(run: RunCore) -> str | None:
    """The name of the top-level item under way; None before and after."""
    items = run.plan.root.children
    if run.is_over or run.current_item is None or run.current_item >= len(items):
        return None
    return items[run.current_item].name


def _leaf(step: StepState) -> int:
    return step.node.leaf


def _runs(step: StepState) -> bool:
    return step.running and not step.node.chooses and not _waits(step)


def _waits(step: Any) -> bool:
    """Whether it waits in its executor."""
    return step.call is not None and not step.call.has_begun


def _status(step: ActiveStep | None) -> str:
    if step is None:
        return "pending"
    return "running" if _runs(step) or step.node.chooses else "retrying"


def _elapsed(step: ActiveStep | None, now: float, is_under_way: bool) -> float:
    """Seconds since it began; what stands for a dynamic group is under way as long as that is."""
    if step is None:
        return 0.0
    ended_at = None if is_under_way else step.ended_at
    return max(0.0, (now if ended_at is None else ended_at) - step.first_started)


def idle_status(run_tracker: Any) -> dict[str, Any]:
    """The status of a pipeline that was never run."""
    details = run_tracker.get_step_details()
    for detail in details.values():
        detail.update(status="pending", attempts=0, started_at=None, elapsed=0.0)
    return {
        "state": "pending",
        "progress": 0.0,
        "current_step": None,
        "is_running": False,
        "running_steps": [],
        "abandoned": 0,
        "elapsed": 0.0,
        "step_details": details,
    }
