"""What gives the events of a run their number and time, and hands them on.

It is called under the lock of a run, where time is dear: an event is put down as a
few facts, and made when somebody first looks at it, in that one's thread.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..events import Event
from ..plan import GroupNode, Kind, Node, StepNode
from .clock import SYSTEM_CLOCK, Clock


def new_run_id() -> str:
    """An id for a run."""
    return uuid.uuid4().hex


class Place(NamedTuple):
    """What an event says of where it happened; see `Event`."""

    path: str
    name: str
    step_id: str | None
    group_id: str | None
    is_parallel: bool
    parallel_index: int | None


class Told:
    """A fact as it was told; `event` makes an event of it once, for all who look.

    Two threads may make it at the same moment; then each has one, and they are equal.
    """

    __slots__ = ("_event", "_facts", "kind")

    def __init__(
        self, kind: type[Event], facts: tuple[Any, ...] | None, event: Event | None = None
    ):
        self.kind = kind
        self._facts = facts
        self._event = event

    @property
    def event(self) -> Event:
        """The event."""
        facts = self._facts
        if facts is not None:
            feed, seq, node, now, attempt, duration, error, more = facts
            at = feed.time_of(now)
            values = (feed.run_id, seq, at, now, *feed.place(node), attempt, duration, error)
            self._event = _make(self.kind, values, more)
            # The feed and its plan are let go: a history may keep this for long.
            self._facts = None
        assert self._event is not None
        return self._event


_NAMES = tuple(field.name for field in fields(Event))
_SETTERS = tuple(getattr(Event, name).__set__ for name in _NAMES)


def _make(kind: type[Event], values: tuple[Any, ...], more: Mapping[str, Any]) -> Event:
    if kind.__init__ is not Event.__init__:  # it has fields of its own
        return kind(**dict(zip(_NAMES, values, strict=True)), **more)
    # As its constructor does it, in half the time.
    event = object.__new__(kind)
    for put, value in zip(_SETTERS, values, strict=True):
        put(event, value)
    return event


Sink = Callable[[Told], object]
"""Is handed what is told, in order, under a run's lock: quick, and without raising."""


class Feed:
    """The events of one run, or of several that share it.

    - `active`: whether anybody is told; found out when it is made
    - `audience`: says who is waited for when the run is over, for `flush_timeout` seconds
      at most
    """

    __slots__ = (
        *(
            "__weakref__",
            "_latest",
            "_lock",
            "_made",
            "_run_id",
            "_seq",
        ),
        *("_sinks", "_start", "_wall", "active", "audience", "flush_timeout"),
    )

    def __init__(
        self,
        run_id: str | Callable[[], str] = new_run_id,
        sinks: Sequence[Sink] = (),
        clock: Clock = SYSTEM_CLOCK,
        audience: Callable[[], Sequence[Any]] = tuple,
        flush_timeout: float = 1.0,
    ) -> None:
        self._run_id = run_id
        self._made: dict[str, str] = {}
        self._sinks = tuple(sinks)
        self.active = bool(self._sinks)
        self.audience = audience
        self.flush_timeout = flush_timeout
        if self.active:
            self._seq = 0
            self._wall = time.time()
            self._start = self._latest = clock.monotonic()
            self.renew_lock()
            _active.add(self)

    @property
    def run_id(self) -> str:
        """The run's id; made when it is first asked for, as it is dear and mostly is not."""
        run_id = self._run_id
        if isinstance(run_id, str):
            return run_id
        # Two threads may ask at the same moment: the first answer is everybody's.
        made = self._made.get("") or self._made.setdefault("", run_id())
        self._run_id = made
        return made

    def go_on_at(self, seq: int) -> None:
        """Give the next event this number: the ones before were told in an earlier part."""
        self._seq = seq

    def tell_again(self, event: Event) -> None:
        """Hand on an event that was told before, as it was."""
        with self._lock:
            for sink in self._sinks:
                sink(Told(type(event), None, event))

    def adopt(self, event: Event, now: float) -> None:
        """Hand on an event that was told in another process, as one of this run's, of this time."""
        with self._lock:
            seq = self._seq
            self._seq = seq + 1
            now = self._latest = max(now, self._latest)
            event = replace(event, run_id=self.run_id, seq=seq, at=self.time_of(now), monotonic=now)
            for sink in self._sinks:
                sink(Told(type(event), None, event))

    def renew_lock(self) -> None:
        """Forget who holds the lock: after a fork, that may be a thread of the parent."""
        self._lock = threading.RLock()  # reentrant for signal handlers

    def nest(self, root: GroupNode, under: StepNode) -> None:
        """Have what is below `root`, a plan of its own, count as part of `under`."""
        if self.active:
            root.above = under

    def tell(
        self,
        kind: type[Event],
        node: Node,
        now: float,
        attempt: int = 0,
        duration: float | None = None,
        error: BaseException | None = None,
        more: Mapping[str, Any] = {},  # nobody changes it
    ) -> None:
        """Tell of a fact, with `more` of what its kind carries; for an active feed only."""
        with self._lock:
            seq = self._seq
            self._seq = seq + 1
            # Runs that share the feed have a lock each, and may read the clock in another order.
            if now < self._latest:
                now = self._latest
            else:
                self._latest = now
            told = Told(kind, (self, seq, node, now, attempt, duration, error, more))
            for sink in self._sinks:
                sink(told)

    def time_of(self, now: float) -> datetime:
        """A time of the run's clock in UTC."""
        return datetime.fromtimestamp(self._wall + (now - self._start), UTC)

    def place(self, node: Node) -> Place:
        """Where a node stands; kept with it, as there are two events and more of each."""
        place: Place | None = node.place
        if place is None:
            place = node.place = self._find(node)
        return place

    def _find(self, node: Node) -> Place:
        above = self._parent(node)
        if above is None:  # the run itself, or a group that is a run of its own
            path = node.path
            return Place(path, node.name, None, path or None, bool(path), None)
        if isinstance(above, GroupNode):
            if above.inside is None:
                above.inside = self._inside(above)
            before, group_id, index = above.inside
        else:
            before, group_id, index = self._inside(above)
        # As `node.path` has it; what stands before the index is found once for a whole group.
        path = f"{before}{node.index}" if node.parent is above else node.path
        if above.kind is Kind.PARALLEL:
            index = node.index
        if isinstance(node, StepNode):
            return Place(path, node.name, node.step_id, group_id, group_id is not None, index)
        is_parallel = group_id is not None or node.kind is Kind.PARALLEL
        return Place(path, node.name, None, path, is_parallel, index)

    def _inside(self, node: Node) -> tuple[str, str | None, int | None]:
        """What holds for all in a group.

        The start of their paths, the nearest parallel group, and the branch of it that they
        are in, unless they are its branches.
        """
        path = node.path
        before = f"{path}." if path else ""
        if node.kind is Kind.PARALLEL:
            return before, path, None
        child, above = node, self._parent(node)
        while above is not None and above.kind is not Kind.PARALLEL:
            child, above = above, self._parent(above)
        return (before, None, None) if above is None else (before, above.path, child.index)

    def _parent(self, node: Node) -> Node | None:
        if node.parent is None and isinstance(node, GroupNode):
            return node.above  # of a group that a step has opened: that step
        return node.parent


_active: weakref.WeakSet[Feed] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for feed in list(_active):
        feed.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
