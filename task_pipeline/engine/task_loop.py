"""Tasks on the caller's event loop: a coroutine each, and nothing around it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Protocol

from .coroutines import Coroutines, Host
from .own_breaker import OwnBreaker
from .step import ActiveStep, cancelled_by_others, current_step


class TaskHost(Host, Protocol):
    """What this needs of a run of tasks."""

    own_breaker: OwnBreaker | None

    def finish(self, step: ActiveStep, value: Any) -> ActiveStep | None:
        """An attempt has succeeded; returns the next coroutine to start."""

    def admit(self, step: ActiveStep) -> BaseException | None:
        """Ask the step's circuit breaker, if it has one; returns why it must not begin."""


class TaskCoroutines(Coroutines):
    """The coroutines of a run of tasks, on the loop that awaits the run.

    As dear as a task of asyncio's and a callback at its end: large groups of brief
    coroutines are where that shows. What the loop has started, it goes on with itself.
    """

    _run: TaskHost

    def __init__(self, run: TaskHost, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(run, loop)
        self._loop = loop
        self._steps: dict[asyncio.Task[Any], ActiveStep] = {}

    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that have not ended."""
        return super().tasks() | set(self._steps)

    @property
    def is_empty(self) -> bool:
        """Whether all have ended."""
        return not self._steps and super().is_empty

    def begin(self, loop: asyncio.AbstractEventLoop, step: ActiveStep, awaitable: Any) -> None:
        """Start a step that has been prepared. On the loop."""
        if awaitable is not None or step.context is None or step.cancelled:
            super().begin(loop, step, awaitable)
            return
        breaker = self._run.own_breaker
        if breaker is not None and breaker.is_quiet:
            step.admission = breaker
        else:
            refusal = self._run.admit(step)
            if refusal is not None:
                self._run.conclude(step, None, refusal)
                return
        context = self._run.contextvars.copy()
        context.run(current_step.set, step)
        try:
            coroutine = context.run(self._run.call, step)
        except Exception as raised:  # noqa: BLE001  # a task may raise anything
            self._run.conclude(step, None, raised)
            return
        if not inspect.iscoroutine(coroutine):
            super().begin(loop, step, coroutine)
            return
        task = loop.create_task(coroutine, context=context)
        self._steps[task] = step
        step.task = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        step = self._steps.pop(task)
        value: Any = None
        error: BaseException | None
        if task.cancelled():
            error = cancelled_by_others(step)
        else:
            error = task.exception()
            if error is None:
                value = task.result()
            elif not isinstance(error, Exception):  # the caller gets it, as from a plain task
                self._run.abort(error)
        if error is not None:
            self._run.conclude(step, value, error)
            return
        following = self._run.finish(step, value)
        if following is not None:
            self.begin(self._loop, following, None)
