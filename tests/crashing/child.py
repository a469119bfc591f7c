"""A process that forks others, each of which runs or resumes a pipeline and may be killed at it.

It imports everything once, and so has a child ready in a few milliseconds. It takes one command
per line, as JSON, and answers each with a line: see `Command` and `main`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from task_pipeline import (
    Branch,
    ErrorStrategy,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunExistsError,
    RunLeasedError,
    Serial,
    SkipStep,
    StopPipeline,
    TaskStep,
    engine,
    journal,
    open_journal,
    step,
)
from task_pipeline.journal.database import Link
from task_pipeline.journal.writer import Writer
from task_pipeline.testing import ManualClock

PATIENCE = 30.0
FIRST = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)
TWO = ParallelConfig(
    operator=LogicOperator.QUORUM, quorum=2, error_strategy=ErrorStrategy.FAIL_FAST
)
IN_TIME = ParallelConfig(operator=LogicOperator.OR, timeout=5.0)


@dataclass
class Command:
    """What a child is to do.

    - `does`: "run", "resume" or "write" (many runs in threads)
    - `way`: "run", "arun" or "start"
    - `commit`, `when`: kill it "before" or "after" its commit of that number
    - `single`: each record is a transaction of its own
    - `delay`: kill it so many seconds after its start
    - `healed`: what fails of itself does so no more
    - `fills`: its files cannot grow much any more
    - `waits`: the first step waits until another child has been told that the run is leased
    """

    does: str
    url: str
    run_id: str
    lines: str
    answer: str
    pipeline: str = "nested"
    way: str = "run"
    commit: int = 0
    when: str = "before"
    single: bool = False
    delay: float | None = None
    healed: bool = False
    waits: bool = False
    fills: bool = False
    threads: int = 1
    count: int = 1
    options: dict[str, Any] = field(default_factory=dict)


class Child:
    """What there is once in a child."""

    def __init__(self) -> None:
        self.lines = -1
        self.healed = False
        self.clock = ManualClock()
        self.pipeline: Pipeline = Pipeline([])
        self.commits = 0
        self.leased: tuple[int, int] | None = None
        self.begun: tuple[int, int] | None = None


here = Child()


# What steps do


def said(sign: str, context: Any) -> None:
    """A whole line at once, whoever else writes into the file."""
    text = f"{sign} {context.idempotency_key} {context.attempt} {os.getpid()}\n"
    os.write(here.lines, text.encode())


def works(function: Callable[[Any], Any], **attributes: Any) -> TaskStep:
    """A step that says when it begins and when it ends."""

    def work(context: Any) -> Any:
        said("+", context)
        try:
            return function(context)
        finally:
            said("-", context)

    return step(**{"step_id": function.__name__, **attributes})(work)


def awaits(function: Callable[[Any], Any], **attributes: Any) -> TaskStep:
    """The same as a coroutine."""

    async def work(context: Any) -> Any:
        said("+", context)
        try:
            await asyncio.sleep(0)  # the step's work
            return function(context)
        finally:
            said("-", context)

    return step(**{"step_id": function.__name__, **attributes})(work)


def adds(name: str, number: int) -> Callable[[Any], Any]:
    """A step's work: changes of several kinds, and a result."""

    def work(context: Any) -> Any:
        results = context.results
        results["sum"] = results.get("sum", 0) + number
        results.setdefault("names", []).append(name)
        results.setdefault("seen", {})[name] = {"attempt": context.attempt, "tags": {name}}
        return number if number % 2 else None

    work.__name__ = name
    return work


def until_left(context: Any) -> None:
    """Work that does not end by itself."""
    until = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not context.cancelled and time.monotonic() < until:
        pause.wait(0.001)
    context.raise_if_cancelled()


def until_done(*step_ids: str) -> None:
    """Until other steps of this run have ended."""
    until = time.monotonic() + PATIENCE
    pause = threading.Event()
    while time.monotonic() < until:
        details = here.pipeline.get_status()["step_details"]
        if all(details[step_id]["status"] == "succeeded" for step_id in step_ids):
            return
        pause.wait(0.001)
    raise TimeoutError(f"{step_ids} have not ended")


def load(context: Any) -> list[int]:
    context.results["items"] = [3, 1, 2]
    context.results["rounds"] = 2
    context.results["gone"] = "soon"
    return [3, 1, 2]


