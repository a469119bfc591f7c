"""Events on their way from a run to one reader, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from ..errors import ConfigurationError
from ..events import Event
from .feed import Told

T = TypeVar("T")

Kinds = type[Event] | Iterable[type[Event]] | None
"""One kind of event, several of them, or None for all; subclasses count."""


def checked_kinds(kinds: Kinds, name: str = "kinds") -> tuple[type[Event], ...] | None:
    """The kinds as a tuple; raises `ConfigurationError` for anything else."""
    if kinds is None:
        return None
    given: tuple[object, ...]
    try:
        given = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    except TypeError:
        given = (kinds,)
    wrong = [kind for kind in given if not (isinstance(kind, type) and issubclass(kind, Event))]
    if wrong or not given:
        what = ", ".join(map(repr, wrong)) or "nothing"
        raise ConfigurationError(f"{name} must be classes of task_pipeline.events, not {what}")
    return tuple(kind for kind in given if isinstance(kind, type) and issubclass(kind, Event))


class Reached:
    """A mark between events: `call` is called when a courier comes by."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


Item = Told | Reached


class Mailbox:
    """What waits for one reader.

    `put` is called under a run's lock, also by signal handlers: it waits for nobody, and
    wakes only a reader that sleeps. One that does has left its waker in `sleeping`; who
    takes that out has to call it. Taking from and adding to a list or deque cannot be
    interrupted, so there is no lock to be held at a fork or by who was interrupted.
    """

    __slots__ = ("_kinds", "is_open", "items", "sleeping")

    def __init__(self, kinds: tuple[type[Event], ...] | None) -> None:
        self._kinds = kinds
        self.is_open = True
        self.items: deque[Item] = deque()
        self.sleeping: list[Callable[[], object]] = []

    def put(self, told: Told) -> None:
        """One more event, if it is of a kind that is wanted."""
        if self.is_open and (self._kinds is None or issubclass(told.kind, self._kinds)):
            self.items.append(told)
            if self.sleeping:
                self.wake()

    def mark(self, call: Callable[[], object]) -> None:
        """Have something called by the reader when it comes by."""
        self.items.append(Reached(call))
        self.wake()

    def wake(self) -> None:
        """Wake a reader that sleeps."""
        try:
            waker = self.sleeping.pop()
        except IndexError:  # somebody else was quicker
            return
        waker()

    def rise(self, waker: Callable[[], object]) -> bool:
        """Take one's waker out again; False if somebody has, who calls it."""
        try:
            self.sleeping.remove(waker)
        except ValueError:
            return False
        return True

    def count(self) -> int:
        """How many events wait."""
        return sum(isinstance(item, Told) for item in snapshot(self.items))


def snapshot(items: deque[T]) -> list[T]:
    """What stands in it at one moment; others may add to it meanwhile."""
    while True:
        try:
            return list(items)
        except RuntimeError:  # somebody has, while it was read: a matter of microseconds
            continue
