"""Dynamic groups and threads: shared ones, forks, interrupts, and what is left afterwards."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    ExecutionResult,
    GroupStatus,
    Pipeline,
    RunCancelledError,
    SharedThreadPoolExecutor,
    TaskGroup,
    TaskGroupError,
    map_parallel,
    parallel,
)
from task_pipeline.testing import Gate

PATIENCE = 10.0


def after(gate: Gate, value: Any) -> Any:
    """A value, once the gate is open."""
    gate.wait()
    return value


@pytest.fixture
def _threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returns or raises, with all of them begun at the same moment."""
    together = threading.Barrier(len(calls), timeout=PATIENCE)
    found: list[Any] = [None] * len(calls)

    def call(index: int) -> None:
        together.wait()
        try:
            found[index] = calls[index]()
        except BaseException as error:
            found[index] = error

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return found


def in_order(group: TaskGroup) -> list[ExecutionResult[Any]]:
    return sorted(group.stream(), key=lambda result: result.index)


def of_dict(group: TaskGroup) -> list[ExecutionResult[Any]]:
    return list(group.gather_dict().values())


@pytest.mark.usefixtures("_threads_change_often")
@pytest.mark.parametrize("second", ["gather", "stream", "gather_dict", "leave"])
def test_two_threads_that_gather_at_once_get_the_same_results(second: str) -> None:
    for _ in range(100):
        opened = parallel(max_workers=2)
        group = opened.__enter__()
        for number in range(3):
            group.add(pow, number, 2)
        others: dict[str, Callable[[], Any]] = {
            "gather": group.gather,
            "stream": functools.partial(in_order, group),
            "gather_dict": functools.partial(of_dict, group),
            "leave": functools.partial(opened.__exit__, None, None, None),
        }
        first, other = at_once(group.gather, others[second])
        if second != "leave":
            assert [result.unwrap() for result in first] == [0, 1, 4]
            assert other == first
        else:
            assert other is None
            assert isinstance(first, RunCancelledError) or len(first) == 3
        opened.__exit__(None, None, None)


@pytest.mark.usefixtures("_threads_change_often")
def test_tasks_added_by_many_threads_are_all_run_once() -> None:
    with parallel(max_workers=3) as group:
        calls: list[tuple[int, int]] = []

        def add(thread: int) -> list[int]:
            return [group.add(calls.append, (thread, number)) for number in range(50)]

        indices = at_once(*(lambda thread=thread: add(thread) for thread in range(4)))
        assert sorted(chain.from_iterable(indices)) == list(range(200))
        assert len(group.gather()) == 200
    assert sorted(calls) == [(thread, number) for thread in range(4) for number in range(50)]


@pytest.mark.usefixtures("_threads_change_often")
def test_a_task_that_is_added_while_another_thread_gathers_is_run_or_refused() -> None:
    for _ in range(50):
        calls: list[int] = []
        with parallel(max_workers=2) as group:

            def add(group: Any = group, calls: list[int] = calls) -> int:
                for number in range(1000):
                    try:
                        group.add(calls.append, number)
                    except TaskGroupError:
                        return number
                return 1000

            added, results = at_once(add, group.gather)
            assert len(results) == added == group.group.total
            assert sorted(calls) == list(range(added))


def test_a_group_that_one_thread_leaves_ends_for_one_that_gathers() -> None:
    gate = Gate()
    opened = parallel(max_workers=2)
    group = opened.__enter__()
    group.add(gate.wait)
    group.add(gate.wait)
    group.add(gate.wait)
    results = group.stream()

    def leave() -> None:
        gate.wait_until_reached(2)
        opened.__exit__(None, None, None)

    gathered, _ = at_once(group.gather, leave)
    assert [result.status for result in gathered] == ["cancelled"] * 3
    with pytest.raises(RunCancelledError):
        next(results)
    gate.open()


