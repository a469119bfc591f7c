"""`runs resume`: a run goes on, in this process."""

from __future__ import annotations

import time
from typing import Any

from ..display.text import counted
from ..errors import (
    ConfigurationError,
    JournalError,
    MissingExtraError,
    PipelineDefinitionError,
    RunNotFoundError,
)
from ..pipeline import Pipeline
from .failures import FAILED, INTERRUPTED, OK, CommandError, ResumeFailed
from .finding import find_run
from .output import Output
from .telling import named_line
from .times import duration_text
from .wording import state_cell

_REFUSALS = (JournalError, ConfigurationError, MissingExtraError, PipelineDefinitionError)


def resume_run(output: Output, pipeline: Pipeline, given: str, **choices: Any) -> int:
    """Resume the run of an id or its beginning; `choices` are keywords of `Pipeline.resume`."""
    journal = pipeline.journal
    if journal is None:
        raise CommandError(
            "the pipeline has no journal to resume from; give it one: "
            "Pipeline([...], journal='sqlite:///runs.db'), or say --journal URL"
        )
    before = find_run(journal, given)
    run_id, shown = before.run_id, output.show(before.run_id)
    began = time.monotonic()
    try:
        context = pipeline.resume(run_id, **choices)
    except KeyboardInterrupt as error:
        raise ResumeFailed(f"interrupted; run {run_id} can be resumed", INTERRUPTED) from error
    except BaseException as error:
        after = _read(pipeline, run_id)
        has_begun = after is not None and after.resumes != before.resumes
        if isinstance(error, _REFUSALS) and not has_begun:
            raise  # nothing has failed but the command
        text = f"run {run_id} failed: {named_line(error)}"
        raise ResumeFailed(text, FAILED) from error
    took = duration_text(time.monotonic() - began)
    run = journal.run(run_id)
    errors = len(context.errors)
    noted = f", with {counted(errors, 'error')} in the context" if errors else ""
    output.line(f"run {shown} ", state_cell(output, run.state), f" after {took}{noted}")
    return OK if run.status == "succeeded" else FAILED


def _read(pipeline: Pipeline, run_id: str) -> Any:
    try:
        return None if pipeline.journal is None else pipeline.journal.run(run_id)
    except (JournalError, RunNotFoundError):  # what the run raised matters more
        return None
