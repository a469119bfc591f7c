"""Any executor of concurrent.futures: what breaks in it, what is cancelled in it, what it is."""

from __future__ import annotations

import contextvars
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from task_pipeline import (
    EventBus,
    GroupTimeoutError,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    PipelineDefinitionError,
    PipelineStep,
    step,
)
from task_pipeline.engine.calling import Capabilities, StepExecutor
from task_pipeline.errors import (
    ConfigurationError,
    ExecutorError,
    MissingExtraError,
    NotPortableError,
    WorkerDiedError,
)
from task_pipeline.events import StepStarted
from task_pipeline.executors import FuturesExecutor
from task_pipeline.executors import futures as module
from task_pipeline.executors.handing import HandingOver
from task_pipeline.executors.queueing import Places, places_of
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]
SPAWN = multiprocessing.get_context("spawn")  # not forked: this process has threads


def nothing(context: Context) -> None:
    pass


def answer(context: Context) -> int:
    return 42


def pid(context: Context) -> int:
    return os.getpid()


def dies(context: Context) -> None:
    os._exit(3)


def exits(context: Context) -> None:
    raise SystemExit("enough")


class Waits(PipelineStep):
    """Waits for a file, and leaves others."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def run(self, context: Context) -> None:
        (self.folder / "began").touch()
        until_there(self.folder / "go")
        (self.folder / f"ran{self.number}").touch()


def until_there(file: Path) -> None:
    until(file.exists, f"there is a file {file.name!r}")


def until(condition: Callable[[], Any], what: str) -> None:
    """For what another process does, or a thread of an executor's."""
    pause, late = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < late, f"not in time: {what}"
        pause.wait(0.005)


def boom() -> None:
    raise KeyError("a mistake in the executor")


class Unreadable:
    """What can be pickled, and not be read again."""

    def __reduce__(self) -> Any:
        return exec, ("raise LookupError('not here')",)


def unreadable(context: Context) -> Any:
    return Unreadable()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        yield pool


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


# What it is


def test_it_is_an_executor_with_the_name_and_size_of_the_one_it_was_given(
    threads: ThreadPoolExecutor,
) -> None:
    executor = FuturesExecutor(threads)
    assert isinstance(executor, StepExecutor)
    assert executor.executor is threads
    assert (executor.name, executor.max_calls) == ("ThreadPoolExecutor", 2)
    assert repr(executor) == f"FuturesExecutor({threads!r}, max_calls=2)"
    assert FuturesExecutor(threads, max_calls=7).max_calls == 7


def test_a_process_pool_pickles_and_a_thread_pool_shares(
    threads: ThreadPoolExecutor, processes: ProcessPoolExecutor
) -> None:
    on_threads = FuturesExecutor(threads).capabilities
    assert on_threads == Capabilities(
        shares_memory=True, needs_pickling=False, reports=True, tells_start=True
    )
    elsewhere = FuturesExecutor(processes).capabilities
    assert elsewhere == Capabilities(needs_pickling=True, tells_start=True)
    assert not elsewhere.kills
    assert elsewhere.leaves
    assert Pipeline([pid], executor=processes).run().results["pid"] != os.getpid()


def test_a_pool_of_interpreters_pickles_though_it_is_a_thread_pool_by_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interpreters(ThreadPoolExecutor):
        pass

    module_of_314: Any = type(sys)("concurrent.futures.interpreter")
    module_of_314.InterpreterPoolExecutor = Interpreters
    monkeypatch.setitem(sys.modules, "concurrent.futures.interpreter", module_of_314)
    with Interpreters(1) as pool, ThreadPoolExecutor(1) as threads:
        assert FuturesExecutor(pool).capabilities.needs_pickling
        assert FuturesExecutor(threads).capabilities.shares_memory


