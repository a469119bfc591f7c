"""What journals of one URL share in a process: one writer, its thread, its connection."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ..errors import JournalError, TaskPipelineError
from .address import Address
from .attempts import patiently
from .database import Database, Link
from .keeper import Keeper
from .lane import Lane
from .leases import LIVING
from .troubles import Trouble
from .writer import Writer

T = TypeVar("T")
Key = tuple[str, str, float, float]

# Exit does not wait longer than this, in seconds, for a writer that is stuck.
EXIT_TIMEOUT = 2.0


class Store:
    """A database with its writer; of those who have it, the last one closes it."""

    def __init__(self, address: Address, durability: str, lease: float, patience: float) -> None:
        self.database = Database(address, durability, lease, patience)
        self.writer = Writer(self.database, lease, patience)
        self.writer.owner = self
        self.keeper = Keeper(self.writer)
        self.durability = durability
        self.patience = patience
        self.users = 0
        # One that nobody closes, and that has read only, has connections in its pool.
        weakref.finalize(self, self.database.close)

    def write(self, work: Callable[[Link], T], lane: Lane | None = None) -> T:
        """Do something in a transaction of its own. Raises `JournalError`."""
        try:
            return self.writer.transact(work, lane)
        finally:
            self.keeper.start()  # it closes the connection, once nobody has a lane

    def read(self, work: Callable[[Link], T]) -> T:
        """Do something that only reads, on one state of the database. Raises `JournalError`."""
        try:
            return patiently(self.patience, partial(self._read_once, work))
        except Trouble as trouble:
            raise JournalError(f"the journal cannot be read: {trouble.text}") from trouble.__cause__

    def _read_once(self, work: Callable[[Link], T]) -> T:
        link = None
        try:
            link = self.database.open(writes=False)
            link.begin()
            return work(link)
        except TaskPipelineError:
            raise
        except Exception as error:
            raise self.database.trouble(error) from error
        finally:
            if link is not None:
                link.close()

    def close(self) -> None:
        """Write what is queued, fail the lanes that are left, close everything."""
        self.keeper.stop()
        self.writer.close(JournalError("the journal was closed while the run was under way"))


_lock = threading.Lock()
_stores: weakref.WeakValueDictionary[Key, Store] = weakref.WeakValueDictionary()


def share(address: Address, durability: str, lease: float, patience: float) -> Store:
    """The store of these settings, made by the first who asks."""
    key = (address.url.render_as_string(hide_password=False), durability, lease, patience)
    with _lock:
        store = _stores.get(key)
        if store is None:
            store = _stores[key] = Store(address, durability, lease, patience)
        store.users += 1
    return store


def leave(store: Store) -> None:
    """Not to be used by this one any more; the last one closes it."""
    with _lock:
        store.users -= 1
        if store.users > 0:
            return
        for key in [key for key, value in _stores.items() if value is store]:
            del _stores[key]
    store.close()


def _at_exit() -> None:
    """Write what nobody waited for. A thread that is stuck is not waited for."""
    for store in list(_stores.values()):
        store.writer.patience = 0.0
        store.writer.close(timeout=EXIT_TIMEOUT)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    error = "the run belongs to the process that this one was forked from"
    for lane in LIVING.forget():
        lane.error = JournalError(f"run {lane.run_id!r} cannot be recorded: {error}", lane.run_id)
        lane.callbacks = []
    for store in list(_stores.values()):
        store.database.forget(store.writer.links())
        store.writer.reset()
        store.keeper.reset()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
