"""What all parts of the suite share: the executor under test, and runs that are looked at."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ...config import PipelineConfig
from ...context import PipelineContext
from ...engine.bus import EventBus
from ...engine.calling import Capabilities
from ...engine.pool import SharedThreadPoolExecutor
from ...events import AttemptEnded, Event, StepEvent, StepRetrying, StepSkipped, StepStarted
from ...executors.resolving import executor_named
from ...groups import TaskStep
from ...pipeline import Pipeline

Context = PipelineContext[Any]
Steps = Sequence[TaskStep]

THREADS = Capabilities(shares_memory=True, needs_pickling=False, reports=True, tells_start=True)
"""What the library's own thread pool can do."""

AGAIN = 0.005
"""Seconds between two looks at something that another process is to do."""


@dataclass
class Watched:
    """A run that is over: its context, what it raised, its events, how long it took in seconds."""

    context: Context
    error: Exception | None = None
    events: tuple[Event, ...] = ()
    ended_at: float = 0.0
    statuses: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, Any]:
        """What the steps have produced."""
        return self.context.results

    def succeeded(self) -> Watched:
        """Itself; raises what the run has raised."""
        if self.error is not None:
            raise self.error
        return self

    def first(self, kind: type[Event], name: str | None = None) -> Event:
        """The first event of a kind, about the step or group of that name."""
        for event in self.events:
            if isinstance(event, kind) and name in (None, event.name):
                return event
        raise AssertionError(f"there was no {kind.__name__} of {name!r} in {self.told()}")

    def told(self) -> list[str]:
        """The events in short, for messages."""
        return [f"{event.seq} {type(event).__name__} {event.name}" for event in self.events]


