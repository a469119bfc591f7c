"""Threads as their pool sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol


class Standing(IntEnum):
    """What a thread does with its permit."""

    IDLE = 0
    RUNNING = 1  # has a permit
    BLOCKED = 2  # inside user code, waiting without a permit
    LOST = 3  # abandoned: whatever it does, it never gets a permit again


class Pool(Protocol):
    """What a thread asks of its pool."""

    def block(self, slot: Slot) -> None:
        """The current thread is about to wait: let somebody stand in for it."""

    def unblock(self, slot: Slot, at_once: bool = False) -> None:
        """The current thread waits no more."""

    def wait_blocked(self, slot: Slot) -> None:
        """Block the current thread until it is woken."""

    def wake(self, slot: Slot, at_once: bool = False) -> None:
        """Wake a blocked thread."""

    def abandon(self, slot: Slot) -> None:
        """The thread's step is left."""

    def keep_only(self, slot: Slot) -> None:
        """After a fork: this thread is all that is left."""


class Slot:
    """A thread as its pool sees it."""

    __slots__ = (
        "aside",
        "called",
        "departs",
        "gate",
        "is_worker",
        "item",
        "pool",
        "standing",
        "waiting",
        "woken",
    )

    def __init__(self, pool: Pool, is_worker: bool) -> None:
        self.pool = pool
        self.is_worker = is_worker
        self.standing = Standing.RUNNING if is_worker else Standing.IDLE
        self.called = self.waiting = self.woken = self.departs = False
        self.aside = 0  # how many coroutines on a loop in this thread wait for a run
        self.item: Item | None = None
        self.gate = threading.Lock()  # held while nothing is to be done
        self.gate.acquire()


Item = Callable[[Slot], None]
"""Work for a worker; it is given the worker's slot and must not raise."""


class _Local(threading.local):
    slot: Slot | None = None


_local = _Local()


def current_slot() -> Slot | None:
    """The slot of the current thread, if it runs a pool's work."""
    return _local.slot


def set_current_slot(slot: Slot | None) -> Slot | None:
    """Set the current thread's slot; returns the one before."""
    before, _local.slot = _local.slot, slot
    return before


def step_aside() -> Slot | None:
    """A coroutine waits for a run, on a loop that a step has started in this worker's thread.

    The loop goes on without a permit meanwhile, as what it runs takes no worker: the run may
    need one, and this thread's may be the only one there is.
    """
    slot = _local.slot
    if slot is not None:
        slot.aside += 1
        if slot.aside == 1:
            slot.pool.block(slot)
    return slot


def step_back(slot: Slot | None) -> None:
    """It waits no more; what `step_aside()` gave."""
    if slot is not None:
        slot.aside -= 1
        if slot.aside == 0:
            slot.pool.unblock(slot)
