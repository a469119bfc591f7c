"""What a run's record is made of: a row for each attempt, choice and early end, in their order.

Rows are put under the run's lock, in the order in which the scheduler is told the same,
so reading them back in that order leads a new scheduler to where this one was.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine.clock import Clock
from ..engine.feed import Told
from ..engine.step import ActiveGroup, ActiveStep
from ..errors import JournalError
from ..event_values import words_of
from ..groups import Loop
from ..outcome import Outcome
from ..plan import GroupNode, Kind, StepNode
from ..signals import SkipStep
from ..state.delta import Delta
from .choices import Answer, encode_decision
from .codec import Codec, Encoded, encode_delta, encode_error
from .standing import Place, place_of

if TYPE_CHECKING:
    from .lane import Lane

DEADLINE = "deadline"
GROUP, CHOICE = "group", "choice"

# In a traceback, frames of the user's code matter; of very deep ones, the ends.
MOST_FRAMES = 50

NOTHING = Encoded(None, ())
_NO_TROUBLE: tuple[Any, ...] = (None, None, None, None)


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier parts of a run have recorded.

    - `first_seq`: the number of the next fact
    - `attempts`: how many of each step there were, by path
    - `settled`, `ended_groups`: paths of steps and groups whose rows stand as they are
    - `skips`: where the steps stand that are to give up their turn
    - `closed`: groups that a deadline has closed, and the number of that fact
    """

    first_seq: int = 0
    attempts: Mapping[str, int] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()
    ended_groups: frozenset[str] = frozenset()
    skips: frozenset[str] = frozenset()
    closed: Mapping[str, int] = field(default_factory=dict)


class Handed:
    """What a step has handed in so far: its change, and what it chose, as they are stored."""

    __slots__ = ("choice", "delta", "encoded")

    def __init__(self) -> None:
        self.delta: Delta | None = None
        self.encoded = NOTHING
        self.choice = NOTHING