class Immediate(Executor):
    """An executor of the user's, which says nothing of its size."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def test_an_executor_of_the_users_own_is_thought_to_be_elsewhere_unless_it_says_so() -> None:
    executor = FuturesExecutor(Immediate())
    assert executor.max_calls == 1_000
    assert executor.capabilities.needs_pickling
    context: Context = PipelineContext(shared={"seen": []})

    def touches(context: Context) -> None:
        context.shared["seen"].append(1)

    with pytest.raises(NotPortableError, match="seen"):
        Pipeline([touches], executor=executor).run(context)
    sharing = FuturesExecutor(Immediate(), shares_memory=True)
    Pipeline([[touches, touches], touches], executor=sharing).run(context)
    assert context.shared == {"seen": [1, 1, 1]}


def test_what_says_nothing_sensible_of_its_size_is_given_many() -> None:
    executor: Any = Immediate()
    for size in (None, 0, -1, "8", True):
        executor._max_workers = size
        assert FuturesExecutor(executor).max_calls == 1_000
    executor._max_workers = 3
    found = FuturesExecutor(executor)
    assert (found.at_once, found.max_calls) == (3, 6)  # the next for each is made ready
    found = FuturesExecutor(executor, shares_memory=True)
    assert (found.at_once, found.max_calls) == (3, 3)
    found = FuturesExecutor(executor, max_calls=5)
    assert (found.at_once, found.max_calls) == (5, 5)


class Client:
    def get_executor(self) -> None:
        raise NotImplementedError

    def submit(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ((None,), "takes a concurrent.futures.Executor, not None"),
        ((Client(),), "is a client, not an executor: give DaskExecutor"),
        ((Immediate(), 0), "max_calls must be a whole number from 1, not 0"),
        ((Immediate(), True), "max_calls must be a whole number from 1, not True"),
    ],
)
def test_what_it_does_not_take(arguments: Any, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        FuturesExecutor(*arguments)


def test_it_needs_cloudpickle_only_to_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("this", "process", "cloudpickle")

    monkeypatch.setattr(module, "require_cloudpickle", missing)
    FuturesExecutor(Immediate(), shares_memory=True)
    with pytest.raises(MissingExtraError):
        FuturesExecutor(Immediate())


def test_it_knows_no_options(threads: ThreadPoolExecutor) -> None:
    with pytest.raises(
        PipelineDefinitionError, match=r"executor_options \('a', 'b'\), of which a ThreadPool"
    ):
        Pipeline([step(executor=threads, executor_options={"a": 1, "b": 2})(nothing)])


def test_it_is_not_copied_and_cannot_be_pickled(threads: ThreadPoolExecutor) -> None:
    executor = FuturesExecutor(threads)
    assert copy.copy(executor) is copy.deepcopy(executor) is executor
    with pytest.raises(TypeError, match="a ThreadPoolExecutor cannot be pickled"):
        pickle.dumps(executor)


# What breaks


def test_a_worker_that_dies_fails_its_step_and_the_pool_must_be_replaced() -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        with pytest.raises(WorkerDiedError) as died:
            Pipeline([nothing, dies], executor=pool).run()
        assert (died.value.step_id, died.value.path, died.value.attempt) == ("dies", "1", 1)
        for text in ("'dies' at path 1", "ProcessPoolExecutor died", "give the pipeline another"):
            assert text in str(died.value)
        with pytest.raises(ExecutorError) as refused:
            Pipeline([nothing], executor=pool).run()
        for text in ("did not take step 'nothing' at path 0", "it is broken, and stays so"):
            assert text in str(refused.value)


def test_a_retry_in_a_broken_pool_fails_at_once() -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        again = step(retries=1, critical=False)(dies)
        context = Pipeline([again], executor=pool).run()
        assert [type(error) for error in context.errors] == [ExecutorError]


def test_the_run_is_not_lost_with_the_pool() -> None:
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        dead = step(critical=False)(dies)
        on_thread = step(executor="thread")(answer)
        context = Pipeline([[dead, on_thread], on_thread], executor=pool).run()
    assert context.results == {"answer": 42, "answer#2": 42}
    assert [type(error) for error in context.errors] == [WorkerDiedError]


def test_a_worker_of_lokys_that_dies() -> None:
    loky = pytest.importorskip("loky")
    pool = loky.ProcessPoolExecutor(1)
    try:
        with pytest.raises(WorkerDiedError, match="give the pipeline another"):
            Pipeline([dies], executor=pool).run()
        with pytest.raises(ExecutorError, match="it is broken"):
            Pipeline([nothing], executor=pool).run()
    finally:
        pool.shutdown()


def test_an_initializer_that_fails_breaks_a_thread_pool() -> None:
    def fails() -> None:
        raise RuntimeError("no licence")

    with ThreadPoolExecutor(1, initializer=fails) as pool:
        with pytest.raises(ExecutorError, match=r"broke before it could run step 'nothing'.*anoth"):
            Pipeline([nothing], executor=pool).run()
        with pytest.raises(ExecutorError, match="it is broken, and stays so"):
            Pipeline([nothing], executor=pool).run()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_that_was_shut_down_takes_nothing(kind: str) -> None:
    pool = ThreadPoolExecutor(1) if kind == "threads" else ProcessPoolExecutor(1, SPAWN)
    pool.shutdown()
    with pytest.raises(ExecutorError, match=r"did not take step 'nothing' at path 0: .*shutdown"):
        Pipeline([nothing], executor=pool).run()


def test_what_is_cancelled_by_others_fails_and_says_so() -> None:
    gate = Gate()
    pool = ThreadPoolExecutor(1)
    executor = FuturesExecutor(pool, max_calls=3)
    steps = [lambda context: gate.wait(), nothing, answer]
    run = Pipeline([steps], executor=executor).start()
    gate.wait_until_reached()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    with pytest.raises(ParallelGroupError) as caught:
        run.result(10)
    assert [type(error) for error in caught.value.exceptions] == [ExecutorError, ExecutorError]
    assert "'nothing' at path 0.1 was cancelled before it began" in str(caught.value)
    assert "was the ThreadPoolExecutor shut down" in str(caught.value)


def test_a_submit_that_raises_or_returns_no_future() -> None:
    class Odd(Immediate):
        answers: Any

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self.answers, Exception):
                raise self.answers
            return self.answers

    odd = Odd()
    odd.answers = OSError("no more workers")
    with pytest.raises(ExecutorError, match="did not take step 'nothing' at path 0: OSError: no m"):
        Pipeline([nothing], executor=odd).run()
    odd.answers = 7
    with pytest.raises(ExecutorError, match=r"returned a int, not a concurrent\.futures\.Fu"):
        Pipeline([nothing], executor=odd).run()


def test_a_future_that_fails_of_itself_is_the_executors_failure() -> None:
    class Fails(Immediate):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(boom)

    with pytest.raises(ExecutorError, match="Fails could not run step 'nothing' at path 0: KeyErr"):
        Pipeline([nothing], executor=Fails()).run()


def test_a_worker_that_is_interrupted_ends_the_run() -> None:
    class Interrupted(Immediate):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(SystemExit("of a worker"))
            return future

    with pytest.raises(SystemExit, match="of a worker"):
        Pipeline([nothing], executor=Interrupted()).run()


def test_what_cannot_be_read_when_it_comes_back_fails_its_step(
    processes: ProcessPoolExecutor,
) -> None:
    with pytest.raises(NotPortableError, match="LookupError: not here"):
        Pipeline([unreadable], executor=processes).run()


def test_what_cannot_be_pickled_in_the_middle_of_a_run_fails_its_step(
    processes: ProcessPoolExecutor,
) -> None:
    @step(executor="thread")
    def makes_a_lock(context: Context) -> Any:
        return {"lock": threading.Lock()}

    with pytest.raises(NotPortableError, match=r"results\['makes_a_lock'\]\['lock'\]"):
        Pipeline([makes_a_lock, answer], executor=processes).run()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_ends_the_program_is_raised_by_run(kind: str, request: Any) -> None:
    pool = request.getfixturevalue(kind)
    with pytest.raises(SystemExit, match="enough"):
        Pipeline([nothing, [exits, nothing]], executor=pool).run()
    assert Pipeline([answer], executor=pool).run().results == {"answer": 42}


def test_it_cannot_be_used_in_a_fork() -> None:
    """Where its threads are not: nothing would ever come of it."""
    script = """
        import os
        from concurrent.futures import ThreadPoolExecutor
        from task_pipeline import Pipeline
        from task_pipeline.executors import FuturesExecutor

        executor = FuturesExecutor(ThreadPoolExecutor(1))
        pipeline = Pipeline([lambda context: 42], executor=executor)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print(pipeline.run().results)
        else:
            try:
                pipeline.run()
            except Exception as error:
                print(error, flush=True)
                os._exit(0)
            os._exit(1)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "of which this one is a fork; make one here" in done.stdout
    assert "{'lambda': 42}" in done.stdout


