"""Workers that die, connections that are lost, schedulers that go away: on a cluster of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import Parallel, ParallelGroupError, Pipeline, PipelineContext, step
from task_pipeline.errors import ExecutorError, RunCancelledError, StepTimeoutError, WorkerDiedError
from task_pipeline.executors import DaskExecutor
from tests.dask_cluster import PATIENCE, ClusterGate

Context = PipelineContext[Any]


@pytest.fixture(scope="module")
def nannies() -> Iterator[Any]:
    """A cluster whose workers are started again when they die."""
    import dask
    from distributed import LocalCluster

    options: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": "CRITICAL"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def cluster(nannies) -> Iterator[DaskExecutor]:
    with DaskExecutor(nannies.scheduler_address) as executor:
        yield executor


@pytest.fixture
def both_workers(nannies, cluster) -> Any:
    """The client, with two workers there."""

    def are_there() -> bool:
        # Whom a kill has met before it was quite there is not started again by itself.
        nannies.scale(2)
        running = [nanny for nanny in nannies.workers.values() if nanny.status.name == "running"]
        known = cluster.client.nthreads()
        return len(running) == len(known) == 2 and {n.worker_address for n in running} == set(known)

    until(are_there)
    return cluster.client


def until(is_so) -> None:
    pause = threading.Event()
    for _ in range(3_000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it has not come to be so")


def dies_at_first(path: Path) -> Any:
    """A function that kills its process when it is called for the first time, wherever."""

    def work(context):
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return "done by another"
        return os.kill(os.getpid(), signal.SIGKILL)

    return work


def test_a_step_whose_worker_dies_is_run_again_elsewhere(cluster, both_workers, tmp_path) -> None:
    work = dies_at_first(tmp_path / "was here")
    context = Pipeline([[work, lambda context: "beside it"]], executor=cluster).run()
    assert context.results == {"work": "done by another", "lambda": "beside it"}


def test_a_worker_that_dies_is_no_lost_connection(cluster, both_workers, tmp_path) -> None:
    """What the connection is known by was on that worker, too."""
    Pipeline([lambda context: 1], executor=cluster).run()
    link = cluster._desk._link
    pulse = link._pulse
    (address,) = both_workers.who_has([pulse])[pulse.key]
    kill(both_workers, address)
    until(lambda: both_workers.who_has([pulse])[pulse.key] not in ((), (address,)))
    assert Pipeline([lambda context: 1], executor=cluster).run().results == {"lambda": 1}
    assert cluster._desk._link is link


def test_one_that_is_not_idempotent_fails_and_is_not_run_again(
    cluster, both_workers, tmp_path
) -> None:
    log = tmp_path / "runs"

    @step(idempotent=False)
    def charge(context):
        with log.open("a") as file:
            file.write(".")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDiedError, match="not idempotent") as caught:
        Pipeline([charge], executor=cluster).run()
    assert (caught.value.step_id, caught.value.path, caught.value.attempt) == ("charge", "0", 1)
    assert log.read_text() == "."


def test_a_step_that_kills_every_worker_fails_clearly(cluster, both_workers) -> None:
    def poison(context):
        os._exit(1)

    with pytest.raises(WorkerDiedError, match="every worker that ran it died"):
        Pipeline([poison], executor=cluster).run()
    assert Pipeline([lambda context: 1], executor=cluster).run().results == {"lambda": 1}


def pid_of(client: Any, address: str) -> Any:
    return client.run(os.getpid, workers=[address])[address]


def kill(client: Any, address: str) -> None:
    """Kill a worker's process, and wait until the scheduler knows."""
    os.kill(pid_of(client, address), signal.SIGKILL)
    until(lambda: address not in client.nthreads())


def test_a_call_that_was_left_is_over_when_its_worker_is_gone(cluster, both_workers) -> None:
    gate = ClusterGate(both_workers)
    wait = gate.step()

    @step(timeout=0.3)
    def stuck(context):
        wait()

    with pytest.raises(StepTimeoutError):
        Pipeline([stuck], executor=cluster).run()
    desk = cluster._desk
    until(lambda: [errand.worker for errand in desk._errands.values() if errand.worker])
    (errand,) = desk._errands.values()
    kill(both_workers, errand.worker)
    until(lambda: not desk._errands)
    gate.open()