def flaky(context: Any) -> int:
    context.results["tried"] = context.results.get("tried", 0) + 1
    if context.attempt == 1:
        raise OSError("not at once")
    return int(context.results["item"]) * 3


def count_down(context: Any) -> None:
    context.results["rounds"] -= 1
    context.results.setdefault("history", []).append(context.results["rounds"])


def breaks(context: Any) -> None:
    raise ValueError("it is broken")


def nothing(context: Any) -> None:
    context.results.pop("gone", None)
    context.results["none"] = None


def skips(context: Any) -> None:
    raise SkipStep("not today")


def late(context: Any) -> None:
    until_done("in_time")
    here.clock.advance(5.0)
    until_left(context)


def report(context: Any) -> dict[str, Any]:
    return {key: str(value) for key, value in sorted(context.results.items()) if key != "seen"}


def stops(context: Any) -> None:
    until_done("before")
    raise StopPipeline({"enough": True})


def heals(context: Any) -> str:
    until_done("beside")
    if not here.healed:
        raise ConnectionError("nobody is there")
    return "healed"


def first(context: Any) -> int:
    """Tells that it has begun, and waits until somebody was refused the run."""
    if here.leased is not None:
        ready, _, _ = select.select([here.leased[0]], [], [], PATIENCE)
        assert ready, "nobody was refused the run"
    return 1


def nested() -> list[TaskStep]:
    three_deep = [
        works(adds("a", 1)),
        [
            works(adds("b", 2)),
            [
                awaits(adds("c", 3)),
                [works(adds("d", 4)), awaits(adds("e", 5))],
                works(adds("f", 6)),
            ],
        ],
        works(adds("g", 7)),
    ]
    return [
        works(load),
        [
            three_deep,
            Map(works(flaky, retries=2), over="items", result_key="tripled"),
            Loop(works(count_down), while_="rounds", times=5),
            Branch("items", works(adds("then", 9)), works(adds("otherwise", 10))),
        ],
        Parallel([works(adds("quick", 11)), works(until_left), works(until_left)], "first", FIRST),
        Parallel(
            [works(adds("one", 12)), awaits(adds("two", 13)), works(until_left)], "quorum", TWO
        ),
        works(breaks, critical=False),
        Pipeline([works(breaks), works(adds("after", 14))], PipelineConfig(fail_fast=False)),
        works(nothing),
        works(skips),
        Parallel([works(adds("in_time", 15)), works(late)], "deadline", IN_TIME),
        works(report),
    ]


def stopping() -> list[TaskStep]:
    return [
        works(load),
        [works(adds("before", 1)), [works(stops), works(adds("behind", 2))], works(until_left)],
        works(report),
    ]


def failing() -> list[TaskStep]:
    inner: list[TaskStep] = [works(adds("beside", 2)), works(heals), works(adds("along", 3))]
    return [
        works(adds("a", 1)),
        Parallel([Serial([Parallel(inner), works(adds("behind", 4))]), works(adds("b", 5))]),
        works(report),
    ]


def racing() -> list[TaskStep]:
    return [works(first), [works(adds("b", 2)), works(adds("c", 3))], works(report)]


def filling() -> list[TaskStep]:
    """One after the other, and each adds some kilobytes to the journal."""

    def fills(context: Any) -> None:
        context.results["sum"] = context.results.get("sum", 0) + 1
        context.results["text"] = str(context.results["sum"]) * 10_000

    return [works(fills) for _ in range(60)]


PIPELINES = {
    "filling": filling,
    "nested": nested,
    "stopping": stopping,
    "failing": failing,
    "racing": racing,
}
CONFIG = PipelineConfig(max_workers=8)


# A child


def dies(command: Command) -> None:
    """Have it killed around a commit, as the command says."""
    commit, write_batch = Link.commit, Writer._write_batch

    def counted(link: Link) -> None:
        here.commits += 1
        if here.commits == command.commit and command.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        commit(link)
        if here.commits == command.commit:
            os.kill(os.getpid(), signal.SIGKILL)

    def one_by_one(writer: Writer, batch: list[Any]) -> None:
        for record in batch:
            write_batch(writer, [record])

    Link.commit = counted  # type: ignore[method-assign, assignment]  # for nothing else is here
    if command.single:
        Writer._write_batch = one_by_one  # type: ignore[method-assign, assignment]  # as above


def told(context: PipelineContext[Any]) -> dict[str, Any]:
    """A context as text."""
    return {
        "results": json.loads(json.dumps(context.results, default=sorted)),
        "errors": [f"{type(error).__name__}: {error}" for error in context.errors],
    }


