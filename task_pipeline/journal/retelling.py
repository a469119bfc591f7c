"""The events of a recorded run, to be told once more.

They are recorded themselves if somebody listened to the run. Else they are made from its
rows: each attempt has begun and ended, each group around it too. What no row says anything
of is not told again: progress within a step, conflicts, circuits, what steps have opened,
series without a step.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import JournalDataError
from ..events import Event, RunCancelled, RunEnded, RunFailed, RunStarted, RunSucceeded
from .outline import Entry
from .records import RUNNING, RunRecord
from .retold import Moment, Retelling, recorded_error

if TYPE_CHECKING:
    from .store import Journal

_RUN_ENDS: dict[str, type[RunEnded]] = {"succeeded": RunSucceeded, "cancelled": RunCancelled}


def recorded_events(journal: Journal, run: RunRecord) -> Iterator[Event]:
    """The events of a run in their order, whatever it has come to.

    Raises `JournalDataError` for what cannot be read, and `EventFormatError` for an event
    that is none.
    """
    kept = journal.events(run.run_id)
    first = next(kept, None)
    if first is not None:
        yield from map(Event.from_json, itertools.chain([first], kept))
        return
    yield from _numbered(run, _moments_of(journal, run))


def _moments_of(journal: Journal, run: RunRecord) -> list[Moment]:
    outline = _outline_of(run)
    told = Retelling(
        outline,
        journal.steps(run.run_id, superseded=True),
        journal.groups(run.run_id),
    )
    began = run.created_at if run.started_at is None else run.started_at
    name = {"path": "", "name": run.name}
    first = Moment(RunStarted, began, {**name, "total": _count(outline)}, is_start=True)
    moments = told.moments(first)
    if run.status != RUNNING:
        kind = _RUN_ENDS.get(run.status, RunFailed)
        ended = began if run.ended_at is None else run.ended_at
        last = Moment(kind, ended, name | {"duration": max(0.0, ended - began)})
        if run.error_type is not None:
            last.facts["error"] = recorded_error(run.error_type, run.error_text)
        last.after = list(moments)
        moments.append(last)
    return moments


def _outline_of(run: RunRecord) -> Entry:
    try:
        outline = json.loads(run.plan)
    except (ValueError, RecursionError) as error:
        raise _broken(run) from error
    if not isinstance(outline, dict) or "group" not in outline:
        raise _broken(run)
    return outline


def _broken(run: RunRecord) -> JournalDataError:
    return JournalDataError(
        f"run {run.run_id!r}: its plan cannot be read, so its events cannot be told again; its "
        "record is damaged",
        run_id=run.run_id,
    )


def _count(outline: Entry) -> int:
    """How many steps are written, without those that each item or round has."""
    count = 0
    stack = [outline]
    while stack:
        entry = stack.pop()
        count += "step" in entry
        stack.extend(entry.get("children", ()))
    return count


def _numbered(run: RunRecord, moments: list[Moment]) -> Iterator[Event]:
    began = latest = moments[0].time or 0.0
    for seq, moment in enumerate(_in_order(moments)):
        latest = max(latest, moment.time or latest)  # as a feed does it
        facts: dict[str, Any] = {
            "run_id": run.run_id,
            "seq": seq,
            "at": datetime.fromtimestamp(latest, UTC),
            "monotonic": latest - began,
            **moment.facts,
        }
        yield moment.kind(**facts)


def _in_order(moments: list[Moment]) -> Iterator[Moment]:
    """By time, and each after those that it can only have come after."""
    waits = {moment: set(moment.after) for moment in moments}
    followers: dict[Moment, list[Moment]] = {moment: [] for moment in moments}
    for moment, before in waits.items():
        for one in before:
            followers[one].append(moment)
    number = {moment: place for place, moment in enumerate(moments)}
    latest = 0.0

    def keys(ready: Iterable[Moment]) -> list[tuple[float, bool, bool, int]]:
        # What has no time of its own follows at once; an end goes before what begins then.
        return [
            (latest if one.time is None else one.time, one.is_start, one.time is None, number[one])
            for one in ready
        ]

    heap = keys(moment for moment, before in waits.items() if not before)
    heapq.heapify(heap)
    while waits:
        # Rows that contradict each other make a circle; time alone decides then.
        moment = moments[(heapq.heappop(heap) if heap else min(keys(waits)))[-1]]
        if moment not in waits:
            continue
        del waits[moment]
        latest = max(latest, moment.time or 0.0)
        yield moment
        for other in followers[moment]:
            if other in waits:
                waits[other].discard(moment)
                if not waits[other]:
                    heapq.heappush(heap, *keys([other]))
