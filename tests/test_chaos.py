"""Workers that are killed at random: a run ends with the right result or a clear error."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Set
from typing import Any

import psutil
import pytest

from task_pipeline import DaskExecutor, EventBus, ProcessExecutor, RetryPolicy
from tests.chaos import Enemy, expected, nested, run_among_enemies, traces

IS_STRESS = "TASK_PIPELINE_STRESS" in os.environ
RUNS = 200 if IS_STRESS else 12
RUNS_ON_DASK = 200 if IS_STRESS else 3


@pytest.mark.stress
@pytest.mark.no_cover
@pytest.mark.parametrize("retries", [RetryPolicy(attempts=6, delay=0), 0], ids=["retries", "none"])
def test_processes_may_die_at_any_time(retries: Any) -> None:
    right = expected()
    with ProcessExecutor(max_workers=1) as first:  # what Python itself keeps after the first
        assert nested(first, 0).run().results == right
    before = traces()
    threads = set(threading.enumerate())
    ends: Counter[str] = Counter()
    bus = EventBus()
    with ProcessExecutor(max_workers=3) as executor:

        def workers() -> list[int]:
            return [worker["pid"] for worker in executor.status()["workers"]]

        enemy = Enemy(7, workers)
        pipeline = nested(executor, retries, bus)
        for _ in range(RUNS):
            ends[run_among_enemies(pipeline, bus, enemy, right)] += 1
    assert enemy.killed >= RUNS / 2
    assert ends["right"] > 0
    if retries:
        assert ends == {"right": RUNS}
    after = traces()
    assert after["processes"] <= before["processes"]
    assert after["files"] <= before["files"]
    assert after["open files"] <= before["open files"]
    left = [t.name for t in threading.enumerate() if t not in threads]
    assert [name for name in left if "process" in name or "pebble" in name] == []


@pytest.mark.stress
@pytest.mark.no_cover
@pytest.mark.timeout(3600 if IS_STRESS else 120)
def test_workers_of_a_cluster_may_die_at_any_time() -> None:
    right = expected()
    before = traces()
    threads = set(threading.enumerate())
    ends: Counter[str] = Counter()
    bus = EventBus()
    with DaskExecutor.local(n_workers=2) as executor:
        enemy = Enemy(11, lambda: spawned(before["processes"]))
        pipeline = nested(executor, RetryPolicy(attempts=4, delay=0), bus)
        for _ in range(RUNS_ON_DASK):
            executor.client.wait_for_workers(2)
            ends[run_among_enemies(pipeline, bus, enemy, right)] += 1
    assert enemy.killed >= RUNS_ON_DASK / 2
    assert ends["right"] >= 0.9 * RUNS_ON_DASK
    after = traces()
    assert after["processes"] <= before["processes"]
    assert after["files"] <= before["files"]
    left = [t.name for t in threading.enumerate() if t not in threads and not t.daemon]
    assert left == []


def spawned(known: Set[int]) -> list[int]:
    """The worker processes of a local cluster, which are children of this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.pid not in known and "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:  # it has just been killed
            continue
    return found
