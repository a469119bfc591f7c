"""How far one group is, counted from its events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..events import Event, GroupEnded, GroupEvent, GroupStarted, StepRecovered, StepStarted
from ..outcome import Outcome
from .outcomes import BAD, index_in, outcome_of, parent_path


@dataclass(eq=False)
class ParallelGroupTracker:
    """Counts how many branches of a group have started, and how they ended.

    - `group_id`: the group's path; empty, it is taken from the first `GroupStarted` seen
    - `total`: how many branches there are; 0 as long as that is not known
    - `started`: branches that have begun
    - `completed`: branches that succeeded; `failed`: those that failed or timed out;
      `skipped` and `cancelled`; `ended` is the sum of the four
    - `retried`: how many attempts were made beyond the first ones

    The counts may be set by hand instead. Safe from any thread; of a tracker that is
    fed with the events of several runs, only those of its first run count.

    ```python
    from task_pipeline import Pipeline
    from task_pipeline.display import ParallelGroupTracker

    def left(context): ...
    def right(context): ...

    tracker = ParallelGroupTracker(group_id="0")
    pipeline = Pipeline([[left, right]])
    pipeline.subscribe(tracker.note)
    pipeline.run()
    assert (tracker.started, tracker.completed, tracker.failed) == (2, 2, 0)
    assert tracker.is_complete and tracker.completion_percentage == 100.0
    ```
    """

    group_id: str = ""
    name: str = ""
    total: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    retried: int = 0
    outcome: Outcome | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    run_id: str | None = field(default=None, repr=False)
    _began: float | None = field(default=None, init=False, repr=False)
    _took: float | None = field(default=None, init=False, repr=False)
    _noticed: float = field(default=0.0, init=False, repr=False)
    _ended: dict[int, Outcome] = field(default_factory=dict, init=False, repr=False)
    _running: set[int] = field(default_factory=set, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def note(self, event: Event) -> None:
        """Take an event in; those that are not about the group or a branch change nothing."""
        with self._lock:
            if not self._concerns_me(event):
                return
            if isinstance(event, StepStarted) and event.attempt > 1:
                self.retried += 1
            if event.path == self.group_id:
                if isinstance(event, GroupEvent):
                    self._note_group(event)
            elif parent_path(event.path) == self.group_id:
                self._note_branch(event, index_in(event.path))

    __call__ = note

    @property
    def ended(self) -> int:
        """How many branches have ended, in whatever way."""
        return self.completed + self.failed + self.skipped + self.cancelled

    @property
    def is_complete(self) -> bool:
        """Whether the group has ended or, with counts set by hand, each of its branches."""
        if self._began is not None:  # of a group whose branches come while it runs, more may come
            return self.outcome is not None
        return self.outcome is not None or 0 < self.total <= self.ended

    @property
    def completion_percentage(self) -> float:
        """How many percent of the branches have ended, 0.0 to 100.0; 100.0 once it is complete."""
        if self.is_complete:
            return 100.0
        return min(100.0, 100.0 * self.ended / self.total) if self.total else 0.0

    @property
    def elapsed_time(self) -> float:
        """Seconds since the group started, or that it took; 0.0 before."""
        with self._lock:
            if self._took is not None:
                return self._took
            return 0.0 if self._began is None else max(0.0, self.clock() - self._noticed)

    def _concerns_me(self, event: Event) -> bool:
        if not self.group_id and self.run_id is None:
            if not isinstance(event, GroupStarted):
                return False
            self.group_id = event.path
        if event.path != self.group_id and not event.path.startswith(f"{self.group_id}."):
            return False
        if self.run_id is None:
            self.run_id = event.run_id
        return event.run_id == self.run_id

    def _note_group(self, event: GroupEvent) -> None:
        self.name = event.name or self.name
        self.total = max(self.total, event.total)
        if isinstance(event, GroupStarted):
            self._began, self._noticed = event.monotonic, self.clock()
        elif isinstance(event, GroupEnded):
            self.outcome = outcome_of(event) or Outcome.FAILED
            if event.duration is not None:
                self._took = event.duration
            elif self._began is not None:
                self._took = max(0.0, event.monotonic - self._began)
            if self._began is not None:  # all was seen, so what did not end never began
                self.cancelled += max(0, self.total - self.ended)

    def _note_branch(self, event: Event, index: int) -> None:
        begins = isinstance(event, StepStarted | StepRecovered | GroupStarted)
        if begins and index not in self._running:
            self._running.add(index)
            self.started += 1
            self.total = max(self.total, self.started)  # of a loop, no round knows of the next
        outcome = outcome_of(event)
        if outcome is None or index in self._ended or self.outcome is not None:
            return
        self._ended[index] = outcome
        if outcome in BAD:
            self.failed += 1
        elif outcome is Outcome.SUCCEEDED:
            self.completed += 1
        elif outcome is Outcome.SKIPPED:
            self.skipped += 1
        else:
            self.cancelled += 1
