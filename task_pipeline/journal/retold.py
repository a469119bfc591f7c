"""What rows tell of a run: a moment for each event that must have been, and what it followed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecordedError
from ..events import (
    Event,
    GroupCancelled,
    GroupEnded,
    GroupExpanded,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    GroupTimedOut,
    StepCancelled,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepTimedOut,
)
from .outline import Entry, chain
from .recorder import CHOICE
from .records import RUNNING, GroupRecord, StepRecord

_STEP_ENDS: dict[str, type[Event]] = {
    "succeeded": StepSucceeded,
    "failed": StepFailed,
    "timed_out": StepTimedOut,
    "cancelled": StepCancelled,
    "skipped": StepSkipped,
}
_GROUP_ENDS: dict[str, type[GroupEnded]] = {
    "succeeded": GroupSucceeded,
    "skipped": GroupSucceeded,
    "failed": GroupFailed,
    "timed_out": GroupTimedOut,
    "cancelled": GroupCancelled,
}
_BAD = ("failed", "timed_out", "cancelled")


@dataclass(eq=False, slots=True)
class Moment:
    """An event to be told; `time` None is that of what came before, all of `after` comes first."""

    kind: type[Event]
    time: float | None
    facts: dict[str, Any]
    is_start: bool = False
    after: list[Moment] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Part:
    """A step or group: what is recorded of it, and the moments made of that.

    - `entry`: of the plan; `near`: the nearest parallel group above, `branch`: where in that
    - `steps`: its attempts; `group`: its end; `choices`: what it found out, by round
    - `outcome`, `error`: how it ended, and by what, as far as that can be known
    """

    path: str
    name: str
    entry: Entry
    near: str | None = None
    branch: int | None = None
    steps: list[StepRecord] = field(default_factory=list)
    group: GroupRecord | None = None
    choices: list[GroupRecord] = field(default_factory=list)
    children: dict[int, Part] = field(default_factory=dict)
    outcome: str | None = None
    error: RecordedError | None = None
    start: Moment | None = None
    end: Moment | None = None

    @property
    def is_parallel(self) -> bool:
        """Whether it is a parallel group."""
        return self.entry.get("group") == "parallel"

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has."""
        return self.start is not None and self.start.is_start

    @property
    def has_failed(self) -> bool:
        """Whether it fails the series that it is in."""
        return self.outcome in _BAD and self.entry.get("critical", True) is not False

    def in_order(self) -> list[Part]:
        """Its children."""
        return [self.children[index] for index in sorted(self.children)]

    def facts(self) -> dict[str, Any]:
        """What each of its events says of where it stands; see `Feed.place`."""
        is_group = "group" in self.entry
        return {
            "path": self.path,
            "name": self.name,
            "group_id": self.path if is_group else self.near,
            "is_parallel": self.near is not None or self.is_parallel,
            "parallel_index": self.branch,
            **({"parallel": self.is_parallel} if is_group else {"step_id": self.name}),
        }


def recorded_error(kind: str, text: str | None, encoded: str | None = None) -> RecordedError:
    """An error as a row has it; `encoded` has its notes."""
    notes = _written(encoded).get("notes")
    given = notes if isinstance(notes, list) else []
    return RecordedError(kind, text or "", [note for note in given if isinstance(note, str)])


def _written(encoded: str | None) -> dict[str, Any]:
    """The object that a text of a codec is, if it is one; another codec's is not looked into."""
    try:
        written = json.loads(encoded or "")
    except (ValueError, RecursionError):
        return {}
    return written if isinstance(written, dict) else {}


