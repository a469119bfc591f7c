"""Steps on a Dask cluster: against the same client, used as its own documentation shows.

Every function here runs in a process of its own (see `benchmarks.worker`), with a `LocalCluster`
of its own that has two worker processes of one thread each; both sides use that one.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.executors import (
    MEGABYTES,
    READERS,
    expect_read,
    few,
    in_turn,
    large_array,
    reading_pipeline,
    running,
    wide_and_narrow,
)
from benchmarks.harness import Rounds, Subject, expect
from benchmarks.reference import PROCESSES
from benchmarks.steps import glance
from task_pipeline import DaskExecutor, PipelineContext

LARGE = 1_000_000
"""Bytes in one piece from which on something counts as the array, or a part of it."""


@contextmanager
def local_cluster() -> Iterator[DaskExecutor]:
    """Two processes, all of them gone afterwards."""
    with DaskExecutor.local(n_workers=PROCESSES, threads_per_worker=1) as executor:
        executor.client.wait_for_workers(PROCESSES)
        yield executor


def noop(number: int) -> None:
    """What is submitted; by its number Dask tells the calls apart."""


def against_submit(count: int, rounds: int) -> Rounds:
    """A group of no-ops, against `client.submit` for each and one `gather` for all."""
    with local_cluster() as executor:
        client = executor.client

        def submitted() -> None:
            client.gather([client.submit(noop, number, pure=False) for number in range(count)])

        return in_turn(running(executor, count), Subject(submitted, count), few(rounds) + 1)


def against_map(count: int, rounds: int) -> Rounds:
    """The same, against one `client.map` and one `gather`."""
    with local_cluster() as executor:
        client = executor.client

        def mapped() -> None:
            client.gather(client.map(noop, range(count), pure=False))

        return in_turn(running(executor, count), Subject(mapped, count), few(rounds) + 1)


def width(wide: int, narrow: int, rounds: int) -> Rounds:
    """The cost of one branch among many against one among few, on the same cluster."""
    with local_cluster() as executor:
        return wide_and_narrow(executor, wide, narrow, rounds)


def array(closed: bool, rounds: int) -> Rounds:
    """Branches that read a large array, against `scatter` and as many calls with its future."""
    numbers = large_array(closed)
    with local_cluster() as executor:
        client = executor.client
        reading = reading_pipeline(executor)

        def submitted() -> None:
            there = client.scatter(numbers, hash=False)
            calls = [client.submit(glance, there, pure=False) for _ in range(READERS)]
            expect(client.gather(calls) == [READERS] * READERS, "wrong results")

        def run() -> None:
            expect_read(reading.run(PipelineContext(results={"numbers": numbers})))

        return in_turn(Subject(run, READERS), Subject(submitted, READERS), few(rounds) + 1)


def array_arrivals(what: str) -> float:
    """What of a large array arrives at the worker that gets the most, for branches that read it.

    "times" it arrives as a whole, or "bytes" in all. Each worker counts what it receives from
    anybody, in pieces as they come off the wire.
    """
    numbers = large_array()
    with local_cluster() as executor:
        client = executor.client
        reading = reading_pipeline(executor)
        reading.run(PipelineContext(results={"numbers": numbers[:READERS]}))
        client.run(begin_to_count)
        expect_read(reading.run(PipelineContext(results={"numbers": numbers})))
        received: list[list[int]] = list(client.run(counted, LARGE).values())
    total = max(map(sum, received))
    expect(sum(map(sum, received)) >= MEGABYTES * 1_000_000, "the array has arrived nowhere")
    return float(total) if what == "bytes" else float(round(total / (MEGABYTES * 1_000_000)))


def begin_to_count() -> None:
    """Note the size of each piece that this process gets off the wire, from now on."""
    tcp: Any = importlib.import_module("distributed.comm.tcp")
    if not hasattr(tcp, "received_sizes"):
        read = tcp.read_bytes_rw

        async def noting(stream: Any, size: int) -> Any:
            tcp.received_sizes.append(size)
            return await read(stream, size)

        tcp.read_bytes_rw = noting
    tcp.received_sizes = []


def counted(least: int = 0) -> list[int]:
    """The sizes so far, from `least` bytes on."""
    tcp: Any = importlib.import_module("distributed.comm.tcp")
    return [size for size in tcp.received_sizes if size >= least]
