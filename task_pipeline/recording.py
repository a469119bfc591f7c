"""What a pipeline does about its journal: the one place that knows both."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from .config import OnChanged, OnUncertain, ReplayMode
from .context import PipelineContext
from .engine.clock import Clock
from .engine.execution import Execution
from .engine.feed import Feed
from .engine.flush import behind, wait_for, warn
from .engine.run import run_here
from .errors import ConfigurationError, JournalError, MissingExtraError
from .plan import Plan
from .showing import Display

if TYPE_CHECKING:
    from .engine.recorder import Recorder, Recovery
    from .journal.recorder import RunRecorder
    from .journal.replay import Difference, ReplayReport
    from .journal.store import Journal

T = TypeVar("T")


class RunOptions(TypedDict, total=False):
    """What every way to have a run takes, beside its context."""

    display: Display
    run_id: str | None
    tags: Sequence[str]


class ResumeOptions(TypedDict, total=False):
    """How a run is to be taken up; see `Pipeline.resume`."""

    from_step: str | None
    on_changed: OnChanged
    on_uncertain: OnUncertain
    display: Display


@dataclass(slots=True)
class Part:
    """A part of a run, from its beginning or from where an earlier part has ended."""

    run_id: str | None
    recorder: Recorder | None = None
    context: PipelineContext[Any] = field(default_factory=PipelineContext)
    recovery: Recovery | None = None
    first_event: int = 0

    @property
    def is_past(self) -> bool:
        """Whether nothing is left to be done."""
        return self.recovery is not None and self.recorder is None

    def give_up(self) -> None:
        """Nobody wants it any more."""
        if self.recorder is not None:
            self.recorder.aborted(None)


class Recording:
    """The journal of a pipeline's runs, if it has one.

    Given as a URL, it is opened when a run first needs it; that the URL can be one, and
    that what it takes is installed, is seen at once.
    """

    def __init__(self, given: Journal | str | None) -> None:
        self._given = given
        self._journal: Any = None
        if given is None:
            return
        if importlib.util.find_spec("sqlalchemy") is None:
            raise MissingExtraError("a journal", "journal", "SQLAlchemy")
        if isinstance(given, str):
            from .journal.opening import open_journal

            self._journal = open_journal(given)
            return
        from .journal.store import Journal

        if isinstance(given, Journal):
            self._journal = given
        else:
            raise ConfigurationError(
                f"journal must be a URL such as 'sqlite:///runs.db' or what open_journal() "
                f"returns, not {given!r}"
            )

    @property
    def journal(self) -> Journal | None:
        """The journal."""
        journal: Journal | None = self._journal
        return journal

    def needed(self, what: str) -> Journal:
        """The journal; raises `ConfigurationError` if there is none."""
        if self._journal is None:
            raise ConfigurationError(
                f"{what} needs a journal: Pipeline([...], journal='sqlite:///runs.db')"
            )
        journal: Journal = self._journal
        return journal

    def begin(
        self,
        plan: Plan,
        name: str,
        context: PipelineContext[Any],
        about: tuple[str, tuple[str, ...]],
        clock: Clock,
    ) -> RunRecorder:
        """Record that a run begins: its id, and its tags."""
        from .journal.beginning import begin
        from .journal.records import NewRun

        run_id, tags = about
        new = NewRun(run_id=run_id, name=name, tags=tags)
        return begin(self.needed("a run that is recorded"), plan, new, context, clock)

    def take_up(
        self,
        plan: Plan,
        run_id: str,
        how: tuple[PipelineContext[Any] | None, str | None, str, str],
        clock: Clock,
    ) -> Part:
        """Take a run up again; for `how`, see `Options`."""
        journal = self.needed("resume()")
        from .journal.options import Options
        from .journal.resuming import take_up

        taken = take_up(journal, plan, run_id, Options(*how), clock)
        return Part(run_id, taken.recorder, taken.context, taken.recovery, taken.first_event)

    def replay(
        self,
        plan: Plan,
        run_id: str,
        mode: ReplayMode,
        context: PipelineContext[Any] | None,
        start: Callable[[Part], Execution],
    ) -> ReplayReport:
        """Look at a run again; `start` makes a run of this pipeline that nobody is told of."""
        from .journal.codec import codec_named
        from .journal.replay import ReplayReport, Validator, count_outcomes
        from .journal.resuming import read_back
        from .journal.trial import put_together

        journal = self.needed("replay()")
        taking, taken = read_back(journal, plan, run_id, context)
        assert taken.recovery is not None
        steps, facts = taking.recorded.steps, taken.recovery.facts
        differences: tuple[Difference, ...] = ()
        if mode is ReplayMode.VALIDATION:
            validator = Validator(facts, steps, codec_named(journal.codec), journal.large)
            # Every step works on a fork, so what is in the context is only ever replaced.
            trial = copy.copy(taken.context)
            trial.results, trial.errors = copy.copy(trial.results), list(trial.errors)
            run_quietly(start(Part(run_id, validator, trial)))
            differences = validator.result()
        put_together(start(Part(run_id, context=taken.context, recovery=taken.recovery)))
        return ReplayReport(
            run_id,
            mode.value,
            taking.recorded.run.state,
            taken.context,
            count_outcomes(steps),
            differences,
        )

    def publish_again(self, plan: Plan, run_id: str, feed: Feed) -> ReplayReport:
        """Tell the events of a run once more, as they were, in their order."""
        from .journal.replay import ReplayReport, count_outcomes
        from .journal.retelling import recorded_events

        journal = self.needed("replay()")
        run = journal.run(run_id)
        count = 0
        for event in recorded_events(journal, run):
            count += 1
            if feed.active:
                feed.tell_again(event)
        warn(wait_for(behind(feed.audience()), feed.flush_timeout), feed.flush_timeout)
        outcomes = count_outcomes(journal.steps(run_id))
        mode = ReplayMode.REPUBLISH_ALL.value
        return ReplayReport(run_id, mode, run.state, None, outcomes, events=count)

    def __copy__(self) -> Recording:
        """A copy of a pipeline has the same journal."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Recording:
        """A copy of a pipeline has the same journal."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickling: whoever unpickles it opens a journal of the same settings."""
        journal = self._journal
        if journal is None:
            return Recording, (None,)
        settings = (journal.durability, journal.codec, journal.lease_seconds, journal.patience)
        return _reopened, (journal.url, settings)