class Retelling:
    """Makes the moments of a run from its rows."""

    def __init__(
        self, outline: Entry, steps: Iterable[StepRecord], groups: Iterable[GroupRecord]
    ) -> None:
        self._outline = outline
        self._root = Part("", "", outline)
        self._parts: dict[str, Part] = {"": self._root}
        self._ends: list[tuple[int, Moment]] = []  # by the number of their row
        self._moments: list[Moment] = []
        for group in sorted(groups, key=lambda row: row.round):
            part = self._part(group.path)
            if part is not None and group.kind == CHOICE:
                part.choices.append(group)
            elif part is not None:
                part.group, part.name = group, group.name
        for step in _told(steps):
            part = self._part(step.path)
            if part is not None and "step" in part.entry:
                part.steps.append(step)
                part.name = step.step_id

    def moments(self, first: Moment) -> list[Moment]:
        """All of them, after the run's beginning."""
        self._root.start = first
        parts = [self._root]
        for part in parts:
            parts += part.in_order()
        groups = [part for part in parts[1:] if "group" in part.entry]
        for part in parts:
            self._tell_step(part)
        for part in reversed(groups):  # what is in a group says when it has begun, and ended
            self._tell_group(part)
        anchors: dict[str, Moment] = {"": first}
        for part in parts:
            _link(part, anchors)
        self._ends.sort(key=lambda numbered: numbered[0])
        for (_, earlier), (_, later) in itertools.pairwise(self._ends):
            later.after.append(earlier)
        return [first, *self._moments]

    def _part(self, path: str) -> Part | None:
        """The part at a path; None for what the plan has no place for."""
        if path not in self._parts and all(map(str.isdecimal, path.split("."))):
            suffix, above = "", self._root
            for at, entry in chain(self._outline, path)[1:]:
                index = int(at.rpartition(".")[2])
                if "each" in above.entry:
                    suffix += f"[{index}]"
                if at not in self._parts:
                    below = Part(at, _name(entry, at, suffix), entry, above.near, above.branch)
                    if above.is_parallel:
                        below.near, below.branch = above.path, index
                    above.children[index] = self._parts[at] = below
                above = self._parts[at]
        return self._parts.get(path)

    # Steps

    def _tell_step(self, part: Part) -> None:
        for row, following in itertools.zip_longest(part.steps, part.steps[1:]):
            began = row.started_at is not None
            facts = {**part.facts(), "attempt": row.attempt if began else 0}
            if began:
                self._add(part, Moment(StepStarted, row.started_at, facts, is_start=True))
            if row.status != RUNNING:
                ended = Moment(_STEP_ENDS[row.status], row.ended_at, dict(facts))
                if began or row.status != "skipped":
                    ended.facts["duration"] = row.duration or 0.0
                if row.error_type is not None:
                    part.error = recorded_error(row.error_type, row.error_text, row.error)
                    ended.facts["error"] = part.error
                if row.superseded and row.status == "failed":
                    ended.kind = StepRetrying
                    ended.facts["delay"] = _between(row, following)
                self._add(part, ended)
                self._ends.append((row.seq, ended))
        last = part.steps[-1] if part.steps else None
        if last is not None and last.status != RUNNING and not last.superseded:
            part.outcome = last.status

    def _add(self, part: Part, moment: Moment) -> None:
        moment.after += [] if part.end is None else [part.end]
        part.start = part.start or moment
        part.end = moment
        self._moments.append(moment)

    # Groups

    def _tell_group(self, part: Part) -> None:
        row = part.group
        below = [child.start for child in part.children.values() if child.has_begun]
        known = [one.started_at for one in ([row] if row else []) + part.choices]
        times = [time for time in known + [one.time for one in below if one] if time is not None]
        if row is not None and row.status != RUNNING:
            part.outcome = row.status
        elif not part.is_parallel:
            part.outcome, part.error = _come_to(part)
        if not times:
            return  # nothing in it has begun
        total = len(part.entry.get("children", ()))
        facts = {**part.facts(), "total": total}
        part.start = Moment(GroupStarted, min(times), facts, is_start=True)
        self._moments.append(part.start)
        for choice in part.choices:
            self._tell_choice(part, part.start, choice)
        if part.outcome is not None:
            self._end_group(part, part.start)

    def _tell_choice(self, part: Part, start: Moment, choice: GroupRecord) -> None:
        is_map = _kind(part) == "Map"
        if (
            choice.status != "failed"
            if is_map
            else choice.round in part.children and _repeats(part)
        ):
            total = len(part.children) if is_map else choice.round + 1
            expanded = Moment(GroupExpanded, choice.ended_at, {**part.facts(), "total": total})
            expanded.after.append(start)
            self._moments.append(expanded)
            self._ends.append((choice.seq, expanded))

    def _end_group(self, part: Part, start: Moment) -> None:
        ended = None if part.group is None else part.group.ended_at
        if ended is None:
            times = [child.end.time for child in part.children.values() if child.end is not None]
            times += [choice.ended_at for choice in part.choices]
            ended = max((time for time in times if time is not None), default=start.time)
        total = len(part.entry.get("children", ()))
        if _kind(part) is not None and not (_kind(part) == "Branch" and _has_not_chosen(part)):
            total = sum(child.has_begun or _repeats(part) for child in part.children.values())
        facts = {**part.facts(), "total": total, "error": part.error}
        facts["duration"] = max(0.0, (ended or 0.0) - (start.time or 0.0))
        part.end = Moment(_GROUP_ENDS[part.outcome or "failed"], ended, facts, after=[start])
        self._moments.append(part.end)
        # The number of a group that its deadline has closed is that of the deadline.
        if part.group is not None and part.group.closed_by is None:
            self._ends.append((part.group.seq, part.end))


