"""How long processes are there, and that nothing of them stays."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from task_pipeline import Pipeline, PipelineConfig, PipelineContext
from task_pipeline.errors import ExecutorError
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.process import forking, scratch
from tests.process_doors import ROOT, Door, comes_true, descendants, is_gone_within, run_script


def pid(context):
    return os.getpid()


pid.__module__ = "__main__"  # by value: a process need not import the tests


class Traces:
    """What there is of processes, threads, files and descriptors."""

    def __init__(self) -> None:
        resource_tracker.ensure_running()  # the standard library's, and stays
        self.before = self.now()

    def now(self) -> dict[str, set]:
        gc.collect()
        mine = f"{scratch.PREFIX}{os.getpid()}-"
        return {
            "processes": descendants(os.getpid()),
            "threads": {t.name for t in threading.enumerate()} - {"task_pipeline-clock"},
            "files": {
                path.name
                for root in {"/dev/shm", tempfile.gettempdir()}
                for path in Path(root).iterdir()
                if path.name.startswith(mine)
            },
            "descriptors": {int(path.name) for path in Path("/proc/self/fd").iterdir()},
        }

    def added(self) -> dict[str, set]:
        now = self.now()
        return {name: left for name in now if (left := now[name] - self.before[name])}


def without_threads_of_the_pool(left: dict[str, set]) -> dict[str, set]:
    left = dict(left)
    threads = {name for name in left.pop("threads", set()) if "process" in name or "worker" in name}
    return left | ({"threads": threads} if threads else {})


def test_nothing_is_left_after_a_shutdown():
    import numpy as np

    def works(context):
        return np.ones(50_000)

    traces = Traces()
    context: PipelineContext[Any] = PipelineContext()
    context.results["array"] = np.ones(200_000)
    executor = ProcessExecutor(2)
    Pipeline([[works] * 5], executor=executor).run(context)
    assert {"processes", "files", "descriptors"} <= traces.added().keys()
    executor.shutdown()
    assert without_threads_of_the_pool(traces.added()) == {}


def test_nothing_is_left_after_steps_were_killed_in_the_middle(tmp_path):
    doors = [Door(tmp_path / name) for name in "ab"]
    traces = Traces()
    executor = ProcessExecutor(2)
    run = Pipeline([[doors[0].wait, doors[1].wait, pid, pid]], executor=executor).start()
    for door in doors:
        door.wait_until_reached()
    executor.shutdown(kill=True)
    with pytest.raises(ExceptionGroup) as caught:
        run.result()
    assert all(isinstance(error, ExecutorError) for error in caught.value.exceptions)
    said = " ".join(str(error) for error in caught.value.exceptions)
    assert said.count("was ended in the middle of it: its process executor was shut down") == 2
    assert said.count("was not begun: its process executor was shut down") == 2
    assert without_threads_of_the_pool(traces.added()) == {}


def test_a_shutdown_without_waiting_lets_what_was_taken_come_to_its_end(tmp_path):
    door = Door(tmp_path / "door")
    executor = ProcessExecutor(1)
    run = Pipeline([[door.wait, pid]], executor=executor).start()
    there = door.wait_until_reached()
    executor.shutdown(wait=False)
    door.open()
    assert run.result().results["pid"] == there
    executor.shutdown()
    assert is_gone_within(there, 0)


def test_an_executor_that_nobody_holds_any_more_leaves_nothing():
    traces = Traces()
    executor = ProcessExecutor(1)
    pipeline = Pipeline([pid], executor=executor)
    pipeline.run()
    del executor, pipeline
    assert comes_true(lambda: not without_threads_of_the_pool(traces.added()))


def test_one_that_was_never_used_leaves_nothing():
    traces = Traces()
    for _ in range(3):
        ProcessExecutor(1)
        ProcessExecutor(1).shutdown(kill=True)
    assert without_threads_of_the_pool(traces.added()) == {}


def test_a_process_that_is_idle_is_ended_and_another_one_started_when_needed():
    with ProcessExecutor(1, idle=0.05) as executor:
        first = Pipeline([pid], executor=executor).run().results["pid"]
        assert is_gone_within(first)
        assert comes_true(lambda: not executor.status()["workers"])
        assert Pipeline([pid], executor=executor).run().results["pid"] != first


def test_a_process_is_replaced_after_so_many_calls():
    with ProcessExecutor(1, max_calls_per_worker=3) as executor:
        results = Pipeline([[pid] * 7], executor=executor).run().results
    pids = list(results.values())
    assert sorted(pids.count(each) for each in set(pids)) == [1, 3, 3]


def test_a_fork_of_this_process_has_processes_of_its_own_and_leaves_its_parents_alone():
    assert (
        run_script(
            dedent("""
                import os, sys, warnings
                import numpy as np
                from task_pipeline import Pipeline, PipelineContext
                from task_pipeline.executors import ProcessExecutor
                warnings.simplefilter("ignore", DeprecationWarning)  # that it has threads
                def pid(context): return os.getpid(), float(context.results["array"].sum())
                executor = ProcessExecutor(1)
                context = PipelineContext()
                context.results["array"] = np.ones(500_000)
                pipeline = Pipeline([[pid]], executor=executor)
                first = pipeline.run(context).results["pid"]
                child = os.fork()
                if child == 0:
                    other = pipeline.run(context).results["pid"]
                    executor.shutdown()
                    os._exit(0 if other[0] != first[0] and other[1] == first[1] else 1)
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                print(pipeline.run(context).results["pid"] == first)
            """)
        )
        == "0\nTrue\n"
    )


def test_the_end_of_a_script_waits_for_no_step(tmp_path):
    script = dedent("""
        import os, sys, time
        from task_pipeline import Pipeline
        def hangs(context):
            open(sys.argv[1], "w").write(str(os.getpid()))
            time.sleep(1000)  # the step's work
        run = Pipeline([hangs], executor="process").start()
        while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
            os.sched_yield()
        print("over")
    """)
    assert run_script(script, str(tmp_path / "mark")) == "over\n"
    assert is_gone_within(int((tmp_path / "mark").read_text()), 5)


def test_an_interrupt_ends_the_run_and_its_processes_say_nothing(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(
        dedent("""
            import os, signal, sys, time
            from task_pipeline import Pipeline
            signal.signal(signal.SIGINT, signal.default_int_handler)
            def hangs(context):
                os.write(1, b"%d\\n" % os.getpid())
                time.sleep(1000)  # the step's work
            try:
                Pipeline([[hangs] * 2], executor="process").run()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """)
    )
    running = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert running.stdout is not None
    worker = int(running.stdout.readline())
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
    out, errors = running.communicate(timeout=20)
    assert "interrupted" in out
    assert [line for line in errors.splitlines() if "WARNING" not in line] == []
    assert is_gone_within(worker, 5)


def test_a_step_may_have_processes_of_its_own_and_they_end_with_it():
    def uses(context):
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(1) as pool:
            forked = pool.apply(os.getpgrp)
        context_of_servers = multiprocessing.get_context("forkserver")
        ours, theirs = context_of_servers.Pipe()
        child = context_of_servers.Process(target=theirs.send, args=(b"hello",))
        child.start()
        heard = ours.recv()
        server = vars(vars(multiprocessing.forkserver)["_forkserver"])["_forkserver_pid"]
        context.results["server"] = server
        context.results["same"] = {os.getpgid(server), forked, os.getpgrp()} == {os.getpid()}
        return heard

    with ProcessExecutor(1) as executor:
        results = Pipeline([uses], executor=executor).run().results
        assert (results["uses"], results["same"]) == (b"hello", True)
    assert is_gone_within(results["server"])


def test_the_users_own_fork_server_is_another_one():
    context = multiprocessing.get_context("forkserver")
    with ProcessExecutor(1) as executor:
        Pipeline([pid], executor=executor).run()
        users: Any = forkserver._forkserver
        assert users._preload_modules == ["__main__"]
        assert users is not forking.SERVER._server
        assert users._forkserver_pid in (None, *descendants(os.getpid()))
        assert context.get_start_method() == "forkserver"


def test_the_processes_are_not_among_those_that_the_user_waits_for():
    with ProcessExecutor(1) as executor:
        there = Pipeline([pid], executor=executor).run().results["pid"]
        assert there not in [child.pid for child in multiprocessing.active_children()]


def test_a_process_that_does_not_end_by_itself_is_ended():
    """A thread that a step leaves behind keeps the interpreter from ending."""

    def leaves_a_thread(context):
        threading.Thread(target=threading.Event().wait).start()
        return os.getpid()

    executor = ProcessExecutor(1, idle=0.0)
    there = Pipeline([leaves_a_thread], executor=executor).run().results["leaves_a_thread"]
    assert is_gone_within(there, 10)
    executor.shutdown()


def test_many_runs_at_once_share_the_processes():
    def number(context):
        return context.app_config["number"]

    with ProcessExecutor(2) as executor:
        pipeline = Pipeline(
            [[number] * 5, number], executor=executor, config=PipelineConfig(max_workers=4)
        )
        runs = [pipeline.start(PipelineContext(app_config={"number": n})) for n in range(12)]
        for n, run in enumerate(runs):
            assert set(run.result().results.values()) == {n}
        assert len(executor.status()["workers"]) == 2


def test_a_process_that_is_a_daemon_itself_may_have_them_too_and_they_end_with_it():
    assert (
        run_script(
            dedent("""
                import multiprocessing, os
                def work(_):
                    from task_pipeline import Pipeline
                    def pid(context): return os.getpid()
                    return Pipeline([pid], executor="process").run().results["pid"], os.getpid()
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    first, second = pool.apply(work, (0,))
                    print(first != second)
                    pool.close()
                    pool.join()
                print([n for n in os.listdir("/dev/shm") if f"task_pipeline-{second}-" in n])
            """)
        )
        == "True\n[]\n"
    )
