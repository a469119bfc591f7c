"""Steps in other processes: against `ProcessPoolExecutor`, and joblib's, with as many of them.

Every function here runs in a process of its own (see `benchmarks.worker`). Both sides of a
comparison have `PROCESSES` workers that are started in the same way and are kept.
"""

import gc
import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import Rounds, Subject, expect, interleave
from benchmarks.reference import PROCESSES, cores, noop
from benchmarks.steps import Crunching, Glancing, NoOp, crunch, glance
from task_pipeline import Pipeline, PipelineContext, ProcessExecutor

SAMPLE = 0.03
CRUNCH_SECONDS = 0.05
MEGABYTES = 100
READERS = 20


@contextmanager
def usual_pool(workers: int = PROCESSES) -> Iterator[ProcessPoolExecutor]:
    """The standard library's, its workers started as ours are."""
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    with ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        yield pool


def against_submit(count: int, rounds: int) -> Rounds:
    """A group of no-ops, against as many round trips of the standard pool's `submit`."""

    def one_by_one(pool: ProcessPoolExecutor) -> None:
        for _ in range(count):
            pool.submit(noop).result()

    return _against(count, one_by_one, rounds)


def against_all_at_once(count: int, rounds: int) -> Rounds:
    """The same, against submitting all before the first result is taken."""

    def at_once(pool: ProcessPoolExecutor) -> None:
        for future in [pool.submit(noop) for _ in range(count)]:
            future.result()

    return _against(count, at_once, rounds)


def width(wide: int, narrow: int, rounds: int) -> Rounds:
    """The cost of one branch among many against one among few, with the same processes."""
    with ProcessExecutor(PROCESSES) as executor:
        return wide_and_narrow(executor, wide, narrow, rounds)


def crunching(branches: int, against: str, rounds: int) -> Rounds:
    """Branches that keep a core busy, as many processes as cores, against the same otherwise.

    `against` is "series" for one after the other here, or who else runs them side by side.
    """
    turns = turns_of(CRUNCH_SECONDS)
    steps = [Crunching(f"step_{index}", turns) for index in range(branches)]
    with ProcessExecutor(cores()) as executor, _CRUNCHING[against](branches, turns) as others:
        pipeline = Pipeline([steps], executor=executor)
        merged = pipeline.run(PipelineContext()).results
        expect(set(merged.values()) == {crunch(turns)}, "a branch has not done its work")
        return interleave(
            Subject(lambda: pipeline.run(PipelineContext()), branches),
            Subject(others, branches),
            rounds=rounds,
        )


def array(closed: bool, rounds: int) -> Rounds:
    """Branches that read a large array, against the standard pool with the array as argument."""
    numbers = large_array(closed)
    with ProcessExecutor(PROCESSES) as executor, usual_pool() as pool:
        reading = reading_pipeline(executor)

        def submitted() -> None:
            for future in [pool.submit(glance, numbers) for _ in range(READERS)]:
                expect(future.result() == READERS, "the array has changed on the way")

        def run() -> None:
            expect_read(reading.run(PipelineContext(results={"numbers": numbers})))

        return in_turn(
            Subject(run, READERS), Subject(submitted, READERS), few(rounds), warm_up=False
        )


def array_bytes(side: str) -> int:
    """Bytes that processes write and read, all together, for branches that read a large array.

    What is mapped and read in place is not counted, as it is not copied.
    """
    numbers = large_array()
    if side == "ours":
        with ProcessExecutor(PROCESSES) as executor:
            reading = reading_pipeline(executor)
            reading.run(PipelineContext(results={"numbers": numbers[:READERS]}))
            workers = [worker["pid"] for worker in executor.status()["workers"]]
            before = _moved(workers)
            expect_read(reading.run(PipelineContext(results={"numbers": numbers})))
            return _moved(workers) - before
    with usual_pool() as pool:
        workers = list({pool.submit(_pid_after, SAMPLE).result() for _ in range(2 * PROCESSES)})
        before = _moved(workers)
        futures = [pool.submit(glance, numbers) for _ in range(READERS)]
        expect(all(future.result() == READERS for future in futures), "wrong results")
        return _moved(workers) - before


