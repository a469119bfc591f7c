"""The price everything is compared with: a bare `ThreadPoolExecutor.submit`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.harness import Subject

WORKERS = 8


def noop() -> None:
    """Do nothing, so that only the machinery around the call is timed."""


@contextmanager
def submitting(count: int) -> Iterator[Subject]:
    """Submit `count` no-ops to one shared pool, then take the `count` results.

    A batch, as a user would write it: submitting and waiting for one item at a time
    costs ten times as much per item and would flatter whatever is compared with it.
    """
    with ThreadPoolExecutor(WORKERS) as pool:

        def run() -> None:
            futures = [pool.submit(noop) for _ in range(count)]
            for future in futures:
                future.result()

        yield Subject(run, count)