def _told(steps: Iterable[StepRecord]) -> list[StepRecord]:
    """The attempts to be told of, in their order: what is true now, and what others followed."""
    rows = sorted(steps, key=lambda row: (row.attempt, row.seq))
    now = {row.path: row.step_id for row in rows if not row.superseded}
    tried = ("failed", "timed_out")
    return [
        row
        for row in rows
        if not row.superseded or (row.status in tried and now.get(row.path) == row.step_id)
    ]


def _between(row: StepRecord, following: StepRecord | None) -> float:
    if following is None or following.started_at is None or row.ended_at is None:
        return 0.0
    return max(0.0, following.started_at - row.ended_at)


def _name(entry: Entry, path: str, suffix: str) -> str:
    """What a node is called, if no row says so: instances have the index behind their names."""
    if suffix and "unnamed" in entry and "dynamic" not in entry:
        return f"{entry['group']}_group_{path}"
    return f"{entry.get('step') or entry.get('name')}{suffix}"


def _kind(part: Part) -> str | None:
    kind: str | None = part.entry.get("dynamic", {}).get("kind")
    return kind


def _has_not_chosen(part: Part) -> bool:
    return not part.choices or part.choices[-1].status in _BAD


def _repeats(part: Part) -> bool:
    return "each" in part.entry


def _come_to(part: Part) -> tuple[str | None, RecordedError | None]:
    """How a series ended that has no row, and by what error; None while it had not."""
    last = part.choices[-1] if part.choices else None
    if last is not None and last.status in _BAD:
        error = _written(_written(last.answer).get("error"))
        kind, text = str(error.get("type")).replace(":", "."), str(error.get("text"))
        return last.status, recorded_error(kind, text) if error else None
    for child in _those_that_count(part, last):
        if child is None or child.outcome is None:
            return ("succeeded" if _has_stopped(part) else None), None
        if child.has_failed and not part.entry.get("goes_on"):
            return child.outcome, child.error
    if _kind(part) == "Loop":
        decided = None if last is None else _written(last.answer).get("decided")
        if decided == "true" and len(part.children) != part.entry["dynamic"].get("times"):
            return ("succeeded" if _has_stopped(part) else None), None
    return "succeeded", None


def _has_stopped(part: Part) -> bool:
    """Whether the run was ended by something in it, and well."""
    stack = [part]
    while stack:
        part = stack.pop()
        if any(step.stops for step in part.steps):
            return True
        if any(choice.closed_by is not None for choice in part.choices):
            return True
        stack.extend(part.children.values())
    return False


def _those_that_count(part: Part, choice: GroupRecord | None) -> Iterator[Part | None]:
    """The children that a series has to come through; None for one that no row knows."""
    if _repeats(part) or _kind(part) is not None:
        if choice is None:
            yield None
        for child in part.in_order():
            if child.has_begun or _repeats(part):
                yield child
        return
    for index, entry in enumerate(part.entry["children"]):
        if index in part.children or entry.get("children") != []:  # an empty group leaves no row
            yield part.children.get(index)


def _link(part: Part, anchors: dict[str, Moment]) -> None:
    """A group begins before all that is in it, and ends after it; a series has an order.

    `anchors`: what the parts of each path have to follow at least.
    """
    anchor = anchors[part.path] if part.start is None or not part.has_begun else part.start
    before: list[Moment] = []
    for child in part.in_order():
        anchors[child.path] = anchor
        if child.start is None:
            continue
        # The way that a `Branch` did not take is told of first.
        comes_after = child.has_begun or _kind(part) is None
        child.start.after += [anchor, *(before if comes_after else [])]
        ends = [] if child.end is None else [child.end]
        if part.end is not None:
            part.end.after += ends
        if not part.is_parallel and child.has_begun:
            before = ends
