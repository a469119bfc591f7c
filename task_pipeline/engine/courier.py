"""Who calls one subscriber: a thread that comes when there is an event, and goes when idle."""

from __future__ import annotations

import contextvars
import inspect
import logging
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..events import Event
from ..steps import is_async
from . import live
from .feed import Told
from .mailbox import Mailbox

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("task_pipeline.events")

# Seconds that a thread without events stays for the next one.
IDLE = 0.5
# Seconds between two looks whether the loop that a callback is awaited on still runs, and
# how long it may stand still before its callback is given up.
LOOK = 0.05
PATIENCE = 1.0

at_work: ContextVar[Courier | None] = ContextVar("task_pipeline_courier", default=None)
"""Whose subscriber the current code is called by: waiting for that one would have no end."""


class Courier:
    """Calls one subscriber with its events, one after another, in a thread of its own.

    Awaitables that it returns are awaited on the loop that ran where it subscribed, as
    long as that one runs, and else on a loop of the thread's own.
    """

    def __init__(self, callback: Callable[[Event], object], mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.name = _name_of(callback)
        self._callback = callback
        self._home = _running_loop()
        self._is_async = is_async(callback)
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._closing: weakref.finalize[..., Courier] | None = None
        self._is_calling = False
        mailbox.sleeping.append(self._start)
        _couriers.add(self)

    def renew(self) -> None:
        """After a fork: what waits is the parent's to deliver, its thread is not here."""
        self.mailbox.items.clear()
        self.mailbox.sleeping[:] = [self._start]
        if self._own_loop is not None and self._closing is not None:
            # To close it would unregister what the parent's loop is woken by.
            self._closing.detach()
            _left_alone.append(self._own_loop)
            self._own_loop = None

    @property
    def needs_this_thread(self) -> bool:
        """Whether it calls a coroutine function on the loop that runs in the current thread."""
        return self._home is not None and self._is_async and self._home is _running_loop()

    @property
    def is_behind(self) -> bool:
        """Whether it has not been called for all there is."""
        return bool(self.mailbox.items) or not self.mailbox.sleeping

    def count(self) -> int:
        """How many events it has not been called for, with the one it is called for now."""
        return self.mailbox.count() + self._is_calling

    def _start(self) -> None:
        # Nothing of the run that happens to publish is to be seen by the callback.
        run, own = contextvars.Context().run, threading.Lock()
        thread = threading.Thread(
            target=run, args=(self._serve, own), name="task_pipeline-events", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the next event tries again
            self.mailbox.sleeping.append(self._start)

    def _serve(self, gate: threading.Lock) -> None:
        at_work.set(self)
        gate.acquire()
        process = live.generation
        while True:
            self._call_for_all(process)
            if live.generation != process or not self._sleep(gate):
                break

    def _call_for_all(self, process: int) -> None:
        items = self.mailbox.items
        while items and live.generation == process:  # a callback may have forked
            item = items.popleft()
            if isinstance(item, Told):
                self._is_calling = True
                self._call(item.event)
                self._is_calling = False
            else:
                item.call()
            del item  # an event that was delivered is not to be held while there is no other

    def _sleep(self, gate: threading.Lock) -> bool:
        """Wait for an event; False if none comes and the thread may go."""
        box, waker = self.mailbox, gate.release
        box.sleeping.append(waker)
        if box.items and box.rise(waker):  # one came just before anybody could know
            return True
        if gate.acquire(timeout=IDLE):
            return True
        if not box.rise(waker):  # called at the very last moment
            gate.acquire()
            return True
        if not box.is_open and not box.items:
            self._close_own_loop()
        box.sleeping.append(self._start)
        return bool(box.items) and box.rise(self._start)

    def _call(self, event: Event) -> None:
        try:
            answer = self._callback(event)
            if answer is not None and inspect.isawaitable(answer):
                self._await(answer)
        except BaseException as error:  # noqa: BLE001  # an observer must not be able to change a run
            self._report(error)

    def _report(self, error: BaseException) -> None:
        try:
            logger.error(
                "an observer raised: %s; it is called for the next event all the same",
                self.name,
                exc_info=error,
            )
        except BaseException:  # noqa: BLE001  # as may a filter on the log
            return

    def _await(self, awaitable: Awaitable[object]) -> None:
        home = self._home
        if home is not None and home.is_running():
            visit = _Visit(home, awaitable)
            if visit.is_made():
                return
        if self._own_loop is None:
            import asyncio

            # It keeps the context it is made in, which must not lead back to here.
            self._own_loop = contextvars.Context().run(asyncio.new_event_loop)
            self._closing = weakref.finalize(self, self._own_loop.close)
            self._closing.atexit = False  # the thread may be in it
        error = self._own_loop.run_until_complete(_awaited(awaitable))
        if error is not None:
            raise error

    def _close_own_loop(self) -> None:
        if self._own_loop is not None:
            self._own_loop.close()
            self._own_loop = None


class _Visit:
    """One awaitable on a loop that runs in another thread, and may stop at any time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[object]) -> None:
        self._loop = loop
        self._awaitable = awaitable
        self._turn = [True]  # who takes it out, the loop or the one who waits for it, goes on
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._task: asyncio.Task[None] | None = None

    def is_made(self) -> bool:
        """Wait for the end; False if the loop has stopped before it began.

        Raises what the awaitable raises, and `RuntimeError` if the loop stops in the middle.
        """
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the loop was closed at this very moment
            return False
        still = 0.0
        while not self._ended.wait(LOOK):
            still = 0.0 if self._loop.is_running() else still + LOOK
            if still and self._takes_turn():
                self._forget_task()
                return False
            if still > PATIENCE or self._loop.is_closed():
                raise RuntimeError("its event loop has stopped in the middle of an awaited call")
        if self._takes_turn():  # cancelled before its first line
            return False
        if self._error is not None:
            raise self._error
        return True

    def _begin(self) -> None:
        if self._turn:
            self._coroutine = self._drive()
            self._task = self._loop.create_task(self._coroutine)
            self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # there is none but that of a coroutine that was closed below
        self._ended.set()

    def _forget_task(self) -> None:
        """Have nobody complain about a task that its loop has left before its first line."""
        if self._task is None or self._coroutine is None:
            return
        self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # as gather() does
        try:
            self._coroutine.close()
        except ValueError:  # the loop has come to it after all, and finds that it has no turn
            return

    async def _drive(self) -> None:
        if self._takes_turn():
            self._error = await _awaited(self._awaitable)

    def _takes_turn(self) -> bool:
        try:
            return self._turn.pop()
        except IndexError:
            return False


async def _awaited(awaitable: Awaitable[object]) -> BaseException | None:
    """Returns what it raises: a loop would pass on an exit, to whoever runs it."""
    try:
        await awaitable
    except BaseException as error:  # noqa: BLE001  # it is reported by the courier
        return error
    return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    if "asyncio" not in sys.modules:  # where nobody has imported it there is no loop
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _name_of(callback: Any) -> str:
    try:
        return getattr(callback, "__qualname__", None) or repr(callback)
    except Exception:  # noqa: BLE001  # a repr of the user's may raise anything
        return type(callback).__qualname__


_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()
_left_alone: list[asyncio.AbstractEventLoop] = []


def _after_fork_in_child() -> None:
    for courier in list(_couriers):
        courier.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
