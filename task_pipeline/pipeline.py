"""`Pipeline`: nested lists in, one merged context out."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from .arguments import checked_context, made_ready, pool_or_executor, with_limits, wrong_arguments
from .compiler import as_steps, compile_plan
from .config import OnChanged, OnUncertain, PipelineConfig, ReplayMode
from .context import PipelineContext
from .engine.bus import Audience, EventBus, Subscription
from .engine.clock import Clock, current_clock
from .engine.core import Setup
from .engine.execution import Execution
from .engine.feed import Feed, new_run_id
from .engine.mailbox import Kinds
from .engine.measure import measured
from .engine.metrics import Metrics
from .engine.pools import pool_for
from .engine.run import Run, run_here, run_in_background, run_on_loop
from .engine.status import current_name, idle_status, status_of
from .errors import PipelineDefinitionError
from .events import Event
from .groups import PipelineGroup, ProgressCallback, TaskStep
from .plan import Plan
from .progress import ProgressTracker
from .recording import (
    Part,
    Recording,
    ResumeOptions,
    RunOptions,
    about_run,
    in_thread,
    replay_mode,
)
from .showing import Display, show_until_over, shown
from .steps import PipelineStep

if TYPE_CHECKING:
    from .journal.replay import ReplayReport
    from .journal.store import Journal

__all__ = ["Pipeline", "Subscription"]

C = TypeVar("C", bound=PipelineContext[Any])


class Pipeline(PipelineGroup):
    """Steps in series and side by side.

    `steps` is a list: its elements run one after another, a list in it is a
    parallel group, a list in that runs in series, and so on. Everything that is
    wrong with it is reported here, in one `PipelineDefinitionError`, before
    anything runs. `executor` says who calls the steps: "thread", "process", "inline", a
    `StepExecutor`, an executor of `concurrent.futures`, or a pool of threads to use instead of
    the process's own. `event_bus` is told of all its runs, and `limits`, such as
    `{"openai": 5}`, cap how many of the steps run at once that have such a `limit`, at any
    depth. With a `journal`, a URL or what `open_journal` returns, each run is recorded, and
    can be resumed.

    ```python
    from task_pipeline import Pipeline

    def load(context): context.results["words"] = ["to", "be"]
    def count(context): return len(context.results["words"])
    def longest(context): return max(context.results["words"], key=len)

    context = Pipeline([load, [count, longest]]).run()
    assert context.results["count"] == 2
    ```
    """

    def __init__(  # noqa: PLR0913  # keywords, but for the three a pipeline always had
        self,
        steps: Sequence[TaskStep],
        config: PipelineConfig | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        executor: Any = None,
        event_bus: EventBus | None = None,
        limits: Mapping[str, int] | None = None,
        name: str | None = None,
        journal: Journal | str | None = None,
    ) -> None:
        """Compile the lists."""
        problems = wrong_arguments(config, progress_callback, executor, event_bus)
        if limits is not None and not problems:
            config, problems = with_limits(config, limits)
        if problems:
            raise PipelineDefinitionError(problems)
        super().__init__(as_steps(steps), name, config, progress_callback)
        self._pool, self.executor = pool_or_executor(executor)
        self._compiled: Plan | None = None
        if not self._compiles_later:
            self._compiled = self._plan
        self._audience = Audience(event_bus)
        self._recording = Recording(journal)
        self._latest: Execution | None = None

    _compiles_later = False  # for lists that cannot have mistakes: when they are first needed

    @property
    def _plan(self) -> Plan:
        if self._compiled is None:  # if two threads come here at once, one of two equals stays
            self._compiled = made_ready(compile_plan(self))
        return self._compiled

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

    @property
    def journal(self) -> Journal | None:
        """Where its runs are recorded, if they are."""
        return self._recording.journal

    @overload
    def run(self, context: None = None, **options: Unpack[RunOptions]) -> PipelineContext[Any]: ...
    @overload
    def run(self, context: C, **options: Unpack[RunOptions]) -> C: ...
    def run(
        self,
        context: Any = None,
        *,
        display: Display = False,
        run_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """Run all steps; updates and returns the very context it was given.

        `display` shows the run in the terminal while it goes on: True, a
        `ParallelDisplayMode` or a `ParallelEventPrinter`; it needs the extra `display`.
        Raises a critical step's own exception, `ParallelGroupError`,
        `GroupTimeoutError` or `RunTimeoutError` unless `fail_fast` is off. What
        was done until then is in the context. `run_id` and `tags` are what a journal
        knows the run by; it raises `JournalError` if the run cannot be recorded.
        """
        given = checked_context(self._plan, context)
        about = about_run(run_id, tags)
        if display is False:
            run_here(self._execution(given, self._recorded(given, about)))
            return given
        with shown(self.subscribe, display) as screen:
            run_here(screen.of(self._execution(given, self._recorded(given, about))))
        return given

    @overload
    async def arun(
        self, context: None = None, **options: Unpack[RunOptions]
    ) -> PipelineContext[Any]: ...
    @overload
    async def arun(self, context: C, **options: Unpack[RunOptions]) -> C: ...
    async def arun(
        self,
        context: Any = None,
        *,
        display: Display = False,
        run_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """As `run`, in an event loop: coroutine steps run on it, all others on the pool."""
        import asyncio

        given = checked_context(self._plan, context)
        about = about_run(run_id, tags)
        loop = asyncio.get_running_loop()
        with shown(self.subscribe, display) as screen:
            part = await self._on_loop(lambda: self._recorded(given, about))
            await run_on_loop(screen.of(self._execution(given, part, loop)))
        return given

    @overload
    def start(
        self, context: None = None, **options: Unpack[RunOptions]
    ) -> Run[PipelineContext[Any]]: ...
    @overload
    def start(self, context: C, **options: Unpack[RunOptions]) -> Run[C]: ...
    def start(
        self,
        context: Any = None,
        *,
        display: Display = False,
        run_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """Start a run in the background and return its `Run`; otherwise as `run`."""
        given = checked_context(self._plan, context)
        about = about_run(run_id, tags)
        with ExitStack() as stack:
            screen = stack.enter_context(shown(self.subscribe, display))
            execution = screen.of(self._execution(given, self._recorded(given, about)))
            if execution.scheduler.places.around is not None:
                execution.scheduler.places.around.is_in_background = True
            run_in_background(execution)
            if display:  # it ends with the run, which nobody may wait for
                close = stack.pop_all().close
                name = f"{self.step_id}-display"
                threading.Thread(
                    target=show_until_over, args=(execution, close), name=name, daemon=True
                ).start()
        return Run(execution, given)

    @overload
    def resume(
        self, run_id: str, context: None = None, **how: Unpack[ResumeOptions]
    ) -> PipelineContext[Any]: ...
    @overload
    def resume(self, run_id: str, context: C, **how: Unpack[ResumeOptions]) -> C: ...
    def resume(
        self,
        run_id: str,
        context: Any = None,
        *,
        from_step: str | None = None,
        on_changed: OnChanged = "error",
        on_uncertain: OnUncertain = "error",
        display: Display = False,
    ) -> Any:
        """Go on with a recorded run after a crash, a failure or a cancellation.

        What ended is not run again: its recorded changes are put together, and the run goes
        on from there. A run that has failed repeats what it failed of; one that has ended
        well runs nothing. Returns the run's context, or raises as `run` does.

        - `context`: brings what is not recorded: `app_config`, `shared`, the logger. If it
          brings data too, and not what the run was started with, everything runs again
        - `from_step`: the id of a step, or the name of a group: it and all after it run again
        - `on_changed`: what to do if the pipeline is not what it was: "error";
          "rerun_changed", which runs again what changed and all after it; "ignore", which
          uses every record that still fits
        - `on_uncertain`: what to do about a step with `idempotent = False` that was cut in the
          middle: "error", "rerun" or "skip"

        Raises `RunNotFoundError`, `RunLeasedError` while it is under way somewhere,
        `PlanChangedError`, `UncertainStepError` and `JournalError`.
        """
        how = (context, from_step, on_changed, on_uncertain)
        with shown(self.subscribe, display) as screen:
            part = self._recording.take_up(self._plan, run_id, how, current_clock.get())
            run_here(screen.of(self._execution(part.context, part)))
        return part.context

    @overload
    async def aresume(
        self, run_id: str, context: None = None, **how: Unpack[ResumeOptions]
    ) -> PipelineContext[Any]: ...
    @overload
    async def aresume(self, run_id: str, context: C, **how: Unpack[ResumeOptions]) -> C: ...
    async def aresume(
        self,
        run_id: str,
        context: Any = None,
        *,
        from_step: str | None = None,
        on_changed: OnChanged = "error",
        on_uncertain: OnUncertain = "error",
        display: Display = False,
    ) -> Any:
        """As `resume`, in an event loop."""
        import asyncio

        how = (context, from_step, on_changed, on_uncertain)
        loop, clock = asyncio.get_running_loop(), current_clock.get()
        with shown(self.subscribe, display) as screen:
            part = await self._on_loop(
                lambda: self._recording.take_up(self._plan, run_id, how, clock)
            )
            await run_on_loop(screen.of(self._execution(part.context, part, loop)))
        return part.context

    def replay(
        self,
        run_id: str,
        mode: ReplayMode | str = ReplayMode.NORMAL,
        context: PipelineContext[Any] | None = None,
    ) -> ReplayReport:
        """Look at a recorded run again, without changing its record; see `ReplayMode`.

        `context` is as for `resume`: what the steps need that is not recorded.
        Raises `RunNotFoundError`, `PlanChangedError` and `JournalDataError`.
        """
        wanted = replay_mode(mode)
        if wanted is ReplayMode.REPUBLISH_ALL:
            feed = self._audience.feed(current_clock.get(), run_id)
            return self._recording.publish_again(self._plan, run_id, feed)
        return self._recording.replay(self._plan, run_id, wanted, context, self._unseen)

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
        if self._latest is None:
            return idle_status(ProgressTracker.of_plan(self._plan))
        return status_of(self._latest)

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

    def _recorded(
        self, context: PipelineContext[Any], about: tuple[str | None, tuple[str, ...]]
    ) -> Part:
        """Record that a run begins, if its runs are recorded."""
        run_id, tags = about
        if self._recording.journal is None:
            if tags:
                self._recording.needed("a run with tags")
            return Part(run_id)
        run_id = run_id or new_run_id()
        recorder = self._recording.begin(
            self._plan, self.step_id, context, (run_id, tags), current_clock.get()
        )
        return Part(run_id, recorder)

    async def _on_loop(self, call: Callable[[], Part]) -> Part:
        """Record something without keeping the event loop."""
        return call() if self._recording.journal is None else await in_thread(call, Part.give_up)

    def _execution(self, context: PipelineContext[Any], part: Part, loop: Any = None) -> Execution:
        clock = current_clock.get()
        recorder = part.recorder
        keeper = None if recorder is None else recorder.tell
        if part.is_past:  # its events were told when they happened
            feed = Feed(part.run_id or "")
        else:
            feed = self._audience.feed(clock, part.run_id, keeper, part.first_event)
        self._latest = execution = Execution(
            self._plan, context, self._setup(part, clock, feed), loop
        )
        return execution

    def _unseen(self, part: Part) -> Execution:
        """A run that nobody is told of."""
        clock = current_clock.get()
        return Execution(
            self._plan, part.context, self._setup(part, clock, Feed(part.run_id or ""))
        )

    def _setup(self, part: Part, clock: Clock, feed: Feed) -> Setup:
        pool = self._pool or pool_for(self.config.max_workers, self._plan.thread_limits)
        name = self.name or "pipeline"
        return Setup(pool, clock, name, feed, part.recorder, part.recovery)


PipelineStep.register(Pipeline)  # a pipeline is a step: it has run(context), and goes into a list
