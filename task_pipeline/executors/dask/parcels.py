"""What goes between a run and the workers of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..portable import Packed, loads


class Order(NamedTuple):
    """What a worker is told of a call, beside its code and data.

    - `token`: which call of the executor's it is; `label`: how messages call its step
    - `topic`: under which its notes go back; `home`: the process that they go to
    - `code`, `image`: names for the worker's caches
    - `references`: the names of the values that are given beside the image, in their order
    - `is_prompt`: it is to be told at once when it begins, as its deadline counts from then
    - `claim`: the name under which it is claimed before it begins, if it must not begin twice
    - `raises`: a failure is to be raised, so that Dask tries again
    - `keep_over`: what is larger, in bytes, stays where it was made
    """

    token: str
    label: str
    topic: str
    home: str
    code: bytes
    image: str
    references: tuple[str, ...]
    is_prompt: bool
    claim: str | None
    raises: bool
    keep_over: int | None


Note = tuple[str, bytes]
"""Something that a call tells while it runs: what kind of thing, and that, pickled."""


class Parcel:
    """Something packed, whose buffers Dask sends without copying them.

    Of a call that has come back, `notes` are those that have not been sent before.
    `verdict` says whether it was performed: "done", "refused" as it had been stopped before,
    or "claimed" by an earlier execution, whose end nobody knows.
    """

    __slots__ = ("notes", "packed", "verdict")

    def __init__(
        self, packed: Packed, notes: Sequence[tuple[str, bytes]] = (), verdict: str = "done"
    ) -> None:
        self.packed = packed
        self.notes = notes
        self.verdict = verdict

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (self.packed, tuple(self.notes), self.verdict)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.packed.nbytes + sum(len(n[1]) for n in self.notes)


NOTHING = Packed(b"")


class Box:
    """A collection on the cluster. Dask takes those apart to send them, which may last minutes.

    What it does not know it pickles as a whole. All else it sends better by itself.
    """

    __slots__ = ("nbytes", "value")

    def __init__(self, value: Any, nbytes: int) -> None:
        self.value = value
        self.nbytes = nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        return Box, (self.value, self.nbytes)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes


def boxed(value: Any, nbytes: int) -> Any:
    """A value as it is to be on the cluster."""
    return Box(value, nbytes) if isinstance(value, list | tuple | dict | set | frozenset) else value


def unboxed(value: Any) -> Any:
    """A value as it was before it went there."""
    return value.value if type(value) is Box else value


class Left(NamedTuple):
    """Stands in a reply for a value that the worker has kept: see `Workshop.leave`."""

    token: str
    address: str
    kind: str
    nbytes: int


class StepFailedError(Exception):
    """Raised on a worker for Dask to see that a step has failed; `parcel` is its reply."""

    def __init__(self, text: str, parcel: Parcel) -> None:
        super().__init__(text, parcel)
        self.text = text
        self.parcel = parcel

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class Placeholder:
    """Stands in an image for a value that is given beside it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_arriving = threading.local()


def arrived(name: str) -> Any:
    """What a reference is unpickled to: the value if it is at hand, else a placeholder."""
    values: Mapping[str, Any] | None = getattr(_arriving, "values", None)
    return Placeholder(name) if values is None else values[name]


@contextmanager
def arriving(values: Mapping[str, Any]) -> Iterator[None]:
    """Have these values at hand for what this thread unpickles meanwhile."""
    _arriving.values = values
    try:
        yield
    finally:
        del _arriving.values


def opened(parcel: Parcel, values: Mapping[str, Any]) -> Any:
    """What is in a parcel, with these values where it refers to them."""
    with arriving(values):
        return loads(parcel.packed)


def identity(value: Any) -> Any:
    """What it is given: as a task, it puts something on the cluster that can be made again."""
    return value
