"""Recorded rows as facts that an engine can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..engine.recorder import Fact, FactKind
from ..errors import JournalDataError
from ..outcome import Outcome
from .choices import Answer, decode_decision
from .codec import Codec, decode_context, decode_delta, decode_error
from .recorder import CHOICE, DEADLINE
from .records import RUNNING, GroupRecord, StepRecord
from .store import Journal


def _same(path: str) -> str | None:
    return path


def closed_at(group: GroupRecord) -> int | None:
    """The number of the fact that a group's time was over."""
    text = group.answer or ""
    return int(text) if text.isdecimal() and len(text) < 19 else None


class Facts:
    """Reads the rows of one run; `kinds` says which kind of dynamic group stood at a path."""

    def __init__(
        self, journal: Journal, codec: Codec, run_id: str, kinds: Callable[[str], str | None]
    ) -> None:
        self._kinds = kinds
        self._fetch = journal.large
        self._codec = codec
        self._run_id = run_id

    def of(
        self,
        steps: Iterable[StepRecord],
        groups: Iterable[GroupRecord],
        place_of: Callable[[str], str | None] = _same,
    ) -> list[Fact]:
        """All of them in their order, each where it stands now."""
        facts = [(step.seq, self.of_step(step, place_of(step.path))) for step in steps]
        for group in groups:
            facts += self.of_group(group, place_of(group.path))
        return [fact for _, fact in sorted(facts, key=lambda numbered: numbered[0])]

    def of_step(self, step: StepRecord, path: str | None) -> Fact:
        """How a step ended."""
        if step.status in ("failed", "timed_out") and step.error is None:
            raise JournalDataError(
                f"run {self._run_id!r}: step {step.step_id!r} at path {step.path} {step.status}, "
                "and there is no error; its record is damaged, so it cannot go on",
                run_id=self._run_id,
            )
        delta = decode_delta(step.delta, self._codec, step.step_id, self._fetch)
        return Fact(
            FactKind.STEP,
            step.path if path is None else path,
            self._outcome(step.status, f"step {step.step_id!r} at path {step.path}"),
            delta,
            self._error(step.error, f"step {step.step_id!r}"),
            stops=step.stops,
            attempt=step.attempt,
            duration=step.duration or 0.0,
            step_id=step.step_id,
        )

    def of_group(self, group: GroupRecord, path: str | None) -> list[tuple[int, Fact]]:
        """What a group found out; or when its time was over, and when it was joined."""
        at = group.path if path is None else path
        if group.kind == CHOICE:
            return [(group.seq, self._choice(group, at))]
        facts = []
        if group.closed_by == DEADLINE:
            facts.append((self._closed_at(group), Fact(FactKind.DEADLINE, at, Outcome.TIMED_OUT)))
        if group.status != RUNNING:
            facts.append((group.seq, Fact(FactKind.JOIN, at, Outcome.SUCCEEDED)))
        return facts

    def _closed_at(self, group: GroupRecord) -> int:
        number = closed_at(group)
        if number is None:
            raise JournalDataError(
                f"run {self._run_id!r}, {group.name!r} at path {group.path}: when its time was "
                "over is not readable; its record is damaged, so it cannot go on",
                run_id=self._run_id,
            )
        return number

    def _choice(self, group: GroupRecord, at: str) -> Fact:
        where = f"{group.name!r} at path {group.path}"
        answer = Answer.from_text(group.answer, where)
        return Fact(
            FactKind.CHOICE,
            at,
            self._outcome(group.status, where),
            decode_delta(answer.delta, self._codec, where, self._fetch),
            self._error(answer.error, where),
            decode_decision(answer.decided, self._codec, where, self._fetch),
            stops=group.closed_by is not None,
            dynamic=self._kinds(group.path),
            round=group.round,
        )

    def context(self, text: str | None) -> dict[str, Any]:
        """The fields of the context that the run was started with."""
        return decode_context(text or "", self._codec, self._fetch)

    def _outcome(self, status: str, where: str) -> Outcome:
        try:
            return Outcome(status)
        except ValueError as error:
            raise JournalDataError(
                f"run {self._run_id!r}, {where}: {status!r} is no way to end; its record is "
                "damaged, so it cannot go on",
                run_id=self._run_id,
            ) from error

    def _error(self, text: str | None, where: str) -> Exception | None:
        if text is None:
            return None
        error = decode_error(text, self._codec, self._fetch)
        if not isinstance(error, Exception):
            raise JournalDataError(
                f"run {self._run_id!r}, {where}: {error!r} is no error a step can end with",
                run_id=self._run_id,
            )
        return error