@pytest.mark.parametrize("maps", [False, True], ids=["stream", "map"])
def test_two_threads_that_wait_for_one_stream_both_get_a_result(maps: bool) -> None:
    gate, numbers = Gate(), range(20)
    with parallel(max_workers=2) as group:
        for number in numbers:
            group.add(functools.partial(after, gate, number))
        mapped = map_parallel(lambda number: after(gate, number), numbers, max_workers=2)
        results = mapped if maps else group.stream()

        def take() -> list[int]:
            return [result.unwrap() for result in results]

        def let_go() -> list[int]:
            threading.Event().wait(0.02)  # for both to wait
            gate.open()
            return []

        taken = at_once(take, take, let_go)
        assert sorted(chain.from_iterable(taken)) == list(numbers)


def test_two_coroutines_that_wait_for_one_stream_both_get_a_result() -> None:
    async def run() -> list[int]:
        gate = asyncio.Event()
        async with parallel(max_workers=2) as group:
            for _ in range(20):
                group.add(gate.wait)
            results = group.stream()

            async def take() -> list[int]:
                return [result.index async for result in results]

            asyncio.get_running_loop().call_later(0.01, gate.set)
            return [*chain.from_iterable(await asyncio.gather(take(), take()))]

    async def in_time() -> list[int]:
        return await asyncio.wait_for(run(), PATIENCE)

    assert sorted(asyncio.run(in_time())) == list(range(20))


# What is left


def test_the_pool_has_its_capacity_back_after_everything_that_can_happen() -> None:
    gate = Gate()
    pool = SharedThreadPoolExecutor(3)

    def boom() -> None:
        raise ValueError

    async def aboom() -> None:
        raise ValueError

    def crawl(context: Any) -> None:
        for strategy in ErrorStrategy:
            for work in (boom, aboom, gate.wait, abs):
                options: Any = {"error_strategy": strategy, "timeout": 0.01, "max_workers": 2}
                try:
                    with context.parallel(**options) as group:
                        for _ in range(3):
                            group.add(work)
                        next(iter(group.stream()))
                    with context.parallel(**options) as group:
                        for _ in range(3):
                            group.add(work)
                except (ValueError, TypeError, TimeoutError):
                    pass

    Pipeline([[crawl, crawl]], executor=pool).run()
    gate.open()
    until = time.monotonic() + PATIENCE
    while pool.active:
        assert time.monotonic() < until
        threading.Event().wait(0.001)
    assert pool.thread_count <= 3
    together = threading.Barrier(3, timeout=PATIENCE)
    Pipeline([[lambda context: together.wait() >= 0] * 3], executor=pool).run()


def test_what_was_left_is_let_go_once_it_has_ended() -> None:
    class Data:
        pass

    gone: list[weakref.ref[Any]] = []
    gate = Gate()

    def use(data: Any) -> None:
        gate.wait()

    def run(way: str) -> None:
        data = Data()
        gone.append(weakref.ref(data))
        with parallel(max_workers=2, timeout=0.01 if way == "late" else None) as group:
            gone.extend((weakref.ref(group), weakref.ref(group._core)))
            for _ in range(3):
                group.add(use, data)
            if way == "left":
                gate.wait_until_reached(0)
                group.stream()
        gone.append(weakref.ref(group._core.run))

    async def arun() -> None:
        data = Data()
        gone.append(weakref.ref(data))
        async with parallel(max_workers=2, timeout=0.01) as group:
            gone.extend((weakref.ref(group), weakref.ref(group._core)))
            for _ in range(3):
                group.add(asyncio.Event().wait)
                group.add(use, data)
        gone.append(weakref.ref(group._core.run))

    run("late")
    run("left")
    asyncio.run(arun())
    results = map_parallel(use, [Data()], max_workers=1)
    gone.append(weakref.ref(results))
    del results
    gate.open()
    until = time.monotonic() + PATIENCE
    while any(one() is not None for one in gone):
        assert time.monotonic() < until, [one() for one in gone if one() is not None]
        gc.collect()
        threading.Event().wait(0.002)


def test_many_groups_leave_no_threads_and_no_objects() -> None:
    def some(count: int) -> None:
        for _ in range(count):
            with parallel(max_workers=2) as group:
                group.add(abs, 1)
                group.add(divmod, 1, 0)
            list(map_parallel(abs, [1, 2], max_workers=2))

    some(20)
    gc.collect()
    threads, objects = threading.active_count(), len(gc.get_objects())
    some(200)
    gc.collect()
    assert threading.active_count() <= threads + 1
    assert len(gc.get_objects()) - objects < 200


