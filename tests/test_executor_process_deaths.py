"""Processes that die, are killed, or cannot be started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline import (
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    StepTimeoutError,
    step,
)
from task_pipeline.errors import ExecutorError, WorkerDiedError
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.process import forking, packing, recruiting
from tests.process_doors import Door, comes_true, is_gone_within


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(2)
    yield made
    made.shutdown(kill=True)


@pytest.fixture(scope="module")
def single() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(1)
    yield made
    made.shutdown(kill=True)


def pid(context):
    return os.getpid()


pid.__module__ = "__main__"  # by value: a process need not import the tests


def dies_by(number):
    def dies(context):
        os.kill(os.getpid(), number)

    return dies


def leaves_with(code):
    def leaves(context):
        os._exit(code)

    return leaves


def crashes(context):
    ctypes.string_at(0)


crashes.__module__ = "__main__"


@pytest.mark.parametrize(
    ("fatal", "exitcode", "said"),
    [
        (dies_by(signal.SIGKILL), -9, "was killed by SIGKILL in the middle of it.*memory"),
        (dies_by(signal.SIGTERM), -15, "was killed by SIGTERM"),
        (dies_by(signal.SIGRTMIN + 7), -41, "was killed by signal 41"),
        (crashes, -11, "was killed by SIGSEGV.*PYTHONFAULTHANDLER"),
        (leaves_with(7), 7, "ended with exit code 7.*os._exit"),
        (leaves_with(0), 0, "ended with exit code 0"),
    ],
)
def test_a_process_that_dies_fails_its_step_alone(executor, fatal, exitcode, said):
    doomed = step(step_id="doomed", retries=0)(fatal)
    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([[pid, doomed, pid, pid, pid]], executor=executor).run()
    (error,) = caught.value.exceptions
    assert isinstance(error, WorkerDiedError)
    assert (error.exitcode, error.step_id, error.path, error.attempt) == (
        exitcode,
        "doomed",
        "0.1",
        1,
    )
    assert error.pid not in (None, os.getpid())
    with pytest.raises(WorkerDiedError, match=rf"'doomed' at path 0.1.*{error.pid}.*{said}"):
        raise error
    assert list(caught.value.outcomes.values()).count("succeeded") == 4


def test_a_call_that_lay_in_the_line_of_a_process_that_died_goes_to_another(single, tmp_path):
    door = Door(tmp_path / "door")

    def dies(context):
        door.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    context: PipelineContext[Any] = PipelineContext()
    run = Pipeline([[dies, pid]], executor=single, config=PipelineConfig(fail_fast=False)).start(
        context
    )
    first = door.wait_until_reached()
    (worker,) = single._crew._roster.workers
    assert worker.waiting is not None, "the second call lies in its line"
    door.open()
    run.result()
    assert [type(error) for error in context.errors] == [WorkerDiedError]
    assert context.results["pid"] != first


def test_a_step_that_dies_is_tried_again(executor, tmp_path):
    mark = tmp_path / "mark"

    @step(retries=1)
    def dies_once(context):
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return "alive"

    assert Pipeline([dies_once], executor=executor).run().results["dies_once"] == "alive"


def test_processes_that_are_killed_while_idle_are_replaced(single):
    first = Pipeline([pid], executor=single).run().results["pid"]
    os.kill(first, signal.SIGKILL)
    assert Pipeline([pid], executor=single).run().results["pid"] != first


def test_an_endless_call_of_c_code_is_killed_and_tried_again_at_once(executor, tmp_path):
    mark = tmp_path / "mark"

    @step(timeout=0.5, retries=1)
    def computes(context):
        if not mark.exists():
            mark.write_text(str(os.getpid()))
            return pow(10**6 + 3, 10**8) % 7  # holds the GIL, and puts off all signals
        return time.monotonic()

    Pipeline([pid], executor=executor).run()
    began = time.monotonic()
    ended = Pipeline([computes], executor=executor).run().results["computes"]
    assert 0.5 < ended - began < 1.2  # 0.7 on a machine that has nothing else to do
    assert is_gone_within(int(mark.read_text()), 0.2)


def test_what_a_step_has_started_dies_with_it(executor, tmp_path):
    mark = tmp_path / "mark"

    @step(timeout=0.2)
    def spawns(context):
        child = subprocess.Popen(["sleep", "1000"])
        (tmp_path / "half").write_text(str(child.pid))
        (tmp_path / "half").rename(mark)
        child.wait()

    with pytest.raises(StepTimeoutError):
        Pipeline([spawns], executor=executor).run()
    assert is_gone_within(int(mark.read_text()))


def test_what_a_process_that_died_has_left_behind_dies_too(executor, tmp_path):
    def spawns(context):
        child = subprocess.Popen(["sleep", "1000"])
        (tmp_path / "mark").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDiedError):
        Pipeline([spawns], executor=executor).run()
    assert is_gone_within(int((tmp_path / "mark").read_text()))


def test_a_child_that_holds_all_that_its_process_had_does_not_hide_its_death(executor, tmp_path):
    def forks(context):
        heard, says = os.pipe()
        if os.fork() == 0:
            os.setsid()  # it is out of reach
            (tmp_path / "mark").write_text(str(os.getpid()))
            os.write(says, b"!")
            time.sleep(1000)  # the step's work
        os.read(heard, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    with pytest.raises(WorkerDiedError):
        Pipeline([forks], executor=executor).run()
    assert time.monotonic() - began < 2
    os.kill(int((tmp_path / "mark").read_text()), signal.SIGKILL)


def test_a_step_that_stops_by_itself_within_the_grace_period_keeps_its_process(tmp_path):
    door = Door(tmp_path / "door")

    @step(timeout=0.3)
    def polls(context):
        door.wait()
        while not context.cancelled:
            os.sched_yield()
        (tmp_path / "mark").write_text("stopped")

    with ProcessExecutor(1, grace=20) as patient:
        run = Pipeline([polls], executor=patient).start()
        there = door.wait_until_reached()
        door.open()
        with pytest.raises(StepTimeoutError):
            run.result()
        assert Pipeline([pid], executor=patient).run().results["pid"] == there
    assert (tmp_path / "mark").read_text() == "stopped"


def test_calls_that_were_not_begun_are_not_begun_once_their_run_is_cancelled(single, tmp_path):
    door = Door(tmp_path / "door")

    def writes(context):
        (tmp_path / "mark").touch()

    run = Pipeline([[door.wait, writes, writes, writes]], executor=single).start()
    there = door.wait_until_reached()
    run.cancel()
    with pytest.raises(Exception, match="cancel"):
        run.result()
    assert is_gone_within(there), "what it was in the middle of is killed"
    assert Pipeline([pid], executor=single).run().results["pid"] != there
    assert not (tmp_path / "mark").exists()


def test_calls_that_may_be_left_wait_here_and_are_taken_out_again(single, tmp_path):
    """They lie in no line, as they would be lost with what they wait for."""
    door = Door(tmp_path / "door")
    waits = step(timeout=30, step_id="waits")(door.wait)
    run = Pipeline([[waits, step(timeout=30)(dies_by(9))]], executor=single).start()
    there = door.wait_until_reached()
    assert comes_true(lambda: single.status()["waiting"] == 1)
    run.cancel()
    with pytest.raises(Exception, match="cancel"):
        run.result()
    assert is_gone_within(there)
    assert single.status()["waiting"] == 0


def test_a_call_of_another_run_is_not_lost_with_one_that_is_killed(single, tmp_path):
    door = Door(tmp_path / "door")
    run = Pipeline([door.wait], executor=single).start()
    door.wait_until_reached()
    other = Pipeline([pid], executor=single).start()
    run.cancel()
    assert other.result().results["pid"]


def test_processes_that_cannot_work_do_not_start_for_ever(monkeypatch):
    """They really start, and really fail: what they are told to open is not there."""
    started = []
    setup = packing.Packing.setup

    def misled(self, slot, stem):
        started.append(slot)
        return setup(self, slot, stem)._replace(flags="/nowhere/flags")

    with ProcessExecutor(1) as executor, monkeypatch.context() as there:
        there.setattr(packing.Packing, "setup", misled)
        with pytest.raises(
            ExecutorError, match=r"'pid' at path 0 .*several times(?s:.*)/nowhere/flags"
        ):
            Pipeline([pid], executor=executor).run()
        assert len(started) == recruiting.ATTEMPTS
        there.undo()
        assert Pipeline([pid], executor=executor).run().results["pid"]


def test_a_system_that_starts_no_process_is_named(monkeypatch):
    def refuses(fds):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with ProcessExecutor(2) as executor, monkeypatch.context() as there:
        there.setattr(forking.SERVER, "connect", refuses)
        with pytest.raises(ParallelGroupError) as caught:
            Pipeline([[pid, pid]], executor=executor).run()
        assert all("Resource temporarily unavailable" in str(e) for e in caught.value.exceptions)
        there.undo()
        assert Pipeline([pid], executor=executor).run().results["pid"]


def test_where_some_work_more_of_them_are_not_asked_for_all_the_time(monkeypatch, tmp_path):
    tried = threading.Semaphore(0)
    doors = [Door(tmp_path / str(number)) for number in range(2)]

    def refuses(fds):
        tried.release()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with ProcessExecutor(2) as executor, monkeypatch.context() as there:
        Pipeline([pid], executor=executor).run()
        there.setattr(forking.SERVER, "connect", refuses)
        run = Pipeline([[door.wait for door in doors]], executor=executor).start()
        for _ in range(recruiting.ATTEMPTS):
            assert tried.acquire(timeout=20)
        for door in doors:  # one after another, in the process that is there
            door.wait_until_reached()
            door.open()
        run.result()
        assert not tried.acquire(blocking=False)


def test_a_fork_server_that_was_killed_is_replaced(single):
    Pipeline([pid], executor=single).run()
    server = forking.SERVER._server._forkserver_pid
    os.kill(server, signal.SIGKILL)
    assert is_gone_within(server)
    # Without it nobody knows of them: they are ended.
    assert comes_true(lambda: not single.status()["workers"])
    assert Pipeline([pid], executor=single).run().results["pid"]
