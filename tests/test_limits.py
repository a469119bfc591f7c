"""Named limits: never more at once, wherever the steps stand that have the name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineDefinitionError,
    PipelineStep,
    RunCancelledError,
    SharedThreadPoolExecutor,
    StepTimeoutError,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate, ManualClock

MANY = 40  # workers: more than any test has steps, so that only limits hold anything back


class Gauge:
    """Steps that wait in a row for others: `most` is how many were inside at once.

    The other steps, `probes`, stand behind them and have no limit: once they have all come, so
    has everybody who may.
    """

    def __init__(self, patience: float = 30.0) -> None:
        self.gate, self.probes = Gate(patience), Gate(patience)
        self._lock = threading.Lock()
        self._inside = self.most = self.calls = 0

    def enter(self) -> None:
        with self._lock:
            self.calls += 1
            self._inside += 1
            self.most = max(self.most, self._inside)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1

    def step(self, limit: str | None = "api") -> Callable[[Any], None]:
        @step(step_id="call", limit=limit)
        def call(context: Any) -> None:
            self.enter()
            self.gate.wait()
            self.leave()

        return call

    def probe(self, context: Any) -> None:
        self.probes.wait()


def run_all(steps: list[TaskStep], gauge: Gauge, probes: int, arrive: int, **settings: Any) -> None:
    """Run; when all probes have come, exactly so many must be inside the limited steps."""
    pool = SharedThreadPoolExecutor(MANY)
    run = Pipeline(steps, executor=pool, **settings).start()
    gauge.probes.wait_until_reached(probes)
    gauge.gate.wait_until_reached(arrive)
    assert gauge.most == arrive
    gauge.probes.open()
    gauge.gate.open()
    run.result(timeout=30.0)
    assert gauge.most == arrive
    pool.shutdown()


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("by", ["limits", "config", "both"])
def test_guarantee_2_steps_with_the_name_share_its_places(limit: int, by: str) -> None:
    gauge = Gauge()
    settings: dict[str, Any] = {"limits": {"api": limit}}
    if by == "config":
        settings = {"config": PipelineConfig(limits={"api": limit})}
    elif by == "both":  # what is said beside the config goes first
        settings["config"] = PipelineConfig(limits={"api": 9, "other": 1})
    steps: list[TaskStep] = [[*[gauge.step()] * 8, *[gauge.probe] * 3, gauge.step(None)]]
    run_all(steps, gauge, 3, limit + 1, **settings)
    assert gauge.calls == 9


def test_guarantee_2_at_every_level_of_nesting() -> None:
    gauge = Gauge()
    call = gauge.step()
    behind = [gauge.probe, gauge.probe]
    steps: list[TaskStep] = [
        [
            call,
            [call, [call, call]],
            Pipeline([[call, call, *behind]]),
            Map(call, range(3)),
            Map([Branch(lambda context: True, [[call, call]])], range(2)),
            Loop([[call, call], call], times=2),
            *behind,
        ]
    ]
    run_all(steps, gauge, 4, 3, limits={"api": 3})
    assert gauge.calls == 1 + 3 + 2 + 3 + 4 + 6


def test_guarantee_2_a_nested_pipelines_limit_holds_beside_the_one_around() -> None:
    gauge = Gauge()
    inner = Pipeline([[gauge.step()] * 4], limits={"api": 2}, name="inner")
    run_all([[inner, inner, inner, gauge.probe]], gauge, 1, 6, limits={"api": 7})
    gauge = Gauge()
    inner = Pipeline([[gauge.step()] * 4], limits={"api": 2}, name="inner")
    run_all([[inner, inner, inner, gauge.probe]], gauge, 1, 5, limits={"api": 5})
    gauge = Gauge()
    inner = Pipeline([[gauge.step()] * 4], limits={"api": 9}, name="inner")
    run_all([[inner, inner, gauge.step(), gauge.probe]], gauge, 1, 3, limits={"api": 3})


def test_a_nested_pipelines_limit_is_not_for_those_outside() -> None:
    gauge = Gauge()
    inner = Pipeline([[gauge.step()] * 4], limits={"api": 1})
    run_all([[inner, *[gauge.step()] * 4, gauge.probe]], gauge, 1, 5)


def test_a_name_that_no_pipeline_limits_is_no_limit() -> None:
    gauge = Gauge()
    run_all([[*[gauge.step("apt")] * 6, gauge.probe]], gauge, 1, 6, limits={"api": 1})


def test_each_item_of_a_map_has_the_limits_of_its_own_pipeline() -> None:
    gauge = Gauge()
    each = Pipeline([[gauge.step(), gauge.step()]], limits={"api": 1})
    run_all([[Map(each, range(4)), gauge.probe]], gauge, 1, 4)
    gauge = Gauge()
    each = Pipeline([[gauge.step(), gauge.step()]], limits={"api": 1})
    run_all([[Map(each, range(4)), gauge.probe]], gauge, 1, 3, limits={"api": 3})


@pytest.mark.parametrize("nested", ["parallel", "map", "pipeline"])
def test_each_item_of_a_map_has_its_own_max_workers(nested: str) -> None:
    gauge = Gauge()
    call, one = gauge.step(None), ParallelConfig(max_workers=1)
    inner = {
        "parallel": Parallel([call, call, call], config=one),
        "map": Map(call, range(3), config=one),
        "pipeline": Pipeline([[call, call, call]], PipelineConfig(max_workers=1)),
    }[nested]
    run_all([[Map(inner, range(4), item_key="outer"), gauge.probe]], gauge, 1, 4)
    assert gauge.calls == 12


@pytest.mark.parametrize("by", ["name", "number", "each"])
def test_the_limits_of_an_item_hold_for_the_maps_in_it(by: str) -> None:
    gauge = Gauge()
    one = ParallelConfig(max_workers=1)
    two = ParallelConfig(max_workers=2)
    inner = Map(Parallel([gauge.step()] * 2, config=two), range(2), item_key="inner")
    each: TaskStep = {
        "name": Pipeline([[inner, gauge.step()]], limits={"api": 1}),
        "number": Parallel([inner, gauge.step()], config=one),
        "each": Map(Parallel([inner, gauge.step()], config=one), [0], item_key="middle"),
    }[by]
    run_all([[Map(each, range(4)), gauge.probe]], gauge, 1, 4)
    assert gauge.calls == 20


def test_guarantee_2_max_workers_of_a_map_holds_for_all_its_items_together() -> None:
    gauge = Gauge()
    call = gauge.step(None)
    config = ParallelConfig(max_workers=3)
    run_all([[Map([[call, call], call], range(4), config=config), gauge.probe]], gauge, 1, 3)
    assert gauge.calls == 12


def inside(*steps: TaskStep, **settings: Any) -> Callable[[Any], None]:
    @step(step_id="outer")
    def outer(context: Any) -> None:
        Pipeline(list(steps), **settings).run()

    return outer


def test_guarantee_2_in_runs_that_are_part_of_a_step() -> None:
    gauge = Gauge()
    pool = SharedThreadPoolExecutor(MANY)
    outer = inside([gauge.probe, gauge.step(), gauge.step()], executor=pool)
    deeper = inside([outer, gauge.step()], executor=pool)
    steps: list[TaskStep] = [[gauge.step(), outer, deeper, Map(outer, range(2)), gauge.probe]]
    run_all(steps, gauge, 5, 2, limits={"api": 2})
    assert gauge.calls == 10
    pool.shutdown()


def test_a_step_without_the_name_is_not_held_up_in_a_run_inside_a_step() -> None:
    gauge = Gauge(patience=5.0)
    pool = SharedThreadPoolExecutor(MANY)
    outer = inside([gauge.step(), gauge.step(), gauge.probe], executor=pool)
    run_all([[gauge.step(), outer, gauge.probe]], gauge, 2, 1, limits={"api": 1})
    pool.shutdown()


def test_guarantee_2_in_runs_that_are_part_of_a_step_of_an_item() -> None:
    for items in (1, 3):
        gauge = Gauge()
        each = Pipeline([[inside([gauge.step()] * 2), gauge.step()]], limits={"api": 1})
        run_all([[Map(each, range(items)), gauge.probe]], gauge, 1, items)
        assert gauge.calls == 3 * items


def test_a_step_that_has_the_name_lends_its_place_to_what_runs_inside() -> None:
    gauge = Gauge()

    class Outer(PipelineStep):
        limit = "api"

        def run(self, context: Any) -> None:
            Pipeline([[gauge.step()] * 3, gauge.step()]).run()

    gauge.gate.open()
    Pipeline([[Outer(), Outer(), Outer()]], limits={"api": 1}).run()
    assert (gauge.most, gauge.calls) == (1, 12)


def test_guarantee_1_every_limit_at_once_on_one_worker() -> None:
    gauge = Gauge()
    gauge.gate.open()
    call = gauge.step()
    config = PipelineConfig(max_workers=1, limits={"api": 1})
    pool = SharedThreadPoolExecutor(1)
    nested = Pipeline([[Map([call, [call, inside([call])]], range(3)), call]], config)
    pipeline = Pipeline(
        [[nested, Loop([call, inside(call)], times=2), call]], config, executor=pool
    )
    for run in (pipeline.run, lambda: pipeline.start().result(timeout=30.0)):
        gauge.calls = 0
        run()
        assert (gauge.most, gauge.calls) == (1, 9 + 1 + 4 + 1)
    asyncio.run(pipeline.arun())
    assert gauge.most == 1
    pool.shutdown()


def test_coroutine_steps_count_as_well() -> None:
    inside_now: list[int] = []
    most: list[int] = []

    @step(limit="api")
    async def call(context: Any) -> None:
        inside_now.append(1)
        most.append(len(inside_now))
        for _ in range(5):
            await asyncio.sleep(0)  # the step's work
        inside_now.pop()

    pipeline = Pipeline([[call] * 10, Map(call, range(10))], limits={"api": 3})
    pipeline.run()
    assert (max(most), len(most)) == (3, 20)
    asyncio.run(pipeline.arun())
    assert (max(most), len(most)) == (3, 40)


def test_a_step_that_waits_for_its_retry_or_has_been_left_takes_no_place() -> None:
    gauge, clock = Gauge(), ManualClock()
    hangs = Gate()

    @step(limit="api", timeout=5.0, critical=False)
    def slow(context: Any) -> None:
        hangs.wait()

    with clock.installed():
        run = Pipeline([[slow, gauge.step(), gauge.step()]], limits={"api": 1}).start()
    hangs.wait_until_reached()
    assert gauge.calls == 0
    clock.advance(5.0)
    gauge.gate.wait_until_reached()
    gauge.gate.open()
    [error] = run.result(timeout=30.0).errors
    assert isinstance(error, StepTimeoutError) and (gauge.most, gauge.calls) == (1, 2)
    hangs.open()


def test_guarantee_7_a_run_that_was_cancelled_does_not_keep_places_from_the_next() -> None:
    gauge = Gauge()
    pipeline = Pipeline([[gauge.step()] * 5], limits={"api": 2})
    first = pipeline.start()
    gauge.gate.wait_until_reached(2)
    second = pipeline.start()  # a limit is a run's own
    gauge.gate.wait_until_reached(4)
    first.cancel()
    with pytest.raises(RunCancelledError):
        first.result(timeout=30.0)
    gauge.gate.open()
    second.result(timeout=30.0)
    assert gauge.calls == 7


# Mistakes


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"api": 0}, "limits.api"),
        ({"api": -1}, "limits.api"),
        ({"api": True}, "limits.api"),
        ({"api": 1.5}, "limits.api"),
        ({"api": "2"}, "limits.api"),
        ({1: 1}, "limits"),
        ({"": 1}, "limits"),
        (5, "limits must map names to whole numbers from 1"),
    ],
)
def test_a_limit_is_a_whole_number_from_1_under_a_name(limits: Any, text: str) -> None:
    with pytest.raises(PipelineDefinitionError, match=text):
        Pipeline([lambda context: None], limits=limits)


@pytest.mark.parametrize("limit", ["", " ", 5, True, ["api"]])
def test_a_steps_limit_is_a_name(limit: Any) -> None:
    marked = step(limit=limit)(lambda context: None)
    with pytest.raises(PipelineDefinitionError, match="limit must be the name of a limit, or None"):
        Pipeline([marked, Map(marked, [1])])