# Stopping


class Remembers(ThreadPoolExecutor):
    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.futures.append(future)
        return future


def test_what_has_not_begun_is_cancelled_and_over_at_once() -> None:
    gate, begun, clock = Gate(), [], ManualClock()
    waits = [lambda context: gate.wait(), *[lambda context: begun.append(1)] * 4]
    with Remembers(1) as pool, clock.installed():
        slow = Parallel(waits, config=ParallelConfig(timeout=60))
        pipeline = Pipeline([slow], executor=FuturesExecutor(pool, max_calls=5))
        run = pipeline.start()
        gate.wait_until_reached()
        clock.advance(60)
        with pytest.raises(GroupTimeoutError):
            run.result(10)
        until(lambda: all(future.cancelled() for future in pool.futures[1:]), "all are cancelled")
        assert len(pool.futures) == 5
        gate.open()
    assert begun == []
    assert pipeline.get_status()["abandoned"] == 0


def test_a_call_that_is_stopped_while_it_is_handed_over_is_cancelled() -> None:
    """Before `stop()` could find it."""
    gate, failed = Gate(), threading.Event()
    call: Any = SimpleNamespace(
        node=Pipeline([nothing])._plan.steps[0],
        contextvars=contextvars.copy_context(),
        is_wanted=False,
        perform=lambda: pytest.fail("it is not to begin"),
        failed=lambda error: failed.set(),
    )
    with Remembers(1) as pool:
        pool.submit(gate.wait)
        gate.wait_until_reached()
        executor = FuturesExecutor(pool)
        executor.stop([call])
        executor.submit([call])
        assert pool.futures[1].cancelled()
        assert failed.wait(10)
        gate.open()


