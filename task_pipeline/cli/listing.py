"""`runs list`: the runs of a journal, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .documents import run_document
from .output import Cell, Column, Output
from .times import duration_text, local_time
from .tree import time_of_run
from .wording import error_text, state_cell

if TYPE_CHECKING:
    from ..journal.records import RunRecord

_COLUMNS = (
    Column("RUN"),
    Column("PIPELINE", gives_way=True),
    Column("STATE"),
    Column("STARTED"),
    Column("DURATION", is_number=True),
    Column("RESUMES", is_number=True, is_optional=True),
    Column("TAGS", is_optional=True),
    Column("ERROR", gives_way=True, is_optional=True),
)


def list_runs(output: Output, runs: Sequence[RunRecord], as_json: bool, now: float) -> None:
    """Write them as a table, or as a document."""
    if as_json:
        output.document({"runs": [run_document(run, now) for run in runs]})
    elif runs or not output.is_terminal:
        output.table(_COLUMNS, [_row(output, run, now) for run in runs])
    else:
        output.line("no such run")


def _row(output: Output, run: RunRecord, now: float) -> list[Cell | str]:
    return [
        Cell(output.show(run.run_id), "bold"),
        output.show(run.name),
        state_cell(output, run.state),
        local_time(run.started_at or run.created_at, output.is_terminal),
        duration_text(time_of_run(run, now)),
        str(run.resumes) if run.resumes or not output.is_terminal else "",
        output.show(",".join(run.tags)),
        error_text(output, run.error_type, run.error_text),
    ]
