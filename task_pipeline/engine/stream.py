"""Events for an `async for`."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from ..events import Event
from .feed import Told
from .mailbox import Mailbox

if TYPE_CHECKING:
    import asyncio


class EventStream(AsyncIterator[Event]):
    """What `EventBus.stream` returns: the events published since, one after another.

    It ends when the bus is closed, when it is left, and after the first event of the kind
    `until`. Runs do not wait for who reads it.

    ```python
    import asyncio
    from task_pipeline import EventBus, Pipeline
    from task_pipeline.events import RunEnded

    async def main():
        bus = EventBus()
        events = bus.stream(until=RunEnded)
        Pipeline([lambda context: 42], event_bus=bus).start()
        return [type(event).__name__ async for event in events]

    assert asyncio.run(main())[-1] == "RunSucceeded"
    ```
    """

    def __init__(
        self,
        mailbox: Mailbox,
        until: tuple[type[Event], ...] | None,
        forget: Callable[[Mailbox], None],
    ) -> None:
        self._mailbox = mailbox
        self._until = until or ()
        # A loop that is left by `break` lets the stream go, and says nothing.
        self._leave = weakref.finalize(self, forget, mailbox)
        self._leave.atexit = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        box = self._mailbox
        while True:
            try:
                item = box.items.popleft()
            except IndexError:
                if not box.is_open:
                    box.wake()  # whoever else reads here
                    raise StopAsyncIteration from None
                await _sleep(box)
                continue
            if isinstance(item, Told):
                if issubclass(item.kind, self._until):
                    await self.aclose()
                return item.event

    async def aclose(self) -> None:
        """Leave: what was not read yet is dropped."""
        self._leave()
        self._mailbox.items.clear()
        self._mailbox.wake()


async def _sleep(box: Mailbox) -> None:
    """Wait for an event, or for the end."""
    import asyncio

    loop = asyncio.get_running_loop()
    called: asyncio.Future[None] = loop.create_future()
    waker = _Waker(loop, called)
    box.sleeping.append(waker)
    if (box.items or not box.is_open) and box.rise(waker):
        return
    try:
        await called
    except asyncio.CancelledError:
        if not box.rise(waker):
            box.wake()  # it was called at the same moment: that is for the next reader
        raise


class _Waker:
    """Wakes a reader on its loop, from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, called: asyncio.Future[None]) -> None:
        self._loop = loop
        self._called = called

    def __call__(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop was closed, and its readers are gone
            return

    def _wake(self) -> None:
        if not self._called.done():
            self._called.set_result(None)