def test_what_the_collector_finds_is_cancelled_without_waiting_for_a_lock() -> None:
    """The collector may come while this very thread holds the pool's lock, or a run's."""
    gate = Gate()
    pool = SharedThreadPoolExecutor(5)

    def crawl(context: Any) -> None:
        group = context.parallel(max_workers=2).__enter__()
        group.add(gate.wait)
        group.add(gate.wait)
        group.add(gate.wait)
        mapped = map_parallel(lambda item: item or after(gate, 0), [1, 0, 0, 0], max_workers=2)
        held: list[Any] = [group.stream(), next(mapped), mapped]
        del mapped
        gate.wait_until_reached(2)

        def collect() -> None:
            with pool._lock:
                held.clear()

        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        thread.join(2)
        ended.append(not thread.is_alive())

    ended: list[bool] = []
    run = Pipeline([crawl], executor=pool).start()
    until = time.monotonic() + PATIENCE
    while not ended:
        assert time.monotonic() < until
        threading.Event().wait(0.002)
    assert ended == [True]
    gate.open()
    run.result(PATIENCE)


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_after_a_fork_the_child_has_groups_of_its_own(inside: bool) -> None:
    def forked() -> int:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with parallel(max_workers=3) as other:
                    for number in range(10):
                        other.add(pow, number, 2)
                    if [one.unwrap() for one in other.gather()] == [n**2 for n in range(10)]:
                        code = 7
                if sum(one.unwrap() for one in map_parallel(abs, range(5))) != 10:
                    code = 2
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with parallel(max_workers=2) as group:
        group.add(abs, 1)
        group.add(abs, 2)
        if inside:
            group.add(forked)
        results = group.gather()
    assert (results[-1].unwrap() if inside else forked()) == 7
    with parallel() as group:
        group.add(abs, 1)
    assert group.gather()[0].ok


INTERRUPTED = """
import os, signal, sys, threading, time
from task_pipeline import parallel

# Whoever starts the tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
WAY = sys.argv[1]
inside, over = threading.Barrier(2), threading.Event()

def stuck():
    inside.wait()
    time.sleep(60)  # the step's work

def interrupt():
    inside.wait()
    # Again if need be: one that comes between two lines, just before the main thread begins
    # to wait for a lock, Python only notices when that wait is over.
    os.kill(os.getpid(), signal.SIGINT)
    while not over.wait(0.5):
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
started = []
try:
    with parallel(max_workers=1, timeout=50 if WAY == "kept" else None) as group:
        group.add(stuck)
        group.add(started.append, 1)
        list(group.stream()) if WAY == "stream" else group.gather()
except KeyboardInterrupt:
    over.set()
    print("interrupted", group.group.status.value, started)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals as POSIX has them")
@pytest.mark.parametrize("way", ["gather", "kept", "stream"])
def test_ctrl_c_ends_a_group_and_nothing_waits_for_its_tasks(way: str) -> None:
    before = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, way],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    word, status, started = ended.stdout.split()
    assert (word, started) == ("interrupted", "[]")
    assert status in (GroupStatus.CANCELLED, GroupStatus.FAILED)
    assert time.monotonic() - before < 15


INTERRUPTED_ONCE = """
import os, signal, sys, threading
from task_pipeline import map_parallel, parallel

STREAMS = sys.argv[1] == "stream"
gate, over = threading.Event(), threading.Event()

def work(number):
    gate.wait(20)
    return number

def interrupt():
    while not over.wait(0.2):
        os.kill(os.getpid(), signal.SIGINT)

with parallel(max_workers=1) as group:
    for number in range(3):
        group.add(work, number)
    results = group.stream() if STREAMS else map_parallel(work, range(3), look_ahead=1)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        next(results)
    except KeyboardInterrupt:
        over.set()
    threading.Timer(0.1, gate.set).start()
    print([result.unwrap() for result in results])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals as POSIX has them")
@pytest.mark.parametrize("way", ["stream", "map"])
def test_who_is_interrupted_while_waiting_for_a_result_may_go_on_waiting(way: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_ONCE, way],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("[0, 1, 2]\n", 0), ended.stderr
