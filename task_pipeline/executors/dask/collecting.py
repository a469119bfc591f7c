"""What an executor does on its client's event loop: waiting, gathering, asking workers.

All of it ends in the executor's lane. Nothing here may take long, or raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .calls import stop_calls
from .errands import Errand
from .holdings import Holding
from .parcels import Parcel

_GATHERING = 0.1
"""Seconds for which calls that have ended are collected, while workers have plenty to do."""
_PLENTY = 4  # calls for each of their threads
_LOOK = 5.0  # seconds after which it is looked whether a worker still is there


class Return(NamedTuple):
    """A call's future is done: with a parcel, an error, or neither if it was cancelled."""

    errand: Errand
    future: Any
    parcel: Parcel | None = None
    error: BaseException | None = None


class Collecting:
    """Brings what happens on the cluster into the lane: `put` hands something to it."""

    def __init__(self, client: Any, put: Callable[..., None]) -> None:
        self._client = client
        self._put = put
        self._done: list[Return] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_over = False
        self._awaited = self._threads = 0
        self._counted_at = -_LOOK

    def start(self, work: Callable[..., Any], *given: Any) -> None:
        """Begin a coroutine on the loop, and return at once. From any thread."""
        self._client.loop.add_callback(self._begin, work, *given)

    def end(self) -> None:
        """Begin nothing any more, and end what is under way. From any thread."""
        self._is_over = True
        self._client.loop.add_callback(self._cancel)

    def _begin(self, work: Callable[..., Any], *given: Any) -> None:
        if self._is_over:
            return
        task = asyncio.ensure_future(work(*given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    # Results

    async def watch(self, errands: Sequence[Errand], back: Callable[..., None]) -> None:
        """Wait for each of these; `back` gets them in batches, in the lane."""
        for errand in errands:
            self._begin(self._wait, errand, errand.future, back)

    async def _wait(self, errand: Errand, future: Any, back: Callable[..., None]) -> None:
        self._awaited += 1
        error = await future.exception()
        self._awaited -= 1
        self._done.append(Return(errand, future, error=error))
        if len(self._done) == 1:
            # What else is done by now comes along: the loop has it in its queue already. While
            # workers have plenty to do, what is done soon comes along, too.
            await asyncio.sleep(_GATHERING if await self._is_plenty() else 0)
            done, self._done = self._done, []
            await self._gather(done, back)

    async def _is_plenty(self) -> bool:
        """Whether those that have ended need not be replaced at once."""
        if self._awaited < _PLENTY:
            return False
        loop = asyncio.get_running_loop()
        if loop.time() - self._counted_at >= _LOOK:
            self._counted_at = loop.time()
            try:
                self._threads = sum((await self._client.nthreads()).values())
            except Exception:  # noqa: BLE001  # without a connection nothing more can be known
                return False
        return self._awaited >= _PLENTY * self._threads + _PLENTY

    async def _gather(self, done: list[Return], back: Callable[..., None]) -> None:
        finished = {
            number: each.future
            for number, each in enumerate(done)
            if each.error is None and each.future.status == "finished"
        }
        parcels: dict[int, Parcel | None] = {}
        if finished:
            try:
                parcels = await self._client.gather(finished, errors="skip")
            except Exception as error:  # noqa: BLE001  # a lost connection, in any of its ways
                if self._client.status == "running":
                    done = [each._replace(error=each.error or error) for each in done]
        self._put(
            back, [each._replace(parcel=parcels.get(number)) for number, each in enumerate(done)]
        )

    # Stopping

    async def stop(self, errands: Sequence[Errand], stopped: Callable[..., None]) -> None:
        """Cancel these, and find out which of them are running, and on which workers."""
        running: dict[str, str] = {}
        try:
            futures = [errand.future for errand in errands if errand.future is not None]
            if futures:
                await self._client.cancel(futures)
            workers = await self._client.nthreads()
            tokens = [errand.token for errand in errands]
            answers = await asyncio.gather(*(self._ask(worker, tokens) for worker in workers))
            for worker, answer in zip(workers, answers, strict=True):
                running.update(dict.fromkeys(answer, worker))
        except Exception:  # noqa: BLE001  # without a connection nothing more can be known
            pass
        self._put(stopped, errands, running)

    async def _ask(self, worker: str, tokens: list[str]) -> list[str]:
        """Which of these calls a worker is running; none if it is gone."""
        answers = await self._client.run(stop_calls, tokens, workers=[worker], on_error="ignore")
        return list(answers.get(worker, ()))

    # Values

    async def see_taken(
        self,
        holdings: Sequence[Holding],
        sources: Sequence[Any],
        gone: Callable[..., None],
        lost: Callable[..., None],
    ) -> None:
        """Wait until values have been taken; `sources` are the futures that keep them till then."""
        waiting = {asyncio.ensure_future(each.future.exception()): each for each in holdings}
        while waiting:
            done, _ = await asyncio.wait(waiting, timeout=_LOOK)
            for task in done:
                holding, error = waiting.pop(task), task.result()
                if error is not None:
                    self._put(lost, [holding], f"{type(error).__name__}: {error}")
            if not done and self._client.status == "running":
                workers = await self._client.nthreads()
                for address in {each.address for each in waiting.values()} - set(workers):
                    self._put(gone, address)
        del sources

    # The connection

    async def quit(
        self, tokens: Sequence[str], then: Callable[..., None], errands: Sequence[Errand]
    ) -> None:
        """Have all workers stop calls that are to be handed over again; `then` is to do that."""
        try:
            await self._client.run(stop_calls, list(tokens), on_error="ignore")
        except Exception:  # noqa: BLE001  # without a connection there is nobody to tell
            pass
        self._put(then, errands)

    async def forget_claims(self, names: Sequence[str]) -> None:
        """Have the scheduler forget claims whose calls are over."""
        for name in names:
            try:
                await self._client.scheduler.event_clear(name=name)
            except Exception:  # noqa: BLE001  # without a connection there is nobody to tell
                return
