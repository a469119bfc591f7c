"""The limits around a nested run: its steps run in the stead of the step that it is part of.

A step that waits for a run of its own runs nothing itself meanwhile, so it lends its
places to one step of that run. Every further one needs places of its own under all
limits that hold for the outer step, so no limit is exceeded at any depth; and as one
step can always go on, nobody waits in vain. A run in the background has the lent places
from the start: nobody can tell how its step will find out that it is over.
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
        self.is_in_background = False
        self.lacks_name = False

    @staticmethod
    def is_needed(outer: ActiveStep) -> bool:
        """Whether any limit holds for what runs inside a step."""
        around = outer.run.scheduler.places.around
        return bool(outer.node.limits or outer.node.parent.named_limits or around)

    def waits(self, more: int) -> None:
        """The outer step begins (1) or ends (-1) to wait for the nested run."""
        with self._above.lock:
            self._outer.waits += more
        if more > 0:
            self._run.freed_around()

    def take(self, name: str | None) -> bool:
        """A place for one more step. Under the nested run's lock."""
        self.lacks_name = name is not None and not self._take_named(name)
        if self.lacks_name:
            return False
        if self._take_place():
            return True
        if name is not None:
            self._release_named(name)
        return False

    def _take_place(self) -> bool:
        above, outer = self._above, self._outer
        with above.lock:
            if outer.outcome is not None or outer.lingering:
                self._free += 1
                return True
            if not outer.lends and (outer.waits or self.is_in_background):
                outer.lends = self._borrows = True
                return True
            places = above.scheduler.places
            is_free = places.full(outer.node.limits) is None
            if is_free and (places.around is None or places.around.take(None)):
                places.take(outer.node.limits)
                self._extra += 1
                return True
            self._wait_for(above)
            return False

    def give_back(self, name: str | None) -> None:
        """A step that had a place has ended. Under the nested run's lock."""
        if name is not None:
            self._release_named(name)
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
        self._see_to(above)

    # A limit by name holds for the steps that have the name, at any depth: also for those
    # of a run that knows nothing of it.

    def _named(self, name: str) -> list[tuple[Any, tuple[int, ...]]]:
        """Each run around, and the limits of that name there that hold for what is inside."""
        found = []
        outer: Any = self._outer
        while outer is not None:
            limits = outer.node.parent.named_limits.get(name, ())
            own = tuple(limit for limit in limits if limit not in outer.node.limits)
            if own:  # else the outer step has the name itself, and its place is lent
                found.append((outer.run, own))
            outer = outer.run.outer
        return found

    def _take_named(self, name: str) -> bool:
        taken: list[tuple[Any, tuple[int, ...]]] = []
        for run, limits in self._named(name):
            with run.lock:
                places = run.scheduler.places
                if places.full(limits) is None:
                    places.take(limits)
                    taken.append((run, limits))
                    continue
                self._wait_for(run)
            self._release(taken)
            return False
        return True

    def _release_named(self, name: str) -> None:
        self._release(self._named(name))

    def _release(self, taken: list[tuple[Any, tuple[int, ...]]]) -> None:
        for run, limits in taken:
            with run.lock:
                run.scheduler.places.release(limits)
            self._see_to(run)

    def _wait_for(self, run: Any) -> None:
        """Have this run look again when a place becomes free in that one. Under its lock."""
        run.waiting_inside[self._run] = None
        run.scheduler.places.freed = run.call_inside

    def _see_to(self, run: Any) -> None:
        """Have somebody do what has become possible in a run around this one."""
        if run.chores or run.scheduler.ready:
            self._run.chores.append(run.do_chores_and_call)