def _reopened(url: str, settings: tuple[str, str, float, float]) -> Recording:
    from .journal.opening import open_journal

    durability, codec, lease, patience = settings
    return Recording(
        open_journal(url, durability=durability, codec=codec, lease=lease, patience=patience)
    )


def run_quietly(execution: Execution) -> None:
    """See a run through whose errors are part of what is looked at."""
    try:
        run_here(execution)
    except Exception as error:  # whatever the steps raise, as they did then
        if isinstance(error, JournalError):
            raise


def about_run(run_id: object, tags: object) -> tuple[str | None, tuple[str, ...]]:
    """The id and the tags of a run; raises `ConfigurationError` for what are none."""
    problems = []
    if run_id is not None and not (
        isinstance(run_id, str) and run_id.strip() and run_id.isprintable()
    ):
        problems.append(f"run_id must be a text of one line that is not empty, not {run_id!r}")
    if isinstance(tags, str | bytes) or not isinstance(tags, Sequence):
        problems.append(f"tags must be a list of texts, not {tags!r}")
    else:
        wrong = [tag for tag in tags if not (isinstance(tag, str) and tag)]
        problems += [f"a tag must be a text that is not empty, not {tag!r}" for tag in wrong]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return run_id, tuple(tags)  # type: ignore[return-value, arg-type]  # looked at above


def replay_mode(mode: object) -> ReplayMode:
    """A mode, also by its name; raises `ConfigurationError`."""
    try:
        return ReplayMode(str(mode).upper())
    except ValueError:
        modes = ", ".join(ReplayMode)
        raise ConfigurationError(f"mode must be one of {modes}, not {mode!r}") from None


async def in_thread(call: Callable[[], T], undo: Callable[[T], object]) -> T:
    """What a call returns that may wait for a database, with the event loop going on.

    If the caller is cancelled meanwhile, what it has come to is undone.
    """
    import asyncio

    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})  # a thread cannot be stopped: what it has begun is undone
        if not task.cancelled() and task.exception() is None:
            await asyncio.to_thread(undo, task.result())
        raise
