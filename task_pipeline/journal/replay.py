"""Looking at a recorded run again: put together, run for comparison, or told once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..context import PipelineContext
from ..engine.feed import Told
from ..engine.recorder import Fact, FactKind
from ..engine.step import ActiveGroup, ActiveStep
from ..errors import JournalDataError, JournalError, StepCancelledError, StepTimeoutError
from ..outcome import Outcome
from ..plan import StepNode
from ..signals import SkipStep
from ..state.delta import Delta
from .codec import Codec, encode_delta
from .recorder import NOTHING
from .records import StepRecord
from .written import compare_written


@dataclass(frozen=True, slots=True)
class Difference:
    """One step that did not come to what is recorded of it.

    `what` says in words what differs: its outcome, what it changed, or that it was not
    reached in one of the two. `recorded` and `replayed` are outcomes, None for not reached.
    """

    path: str
    step_id: str
    what: str
    recorded: str | None
    replayed: str | None

    def __str__(self) -> str:
        """One line."""
        return f"step {self.step_id!r} at path {self.path}: {self.what}"


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay has come to.

    - `run_id`, `mode`; `status`: how the recorded run ended, or "running", "interrupted"
    - `context`: as the recorded outcomes leave it; None if events were published
    - `outcomes`: how many recorded steps ended how
    - `differences`: of a validation, the steps that came to something else
    - `events`: how many were published
    """

    run_id: str
    mode: str
    status: str
    context: PipelineContext[Any] | None
    outcomes: Mapping[str, int]
    differences: tuple[Difference, ...] = ()
    events: int = 0

    @property
    def matches(self) -> bool:
        """Whether every step came to what is recorded of it."""
        return not self.differences

    def __str__(self) -> str:
        """A line for the run, and one for each difference."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        head = f"run {self.run_id!r}, {self.mode}: {self.status}; {counts or 'no steps'}"
        return "\n".join([head, *map("  {}".format, self.differences)])


def count_outcomes(steps: list[StepRecord]) -> dict[str, int]:
    """How many steps ended how."""
    return dict(Counter(step.status for step in steps if not step.superseded))


class Validator:
    """Compares what steps come to with what is recorded, and goes on with the recorded.

    The engine's `Recorder` of a run that is validated: it records nothing.
    """

    forks_all = follows = refuses = True
    latest = 0

    def __init__(
        self,
        facts: list[Fact],
        steps: list[StepRecord],
        codec: Codec,
        fetch: Callable[[str], bytes],
    ) -> None:
        self._facts = {(fact.path, fact.kind): fact for fact in facts}
        self._choices = [fact for fact in facts if fact.kind is FactKind.CHOICE]
        self._rows = {step.path: step for step in steps}
        self._codec = codec
        self._fetch = fetch
        self._seen: set[str] = set()
        self._differences: list[Difference] = []

    # Without the lock

    def handed_in(
        self, step: ActiveStep, delta: Delta | None, error: BaseException | None
    ) -> tuple[Delta | None, BaseException | None]:
        """Compare the change of a step, and take the recorded one for it."""
        node = step.node
        fact = self._facts.get((node.path, FactKind.STEP))
        if node.chooses or fact is None:
            return delta, error
        self._seen.add(node.path)
        now = Outcome.SUCCEEDED if error is None else _outcome_of(error)
        words = self._differ(step, fact, delta, error, now)
        if words:
            found = Difference(node.path, node.step_id, words, fact.outcome.value, now.value)
            self._differences.append(found)
        step.stops = fact.stops
        return fact.delta, _as_ended(fact)

    def _differ(
        self,
        step: ActiveStep,
        fact: Fact,
        delta: Delta | None,
        error: BaseException | None,
        now: Outcome,
    ) -> str:
        if fact.stops is not step.stops:
            done = "ended the run" if step.stops else "did not end the run"
            return f"it {done}, and did the other thing then"
        if fact.outcome is not now:
            why = "" if error is None else f": {type(error).__name__}: {error}"
            return f"it {now.value}{why}, where it {fact.outcome.value} then"
        if error is not None:
            return _other_error(error, fact.error)
        row = self._rows[step.node.path]
        try:
            encoded = encode_delta(delta, self._codec, step.step_id) if delta else NOTHING
        except JournalDataError as wrong:
            return f"what it changed cannot be compared: {wrong}"
        if encoded.text == row.delta:
            return ""
        large = dict(encoded.large)

        def fetch(digest: str) -> bytes:
            return large[digest] if digest in large else self._fetch(digest)

        changes, omitted = compare_written(row.delta, encoded.text, fetch)
        if not changes:
            return ""
        lines = [f"{change.path}: {change.a} then, {change.b} now" for change in changes]
        more = f", and {omitted} more" if omitted else ""
        return f"it changed something else: {'; '.join(lines)}{more}"

    def chosen(self, step: ActiveStep, decided: Any) -> Any:
        """Compare what a group has found out, and have it run what it ran then."""
        path = step.node.path
        group: Any = step.parent
        rounds = [fact for fact in self._choices if fact.path == path]
        if group.rounds >= len(rounds):
            return decided
        fact = rounds[group.rounds]
        if fact.decided != decided and fact.outcome is Outcome.SUCCEEDED:
            words = f"it found {decided!r:.80}, where it found {fact.decided!r:.80} then"
            name = step.node.parent.name
            outcome = fact.outcome.value
            self._differences.append(Difference(path, name, words, outcome, outcome))
            return fact.decided
        return decided

    def run_ended(
        self,
        outcome: Outcome | None,
        error: BaseException | None,
        then: Callable[[JournalError | None], object],
    ) -> None:
        """Nothing is recorded."""
        then(None)

    def tell(self, told: Told) -> None:
        """Nothing is recorded."""

    def aborted(self, error: BaseException | None) -> None:
        """Nothing is recorded."""

    def wait(self, step: ActiveStep) -> None:
        """Nothing is waited for."""

    def when_safe(self, step: ActiveStep, then: Callable[[JournalError | None], object]) -> bool:
        """Nothing is waited for."""
        return True

    # Under the run's lock

    def refusal(self, step: ActiveStep) -> Exception | None:
        """What did not come to its end then has nothing to be compared with, and does not run."""
        node = step.node
        kind = FactKind.CHOICE if node.chooses else FactKind.STEP
        if (node.path, kind) in self._facts:
            return None
        return StepCancelledError(
            f"step {node.label} came to no end then", step_id=node.step_id, path=node.path
        )

    def started(self, step: ActiveStep) -> None:
        """Nothing is recorded."""

    def ended(
        self, step: ActiveStep, outcome: Outcome, error: BaseException | None, is_final: bool
    ) -> None:
        """A step that its own deadline has ended has handed nothing in."""
        path = step.node.path
        fact = self._facts.get((path, FactKind.STEP))
        if not is_final or step.node.chooses or path in self._seen or fact is None:
            return
        self._seen.add(path)
        if fact.outcome is not outcome:
            words = f"it {outcome.value}, where it {fact.outcome.value} then"
            then, now = fact.outcome.value, outcome.value
            self._differences.append(Difference(path, step.step_id, words, then, now))

    def left(self, step: ActiveStep, is_inside: bool) -> None:
        """Left, it has come to nothing that could be compared."""
        self._seen.add(step.node.path)

    def settled(self, node: StepNode, outcome: Outcome) -> None:
        """It did not run; did it then?"""
        if outcome is Outcome.CANCELLED:
            self._seen.add(node.path)

    def deadline_passed(self, group: ActiveGroup) -> None:
        """What follows is told next."""

    def group_ended(self, group: ActiveGroup) -> None:
        """Its steps are compared."""

    def result(self) -> tuple[Difference, ...]:
        """What was found, in the order of the paths."""
        for path, kind in self._facts:
            if kind is FactKind.STEP and path not in self._seen:
                fact = self._facts[path, kind]
                words = f"it was not reached, where it {fact.outcome.value} then"
                then = fact.outcome.value
                self._differences.append(Difference(path, fact.step_id or path, words, then, None))
        return tuple(sorted(self._differences, key=_as_written))


def _as_written(difference: Difference) -> list[int]:
    return [int(part) for part in difference.path.split(".") if part]


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, SkipStep):
        return Outcome.SKIPPED
    return Outcome.TIMED_OUT if isinstance(error, StepTimeoutError) else Outcome.FAILED


def _as_ended(fact: Fact) -> BaseException | None:
    """What a step is to end with to have the recorded outcome."""
    return SkipStep("it was skipped then") if fact.outcome is Outcome.SKIPPED else fact.error


def _other_error(error: BaseException, then: BaseException | None) -> str:
    if then is None or (type(error).__name__, str(error)) == (_type_name(then), _text(then)):
        return ""
    return (
        f"it failed with {type(error).__name__}: {error}, where it failed with "
        f"{_type_name(then)}: {_text(then)} then"
    )


def _type_name(error: BaseException) -> str:
    name: str = getattr(error, "type_name", type(error).__name__)
    return name.rpartition(".")[2]


def _text(error: BaseException) -> str:
    return str(getattr(error, "text", error))
