"""What one step costs in each part of the library: the rates that `benchmarks.scaling` takes.

Every function here runs in a process of its own (see `benchmarks.worker`). Times are those of the
processor, so that what else goes on in the machine counts little; all are for one step or branch.
"""

import importlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cluster import begin_to_count, counted
from benchmarks.harness import expect
from benchmarks.journal import folder
from benchmarks.memory import growing
from benchmarks.reference import PROCESSES, WORKERS
from benchmarks.steps import Adding, Appending, Counting, NoOp, Noting
from task_pipeline import (
    DaskExecutor,
    EventBus,
    Map,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    ProcessExecutor,
    open_journal,
    parallel,
)
from task_pipeline.engine.scheduler import Scheduler
from task_pipeline.engine.states import Command
from task_pipeline.outcome import Outcome

KINDS: dict[str, Callable[[str], NoOp]] = {
    "nothing": NoOp,
    "own key": Noting,
    "one number": Counting,
    "one list": Appending,
    "one dict": Adding,
}
"""What the steps change."""

TIMES = 3
Measured = dict[str, float]


def scheduler(count: int) -> Measured:
    """The pure scheduler: a group of as many steps, told that each has ended."""
    plan = Pipeline([[NoOp(f"step_{index}") for index in range(count)]])._plan

    def run() -> None:
        decider = Scheduler(plan)
        decider.start()
        while True:
            step = decider.next()
            if step is not None:
                decider.ended(step, Outcome.SUCCEEDED)
            commands, decider.commands = decider.commands, []
            for command, *about in commands:
                if command is Command.JOIN:
                    decider.joined(about[0], Outcome.SUCCEEDED, None)
                elif command is Command.OVER:
                    return

    return {"seconds": _least(run) / count}


def group(count: int, kind: str, width: int, form: str) -> Measured:
    """Groups of `width` branches, one after another, on threads.

    `form` says how they are written: as a "list", a "map", or as "tasks" that a step adds; with a
    width of 1 as a list, the steps are a series.
    """
    built: list[Any] = []
    grown_by_plan = growing(lambda: built.append(_built(count, kind, width, form)))
    pipeline = built[0]
    seconds: list[float] = []

    def run() -> None:
        started = time.process_time()
        built.append(pipeline.run(_context(kind)))
        seconds.append(time.process_time() - started)

    grown_by_run = growing(run)
    return {
        "seconds": seconds[0] / count,
        "plan_bytes": grown_by_plan / count,
        "run_bytes": grown_by_run / count,
    }


def build(count: int) -> Measured:
    """Compiling a list of steps into a plan; making the steps is not counted."""
    steps: list[Any] = [NoOp(f"step_{index}") for index in range(count)]
    return {"seconds": _least(lambda: Pipeline([steps])) / count}


def keys(count: int, held: int) -> Measured:
    """What each key that is in `results` already adds to a branch that writes one more."""
    pipeline = _built(count, "own key", count, "list")

    def least(results: dict[str, Any]) -> float:
        return _least(lambda: pipeline.run(PipelineContext(results=dict(results))))

    empty = least({})
    full = least({f"key_{index}": index for index in range(held)})
    return {"seconds": (full - empty) / count / held}


def events(count: int) -> Measured:
    """What it adds to a step that one callback hears of it, and what its events take if kept."""
    pipeline = _built(count, "nothing", count, "list")
    quiet_pipeline = _built(count, "nothing", count, "list")
    quiet = _least(lambda: quiet_pipeline.run(PipelineContext()))
    told = [0]

    def hear(event: object) -> None:
        told[0] += 1

    pipeline.subscribe(hear)
    heard = _least(lambda: pipeline.run(PipelineContext()))
    expect(told[0] >= 2 * count * TIMES, "a step has not been told of")
    bus = EventBus(history=4 * count)
    steps: list[Any] = [[NoOp(f"step_{index}") for index in range(count)]]
    keeping = Pipeline(steps, config=PipelineConfig(max_workers=WORKERS), event_bus=bus)
    plain = growing(lambda: quiet_pipeline.run(PipelineContext()))
    grown = growing(lambda: keeping.run(PipelineContext()))
    return {"seconds": (heard - quiet) / count, "bytes": (grown - plain) / len(bus.history)}


def journal(count: int, width: int, url: str | None) -> Measured:
    """What a journal adds to a step, here and in all, and the bytes of its rows.

    `url` is that of a server; without one it is a SQLite file.
    """
    plain = _built(count, "own key", width, "list")
    with folder() as place:
        file = place / "journal.db"
        log = open_journal(url or f"sqlite:///{file}")
        recorded = _built(count, "own key", width, "list", journal=log)
        bare = _shared(lambda: plain.run(PipelineContext()), count, {})
        full = _shared(lambda: recorded.run(PipelineContext()), count, {})
        log.close()
        size = 0
        if url is None:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = file.stat().st_size
    return {
        "seconds": full["here"] - bare["here"],
        "elapsed": full["elapsed"] - bare["elapsed"],
        "bytes": size / count / (TIMES + 1),
    }


