"""How many branches of a group may be under way at once, whatever they wait for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Map,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    TaskStep,
)
from task_pipeline.testing import ManualClock, Simulator


class Says(PipelineStep):
    """Puts its name and its item into a list that all branches share."""

    def __init__(self, name: str, fails: int = 0) -> None:
        self.step_id = name
        self.fails = fails
        self.retries = RetryPolicy(attempts=fails + 1, delay=1.0) if fails else 0

    def run(self, context: Any) -> None:
        context.shared.append(f"{context.results.get('item', '')}{self.step_id}")
        if context.attempt <= self.fails:
            raise ValueError(self.step_id)


def said() -> Any:
    context: Any = PipelineContext()
    context.shared = []
    return context


def limited(group: Any, count: int) -> Any:
    group.max_open = count
    return group


def in_order(count: int, names: str) -> list[str]:
    return [f"{item}{name}" for item in range(count) for name in names]


def waiting(name: str, fails: int = 1) -> list[TaskStep]:
    return [Says(f"{name}1"), Says(f"{name}2", fails=fails), Says(f"{name}3")]


@pytest.mark.parametrize("seed", range(10))
def test_one_branch_after_another_though_a_step_in_it_waits(seed: int) -> None:
    pipeline = Pipeline([limited(Parallel([waiting("a"), waiting("b")]), 1)])
    context = said()
    assert Simulator(pipeline, seed, workers=4).run(context).error is None
    assert context.shared == ["a1", "a2", "a2", "a3", "b1", "b2", "b2", "b3"]


@pytest.mark.parametrize("seed", range(10))
def test_one_round_after_another_though_launches_in_it_are_delayed(seed: int) -> None:
    inner = Parallel([Says("p"), Says("q")], config=ParallelConfig(delay=1.0))
    group = limited(Map([Says("a"), [Serially(), inner], Says("z")], over=[0, 1, 2]), 1)
    context = said()
    assert Simulator(Pipeline([group]), seed, workers=4).run(context).error is None
    ends = [text for text in context.shared if text[1:] in ("a", "z")]
    assert ends == in_order(3, "az")
    for at, text in enumerate(context.shared):
        assert text[0] == str(at // 4), context.shared


class Serially(PipelineStep):
    """Nothing."""

    def run(self, context: Any) -> None:
        """Does nothing."""


@pytest.mark.parametrize("most", [1, 2, 3])
def test_as_many_as_may_be_are_under_way_and_no_more(most: int) -> None:
    lock = threading.Lock()
    open_now: set[int] = set()
    peak = 0

    def enter(context: Any) -> None:
        nonlocal peak
        with lock:
            open_now.add(context.results["item"])
            peak = max(peak, len(open_now))

    def leave(context: Any) -> None:
        with lock:
            open_now.remove(context.results["item"])

    barrier = threading.Barrier(most)

    def meet(context: Any) -> None:
        barrier.wait(30)

    group = limited(Map([enter, meet, leave], over=list(range(6))), most)
    Pipeline([group]).run()
    assert peak == most
    assert open_now == set()


def test_an_inner_group_is_not_limited_by_it() -> None:
    barrier = threading.Barrier(3)
    inner: list[Any] = [lambda context: barrier.wait(30) for _ in range(3)]
    Pipeline([limited(Map([Serially(), inner], over=[0, 1]), 1)]).run()
    assert not barrier.broken


def test_branches_without_steps_and_a_group_that_fails_fast() -> None:
    nothing: list[TaskStep] = []
    context = Pipeline([limited(Parallel([nothing, nothing, nothing]), 1)]).run(said())
    assert context.shared == []
    config = ParallelConfig(error_strategy="FAIL_FAST")  # type: ignore[arg-type]  # read by value
    group = limited(Parallel([Says("a"), raises, Says("c")], config=config), 1)
    context = said()
    with pytest.raises(ParallelGroupError):
        Pipeline([group]).run(context)
    assert context.shared == ["a"]


def raises(context: Any) -> None:
    raise ValueError("boom")


def test_its_deadline_holds_while_it_waits_for_a_branch() -> None:
    clock = ManualClock()

    def slow(context: Any) -> None:
        clock.advance(5.0)

    group = limited(Parallel([slow, Says("b")], config=ParallelConfig(timeout=2.0)), 1)
    context = said()
    with clock.installed(), pytest.raises(TimeoutError):
        Pipeline([group]).run(context)
    assert context.shared == []


def test_a_resumed_run_goes_on_with_the_branch_it_was_in(tmp_path: Path) -> None:
    did: list[str] = []

    def made(fails: bool) -> Pipeline:
        def work(name: str) -> Any:
            def run(context: Any) -> None:
                did.append(f"{context.results['item']}{name}")
                if fails and did[-1] == "1b":
                    raise KeyboardInterrupt

            run.__name__ = name
            return run

        group = limited(Map([work("a"), work("b"), work("c")], over=[0, 1, 2]), 1)
        return Pipeline([group], journal=f"sqlite:///{tmp_path}/runs.db")

    with pytest.raises(KeyboardInterrupt):
        made(True).run(run_id="r")
    before, did[:] = did.copy(), []
    assert before == ["0a", "0b", "0c", "1a", "1b"]
    made(False).resume("r")
    assert did == ["1b", "1c", "2a", "2b", "2c"]
