"""The three ways to have a run: on this thread, on this event loop, in the background."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..context import PipelineContext
from ..outcome import Outcome
from .courier import Courier
from .execution import Execution
from .flush import behind, wait_for, wait_on_loop, warn
from .measure import measured
from .metrics import Metrics
from .owner import LOOK_FOR_SIGNALS, drive
from .slots import current_slot, step_aside, step_back
from .status import status_of

if TYPE_CHECKING:
    import asyncio

C = TypeVar("C", bound=PipelineContext[Any])

# What a coroutine that is cancelled gives others to come to an end, in seconds.
MOMENT = 0.05
# What the record of such a run gets to be written, in seconds; it goes on after that.
RECORDED = 1.0


class Run(Generic[C]):
    """A run in the background, as `Pipeline.start` returns it; safe from any thread.

    ```python
    from task_pipeline import Pipeline

    run = Pipeline([lambda context: 42]).start()
    context = run.result(timeout=10.0)
    assert run.done and run.status()["progress"] == 100.0
    ```
    """

    def __init__(self, execution: Execution, context: C) -> None:
        self._execution = execution
        self._context = context
        self._is_flushed = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._execution.run_id

    @property
    def done(self) -> bool:
        """Whether the run is over, and every progress callback was called."""
        return self._execution.is_done

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not."""
        return self._execution.outcome

    def result(self, timeout: float | None = None) -> C:
        """Wait for the end; returns the context, or raises what the run raised.

        Raises `TimeoutError` if the run is not over within `timeout` seconds; it goes on.
        Subscribers that are behind are then waited for, as `Pipeline.run` does.
        """
        wait_until_done(self._execution, timeout)
        if not self._is_flushed:  # who was left behind is not waited for once more
            flush(self._execution)
            self._is_flushed = True
        raise_error(self._execution)
        return self._context

    def status(self) -> dict[str, Any]:
        """What `Pipeline.get_status` says, of this run."""
        return status_of(self._execution)

    def metrics(self) -> Metrics:
        """Counts and times of its steps and groups, by now; see the guide on metrics."""
        return measured(self._execution)

    def snapshot(self) -> Any:
        """A `StateSnapshot`: the run's data at this moment, and each step's status.

        What steps have changed that still run is not in it.
        """
        # By name: it is made in a room above this one, which only passes the wish on.
        snapshots = importlib.import_module("task_pipeline.journal.snapshot")
        return snapshots.take_snapshot(self._execution, self._context)

    def cancel(self) -> None:
        """End the run: nothing more starts, what runs is asked to stop, `result()` raises.

        Does nothing to a run that is over.
        """
        self._execution.cancel()


def wait_until_done(execution: Execution, timeout: float | None) -> None:
    """Wait for a run's end from a thread that has no part in it."""
    with execution.lock:
        if execution.is_done:
            return
        done = threading.Event()
        execution.on_done.append(done.set)
    slot = current_slot()
    if slot is not None:  # waiting inside a step: somebody has to stand in for this thread
        slot.pool.block(slot)
    try:
        while timeout is None and not done.wait(LOOK_FOR_SIGNALS):
            continue  # a signal may have come just as the wait began
        if not done.wait(timeout):
            raise TimeoutError(
                f"the run of {execution.name!r} is not over after {timeout} s; it goes on. Call "
                "cancel() to end it."
            )
    finally:
        if slot is not None:
            slot.pool.unblock(slot)


def raise_error(execution: Execution) -> None:
    """Raise what a run that is over raised, if it did."""
    error = execution.error
    if error is not None:
        try:
            raise error
        finally:
            del error  # the traceback refers to this frame: leave no cycle


def run_here(execution: Execution) -> None:
    """Run on the current thread; raises what the run raises."""
    around = execution.scheduler.places.around
    if around is not None:
        around.waits(1)
    try:
        drive(execution)
    except KeyboardInterrupt:
        raise
    except BaseException:
        flush(execution)
        raise
    finally:
        if around is not None:
            around.waits(-1)
    if execution.feed.active:
        flush(execution)
    raise_error(execution)


def flush(execution: Execution) -> None:
    """Have all subscribers called for all of a run that is over, if that is soon."""
    feed = execution.feed
    late = _to_wait_for(execution)
    if late:
        slot = current_slot()
        if slot is not None:
            slot.pool.block(slot)
        try:
            warn(wait_for(late, feed.flush_timeout), feed.flush_timeout)
        finally:
            if slot is not None:
                slot.pool.unblock(slot)


def _to_wait_for(execution: Execution) -> list[Courier]:
    """Who is behind, unless a run around this one will wait for it: no step is to be held up."""
    feed = execution.feed
    if not feed.active or isinstance(execution.error, KeyboardInterrupt):
        return []
    couriers = behind(feed.audience())
    outer: Any = execution.outer
    while outer is not None and couriers:
        above = outer.run.feed.audience()
        couriers = [courier for courier in couriers if courier not in above]
        outer = outer.run.outer
    return couriers


def run_in_background(execution: Execution) -> None:
    """Start a run and return."""
    try:
        execution.begin()
        execution.do_chores_and_call(delivers=False)
    except BaseException as error:
        execution.abort(error)
        raise


def done_on(execution: Execution, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """A future of the loop that runs here; it is done once the run is."""
    from .loops import is_running_here

    over: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not over.done():
            over.set_result(None)

    def tell_loop() -> None:
        try:
            if is_running_here(loop):
                tell()
            else:
                loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop was closed on the run: nobody waits any more
            return

    with execution.lock:
        if execution.is_done:
            tell()
        else:
            execution.on_done.append(tell_loop)
    return over


async def until_done(execution: Execution) -> None:
    """Wait for the end of a run that somebody else has begun, with the loop going on."""
    import asyncio  # the caller has, or there would be no loop; others need not

    slot = step_aside()
    try:
        await done_on(execution, asyncio.get_running_loop())
    finally:
        step_back(slot)


async def run_on_loop(execution: Execution) -> None:
    """Run with coroutine steps on the current event loop and all others on the pool."""
    import asyncio  # the caller has, or there would be no loop; others need not

    over = done_on(execution, asyncio.get_running_loop())
    around = execution.scheduler.places.around
    if around is not None:
        around.waits(1)
    slot = step_aside()
    try:
        run_in_background(execution)
        await over
    except BaseException as error:
        execution.cancel(None if isinstance(error, asyncio.CancelledError) else error)
        left = execution.coroutines.tasks() if execution.coroutines is not None else set()
        if left:  # they have been cancelled, and get the moment that takes
            await asyncio.wait(left, timeout=MOMENT)
        if execution.recorder is not None:  # so that who looks at the record finds the end of it
            recorded = done_on(execution, asyncio.get_running_loop())  # the other is cancelled
            await asyncio.wait({recorded}, timeout=RECORDED)
        await wait_on_loop(_to_wait_for(execution), MOMENT)
        raise
    finally:
        step_back(slot)
        if around is not None:
            around.waits(-1)
    feed = execution.feed
    if feed.active:
        warn(await wait_on_loop(_to_wait_for(execution), feed.flush_timeout), feed.flush_timeout)
    raise_error(execution)
