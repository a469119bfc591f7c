"""Taking a run up again where its record ends."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..context import PipelineContext
from ..engine.clock import SYSTEM_CLOCK, Clock
from ..engine.recorder import Fact, FactKind, Recovery
from ..errors import JournalDataError, PlanChangedError, UncertainStepError
from ..plan import Plan
from .beginning import digest_of_context, is_blank
from .codec import codec_named, digest_of, encode_context
from .contexts import make_context, put_in, type_name
from .facts import Facts, closed_at
from .lane import Lane
from .options import Options
from .outline import (
    Comparison,
    Entry,
    compare,
    dynamic_kind,
    node_at,
    outline_of,
    relocated,
    stands_at,
    written_outline,
)
from .recorder import CHOICE, Before, RunRecorder
from .records import RUNNING, SUCCEEDED, GroupRecord, RunRecord, StepRecord
from .selection import Recorded, Selection, everything, select
from .store import Journal
from .targets import paths_of
from .trial import try_out

logger = logging.getLogger("task_pipeline.journal")

R = TypeVar("R", StepRecord, GroupRecord)


@dataclass(slots=True)
class Resumption:
    """A run to go on with: its context as it was given, and what has happened since."""

    context: PipelineContext[Any]
    recovery: Recovery
    recorder: RunRecorder | None
    first_event: int = 0


def take_up(
    journal: Journal, plan: Plan, run_id: str, options: Options, clock: Clock
) -> Resumption:
    """Take up a run where its record ends, as nobody else does until it has ended.

    Raises `RunNotFoundError`, `RunLeasedError`, `PlanChangedError`, `UncertainStepError`,
    `JournalDataError`; then nothing has changed.
    """
    run = journal.run(run_id)
    if run.status == SUCCEEDED and not _has_reason(plan, run, journal, options):
        taking = TakingUp(journal, plan, run, options, clock)
        taken = taking.only_read()
        taken.recovery.is_whole = True
        return taken
    lane = journal.lease(run_id)
    try:
        taking = TakingUp(journal, plan, journal.run(run_id), options, clock)
        return taking.go_on(lane)
    except BaseException:
        lane.release()
        raise


def _has_reason(plan: Plan, run: RunRecord, journal: Journal, options: Options) -> bool:
    """Whether there is something to do for a run that has ended well."""
    if options.from_step is not None or run.fingerprint != written_outline(plan)[1]:
        return True
    return options.context is not None and _is_other_input(options.context, run, journal)


def _is_other_input(given: PipelineContext[Any], run: RunRecord, journal: Journal) -> bool:
    """Whether a context has data, and not what the run was started with."""
    return digest_of_context(given, journal) != run.input_digest and not is_blank(given, journal)


def read_back(
    journal: Journal, plan: Plan, run_id: str, context: PipelineContext[Any] | None
) -> tuple[TakingUp, Resumption]:
    """A run as it is recorded, wherever it has come to; nothing is set aside.

    Raises `RunNotFoundError`, `PlanChangedError` and `JournalDataError`.
    """
    taking = TakingUp(journal, plan, journal.run(run_id), Options(context), SYSTEM_CLOCK)
    taking.require_same_plan()
    return taking, taking.only_read()


class TakingUp:
    """One run that is taken up, or looked at again: `recorded` is what its records say."""

    def __init__(
        self, journal: Journal, plan: Plan, run: RunRecord, options: Options, clock: Clock
    ) -> None:
        self._journal = journal
        self._plan = plan
        self._run = run
        self._options = options
        self._clock = clock
        self._codec = codec_named(journal.codec)
        then = self._recorded_outline()
        self._facts = Facts(journal, self._codec, run.run_id, lambda path: dynamic_kind(then, path))
        self._outline = outline_of(plan)
        self._text, self._fingerprint = written_outline(plan)
        self._rows = journal.steps(run.run_id, superseded=True)
        self._group_rows = journal.groups(run.run_id, superseded=True)
        self.recorded = Recorded(
            run,
            then,
            [step for step in self._rows if not step.superseded],
            [group for group in self._group_rows if not group.superseded],
        )

    def only_read(self) -> Resumption:
        """All that is recorded of a run, to be put together; nothing is to be done."""
        steps, groups = everything(self.recorded)
        left = frozenset(self.recorded.left_by_deadlines())
        facts = self._facts.of(steps, groups)
        return Resumption(self._context(), Recovery(facts, left=left), None)

    def require_same_plan(self) -> None:
        """Raise `PlanChangedError` if the pipeline is not what it was."""
        if self._fingerprint != self._run.fingerprint:
            raise self._changed(compare(self.recorded.outline, self._outline))

    def _changed(self, changes: Comparison) -> PlanChangedError:
        return PlanChangedError(
            f"run {self._run.run_id!r} cannot go on, as its pipeline is not what it was: "
            f"{'; '.join(changes.changes)}. Say on_changed='rerun_changed' to run again what "
            "changed and all after it, 'ignore' to use every record that still fits, or run "
            "the pipeline under another run_id.",
            run_id=self._run.run_id,
        )

    def go_on(self, lane: Lane) -> Resumption:
        """What the run goes on from; sets aside what happens again."""
        context = self._context()  # first, as it may be impossible to make
        changes = self._changes()
        given, is_same = self._given()
        if not is_same:
            logger.warning(
                "run %r: the context that was given is not what it was started with, so all of "
                "it runs again",
                self._run.run_id,
            )
        marks: Iterable[str] = ()
        if self._options.from_step is not None:
            marks = paths_of(self._options.from_step, self._outline, self.recorded.steps)
            marks = [changes.origin_of(mark) for mark in marks]
        chosen = select(
            self.recorded,
            lambda path: is_same and changes.place_of(path) is not None,
            marks,
            self._is_idempotent(changes),
        )
        skips = self._settle_uncertain(chosen, changes)
        facts = self._facts.of(chosen.steps, chosen.groups, changes.place_of)
        if self._text != self._run.plan:
            facts = self._that_fit(chosen, facts, changes)
        self._journal.supersede(
            lane,
            steps=[(step.path, step.attempt) for step in chosen.dropped_steps],
            groups=[(group.path, group.kind, group.round) for group in chosen.dropped_groups],
            status=RUNNING,
            ended_at=None,
            error_type=None,
            error_text=None,
            error_traceback=None,
            **self._renewed(given, is_same, lane),
        )
        attempts = self._move(lane, chosen, changes)
        before = self._before(chosen, attempts, skips)
        recorder = RunRecorder(lane, self._codec, self._clock, before)
        first_event = self._journal.next_event(self._run.run_id)
        left = frozenset(
            place
            for path in self.recorded.left_by_deadlines()
            if (place := changes.place_of(path)) is not None
        )
        return Resumption(context, Recovery(facts, left=left), recorder, first_event)

    def _that_fit(self, chosen: Selection, facts: list[Fact], changes: Comparison) -> list[Fact]:
        """The facts that can have happened in the plan as it is; the others are set aside.

        It is tried out, before anything is changed, on a run that nobody knows of.
        """
        fields = self._facts.context(self._run.input)
        trial = PipelineContext[Any](results=fields.get("results", {}))
        dropped: set[tuple[FactKind, str | None, int]] = set()

        def drop(fact: Fact) -> None:
            if self._options.on_changed != "ignore":
                raise self._broken(f"a {fact.kind.value} at path {fact.path} does not fit")
            dropped.add((fact.kind, fact.path, fact.round))

        again = self._facts.of(chosen.steps, chosen.groups, changes.place_of)
        try_out(self._plan, trial, Recovery(again, drop), self._clock)
        for step in list(chosen.steps):
            if (FactKind.STEP, changes.place_of(step.path), 0) in dropped:
                chosen.steps.remove(step)
                chosen.dropped_steps.append(step)
        for group in list(chosen.groups):
            kind = FactKind.CHOICE if group.kind == CHOICE else FactKind.DEADLINE
            if (kind, changes.place_of(group.path), group.round) in dropped:
                chosen.groups.remove(group)
                chosen.dropped_groups.append(group)
        for step in list(chosen.settled):
            place = changes.place_of(step.path)
            if place is None or not stands_at(self._outline, place, step.step_id):
                chosen.settled.remove(step)
                chosen.dropped_steps.append(step)
        return [fact for fact in facts if (fact.kind, fact.path, fact.round) not in dropped]

    # The plan

    def _recorded_outline(self) -> Entry:
        try:
            outline = json.loads(self._run.plan)
        except (ValueError, RecursionError) as error:
            raise self._broken("its plan cannot be read", error) from error
        if not isinstance(outline, dict) or "group" not in outline:
            raise self._broken("its plan is none")
        return outline

    def _broken(self, what: str, error: Exception | None = None) -> JournalDataError:
        why = "" if error is None else f": {error}"
        return JournalDataError(
            f"run {self._run.run_id!r}: {what}{why}; its record is damaged, so it cannot go on",
            run_id=self._run.run_id,
        )

    def _changes(self) -> Comparison:
        if self._fingerprint == self._run.fingerprint:
            return Comparison(kept={"": ""})
        changes = compare(self.recorded.outline, self._outline)
        wanted = self._options.on_changed
        if wanted == "ignore":
            return Comparison(kept={"": ""})
        if wanted == "error" and changes.changes:
            raise self._changed(changes)
        return changes

    def _is_idempotent(self, changes: Comparison) -> Callable[[StepRecord], bool]:
        by_id = {node.step_id: node for node in self._plan.steps}

        def look(step: StepRecord) -> bool:
            if step.status == RUNNING:  # what only a step has whose start is recorded
                return False
            place = changes.place_of(step.path)
            node = None if place is None else node_at(self._plan, place)
            node = node or by_id.get(step.step_id)
            return node is None or node.spec.idempotent

        return look

    # The context

    def _given(self) -> tuple[PipelineContext[Any] | None, bool]:
        """The context the user gave, and whether it leaves the run's input as it was."""
        given = self._options.context
        return given, given is None or not _is_other_input(given, self._run, self._journal)

    def _context(self) -> PipelineContext[Any]:
        given = self._options.context
        if given is not None and not is_blank(given, self._journal):
            return given
        fields = self._facts.context(self._run.input)
        if given is None:
            return make_context(self._run.context_type, fields, self._run.run_id)
        put_in(given, fields)
        return given

    def _renewed(
        self, given: PipelineContext[Any] | None, is_same: bool, lane: Lane
    ) -> dict[str, Any]:
        """Columns of the run that are no longer what they were."""
        columns: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "plan": self._text,
        }
        if given is not None and not is_same:
            encoded = encode_context(given, self._codec)
            for digest, content in encoded.large:
                lane.put_large(digest, content)
            columns["input"] = encoded.text
            columns["input_digest"] = digest_of(encoded.text or "")
            columns["context_type"] = type_name(type(given))
        return columns

    # The records

    def _settle_uncertain(self, chosen: Selection, changes: Comparison) -> frozenset[str]:
        """Where the steps stand now that are to be skipped, of those that nobody knows about."""
        if not chosen.uncertain or self._options.on_uncertain == "rerun":
            return frozenset()
        if self._options.on_uncertain == "skip":
            by_id = {node.step_id: node.path for node in self._plan.steps}
            places = [
                changes.place_of(step.path) or by_id.get(step.step_id) or step.path
                for step in chosen.uncertain
            ]
            return frozenset(places)
        names = ", ".join(f"{step.step_id!r} at path {step.path}" for step in chosen.uncertain)
        raise UncertainStepError(
            f"run {self._run.run_id!r} cannot go on by itself: {names} had started and not ended "
            "when it was cut off, and must not be repeated blindly (idempotent=False). Find out "
            "what happened, then resume with on_uncertain='rerun' or 'skip'. The step's "
            "context.idempotency_key is the same as then.",
            run_id=self._run.run_id,
        )

    def _move(self, lane: Lane, chosen: Selection, changes: Comparison) -> dict[str, int]:
        """Put down anew what stands elsewhere in the plan now.

        Returns how many attempts there are at each path. All old places are given up before
        a new one is taken, which may have been another's.
        """
        attempts: dict[str, int] = {}
        for row in self._rows:
            attempts[row.path] = max(row.attempt, attempts.get(row.path, 0))
        steps = _moved((*chosen.steps, *chosen.settled), changes)
        groups = _moved(chosen.groups, changes)
        for step, _ in steps:
            lane.put_step(_row(step, superseded=True))
        for group, _ in groups:
            lane.put_group(_row(group, superseded=True))
        for step, place in steps:
            number = 0  # of one that never ran, which is no fact
            if step.attempt > 0:
                number = attempts[place] = attempts.get(place, 0) + 1
            lane.put_step(_row(relocated(step, self._outline, place), attempt=number))
        for group, place in groups:
            lane.put_group(_row(group, path=place))
        return attempts

    def _before(self, chosen: Selection, attempts: dict[str, int], skips: frozenset[str]) -> Before:
        numbers = [step.seq for step in self._rows] + [group.seq for group in self._group_rows]
        dropped = {(group.path, group.kind) for group in chosen.dropped_groups}
        ended = [
            group
            for group in self.recorded.groups
            if group.kind != CHOICE and (group.path, group.kind) not in dropped
        ]
        return Before(
            1 + max(numbers, default=-1),
            attempts,
            frozenset(step.path for step in chosen.settled),
            frozenset(group.path for group in ended if _ended_itself(group)),
            skips,
            {group.path: number for group in ended if (number := closed_at(group)) is not None},
        )


def _ended_itself(group: GroupRecord) -> bool:
    """Whether a group came to its own end; one that was ended with what is around it may not."""
    return group.status in ("succeeded", "failed") or (
        group.closed_by is not None and group.status != RUNNING
    )


def _moved(rows: Iterable[R], changes: Comparison) -> list[tuple[R, str]]:
    """The rows of what stands elsewhere now, and where."""
    places = [(row, changes.place_of(row.path)) for row in rows]
    return [(row, place) for row, place in places if place is not None and place != row.path]


def _row(record: StepRecord | GroupRecord, **changed: Any) -> tuple[Any, ...]:
    return dataclasses.astuple(dataclasses.replace(record, **changed))
