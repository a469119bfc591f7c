"""How many calls somebody else's executor has at once; the others wait here, not in there."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from ..engine.calling import Call


class Taker(Protocol):
    """Whoever hands calls to the executor."""

    @property
    def at_once(self) -> int:
        """How many calls it wants the executor to have."""

    def hand_over(self, call: Call) -> bool:
        """Give the executor a call that has a place; False if that came to nothing."""


class Places:
    """The places of one executor, for all runs of all pipelines that use it.

    A call that waits in an executor's own queue has begun, as far as anybody can tell, and so
    has its timeout. So none is given one before there is a worker for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._waiting: deque[tuple[Taker, Call]] = deque()

    def wait(self, taker: Taker, calls: Sequence[Call]) -> None:
        """Have calls handed over, each as soon as there is a place."""
        with self._lock:
            self._waiting.extend((taker, call) for call in calls)
        self.fill()

    def withdraw(self, calls: Sequence[Call]) -> list[Call]:
        """Have calls wait no longer; returns those that did."""
        unwanted = set(map(id, calls))
        with self._lock:
            found = [call for _, call in self._waiting if id(call) in unwanted]
            if found:
                kept = [entry for entry in self._waiting if id(entry[1]) not in unwanted]
                self._waiting = deque(kept)
        return found

    def leave(self) -> None:
        """A call is over; its place goes to the next."""
        with self._lock:
            self._taken -= 1
        self.fill()

    def fill(self) -> None:
        """Hand over what there are places for."""
        while True:
            with self._lock:
                if not self._waiting or self._taken >= self._waiting[0][0].at_once:
                    return
                taker, call = self._waiting.popleft()
                self._taken += 1
            if not taker.hand_over(call):
                with self._lock:
                    self._taken -= 1


_known: weakref.WeakKeyDictionary[Any, Places] = weakref.WeakKeyDictionary()


def places_of(executor: object) -> Places:
    """The places of an executor, the same for all who ask."""
    try:
        return _known.setdefault(executor, Places())
    except TypeError:  # it cannot be referred to so
        return Places()
