"""The process's pools: how large, which one a run uses, fresh ones after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from .pool import SharedThreadPoolExecutor
from .pool_size import default_max_workers, is_set_by_environment

_by_size: dict[int, SharedThreadPoolExecutor] = {}
_by_size_lock = threading.Lock()


def shared_pool(at_least: int = 0) -> SharedThreadPoolExecutor:
    """The process's pool; one of `at_least` workers if that is more, shared by all who ask so.

    A pool's capacity never changes: a run that asks for more than the default
    pool has does not give the others more than they asked for.
    """
    size = max(default_max_workers(), at_least)
    with _by_size_lock:
        pool = _by_size.get(size)
        if pool is None:
            pool = _by_size[size] = SharedThreadPoolExecutor(size)
        return pool


def pool_for(run_limit: int | None, limits: Sequence[int]) -> SharedThreadPoolExecutor:
    """The pool for a run: the process's, or a larger one if the run may have more at once.

    A run's own `max_workers` is taken at its word; a group's is too, unless the
    environment sets how many workers there are.
    """
    if run_limit is not None:
        return shared_pool(run_limit)
    size = default_max_workers()
    largest = max(limits, default=0)
    if largest > size and not is_set_by_environment():
        size = largest
    pool = _by_size.get(size)
    return shared_pool(size) if pool is None else pool


def _after_fork_in_child() -> None:
    global _by_size_lock
    _by_size_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