def large_array(closed: bool = False) -> Any:
    """A hundred megabytes of numbers, which nobody can change if it is closed."""
    numpy: Any = importlib.import_module("numpy")
    numbers = numpy.ones(MEGABYTES * 1_000_000 // 8)
    numbers.flags.writeable = not closed
    return numbers


def few(rounds: int) -> int:
    """How often what takes seconds is measured."""
    return max(1, rounds // 7)


def reading_pipeline(executor: Any) -> Pipeline:
    """A group whose branches all read the array and write down what they saw."""
    return Pipeline([[Glancing(f"step_{index}") for index in range(READERS)]], executor=executor)


def expect_read(context: PipelineContext[Any]) -> None:
    """Refuse figures of branches that saw something else."""
    seen = [context.results.get(f"step_{index}") for index in range(READERS)]
    expect(seen == [READERS] * READERS, "a branch has not read the array")


def in_turn(ours: Subject, reference: Subject, rounds: int, *, warm_up: bool = True) -> Rounds:
    """As `interleave`, for what takes long: a single call is a sample, and one the warm-up."""
    taken: dict[int, list[float]] = {id(ours): [], id(reference): []}
    for index in range(rounds + warm_up):
        pair = (ours, reference) if index % 2 == 0 else (reference, ours)
        for subject in pair:
            gc.collect()
            started = perf_counter()
            subject.run()
            elapsed = perf_counter() - started
            if index or not warm_up:
                taken[id(subject)].append(elapsed / subject.items)
    return Rounds(tuple(taken[id(ours)]), tuple(taken[id(reference)]))


def wide_and_narrow(executor: Any, wide: int, narrow: int, rounds: int) -> Rounds:
    """A wide group, against a narrow one, run some times over so that both take long."""
    one, often = running(executor, narrow), max(1, wide // narrow // 2)

    def repeated() -> None:
        for _ in range(often):
            one.run()

    one.run()  # the warm-up of both
    return in_turn(
        running(executor, wide), Subject(repeated, often * narrow), few(rounds) + 1, warm_up=False
    )


def running(executor: Any, count: int) -> Subject:
    """Each call is one whole run of a group of no-ops."""
    pipeline = group_of_noops(count, executor)
    return Subject(lambda: pipeline.run(PipelineContext()), count)


def group_of_noops(count: int, executor: Any) -> Pipeline:
    """A parallel group of as many."""
    return Pipeline([[NoOp(f"step_{index}") for index in range(count)]], executor=executor)


def _against(count: int, use: Callable[[ProcessPoolExecutor], None], rounds: int) -> Rounds:
    with ProcessExecutor(PROCESSES) as executor, usual_pool() as pool:
        return interleave(
            running(executor, count),
            Subject(lambda: use(pool), count),
            rounds=rounds,
            sample=SAMPLE,
        )


@contextmanager
def _in_series(branches: int, turns: int) -> Iterator[Callable[[], object]]:
    steps: list[Any] = [Crunching(f"step_{index}", turns) for index in range(branches)]
    pipeline = Pipeline(steps)
    yield lambda: pipeline.run(PipelineContext())


@contextmanager
def _in_pool(branches: int, turns: int) -> Iterator[Callable[[], object]]:
    with usual_pool(cores()) as pool:
        yield lambda: list(pool.map(crunch, [turns] * branches))


@contextmanager
def _in_joblib(branches: int, turns: int) -> Iterator[Callable[[], object]]:
    """With its default backend, loky, inside `with Parallel(...)`, which keeps its processes."""
    joblib: Any = importlib.import_module("joblib")
    with joblib.Parallel(n_jobs=cores()) as parallel:
        yield lambda: parallel(joblib.delayed(crunch)(turns) for _ in range(branches))
    importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown()


_CRUNCHING = {"series": _in_series, "pool": _in_pool, "joblib": _in_joblib}


def turns_of(seconds: float) -> int:
    """How many turns of `crunch` take so long on a core that has nothing else to do."""
    turns = 100_000
    best = min(_seconds(turns) for _ in range(5))
    return max(1, round(turns * seconds / best))


def _seconds(turns: int) -> float:
    started = perf_counter()
    crunch(turns)
    return perf_counter() - started


def _pid_after(seconds: float) -> int:
    """The id of a worker's process, which it keeps long enough for others to be asked as well."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass
    return os.getpid()


def _moved(workers: list[int]) -> int:
    """Bytes written by this process and read by others so far, by way of system calls."""
    return _count("self", "wchar") + sum(_count(str(pid), "rchar") for pid in workers)


def _count(process: str, name: str) -> int:
    for line in Path(f"/proc/{process}/io").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(f"/proc/{process}/io has no {name}")