def test_what_waits_for_a_worker_has_not_begun_and_can_be_stopped(
    processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """In the queue of a process pool it could be neither told nor stopped."""
    clock, bus, steps = ManualClock(), EventBus(), [Waits(tmp_path, n) for n in range(4)]
    group = Parallel(steps, config=ParallelConfig(timeout=60))
    pipeline = Pipeline([group], executor=processes, event_bus=bus)
    with clock.installed():
        run = pipeline.start()
    try:
        until_there(tmp_path / "began")
        clock.advance(60)
        with pytest.raises(GroupTimeoutError):
            run.result(10)
        assert pipeline.get_status()["abandoned"] == 1
        until(lambda: not places_of(processes)._waiting, "none waits any more")
    finally:
        (tmp_path / "go").touch()
    assert Pipeline([answer], executor=processes).run().results == {"answer": 42}
    assert [path.name for path in tmp_path.glob("ran*")] == ["ran0"]
    assert [event.path for event in bus.history if isinstance(event, StepStarted)] == ["0.0"]


def test_nothing_has_to_wait_to_be_stopped_when_it_is_its_turn(
    processes: ProcessPoolExecutor,
) -> None:
    """Left in the moment in which it gets a place."""
    told: list[Any] = []

    call: Any = SimpleNamespace(begins=lambda: False, ended=told.append)
    assert not FuturesExecutor(processes).hand_over(call)
    places = Places()
    places.wait(FuturesExecutor(processes), [call])
    assert len(told) == 2
    assert places.withdraw([call]) == []


def test_the_places_of_a_pool_are_the_same_for_all_pipelines() -> None:
    class Unhashable(Immediate):
        __hash__: Any = None

    one, other = Immediate(), Unhashable()
    assert places_of(one) is places_of(one)
    assert places_of(one) is not places_of(Immediate())
    assert places_of(other) is not places_of(other)
    assert Pipeline([answer], executor=other).run().results == {"answer": 42}


def test_two_runs_have_no_more_workers_than_one(
    processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    bus = EventBus()
    first = Pipeline([Waits(tmp_path, 0)], executor=processes, event_bus=bus).start()
    try:
        until_there(tmp_path / "began")
        second = Pipeline([answer, answer], executor=processes, event_bus=bus).start()
    finally:
        freed = time.monotonic()
        (tmp_path / "go").touch()
    first.result(10)
    assert second.result(10).results == {"answer": 42, "answer#2": 42}
    began = [event for event in bus.history if isinstance(event, StepStarted)]
    assert [event.monotonic > freed for event in began] == [False, True, True]


def test_it_takes_nothing_once_it_is_shut_down_and_leaves_its_executor_alone(
    threads: ThreadPoolExecutor,
) -> None:
    with FuturesExecutor(threads) as executor:
        assert Pipeline([answer], executor=executor).run().results == {"answer": 42}
    with pytest.raises(ExecutorError, match="did not take step 'answer' at path 0: it was shut do"):
        Pipeline([answer], executor=executor).run()
    assert Pipeline([answer], executor=threads).run().results == {"answer": 42}


# Runs inside of steps, on the same executor


def test_a_step_with_the_only_worker_can_wait_for_a_run_on_the_same_executor() -> None:
    with ThreadPoolExecutor(1) as pool:

        def innermost(context: Context) -> Any:
            return Pipeline([[answer, answer]], executor=pool).run().results["answer"]

        def outer(context: Context) -> Any:
            inner = Pipeline([[innermost, nothing], innermost], executor=pool).start()
            return inner.result(10).results["innermost#2"]

        results = Pipeline([[outer, outer]], executor=pool).run().results
    assert results == {"outer": 42, "outer#2": 42}


def test_no_stand_in_is_needed_for_a_run_inside_a_step_that_runs_elsewhere() -> None:
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as other:

        def innermost(context: Context) -> Any:
            return Pipeline([answer], executor=pool).run().results["answer"]

        def outer(context: Context) -> Any:
            return Pipeline([innermost], executor=other).run().results["innermost"]

        assert Pipeline([outer], executor="thread").run().results == {"outer": 42}
        assert Pipeline([outer], executor=pool).run().results == {"outer": 42}


def test_what_ends_the_program_in_such_a_run_ends_both() -> None:
    with ThreadPoolExecutor(1) as pool:

        def outer(context: Context) -> None:
            Pipeline([exits], executor=pool).run()

        with pytest.raises(SystemExit):
            Pipeline([outer], executor=pool).run()
        assert Pipeline([answer], executor=pool).run().results == {"answer": 42}


def test_nothing_is_lost_if_the_pool_drops_what_a_stand_in_has_begun() -> None:
    gate, pool = Gate(), ThreadPoolExecutor(1)
    executor = FuturesExecutor(pool)

    def outer(context: Context) -> Any:
        inner = Pipeline([lambda context: gate.wait(), answer], executor=executor)
        return inner.run().results["answer"]

    run = Pipeline([step(critical=False)(outer)], executor=executor).start()
    gate.wait_until_reached()  # in the thread that stands in for the one of `outer`
    pool.shutdown(wait=False, cancel_futures=True)
    heard = threading.Event()
    call: Any = SimpleNamespace(ended=lambda reply: heard.set())
    executor._handing.give(call, None)  # what was cancelled has been heard of by then
    assert heard.wait(10)
    gate.open()
    context = run.result(10)
    assert [str(error)[:60] for error in context.errors] == [
        "ThreadPoolExecutor did not take step 'answer' at path 1: Run"
    ]


# The thread that hands over


def test_its_thread_ends_when_there_is_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("task_pipeline.executors.handing.LINGER", 0.0)
    concluded: list[int] = []
    done = threading.Event()

    def conclude(number: int) -> None:
        concluded.append(number)
        if number % 10 == 9:
            done.set()

    handing = HandingOver(conclude, "handing")
    for start in (0, 10):
        for number in range(start, start + 10):
            handing.give(number)
        assert done.wait(10)
        done.clear()
        thread = handing._thread
        if thread is not None:
            thread.join(10)
        assert handing._thread is None
    assert concluded == list(range(20))


def test_a_mistake_in_one_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda given: shown.append(given.exc_type))
    done = threading.Event()

    def conclude(number: int) -> None:
        if number == 0:
            raise ZeroDivisionError
        done.set()

    handing = HandingOver(conclude, "handing")
    handing.give(0)
    handing.give(1)
    assert done.wait(10)
    assert shown in ([], [ZeroDivisionError])  # the thread that made it may not have ended yet


def test_dasks_own_executor() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        assert FuturesExecutor(executor).max_calls == 1_000
        results = Pipeline([answer, [pid, nothing]], executor=executor).run().results
    assert results == {"answer": 42, "pid": os.getpid()}
