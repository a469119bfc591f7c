"""The same no-op work in other libraries, each used the way its own documentation shows.

Whatever a user would do once (building a graph, compiling it, starting a pool) is done
once and not timed, as our own pipeline is built once. All may use 8 threads, as ours
may. Imports are inside the functions: a peer that is missing costs only its own row.
"""

import asyncio
import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypedDict

from benchmarks.harness import Rounds, Subject, interleave
from benchmarks.reference import WORKERS, noop, submitting, submitting_at_once

Peer = Callable[[int], AbstractContextManager[Callable[[], object]]]


class State(TypedDict, total=False):
    """What the LangGraph nodes share; one key that nobody writes, as in our no-op branches."""

    value: int


def passing(state: object) -> None:
    """A no-op for peers that hand every call their state."""


@contextmanager
def plain_submit(count: int) -> Iterator[Callable[[], object]]:
    """The reference against itself: how far its ratio is from 1.0 is this machine's noise."""
    with submitting(count) as subject:
        yield subject.run


@contextmanager
def submit_at_once(count: int) -> Iterator[Callable[[], object]]:
    """All submitted before the first result is taken: the least a fan-out on threads costs."""
    with submitting_at_once(count) as subject:
        yield subject.run


@contextmanager
def asyncio_threads(count: int) -> Iterator[Callable[[], object]]:
    """One loop for all rounds, as in an application, its default pool set to 8 threads."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(WORKERS) as pool:
        runner.get_loop().set_default_executor(pool)

        async def gathered() -> None:
            await asyncio.gather(*(asyncio.to_thread(noop) for _ in range(count)))

        yield lambda: runner.run(gathered())


@contextmanager
def dask_threaded(count: int) -> Iterator[Callable[[], object]]:
    """A ready-made graph on a given pool: `dask.delayed` would add building the graph anew."""
    threaded: Any = importlib.import_module("dask.threaded")
    graph = {f"step_{index}": (noop,) for index in range(count)}
    keys = list(graph)
    with ThreadPoolExecutor(WORKERS) as pool:
        yield lambda: threaded.get(graph, keys, pool=pool)


@contextmanager
def joblib_threads(count: int) -> Iterator[Callable[[], object]]:
    """Inside `with Parallel(...)`, which keeps its pool between calls; batching left on auto.

    Its price at small counts is mostly a fixed 10 ms: it polls for its results.
    """
    joblib: Any = importlib.import_module("joblib")
    with joblib.Parallel(n_jobs=WORKERS, backend="threading") as parallel:
        yield lambda: parallel(joblib.delayed(noop)() for _ in range(count))


@contextmanager
def langchain_parallel(count: int) -> Iterator[Callable[[], object]]:
    """One RunnableParallel, invoked again and again; tracing to a server is off."""
    _without_tracing()
    runnables: Any = importlib.import_module("langchain_core.runnables")
    branches = {f"step_{index}": runnables.RunnableLambda(passing) for index in range(count)}
    group = runnables.RunnableParallel(branches)
    yield lambda: group.invoke({}, config={"max_concurrency": WORKERS})


@contextmanager
def langgraph_fan_out(count: int) -> Iterator[Callable[[], object]]:
    """A compiled graph, START to every node to END, no checkpointer; tracing is off."""
    _without_tracing()
    graph: Any = importlib.import_module("langgraph.graph")
    builder = graph.StateGraph(State)
    for index in range(count):
        builder.add_node(f"step_{index}", passing)
        builder.add_edge(graph.START, f"step_{index}")
        builder.add_edge(f"step_{index}", graph.END)
    compiled = builder.compile()
    yield lambda: compiled.invoke({"value": 1}, config={"max_concurrency": WORKERS})


PEERS: dict[str, tuple[Peer, str | None]] = {
    "submit, one by one": (plain_submit, None),
    "submit, all at once": (submit_at_once, None),
    "asyncio.gather + to_thread": (asyncio_threads, None),
    "dask.threaded": (dask_threaded, "dask"),
    "joblib, threading": (joblib_threads, "joblib"),
    "LangChain RunnableParallel": (langchain_parallel, "langchain-core"),
    "LangGraph": (langgraph_fan_out, "langgraph"),
}
"""Name in the table, how to run it, and the distribution whose version to show."""


def compare(name: str, count: int, rounds: int) -> Rounds:
    """`count` no-ops in the peer `name` against as many round trips of `submit`."""
    peer, _ = PEERS[name]
    with submitting(count) as reference, peer(count) as run:
        return interleave(Subject(run, count), reference, rounds=rounds)


def _without_tracing() -> None:
    for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[variable] = "false"
