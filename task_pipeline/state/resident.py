"""A value of `results` that is somewhere else, such as on a cluster, until somebody reads it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, SupportsIndex


class Holder(Protocol):
    """Whoever knows where a value is."""

    def fetch(self) -> Any:
        """Get it here; raises an error that says what became of it if it cannot be had."""


class Resident:
    """Stands in a dict for a value that is elsewhere. Steps and users never see one.

    - `kind`: the name of the value's type; `nbytes`: its size, about
    - `holder`: where it is

    A value is fetched once, and kept. Whoever is given the value itself, and not a copy, may
    change it: then what is here counts (`is_here`), and what is elsewhere does not any more.
    Pickling and copying give the value, so nothing else need know of this class.
    """

    __slots__ = ("__weakref__", "_lock", "_value", "holder", "is_here", "kind", "nbytes")

    # numpy is to leave `array == resident` to `__eq__` below.
    __array_ufunc__ = None

    def __init__(self, holder: Holder, kind: str, nbytes: int) -> None:
        self.holder = holder
        self.kind = kind
        self.nbytes = nbytes
        self.is_here = False
        self._lock = threading.Lock()
        self._value: Any = _NOT_YET

    @property
    def was_fetched(self) -> bool:
        """Whether the value has been asked for."""
        return self._value is not _NOT_YET

    def fetched(self) -> Any:
        """The value, to be read or copied, not changed. Raises what its holder raises."""
        with self._lock:
            if self._value is _NOT_YET:
                self._value = self.holder.fetch()
            return self._value

    def handed_out(self) -> Any:
        """The value itself, for whoever may change it. Raises what its holder raises."""
        value = self.fetched()
        self.is_here = True
        return value

    def is_the_same(self, value: Any, same: Callable[[Any, Any], bool]) -> bool:
        """Whether a value that is here is the one that is elsewhere."""
        if kind_of(value) != self.kind:
            return False
        try:
            mine = self.fetched()
        except Exception:  # noqa: BLE001  # what is lost is not what stands in its place
            return False
        return same(mine, value)

    def __eq__(self, other: object) -> Any:
        return self.fetched() == fetched(other)

    __hash__ = None  # type: ignore[assignment]  # as of what is equal by its value

    def __copy__(self) -> Any:
        return copy.copy(self.fetched())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.fetched(), memo)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        refer = getattr(_packing, "refer", None)
        reference: tuple[Any, ...] | None = None if refer is None else refer(self)
        return (_itself, (self.fetched(),)) if reference is None else reference

    def __repr__(self) -> str:
        if self.was_fetched:
            return repr(self._value)
        return f"<{self.kind.rpartition('.')[2]} of {self.nbytes:,} bytes, not fetched>"


_NOT_YET: Any = object()
_packing = threading.local()

Reference = tuple[Callable[..., Any], tuple[Any, ...]]
"""What pickle writes for an object: a function, and what it is to be called with."""


@contextmanager
def referring(refer: Callable[[Resident], Reference | None]) -> Iterator[None]:
    """Have what this thread pickles meanwhile hold references in the place of values.

    `refer` gives one, or None for a value that is to be pickled itself.
    """
    before = getattr(_packing, "refer", None)
    _packing.refer = refer
    try:
        yield
    finally:
        _packing.refer = before


def fetched(value: Any) -> Any:
    """The value itself, wherever it is."""
    return value.fetched() if type(value) is Resident else value


def kind_of(value: object) -> str:
    """The name of a value's type, by which types are compared across processes."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _itself(value: Any) -> Any:
    return value
