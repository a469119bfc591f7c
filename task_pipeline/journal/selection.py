"""Which recorded facts a run goes on from, and which parts of it happen again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import JournalDataError
from .outline import Entry, chain
from .recorder import CHOICE
from .records import RUNNING, SUCCEEDED, GroupRecord, RunRecord, StepRecord

_PATH = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
LEFT = frozenset({"cancelled", "timed_out", RUNNING})
"""Statuses of a step that may have been cut in the middle."""

ENDED = frozenset({SUCCEEDED, "failed", "timed_out"})
"""Statuses of a group that was not ended from outside."""

IsIdempotent = Callable[[StepRecord], bool]


@dataclass(slots=True)
class Selection:
    """What is kept of a run, and what is set aside.

    - `steps`, `groups`: the facts, in their order; groups chose, timed out, were joined
    - `settled`: steps that were left or never run, in groups that ended well without them
    - `dropped_steps`, `dropped_groups`: what is no longer true of the run
    - `uncertain`: steps that would run again, and must not without somebody's word; to
      have asked for that very step is one
    """

    steps: list[StepRecord] = field(default_factory=list)
    groups: list[GroupRecord] = field(default_factory=list)
    settled: list[StepRecord] = field(default_factory=list)
    dropped_steps: list[StepRecord] = field(default_factory=list)
    dropped_groups: list[GroupRecord] = field(default_factory=list)
    uncertain: list[StepRecord] = field(default_factory=list)


class Recorded:
    """What a run's records say of it, by path."""

    def __init__(
        self,
        run: RunRecord,
        outline: Entry,
        steps: Iterable[StepRecord],
        groups: Iterable[GroupRecord],
    ) -> None:
        self.run = run
        self.outline = outline
        # The last attempt's row is what is true of a step.
        latest: dict[str, StepRecord] = {}
        for step in steps:
            known = latest.get(step.path)
            if known is None or (step.attempt, step.seq) > (known.attempt, known.seq):
                latest[step.path] = step
        self.steps = sorted(latest.values(), key=lambda step: step.seq)
        self.groups = sorted(groups, key=lambda group: group.seq)
        rows: list[StepRecord | GroupRecord] = [*self.steps, *self.groups]
        for row in rows:
            if not _PATH.fullmatch(row.path):
                raise JournalDataError(
                    f"run {run.run_id!r}: {row.path!r:.80} is not a path of a step or group; its "
                    "record is damaged, so it cannot go on",
                    run_id=run.run_id,
                )
        self.is_kept_group: Callable[[str], bool] = lambda path: True
        self._outcomes = {group.path: group.status for group in self.groups if group.kind != CHOICE}

    def is_absorbed(self, path: str) -> bool:
        """Whether what failed or was left at a path has not kept the run from going on.

        By a group that is what it was, that is: what another one makes of it is not known.
        """
        nodes = chain(self.outline, path)
        for at, entry in reversed(nodes[:-1] if nodes[-1][0] == path else nodes):
            if at and not self.is_kept_group(at):
                continue
            if entry.get("goes_on"):
                return True
            # One that may fail: whatever was in it, it has come to its end.
            if entry.get("critical") is False and self._outcomes.get(at) in ENDED:
                return True
            if entry.get("group") == "parallel" and self._outcomes.get(at) == SUCCEEDED:
                return True
        return False

    def is_critical(self, row: StepRecord | GroupRecord) -> bool:
        """Whether the failure of a step or group fails what it is part of."""
        path, entry = chain(self.outline, row.path)[-1]
        return path != row.path or entry.get("critical", True) is not False

    def left_by_deadlines(self) -> Iterator[str]:
        """The paths of what had begun when the time of a group around it was over."""
        for step in self.steps:
            if step.status == "timed_out" and step.error is None and step.started_at is not None:
                yield step.path
        for group in self.groups:
            if group.status == "timed_out" and group.kind != CHOICE and group.closed_by is None:
                yield group.path

    def comes_after(self, path: str, mark: str) -> bool:
        """Whether something is, is in, or follows what stands at `mark`."""
        here, there = _parts(path), _parts(mark)
        common = 0
        while common < min(len(here), len(there)) and here[common] == there[common]:
            common += 1
        if common == len(there):
            return True
        if common == len(here):  # around it
            return False
        _, entry = chain(self.outline, ".".join(there[:common]))[-1]
        return entry.get("group") == "serial" and int(here[common]) > int(there[common])


def _parts(path: str) -> list[str]:
    return path.split(".") if path else []


def select(
    recorded: Recorded,
    is_kept: Callable[[str], bool],
    marks: Iterable[str],
    is_idempotent: IsIdempotent,
) -> Selection:
    """Find what a run goes on from.

    `is_kept` says whether the plan is what it was at a path; at each of the `marks`, and
    after them, everything happens again. In a run that has ended, so does what it failed of.
    """
    found = Selection()
    marks = tuple(marks)
    has_ended = recorded.run.status != RUNNING
    recorded.is_kept_group = is_kept

    def is_true(path: str) -> bool:
        return is_kept(path) and not any(recorded.comes_after(path, mark) for mark in marks)

    for step in recorded.steps:
        true = is_true(step.path)
        if true and _is_fact(step) and not (has_ended and _is_cause(recorded, step)):
            found.steps.append(step)
            continue
        if (
            true
            and not _is_fact(step)
            and recorded.is_absorbed(step.path)
            and step.status != RUNNING
        ):
            found.settled.append(step)
            continue
        found.dropped_steps.append(step)
        is_left = step.status in LEFT and step.started_at is not None
        is_named = any(step.path == mark or _is_below(step.path, mark) for mark in marks)
        if is_left and not is_named and not is_idempotent(step):
            found.uncertain.append(step)
    for group in recorded.groups:
        true = is_true(group.path) and not _is_around(group, marks)
        if not true or (has_ended and _is_group_cause(recorded, group)):
            found.dropped_groups.append(group)
        else:
            found.groups.append(group)
    return found


def everything(recorded: Recorded) -> tuple[list[StepRecord], list[GroupRecord]]:
    """All facts there are, however the run has ended."""
    return (
        [step for step in recorded.steps if _is_fact(step)],
        recorded.groups,
    )


def _is_fact(step: StepRecord) -> bool:
    """Whether the step has come to an end of its own."""
    if step.attempt == 0 or step.status in (RUNNING, "cancelled"):
        return False
    # Left by a group's deadline, a step has no error of its own.
    return step.status != "timed_out" or step.error is not None


def _is_cause(recorded: Recorded, step: StepRecord) -> bool:
    """Whether the run has failed of this step, or would have."""
    failed = step.status in ("failed", "timed_out")
    return failed and recorded.is_critical(step) and not recorded.is_absorbed(step.path)


def _is_group_cause(recorded: Recorded, group: GroupRecord) -> bool:
    failed = group.status not in (SUCCEEDED, "skipped", RUNNING)
    return failed and recorded.is_critical(group) and not recorded.is_absorbed(group.path)


def _is_around(group: GroupRecord, marks: Iterable[str]) -> bool:
    """Whether a group's deadline, or a later round of it, has to do with what happens again."""
    if group.kind != CHOICE:
        return any(_is_below(mark, group.path) for mark in marks)
    rounds = [
        int(_parts(mark)[len(_parts(group.path))]) for mark in marks if _is_below(mark, group.path)
    ]
    return any(group.round > number for number in rounds)


def _is_below(path: str, above: str) -> bool:
    return path != above and (not above or path.startswith(f"{above}."))
