"""Steps in processes of their own: what goes there, and what comes back."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    EventBus,
    MissingExtraError,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    PipelineStep,
    step,
)
from task_pipeline.errors import ExecutorError
from task_pipeline.events import StepProgressed, StepSucceeded
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.process import shared_process_executor
from tests.process_doors import ROOT, Door, run_script


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(2)
    yield made
    made.shutdown(kill=True)  # a test that has failed may have left a step at its door


@pytest.fixture(scope="module")
def single() -> Iterator[ProcessExecutor]:
    """One process: what runs there runs in order."""
    made = ProcessExecutor(1)
    yield made
    made.shutdown(kill=True)


@pytest.fixture
def door(tmp_path) -> Door:
    return Door(tmp_path / "door")


def test_branches_run_elsewhere_and_are_merged(executor):
    def left(context):
        context.results["list"].append("left")
        return os.getpid()

    def right(context):
        context.results["list"].append("right")
        return os.getpid()

    context: PipelineContext[Any] = PipelineContext()
    context.results["list"] = ["base"]
    results = Pipeline([[left, right]], executor=executor).run(context).results
    assert results["list"] == ["base", "left", "right"]
    assert os.getpid() not in (results["left"], results["right"])


def test_two_branches_run_at_the_same_time(executor, tmp_path):
    doors = [Door(tmp_path / name) for name in "ab"]
    run = Pipeline([[doors[0].wait, doors[1].wait]], executor=executor).start()
    pids = {door.wait_until_reached() for door in doors}
    assert len(pids) == 2
    states = [worker["state"] for worker in executor.status()["workers"]]
    assert states == ["busy", "busy"]
    for door in doors:
        door.open()
    run.result()


def test_an_error_comes_back_with_its_type_and_where_it_was_raised(executor):
    class OwnError(Exception):
        pass

    def fails(context):
        raise OwnError("no luck") from KeyError("deep")

    with pytest.raises(Exception, match="no luck") as caught:
        Pipeline([fails], executor=executor).run()
    assert type(caught.value).__qualname__ == OwnError.__qualname__
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_step_that_calls_sys_exit_does_not_end_its_process(single):
    def leaves(context):
        sys.exit(3)

    def pid(context):
        return os.getpid()

    before = Pipeline([pid], executor=single).run().results["pid"]
    with pytest.raises(SystemExit):
        Pipeline([leaves], executor=single).run()
    assert Pipeline([pid], executor=single).run().results["pid"] == before


def test_progress_comes_while_the_step_runs(executor, door):
    def works(context):
        context.update_step_progress(30)
        door.wait()

    seen = threading.Event()
    bus = EventBus()
    bus.subscribe(lambda event: seen.set() if isinstance(event, StepProgressed) else None)
    run = Pipeline([works], executor=executor, event_bus=bus).start()
    assert seen.wait(20)
    door.wait_until_reached()
    assert not run.done
    door.open()
    run.result()


def test_what_a_step_logs_is_handled_here(executor, caplog):
    def talks(context):
        logging.getLogger("shop").warning("sold %d of %s", 3, "apples")

    with caplog.at_level(logging.INFO):
        Pipeline([talks], executor=executor).run()
    record = next(record for record in caplog.records if record.name == "shop")
    assert record.getMessage() == "sold 3 of apples"
    assert (record.step_id, record.path) == ("talks", "0")
    assert record.process != os.getpid()


def test_what_several_threads_of_a_step_say_stays_whole(executor, caplog):
    def talks(context):
        def say(number):
            for turn in range(40):
                logging.getLogger("crowd").warning("%s", f"{number}/{turn} " + "x" * (turn * 100))

        threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    Pipeline([talks], executor=executor).run()
    said = [record.getMessage() for record in caplog.records if record.name == "crowd"]
    assert sorted(said) == sorted(
        f"{number}/{turn} " + "x" * (turn * 100) for number in range(4) for turn in range(40)
    )


def test_a_long_log_record_arrives_as_a_file_does(executor, caplog):
    def talks(context):
        logging.getLogger("long").warning("%s", "y" * 300_000)

    Pipeline([talks], executor=executor).run()
    assert [len(r.getMessage()) for r in caplog.records if r.name == "long"] == [300_000]


def test_what_a_step_prints_is_shown_by_the_time_it_has_ended():
    script = dedent("""
        from task_pipeline import Pipeline
        from task_pipeline.executors import ProcessExecutor
        def talks(context): print("hello from", __name__)
        with ProcessExecutor(1) as executor:
            Pipeline([talks], executor=executor).run()
            print("done", flush=True)
    """)
    assert run_script(script).splitlines() == ["hello from __main__", "done"]


def test_a_script_without_a_guard_runs_once_and_its_functions_work(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        dedent("""
            import os
            from task_pipeline import Pipeline, PipelineStep
            print("imported as", __name__)
            FACTOR = 6
            class Point:
                def __init__(self, x): self.x = x
            class Scale(PipelineStep):
                executor = "process"
                def run(self, context): context.results["point"] = Point(7 * FACTOR)
            point = Pipeline([Scale()]).run().results["point"]
            print(point.x, type(point) is Point)
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    assert done.stdout == "imported as __main__\n42 True\n"