class RunRecorder:
    """Records one run through its lane; the engine's `Recorder`.

    `before`: what was recorded in earlier parts of the run.
    """

    forks_all = follows = False

    def __init__(
        self,
        lane: Lane,
        codec: Codec,
        clock: Clock,
        before: Before | None = None,
    ) -> None:
        self._lane = lane
        self._codec = codec
        self._clock = clock
        self._wall = time.time() - clock.monotonic()
        self._run_id = lane.run_id
        known = before or Before()
        self._seq = known.first_seq
        self._before = known.attempts
        self._settled = known.settled
        self._skips = known.skips
        self.refuses = bool(known.skips)
        self._ended_groups = known.ended_groups
        self._closed = dict(known.closed)  # groups closed by a deadline: the fact's number
        self._places: dict[GroupNode, tuple[str, Place, bool, bool]] = {}

    @property
    def latest(self) -> int:
        """The number of the last record."""
        return self._lane.latest

    # Without the lock

    def handed_in(
        self, step: ActiveStep, delta: Delta | None, error: BaseException | None
    ) -> tuple[Delta | None, BaseException | None]:
        """Write the change down; raises `JournalDataError` for what cannot be."""
        if delta is not None:
            handed = self._handed(step)
            told = _without_settings(delta)
            # A step that is not isolated keeps what attempts before have done.
            # One that is a branch of its own has no fork, and a change that is of all of them.
            if handed.delta is not None and step.has_fork and step.enclosing is not None:
                told = _both(handed.delta, told, len(step.enclosing.errors))
            handed.delta = told
            handed.encoded = encode_delta(handed.delta, self._codec, step.step_id)
        return delta, error

    def _handed(self, step: ActiveStep) -> Handed:
        handed: Handed | None = step.record
        if handed is None:
            handed = step.record = Handed()
        return handed

    def chosen(self, step: ActiveStep, decided: Any) -> Any:
        """Write down what a dynamic group has found out."""
        self._handed(step).choice = encode_decision(decided, self._codec, step.node.parent.label)
        return decided

    def run_ended(
        self,
        outcome: Outcome | None,
        error: BaseException | None,
        then: Callable[[JournalError | None], object],
    ) -> None:
        """Record the end of the run, and give its lease back once that is safe."""
        self._put_end(outcome, error)
        if _is_loop_running():
            self._lane.when_durable(self._lane.latest, lambda wrong: self._let_go(wrong, then))
            return
        try:
            self._lane.end()
        except JournalError as failed:
            self._let_go(failed, then)
        else:
            then(None)

    def aborted(self, error: BaseException | None) -> None:
        """Record as much as can be of a run that was given up."""
        self._put_end(Outcome.CANCELLED if error is None else Outcome.FAILED, error)
        self._lane.release()

    def _put_end(self, outcome: Outcome | None, error: BaseException | None) -> None:
        kind, text, trace = _told(error)
        self._lane.put_run(
            status=(outcome or Outcome.FAILED).value,
            ended_at=self._clock.monotonic() + self._wall,
            error_type=kind,
            error_text=text,
            error_traceback=trace,
        )

    def _let_go(
        self, failed: JournalError | None, then: Callable[[JournalError | None], object]
    ) -> None:
        self._lane.release()
        then(failed)

    def wait(self, step: ActiveStep) -> None:
        """Wait until all is safe that the step depends on."""
        lane = self._lane
        if lane.error is not None:  # of what is recorded from now on, nothing would be kept
            lane.check(lane.latest + 1)
        if step.after > lane.durable:
            lane.wait(step.after)

    def when_safe(self, step: ActiveStep, then: Callable[[JournalError | None], object]) -> bool:
        """Whether it is safe already; else `then` is called when it is."""
        lane = self._lane
        if lane.error is not None:
            then(lane.error)
            return False
        if lane.is_durable(step.after):
            return True
        lane.when_durable(step.after, then)
        return False

    # Under the run's lock

    def refusal(self, step: ActiveStep) -> Exception | None:
        """Whether it is one that nobody knows about, and is to be skipped."""
        if step.node.path in self._skips and not step.node.chooses:
            return SkipStep("nobody knows what it had done when the run was cut off")
        return None

    def started(self, step: ActiveStep) -> None:
        """Of a step that must not be repeated, its start is safe before it begins."""
        if not step.node.spec.idempotent and not step.node.chooses:
            self._put(step.node, self._attempt(step), "running", (step.started_at, None))
            step.after = self._lane.latest

    def ended(
        self, step: ActiveStep, outcome: Outcome, error: BaseException | None, is_final: bool
    ) -> None:
        """An attempt ended, or a choice was made."""
        node = step.node
        now = step.ended_at if step.ended_at is not None else self._clock.monotonic()
        if node.chooses:
            self._put_choice(step, outcome, error, now)
            return
        handed: Handed | None = step.record if is_final else None
        delta = None
        if handed is not None:
            delta, large = handed.encoded
            for digest, content in large:
                self._lane.put_large(digest, content)
        times, flags = (step.started_at, now), (not is_final, step.stops)
        self._put(node, self._attempt(step), outcome._value_, times, error, delta, flags)
        step.record = None if is_final else step.record  # it may be large

    def left(self, step: ActiveStep, is_inside: bool) -> None:
        """A step was ended by what is around it."""
        path = step.node.path
        if step.node.chooses or path in self._settled:
            return
        outcome = step.outcome or Outcome.CANCELLED
        began = step.started_at if is_inside else None
        # Between two attempts it is the next one that will not be; one that was only reached
        # again, in a run that was resumed, has not been tried at all.
        attempt = step.attempt + (not is_inside) if step.prepared else 0
        times = (began, None if began is None else step.ended_at)
        self._put(step.node, attempt + self._before.get(path, 0), outcome.value, times)

    def settled(self, node: StepNode, outcome: Outcome) -> None:
        """A step will not run."""
        if node.path not in self._settled:
            self._put(node, 0, outcome.value, (None, None))

    def deadline_passed(self, group: ActiveGroup) -> None:
        """A group's time is over."""
        if group.parent is not None:
            self._closed[group.node.path] = self._seq
            self._put_group(group, "running", None)

    def group_ended(self, group: ActiveGroup) -> None:
        """A group ended; of a series, that only matters if it had a deadline."""
        node = group.node
        if node.kind is not Kind.PARALLEL and node.timeout is None:
            return
        if not self._ended_groups or node.path not in self._ended_groups:
            outcome = group.outcome or Outcome.FAILED
            self._put_group(group, outcome.value, self._clock.monotonic())

    def tell(self, told: Told) -> None:
        """Keep an event, for a run that somebody listens to."""
        event = told.event
        self._lane.put_event(event.seq, event.to_json)

    # Rows

    def _attempt(self, step: ActiveStep) -> int:
        before = self._before
        return step.attempt + before.get(step.node.path, 0) if before else step.attempt

    def _place(self, node: StepNode) -> tuple[str, tuple[Any, ...]]:
        """A step's path, and where it stands; what is the same in a group is found once."""
        group = node.parent
        known = self._places.get(group)
        if known is None:
            before = group.path and f"{group.path}."
            known = before, place_of(node), group.repeats, group.kind is Kind.PARALLEL
            self._places[group] = known
        before, place, repeats, is_parallel = known
        index = node.index
        if repeats:
            return f"{before}{index}", place_of(node)
        if is_parallel:
            above, _, policy, needed, _, key = place
            return f"{before}{index}", (above, node.name, policy, needed, index, key)
        return f"{before}{index}", place

    def _put(
        self,
        node: StepNode,
        attempt: int,
        status: str,
        times: tuple[float | None, float | None],
        error: BaseException | None = None,
        delta: str | None = None,
        flags: tuple[bool, bool] = (False, False),
    ) -> None:
        began, ended = times
        path, place = self._place(node)
        seq = self._seq
        self._seq = seq + 1
        wall = self._wall
        took = None if began is None or ended is None else ended - began
        began = None if began is None else began + wall
        ended = None if ended is None else ended + wall
        trouble = _NO_TROUBLE
        if error is not None:
            trouble = (*_told(error), encode_error(error, self._codec))
        place = (self._run_id, path, attempt, seq, node.step_id, *place)
        self._lane.put_step((*place, status, began, ended, took, *trouble, delta, *flags))

    def _put_choice(
        self, step: ActiveStep, outcome: Outcome, error: BaseException | None, now: float
    ) -> None:
        group: Any = step.parent
        handed: Handed = step.record or Handed()
        for digest, content in (*handed.choice.large, *handed.encoded.large):
            self._lane.put_large(digest, content)
        failed = None if error is None else encode_error(error, self._codec)
        answer = Answer(handed.choice.text, handed.encoded.text, failed)
        node = group.node
        chosen = group.rounds if isinstance(node.dynamic, Loop) else 0
        began = None if step.started_at is None else step.started_at + self._wall
        self._lane.put_group(
            (
                *(self._run_id, node.path, CHOICE, chosen, self._seq, node.name, outcome.value),
                *("stop" if step.stops else None, began, now + self._wall, answer.to_text(), False),
            )
        )
        self._seq += 1
        step.record = None

    def _put_group(self, group: ActiveGroup, status: str, ended: float | None) -> None:
        node = group.node
        path = node.path
        closed = self._closed.get(path)
        seq = self._seq
        self._seq += 1
        self._lane.put_group(
            (
                *(self._run_id, path, GROUP, 0, seq, node.name, status),
                None if closed is None else DEADLINE,
                group.started_at + self._wall,
                None if ended is None else ended + self._wall,
                *(None if closed is None else str(closed), False),
            )
        )


