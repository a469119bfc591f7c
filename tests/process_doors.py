"""Doors between processes, and what a test needs to see processes end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0


class Door:
    """A closed door: a step in some process waits at it until the test opens it."""

    def __init__(self, path: Path) -> None:
        self._paths = (f"{path}-reached", f"{path}-opened")
        self._ends = []
        for each in self._paths:
            os.mkfifo(each)
            # Both ends, so that nothing waits for, or misses, a process at the other one.
            self._ends.append(os.open(each, os.O_RDWR | os.O_NONBLOCK))

    def __getstate__(self) -> tuple[str, str]:
        return self._paths

    def __setstate__(self, paths: tuple[str, str]) -> None:
        self._paths, self._ends = paths, []

    def __del__(self) -> None:
        for end in self._ends:
            os.close(end)

    def wait(self, context: object = None) -> None:
        """For the step: say in which process it is, and wait for one turn."""
        with Path(self._paths[0]).open("wb", buffering=0) as stream:
            stream.write(b"%d\n" % os.getpid())
        with Path(self._paths[1]).open("rb", buffering=0) as stream:
            stream.read(1)

    def wait_until_reached(self) -> int:
        """For the test: wait until a step is there; the id of its process."""
        text = b""
        while not text.endswith(b"\n"):
            if not select.select([self._ends[0]], [], [], PATIENCE)[0]:
                raise TimeoutError(f"no step came to the door within {PATIENCE} s")
            text += os.read(self._ends[0], 1)
        return int(text)

    def open(self) -> None:
        """For the test: let one step through."""
        os.write(self._ends[1], b"!")


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                facts = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(facts[1])
    found: set[int] = set()
    while more := {one for one, up in parents.items() if up in found | {pid}} - found:
        found |= more
    return found


def is_gone_within(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether a process has ended by then. Waits for just that."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def run_script(text: str, *arguments: str) -> str:
    """Run a script that comes by standard input; what it prints."""
    done = subprocess.run(
        [sys.executable, "-", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def comes_true(check: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether something becomes so by then that nobody tells of."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        os.sched_yield()
    return True
