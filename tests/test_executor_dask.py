"""`DaskExecutor` on a real cluster: what it takes, how it starts and ends."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Parallel,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    step,
)
from task_pipeline.errors import (
    ConfigurationError,
    ExecutorError,
    MissingExtraError,
    NotPortableError,
    StepTimeoutError,
)
from task_pipeline.executors import DaskExecutor
from tests.dask_cluster import PATIENCE, ClusterGate, dask_cluster

__all__ = ["dask_cluster"]

Context = PipelineContext[Any]


@pytest.fixture
def cluster(dask_cluster: DaskExecutor) -> DaskExecutor:
    return dask_cluster


def pids(executor: DaskExecutor) -> set[int]:
    return set(executor.client.run(os.getpid).values())


# What it is made of


@pytest.mark.parametrize("given", [5, None, "", object()])
def test_it_takes_an_address_or_a_client_and_nothing_else(given) -> None:
    with pytest.raises(ConfigurationError, match="address of a scheduler"):
        DaskExecutor(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_calls", 0),
        ("max_calls", 1.5),
        ("keep_over", -1),
        ("keep_over", True),
        ("reconnect", -1),
        ("reconnect", "soon"),
    ],
)
def test_arguments_that_are_not_what_they_must_be(name, value) -> None:
    with pytest.raises(ConfigurationError, match=name):
        DaskExecutor("tcp://127.0.0.1:1", **{name: value})


def test_without_distributed_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"task-pipeline\[dask\]"):
        DaskExecutor("tcp://127.0.0.1:1")


def test_importing_the_library_imports_no_dask() -> None:
    code = "import task_pipeline.executors, sys; print('distributed' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_an_asynchronous_client_is_refused(cluster) -> None:
    from distributed import Client

    async def made() -> Any:
        return await Client(cluster.client.scheduler.address, asynchronous=True)

    async def tried() -> None:
        async with await made() as client:
            with pytest.raises(ConfigurationError, match="asynchronous"):
                DaskExecutor(client)

    cluster.client.sync(tried)


def test_without_a_scheduler_it_is_said_before_anything_runs() -> None:
    import dask

    impatient = dask.config.set({"distributed.comm.timeouts.connect": "200ms"})
    with impatient, DaskExecutor("tcp://127.0.0.1:9") as executor:
        with pytest.raises(ExecutorError, match="cannot connect to"):
            Pipeline([lambda context: 1], executor=executor).run()
        call: Any = _Ended()
        executor.submit([call])
        call.wait()
        assert isinstance(call.error, ExecutorError)


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "http://127.0.0.1:8786"])
def test_what_is_no_address_is_said_and_leaves_no_client_behind(address: str) -> None:
    from distributed import Client

    def clients() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, Client)}

    before = clients()
    with DaskExecutor(address) as executor:
        with pytest.raises(ExecutorError, match="cannot connect to") as caught:
            Pipeline([lambda context: 1], executor=executor).run()
        assert clients() <= before, caught.value


def test_steps_may_run_pipelines_on_the_cluster_they_are_on(cluster) -> None:
    """As many of them at once as it has threads, and more."""
    there = DaskExecutor(cluster.client.scheduler.address)

    def inner(context):
        return len(context.results)

    def outer(context):
        first, second = (Pipeline([[inner, inner]], executor=there).run() for _ in range(2))
        return len(first.results) + len(second.results)

    config = PipelineConfig(timeout=PATIENCE)
    with there:
        context = Pipeline([Parallel([outer] * 6)], executor=cluster, config=config).run()
    assert set(context.results.values()) == {4}


class _Ended:
    """The least of a call: it waits for its end."""

    is_wanted = True
    options: dict[str, Any] = {}
    error: Exception | None = None

    def __init__(self) -> None:
        self._over = threading.Event()
        self.node: Any = type("Node", (), {"spec": type("Spec", (), {"idempotent": True})})

    def failed(self, error: Exception) -> None:
        self.error = error
        self._over.set()

    def wait(self) -> None:
        assert self._over.wait(PATIENCE)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"speed": 1}, "'speed', which Dask does not know"),
        ({"resources": ["GPU"]}, "must be a dict of amounts"),
        ({"resources": {"GPU": "one"}}, "must be a dict of amounts"),
        ({"priority": "high"}, "must be a number"),
        ({"priority": float("nan")}, "must be a number"),
        ({"retries": -1}, "must be a whole number"),
        ({"retries": True}, "must be a whole number"),
        ({"workers": "alice"}, "must be a list"),
        ({"workers": []}, "must be a list"),
        ({"workers": ["alice"], "allow_other_workers": 1}, "must be True or False"),
        ({"allow_other_workers": True}, "but not workers"),
    ],
)
def test_options_that_dask_does_not_have_are_refused_when_the_pipeline_is_built(
    cluster, options, reason
) -> None:
    @step(executor_options=options)
    def crunch(context):
        return 1

    with pytest.raises(PipelineDefinitionError, match=reason) as caught:
        Pipeline([crunch], executor=cluster)
    assert "crunch" in str(caught.value)


# Its ends


def test_a_cluster_of_its_own_starts_when_needed_and_is_gone_after_shutdown() -> None:
    before = {thread.name for thread in threading.enumerate()}
    executor = DaskExecutor.local(n_workers=1, silence_logs="CRITICAL")
    assert "local, n_workers=1" in repr(executor)
    with executor:
        assert Pipeline([lambda context: 5], executor=executor).run().results
        processes = pids(executor)
        address = executor.client.scheduler.address
        assert address in repr(executor)
        assert os.getpid() not in processes
    executor.shutdown()  # twice is once
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    left = {thread.name for thread in threading.enumerate()} - before
    assert not any(name.startswith("task-pipeline-dask") for name in left)
    with pytest.raises(ExecutorError, match="was shut down"):
        _ = executor.client
    call: Any = _Ended()
    executor.submit([call])
    call.wait()
    assert "was shut down" in str(call.error)


def test_a_client_that_it_was_given_is_not_closed(cluster) -> None:
    from distributed import Client

    with Client(cluster.client.scheduler.address, set_as_default=False) as client:
        with DaskExecutor(client) as executor:
            assert executor.client is client
            result = Pipeline([[lambda context: 1, lambda context: 2]], executor=executor).run()
            assert list(result.results.values()) == [1, 2]
        assert client.status == "running"
        assert client.submit(sum, [1, 2]).result() == 3
    with DaskExecutor(client) as closed, pytest.raises(ExecutorError, match="is closed"):
        _ = closed.client


def test_it_is_shut_down_with_steps_under_way(cluster) -> None:
    executor = DaskExecutor(cluster.client.scheduler.address)
    gate = ClusterGate(cluster.client)
    wait = gate.step()
    run = Pipeline([lambda context: wait()], executor=executor).start()
    gate.wait_until_reached()
    executor.shutdown()
    with pytest.raises(ExecutorError, match="under way when its DaskExecutor was shut down"):
        run.result(PATIENCE)
    gate.open()


def test_a_pipeline_that_holds_it_is_copied_and_pickled(cluster) -> None:
    import cloudpickle

    executor = DaskExecutor(cluster.client.scheduler.address, max_calls=7, keep_over=None)
    with executor:
        pipeline = Pipeline([lambda context: 42], executor=executor)
        assert copy.deepcopy(executor) is copy.copy(executor) is executor
        assert list(copy.deepcopy(pipeline).run().results.values()) == [42]
        again = pickle.loads(cloudpickle.dumps(pipeline))
        assert list(again.run().results.values()) == [42]
        with pickle.loads(pickle.dumps(executor)) as other:
            assert (other.max_calls, other.keep_over) == (7, None)
            assert other.client.scheduler.address == executor.client.scheduler.address
    local = pickle.loads(pickle.dumps(DaskExecutor.local(n_workers=1)))
    assert "local, n_workers=1" in repr(local)


def test_one_with_a_closed_client_cannot_be_pickled(cluster) -> None:
    from distributed import Client

    client = Client(cluster.client.scheduler.address, set_as_default=False)
    executor = DaskExecutor(client)
    client.close()
    assert "Client" in repr(executor)
    with pytest.raises(ConfigurationError, match="cannot be pickled"):
        pickle.dumps(executor)


# Steps


def counter(path) -> Any:
    """A function that says how often it has been called, in whatever process."""

    def counted() -> int:
        with path.open("a") as file:
            file.write(".")
        return int(path.stat().st_size)

    return counted


def test_options_reach_dask(cluster, tmp_path) -> None:
    worker = min(cluster.client.nthreads())
    tried = counter(tmp_path / "tries")

    @step(executor_options={"workers": [worker], "priority": 5})
    def pinned(context):
        from distributed import get_worker

        return get_worker().address

    @step(executor_options={"resources": {"slots": 1}})
    def with_a_slot(context):
        from distributed import get_worker

        worker = get_worker()
        spec = worker.state.tasks[worker.get_current_task()]
        return dict(spec.resource_restrictions)

    @step(executor_options={"retries": 2})
    def third_time(context):
        if tried() < 3:
            raise ValueError
        return "done"

    results = Pipeline([[pinned, with_a_slot, third_time]], executor=cluster).run().results
    assert results["pinned"] == worker
    assert results["with_a_slot"] == {"slots": 1}
    assert results["third_time"] == "done"


def test_the_last_of_dasks_tries_is_the_steps_failure(cluster, tmp_path) -> None:
    tried = counter(tmp_path / "tries")

    @step(executor_options={"retries": 1}, idempotent=False)
    def never(context):
        raise ValueError(f"try {tried()}")

    with pytest.raises(ValueError, match="try 2"):
        Pipeline([never], executor=cluster).run()


def test_a_step_may_use_dask_itself(cluster) -> None:
    def spreads(context):
        from distributed import get_client, worker_client

        with worker_client() as client:
            squares = client.gather(client.map(lambda x: x * x, range(4)))
        return squares, get_client().submit(sum, squares).result()

    results = Pipeline([spreads], executor=cluster).run().results
    assert results["spreads"] == ([0, 1, 4, 9], 14)


def test_a_step_that_is_not_idempotent_runs_once_and_leaves_no_claim(cluster) -> None:
    @step(idempotent=False)
    def once(context):
        return 1

    assert Pipeline([[once, once]], executor=cluster).run().results["once"] == 1

    def claims(dask_scheduler):
        return [name for name in dask_scheduler.extensions["events"]._events if "begun" in name]

    for _ in range(100):  # they are forgotten in the background
        left = cluster.client.run_on_scheduler(claims)
        if not left:
            break
    assert left == []


def test_a_module_that_workers_do_not_have_is_named(cluster, tmp_path, monkeypatch) -> None:
    (tmp_path / "only_at_home.py").write_text("def work(context):\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_at_home  # type: ignore[import-not-found]  # it is made above

    with pytest.raises(NotPortableError, match="only_at_home") as caught:
        Pipeline([only_at_home.work], executor=cluster).run()
    assert "must be installed there" in str(caught.value)
    assert "tcp://" in caught.value.__notes__[0]


def test_what_a_step_tells_while_it_runs_is_heard_then(cluster, caplog) -> None:
    gate = ClusterGate(cluster.client)
    wait = gate.step()

    def talks(context):
        context.update_step_progress(40)
        context.logger.warning("half of it is done")
        wait()
        return 1

    with caplog.at_level(logging.WARNING, logger="task_pipeline"):
        run = Pipeline([talks], executor=cluster).start()
        gate.wait_until_reached()
        heard = threading.Event()
        for _ in range(3_000):
            if run.status()["progress"] >= 40 and "half of it" in caplog.text:
                heard.set()
                break
            heard.wait(0.01)
        assert heard.is_set()
        gate.open()
        assert run.result(PATIENCE).results["talks"] == 1


def test_a_step_that_is_left_keeps_its_thread_until_it_ends(cluster) -> None:
    gate = ClusterGate(cluster.client)
    wait = gate.step()

    @step(timeout=0.2)
    def stuck(context):
        wait()

    pipeline = Pipeline([stuck], executor=cluster)
    run = pipeline.start()
    with pytest.raises(StepTimeoutError):
        run.result(PATIENCE)
    desk = cluster._desk
    assert len(desk._errands) == 1  # the worker is not free yet, and it is known
    gate.open()
    _until(lambda: not desk._errands)


def test_a_call_that_has_not_begun_never_does(cluster, tmp_path) -> None:
    """With all threads of the workers taken, what is behind them is cancelled at its deadline."""
    gate = ClusterGate(cluster.client)
    wait, log = gate.step(), tmp_path / "begun"

    def busy(context):
        wait()

    def waits(context):
        log.touch()

    full = Pipeline([Parallel([busy] * 4)], executor=cluster).start()
    gate.wait_until_reached()
    run = Pipeline([waits], executor=cluster).start()
    run.cancel()
    gate.open()
    full.result(PATIENCE)
    _until(lambda: not cluster._desk._errands)
    assert not log.exists()


def _until(is_so) -> None:
    pause = threading.Event()
    for _ in range(3_000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it has not come to be so")


def test_several_runs_share_it(cluster) -> None:
    pipeline = Pipeline([[lambda context: 1, lambda context: 2]], executor=cluster)
    runs = [pipeline.start(Context()) for _ in range(5)]
    assert [list(run.result(PATIENCE).results.values()) for run in runs] == [[1, 2]] * 5


def test_after_a_fork_the_child_connects_by_itself(cluster, monkeypatch) -> None:
    executor = DaskExecutor(cluster.client.scheduler.address)
    with executor:
        mine = executor.client
        executor._pid -= 1  # as it is in a child
        assert executor.client is not mine
        assert Pipeline([lambda context: 1], executor=executor).run().results == {"lambda": 1}
        mine.close()