def go(command: Command) -> dict[str, Any]:
    """Run or resume; what it has come to."""
    here.lines = os.open(command.lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    here.healed = command.healed
    with open_journal(command.url) as opened:
        if command.fills:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        here.pipeline = Pipeline(PIPELINES[command.pipeline](), CONFIG, journal=opened)
        # Time stands still but where a step moves it.
        clock: AbstractContextManager[Any] = here.clock.installed()
        with clock if command.pipeline == "nested" else nullcontext():
            try:
                return told(started(command))
            except Exception as error:
                refused = isinstance(error, RunLeasedError | RunExistsError)
                if refused and here.leased is not None:
                    os.write(here.leased[1], b"x")
                return {"raised": type(error).__name__, "text": str(error)}


def started(command: Command) -> PipelineContext[Any]:
    pipeline, run_id = here.pipeline, command.run_id
    if command.does == "resume":
        if command.way == "arun":
            return asyncio.run(pipeline.aresume(run_id, **command.options))
        return pipeline.resume(run_id, **command.options)
    if command.way == "arun":
        return asyncio.run(pipeline.arun(run_id=run_id, tags=["crash"]))
    if command.way == "start":
        return pipeline.start(run_id=run_id, tags=["crash"]).result(PATIENCE)
    return pipeline.run(run_id=run_id, tags=["crash"])


def write_many(command: Command) -> dict[str, Any]:
    """Runs in several threads at once."""
    problems: list[str] = []
    barrier = threading.Barrier(command.threads)

    def add(number: int) -> Callable[[Any], None]:
        def work(context: Any) -> None:
            context.results["n"] = context.results.get("n", 0) + number

        return work

    steps: list[TaskStep] = [add(1), [add(2), add(3)], add(4)]

    def runs(thread: int) -> None:
        try:
            pipeline = Pipeline(steps, journal=command.url)
            barrier.wait(PATIENCE)
            for number in range(command.count):
                run_id = f"{command.run_id}-{thread}-{number}"
                if pipeline.run(run_id=run_id).results["n"] != 10:
                    problems.append(f"{run_id}: wrong sum")
            assert pipeline.journal is not None
            pipeline.journal.close()
        except BaseException as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=runs, args=(at,)) for at in range(command.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"problems": problems}


def live(command: Command) -> None:
    """The life of a child. It does not return."""
    code = 1
    try:
        dies(command)
        if here.begun is not None:
            os.close(here.begun[1])
            os.read(here.begun[0], 1)  # until the last one is there
        began = time.monotonic()
        answer = write_many(command) if command.does == "write" else go(command)
        answer["seconds"] = time.monotonic() - began
        answer["commits"] = here.commits
        Path(command.answer).write_text(json.dumps(answer), "utf-8")
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


# The process that forks


def fork(command: Command) -> int:
    Path(command.answer).unlink(missing_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        live(command)
    return pid


def wait_for(pid: int, delay: float | None) -> dict[str, Any]:
    """Wait for a child's end, which comes by a signal after `delay` seconds at the latest."""
    end = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([end], [], [], 2 * PATIENCE if delay is None else delay)
        if not ended:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(end)
    _, status = os.waitpid(pid, 0)
    is_hung = delay is None and not ended
    return {"pid": pid, "code": os.waitstatus_to_exitcode(status), "hung": is_hung}


def prepare() -> None:
    """Import all that a child would. Before a fork nothing is opened, and no thread is started."""
    for package in (engine, journal):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("psycopg")


def main() -> None:
    prepare()
    for line in sys.stdin:
        commands = [Command(**given) for given in json.loads(line)]
        if len(commands) == 1:
            ends = [wait_for(fork(commands[0]), commands[0].delay)]
        else:
            # All begin at once, when the last one was forked.
            here.begun = os.pipe()
            here.leased = os.pipe() if any(command.waits for command in commands) else None
            pids = [fork(command) for command in commands]
            os.close(here.begun[1])
            ends = [wait_for(pid, None) for pid in pids]
            for end in (here.begun[0], *(here.leased or ())):
                os.close(end)
            here.begun = here.leased = None
        for command, end in zip(commands, ends, strict=True):
            answer = Path(command.answer)
            end["answer"] = json.loads(answer.read_text("utf-8")) if end["code"] == 0 else None
        print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    main()
