"""Large values stay on a Dask cluster until somebody reads them."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from typing import Any

import cloudpickle
import numpy as np
import pytest

from task_pipeline import Parallel, Pipeline, PipelineContext, step
from task_pipeline.errors import ExecutorError, NotPortableError
from task_pipeline.executors import DaskExecutor
from task_pipeline.state.resident import Resident
from tests.dask_cluster import PATIENCE, dask_cluster

Context = PipelineContext[Any]

__all__ = ["dask_cluster"]

MANY = 400_000  # numbers of 8 bytes: more than stays small


@pytest.fixture
def cluster(dask_cluster: DaskExecutor) -> DaskExecutor:
    return dask_cluster


def held(context: PipelineContext[Any], key: str) -> Any:
    """What really stands in the dict."""
    return dict.__getitem__(context.results, key)


def transfers(executor: DaskExecutor) -> list[tuple[str, int]]:
    """What workers have had from each other: the receiver, and the bytes."""

    def log(dask_worker):
        return [entry["total"] for entry in dask_worker.transfer_incoming_log]

    logs = executor.client.run(log)
    return [(worker, size) for worker, sizes in logs.items() for size in sizes]


def make(context):
    import numpy

    return numpy.arange(400_000, dtype=float)


def total(context):
    return float(context.results["make"].sum())


@pytest.fixture(autouse=True, scope="module")
def _functions_of_this_module_travel_by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_large_value_stays_until_it_is_read_and_small_ones_come_at_once(cluster) -> None:
    context = Pipeline([make, total], executor=cluster).run(Context())
    one = held(context, "make")
    assert type(one) is Resident and not one.was_fetched
    assert one.nbytes >= 8 * MANY
    assert held(context, "total") == MANY * (MANY - 1) / 2
    assert context.results["make"].sum() == context.results["total"]
    assert type(held(context, "make")) is np.ndarray
    context.results["make"][0] = 7  # it is the user's own


def test_it_is_read_in_whatever_way_and_by_other_steps(cluster) -> None:
    def text(context):
        return ["x"] * MANY

    def here(context):
        return len(context.results["text"])

    here_only = step(executor="thread")(here)
    context = Pipeline([text, [here_only, here]], executor=cluster).run(Context())
    assert context.results["here"] == context.results["here#2"] == MANY
    assert context.results == {"text": ["x"] * MANY, "here": MANY, "here#2": MANY}
    other = Pipeline([text], executor=cluster)
    assert json.loads(json.dumps(other.run().results))["text"][0] == "x"
    assert len(pickle.loads(pickle.dumps(other.run())).results["text"]) == MANY
    assert len(copy.deepcopy(other.run()).results["text"]) == MANY


def test_nothing_stays_if_that_is_wished(cluster) -> None:
    with DaskExecutor(cluster.client, keep_over=None) as executor:
        context = Pipeline([make], executor=executor).run(Context())
    assert type(held(context, "make")) is np.ndarray
    with DaskExecutor(cluster.client, keep_over=0) as executor:
        context = Pipeline([lambda context: "tiny"], executor=executor).run(Context())
        assert type(held(context, "lambda")) is Resident
        assert context.results["lambda"] == "tiny"


def test_twenty_branches_cost_at_most_one_transfer_per_worker(cluster) -> None:
    def read(context):
        return float(context.results["data"][-1])

    before = transfers(cluster)
    given = Context(results={"data": np.arange(MANY, dtype=float)})
    context = Pipeline([Parallel([read] * 20)], executor=cluster).run(given)
    assert [context.results[key] for key in list(context.results)[1:]] == [MANY - 1.0] * 20
    sent = [entry for entry in transfers(cluster)[len(before) :] if entry[1] > MANY]
    assert len(sent) <= 1  # it was put on one of the two workers; the other had it from there
    assert type(held(context, "data")) is np.ndarray


def test_a_step_may_change_its_own_copy_in_place(cluster) -> None:
    def double(context):
        context.results["data"] *= 2
        return float(context.results["data"][-1])

    given = Context(results={"data": np.ones(MANY)})
    context = Pipeline([double, double], executor=cluster).run(given)
    assert (context.results["double"], context.results["double#2"]) == (2.0, 4.0)
    assert context.results["data"][0] == 4.0


def test_what_a_step_made_does_not_pass_through_here(cluster) -> None:
    context = Pipeline([make, Parallel([total] * 20)], executor=cluster).run(Context())
    assert not held(context, "make").was_fetched
    assert len(context.results) == 21


def test_what_was_changed_here_is_what_steps_see(cluster) -> None:
    @step(executor="thread")
    def double(context):
        context.results["make"] *= 2

    @step(executor="thread")
    def first(context):
        context.results["make"][0] = -1.0

    def begin(context):
        return float(context.results["make"][0]), float(context.results["make"][1])

    context = Pipeline([make, double, first, begin], executor=cluster).run(Context())
    assert context.results["begin"] == (-1.0, 2.0)


def test_a_branch_passes_its_own_large_value_on(cluster) -> None:
    def more(context):
        return context.results["make"] + 1

    def end(context):
        return float(context.results["more"][0])

    pipeline = Pipeline([[[make, more, end], lambda context: "beside"]], executor=cluster)
    context = pipeline.run(Context())
    assert context.results["end"] == 1.0
    assert context.results["lambda"] == "beside"
    assert not held(context, "more").was_fetched


def test_one_object_under_two_keys_stays_one(cluster) -> None:
    def twice(context):
        import numpy

        context.results["a"] = context.results["b"] = numpy.ones(400_000)

    context = Pipeline([twice], executor=cluster).run(Context())
    assert held(context, "a") is held(context, "b")
    assert context.results["a"] is context.results["b"]


def test_a_merge_gets_what_it_must_combine(cluster) -> None:
    def longer(letter):
        def add(context):
            context.results["all"] = context.results["all"] + [letter] * MANY

        return add

    given = Context(results={"all": ["-"]})
    pipeline = Pipeline([[longer("a"), longer("b")]], executor=cluster)
    merged = pipeline.run(given).results["all"]
    assert (len(merged), merged[1], merged[-1]) == (1 + 2 * MANY, "a", "b")


def test_a_large_value_that_cannot_be_pickled_is_the_steps_error(cluster) -> None:
    def bad(context):
        import threading

        return [threading.Lock(), bytes(2_000_000)]

    with pytest.raises(NotPortableError, match=r"results\['bad'\]\[0\]: a lock"):
        Pipeline([bad], executor=cluster).run()


def test_large_code_and_large_branches_go_there_too(cluster) -> None:
    table = {number: str(number) for number in range(20_000)}  # more than goes along
    local = step(executor="thread", step_id="local")(lambda context: list(range(50_000)))

    def look(context):
        return table[len(context.results["local"]) - 40_000]

    with pytest.raises(Exception, match="local"):  # the second branch does not have it
        Pipeline([[[local, look], [look]]], executor=cluster).run()
    context = Pipeline([[[local, look]]], executor=cluster).run(Context())
    assert context.results["look"] == "10000"


def test_much_that_is_small_goes_there_once(cluster) -> None:
    given = {str(number): [number] * 2_000 for number in range(800)}

    def count(context):
        return sum(len(context.results[key]) for key in list(context.results)[:800])

    context = Pipeline([Parallel([count] * 4)], executor=cluster).run(Context(results=given))
    assert context.results["count"] == 1_600_000


def test_a_failed_step_leaves_its_large_values_readable(cluster) -> None:
    @step(critical=False)
    def fails(context):
        import numpy

        context.results["partly"] = numpy.ones(400_000)
        raise ValueError("after that")

    context = Pipeline([fails], executor=cluster).run(Context())
    assert len(context.errors) == 1
    assert context.results["partly"][0] == 1.0


def test_after_shutdown_a_value_that_was_not_read_is_lost_and_says_so(cluster) -> None:
    with DaskExecutor(cluster.client.scheduler.address) as executor:
        context = Pipeline([make, lambda context: 1], executor=executor).run(Context())
    assert context.results["lambda"] == 1
    with pytest.raises(ExecutorError, match=r"results\['make'\].*shut down.*keep_over=None"):
        context.results["make"]
    with pytest.raises(ExecutorError, match=r"results\['make'\]"):
        Pipeline([total], executor=cluster).run(context)


def test_values_travel_from_one_cluster_to_another(cluster) -> None:
    with DaskExecutor(cluster.client.scheduler.address) as first:
        context = Pipeline([make], executor=first).run(Context())
        context = Pipeline([total], executor=cluster).run(context)
        assert context.results["total"] > 0


def test_a_value_is_read_while_another_run_goes_on(cluster) -> None:
    one = Pipeline([make], executor=cluster).start(Context())
    two = Pipeline([make, total], executor=cluster).start(Context())
    first = one.result(PATIENCE).results["make"][1]
    assert first == two.result(PATIENCE).results["make"][1] == 1.0
