"""Who works on a run, and whether that process is still there.

A worker is written as `host:pid:machine:namespace:start`. `machine` changes with every boot,
`namespace` tells containers apart that share a machine, `start` tells a process from a later
one that was given the same id. Where a system does not tell, the part is empty, and only the
lease says when a run is free.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def worker() -> str:
    """This process."""
    return _worker(os.getpid())


@functools.lru_cache(maxsize=1)
def _worker(pid: int) -> str:
    host = socket.gethostname().replace(":", "_")
    state = _state(pid)
    start = state[1] if state else ""
    return f"{host}:{pid}:{_machine()}:{_namespace()}:{start}"


def described(name: str | None) -> str:
    """A worker in words."""
    parts = (name or "").split(":")
    if len(parts) != 5:
        return f"worker {name!r}"
    return f"process {parts[1]} on {parts[0]}"


def is_dead(name: str | None) -> bool:
    """Whether it is certain that a worker's process has ended."""
    parts = (name or "").split(":")
    if len(parts) != 5 or not parts[1].isdigit():
        return False
    _, pid, machine, namespace, start = parts
    if not machine or not start or (machine, namespace) != (_machine(), _namespace()):
        return False
    state = _state(int(pid))
    if state is None:
        return not _exists(int(pid))
    # One that waits to be reaped runs nothing any more.
    return state[0] in "ZXx" or state[1] != start


def _exists(pid: int) -> bool:
    """Whether there is a process that /proc does not show, as it may be another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _machine() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return (_PROC / "self/ns/pid").readlink().name.translate({ord(c): None for c in "pid:[]"})
    except OSError:
        return ""


def _state(pid: int) -> tuple[str, str] | None:
    """A process's state and its start, in ticks since the boot; None if there is no such."""
    try:
        line = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name stands in parentheses, and may hold any character.
    rest = line.rpartition(")")[2].split()
    return rest[0], rest[19]
