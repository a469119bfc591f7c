"""What users do with the process executor, compared with the same on threads."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    NotPortableError,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    PipelineStep,
    ProcessExecutor,
    RecordedError,
    WorkerDiedError,
)
from task_pipeline.executors.raised import RemoteTraceback

# Fewer processes than tests: what is done to a worker harms no other step.


@pytest.fixture(scope="module")
def executor() -> Any:
    with ProcessExecutor(2) as made:
        yield made


class Refused(Exception):
    """Takes other arguments than it passes on."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host} has refused")
        self.port = port


class Named(Exception):
    """Makes its text of its argument: pickled plainly, it would be made of that text again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no {name}")


class Unsendable(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raised_by(function: Any, executor: Any) -> BaseException:
    with pytest.raises(Exception) as caught:
        Pipeline([function], executor=executor).run()
    return caught.value


def refuse(context: PipelineContext[Any]) -> None:
    raise Refused("example.org", 80)


def misname(context: PipelineContext[Any]) -> None:
    raise Named("bread")


@pytest.mark.parametrize("function", [refuse, misname])
def test_an_exception_keeps_its_kind_whatever_its_init_takes(function: Any, executor: Any) -> None:
    there, here = raised_by(function, executor), raised_by(function, "thread")
    assert type(there) is type(here)
    assert (str(there), there.args) == (str(here), here.args)
    notes = there.__dict__.pop("__notes__"), here.__dict__.pop("__notes__")
    assert notes[0] == notes[1] and vars(there) == vars(here)


def test_a_group_of_exceptions_comes_with_those_of_it_that_can(executor: Any) -> None:
    def several(context: PipelineContext[Any]) -> None:
        raise ExceptionGroup("two", [Refused("example.org", 80), Unsendable("locked")])

    group = raised_by(several, executor)
    assert isinstance(group, ExceptionGroup) and group.message == "two"
    first, second = group.exceptions
    assert isinstance(first, Refused) and first.port == 80
    assert isinstance(second, RecordedError) and str(second) == "Unsendable: locked"


def test_causes_that_go_round_in_circles_come_once_each(executor: Any) -> None:
    def circle(context: PipelineContext[Any]) -> None:
        first, second = ValueError("first"), KeyError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    error = raised_by(circle, executor)
    assert isinstance(error, ValueError) and isinstance(error.__cause__, KeyError)
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)


def test_a_thousand_causes_come_too(executor: Any) -> None:
    def chain(context: PipelineContext[Any]) -> None:
        error: Exception | None = None
        for number in range(1_000):
            last, error = error, ValueError(number)
            error.__cause__ = last
        assert error is not None
        raise error

    error: BaseException | None = raised_by(chain, executor)
    count = 0
    while isinstance(error, ValueError):
        count, error = count + 1, error.__cause__
    assert count == 1_000 and isinstance(error, RemoteTraceback)


def test_the_traceback_over_there_is_that_of_the_whole_chain(executor: Any) -> None:
    def outer(context: PipelineContext[Any]) -> None:
        try:
            inner()
        except ZeroDivisionError as error:
            raise ValueError("outer") from error

    def inner() -> None:
        raise ZeroDivisionError("inner")

    error = raised_by(outer, executor)
    assert error.__cause__ is not None
    text = str(error.__cause__.__cause__)
    assert "in inner" in text and "in outer" in text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "Something has sent it that signal"),
        (signal.SIGALRM, "Something has sent it that signal"),
        (signal.SIGSEGV, "not Python has crashed"),
        (signal.SIGKILL, "want of memory"),
    ],
)
def test_the_signal_says_what_may_have_happened(number: int, said: str, executor: Any) -> None:
    def signals(context: PipelineContext[Any]) -> None:
        os.kill(os.getpid(), number)

    error = raised_by(signals, executor)
    assert isinstance(error, WorkerDiedError) and said in str(error)


def test_what_a_step_holds_is_named_apart_from_its_place(executor: Any) -> None:
    class Crunch(PipelineStep):
        def __init__(self) -> None:
            self.parts = {"a": [1, threading.Lock()]}

        def run(self, context: PipelineContext[Any]) -> None:
            raise AssertionError

    def with_lock(lock: Any, context: PipelineContext[Any]) -> None:
        raise AssertionError

    bound = functools.partial(with_lock, threading.Lock())
    with pytest.raises(NotPortableError) as caught:
        Pipeline([Crunch(), bound], executor=executor).run()
    first, second = caught.value.problems
    assert "'crunch' at path 0, self.parts['a'][1]: a lock" in first
    assert "at path 1 (argument 0): a lock" in second


LACKING = """
import os, resource, sys, threading
from task_pipeline import ExecutorError, Pipeline, ProcessExecutor

