"""What happens on a worker: one in this process, so that it can be looked at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from task_pipeline import Pipeline, PipelineContext, SkipStep, StopPipeline, step
from task_pipeline.errors import NotPortableError, WorkerDiedError
from task_pipeline.executors import DaskExecutor
from task_pipeline.executors.dask import workshop as workshop_module
from task_pipeline.executors.dask.calls import run_call, size_of, stop_calls
from task_pipeline.executors.dask.jobs import OVER, Job, home
from task_pipeline.executors.dask.lane import Lane
from task_pipeline.executors.dask.options import for_map, group_of
from task_pipeline.executors.dask.parcels import Order, Parcel, StepFailedError
from task_pipeline.executors.dask.workshop import Cache, Workshop
from task_pipeline.executors.portable import Packed, dumps
from task_pipeline.testing import Gate
from tests.dask_cluster import PATIENCE

Context = PipelineContext[Any]

HERE = "somewhere else"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address=":0",
        silence_logs="CRITICAL",
    ) as made:
        yield made


@pytest.fixture(scope="module")
def executor(cluster) -> Iterator[DaskExecutor]:
    with DaskExecutor(cluster.scheduler_address, keep_over=10_000) as made:
        yield made


@pytest.fixture
def worker(cluster) -> Any:
    return next(iter(cluster.workers.values()))


@pytest.fixture
def workshop(worker) -> Workshop:
    return Workshop.of(worker)


def order(token: str = "t", **others: Any) -> Order:
    given: dict[str, Any] = {
        "token": token,
        "label": "'s' at path 0",
        "topic": "a topic of the test",
        "home": HERE,
        "code": b"",
        "image": "",
        "references": (),
        "is_prompt": False,
        "claim": None,
        "raises": False,
        "keep_over": None,
    }
    return Order(**{**given, **others})


def until(is_so) -> None:
    pause = threading.Event()
    for _ in range(3_000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it has not come to be so")


# Whole runs


def test_steps_in_this_very_process(executor) -> None:
    def large(context):
        return np.ones(10_000)

    def use(context):
        return float(context.results["large"].sum())

    @step(idempotent=False)
    def once(context):
        return "once"

    pipeline = Pipeline([large, [use, once, lambda context: 3]], executor=executor)
    context = pipeline.run(Context())
    assert context.results["use"] == 10_000
    assert context.results["large"].shape == (10_000,)


def test_what_it_logs_is_logged_once(executor, caplog) -> None:
    def talks(context):
        context.logger.warning("said")
        context.update_step_progress(30)

    with caplog.at_level(logging.WARNING):
        Pipeline([talks], executor=executor).run()
    assert [record.message for record in caplog.records].count("said") == 1


def test_failures_retries_and_signals(executor) -> None:
    tries = []

    @step(executor_options={"retries": 3}, idempotent=False)
    def third(context):
        tries.append(1)
        if len(tries) < 3:
            raise ValueError(len(tries))
        return len(tries)

    @step(executor_options={"retries": 3})
    def turn(context):
        tries.append(1)
        raise SkipStep("not mine")

    @step(executor_options={"retries": 3})
    def enough(context):
        raise StopPipeline("that is all")

    def never(context):
        raise AssertionError

    here: Any = {"third": third, "tries": tries}
    context = Pipeline([turn, enough, never], executor=executor).run(Context())
    assert context.results == {"enough": "that is all"}
    del here


def test_stopping_a_call_that_runs(executor, workshop) -> None:
    gate = ClusterlessGate()
    seen: list[bool] = []

    @step(timeout=0.3)
    def polite(context):
        gate.wait_on(context, seen)

    with pytest.raises(Exception, match="timed out"):
        Pipeline([polite], executor=executor).run()
    gate.until_over(executor)
    assert not workshop._jobs


class ClusterlessGate:
    """A step waits until it is asked to stop."""

    def wait_on(self, context: Any, seen: list[bool]) -> None:
        pause = threading.Event()
        while not context.cancelled:
            pause.wait(0.01)
        seen.append(True)

    def until_over(self, executor: DaskExecutor) -> None:
        until(lambda: not executor._desk._errands)


# Its parts


def test_a_call_that_was_stopped_before_does_not_begin(workshop, worker) -> None:
    assert stop_calls(["early"], worker) == []
    assert workshop.enter(order("early")) is None


def test_a_call_that_runs_hears_of_it_and_says_when_it_is_over(workshop, monkeypatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(workshop, "_publish", lambda topic, notes: told.append((topic, notes)))
    job = workshop.enter(order("late"))
    assert job is not None and not job.cancelled
    assert workshop.stop(["late", "another"]) == ["late"]
    assert job.cancelled
    assert job.leave() == []
    ((topic, notes),) = [each for each in told if each[1][-1][1] == OVER]
    assert topic == "a topic of the test"
    assert notes[-1][:2] == ("late", OVER)
    assert job.leave() == []  # it is over once


def test_notes_go_with_the_reply_if_that_is_sooner(workshop) -> None:
    job = workshop.enter(order("quick"))
    assert job is not None
    job.progressed(50.0)
    job.told("an event")
    kinds = [kind for kind, _ in job.leave()]
    assert kinds[-2:] == ["progress", "told"]


def test_only_the_latest_refusals_are_remembered(workshop, monkeypatch) -> None:
    monkeypatch.setattr(workshop_module, "_REFUSED", 2)
    workshop.stop(["a", "b", "c"])
    assert list(workshop._refused) == ["b", "c"]


def test_a_value_that_nobody_takes_does_not_stay(worker, monkeypatch) -> None:
    workshop = Workshop(worker)
    monkeypatch.setattr(type(worker), "get_current_task", lambda self: "a key that is unknown")
    left = workshop.leave([1], "builtins.list", 8)
    kept = workshop.leave([2], "builtins.list", 8)
    assert left.address == worker.address
    workshop._drop_forgotten()
    assert len(workshop._left) == 2  # its call has only just ended
    monkeypatch.setattr(workshop_module, "_UNTAKEN", -1.0)
    monkeypatch.setitem(workshop._left, kept.token, ([2], "known", 0.0))
    monkeypatch.setattr(type(worker), "data", {"known": 1}, raising=False)
    workshop._drop_forgotten()
    assert list(workshop._left) == [kept.token]
    assert workshop.taken(kept.token) == [2]
    with pytest.raises(LookupError, match=left.token):
        workshop.taken(left.token)


def test_a_workshop_whose_worker_is_gone_does_nothing() -> None:
    class Gone:
        pass

    worker = Gone()
    workshop = Workshop(worker)
    del worker
    workshop._tick()
    workshop._wait_for_tick()
    assert workshop.worker is None


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache = Cache(2)
    packed = {name: Parcel(dumps([name], name)) for name in "abc"}
    first = cache.get("a", packed["a"])
    cache.get("b", packed["b"])
    assert cache.get("a", packed["a"]) is first
    cache.get("c", packed["c"])
    assert cache.get("a", packed["a"]) is first
    assert list(cache._kept) == ["c", "a"]


def test_a_job_in_another_process_sends_its_log(workshop) -> None:
    at_home = workshop.enter(order("home", home=home()))
    away = workshop.enter(order("away"))
    assert at_home is not None and away is not None
    assert type(away) is Job and away.owns_process
    assert not at_home.owns_process
    away.logged(logging.makeLogRecord({"msg": "said"}))
    at_home.leave()
    assert [kind for kind, _ in away.leave()][-1] == "logged"


def called_with(executor: DaskExecutor, *given: Any) -> Any:
    """What `run_call` returns on the worker."""
    return executor.client.submit(run_call, *given, pure=False).result(PATIENCE)


def test_code_that_cannot_be_read_is_the_steps_error(executor, worker) -> None:
    from task_pipeline.executors.shipping import open_reply

    broken = Parcel(Packed(b"cno_such_module\nthing\n."))
    parcel = called_with(executor, order("broken", code=b"broken"), broken, broken, broken, [])
    error = open_reply(parcel.packed).error
    assert isinstance(error, NotPortableError)
    assert "no_such_module" in str(error)
    assert worker.address in error.__notes__[0]


def test_a_claimed_call_is_not_begun_again(executor) -> None:
    from distributed import Event

    Event("claimed before", client=executor.client).set()
    broken = Parcel(Packed(b""))
    parcel = called_with(
        executor, order("anew", claim="claimed before"), broken, broken, broken, []
    )
    assert parcel.verdict == "claimed"
    Event("claimed before", client=executor.client).clear()


def test_a_parcel_and_its_size(executor) -> None:
    import pickle
    import sys

    parcel = Parcel(dumps(np.ones(10_000), "it"), [("begins", b"")])
    assert sys.getsizeof(parcel) > 80_000
    for protocol in (4, 5):
        again = pickle.loads(pickle.dumps(parcel, protocol=protocol))
        assert again.verdict == "done" and list(again.notes) == [("begins", b"")]
        array = pickle.loads(again.packed.main, buffers=again.packed.buffers)
        array[0] = 5.0
        assert array.sum() == 10_004
    error = pickle.loads(pickle.dumps(StepFailedError("'s' has failed", parcel)))
    assert "'s' has failed" in str(error) and "'s' has failed" in repr(error)
    assert isinstance(error.parcel, Parcel)


def test_the_size_of_what_does_not_say() -> None:
    class Bad:
        def __sizeof__(self):
            raise RuntimeError

    assert size_of(Bad()) == 0
    assert size_of(np.ones(1000)) == 8000


def test_options_as_dask_takes_them() -> None:
    options = {"workers": ("a", "b"), "resources": {"GPU": 1}, "priority": 3}
    assert for_map(options) == {"workers": ["a", "b"], "resources": {"GPU": 1}, "priority": 3}
    assert group_of({"workers": {"b", "a"}}) == group_of({"workers": ["a", "b"]})
    assert group_of({"priority": 1}) != group_of({"priority": 2})


# The lane


def test_the_lane_does_things_in_order_and_survives_mistakes(caplog) -> None:
    looked = threading.Event()

    def look() -> bool:
        looked.set()
        return False

    lane = Lane("a lane", look)
    done: list[int] = []
    gate = Gate()

    def wrong() -> None:
        raise ValueError("a mistake")

    with caplog.at_level(logging.ERROR, logger="task_pipeline"):
        lane.put(gate.wait)
        lane.put(wrong)
        lane.put(done.append, 1)
        lane.put(done.append, 2)
        gate.open()
        lane.close()
    assert done == [1, 2]
    assert "a mistake" in caplog.text
    lane.put(done.append, 3)  # after its end it begins again
    lane.close()
    assert done == [1, 2, 3]
    lane.close()


def test_the_lane_ends_by_itself_when_nothing_comes(monkeypatch) -> None:
    from task_pipeline.executors.dask import lane as lane_module

    monkeypatch.setattr(lane_module, "_LINGER", 0.02)
    monkeypatch.setattr(lane_module, "_BEAT", 0.01)
    looks = iter([True, True, False])
    lane = Lane("a lane", lambda: next(looks, False))
    lane.put(int)
    until(lambda: lane._thread is None)
    lane.put(lane.close)  # in its own thread: it does not wait for itself
    until(lambda: lane._thread is None)


def test_a_lost_workers_error_names_its_step() -> None:
    error = WorkerDiedError("gone", step_id="s", path="0", attempt=2)
    assert (error.step_id, error.path, error.attempt) == ("s", "0", 2)
