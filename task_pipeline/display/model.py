"""From events to the state of runs: what a display shows, without showing anything."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ..events import (
    Event,
    GroupEvent,
    GroupStarted,
    MergeConflictFound,
    RunEnded,
    RunStarted,
    StepEvent,
    StepStarted,
)
from .applying import end_run, note_group, note_step
from .nodes import RunState

FORGOTTEN = 256  # ids of runs that were closed early; their late events must not bring them back


class DisplayModel:
    """The runs that are under way, by id, in the order they began.

    Not safe from several threads at once: whoever shows it has a lock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.runs: dict[str, RunState] = {}
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def apply(self, event: Event) -> RunState | None:
        """Take an event in; returns the run it is of, None if that is not (any more) known.

        When the run `is_over` by it, it is for the caller to `drop` it.
        """
        run = self.runs.get(event.run_id)
        if isinstance(event, RunStarted):
            run = self._add(event, event.total, is_implied=False)
        elif run is None:
            begins = isinstance(event, GroupStarted | StepStarted)
            if not begins or event.run_id in self._forgotten:
                return None
            run = self._add(event, 0, is_implied=True)
        if isinstance(event, RunEnded):
            end_run(run, event)
        elif isinstance(event, GroupEvent):
            note_group(run, event)
        elif isinstance(event, StepEvent):
            note_step(run, event)
        elif isinstance(event, MergeConflictFound):
            run.conflicts += 1
        if run.is_implied and run.open == 0:
            run.is_over = True
        return run

    def drop(self, run: RunState, forever: bool = False) -> None:
        """Show a run no more; `forever` if it did not end, and more of it may be heard.

        A run that has told of its own end is over whatever is still heard of it; groups
        without a run go on under the same id.
        """
        self.runs.pop(run.run_id, None)
        if forever or not run.is_implied:
            self._forgotten[run.run_id] = None
            if len(self._forgotten) > FORGOTTEN:
                self._forgotten.popitem(last=False)

    def _add(self, event: Event, total: int, is_implied: bool) -> RunState:
        run = RunState(event.run_id, event.name, total, is_implied)
        run.offset = self.clock() - event.monotonic
        run.root.began = event.monotonic
        self.runs[event.run_id] = run
        self._forgotten.pop(event.run_id, None)
        return run
