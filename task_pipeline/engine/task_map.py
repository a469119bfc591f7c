"""A function called with each of many items, with only some of them under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from ..errors import ConfigurationError, TaskGroupError
from ..outcome import ExecutionResult
from .run import run_in_background
from .task_group import GroupCore
from .task_nodes import TaskNode
from .task_stream import (
    LoopInbox,
    ThreadInbox,
    close_elsewhere,
    raise_from_iterator,
    raise_in_iterator,
)

Result = ExecutionResult[Any]
OnError = Literal["collect", "fail_fast", "skip"]
"""What becomes of a failed call: a result that is not ok, an error that is raised, nothing."""


class ResultMap:
    """The results of `map_parallel`, one by one; dropped before the end, it cancels the rest.

    `for` and `next()` take them in plain code, `async for` in coroutines. Items are taken,
    in the thread that asks for results, as there is room for them.
    """

    def __init__(
        self,
        core: GroupCore,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        how: tuple[bool, OnError, int | None],
    ) -> None:
        self._core = core
        self._function = function
        self._ordered, self._on_error, look_ahead = how
        self._most = 2 * core.config.max_workers if look_ahead is None else look_ahead
        self._check(function, items)
        self._items: Iterator[Any] = iter(items)
        self._inbox: ThreadInbox | LoopInbox | None = None
        self._begun = 0  # items taken
        self._given = 0  # results handed out
        self._arrived: dict[int, Result] = {}
        self._exhausted = False
        self._is_closed = False
        self._lock = threading.RLock()

    def _check(self, function: Any, items: Any) -> None:
        problems = []
        if not callable(function):
            problems.append(f"function must be callable, not {function!r}")
        if not isinstance(items, Iterable):
            problems.append(f"items must be iterable, not a {type(items).__name__}")
        if self._on_error not in ("collect", "fail_fast", "skip"):
            problems.append(
                f'on_error must be "collect", "fail_fast" or "skip", not {self._on_error!r}'
            )
        most = self._most
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            problems.append(f"look_ahead must be a whole number from 1, not {most!r}")
        if problems:
            raise ConfigurationError("map_parallel: " + "; ".join(problems))

    # Taking items

    def _top_up(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin as many items as there is room for. In the thread of whoever takes results."""
        fresh: list[TaskNode] = []
        try:
            while not self._exhausted and self._begun - self._given < self._most:
                item = next(self._items, _END)
                if item is _END:
                    self._exhausted = True
                    break
                fresh.append(self._core.task(self._function, (item,), {}, self._begun, None))
                self._begun += 1
        except BaseException:
            self.close()
            raise
        run = self._core.run
        if self._is_closed:  # by the items themselves, or by another thread
            return
        if run is not None:
            if fresh or (self._exhausted and not run.is_complete):
                run.extend(fresh, more=not self._exhausted)
        elif fresh:
            self._begin(fresh, loop)

    def _begin(self, fresh: list[TaskNode], loop: asyncio.AbstractEventLoop | None) -> None:
        core = self._core
        core.tasks = fresh
        run = core.make_run(loop, is_open=not self._exhausted)
        core.tasks = []
        if run is None:
            raise TaskGroupError(f"group {core.node.name!r} is run already")
        self._inbox = ThreadInbox(run) if loop is None else LoopInbox(run, loop)
        run_in_background(run)

    # Giving results

    def _take(self, leaf: int) -> None:
        run = self._core.run
        assert run is not None
        self._arrived[leaf] = run.result_of(leaf)
        run.drop(leaf)

    def _next_arrived(self) -> Result | None:
        """The next result there is to give; raises the first error if that is wished."""
        if self._on_error == "fail_fast" and not self._ordered:
            self._raise_first(self._arrived.values())
        while self._arrived:
            leaf = self._given if self._ordered else next(iter(self._arrived))
            result = self._arrived.pop(leaf, None)
            if result is None:
                return None
            self._given += 1
            if self._on_error == "fail_fast":
                self._raise_first([result])
            if result.ok or self._on_error != "skip":
                return result
        return None

    def _raise_first(self, results: Iterable[Result]) -> None:
        for result in results:
            if not result.ok:
                self.close()
                raise_in_iterator(result.error)
                result.unwrap()

    def __iter__(self) -> ResultMap:
        return self

    def __next__(self) -> Result:
        while True:
            with self._lock:  # several threads may take from it
                if self._is_closed:
                    raise StopIteration
                result = self._next_arrived()
                self._top_up(None)
                if result is not None:
                    return result
                inbox = self._inbox
            if inbox is None:
                raise StopIteration
            assert isinstance(inbox, ThreadInbox)
            leaf = inbox.get()
            with self._lock:
                if not self._put_aside(leaf):
                    raise StopIteration

    def __aiter__(self) -> ResultMap:
        return self

    async def __anext__(self) -> Result:
        loop = asyncio.get_running_loop()
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            result = self._next_arrived()
            self._top_up(loop)
            if result is not None:
                return result
            if self._inbox is None:
                raise StopAsyncIteration
            assert isinstance(self._inbox, LoopInbox)
            try:
                leaf = await self._inbox.get()
            except asyncio.CancelledError:
                self.close()
                raise
            if not self._put_aside(leaf):
                raise StopAsyncIteration

    def _put_aside(self, leaf: int | None) -> bool:
        """Keep a result until its turn; False if there are no more."""
        if leaf is not None:
            self._take(leaf)
            return True
        run = self._core.run
        assert run is not None
        if self._arrived:
            return True
        raise_from_iterator(run)
        return False

    def close(self) -> None:
        """Cancel what has not ended; there are no more results."""
        self._is_closed = self._exhausted = True
        self._items = iter(())  # let go: a generator need not wait for this to go
        self._core.leave()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            close_elsewhere(self._core.run, self.close)


_END: Any = object()
