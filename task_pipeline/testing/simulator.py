"""A pipeline run without threads, in a completion order drawn from a seed."""

from __future__ import annotations

import contextvars
import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..context import PipelineContext
from ..engine.core import Setup
from ..engine.execution import Execution
from ..engine.feed import Feed
from ..engine.pool import SharedThreadPoolExecutor
from ..engine.slots import Slot
from ..engine.step import ActiveStep, current_step
from ..errors import TaskPipelineError
from ..events import Event
from ..outcome import Outcome
from ..pipeline import Pipeline
from .clock import ManualClock


class SimulatedFailure(TaskPipelineError):
    """What a step raises when the simulator has it fail."""


@dataclass(slots=True)
class SimulatedRun:
    """What a simulated run came to.

    - `context`: as the run left it
    - `error`: what `run()` would have raised, or None
    - `outcome`: of the run; `outcomes`: of each step, by id; of a `Loop`, in its last round
    - `trace`: what happened, in order: ("start" | "end" | "time" | "cancel", step id)
    - `events`: all events
    """

    context: PipelineContext[Any]
    error: BaseException | None = None
    outcome: Outcome | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    trace: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class _NoThreads(SharedThreadPoolExecutor):
    """A pool that takes note of calls for help, and sends nobody."""

    def post(self, item: Callable[[Slot], None], count: int = 1) -> None:
        return

    def abandon(self, slot: Slot) -> None:
        return


class _SimulatedExecution(Execution):
    def do_chores_elsewhere(self) -> None:
        """There is no elsewhere: the clock is moved by the thread that does everything."""
        self.do_chores()


class Simulator:
    """Runs a pipeline's steps one at a time, as if up to `workers` were under way at once.

    It is the production engine: the same scheduler, forks, merges, deadlines and
    retries, driven by a seeded source of chance instead of threads and a clock
    that stands still unless there is nothing else to do. A step's code runs at
    the moment its end is drawn. With rates above 0 it also has steps fail, lets
    time pass to the next deadline, and cancels the run.

    Raises `TaskPipelineError` for a pipeline with coroutine steps.

    ```python
    from task_pipeline import Pipeline
    from task_pipeline.testing import Simulator

    def left(context): context.results["seen"] = ["left"]
    def right(context): context.results["seen"] = ["right"]

    pipeline = Pipeline([[left, right]])
    for seed in range(100):
        assert Simulator(pipeline, seed).run().context.results == {"seen": ["left", "right"]}
    ```
    """

    def __init__(
        self,
        pipeline: Pipeline,
        seed: int = 0,
        workers: int = 4,
        failure_rate: float = 0.0,
        timeout_rate: float = 0.0,
        cancel_rate: float = 0.0,
    ) -> None:
        self._pipeline = pipeline
        self._chance = random.Random(seed)
        self._workers = workers
        self._failure_rate = failure_rate
        self._timeout_rate = timeout_rate
        self._cancel_rate = cancel_rate

    def run(self, context: PipelineContext[Any] | None = None) -> SimulatedRun:
        """Run the pipeline once; what the run would raise is in the result, not raised."""
        context = PipelineContext() if context is None else context
        report = SimulatedRun(context)
        clock = ManualClock()
        pool = _NoThreads(self._workers)
        feed = Feed("simulated", [lambda told: report.events.append(told.event)], clock)
        setup = Setup(pool, clock, "simulated", feed)
        plan = self._pipeline._plan
        if plan.has_async:
            raise TaskPipelineError("the simulator has no event loop for coroutine steps")
        # In a copy of the context variables, so that the run is not taken for a nested one.
        variables = contextvars.copy_context()
        variables.run(current_step.set, None)
        execution = variables.run(_SimulatedExecution, plan, context, setup)
        execution.begin()
        self._drive(execution, clock, report)
        report.error = execution.error
        report.outcome = execution.outcome
        report.outcomes = {
            node.step_id: outcome
            for node, outcome in zip(
                execution.scheduler.nodes, execution.scheduler.outcomes, strict=True
            )
            if outcome is not None and not node.chooses
        }
        return report

    def _drive(self, run: Execution, clock: ManualClock, report: SimulatedRun) -> None:
        under_way: list[ActiveStep] = []
        slots = [Slot(run.pool, is_worker=True) for _ in range(self._workers)]
        while not run.is_done:
            run.do_chores()
            while slots and (step := self._take(run, slots[-1])) is not None:
                slots.pop()
                under_way.append(step)
                report.trace.append(("start", step.step_id))
            if run.is_done:
                break
            if self._draws(self._cancel_rate):
                report.trace.append(("cancel", ""))
                run.cancel()
            elif not under_way or (self._draws(self._timeout_rate) and clock.next_timer()):
                wait = clock.next_timer()
                if wait is None:
                    raise TaskPipelineError("nothing runs, nothing is due, and the run is not over")
                report.trace.append(("time", ""))
                clock.advance(wait)
            else:
                step = under_way.pop(self._chance.randrange(len(under_way)))
                slots.append(step.slot or Slot(run.pool, is_worker=True))
                report.trace.append(("end", step.step_id))
                self._end(run, step)

    def _draws(self, rate: float) -> bool:
        return rate > 0.0 and self._chance.random() < rate

    def _take(self, run: Execution, slot: Slot) -> ActiveStep | None:
        while True:
            with run.lock:
                step = run.take(slot, on_owner=False)
            if step is not None or not run.chores:
                return step
            run.do_chores()  # the join of empty branches, after which there may be a step

    def _end(self, run: Execution, step: ActiveStep) -> None:
        """Run the step's code, if it is still wanted, and report its end."""
        value: Any = None
        error: BaseException | None = step.error if step.context is None else None
        if step.outcome is None and not step.lingering and error is None:
            if self._draws(self._failure_rate):
                error = SimulatedFailure(f"step {step.step_id!r} was chosen to fail")
            else:
                try:
                    value = run.contextvars.copy().run(step.node.spec.call, step.context)
                except Exception as raised:  # noqa: BLE001  # a step may raise anything
                    error = raised
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                error = TaskPipelineError("the simulator has no event loop for coroutine steps")
        run.report_end(step, value, error)
