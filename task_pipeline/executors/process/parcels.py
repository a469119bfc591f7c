"""Pickled values on their way: small ones inside of messages, large ones in files."""

from __future__ import annotations

import itertools
import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..portable import Packed
from . import scratch
from .scratch import Writer

LARGE = 32 * 1024
"""The size in bytes from which on a value goes through a file."""

Item = str | tuple[bytes, list[bytearray]]
"""What stands in a message: the path of a file, or the text and its buffers."""


def to_item(packed: Packed, writer: Writer) -> Item:
    """Make a packed value ready to go."""
    buffers = [_raw(buffer) for buffer in packed.buffers]
    if len(packed.main) + sum(buffer.nbytes for buffer in buffers) < LARGE:
        # Not bytes: what is made of them over there can be written to.
        return bytes(packed.main), [bytearray(buffer) for buffer in buffers]
    return writer.write([packed.main, *buffers])


def from_item(item: Item) -> Packed:
    """A packed value whose file stays.

    Its arrays can be written to, as those of a thread's step: one that cannot is one that
    somebody has closed, and is the same to all.
    """
    if isinstance(item, str):
        main, *buffers = scratch.read(item)
        return Packed(main, buffers)
    return Packed(*item)


def from_last_item(item: Item) -> Packed:
    """The same, for its only reader: it removes the file."""
    if not isinstance(item, str):
        return Packed(*item)
    try:
        main, *buffers = scratch.read(item)
    finally:
        scratch.remove(item)
    return Packed(main, buffers)


def _raw(buffer: Any) -> memoryview:
    """Its bytes as they lie in memory, whatever its shape and order."""
    if isinstance(buffer, pickle.PickleBuffer):
        return buffer.raw()
    return memoryview(buffer).cast("B")


class Parcel:
    """A packed value that goes to several workers. Its file is there as long as it is."""

    __slots__ = ("__weakref__", "item", "number")

    def __init__(self, number: int, item: Item) -> None:
        self.number = number
        self.item = item


class Parcels:
    """What one executor has made ready, kept by whoever needs it.

    `dropped` is called, in any thread and at any moment, after a file was removed.
    """

    def __init__(self, writer: Writer, is_ours: Callable[[], bool], dropped: Callable[[], None]):
        self._lock = threading.Lock()
        self._writer = writer
        self._is_ours = is_ours
        self._dropped = dropped
        self._numbers = itertools.count(1)

    def of(self, kept: dict[Any, Any], key: Any, pack: Callable[[], Packed]) -> Parcel:
        """The one that is kept under a key, or else a new one."""
        key = (self, key)
        parcel = kept.get(key)
        if parcel is None:
            packed = pack()
            with self._lock:  # two branches may come here at once, with what is large
                parcel = kept.get(key)
                if parcel is None:
                    parcel = kept[key] = self.single(packed)
        return parcel

    def single(self, packed: Packed) -> Parcel:
        """One that nobody else needs."""
        item = to_item(packed, self._writer)
        parcel = Parcel(next(self._numbers), item)
        if isinstance(item, str):
            end = weakref.finalize(parcel, self._drop, item)
            end.atexit = False  # all of them are removed at once then
        return parcel

    def _drop(self, path: str) -> None:
        if self._is_ours():  # else it is a copy of one, in a fork of the process
            scratch.remove(path)
            self._dropped()


def message(*parts: Any) -> bytes:
    """A message: its kind, and what belongs to it."""
    return pickle.dumps(parts, 5)


def opened(text: bytes | memoryview) -> Sequence[Any]:
    """What stands in a message."""
    return pickle.loads(text)  # type: ignore[no-any-return]  # a tuple, as `message` makes it


class Setup(NamedTuple):
    """What a worker is told when it starts.

    - `slot`: its place among the flags
    - `places`, `stem`: where it writes files, and how their names begin
    """

    slot: int
    flags: str
    places: tuple[str, ...]
    stem: str
    environment: dict[str, str]
