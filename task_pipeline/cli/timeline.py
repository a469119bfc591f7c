"""`runs show --timeline`: when each step ran, as bars over one axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len

from ..display.text import UNICODE
from ..journal.records import RUNNING
from .nodes import TreeNode
from .output import Cell, Column, Output
from .showing import labels, show_head
from .times import duration_text
from .wording import style_of

if TYPE_CHECKING:
    from ..journal.records import RunRecord, StepRecord

_LEAST, _MOST = 20, 100  # columns of the axis
_LONG = 0.25  # of a run that was resumed: a rest of more than this part of it is cut out
_SIGNS = {True: ("█", "▒", "─", "┊", "▶"), False: ("#", "x", "-", ":", ">")}

Span = tuple[float, float]


class Axis:
    """Where a moment stands on an axis of about so many columns; long rests may be cut out."""

    def __init__(self, spans: Iterable[Span], width: int, cuts_rests: bool) -> None:
        self._kept = _kept(sorted(spans), cuts_rests)
        self.seconds = sum(end - start for start, end in self._kept)
        room = width - max(0, len(self._kept) - 1)  # one column stands for each rest
        part = room / self.seconds if self.seconds > 0 else 0.0
        self._first: list[int] = []
        self._columns: list[int] = []
        self.rests: list[int] = []
        self.width = 0
        for start, end in self._kept:
            if self._first:
                self.rests.append(self.width)
                self.width += 1
            self._first.append(self.width)
            self._columns.append(max(1, int((end - start) * part)))
            self.width += self._columns[-1]

    def columns(self, span: Span) -> range:
        """The columns of a span, at least one."""
        first, end = self._column(span[0]), self._column(span[1])
        return range(int(first), max(int(first) + 1, math.ceil(end)))

    def _column(self, moment: float) -> float:
        for number, (start, end) in enumerate(self._kept):
            if moment <= end or number == len(self._kept) - 1:
                within = min(max(moment, start), end) - start
                part = within / (end - start) if end > start else 0.0
                columns = self._columns[number]
                return self._first[number] + min(part * columns, columns - 1e-6)
        return 0.0


def show_timeline(output: Output, run: RunRecord, root: TreeNode, now: float) -> None:
    """Write what is known of a run, and a bar for each step and group."""
    show_head(output, run, root)
    rows = list(labels(output, root))
    widest = max(cell_len(label) for label, _ in rows)
    width = min(max(output.width - widest - 16, _LEAST), _MOST)
    present = now if run.is_live else None
    # Of steps alone: a group that was resumed lasts over the time when nobody was at it.
    spans = [span for _, node in rows for _, span in _attempts(node, present)]
    axis = Axis(spans, width, run.resumes > 0)
    title = duration_text(axis.seconds).rjust(axis.width - 1) if spans else ""
    columns = (
        Column("STEP", gives_way=True),
        Column("0" + title),
        Column("DURATION", is_number=True),
    )
    output.table(
        columns,
        [
            (
                label,
                Cell(_bar(output, node, axis, present), style_of(node.state)),
                duration_text(node.duration),
            )
            for label, node in rows
        ],
    )


def _bar(output: Output, node: TreeNode, axis: Axis, present: float | None) -> str:
    work, lost, group, rest, on = _SIGNS[output.signs is UNICODE]
    line = [" "] * max(1, axis.width)
    for column in axis.rests:
        line[column] = rest
    for record, span in _attempts(node, present):
        columns = axis.columns(span)
        _draw(line, columns, work if record.status in {"succeeded", RUNNING} else lost)
        if record.ended_at is None:
            line[columns[-1]] = on
    if not node.is_step:
        found = _span(node.started_at, node.ended_at, present)
        if found is not None and axis.width:
            _draw(line, axis.columns(found), group)
    return "".join(line).rstrip() or " "


def _draw(line: list[str], columns: range, sign: str) -> None:
    for column in columns:
        line[column] = sign


def _attempts(node: TreeNode, present: float | None) -> list[tuple[StepRecord, Span]]:
    """Its attempts that began, and when."""
    found = [
        (record, _span(record.started_at, record.ended_at, present))
        for record in node.attempts
        if record.attempt > 0
    ]
    return [(record, span) for record, span in found if span is not None]


def _span(start: float | None, end: float | None, present: float | None) -> Span | None:
    """From when until when; what was cut off has lasted nobody knows how long."""
    if start is None:
        return None
    until = (start if present is None else present) if end is None else end
    if not (math.isfinite(start) and math.isfinite(until)):
        return None
    return start, max(start, until)  # a clock may have been set back


def _kept(spans: list[Span], cuts_rests: bool) -> list[Span]:
    if not spans:
        return []
    whole = max(end for _, end in spans) - spans[0][0]
    kept = [spans[0]]
    for start, end in spans[1:]:
        last = kept[-1]
        if cuts_rests and start - last[1] > _LONG * whole:
            kept.append((start, end))
        else:
            kept[-1] = (last[0], max(last[1], end))
    return kept
