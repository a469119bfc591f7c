"""Coroutine steps: a thousand at once, without a thread for each.

    python examples/async_steps.py

`await pipeline.arun()` runs them on the caller's event loop, beside plain
functions, which run in the thread pool.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from task_pipeline import (
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineContext,
    StepTimeoutError,
    step,
)

Context = PipelineContext[Any]
PAGES = 1000


def fetch(page: int) -> Callable[[Context], Awaitable[None]]:
    """Returns a coroutine step that waits as a request would."""

    @step(step_id=f"fetch {page}", timeout=3.0)
    async def request(context: Context) -> None:
        await asyncio.sleep(0.2)
        context.results["bytes"] = context.results.get("bytes", 0) + page
        context.results.setdefault("threads", set()).add(threading.current_thread().name)

    return request


def digest(context: Context) -> str:
    """Is a plain function; it runs in the pool, so that it does not hold the loop up."""
    return f"{context.results['bytes']:,} bytes"


async def thousand() -> None:
    """Runs a thousand coroutines in one group."""
    # All at once: without this, the pool's number of workers is the limit.
    group = Parallel(
        [fetch(page) for page in range(PAGES)], config=ParallelConfig(max_workers=PAGES)
    )
    threads = threading.active_count()
    started = time.perf_counter()
    context = await Pipeline([group, digest]).arun()
    seconds = time.perf_counter() - started
    added = threading.active_count() - threads
    print(f"{PAGES} waits of 0.2 s took {seconds:.2f} s: {context.results['digest']}")
    print(f"  on the thread {context.results['threads']}; {added} started for all of them")
    assert context.results["bytes"] == sum(range(PAGES))
    assert seconds < 4.0


async def cancelled() -> None:
    """Shows that a coroutine's deadline really cancels it, unlike a thread's."""
    seen: list[str] = []

    @step(timeout=0.1)
    async def forever(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    pipeline = Pipeline([forever])
    try:
        await pipeline.arun()
    except StepTimeoutError as error:
        print(f"{error}\n  the coroutine saw: {seen}")
    assert seen == ["cancelled"]
    assert pipeline.get_status()["abandoned"] == 0


async def inside_a_running_loop() -> None:
    """Shows `run()` where a loop runs already, as in a notebook."""
    context = Pipeline([[fetch(page) for page in range(3)]]).run()
    print(f"run() inside a running loop works as well: {context.results['bytes']} bytes")


def main() -> None:
    """Runs the three parts, each as an application would."""
    asyncio.run(thousand())
    asyncio.run(cancelled())
    asyncio.run(inside_a_running_loop())


if __name__ == "__main__":
    main()
