"""`runs diff`: two runs, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..display.text import counted
from ..journal.comparison import RunDiff, StepDiff, StepSide, compare_runs
from .escaping import visible
from .failures import FAILED, OK
from .finding import find_run
from .output import Cell, Column, Output
from .times import duration_text
from .wording import state_cell

if TYPE_CHECKING:
    from ..journal.store import Journal

_STEPS = (
    Column("STEP"),
    Column("PATH"),
    Column("STATUS A"),
    Column("STATUS B"),
    Column("TIME A", is_number=True),
    Column("TIME B", is_number=True),
    Column("DIFFERS"),
)
_CHANGES = (
    Column("STEP"),
    Column("PATH"),
    Column("WHAT"),
    Column("A", gives_way=True),
    Column("B", gives_way=True),
)
_SHOWN = 20  # changes of one step
_LONGEST = 200


def diff_runs(output: Output, journal: Journal, first: str, second: str, as_json: bool) -> int:
    """Compare two runs, and return 1 if they differ."""
    found = compare_runs(journal, find_run(journal, first).run_id, find_run(journal, second).run_id)
    if as_json:
        output.document(found.to_dict())
    else:
        _show(output, found)
    return FAILED if found else OK


def _show(output: Output, found: RunDiff) -> None:
    output.line("A  ", Cell(output.show(found.run_a), "bold"))
    output.line("B  ", Cell(output.show(found.run_b), "bold"))
    output.line("")
    output.table(_STEPS, [_row(output, step) for step in found.steps])
    changes = list(_changes(output, found))
    if changes:
        output.line("")
        output.table(_CHANGES, changes)
    count = sum(step.differs for step in found.steps)
    output.line("")
    if found:
        output.line(f"the runs differ: {count} of {counted(len(found.steps), 'step')}")
    else:
        output.line("the runs do not differ")


def _row(output: Output, step: StepDiff) -> list[Cell | str]:
    sides = (step.a, step.b)
    return [
        output.show(step.step_id),
        output.show(step.path),
        *(state_cell(output, "" if side is None else side.status) for side in sides),
        *(duration_text(None if side is None else side.duration) for side in sides),
        Cell("yes", "bold") if step.differs else "no",
    ]


def _changes(output: Output, found: RunDiff) -> Iterator[list[Cell | str]]:
    for change in found.changes:
        yield _change(output, ("", "", change.path), change.a, change.b)
    if found.omitted:
        yield ["", "", f"and {found.omitted} more", "", ""]
    for step in found.steps:
        a, b = step.a, step.b
        if a is None or b is None:
            yield _change(output, (step.step_id, step.path, "step"), _there(a), _there(b))
            continue
        for name in ("status", "error"):
            old, now = getattr(a, name), getattr(b, name)
            if old != now:
                yield _change(output, (step.step_id, step.path, name), old, now)
        for change in step.changes[:_SHOWN]:
            yield _change(output, (step.step_id, step.path, change.path), change.a, change.b)
        rest = len(step.changes) - len(step.changes[:_SHOWN]) + step.omitted
        if rest:
            names = output.show(step.step_id), output.show(step.path)
            yield [*names, f"and {rest} more", "", ""]


def _there(side: StepSide | None) -> str | None:
    return None if side is None else side.status


def _change(
    output: Output, where: tuple[str, str, str], old: str | None, now: str | None
) -> list[Cell | str]:
    return [
        *map(output.show, where),
        Cell(_short(output, old), "red"),
        Cell(_short(output, now), "green"),
    ]


def _short(output: Output, text: str | None) -> str:
    if text is None:
        return ""
    shown = visible(text, output.encoding)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 4]} ..."
