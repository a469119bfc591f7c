"""What a worker has of the calls it performs: those under way, what it keeps, what it tells."""

from __future__ import annotations

import importlib
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

from ..portable import loads
from .jobs import OVER, Job, JobAtHome, home
from .parcels import Left, Note, Order, Parcel, boxed

TICK: Final = 0.05
"""Seconds between two looks at what there is to be told."""

_REFUSED: Final = 10_000  # calls that are remembered to have been stopped before they began
_UNTAKEN: Final = 10.0  # seconds after which a value left here may have been forgotten


class Cache:
    """What was unpacked last, by name. Safe from any thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Hashable, parcel: Parcel) -> Any:
        """What is in a parcel, which is opened if it has not been lately."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        value = loads(parcel.packed)  # without the lock: it may import a whole library
        with self._lock:
            self._kept[name] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value


class Workshop:
    """All calls that one worker performs, for whatever runs."""

    _all: weakref.WeakKeyDictionary[Any, Workshop] = weakref.WeakKeyDictionary()
    _all_lock = threading.Lock()

    def __init__(self, worker: Any) -> None:
        self._worker = weakref.ref(worker)
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._left: dict[str, tuple[Any, Any, float]] = {}
        self._is_ticking = False
        self.codes = Cache(200)
        self.images = Cache(10)

    @classmethod
    def of(cls, worker: Any) -> Workshop:
        """That of a worker. There may be several workers in a process."""
        with cls._all_lock:
            found = cls._all.get(worker)
            if found is None:
                found = cls._all[worker] = cls(worker)
            return found

    @property
    def worker(self) -> Any:
        """The worker, which is there for as long as anything runs on it."""
        return self._worker()

    def enter(self, order: Order) -> Job | None:
        """A call begins; None for one that has been stopped before."""
        kind = JobAtHome if order.home == home() else Job
        job = kind(order, self._exit)
        with self._lock:
            if order.token in self._refused:
                return None
            self._jobs[order.token] = job
        if order.is_prompt:
            self.worker.loop.add_callback(self._send)
        self._tick_on()
        return job

    def _exit(self, job: Job) -> list[Note]:
        with self._lock:
            if self._jobs.pop(job.order.token, None) is None:
                return []
            notes, job.notes = job.notes, []
        if not job.is_stopped:
            return notes
        # Whatever becomes of its reply, somebody waits to hear that its thread is free.
        self._publish(job.order.topic, [(job.order.token, *note) for note in (*notes, (OVER, b""))])
        return []

    def stop(self, tokens: list[str]) -> list[str]:
        """Stop calls: those that are here are told, others must not begin here any more.

        Returns the first.
        """
        with self._lock:
            running = [token for token in tokens if token in self._jobs]
            for token in running:
                self._jobs[token].is_stopped = True
            self._refused.update(dict.fromkeys(tokens))
            while len(self._refused) > _REFUSED:
                self._refused.popitem(last=False)
        return running

    # Values that stay

    def leave(self, value: Any, kind: str, nbytes: int) -> Left:
        """Keep a value until it is taken, or the call's own result is not wanted any more."""
        token = uuid.uuid4().hex
        key = self.worker.get_current_task()
        with self._lock:
            self._left[token] = (boxed(value, nbytes), key, time.monotonic())
        return Left(token, self.worker.address, kind, nbytes)

    def taken(self, token: str) -> Any:
        """A value that was left here. Raises `LookupError` if it is not here any more."""
        with self._lock:
            if token not in self._left:
                raise LookupError(f"no value {token} was left on {self.worker.address}")
            return self._left.pop(token)[0]

    def _drop_forgotten(self) -> None:
        """Drop values of calls whose results the cluster has released: nobody will take them."""
        now = time.monotonic()
        with self._lock:
            old = [(t, key) for t, (_, key, since) in self._left.items() if now - since > _UNTAKEN]
        forgotten = [token for token, key in old if key not in self.worker.data]
        with self._lock:
            for token in forgotten:
                self._left.pop(token, None)

    # Notes

    def _tick_on(self) -> None:
        with self._lock:
            if self._is_ticking:
                return
            self._is_ticking = True
        self.worker.loop.add_callback(self._wait_for_tick)

    def _wait_for_tick(self) -> None:
        worker = self._worker()
        if worker is not None:
            worker.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        worker = self._worker()
        if worker is None:
            return
        self._send()
        self._drop_forgotten()
        with self._lock:
            self._is_ticking = bool(self._jobs or self._left)
        if self._is_ticking:
            self._wait_for_tick()

    def _send(self) -> None:
        """Send what calls under way have to tell. On the worker's loop."""
        by_topic: dict[str, list[tuple[str, str, bytes]]] = {}
        with self._lock:
            for token, job in self._jobs.items():
                # One at a time: a step's thread may be adding to them.
                for _ in range(len(job.notes)):
                    note = job.notes.pop(0)
                    by_topic.setdefault(job.order.topic, []).append((token, *note))
            # Handed to the worker's stream under the lock: a call that ends meanwhile, and its
            # reply with it, comes after.
            for topic, notes in by_topic.items():
                self._publish(topic, notes)

    def _publish(self, topic: str, notes: list[tuple[str, str, bytes]]) -> None:
        self.worker.log_event(topic, {"notes": notes})


def workshop_here() -> Workshop:
    """That of the worker whose task this thread runs."""
    return Workshop.of(importlib.import_module("distributed").get_worker())
