"""Who may run at once: the limits of a run, how much of each is used, who waits for which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .states import State

AROUND = -1
"""Stands, among the numbers of limits, for those of the step that this run is part of."""


class Around(Protocol):
    """The limits of the step that a run is part of: its steps run in that one's stead."""

    is_in_background: bool
    lacks_name: bool  # whether it was the limit by name that had no place, the last time

    def take(self, name: str | None) -> bool:
        """A place for one more step, with a limit of that `name` as well.

        False if there is none; then one is told of the next.
        """

    def give_back(self, name: str | None) -> None:
        """A step that had a place has ended."""

    def waits(self, more: int) -> None:
        """The step begins (1) or ends (-1) to wait for the run."""


class Places:
    """The places of one run. `ready` is where those go that wait no more."""

    def __init__(self, limits: Sequence[int], ready: list[State]) -> None:
        self.around: Around | None = None
        self.suspended = False  # no limit holds: nothing runs, a run is brought to where it was
        self.freed: Callable[[], None] | None = None  # called when a place has become free
        self._limits = list(limits)
        self._used = [0] * len(limits)
        self._ready = ready
        self._parked: dict[int, list[State]] = {}  # by the limit they wait for

    def add(self, limits: Iterable[int]) -> int:
        """More limits, which only came to be in the run; returns the first one's number."""
        first = len(self._limits)
        self._limits.extend(limits)
        self._used.extend([0] * (len(self._limits) - first))
        return first

    def limit(self, number: int) -> int:
        """How many may run at once under a limit."""
        return self._limits[number]

    def take(self, limits: tuple[int, ...]) -> None:
        """A step begins."""
        for limit in () if self.suspended else limits:
            self._used[limit] += 1

    def give_back(self, limits: tuple[int, ...], name: str | None = None) -> None:
        """A step runs no more; look again at who waits."""
        self.release(limits)
        if self.around is not None:
            self.around.give_back(name)

    def release(self, limits: tuple[int, ...]) -> None:
        """Free the places of these limits alone."""
        for limit in () if self.suspended else limits:
            self._used[limit] -= 1
            self.call(limit)
        if self.freed is not None:
            self.freed()

    def call(self, limit: int) -> None:
        """Those that wait for a limit are to try again."""
        waiting = self._parked.pop(limit, None)
        if waiting:
            self._ready.extend(reversed(waiting))

    def full(self, limits: tuple[int, ...]) -> int | None:
        """The first of these limits that has no place left."""
        if self.suspended:
            return None
        for limit in limits:
            if self._used[limit] >= self._limits[limit]:
                return limit
        return None

    def park_if_full(self, limits: tuple[int, ...], item: State) -> bool:
        """Have an item wait for a place, if there is none."""
        full = self.full(limits)
        if full is not None:
            self._parked.setdefault(full, []).append(item)
        return full is not None

    def park_if_none_around(self, item: State, name: str | None) -> bool:
        """The same for the limits around the run; with False, the place has been taken."""
        if self.around is None or self.around.take(name):
            return False
        self.park_around(item)
        return True

    def park_around(self, item: State) -> None:
        """Have an item wait for the limits around the run."""
        self._parked.setdefault(AROUND, []).append(item)

    def only_waits(self, limits: tuple[int, ...], item: State) -> bool:
        """Whether an item waits for the one limit there is, and nobody else does."""
        if len(limits) != 1 or self.around is not None:
            return False
        waiting = self._parked.get(limits[0])
        return waiting is not None and len(waiting) == 1 and waiting[0] is item

    def forget(self, wanted: Iterable[State]) -> None:
        """These wait no more."""
        gone = set(wanted)
        for limit, waiting in list(self._parked.items()):
            self._parked[limit] = [item for item in waiting if item not in gone]

    def waiting(self) -> list[State]:
        """All that wait for a place."""
        return [item for waiting in self._parked.values() for item in waiting]
