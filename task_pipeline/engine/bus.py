"""`EventBus`: who is told of what happens in runs, beside the runs and at their own pace.

Who subscribes is a reader: its mailbox, and the courier who calls it, or None for a
stream. Readers are kept in a dict, of which each use is one step that nothing can
interrupt, so that there is no lock for a run to wait for.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

from ..errors import ConfigurationError
from ..events import Event
from .clock import Clock
from .courier import Courier
from .feed import Feed, Sink, Told, new_run_id
from .flush import behind, wait_for, wait_on_loop
from .mailbox import Kinds, Mailbox, checked_kinds, snapshot
from .stream import EventStream

FLUSH_TIMEOUT = 1.0

Readers = dict[Mailbox, Courier | None]


def _nothing() -> None:
    """What unsubscribing a second time does."""


class Subscription:
    """What `subscribe` returns; a context manager that unsubscribes when left."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel

    def unsubscribe(self) -> None:
        """Be told of nothing that happens from now on; what has happened is still delivered."""
        cancel, self._cancel = self._cancel, _nothing
        cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unsubscribe()


class EventBus:
    """Tells of the runs of all pipelines that were given it.

    `history` is how many of the latest events it keeps; `flush_timeout` the seconds that
    `run()` waits, once the run is over, for subscribers that are behind.

    Each subscriber is called in a thread of its own, with one event at a time, those of a
    run in the order of `seq`. What it raises is logged; however long it takes, it holds up
    nobody but itself. Safe from any thread.

    Raises `ConfigurationError` for settings that are not numbers from 0.

    ```python
    from task_pipeline import EventBus, Pipeline
    from task_pipeline.events import StepSucceeded

    def load(context): ...

    names = []
    bus = EventBus()
    with bus.subscribe(lambda event: names.append(event.name), kinds=StepSucceeded):
        Pipeline([load, load], event_bus=bus).run()
    assert names == ["load", "load#2"]
    assert len(bus.history) == 6
    ```
    """

    def __init__(self, history: int = 1000, flush_timeout: float = 1.0) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 0:
            raise ConfigurationError(f"history is a whole number from 0, not {history!r}")
        if not (_is_number(flush_timeout) and flush_timeout >= 0):
            raise ConfigurationError(f"flush_timeout is seconds from 0, not {flush_timeout!r}")
        self._history: deque[Told] = deque(maxlen=history)
        self._flush_timeout = float(flush_timeout)
        self._readers: Readers = {}
        self._is_closed = False

    @property
    def history(self) -> tuple[Event, ...]:
        """The latest events, the oldest first."""
        return tuple(told.event for told in snapshot(self._history))

    @property
    def flush_timeout(self) -> float:
        """Seconds that a run's end waits for subscribers that are behind."""
        return self._flush_timeout

    @property
    def listens(self) -> bool:
        """Whether a run that starts now has to tell anything: a history, or a subscriber."""
        return not self._is_closed and bool(self._readers or self._history.maxlen)

    def subscribe(self, callback: Callable[[Event], object], kinds: Kinds = None) -> Subscription:
        """Have a function called with each event that is published from now on.

        `kinds` is one class of events or several, such as `StepEvent`; subclasses count.
        A coroutine function is awaited on the event loop that runs where this is called,
        or, when there is none any more, on one of the subscriber's own.
        """
        self._require_open()
        return _subscribe(self._readers, callback, kinds)

    def stream(self, kinds: Kinds = None, until: Kinds = None) -> EventStream:
        """The events that are published from now on, for an `async for`.

        It ends after the first one of a kind in `until`, or when the bus is closed.
        """
        self._require_open()
        mailbox = Mailbox(checked_kinds(kinds))
        last = checked_kinds(until, "until")
        self._readers[mailbox] = None
        return EventStream(mailbox, last, functools.partial(_forget, self._readers))

    def publish(self, event: Event) -> None:
        """Tell of an event that is not from a run, such as one that was recorded."""
        self.hand_on(Told(type(event), None, event))

    def hand_on(self, told: Told) -> None:
        """What a run's feed calls, under its lock."""
        if not self._is_closed:
            self._history.append(told)
            for mailbox in tuple(self._readers):
                mailbox.put(told)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everybody was called for all that has been published by now.

        Returns False if that takes longer than `timeout` seconds. A subscriber that calls
        this does not wait for itself. Streams are not waited for.
        """
        return not wait_for(behind(self.couriers()), timeout)

    async def aflush(self, timeout: float | None = None) -> bool:
        """As `flush`, without blocking the event loop."""
        return not await wait_on_loop(behind(self.couriers()), timeout)

    def couriers(self) -> list[Courier]:
        """Those who call the subscribers."""
        return _couriers(self._readers)

    def close(self) -> None:
        """Publish nothing more; what was published is delivered, then all streams end."""
        self._is_closed = True
        for mailbox in tuple(self._readers):
            courier = self._readers.get(mailbox)
            _forget(self._readers, mailbox)
            if courier is None:
                mailbox.wake()

    def _require_open(self) -> None:
        if self._is_closed:
            raise ConfigurationError("this EventBus was closed; nothing is published on it")

    def __copy__(self) -> EventBus:
        """Itself: it belongs to whoever has subscribed, not to the pipeline that is copied."""
        return self

    def __deepcopy__(self, memo: object) -> EventBus:
        """Itself."""
        return self

    def __reduce__(self) -> tuple[type[EventBus], tuple[int, float]]:
        """For pickling: a bus of the same settings, with nobody there."""
        return EventBus, (self._history.maxlen or 0, self._flush_timeout)


class Audience:
    """Who is told of a pipeline's runs: its buses, and who subscribed to the pipeline itself."""

    def __init__(self, *buses: EventBus | None) -> None:
        self._buses = [bus for bus in buses if bus is not None]
        self._readers: Readers = {}

    def subscribe(self, callback: Callable[[Event], object], kinds: Kinds) -> Subscription:
        """Have a function called with the events of runs that start from now on."""
        return _subscribe(self._readers, callback, kinds)

    def feed(
        self,
        clock: Clock,
        run_id: str | None = None,
        keeper: Sink | None = None,
        first_seq: int = 0,
    ) -> Feed:
        """What tells them of a run that starts now, and a `keeper`, if there is anybody to tell.

        A run that is taken up again has an id, and a number for its next event.
        """
        listening = [bus for bus in self._buses if bus.listens]
        if not (listening or self._readers):
            return Feed() if run_id is None else Feed(run_id)
        readers = dict(self._readers)
        sinks: list[Sink] = [mailbox.put for mailbox in readers]
        sinks += [bus.hand_on for bus in listening]
        timeout = max((bus.flush_timeout for bus in self._buses), default=FLUSH_TIMEOUT)
        waited = functools.partial(_all, readers, listening)
        if keeper is not None:
            sinks.append(keeper)
        feed = Feed(run_id or new_run_id, sinks, clock, waited, timeout)
        feed.go_on_at(first_seq)
        return feed

    def __getstate__(self) -> dict[str, object]:
        """For copying and pickling: without who subscribed."""
        return {"_buses": self._buses, "_readers": {}}


def _all(readers: Readers, buses: list[EventBus]) -> list[Courier]:
    own = [courier for courier in _couriers(readers) if courier.mailbox.is_open]
    return own + [courier for bus in buses for courier in bus.couriers()]


def _couriers(readers: Readers) -> list[Courier]:
    return [courier for courier in tuple(readers.values()) if courier is not None]


def _subscribe(readers: Readers, callback: Callable[[Event], object], kinds: Kinds) -> Subscription:
    if not callable(callback):
        raise ConfigurationError(f"a subscriber must be callable, not {callback!r}")
    mailbox = Mailbox(checked_kinds(kinds))
    readers[mailbox] = Courier(callback, mailbox)
    return Subscription(functools.partial(_forget, readers, mailbox))


def _forget(readers: Readers, mailbox: Mailbox) -> None:
    mailbox.is_open = False
    readers.pop(mailbox, None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
