"""How far a run is: weights of steps, progress that never goes backwards."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from .compiler import as_steps, compile_plan
from .groups import PipelineGroup, TaskStep
from .plan import Plan

P = ParamSpec("P")
R = TypeVar("R")


class ProgressTracker:
    """Weighs steps and adds up how far they are; safe from any thread.

    100 % is split equally among the items of the list, a group's part equally
    among what it holds, and so on down; `weight` changes a step's part.

    ```python
    from task_pipeline import ProgressTracker

    def load(context): ...
    def parse(context): ...

    tracker = ProgressTracker([load, [parse, parse]])
    tracker.update_step_progress("load", 50.0)
    assert tracker.get_overall_progress() == 25.0
    assert tracker.get_step_details()["parse#2"]["max_weight"] == 25.0
    ```
    """

    def __init__(self, steps: Sequence[TaskStep]) -> None:
        """Raises `PipelineDefinitionError` for steps that a pipeline would not take."""
        self._set_up(compile_plan(PipelineGroup(as_steps(steps))))

    @classmethod
    def of_plan(cls, plan: Plan) -> ProgressTracker:
        """A tracker of a plan that is compiled already."""
        tracker = cls.__new__(cls)
        tracker._set_up(plan)
        return tracker

    def _set_up(self, plan: Plan) -> None:
        self._plan = plan
        self.renew_lock()
        self._percent = [0.0] * len(plan.steps)
        self._shares = [node.share for node in plan.steps]
        # Of steps that only came to be in the run: whose part they are a part of.
        self._hosts: dict[int, int] = {}
        self._overall = 0.0
        self._complete = 0
        self._by_id: dict[str, int] | None = None

    def renew_lock(self) -> None:
        """Forget who holds the lock: after a fork, that may be a thread of the parent."""
        self._lock = threading.RLock()  # reentrant for signal handlers that ask for the status

    def update_step_progress(self, step_id: str, percent: float) -> None:
        """Set a step's progress, 0 to 100; a lower value than before changes nothing.

        Raises `KeyError` for a step that there is not.
        """
        if self._by_id is None:
            self._by_id = {node.step_id: node.leaf for node in self._plan.steps}
        if step_id not in self._by_id:
            raise KeyError(f"there is no step {step_id!r}; there are {', '.join(self._by_id)}")
        self.advance(self._by_id[step_id], percent)

    def advance(self, leaf: int, percent: float = 100.0) -> float:
        """Set the progress of step number `leaf`; returns what the step's progress now is."""
        if math.isnan(percent):
            raise ValueError("progress is a number from 0 to 100, not nan")
        percent = min(percent, 100.0)
        with self._lock:
            before = self._percent[leaf]
            if percent <= before:
                return before
            self._percent[leaf] = percent
            gain = percent - before
            if self._hosts:
                leaf, gain = self._raise_hosts(leaf, gain)
            self._overall = min(self._overall + self._shares[leaf] * gain / 100.0, 100.0)
            if self._percent[leaf] == 100.0 and gain:
                self._count_complete()
            return percent

    def _raise_hosts(self, leaf: int, gain: float) -> tuple[int, float]:
        """Raise what a dynamic step is a part of; returns the step of the plan, and its gain."""
        while leaf in self._hosts:
            gain *= self._shares[leaf] / 100.0
            leaf = self._hosts[leaf]
            before = self._percent[leaf]
            self._percent[leaf] = min(before + gain, 100.0)
            gain = self._percent[leaf] - before
        return leaf, gain

    def _count_complete(self) -> None:
        self._complete += 1
        if self._complete == len(self._plan.steps):
            self._overall = 100.0  # exactly, whatever the parts' sum was rounded to

    def host(self, leaf: int, first: int, shares: Sequence[float]) -> None:
        """Steps from number `first` on are parts of step number `leaf`, in percent of it."""
        with self._lock:
            last = first + len(shares)
            missing = last - len(self._percent)
            self._percent.extend([0.0] * missing)
            self._shares.extend([0.0] * missing)
            self._percent[first:last] = [0.0] * len(shares)
            self._shares[first:last] = shares
            self._hosts.update(dict.fromkeys(range(first, last), leaf))

    def write_off(self, leaf: int) -> None:
        """A step is not part of the whole after all: done, without having brought anything."""
        with self._lock:
            self._shares[leaf] = 0.0
            if self._percent[leaf] < 100.0:
                self._percent[leaf] = 100.0
                if leaf not in self._hosts:
                    self._count_complete()

    def complete(self) -> None:
        """Everything is done: exactly 100 %."""
        with self._lock:
            self._complete = len(self._plan.steps)
            self._percent = [100.0] * len(self._percent)
            self._overall = 100.0

    def progress_of(self, leaf: int) -> float:
        """The progress of step number `leaf`, 0.0 to 100.0."""
        return self._percent[leaf] if leaf < len(self._percent) else 0.0

    def get_overall_progress(self) -> float:
        """The whole, 0.0 to 100.0."""
        return self._overall

    def get_step_details(self) -> dict[str, dict[str, Any]]:
        """By step id: `internal_progress`, `max_weight` and `contribution`, in percent."""
        with self._lock:
            found = list(zip(self._plan.steps, self._percent, self._shares, strict=False))
        return {
            node.step_id: {
                "internal_progress": percent,
                "max_weight": share,
                "contribution": share * percent / 100.0,
            }
            for node, percent, share in found
        }


def with_progress_callback(function: Callable[P, R]) -> Callable[P, R]:
    """Give a function a `progress_callback` that does nothing when none is passed.

    ```python
    from task_pipeline import with_progress_callback

    @with_progress_callback
    def work(items, progress_callback):
        for index, item in enumerate(items):
            progress_callback(index + 1, len(items), str(item), 100.0 * (index + 1) / len(items))

    work([1, 2])
    ```
    """
    parameters = inspect.signature(function).parameters
    own = parameters.get("progress_callback")
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    if own is None and not takes_any:
        raise TypeError(f"{function!r} takes no progress_callback to be filled in")

    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    position = list(parameters).index(own.name) if own and own.kind in by_place else None

    def filled(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """The positional arguments; the callback goes where the caller put its None, if it did."""
        if position is not None and position < len(args):
            callback = _no_progress if args[position] is None else args[position]
            return (*args[:position], callback, *args[position + 1 :])
        if kwargs.get("progress_callback") is None:
            kwargs["progress_callback"] = _no_progress
        return args

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapped_async(*args: Any, **kwargs: Any) -> Any:
            return await function(*filled(args, kwargs), **kwargs)

        return wrapped_async  # type: ignore[return-value]  # R is the coroutine it returns

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        return function(*filled(args, kwargs), **kwargs)

    return wrapped


def _no_progress(*args: object, **kwargs: object) -> None:
    """The callback that does nothing."""
