"""Dynamic groups: calls side by side whose number is known only when the program runs.

```python
from task_pipeline import parallel

with parallel(max_workers=8) as group:
    for number in range(4):
        group.add(pow, number, 2)
    results = group.gather()

assert [result.unwrap() for result in results] == [0, 1, 4, 9]
```
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import ModuleType, TracebackType
from typing import Any, TypedDict, TypeVar, Unpack

from .config import ErrorStrategy, RetryPolicy, TaskGroupConfig
from .engine.bus import EventBus
from .engine.clock import current_clock
from .engine.feed import Feed, new_run_id
from .engine.measure import Totals
from .engine.metrics import Metrics
from .engine.run import raise_error, run_here, run_on_loop, until_done, wait_until_done
from .engine.task_group import GroupCore, GroupInfo, Home, Results, home_in_step
from .engine.task_map import OnError, ResultMap
from .engine.task_stream import AsyncResultStream, ResultStream
from .errors import TaskGroupError
from .events import Event
from .outcome import ExecutionResult

T = TypeVar("T")
Result = ExecutionResult[Any]


class GroupOptions(TypedDict, total=False):
    """What `parallel()` takes; each means what the field of `TaskGroupConfig` means."""

    max_workers: int
    error_strategy: ErrorStrategy
    timeout: float | None
    name: str | None
    max_retries: int | RetryPolicy
    retry_delay: float | RetryPolicy
    circuit_breaker_threshold: int | None
    circuit_breaker_timeout: float
    circuit_breaker: Any


def parallel(**options: Unpack[GroupOptions]) -> ParallelGroup:
    """A group of calls that run side by side, `max_workers` at once (5).

    `with` it in plain code, `async with` it in coroutines. Tasks are added with `add()`,
    and begin with `gather()`, `gather_dict()` or `stream()`; leaving the block gathers if
    nobody did. Plain functions run on the shared pool, coroutines on the running loop.
    Inside a step the group is part of that step: of its run's pool, limits, events and
    deadline, and of its progress.

    Raises pydantic's `ValidationError`, a `ValueError`, for options that mean nothing.

    ```python
    import asyncio
    from task_pipeline import parallel

    async def fetch(number): return number * 2

    async def main():
        async with parallel(max_workers=3, name="docs") as group:
            group.add(fetch(1))
            group.add(fetch, 2, name="second")
            return await group.gather_dict()

    results = asyncio.run(main())
    assert results["0"].result == 2 and results["second"].unwrap() == 4
    ```
    """
    return ParallelGroup(_config(options), home_in_step)


def _config(options: GroupOptions) -> TaskGroupConfig:
    given: dict[str, Any] = dict(options)
    if isinstance(given.get("retry_delay"), RetryPolicy):
        given["max_retries"] = given.pop("retry_delay")
    return TaskGroupConfig(**given)


class ParallelGroup:
    """A group that has not been entered; what `parallel()` returns."""

    def __init__(self, config: TaskGroupConfig, find_home: Callable[[], Home]) -> None:
        self._config = config
        self._find_home = find_home
        self._core: GroupCore | None = None

    def _enter(self) -> GroupCore:
        if self._core is not None:
            raise TaskGroupError(
                f"group {self._core.node.name!r} was entered before; open another one"
            )
        self._core = GroupCore(self._config, self._find_home())
        return self._core

    def __enter__(self) -> TaskGroup:
        return TaskGroup(self._enter())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        core = self._core
        assert core is not None
        if core.run is None and error is None:
            TaskGroup(core).gather()
        elif core.run is None or not core.run.is_done:
            core.leave()

    async def __aenter__(self) -> AsyncTaskGroup:
        return AsyncTaskGroup(self._enter())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        core = self._core
        assert core is not None
        if core.run is None and error is None:
            await AsyncTaskGroup(core).gather()
        elif core.run is None or not core.run.has_left_nothing:
            core.leave()
            await _settled(core)

    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        ordered: bool = True,
        on_error: OnError = "collect",
        look_ahead: int | None = None,
    ) -> ResultMap:
        """Call a function with each item; see `map_parallel`."""
        return ResultMap(self._enter(), function, items, (ordered, on_error, look_ahead))


class _Group:
    """What both kinds of groups offer."""

    def __init__(self, core: GroupCore) -> None:
        self._core = core

    @property
    def group(self) -> GroupInfo:
        """What the group is, and how far: a picture of this moment."""
        return self._core.info

    def add(self, work: Any, /, *args: Any, name: str | None = None, **kwargs: Any) -> int:
        """Add a function with its arguments, plain or async, or a coroutine; returns its index.

        It does not begin before the group is gathered or streamed. For a function that has an
        argument called `name` itself, use `functools.partial`. Raises `TaskGroupError` after
        that, for a name that is taken, for something that cannot be called, and for a
        coroutine in a group with retries.
        """
        return self._core.add(work, args, kwargs, name)


class TaskGroup(_Group):
    """A group that was entered by `with`."""

    def gather(self) -> Results:
        """Run all tasks; returns their results in the order added. Again: the same results.

        With FAIL_FAST, raises the first error, with a note that names its task; at the
        group's timeout, `GroupTimeoutError`. With FAIL_SLOW the results tell of both.
        """
        core = self._core
        core.refuse_own_task()
        run = core.make_run() if core.run is None else None
        if run is not None:
            run_here(run)
        elif core.run is not None:
            wait_until_done(core.run, None)
            _raise_again(core)
        return core.results()

    def gather_dict(self) -> dict[str, Result]:
        """As `gather`, by name; tasks without one by their index as text."""
        self.gather()
        return self._core.by_name()

    def stream(self) -> Iterator[Result]:
        """Run all tasks, and give each result when it is there. Left early, cancels the rest.

        Raises what `gather` raises. After a gather: the same results, in the order added.
        """
        run = self._core.make_run() if self._core.run is None else None
        return iter(self.gather()) if run is None else ResultStream(run)


class AsyncTaskGroup(_Group):
    """A group that was entered by `async with`."""

    async def gather(self) -> Results:
        """As `TaskGroup.gather`, with the loop going on meanwhile."""
        core = self._core
        core.refuse_own_task()
        run = core.make_run(asyncio.get_running_loop()) if core.run is None else None
        if run is not None:
            await run_on_loop(run)
        else:
            await _settled(core)
            _raise_again(core)
        return core.results()

    async def gather_dict(self) -> dict[str, Result]:
        """As `gather`, by name; tasks without one by their index as text."""
        await self.gather()
        return self._core.by_name()

    def stream(self) -> AsyncIterator[Result]:
        """As `TaskGroup.stream`, for `async for`."""
        loop = asyncio.get_running_loop()
        run = self._core.make_run(loop) if self._core.run is None else None
        return self._gathered() if run is None else AsyncResultStream(run, loop)

    async def _gathered(self) -> AsyncIterator[Result]:
        for result in await self.gather():
            yield result


def _raise_again(core: GroupCore) -> None:
    """What a run that somebody else waited for has raised; nothing if it was left on purpose."""
    assert core.run is not None
    if core.config.error_strategy is ErrorStrategy.FAIL_FAST:
        raise_error(core.run)


async def _settled(core: GroupCore) -> None:
    """Wait until the run is over, and its coroutines have heard of that."""
    run = core.run
    if run is None:
        return
    if not run.is_done:
        await until_done(run)
    left = run.coroutines.tasks() if run.coroutines is not None else set()
    left -= {task for task in (asyncio.current_task(),) if task is not None}
    if left:  # they were cancelled, and get the moment that takes
        await asyncio.wait(left, timeout=0.05)


class MapOptions(GroupOptions, total=False):
    """What `map_parallel` takes beside what `parallel()` takes."""

    ordered: bool
    on_error: OnError
    look_ahead: int | None


def map_parallel(
    function: Callable[[Any], Any], items: Iterable[Any], **options: Unpack[MapOptions]
) -> ResultMap:
    """Call a function with each item, lazily; iterate over the results, also by `async for`.

    Takes from `items` only as much as is needed to keep `max_workers` busy: `look_ahead`
    items at most (twice `max_workers`) are begun whose result was not taken yet. Results come
    in the order of the items, or with `ordered=False` as they end. A failed call, with
    `on_error`, gives a result that is not `ok` ("collect"), raises and cancels the rest
    ("fail_fast"; so does the error strategy FAIL_FAST), or gives none ("skip"). Has no
    circuit breaker unless it is given one.

    ```python
    import itertools
    from task_pipeline import map_parallel

    squares = map_parallel(lambda number: number**2, itertools.count(), max_workers=4)
    assert [next(squares).unwrap() for _ in range(3)] == [0, 1, 4]
    ```
    """
    given: dict[str, Any] = {"circuit_breaker_threshold": None, **options}
    ordered = given.pop("ordered", True)
    on_error = given.pop("on_error", "collect")
    look_ahead = given.pop("look_ahead", None)
    group = parallel(**given)
    return group.map(function, items, ordered=ordered, on_error=on_error, look_ahead=look_ahead)


class History(tuple[Event, ...]):
    """Events in their order."""

    __slots__ = ()

    @property
    def events(self) -> History:
        """The events: itself."""
        return self


class ExecutionState:
    """What a program without a pipeline has in place of a run: events, history, metrics.

    Its groups' events have one `run_id`, and one `seq` that counts on from group to group.
    The first group's path is "0", the next one's "1". `history` has the latest events.

    ```python
    from task_pipeline import ExecutionState

    state = ExecutionState()
    with state.parallel(name="docs") as group:
        group.add(pow, 2, 3)
    assert [type(event).__name__ for event in state.history] == [
        "GroupStarted", "StepStarted", "StepSucceeded", "GroupSucceeded"
    ]
    ```
    """

    def __init__(self, event_bus: EventBus | None = None, history: int = 1000) -> None:
        """`history`: how many events are kept."""
        self._own = EventBus(history=history)
        self.event_bus = self._own if event_bus is None else event_bus
        buses = {self._own: None, self.event_bus: None}
        # Also of those who have nobody there yet: a state is made before it is listened to.
        self._feed = Feed(
            new_run_id,
            [bus.hand_on for bus in buses],
            current_clock.get(),
            lambda: [courier for bus in buses for courier in bus.couriers()],
            self.event_bus.flush_timeout,
        )
        self._totals = Totals()
        self._groups = 0
        self._lock = threading.Lock()

    @property
    def run_id(self) -> str:
        """What all events of its groups have in common."""
        return self._feed.run_id

    @property
    def history(self) -> History:
        """The latest events."""
        return History(self._own.history)

    @property
    def metrics(self) -> Metrics:
        """Counts and times of all its groups and their tasks, those under way included.

        Groups are known by their name, tasks by their group's name and their function's, so
        that a program that opens groups for months keeps no more than one that opens a few.
        """
        return self._totals.metrics()

    def parallel(self, **options: Unpack[GroupOptions]) -> ParallelGroup:
        """A group as `parallel()` makes it, whose events are this state's."""
        return ParallelGroup(_config(options), self._next_home)

    def _next_home(self) -> Home:
        with self._lock:
            number = self._groups
            self._groups += 1
        return Home(str(number), self._feed, self._totals)


class _CallableModule(ModuleType):
    """Importing this module sets the package's `parallel` to it, where the function belongs.

    So the module does what the function does, whichever of the two somebody finds there.
    """

    def __call__(self, **options: Unpack[GroupOptions]) -> ParallelGroup:
        return parallel(**options)


sys.modules[__name__].__class__ = _CallableModule