def work(context):
    return 1

def attempt(executor):
    try:
        print(Pipeline([work], executor=executor).run().results)
    except ExecutorError as error:
        print(error)

lack = sys.argv[1]
executor = ProcessExecutor(1)
if lack.isdecimal():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most[1]))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(int(lack)):
            os.close(taken.pop())
    attempt(executor)
    made_then = ProcessExecutor(1)
    for descriptor in taken:
        os.close(descriptor)
    attempt(made_then)
else:
    start = threading.Thread.start
    def refuse(thread):
        if thread.name.startswith(lack):
            raise RuntimeError("can't start new thread")
        start(thread)
    threading.Thread.start = refuse
    attempt(executor)
    threading.Thread.start = start
attempt(executor)
executor.shutdown()
"""


@pytest.mark.parametrize("lack", ["1", "4", "6", "task_pipeline-proc", "task_pipeline-start"])
def test_without_descriptors_or_threads_steps_fail_and_nothing_hangs(lack: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LACKING, lack],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    first, *others = done.stdout.splitlines()
    assert "step 'work' at path 0" in first
    assert "Too many open files" in first or "can't start new thread" in first
    assert others and set(others) == {"{'work': 1}"}
    assert done.stderr == ""


class Half:
    name = "half"
    max_calls = 1

    def submit(self, calls: Any) -> None: ...


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ProcessExecutor, "ProcessExecutor is a class: give an object of it, ProcessExecutor(...)"),
        (ThreadPoolExecutor, "ThreadPoolExecutor is a class: give an object of it"),
        (Half(), "is no StepExecutor: it has no capabilities, no problems, no preflight, no stop"),
    ],
)
def test_what_is_almost_an_executor_is_refused_in_so_many_words(given: Any, said: str) -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        Pipeline([refuse], executor=given)
    assert said in str(caught.value)


def test_ctrl_c_ends_neither_the_fork_server_as_it_starts_nor_is_kept_from_commands() -> None:
    def blocked(context: PipelineContext[Any]) -> dict[str, bool]:
        found = {}
        for name, pid in {"server": os.getppid(), "worker": os.getpid()}.items():
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            lines = dict(line.split(":\t", 1) for line in status.splitlines())
            found[name] = bool(int(lines["SigBlk"], 16) & 1 << signal.SIGINT - 1)
        return found

    with ProcessExecutor(1) as fresh:
        found = Pipeline([blocked], executor=fresh).run().results["blocked"]
    assert found == {"server": True, "worker": False}


FORKING = """
import os
from task_pipeline import Pipeline, ProcessExecutor

def work(context):
    return os.getppid() > 0

with ProcessExecutor(1) as first:
    Pipeline([work], executor=first).run()
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(30)]  # by the numbers that are free now
child = os.fork()
if child == 0:
    for number in files:
        os.fstat(number)
    print(Pipeline([work], executor="process").run().results, flush=True)
    raise SystemExit
print(os.waitpid(child, 0)[1])
"""


def test_a_fork_leaves_the_files_alone_that_have_the_numbers_of_an_ended_executors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout.split("\n"), done.stderr) == (["{'work': True}", "0", ""], "")