def test_processes_follow_the_directory_and_the_path_of_modules(single, tmp_path, monkeypatch):
    def where(context):
        return str(Path.cwd())

    def imports(context):
        return importlib.import_module("only_there").VALUE

    Pipeline([where], executor=single).run()  # its process is there before
    (tmp_path / "only_there.py").write_text("VALUE = 17\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    results = Pipeline([where, imports], executor=single).run().results
    assert results == {"where": str(tmp_path), "imports": 17}


def test_processes_have_the_environment_as_it_is_when_they_start(monkeypatch):
    def reads(context):
        return os.environ.get("ONLY_NOW"), os.environ.get("HOME_OF_OLD")

    monkeypatch.setenv("ONLY_NOW", "yes")
    with ProcessExecutor(1) as executor:
        assert Pipeline([reads], executor=executor).run().results["reads"] == ("yes", None)


def test_a_directory_that_is_gone_fails_the_step_and_nothing_else(single, tmp_path, monkeypatch):
    def works(context):
        return 1

    gone = tmp_path / "gone"
    gone.mkdir()
    with monkeypatch.context() as there:
        there.chdir(gone)
        gone.rmdir()
        assert Pipeline([works], executor=single).run().results["works"] == 1


def test_calls_of_several_runs_are_performed_first_come_first_served(tmp_path):
    order = tmp_path / "order"

    class Noticing(ProcessExecutor):
        def submit(self, calls):
            super().submit(calls)
            submitted.set()

    def writes(text, door=None):
        def work(context):
            if door is not None:
                door.wait()
            with order.open("a") as stream:
                stream.write(text)

        return work

    first = Door(tmp_path / "first")
    submitted = threading.Event()
    with Noticing(1) as executor:
        one = Pipeline([[writes("a", first)] + [writes("a")] * 5], executor=executor).start()
        first.wait_until_reached()
        submitted.clear()
        other = Pipeline([[writes("b")] * 2], executor=executor).start()
        assert submitted.wait(20)
        first.open()
        one.result()
        other.result()
    assert sorted(order.read_text()) == list("aaaaaabb")
    assert order.read_text().startswith("aabb"), "two runs take turns, as each has two calls there"


def test_a_lying_call_is_taken_over_by_a_process_that_has_nothing_to_do(tmp_path):
    slow = Door(tmp_path / "slow")

    def pid(context):
        return os.getpid()

    def quick(context):
        return os.getpid()

    ended = threading.Event()
    bus = EventBus()
    bus.subscribe(lambda event: ended.set() if isinstance(event, StepSucceeded) else None)
    with ProcessExecutor(2) as executor:
        # With one process there, both calls go to it; the second need not wait for the first.
        assert Pipeline([pid], executor=executor).run().results["pid"]
        run = Pipeline([[slow.wait, quick]], executor=executor, event_bus=bus).start()
        other = slow.wait_until_reached()
        assert ended.wait(20), "it waits for the slow one"
        slow.open()
        assert run.result().results["quick"] != other


def test_status_says_what_each_process_is_about(single, door):
    def waits(context):
        door.wait()

    run = Pipeline([[waits, waits]], executor=single, name="shown").start()
    pid = door.wait_until_reached()
    status = single.status()
    assert status["workers"][0] | {"calls": 0} == {
        "pid": pid,
        "state": "busy",
        "step": "'waits' at path 0.0",
        "calls": 0,
    }
    door.open()
    door.wait_until_reached()
    door.open()
    run.result()
    assert single.status()["workers"][0]["state"] == "idle"
    assert single.status()["waiting"] == 0


def test_what_it_cannot_do_is_refused_when_a_pipeline_is_built(executor):
    class Odd(PipelineStep):
        executor_options = {"gpu": 1}

        def run(self, context):
            return None

    with pytest.raises(PipelineDefinitionError, match="gpu"):
        Pipeline([Odd()], executor=executor)


def test_what_cannot_be_pickled_is_refused_before_anything_runs(executor):
    context: PipelineContext[Any] = PipelineContext()
    context.results["page"] = {"lock": threading.Lock()}
    with pytest.raises(PipelineDefinitionError, match=r"results\['page'\]\['lock'\]"):
        Pipeline([lambda context: 1], executor=executor).run(context)


def test_what_cannot_be_pickled_later_fails_the_step_that_needs_it(executor):
    @step(executor="thread")
    def makes(context):
        context.results["lock"] = threading.Lock()

    def needs(context):
        return 1

    with pytest.raises(PipelineDefinitionError, match=r"results\['lock'\]"):
        Pipeline([makes, needs], executor=executor).run()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_workers": 0}, "max_workers must be a whole number from 1, not 0"),
        ({"max_workers": True}, "max_workers"),
        ({"grace": -1}, "grace must be a number of seconds from 0, not -1"),
        ({"idle": float("nan")}, "idle"),
        ({"idle": "long"}, "idle"),
        ({"max_calls_per_worker": 0}, "max_calls_per_worker"),
    ],
)
def test_settings_of_no_meaning_are_refused(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        ProcessExecutor(**settings)


def test_by_default_there_is_a_process_for_each_usable_processor():
    usable = len(os.sched_getaffinity(0))
    executor = ProcessExecutor()
    assert (executor.max_workers, executor.max_calls) == (usable, 2 * usable)
    assert repr(executor) == f"ProcessExecutor(max_workers={usable})"


@pytest.mark.parametrize("package", ["pebble", "cloudpickle"])
def test_a_package_that_is_missing_is_named(package, monkeypatch):
    from task_pipeline.executors import portable
    from task_pipeline.executors.process import launching

    launching.pebbles_process.cache_clear()
    portable._dumps.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*\[process\]"):
        ProcessExecutor(1)


def test_an_executor_elsewhere_is_one_of_the_same_settings(executor):
    made = pickle.loads(pickle.dumps(ProcessExecutor(3, grace=1.5, max_calls_per_worker=9)))
    assert made._settings == ProcessExecutor(3, grace=1.5, max_calls_per_worker=9)._settings
    assert copy.copy(executor) is executor
    assert copy.deepcopy({"executor": executor})["executor"] is executor


def test_all_that_name_it_share_one_executor():
    one = shared_process_executor()
    assert shared_process_executor() is one
    assert pickle.loads(pickle.dumps(one)) is one
    assert repr(one) == "shared_process_executor()"
    one.shutdown()
    assert shared_process_executor() is not one


def test_a_closed_executor_says_so_and_is_closed_once():
    executor = ProcessExecutor(1)
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(ExecutorError, match="was shut down; make another one"):
        Pipeline([lambda context: 1], executor=executor).run()


def test_only_the_steps_that_say_so_go_there(executor):
    @step(executor="thread")
    def here(context):
        return os.getpid()

    def there(context):
        return os.getpid()

    mixed = Parallel([here, there], executor=executor, config=ParallelConfig())
    results = Pipeline([mixed]).run().results
    assert results["here"] == os.getpid() != results["there"]


def test_a_pipeline_inside_of_a_step_has_processes_of_its_own(single):
    def outer(context):
        from task_pipeline.executors import ProcessExecutor as Inner

        def inner(context):
            return os.getpid(), os.getppid()

        with Inner(1) as workers:
            return os.getpid(), Pipeline([inner], executor=workers).run().results["inner"][0]

    first, second = Pipeline([outer], executor=single).run().results["outer"]
    assert len({first, second, os.getpid()}) == 3
