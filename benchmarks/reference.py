"""What everything is compared with: a bare `ThreadPoolExecutor.submit`, the cores there are."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.harness import Subject

WORKERS = 8
PROCESSES = 2


def noop() -> None:
    """Do nothing, so that only the machinery around the call is timed."""


@contextmanager
def submitting(count: int) -> Iterator[Subject]:
    """Submit a no-op to one shared pool and take its result, `count` times.

    This is the `submit` of the budget: the price of having one call made elsewhere.
    """
    with ThreadPoolExecutor(WORKERS) as pool:

        def run() -> None:
            for _ in range(count):
                pool.submit(noop).result()

        yield Subject(run, count)


@contextmanager
def submitting_at_once(count: int) -> Iterator[Subject]:
    """Submit `count` no-ops to one shared pool, then take the `count` results.

    Much cheaper an item than one at a time, as the pool's threads hardly wait for each
    other; it is shown beside the budget, and as one of the peers.
    """
    with ThreadPoolExecutor(WORKERS) as pool:

        def run() -> None:
            futures = [pool.submit(noop) for _ in range(count)]
            for future in futures:
                future.result()

        yield Subject(run, count)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def least_share(branches: int) -> float:
    """Of the time in series, what so many equal branches take at least on the cores here."""
    return math.ceil(branches / cores()) / branches
