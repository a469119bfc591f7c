"""The runs under way in this process, so that a fork can give the child's copies new locks."""

from __future__ import annotations

import os
import threading
from typing import Protocol

from ..progress import ProgressTracker


class _Locked(Protocol):
    lock: threading.RLock
    tracker: ProgressTracker


runs: dict[int, _Locked] = {}
"""By `id()`; a run is in it from its beginning to its end."""


generation = 0
"""How many forks lie between this process and the one that imported the library first."""


def _after_fork_in_child() -> None:
    global generation
    generation += 1
    # Another thread of the parent may have held one of them, and is not here to release it.
    for run in list(runs.values()):
        run.lock = threading.RLock()
        run.tracker.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