class Conformance:
    """The executor under test, made once for all tests of a class.

    Each attribute may be set in a subclass:

    - `workers`: how many steps it runs at once, at least
    - `lateness`: how many seconds after a deadline a run may go on. On a loaded machine one of
      three tries has to keep it
    - `latency`: how many seconds a step that does nothing takes, at most
    - `patience`: how many seconds a test waits for anything before it fails
    - `many`: how many branches a large group has
    - `drawn`: how many pipelines drawn by chance are compared
    - `starts_runs`: whether a step can start runs and tasks of its own, where it runs
    - `has_numpy`: whether numpy, if it is here, is also there
    """

    workers: int = 2
    many: int = 1_000
    drawn: int = 30
    starts_runs: bool = True
    has_numpy: bool = True
    lateness: float = 0.05
    latency: float = 0.0
    patience: float = 30.0

    _kept: ClassVar[dict[str, Any]]
    _closing: ClassVar[ExitStack]

    def make_executor(self) -> Any:
        """The executor: whatever `Pipeline(executor=...)` takes. To be written."""
        raise NotImplementedError(f"{type(self).__name__} needs a make_executor(self)")

    def make_narrow_executor(self) -> Any:
        """One of the same kind with a single worker; None if that is too much to ask."""
        return None

    def close_executor(self, executor: Any) -> None:
        """Called with each executor that was made, once all tests are over."""
        shutdown = getattr(executor, "shutdown", None)
        if shutdown is not None:
            shutdown()

    @classmethod
    def setup_class(cls) -> None:
        """For pytest: begin with nothing made."""
        cls._kept, cls._closing = {}, ExitStack()

    @classmethod
    def teardown_class(cls) -> None:
        """For pytest: close what was made."""
        cls._closing.close()

    # For unittest, if a subclass is a TestCase as well.
    setUpClass, tearDownClass = setup_class, teardown_class

    @property
    def executor(self) -> Any:
        """The executor."""
        return self._once("executor", self.make_executor, self.close_executor)

    @property
    def narrow_executor(self) -> Any:
        """The executor with one worker, or None."""
        return self._once("narrow", self.make_narrow_executor, self.close_executor)

    @property
    def capabilities(self) -> Capabilities:
        """What the executor says it can do."""
        if isinstance(self.executor, SharedThreadPoolExecutor):
            return THREADS
        found, wrong = executor_named(self.executor)
        if wrong:
            raise AssertionError(wrong)
        return THREADS if found is None else found.capabilities

    def folder(self) -> Path:
        """An empty folder, for steps in other processes to leave traces in."""
        whole: Path = self._once("folder", _new_folder, lambda made: made[1]())[0]
        return Path(tempfile.mkdtemp(dir=whole))

    def _once(self, name: str, make: Callable[[], Any], close: Callable[[Any], None]) -> Any:
        if "_kept" not in type(self).__dict__:
            type(self).setup_class()
        if name not in self._kept:
            made = self._kept[name] = make()
            if made is not None:
                self._closing.callback(close, made)
        return self._kept[name]

    # Runs

    def pipeline(self, steps: Steps, config: PipelineConfig | None = None, **kw: Any) -> Pipeline:
        """A pipeline on the executor."""
        return Pipeline(steps, config, **{"executor": self.executor, **kw})

    def watch(
        self,
        steps: Steps,
        context: Context | None = None,
        config: PipelineConfig | None = None,
        **kw: Any,
    ) -> Watched:
        """Run steps on the executor to their end, however that is."""
        bus = EventBus(history=100_000)
        pipeline = self.pipeline(steps, config, event_bus=bus, **kw)
        watched = Watched(PipelineContext() if context is None else context)
        try:
            pipeline.run(watched.context)
        except Exception as error:  # noqa: BLE001  # it is what is looked at
            watched.error = error
        watched.ended_at = time.monotonic()
        watched.events = bus.history
        details = pipeline.get_status()["step_details"]
        watched.statuses = {name: detail["status"] for name, detail in details.items()}
        return watched

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something holds that steps are to bring about."""
        pause = threading.Event()
        until = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"{what}: not within {self.patience} s")
            pause.wait(AGAIN)


def _new_folder() -> tuple[Path, Callable[[], None]]:
    folder = tempfile.TemporaryDirectory(prefix="task_pipeline-", ignore_cleanup_errors=True)
    return Path(folder.name), folder.cleanup


def equal(actual: object, expected: object, what: str) -> None:
    """Raise `AssertionError` unless two values are equal."""
    if actual != expected:
        raise AssertionError(f"{what}\n    is        {actual!r}\n    should be {expected!r}")


def true(holds: object, what: object) -> None:
    """Raise `AssertionError` unless something holds."""
    if not holds:
        raise AssertionError(str(what))


def raised(error: BaseException | None, kind: type[BaseException], *texts: str) -> BaseException:
    """The error; raises `AssertionError` unless it is of this kind, with these texts in it."""
    if not isinstance(error, kind):
        raise AssertionError(  # noqa: TRY004  # of a test
            f"{kind.__name__} should have been raised, not {error!r}"
        ) from error
    missing = [text for text in texts if text not in str(error)]
    if missing:
        raise AssertionError(f"{missing} should be in: {error}") from error
    return error


def check_events(events: Sequence[Event]) -> None:
    """Each attempt has one start and one end, each step one outcome, and no event is missing."""
    equal([event.seq for event in events], list(range(len(events))), "the events' seq")
    attempts: dict[tuple[str, int], list[str]] = {}
    outcomes: dict[str, list[str]] = {}
    for event in events:
        if not isinstance(event, StepStarted | AttemptEnded | StepSkipped):
            continue
        assert isinstance(event, StepEvent)
        name = f"{event.path} {event.step_id}"
        kind = type(event).__name__
        if isinstance(event, StepStarted):  # one that has timed out may be tried again
            outcomes.pop(name, None)
        if event.attempt:
            attempts.setdefault((name, event.attempt), []).append(kind)
        if not isinstance(event, StepStarted | StepRetrying):
            outcomes.setdefault(name, []).append(kind)
    for (name, attempt), kinds in attempts.items():
        is_pair = len(kinds) == 2 and kinds[0] == "StepStarted" and kinds[1] != "StepStarted"
        true(is_pair, f"attempt {attempt} of {name} has one start, then one end: {kinds}")
    for name, kinds in outcomes.items():
        equal(len(kinds), 1, f"{name}: the number of its outcomes, {kinds},")