def _without_settings(delta: Delta) -> Delta:
    """A change without what is never written down, as it may hold passwords."""
    if "app_config" not in delta.fields:
        return delta
    fields = {name: value for name, value in delta.fields.items() if name != "app_config"}
    return Delta(delta.results, fields, delta.errors, delta.moved, delta.kept)


def _both(first: Delta, then: Delta, count: int) -> Delta:
    """What two changes come to, one after the other; between them there were so many errors."""
    errors, kept = first.errors, first.kept
    if then.kept is not None:
        before = count - len(errors)
        numbers = range(before) if kept is None else kept
        errors = [errors[at - before] for at in then.kept if at >= before]
        kept = tuple(numbers[at] for at in then.kept if at < before)
    return Delta(
        {**first.results, **then.results},
        {**first.fields, **then.fields},
        [*errors, *then.errors],
        (*(key for key in first.moved if key not in then.moved), *then.moved),
        kept,
    )


def _told(error: BaseException | None) -> tuple[str | None, str | None, str | None]:
    """An error's type, its text, and its traceback."""
    if error is None:
        return None, None, None
    kind = type(error)
    try:
        trace = "".join(traceback.format_exception(error, limit=-MOST_FRAMES))
    except Exception as wrong:  # noqa: BLE001  # an exception of the user's may raise anything
        trace = f"<its traceback could not be had: {type(wrong).__name__}>"
    return f"{kind.__module__}.{kind.__qualname__}", words_of(error), trace


def _is_loop_running() -> bool:
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False
