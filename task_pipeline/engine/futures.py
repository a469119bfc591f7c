"""The future of a call that was submitted to a pool."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .slots import current_slot

T = TypeVar("T")


class PoolFuture(concurrent.futures.Future[T]):
    """A future whose waiting worker is stood in for, so waiting in a worker cannot deadlock."""

    def result(self, timeout: float | None = None) -> T:
        """As `concurrent.futures.Future.result`."""
        value: T = self._standing_in(functools.partial(super().result, timeout))
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `concurrent.futures.Future.exception`."""
        error: BaseException | None = self._standing_in(
            functools.partial(super().exception, timeout)
        )
        return error

    def _standing_in(self, wait: Callable[[], Any]) -> Any:
        slot = current_slot()
        if slot is None or self.done():
            return wait()
        slot.pool.block(slot)
        try:
            return wait()
        finally:
            slot.pool.unblock(slot)
