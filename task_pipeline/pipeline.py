"""`Pipeline`: nested lists in, one merged context out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from .compiler import as_steps, compile_plan
from .config import PipelineConfig
from .context import PipelineContext, context_or_new
from .engine.bus import Audience, EventBus, Subscription
from .engine.clock import current_clock
from .engine.core import Setup
from .engine.execution import Execution
from .engine.mailbox import Kinds
from .engine.measure import measured
from .engine.metrics import Metrics
from .engine.pool import SharedThreadPoolExecutor
from .engine.pools import pool_for
from .engine.retry import prepare as prepare_retries
from .engine.run import Run, flush, run_here, run_in_background, run_on_loop, wait_until_done
from .engine.status import current_name, idle_status, status_of
from .errors import PipelineDefinitionError
from .events import Event
from .groups import PipelineGroup, ProgressCallback, TaskStep
from .progress import ProgressTracker
from .steps import PipelineStep

if TYPE_CHECKING:
    from .display import ParallelEventPrinter

__all__ = ["Pipeline", "Subscription"]

C = TypeVar("C", bound=PipelineContext[Any])

Display: TypeAlias = "bool | str | ParallelEventPrinter"
"""How to show a run: not at all (False), as is best (True), in a mode, by a printer."""


class Pipeline(PipelineGroup):
    """Steps in series and side by side.

    `steps` is a list: its elements run one after another, a list in it is a
    parallel group, a list in that runs in series, and so on. Everything that is
    wrong with it is reported here, in one `PipelineDefinitionError`, before
    anything runs. `executor` is a pool to use instead of the process's own,
    `event_bus` is told of all its runs, and `limits`, such as `{"openai": 5}`, cap how
    many of the steps run at once that have such a `limit`, at any depth.

    ```python
    from task_pipeline import Pipeline

    def load(context): context.results["words"] = ["to", "be"]
    def count(context): return len(context.results["words"])
    def longest(context): return max(context.results["words"], key=len)

    context = Pipeline([load, [count, longest]]).run()
    assert context.results["count"] == 2
    ```
    """

    def __init__(
        self,
        steps: Sequence[TaskStep],
        config: PipelineConfig | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        executor: SharedThreadPoolExecutor | None = None,
        event_bus: EventBus | None = None,
        limits: Mapping[str, int] | None = None,
        name: str | None = None,
    ) -> None:
        """Compile the lists."""
        problems = _wrong_arguments(config, progress_callback, executor, event_bus)
        if limits is not None and not problems:
            config, problems = _with_limits(config, limits)
        if problems:
            raise PipelineDefinitionError(problems)
        super().__init__(as_steps(steps), name, config, progress_callback)
        self._executor = executor
        self._plan = compile_plan(self)
        prepare_retries(self._plan)
        self._audience = Audience(event_bus)
        self._latest: Execution | None = None

    @classmethod
    def create(cls, steps: Sequence[TaskStep], config: PipelineConfig | None = None) -> Pipeline:
        """The same as `Pipeline(steps, config)`."""
        return cls(steps, config)

    @property
    def step_id(self) -> str:
        """Its name as a step: `name`, else "pipeline"."""
        return self.name or "pipeline"

    @property
    def description(self) -> str:
        """Its description as a step: its name."""
        return self.step_id

    @property
    def steps(self) -> Sequence[TaskStep]:
        """The list it was made from."""
        return self.children

    def subscribe(self, callback: Callable[[Event], object], kinds: Kinds = None) -> Subscription:
        """Have a function called with each event of the runs started from now on.

        As `EventBus.subscribe`, whoever else is told by the pipeline's bus: in the events'
        order, one at a time, in a thread of its own. What it raises is logged, and changes
        nothing.
        """
        return self._audience.subscribe(callback, kinds)

    @overload
    def run(self, context: None = None, *, display: Display = False) -> PipelineContext[Any]: ...
    @overload
    def run(self, context: C, *, display: Display = False) -> C: ...
    def run(self, context: Any = None, *, display: Display = False) -> Any:
        """Run all steps; updates and returns the very context it was given.

        `display` shows the run in the terminal while it goes on: True, a
        `ParallelDisplayMode` or a `ParallelEventPrinter`; it needs the extra `display`.
        Raises a critical step's own exception, `ParallelGroupError`,
        `GroupTimeoutError` or `RunTimeoutError` unless `fail_fast` is off. What
        was done until then is in the context.
        """
        given = context_or_new(context)
        if display is False:
            run_here(self._execution(given))
            return given
        with self._shown(display) as shown:
            run_here(shown.of(self._execution(given)))
        return given

    @overload
    async def arun(
        self, context: None = None, *, display: Display = False
    ) -> PipelineContext[Any]: ...
    @overload
    async def arun(self, context: C, *, display: Display = False) -> C: ...
    async def arun(self, context: Any = None, *, display: Display = False) -> Any:
        """As `run`, in an event loop: coroutine steps run on it, all others on the pool."""
        import asyncio

        given = context_or_new(context)
        with self._shown(display) as shown:
            loop = asyncio.get_running_loop()
            await run_on_loop(shown.of(self._execution(given, loop)))
        return given

    @overload
    def start(
        self, context: None = None, *, display: Display = False
    ) -> Run[PipelineContext[Any]]: ...
    @overload
    def start(self, context: C, *, display: Display = False) -> Run[C]: ...
    def start(self, context: Any = None, *, display: Display = False) -> Any:
        """Start a run in the background and return its `Run`; `display` is as for `run`."""
        given = context_or_new(context)
        with ExitStack() as stack:
            shown = stack.enter_context(self._shown(display))
            execution = shown.of(self._execution(given))
            if execution.scheduler.places.around is not None:
                execution.scheduler.places.around.is_in_background = True
            run_in_background(execution)
            if display:  # it ends with the run, which nobody may wait for
                close = stack.pop_all().close
                name = f"{self.step_id}-display"
                threading.Thread(
                    target=_after, args=(execution, close), name=name, daemon=True
                ).start()
        return Run(execution, given)

    @contextmanager
    def _shown(self, display: Display) -> Iterator[_Shown]:
        """Show the run that begins in this context."""
        printer = None
        if display is not False:
            # A room that most programs never enter, and that needs rich.
            from .display import printer_for

            printer = printer_for(display)
        if printer is None:
            yield _Shown(None)
            return
        with printer.shows() as tell:
            shown = _Shown(tell)
            with self.subscribe(shown.tell):
                yield shown

    def get_status(self) -> dict[str, Any]:
        """How far the latest run is; safe from any thread, while it runs.

        - `state`: "pending", "running" or an outcome; `is_running`
        - `progress`: 0.0 to 100.0, never going backwards
        - `current_step`: the name of the top-level item under way, or None;
          `running_steps`: the ids of the steps under way
        - `abandoned`: threads left inside a step that has timed out or was cancelled
        - `elapsed`: seconds
        - `step_details`: by step id: `status`, `attempts`, `started_at` (seconds
          after the run's start), `elapsed` (seconds), and `internal_progress`,
          `max_weight` and `contribution` in percent
        """
        latest = self._latest
        if latest is None:
            return idle_status(ProgressTracker.of_plan(self._plan))
        return status_of(latest)

    def metrics(self) -> Metrics:
        """Counts and times of the latest run's steps and groups; safe from any thread.

        Of a pipeline that was never run, there is nothing in them.
        """
        latest = self._latest
        return Metrics(self.name or "pipeline") if latest is None else measured(latest)

    def is_running(self) -> bool:
        """Whether the latest run is under way."""
        return self._latest is not None and not self._latest.is_over

    def get_current_step(self) -> str | None:
        """The name of the top-level item under way, or None."""
        return None if self._latest is None else current_name(self._latest)

    def __getstate__(self) -> dict[str, Any]:
        """For copying and pickling: without the latest run, and who subscribed."""
        return {**self.__dict__, "_latest": None, "_audience": copy.copy(self._audience)}

    def _execution(self, context: PipelineContext[Any], loop: Any = None) -> Execution:
        clock = current_clock.get()
        setup = Setup(
            pool=self._executor or pool_for(self.config.max_workers, self._plan.limits),
            clock=clock,
            name=self.name or "pipeline",
            feed=self._audience.feed(clock),
        )
        self._latest = execution = Execution(self._plan, context, setup, loop)
        return execution


class _Shown:
    """Hands on the events of one run, whatever others of the pipeline go on meanwhile."""

    def __init__(self, tell: Callable[[Event], object] | None) -> None:
        self._tell = tell
        self._run_id: str | None = None

    def of(self, execution: Execution) -> Execution:
        """The run to show; gives it back."""
        if self._tell is not None:
            self._run_id = execution.run_id
        return execution

    def tell(self, event: Event) -> None:
        """An event of some run."""
        if self._tell is not None and event.run_id == self._run_id:
            self._tell(event)


def _after(execution: Execution, close: Callable[[], None]) -> None:
    """Do something once a run is over, and everybody has been told of it."""
    wait_until_done(execution, None)
    flush(execution)
    close()


def _with_limits(
    config: PipelineConfig | None, limits: Mapping[str, int]
) -> tuple[PipelineConfig | None, list[str]]:
    """The config with these limits, or what is wrong with them."""
    fields = (
        {} if config is None else {name: getattr(config, name) for name in config.model_fields_set}
    )
    try:
        given = dict(limits)
        return PipelineConfig(**{**fields, "limits": {**fields.get("limits", {}), **given}}), []
    except (TypeError, ValueError) as error:
        return config, [f"limits must map names to whole numbers from 1: {error}"]


def _wrong_arguments(
    config: object, callback: object, executor: object, event_bus: object
) -> list[str]:
    problems = []
    if config is not None and not isinstance(config, PipelineConfig):
        problems.append(f"config must be a PipelineConfig, not {config!r}")
    if callback is not None and not callable(callback):
        problems.append(f"progress_callback must be callable, not {callback!r}")
    if executor is not None and not isinstance(executor, SharedThreadPoolExecutor):
        problems.append(
            f"executor must be a SharedThreadPoolExecutor, not a {type(executor).__name__}"
        )
    if event_bus is not None and not isinstance(event_bus, EventBus):
        problems.append(f"event_bus must be an EventBus, not a {type(event_bus).__name__}")
    return problems


PipelineStep.register(Pipeline)  # a pipeline is a step: it has run(context), and goes into a list