def process(count: int, kind: str, width: int) -> Measured:
    """A step in another process: the time of the processor that it takes here, and there."""
    with ProcessExecutor(PROCESSES) as executor:
        first = _built(100, kind, 100, "list", executor=executor)
        first.run(_context(kind))
        pipeline = _built(count, kind, width, "list", executor=executor)
        grown = growing(lambda: pipeline.run(_context(kind)))
        times = _shared(
            lambda: pipeline.run(_context(kind)),
            count,
            {"there": lambda: [worker["pid"] for worker in executor.status()["workers"]]},
        )
        return times | {"bytes": grown / count}


def dask(count: int, kind: str, width: int) -> Measured:
    """A step on a cluster whose scheduler is a process of its own: what it takes in each.

    And the bytes that each of them gets for it.
    """
    with _cluster() as (scheduler_file, scheduler_pid):
        distributed: Any = importlib.import_module("distributed")
        with (
            distributed.Client(scheduler_file=scheduler_file, set_as_default=False) as client,
            DaskExecutor(client) as executor,
        ):
            client.wait_for_workers(PROCESSES)
            pids = list(client.run(os.getpid).values())
            _built(100, kind, 100, "list", executor=executor).run(_context(kind))
            pipeline = _built(count, kind, width, "list", executor=executor)
            grown = growing(lambda: pipeline.run(_context(kind)))
            times = _shared(
                lambda: pipeline.run(_context(kind)),
                count,
                {"scheduler": lambda: [scheduler_pid], "there": lambda: pids},
            )
            for begin in (client.run, client.run_on_scheduler, _call):
                begin(begin_to_count)
            pipeline.run(_context(kind))
            at_workers = sum(map(sum, client.run(counted).values()))
            at_scheduler, here = sum(client.run_on_scheduler(counted)), sum(counted())
            return times | {
                "bytes": grown / count,
                "bytes_to_scheduler": at_scheduler / count,
                "bytes_to_workers": at_workers / count,
                "bytes_to_client": here / count,
            }


def _call(function: Callable[[], None]) -> None:
    function()


@contextmanager
def _cluster() -> Iterator[tuple[str, int]]:
    """A scheduler and its workers, as on a cluster; the file that says where, and its process."""
    with folder() as place, ExitStack() as stack:
        file = str(place / "scheduler.json")
        common = ("--scheduler-file", file, "--no-dashboard")
        started: list[subprocess.Popen[bytes]] = []
        for arguments in (
            ("distributed.cli.dask_scheduler", "--port", "0", *common),
            (
                *("distributed.cli.dask_worker", "--nworkers", str(PROCESSES)),
                *("--nthreads", "1", "--local-directory", str(place), *common),
            ),
        ):
            log = stack.enter_context((place / f"log{len(started)}").open("w"))
            command = [sys.executable, "-m", *arguments]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        try:
            until = time.monotonic() + 30
            while not Path(file).exists():
                expect(time.monotonic() < until, "the scheduler does not start")
                time.sleep(0.05)
            yield file, started[0].pid
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(10)


def _shared(
    run: Callable[[], object], count: int, others: dict[str, Callable[[], list[int]]]
) -> Measured:
    """The processor's time for each step here and in other processes, the least of a few runs."""
    run()
    taken: list[Measured] = []
    for _ in range(TIMES):
        before = {name: _processor_time(pids()) for name, pids in others.items()}
        here, clock = time.process_time(), time.perf_counter()
        run()
        spent = {"here": time.process_time() - here, "elapsed": time.perf_counter() - clock}
        for name, pids in others.items():
            spent[name] = _processor_time(pids()) - before[name]
        taken.append(spent)
    return {name: min(each[name] for each in taken) / count for name in taken[0]}


def _processor_time(pids: list[int]) -> float:
    """Seconds that processes have had so far."""
    ticks = 0
    for pid in pids:
        # Behind the name, which may hold anything: user and system time are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _built(count: int, kind: str, width: int, form: str, **options: Any) -> Pipeline:
    # A limit of the run's would count for an executor too.
    config = None if "executor" in options else PipelineConfig(max_workers=WORKERS)
    groups = count // width
    if form == "tasks":
        return Pipeline([_task_adder(groups, width)], config=config, **options)
    if form == "map":
        work = NoOp("item") if kind == "nothing" else Noting("item")
        return Pipeline([Map(work, over=range(width)) for _ in range(groups)], config=config)
    steps: list[Any] = [
        [KINDS[kind](f"step_{number}_{index}") for index in range(width)]
        for number in range(groups)
    ]
    if width == 1:
        steps = [step for (step,) in steps]
    return Pipeline(steps, config=config, **options)


def _task_adder(groups: int, width: int) -> Callable[[Any], None]:
    def add(context: Any) -> None:
        for _ in range(groups):
            with parallel(max_workers=WORKERS) as tasks:
                for number in range(width):
                    tasks.add(abs, number)
                tasks.gather()

    return add


def _context(kind: str) -> PipelineContext[Any]:
    return PipelineContext(results={"value": 0} if kind == "one number" else {})


def _least(work: Callable[[], object]) -> float:
    """The processor's time for it, the least of a few times."""
    work()
    taken = []
    for _ in range(TIMES):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)
