"""One bounded pool of daemon threads for all runs of a process.

A *permit* is the right to run user code; there are `max_workers` of them, and a
thread that calls `run()` and helps needs one as a worker does. A thread that
blocks gives its permit back and somebody stands in for it; when it is woken it
gets the next permit that is free, before any new work does. The permit of an
abandoned thread is given back at once: capacity never shrinks, nothing starves itself.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ..errors import ConfigurationError, PoolShutdownError
from .futures import PoolFuture
from .pool_size import default_max_workers
from .slots import Item, Slot, Standing, current_slot, set_current_slot

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("task_pipeline.pool")
RUNNING, BLOCKED, IDLE, LOST = Standing.RUNNING, Standing.BLOCKED, Standing.IDLE, Standing.LOST


class SharedThreadPoolExecutor(concurrent.futures.Executor):
    """A pool that pipelines share, with the interface of `concurrent.futures.Executor`.

    Threads are daemons, started on demand. `max_workers` is by default
    `TASK_PIPELINE_MAX_WORKERS`, else `min(32, cpus + 4)`. Raises
    `ConfigurationError` for a limit below 1.

    ```python
    from task_pipeline import Pipeline, SharedThreadPoolExecutor

    pool = SharedThreadPoolExecutor(max_workers=2)
    assert pool.submit(pow, 2, 3).result() == 8
    Pipeline([[lambda context: None] * 4], executor=pool).run()
    ```
    """

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "task_pipeline"):
        if max_workers is None:
            max_workers = default_max_workers()
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ConfigurationError(
                f"max_workers of a pool must be a whole number from 1, not {max_workers!r}"
            )
        self._max_workers = max_workers
        self._prefix = thread_name_prefix
        self._started = 0
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        """Fresh, as after a fork: the parent's threads and their work are not here."""
        self._lock = threading.Lock()
        self._queue: deque[Item] = deque()
        self._idle: list[Slot] = []
        self._resuming: deque[Slot] = deque()
        self._active = 0
        self._threads: dict[Slot, threading.Thread] = {}
        self._submitted: set[concurrent.futures.Future[Any]] = set()
        self._is_shut_down = False

    @property
    def max_workers(self) -> int:
        """How many threads run user code at once, at most."""
        return self._max_workers

    def is_crowded_besides(self, item: Item) -> bool:
        """Whether other work waits for a worker: one that has a choice should let it in."""
        queue = self._queue
        return len(queue) > 1 or (len(queue) == 1 and item not in queue)

    @property
    def is_overdrawn(self) -> bool:
        """Whether a thread that kept a deadline goes on without a permit of its own."""
        return self._active > self._max_workers

    @property
    def active(self) -> int:
        """How many permits are in use."""
        return self._active

    @property
    def thread_count(self) -> int:
        """How many worker threads there are, abandoned ones not counted."""
        return len(self._threads)

    # The interface of concurrent.futures

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Have a worker call `fn`; raises `PoolShutdownError` after `shutdown()`."""
        future: PoolFuture[T] = PoolFuture()
        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)

        def work(slot: Slot) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001  # it goes to whoever asks for the result
                future.set_exception(error)
            else:
                future.set_result(value)

        work.future = future  # type: ignore[attr-defined]  # for shutdown(cancel_futures=True)
        self.post(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; not needed, as threads are daemons.

        Waits for what was submitted, abandoned threads aside, if `wait` is true.
        """
        with self._lock:
            self._is_shut_down = True
            if cancel_futures:
                for item in list(self._queue):
                    future = getattr(item, "future", None)
                    if future is not None and future.cancel():
                        self._queue.remove(item)
            idle, self._idle = self._idle, []
            for slot in idle:
                self._threads.pop(slot, None)
                self._signal(slot)  # with nothing to do it ends
        if wait:
            for future in list(self._submitted):
                with contextlib.suppress(concurrent.futures.CancelledError):
                    future.exception()
            while True:
                with self._lock:
                    threads = set(self._threads.values()) - {threading.current_thread()}
                if not threads:
                    return
                threads.pop().join()

    # For the engine

    def post(self, item: Item, count: int = 1) -> None:
        """Queue work; `count` times the same."""
        with self._lock:
            if self._is_shut_down:
                raise PoolShutdownError(
                    "this pool was shut down and takes no more work; make another one"
                )
            for _ in range(count):
                self._queue.append(item)
            self._dispatch()

    def require_open(self) -> None:
        """Raise `PoolShutdownError` if no work can be begun any more."""
        if self._is_shut_down or sys.is_finalizing():
            raise PoolShutdownError(
                "no run can begin: the pool was shut down, or the interpreter is about to end"
            )

    def recall(self, item: Item) -> bool:
        """Take back one that was posted, if nobody has begun with it.

        A worker that was called for it may be on its way still; it is idle again at
        once, so that it neither holds a permit nor has to be called a second time.
        """
        with self._lock:
            if item in self._queue:
                self._queue.remove(item)
                return True
            for slot in self._threads:
                if slot.item is item:
                    slot.item = None
                    slot.standing = IDLE
                    self._active -= 1
                    if self._is_shut_down or len(self._idle) >= self._max_workers:
                        del self._threads[slot]  # with nothing to do it ends
                    else:
                        self._idle.append(slot)
                    self._hand_on()
                    return True
        return False

    def enter(self, slot: Slot) -> bool:
        """A permit for the current thread, which is no worker; False if all are in use."""
        with self._lock:
            if self._active >= self._max_workers or self._resuming:
                return False
            # No call stands between these two lines, so no interrupt can come between them.
            self._active += 1
            slot.standing = RUNNING
        return True

    def leave(self, slot: Slot) -> None:
        """Give back what `enter()` gave, if it has not been given back."""
        with self._lock:
            if slot.standing is RUNNING:
                self._active -= 1
                slot.standing = IDLE
                self._hand_on()

    def block(self, slot: Slot) -> None:
        """The current thread is about to wait: let somebody stand in for it."""
        with self._lock:
            if slot.standing is RUNNING:
                slot.standing = BLOCKED
                self._active -= 1
                self._hand_on()

    def unblock(self, slot: Slot, at_once: bool = False) -> None:
        """The current thread waits no more: get a permit back, before any new work does.

        `at_once` does not wait for one: a deadline has passed, and is kept.
        """
        with self._lock:
            if slot.standing is not BLOCKED:
                return
            if at_once or self._active < self._max_workers:
                self._grant(slot, release=False)
                return
            self._resuming.append(slot)
        slot.gate.acquire()

    def wait_blocked(self, slot: Slot) -> None:
        """Block the current thread until `wake()`; it then has its permit again."""
        with self._lock:
            if slot.woken:
                slot.woken = False
                return
            slot.waiting = True
            if slot.standing is RUNNING:
                slot.standing = BLOCKED
                self._active -= 1
                self._hand_on()
        slot.gate.acquire()
        slot.waiting = slot.woken = False

    def wake(self, slot: Slot, at_once: bool = False) -> None:
        """Wake a thread in `wait_blocked()`, or about to be, once there is a permit for it.

        `at_once` does not wait for one: a deadline has passed, and is kept.
        """
        with self._lock:
            if slot.woken:
                return
            slot.woken = True
            if not slot.waiting:
                return
            if slot.standing is LOST:
                slot.gate.release()
            elif at_once or self._active < self._max_workers:
                self._grant(slot)
            else:
                self._resuming.append(slot)

    def abandon(self, slot: Slot) -> None:
        """A thread's step is left: count the thread out, and let somebody stand in for it."""
        with self._lock:
            before, slot.standing = slot.standing, LOST
            if self._threads.pop(slot, None) is None:
                return  # of a process that this one was forked from
            if before is RUNNING:
                self._active -= 1
                self._hand_on()
            elif slot in self._resuming:
                self._resuming.remove(slot)
                slot.gate.release()

    def keep_only(self, slot: Slot) -> None:
        """After a fork: this thread is all that is left of the pool, and has a permit."""
        slot.standing = RUNNING
        self._active = 1

    # Under the lock. An interrupt can strike at any call: what belongs together has none.

    def _grant(self, slot: Slot, release: bool = True) -> None:
        self._active += 1
        slot.standing = RUNNING
        if release:
            slot.gate.release()

    def _hand_on(self) -> None:
        """Give a permit that has become free to who waits for one."""
        if self._resuming and self._active < self._max_workers:
            self._grant(self._resuming.popleft())
        else:
            self._dispatch()

    def _dispatch(self) -> None:
        """Hand queued work to idle workers, or to new ones, as long as there are permits."""
        while self._queue and self._active < self._max_workers and not self._resuming:
            if not self._idle:
                if self._start_worker():
                    continue
                return
            slot = self._idle[-1]  # the last to go idle: its stack is warm
            slot.item = self._queue[0]
            slot.standing = RUNNING
            self._active += 1
            del self._idle[-1]
            del self._queue[0]
            if not slot.called:  # as _signal() does it, without a call
                slot.called = True
                slot.gate.release()

    def _signal(self, slot: Slot) -> None:
        if not slot.called:  # else it is on its way, for something that has been recalled
            slot.called = True
            slot.gate.release()

    def _start_worker(self) -> bool:
        """A new worker for what is first in the queue; False if there are no more threads."""
        slot = Slot(self, is_worker=True)
        self._started += 1
        name = f"{self._prefix}-{self._started}"
        thread = threading.Thread(target=_work, args=(self, slot), name=name, daemon=True)
        slot.item = self._queue[0]
        self._active += 1
        self._threads[slot] = thread
        del self._queue[0]
        try:
            self._signal(slot)
            thread.start()
        except BaseException as error:
            if thread.ident is None:  # it has not begun: its work waits for those there are
                self._queue.appendleft(slot.item)
                slot.item = None
                del self._threads[slot]
                self._active -= 1
            if isinstance(error, RuntimeError) and self._active:
                return False
            raise
        return True

    def _next_item(self, slot: Slot) -> Item | None:
        """What a worker does after an item; None to end the thread. Called without the lock."""
        with self._lock:
            if slot.standing is LOST:
                return None
            if not self._resuming and self._queue and self._active <= self._max_workers:
                return self._queue.popleft()  # with the permit it has
            slot.standing = IDLE
            if self._is_shut_down or len(self._idle) >= self._max_workers:
                self._threads.pop(slot, None)
                self._active -= 1
                self._hand_on()
                return None
            self._idle.append(slot)
            self._active -= 1
            self._hand_on()
        return self._await_item(slot)

    def _await_item(self, slot: Slot) -> Item | None:
        """Wait until there is something for this worker; None to end the thread."""
        while True:
            slot.gate.acquire()
            with self._lock:
                slot.called = False
                item, slot.item = slot.item, None
                if item is not None or slot not in self._threads:
                    return item


def _work(pool: SharedThreadPoolExecutor, slot: Slot) -> None:
    """A worker's life."""
    set_current_slot(slot)
    logger.debug("worker started")
    item = pool._await_item(slot)
    while item is not None:
        try:
            item(slot)
        except BaseException:  # the engine's own mistake: the permit must come back all the same
            logger.exception("a worker's item raised")
        item = None  # not to be kept alive while idle
        item = pool._next_item(slot)
    logger.debug("worker ended")


_pools: weakref.WeakSet[SharedThreadPoolExecutor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._reset()
    slot = current_slot()
    if slot is not None:  # forked inside a step: that step's thread goes on, with its permit
        slot.pool.keep_only(slot)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
