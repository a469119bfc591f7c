"""The pool as an executor of its own: submitting, waiting, ending, its size."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from task_pipeline import (
    ConfigurationError,
    Pipeline,
    PipelineConfig,
    PoolShutdownError,
    SharedThreadPoolExecutor,
)
from task_pipeline.testing import Gate


def test_it_is_an_executor() -> None:
    pool = SharedThreadPoolExecutor(2)
    assert isinstance(pool, concurrent.futures.Executor)
    assert pool.submit(pow, 2, 10).result(10) == 1024
    assert list(pool.map(abs, [-1, -2])) == [1, 2]
    error = pool.submit(int, "x").exception(10)
    assert isinstance(error, ValueError)


def test_waiting_for_a_future_inside_a_worker_does_not_deadlock() -> None:
    pool = SharedThreadPoolExecutor(1)

    def nested(depth: int) -> int:
        return 0 if depth == 0 else 1 + pool.submit(nested, depth - 1).result(10)

    assert pool.submit(nested, 10).result(10) == 10


def test_shutdown_waits_for_what_was_submitted_and_takes_no_more() -> None:
    pool = SharedThreadPoolExecutor(1)
    gate = Gate()
    first, second = pool.submit(gate.wait), pool.submit(int, "5")
    ended = threading.Event()

    def shut_down() -> None:
        pool.shutdown()
        ended.set()

    threading.Thread(target=shut_down, daemon=True).start()
    gate.wait_until_reached()
    assert not ended.is_set()
    gate.open()
    assert ended.wait(10)
    assert first.done() and second.result(10) == 5
    with pytest.raises(PoolShutdownError):
        pool.submit(int)
    with pytest.raises(PoolShutdownError):
        Pipeline([lambda context: None], executor=pool).run()


def test_shutdown_can_cancel_what_waits() -> None:
    pool = SharedThreadPoolExecutor(1)
    gate = Gate()
    running, waiting = pool.submit(gate.wait), pool.submit(int)
    gate.wait_until_reached()
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    gate.open()
    assert running.result(10) is None


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2"])
def test_a_size_must_be_a_whole_number_from_1(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="max_workers"):
        SharedThreadPoolExecutor(wrong)  # type: ignore[arg-type]  # that is what is tested


def test_the_environment_sets_the_default_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_PIPELINE_MAX_WORKERS", "3")
    assert SharedThreadPoolExecutor().max_workers == 3
    seen: list[str] = []
    together = threading.Barrier(3, timeout=10)

    def meet(context: object) -> None:
        together.wait()
        seen.append(threading.current_thread().name)

    Pipeline([[meet] * 3]).run()
    assert len(seen) == 3


@pytest.mark.parametrize("wrong", ["0", "-2", "many", "1.5"])
def test_a_wrong_size_in_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("TASK_PIPELINE_MAX_WORKERS", wrong)
    with pytest.raises(ConfigurationError, match="TASK_PIPELINE_MAX_WORKERS"):
        Pipeline([lambda context: None]).run()


def test_a_run_that_asks_for_more_workers_gets_them() -> None:
    together = threading.Barrier(40, timeout=20)
    steps = [lambda context: together.wait() and None] * 40
    Pipeline([steps], config=PipelineConfig(max_workers=40)).run()
    assert together.broken is False


def test_a_worker_that_is_recalled_after_the_shutdown_ends() -> None:
    pool = SharedThreadPoolExecutor(1)
    pool.submit(int).result(10)
    while not pool._idle:  # the worker's last lines after its item
        threading.Event().wait(0.001)
    (slot,) = pool._idle
    thread = pool._threads[slot]
    gate, slot.gate = slot.gate, threading.Semaphore(0)  # type: ignore[assignment]  # it is called, and late

    def never(slot: object) -> None:
        raise AssertionError("it was recalled")

    pool.post(never)
    pool.shutdown(wait=False)
    assert pool.recall(never)
    slot.gate = gate
    gate.release()
    thread.join(10)
    assert not thread.is_alive()
    pool.shutdown()
