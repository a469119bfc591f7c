"""The process executor that all pipelines share which name it."""

from __future__ import annotations

import os
import threading
from typing import Any

from .executor import ProcessExecutor

_lock = threading.Lock()
_shared: ProcessExecutor | None = None


class _SharedProcessExecutor(ProcessExecutor):
    """The one. Where it is sent, it is the one there."""

    def shutdown(self, wait: bool = True, *, kill: bool = False) -> None:
        """End what it has; when it is named the next time, there is another."""
        global _shared
        with _lock:
            if _shared is self:
                _shared = None
        super().shutdown(wait, kill=kill)

    def __reduce__(self) -> Any:
        return shared_process_executor, ()

    def __repr__(self) -> str:
        return "shared_process_executor()"


def shared_process_executor() -> ProcessExecutor:
    """What `executor="process"` means: one executor for this process, made at first need.

    It has a process for each processor that may be used, and is shut down when this process ends.
    Raises as `ProcessExecutor` does.
    """
    global _shared
    with _lock:
        if _shared is None:
            _shared = _SharedProcessExecutor()
        return _shared


def _after_fork_in_child() -> None:  # pragma: no cover  # in forks of the process
    global _lock
    _lock = threading.Lock()  # a thread that is not here may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
