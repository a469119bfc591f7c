"""`runs resume`: a run goes on, in this process."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from ..display.text import counted
from ..errors import (
    ConfigurationError,
    JournalError,
    MissingExtraError,
    PipelineDefinitionError,
    RunNotFoundError,
)
from ..pipeline import Pipeline
from .displaying import possible, showing
from .failures import FAILED, INTERRUPTED, OK, CommandError, ResumeFailed, error_line
from .finding import find_run
from .options import DisplayMode
from .output import Output
from .telling import named_line
from .times import duration_text
from .wording import state_cell
from .writing import Write, write_what_is_there

_REFUSALS = (JournalError, ConfigurationError, MissingExtraError, PipelineDefinitionError)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a run is to be shown, and where, and what writes its results."""

    show: DisplayMode = DisplayMode.NONE
    file: TextIO = field(default_factory=lambda: sys.stdout)
    write: Write | None = None


def resume_run(pipeline: Pipeline, given: str, shown: Shown, **choices: Any) -> int:
    """Resume the run of an id or its beginning; `choices` are keywords of `Pipeline.resume`."""
    journal = pipeline.journal
    if journal is None:
        raise CommandError(
            "the pipeline has no journal to resume from; give it one: "
            "Pipeline([...], journal='sqlite:///runs.db'), or say --journal URL"
        )
    before = find_run(journal, given)
    run_id = before.run_id
    began = time.monotonic()
    try:
        with showing(pipeline, possible(shown.show, shown.file), shown.file):
            context = pipeline.resume(run_id, **choices)
    except KeyboardInterrupt as error:
        text = f"interrupted; run {run_id} can be resumed"
        text += _written(pipeline, run_id, shown, "cancelled", "interrupted", **choices)
        raise ResumeFailed(text, INTERRUPTED) from error
    except BaseException as error:
        after = _read(pipeline, run_id)
        has_begun = after is not None and after.resumes != before.resumes
        if isinstance(error, _REFUSALS) and not has_begun:
            raise  # nothing has failed but the command
        told = named_line(error)
        text = f"run {run_id} failed: {told}"
        text += _written(pipeline, run_id, shown, "failed", told, **choices)
        raise ResumeFailed(text, FAILED) from error
    took = duration_text(time.monotonic() - began)
    if shown.write is not None:
        try:
            shown.write(context.results)
        except CommandError as error:
            raise ResumeFailed(f"run {run_id} succeeded, but {error}", FAILED) from error
    run, output = journal.run(run_id), Output(shown.file)
    errors = len(context.errors)
    noted = f", with {counted(errors, 'error')} in the context" if errors else ""
    state = state_cell(output, run.state)
    output.line(f"run {output.show(run_id)} ", state, f" after {took}{noted}")
    return OK if run.status == "succeeded" else FAILED


def _written(
    pipeline: Pipeline, run_id: str, shown: Shown, status: str, told: str, **choices: Any
) -> str:
    """Write what a run came to, if that is wanted; what to say if that cannot be done."""
    if shown.write is None:
        return ""
    context = choices.get("context")
    try:
        if context is None:  # the run's own is gone, but what it came to is recorded
            context = pipeline.replay(run_id).context
            assert context is not None  # as it always has one, but of events alone
        lines = write_what_is_there(shown.write, context, status, run_id, told)
    except Exception as error:  # noqa: BLE001  # what the run raised matters more
        lines = [f"what it came to cannot be read: {error_line(error)}"]
    return "".join(f"; {line}" for line in lines)


def _read(pipeline: Pipeline, run_id: str) -> Any:
    try:
        return None if pipeline.journal is None else pipeline.journal.run(run_id)
    except (JournalError, RunNotFoundError):  # what the run raised matters more
        return None
