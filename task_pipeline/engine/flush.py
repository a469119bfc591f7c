"""Waiting until subscribers have been called for what has been published so far."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .courier import Courier, at_work

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("task_pipeline.events")


def behind(couriers: Sequence[Courier]) -> list[Courier]:
    """Those that have not been called for all, without the one whose subscriber asks."""
    return [courier for courier in couriers if courier.is_behind and courier is not at_work.get()]


def wait_for(couriers: Sequence[Courier], timeout: float | None) -> list[Courier]:
    """Wait for them, `timeout` seconds at most in all; returns who is still behind."""
    until = None if timeout is None else time.monotonic() + timeout
    # On a loop that this very wait would hold up, nobody can be called before it is over.
    couriers = [courier for courier in couriers if not courier.needs_this_thread]
    gates: list[threading.Lock] = []
    for courier in couriers:
        gate = threading.Lock()
        gate.acquire()
        courier.mailbox.mark(gate.release)
        gates.append(gate)
    return [
        courier
        for courier, gate in zip(couriers, gates, strict=True)
        if not gate.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic()))
    ]


async def wait_on_loop(couriers: Sequence[Courier], timeout: float | None) -> list[Courier]:
    """As `wait_for`, with the loop going on meanwhile."""
    import asyncio

    if not couriers:
        return []
    loop = asyncio.get_running_loop()
    gates: list[asyncio.Future[None]] = []
    for courier in couriers:
        gate: asyncio.Future[None] = loop.create_future()
        courier.mailbox.mark(_Opener(loop, gate))
        gates.append(gate)
    await asyncio.wait(gates, timeout=timeout)
    return [courier for courier, gate in zip(couriers, gates, strict=True) if not gate.done()]


class _Opener:
    """Ends the waiting on a loop, from a courier's thread; also when nobody waits any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gate: asyncio.Future[None]) -> None:
        self._loop = loop
        self._gate = gate

    def __call__(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._open)
        except RuntimeError:  # the loop was closed
            return

    def _open(self) -> None:
        if not self._gate.done():
            self._gate.set_result(None)


def warn(late: Sequence[Courier], timeout: float) -> None:
    """Say who is left to catch up."""
    for courier in late:
        logger.warning(
            "the observer %s is %d events behind, %g s after the run was over; it is called for "
            "them in the background",
            courier.name,
            courier.count(),
            timeout,
        )
