"""The limits around a nested run: its steps run in the stead of the step that it is part of.

A step that waits for a run of its own runs nothing itself meanwhile, so it lends its
places to one step of that run. Every further one needs places of its own under all
limits that hold for the outer step, so no limit is exceeded at any depth; and as one
step can always go on, nobody waits in vain.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .scheduler import Scheduler
from .step import ActiveStep


class Around(Protocol):
    """What this needs of the run around, and of the nested one."""

    lock: threading.RLock
    scheduler: Scheduler
    chores: deque[Callable[[], None]]
    waiting_inside: dict[Any, None]

    def freed_around(self) -> None:
        """The limits around this run may have places again."""

    def do_chores_and_call(self, delivers: bool = True) -> None:
        """Do what waits to be done, and have a thread come for what became ready."""


class Lending:
    """The places that a nested run has of the step it is part of."""

    def __init__(self, run: Around, outer: ActiveStep) -> None:
        self._run = run
        self._outer = outer
        self._above: Any = outer.run
        self._extra = 0  # places beside the one that is lent
        self._free = 0  # of steps begun when the outer step had ended, which has none to lend
        self._borrows = False

    def take(self) -> bool:
        """A place for one more step. Under the nested run's lock."""
        above, outer = self._above, self._outer
        with above.lock:
            if outer.outcome is not None or outer.lingering:
                self._free += 1
                return True
            if not outer.lends:
                outer.lends = self._borrows = True
                return True
            places = above.scheduler.places
            is_free = places.full(outer.node.limits) is None
            if is_free and (places.around is None or places.around.take()):
                places.take(outer.node.limits)
                self._extra += 1
                return True
            above.waiting_inside[self._run] = None
            places.freed = above.call_inside
            return False

    def give_back(self) -> None:
        """A step that had a place has ended. Under the nested run's lock."""
        above = self._above
        with above.lock:
            if self._extra:
                self._extra -= 1
                above.scheduler.places.give_back(self._outer.node.limits)
            elif self._free:
                self._free -= 1
            elif self._borrows:
                self._borrows = self._outer.lends = False
            above.call_inside()  # the one that is lent is not counted among the places
        if above.chores or above.scheduler.ready:
            self._run.chores.append(above.do_chores_and_call)
