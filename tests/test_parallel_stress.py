"""Random trees of groups, runs, limits, deadlines and cancellations on very small pools.

Whatever is drawn: it ends, results are right, no limit is exceeded, and all capacity is
there again afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from task_pipeline import (
    ErrorStrategy,
    ExecutionResult,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunCancelledError,
    SharedThreadPoolExecutor,
    SkipStep,
    StepCancelledError,
    TaskPipelineError,
    map_parallel,
    parallel,
)

EXAMPLES = 2_000 if os.environ.get("TASK_PIPELINE_STRESS") == "1" else 60
PATIENCE = 20.0
FAST, SLOW = ErrorStrategy.FAIL_FAST, ErrorStrategy.FAIL_SLOW


class Boom(Exception):
    """What a task raises."""


@dataclass(frozen=True)
class Leaf:
    """A call: returns 1, fails, gives up its turn, returns a failure, or fails at first."""

    does: str
    is_async: bool


@dataclass(frozen=True)
class Tree:
    """A group, in one of the ways there are, of leaves and trees."""

    way: str
    children: tuple[Leaf | Tree, ...]
    workers: int
    strategy: ErrorStrategy
    retries: int


class World:
    """Runs trees, and keeps count of who is at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = self.peak = 0
        self._tried: dict[Leaf, set[int]] = {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1

    def call(self, node: Leaf | Tree) -> Callable[[], Any]:
        """A task for a node; of a tree, it returns the sum of what is below."""
        if isinstance(node, Tree):
            is_async = node.way in ("agather", "astream", "amap")
            return self._arunner(node) if is_async else lambda: self.run(node)
        first = iter([True])
        return self._aleaf(node, first) if node.is_async else lambda: self._leaf(node, first)

    def _leaf(self, leaf: Leaf, first: Iterator[bool]) -> Any:
        with self.at_work():
            threading.Event().wait(0.0001)  # long enough for others to be called
            return self._end(leaf, first)

    def _aleaf(self, leaf: Leaf, first: Iterator[bool]) -> Callable[[], Any]:
        async def work() -> Any:
            with self.at_work():
                await asyncio.sleep(0)  # the step's work
                return self._end(leaf, first)

        return work

    def _end(self, leaf: Leaf, first: Iterator[bool]) -> Any:
        if leaf.does == "fails" or (leaf.does == "at first" and next(first, False)):
            raise Boom
        if leaf.does == "skips":
            raise SkipStep("nothing to do")
        if leaf.does == "says no":
            return ExecutionResult(ok=False, error=Boom())
        return 1

    def run(self, tree: Tree) -> int:
        calls = [self.call(child) for child in tree.children]
        if tree.way == "pipeline":
            steps = [lambda context, call=call: call() for call in calls]
            config = PipelineConfig(max_workers=tree.workers, fail_fast=False)
            return sum_of(Pipeline([steps], config=config).run().results.values())
        if tree.way == "map":
            mapped = map_parallel(lambda call: call(), calls, **self.options(tree))
            return sum_of(result.result for result in mapped)
        with parallel(**self.options(tree)) as group:
            for call in calls:
                group.add(call)
            found = group.stream() if tree.way == "stream" else iter(group.gather())
            return sum_of([result.result for result in found])

    def _arunner(self, tree: Tree) -> Callable[[], Any]:
        async def run() -> int:
            calls = [self.call(child) for child in tree.children]
            if tree.way == "amap":
                found = map_parallel(lambda call: call(), calls, **self.options(tree))
                return sum_of([result.result async for result in found])
            async with parallel(**self.options(tree)) as group:
                for call in calls:
                    group.add(call)
                if tree.way == "astream":
                    return sum_of([result.result async for result in group.stream()])
                return sum_of(result.result for result in await group.gather())

        return run

    def options(self, tree: Tree) -> dict[str, Any]:
        return {
            "max_workers": tree.workers,
            "error_strategy": tree.strategy,
            "max_retries": tree.retries,
            "retry_delay": 0.0,
            "circuit_breaker_threshold": None,
        }


def sum_of(values: Any) -> int:
    return sum(value for value in values if isinstance(value, int))


def expected(node: Leaf | Tree, tries: int = 1) -> int | None:
    """What a node comes to; None for a failure. Of trees without FAIL_FAST exactly known."""
    if isinstance(node, Leaf):
        if node.does == "at first":
            return 1 if tries > 1 else None
        return {"works": 1, "skips": 0}.get(node.does)
    retries = 0 if node.way == "pipeline" else node.retries
    below = [expected(child, 1 + retries) for child in node.children]
    if None in below and node.strategy is FAST and node.way != "pipeline":
        return None
    return sum(value for value in below if value is not None)


def leaves() -> st.SearchStrategy[Leaf]:
    does = st.sampled_from(["works"] * 4 + ["fails", "skips", "says no", "at first"])
    return st.builds(Leaf, does, st.booleans())


def trees(children: st.SearchStrategy[Any], strategies: Any = (SLOW, FAST)) -> Any:
    ways = ["gather", "stream", "map", "pipeline", "agather", "astream", "amap"]
    return st.builds(
        Tree,
        st.sampled_from(ways),
        st.lists(children, max_size=4).map(tuple),
        st.integers(1, 3),
        st.sampled_from(strategies),
        st.integers(0, 1),
    )


TREES = st.recursive(leaves(), trees, max_leaves=14).filter(lambda node: isinstance(node, Tree))


@pytest.fixture(autouse=True, scope="module")
def _threads_change_often() -> Iterator[None]:
    level = logging.getLogger("task_pipeline").level
    logging.getLogger("task_pipeline").setLevel(logging.CRITICAL)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    logging.getLogger("task_pipeline").setLevel(level)


@contextmanager
def nothing_is_left(pool: SharedThreadPoolExecutor, world: World) -> Iterator[None]:
    yield
    until = time.monotonic() + PATIENCE
    while pool.active or world.inside:
        assert time.monotonic() < until, (pool.active, world.inside)
        threading.Event().wait(0.0005)
    assert pool.thread_count <= 2 * pool.max_workers  # a stand-in may be idle
    together = threading.Barrier(pool.max_workers, timeout=PATIENCE)
    steps = [lambda context: together.wait() >= 0] * pool.max_workers
    Pipeline([steps], executor=pool).run()


def in_time(run: Any) -> Any:
    """The context of a run that must be over in time, however it ends; None if it raised."""
    with contextlib.suppress(TaskPipelineError, Boom, ExceptionGroup):
        return run.result(PATIENCE)
    assert run.done, "the run hangs"
    return None


@pytest.mark.stress
@pytest.mark.timeout(1800)
@settings(max_examples=EXAMPLES)
@given(TREES, st.integers(1, 3), st.sampled_from([None, 1, 2]))
def test_a_random_tree_ends_with_the_right_result(tree: Any, size: int, most: int | None) -> None:
    pool, world = SharedThreadPoolExecutor(size), World()
    task = world.call(tree)
    config = PipelineConfig(max_workers=most)
    pipeline = Pipeline([[lambda context: task()]], config=config, executor=pool)
    with nothing_is_left(pool, world):
        context = in_time(pipeline.start(PipelineContext()))
    value = expected(tree)
    event(f"fails: {value is None}")
    assert (None if context is None else context.results["lambda"]) == value
    if most is not None and not leaves_some(tree):
        assert world.peak <= most


def leaves_some(node: Leaf | Tree) -> bool:
    """Whether tasks may be left in the middle: what an abandoned thread does is not counted."""
    return isinstance(node, Tree) and (
        node.strategy is FAST or any(leaves_some(child) for child in node.children)
    )


@pytest.mark.stress
@pytest.mark.timeout(1800)
@settings(max_examples=EXAMPLES)
@given(
    st.lists(TREES, min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from([None, 1, 2]),
    st.integers(0, 20),
    st.sampled_from(["cancel", "timeout"]),
)
def test_a_random_tree_that_is_cut_short_leaves_nothing_behind(
    forest: list[Any], size: int, most: int | None, moment: int, how: str
) -> None:
    pool, world = SharedThreadPoolExecutor(size), World()
    seconds = 0.00005 * 2 ** (moment / 2)
    config = PipelineConfig(max_workers=most, timeout=seconds if how == "timeout" else None)
    tasks = [world.call(tree) for tree in forest]
    steps = [lambda context, task=task: task() for task in tasks]
    pipeline = Pipeline([steps], config=config, executor=pool)
    with nothing_is_left(pool, world):
        run = pipeline.start()
        if how == "cancel":
            threading.Event().wait(seconds)
            run.cancel()
        context = in_time(run)
    if context is not None:  # it was over before
        found = [value for key, value in context.results.items() if key.startswith("lambda")]
        assert found == [expected(tree) for tree in forest]


@pytest.mark.stress
@pytest.mark.timeout(1800)
@settings(max_examples=EXAMPLES)
@given(TREES, st.integers(0, 12))
def test_a_random_tree_on_an_event_loop(tree: Any, moment: int) -> None:
    world = World()

    async def run(seconds: float | None) -> Any:
        task = world.call(tree)
        try:
            async with asyncio.timeout(seconds):
                async with parallel(max_workers=2) as group:
                    group.add(task)
                    (result,) = await group.gather()
        except TimeoutError:
            return "late"
        async with asyncio.timeout(PATIENCE):
            while len(asyncio.all_tasks()) > 1:  # of a map that has raised: they were cancelled
                await asyncio.sleep(0)  # the step's work
        return result.result if result.ok else None

    assert asyncio.run(run(PATIENCE)) == expected(tree)
    found = asyncio.run(run(0.00005 * 2**moment))
    assert found in ("late", expected(tree))


def test_errors_of_a_run_that_is_cut_short_are_the_librarys() -> None:
    """What `in_time` takes for an end that was to be expected."""
    assert issubclass(RunCancelledError, TaskPipelineError)
    assert issubclass(StepCancelledError, TaskPipelineError)
