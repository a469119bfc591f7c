"""Moments at which two things happen at once, brought about one after the other."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import Pipeline, StepCancelledError, step
from task_pipeline.context import BINDING
from task_pipeline.errors import ExecutorError
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.process import launching, recruiting
from task_pipeline.executors.process.lines import To
from task_pipeline.executors.process.parcels import message
from tests.process_doors import comes_true, is_gone_within


def pid(context):
    return os.getpid()


pid.__module__ = "__main__"  # by value: a process need not import the tests


class Between:
    """A call with something else happening just when it is to begin."""

    def __init__(self, call: Any, begins: Callable[[Any], bool]) -> None:
        self._call = call
        self._begins = begins

    def begins(self) -> bool:
        return self._begins(self._call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class Interfering(ProcessExecutor):
    """Calls what it is given when a call is to begin."""

    def __init__(self, begins: Callable[[Any], bool], **settings: Any) -> None:
        super().__init__(1, **settings)
        self._begins = begins

    def submit(self, calls):
        super().submit([Between(call, self._begins) for call in calls])


def test_a_call_that_nobody_wants_any_more_when_it_is_to_begin_is_not_begun(tmp_path):
    def touches(context):
        (tmp_path / "mark").touch()

    said = "'touches' at path 0 was stopped before"
    with Interfering(lambda call: False) as executor, pytest.raises(StepCancelledError, match=said):
        Pipeline([touches], executor=executor).run()
    assert not (tmp_path / "mark").exists()


def test_a_call_that_lay_ahead_and_is_not_wanted_once_it_begins_is_killed():
    def begins(call):
        return call.node.step_id != "endless" and call.begins()

    def endless(context):
        threading.Event().wait()

    said = r"'endless' at path 0\.1 was stopped in the middle"
    with Interfering(begins) as executor, pytest.raises(Exception, match=said):
        Pipeline([[pid, endless]], executor=executor).run()


def test_a_call_whose_process_dies_just_before_it_is_sent_goes_to_another():
    killed: list[int] = []

    def begins(call):
        if not killed and executor.status()["workers"][0]["calls"] > 1:
            (worker,) = executor.status()["workers"]
            killed.append(worker["pid"])
            os.kill(worker["pid"], signal.SIGKILL)
            assert comes_true(lambda: not executor.status()["workers"])
        return call.begins()

    with Interfering(begins) as executor:
        Pipeline([pid], executor=executor).run()
        result = Pipeline([pid], executor=executor).run().results["pid"]
    assert killed not in ([], [result])


def test_a_process_that_does_not_read_is_replaced():
    """It is stopped, and its line is full."""
    stopped: list[int] = []

    def begins(call):
        if not stopped and executor.status()["workers"][0]["calls"] > 1:
            (worker,) = executor._crew._roster.workers
            stopped.append(worker.pid)
            os.kill(worker.pid, signal.SIGSTOP)
            while worker.give(message(To.LOOK, b"x" * 50_000)):
                pass
        return call.begins()

    with Interfering(begins) as executor:
        Pipeline([pid], executor=executor).run()
        result = Pipeline([pid], executor=executor).run().results["pid"]
    assert stopped not in ([], [result])
    assert is_gone_within(stopped[0])


def test_an_executor_that_is_shut_down_while_processes_start_leaves_none(monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    launch = launching.launch

    def slowly(setup):
        started.set()
        assert go_on.wait(20)
        return launch(setup)

    monkeypatch.setattr(recruiting, "launch", slowly)
    executor = ProcessExecutor(1)
    run = Pipeline([pid], executor=executor).start()
    assert started.wait(20)
    executor.shutdown(wait=False, kill=True)
    go_on.set()
    with pytest.raises(ExecutorError, match="was not begun: its process executor was shut down"):
        run.result()
    executor.shutdown()
    assert executor.status()["workers"] == []


def test_what_a_thread_says_whose_step_is_over_is_dropped(caplog):
    def leaves_a_thread(context):
        channel = context.__dict__[BINDING]._channel
        left, said = threading.Event(), threading.Event()
        vars(threading)["of the test"] = (left, said)  # for the next step there

        def says():
            left.wait()
            channel.progressed(50)
            channel.logged(logging.makeLogRecord({"msg": "too late", "name": "late"}))
            said.set()

        threading.Thread(target=says).start()

    def listens(context):
        left, said = vars(threading)["of the test"]
        left.set()
        return said.wait(20)

    with ProcessExecutor(1) as executor:
        results = Pipeline([leaves_a_thread, listens], executor=executor).run().results
    assert results["listens"] is True
    assert "too late" not in caplog.text


def test_what_cannot_be_read_here_of_what_a_step_has_said_is_told(caplog):
    def says(context):
        class Bad:
            def __reduce__(self):
                return int, ("not a number",)

        record = logging.makeLogRecord({"msg": "said", "name": "bad", "bad": Bad()})
        context.__dict__[BINDING]._channel.logged(record)

    with ProcessExecutor(1) as executor:
        Pipeline([says], executor=executor).run()
    assert "what step 'says' at path 0 has logged or told cannot be read" in caplog.text


def test_a_reply_whose_file_is_gone_fails_its_step():
    def loses(context):
        writer = context.__dict__[BINDING]._channel._writer
        writer.write = lambda parts: "/nowhere/reply"
        return b"x" * 100_000

    said = r"'loses' at path 0 has ended.*cannot be read"
    with ProcessExecutor(1) as executor, pytest.raises(ExecutorError, match=said):
        Pipeline([loses], executor=executor).run()


def test_a_run_that_is_stopped_twice_is_stopped_once(tmp_path):
    @step(timeout=0.2)
    def endless(context):
        threading.Event().wait()

    class Twice(ProcessExecutor):
        def stop(self, calls):
            super().stop(calls)
            super().stop(calls)

    with Twice(1) as executor:
        with pytest.raises(TimeoutError):
            Pipeline([endless], executor=executor).run()
        assert Pipeline([pid], executor=executor).run().results["pid"]


def test_a_call_of_an_ended_process_that_was_claimed_by_nobody_begins_elsewhere():
    """It was killed after a call was sent to it, and before it has read it."""
    killed: list[int] = []

    class Sending(ProcessExecutor):
        def submit(self, calls):
            is_first = bool(self.status()["workers"]) and not killed
            if is_first:
                (worker,) = self.status()["workers"]
                killed.append(worker["pid"])
                os.kill(worker["pid"], signal.SIGSTOP)
            super().submit(calls)
            if is_first:
                os.kill(killed[0], signal.SIGKILL)

    with Sending(1) as executor:
        Pipeline([pid], executor=executor).run()
        results = Pipeline([[pid, pid, pid]], executor=executor).run().results
    assert killed
    assert killed[0] not in results.values()