def test_workers_that_lack_the_library_are_named_before_they_are_given_a_call(both_workers) -> None:
    """Dask ends a worker that cannot read what it is sent."""
    address = min(both_workers.nthreads())

    def hide():
        import sys

        modules: Any = sys.modules
        modules["put away"] = modules.get("task_pipeline")
        modules["task_pipeline"] = None

    def show():
        import sys

        modules: Any = sys.modules
        del modules["task_pipeline"]
        found = modules.pop("put away")
        if found is not None:
            modules["task_pipeline"] = found

    both_workers.run(hide, workers=[address])
    with DaskExecutor(both_workers.scheduler.address) as guest:
        with pytest.raises(ExecutorError, match=f"1 of the 2 workers.*such as {address}"):
            Pipeline([lambda context: 1], executor=guest).run()
        both_workers.run(show, workers=[address])
        assert Pipeline([lambda context: 1], executor=guest).run().results == {"lambda": 1}


def held(context: PipelineContext[Any]) -> Any:
    return dict.__getitem__(context.results, "made").holder


def made_by(cluster: DaskExecutor) -> PipelineContext[Any]:
    def made(context):
        import numpy

        return numpy.ones(400_000)

    return Pipeline([made], executor=cluster).run(Context())


def test_a_value_whose_worker_died_is_lost_and_named(cluster, both_workers) -> None:
    context = made_by(cluster)
    one = held(context)
    kill(both_workers, one.address)
    until(lambda: one.lost is not None)
    with pytest.raises(ExecutorError, match=r"results\['made'\].*worker is gone"):
        context.results["made"]

    def use(context):
        return context.results["made"].sum()

    with pytest.raises(ExecutorError, match=r"results\['made'\].*Run the steps again"):
        Pipeline([use], executor=cluster).run(context)


def test_a_value_that_another_worker_has_too_is_not_lost(cluster, both_workers) -> None:
    context = made_by(cluster)
    one = held(context)
    both_workers.replicate([one.future])
    kill(both_workers, one.address)
    assert context.results["made"].sum() == 400_000
    assert one.lost is None


def test_a_step_that_waits_for_a_value_that_gets_lost_fails(cluster, both_workers) -> None:
    context = made_by(cluster)
    one = held(context)

    @step(executor_options={"resources": {"what nobody has": 1}})
    def use(context):
        return context.results["made"].sum()

    run = Pipeline([use], executor=cluster).start(context)
    until(lambda: [errand for errand in cluster._desk._errands.values() if errand.future])
    kill(both_workers, one.address)
    with pytest.raises(ExecutorError, match=r"results\['made'\]"):
        run.result(PATIENCE)


def test_data_of_the_caller_is_sent_again_when_its_worker_dies(
    cluster, both_workers, tmp_path
) -> None:
    import numpy

    first = tmp_path / "was here"

    def use(context):
        total = context.results["given"].sum()
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            return total
        return os.kill(os.getpid(), signal.SIGKILL)

    given = Context(results={"given": numpy.ones(400_000)})
    pipeline = Pipeline([Parallel([use] * 3)], executor=cluster)
    assert pipeline.run(given).results["use#3"] == 400_000


# The connection


def cut_off(client: Any) -> None:
    """Break the connection to the scheduler, as a network does."""

    async def abort() -> None:
        client.scheduler_comm.comm.abort()

    client.sync(abort)


@pytest.fixture
def guest(cluster, both_workers) -> Iterator[DaskExecutor]:
    """Another executor for the same cluster, with a connection of its own."""
    with DaskExecutor(both_workers.scheduler.address) as executor:
        yield executor


def test_calls_are_handed_over_again_once_the_connection_is_back(guest) -> None:
    gate = ClusterGate(guest.client)
    wait = gate.step()

    def waits(context):
        context.update_step_progress(10)
        wait()
        context.update_step_progress(90)
        return "done"

    run = Pipeline([[waits, lambda context: 1]], executor=guest).start(Context())
    gate.wait_until_reached()
    cut_off(guest.client)
    until(lambda: guest.client.status == "running")
    gate.open()
    assert run.result(PATIENCE).results == {"waits": "done", "lambda": 1}


