"""`run`: a pipeline or a document, from its data to its results."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ..context import PipelineContext
from ..display.text import counted
from ..engine.feed import new_run_id
from ..engine.run import Run
from ..errors import MissingExtraError, RunCancelledError
from ..pipeline import Pipeline
from .displaying import possible, showing
from .escaping import visible
from .failures import FAILED, INTERRUPTED, MISUSE, OK, CommandError, RunFailed
from .options import DisplayMode, DocumentOptions
from .places import place_in
from .sources import recorded
from .telling import failure_text, parts_of
from .times import duration_text
from .writing import Write, write_what_is_there, written_to

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run is to be run: what is said on the command line beside its pipeline."""

    source: str
    options: DocumentOptions
    results: dict[str, Any]
    journal: str | None = None
    show: DisplayMode | None = None
    output: str | None = None
    run_id: str | None = None
    tags: Sequence[str] = ()


def run_pipeline(pipeline: Pipeline, settings: RunSettings) -> int:
    """Run it, show it, and write its results. Raises `RunFailed` if it does not end well."""
    with (
        written_to(settings.output) as (shown_on, write),
        recorded(pipeline, settings.journal, creates=True),
    ):
        if settings.tags and pipeline.journal is None:
            raise CommandError("--tag is for runs that are recorded; say --journal URL, too")
        return _run(pipeline, settings, shown_on, write)


def _run(
    pipeline: Pipeline,
    settings: RunSettings,
    shown_on: TextIO,
    write: Write | None,
) -> int:
    context = PipelineContext[Any](results=settings.results)
    run_id = new_run_id() if settings.run_id is None else settings.run_id
    show = possible(settings.show, shown_on)
    began = time.monotonic()
    try:
        with showing(pipeline, show, shown_on):
            _see_through(pipeline, context, run_id, settings.tags)
    except _Ended as ended:
        error = ended.error
        raise _failure(pipeline, settings, run_id, error, context, write) from error
    if write is not None:
        try:
            write(context.results)
        except CommandError as error:
            raise RunFailed([f"the run succeeded, but {error}"], FAILED) from error
    errors = context.errors
    if errors:
        first = failure_text(errors[0], place_in(pipeline))
        sys.stderr.write(
            f"task-pipeline: it went on after {counted(len(errors), 'error')}: {first}\n"
        )
    if show is not DisplayMode.NONE and pipeline.journal is not None:
        took = duration_text(time.monotonic() - began)
        shown_on.write(f"run {visible(run_id)} succeeded after {took}\n")
    return OK


class _Ended(Exception):
    """A run is over, and not well: its error, or None if somebody has pressed Ctrl-C."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(error)
        self.error = error


def _see_through(
    pipeline: Pipeline, context: PipelineContext[Any], run_id: str, tags: Sequence[str]
) -> None:
    """Run it, in the background: so Ctrl-C cancels the run, and cuts no step in the middle.

    Raises `_Ended`; anything else means that the run could not begin.
    """
    run = pipeline.start(context, run_id=run_id, tags=tuple(tags))
    is_interrupted = False
    try:
        try:
            _wait_for(run)
        except KeyboardInterrupt:
            is_interrupted = True
            run.cancel()
        run.result()  # it may have been over already
    except (Exception, SystemExit) as error:
        is_cancelled = is_interrupted and isinstance(error, RunCancelledError)
        raise _Ended(None if is_cancelled else error) from error


def _wait_for(run: Run[Any]) -> None:
    """Wait for a run's end. Ctrl-C is seen whenever it comes.

    A thread that waits without a limit does not see one that came just before it began to.
    """
    over = threading.Event()

    def watch() -> None:
        with contextlib.suppress(BaseException):  # whoever asks for the result is told
            run.result()
        over.set()

    threading.Thread(target=watch, name="task-pipeline-watch", daemon=True).start()
    while not over.wait(_SECONDS_BETWEEN_LOOKS):
        pass


def _failure(
    pipeline: Pipeline,
    settings: RunSettings,
    run_id: str,
    error: BaseException | None,
    context: PipelineContext[Any],
    write: Write | None,
) -> RunFailed:
    """What to say of a run that has not ended well; what it came to is written."""
    told = "interrupted" if error is None else failure_text(error, place_in(pipeline))
    lines = [told if pipeline.journal is None else f"run {visible(run_id)}: {told}"]
    if write is not None:
        status = "cancelled" if error is None else "failed"
        lines += write_what_is_there(write, context, status, run_id, told)
    if pipeline.journal is not None:
        lines.append(f"resume it with: {resume_command(settings, run_id)}")
    if error is None:
        return RunFailed(lines, INTERRUPTED)
    is_missing = any(isinstance(part, MissingExtraError) for part in parts_of(error))
    return RunFailed(lines, MISUSE if is_missing else FAILED)


def resume_command(settings: RunSettings, run_id: str) -> str:
    """What to type to go on with a run; without the password of its journal."""
    options = settings.options
    words = ["task-pipeline", "runs", "resume", run_id, settings.source]
    if settings.journal is not None:
        from ..journal.address import read_address

        address = read_address(settings.journal)
        hides = address.file is None and address.url.password is not None
        words += ["--journal", address.shown if hides else settings.journal]
    words += [word for name in options.plugins for word in ("--plugin", name)]
    if options.kind is not None:
        words += ["--kind", options.kind.value]
    words += [word for name in options.allow for word in ("--allow", name.value)]
    if options.root is not None:
        words += ["--root", str(options.root)]
    words += [word for name in options.env for word in ("--env", name)]
    return visible(shlex.join(words))