def test_what_is_not_idempotent_fails_when_the_connection_is_lost(guest) -> None:
    gate = ClusterGate(guest.client)
    wait = gate.step()

    @step(idempotent=False)
    def charge(context):
        wait()

    run = Pipeline([charge], executor=guest).start(Context())
    gate.wait_until_reached()
    cut_off(guest.client)
    with pytest.raises(WorkerDiedError, match="connection to the scheduler was lost"):
        run.result(PATIENCE)
    gate.open()


def test_values_are_lost_with_the_connection(guest) -> None:
    context = made_by(guest)
    cut_off(guest.client)
    until(lambda: guest.client.status == "running")
    assert Pipeline([lambda context: 1], executor=guest).run().results == {"lambda": 1}
    with pytest.raises(ExecutorError, match=r"results\['made'\].*connection to the scheduler"):
        context.results["made"]


def test_a_run_that_is_cancelled_while_there_is_no_connection_ends(cluster, both_workers) -> None:
    with DaskExecutor(both_workers.scheduler.address) as guest:
        gate = ClusterGate(both_workers)
        wait = gate.step()
        run = Pipeline([lambda context: wait()], executor=guest).start(Context())
        gate.wait_until_reached()
        cut_off(guest.client)
        run.cancel()
        with pytest.raises(RunCancelledError):
            run.result(PATIENCE)
        gate.open()
        until(lambda: not guest._desk._errands)
        until(lambda: guest.client.status == "running")


def test_a_client_that_its_owner_closes_ends_the_run(both_workers) -> None:
    from distributed import Client

    client = Client(both_workers.scheduler.address, set_as_default=False)
    with DaskExecutor(client) as guest:
        gate = ClusterGate(both_workers)
        wait = gate.step()
        run = Pipeline([lambda context: wait()], executor=guest).start(Context())
        gate.wait_until_reached()
        client.close()
        with pytest.raises(ExecutorError, match="was lost"):
            run.result(PATIENCE)
        gate.open()


def test_what_somebody_else_cancels_is_handed_over_again(guest) -> None:
    """One call, and then all there is, as a restart of the cluster does."""
    gate = ClusterGate(guest.client)
    wait = gate.step()

    def waits(context):
        wait()
        return "done"

    run = Pipeline([waits], executor=guest).start(Context())
    gate.wait_until_reached()
    desk = guest._desk
    (errand,) = desk._errands.values()
    guest.client.cancel([errand.future])
    until(lambda: errand.times == 2)
    guest.client.cancel([errand.future, desk._link._pulse])
    until(lambda: errand.times == 3)
    gate.open()
    assert run.result(PATIENCE).results == {"waits": "done"}


def test_what_is_cancelled_again_and_again_fails(guest) -> None:
    """And what is not idempotent at once, if it had begun."""
    gate, begun = ClusterGate(guest.client), ClusterGate(guest.client)
    wait, begin = gate.step(), begun.step()

    @step(idempotent=False)
    def once(context):
        begin()

    def waits(context):
        wait()

    run = Pipeline([[waits, once]], executor=guest).start(Context())
    begun.wait_until_reached()
    first, second = guest._desk._errands.values()
    guest.client.cancel([second.future])
    until(lambda: second.times == 2)
    begun.open()  # what was handed over first has its worker until then
    until(lambda: second.is_over)
    for times in range(1, 5):
        until(lambda times=times: first.times == times and first.future is not None)
        guest.client.cancel([first.future])
    with pytest.raises(ParallelGroupError, match="again and again") as caught:
        run.result(PATIENCE)
    kinds = [type(error) for error in caught.value.exceptions]
    assert kinds == [ExecutorError, WorkerDiedError]
    gate.open()


def test_a_scheduler_that_is_gone_ends_the_run_with_a_clear_error() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, dashboard_address=":0", silence_logs="CRITICAL") as doomed,
        DaskExecutor(doomed.scheduler_address, reconnect=0.5) as guest,
    ):
        gate = ClusterGate(guest.client)
        wait = gate.step()
        run = Pipeline([lambda context: wait()], executor=guest).start(Context())
        gate.wait_until_reached()
        doomed.close()
        with pytest.raises(ExecutorError, match=r"was lost|cannot connect"):
            run.result(PATIENCE)
