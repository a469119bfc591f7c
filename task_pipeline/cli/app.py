"""The commands and their options, as typer reads them. What they do stands beside."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..display.text import counted
from ..errors import DocumentError
from .commands import add_commands
from .differing import diff_runs
from .documents import tree_document
from .failures import (
    INTERRUPTED,
    MISUSE,
    NOBODY_READS,
    CommandError,
    ResumeFailed,
    RunFailed,
    error_line,
    problem_lines,
    traceback_lines,
)
from .finding import FILE, VARIABLE, find_run, open_journal_at
from .keeping import delete_run, export_run, import_document, prune_runs, read_document
from .listing import list_runs
from .options import (
    Allow,
    AsJson,
    Debug,
    DisplayMode,
    Env,
    JournalUrl,
    Kind,
    Plugins,
    Root,
    RunId,
    Session,
    Source,
    document_options,
    example,
)
from .output import Output
from .run_options import ResultsFile, ResumeDisplay
from .showing import show_tree
from .timeline import show_timeline
from .times import parse_duration, parse_time
from .tree import build_tree

PROGRAM = "task-pipeline"


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class OnChanged(StrEnum):
    """What to do about a plan that has changed."""

    ERROR = "error"
    RERUN_CHANGED = "rerun_changed"
    IGNORE = "ignore"


class OnUncertain(StrEnum):
    """What to do about a step that was cut in the middle and must not run twice."""

    ERROR = "error"
    RERUN = "rerun"
    SKIP = "skip"


_QUIET: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
application = typer.Typer(**_QUIET)
runs = typer.Typer(**_QUIET, add_completion=False)
add_commands(application)
application.add_typer(runs, name="runs")


@application.callback(epilog=example("run report.yaml -c day=monday"))
def _program() -> None:
    """Run pipelines, recipes and workflows, and see to their runs."""


@runs.callback(epilog=example("runs list --status failed --since 2d"))
def _runs() -> None:
    """List, show, resume, compare and keep runs."""


@runs.command("list", epilog=example("runs list --status failed --since 2d"))
def _list(  # noqa: PLR0913, PLR0917  # each is an option
    status: Annotated[
        State | None,
        typer.Option(metavar="STATE", help=f"Only those that stand so: {', '.join(State)}."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this pipeline.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="2d, 3h, 1h30m, or a date or time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="As --since.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_json: AsJson = False,
    journal: JournalUrl = None,
    debug: Debug = False,
) -> None:
    """List runs, the newest first."""
    first = None if since is None else parse_time(since, "--since")
    last = None if until is None else parse_time(until, "--until")
    with open_journal_at(journal) as opened:
        found = opened.runs(
            status=None if status is None else status.value,
            name=name,
            tag=tag,
            since=first,
            until=last,
            limit=limit,
        )
    list_runs(Output(), found, as_json, time.time())


@runs.command("show", epilog=example("runs show 2026-11-21 --timeline"))
def _show(
    run: RunId,
    as_json: AsJson = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="Bars over time.")] = False,
    journal: JournalUrl = None,
    debug: Debug = False,
) -> None:
    """Show one run: the tree of its steps with status, attempts, duration and error."""
    if as_json and timeline:
        raise CommandError("--json and --timeline are two ways to show a run; say one of them")
    with open_journal_at(journal) as opened:
        record = find_run(opened, run)
        steps, groups = opened.steps(record.run_id, superseded=True), opened.groups(record.run_id)
    now, output = time.time(), Output()
    root = build_tree(record, steps, groups, now)
    if as_json:
        output.document(tree_document(record, root, now))
    elif timeline:
        show_timeline(output, record, root, now)
    else:
        show_tree(output, record, root)


@runs.command(
    "resume",
    epilog=example("runs resume 2026-11-21 flow.yaml \\", "  --journal sqlite:///runs.db"),
)
def _resume(  # noqa: PLR0913, PLR0917  # each is an option
    run: RunId,
    source: Source,
    from_step: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Run this step and all after it again."),
    ] = None,
    on_changed: Annotated[
        OnChanged, typer.Option(help="If the pipeline is not what it was.")
    ] = OnChanged.ERROR,
    on_uncertain: Annotated[
        OnUncertain, typer.Option(help="If a step that is not idempotent was cut in the middle.")
    ] = OnUncertain.ERROR,
    context: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FACTORY", help="What makes the context to resume with."),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Where the run is recorded. Else the pipeline's own journal, else ${VARIABLE}, "
            f"else the file {FILE} here.",
        ),
    ] = None,
    display: ResumeDisplay = DisplayMode.NONE,
    output: ResultsFile = None,
    plugin: Plugins = None,
    allow: Allow = None,
    env: Env = None,
    root: Root = None,
    kind: Kind = None,
    debug: Debug = False,
) -> int:
    """Resume a run with the pipeline or document it is of."""
    # Only here: whoever just looks at runs need not wait for all that runs them.
    from .loading import load_context
    from .resuming import Shown, resume_run
    from .sources import load_source, recorded
    from .writing import written_to

    loaded = load_source(source, document_options(plugin, kind, allow, root, env))
    with written_to(output) as (shown_on, write), recorded(loaded, journal, creates=False):
        return resume_run(
            loaded,
            run,
            Shown(display, shown_on, write),
            from_step=from_step,
            on_changed=on_changed.value,
            on_uncertain=on_uncertain.value,
            context=None if context is None else load_context(context),
        )


@runs.command("diff", epilog=example("runs diff 2026-11-20 2026-11-21"))
def _diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The one.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The other.")],
    as_json: AsJson = False,
    journal: JournalUrl = None,
    debug: Debug = False,
) -> int:
    """Compare two runs step by step; the exit code is 1 if they differ."""
    with open_journal_at(journal) as opened:
        return diff_runs(Output(), opened, first, second, as_json)


@runs.command("delete", epilog=example("runs delete 2026-11-20 --yes"))
def _delete(
    run: RunId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    journal: JournalUrl = None,
    debug: Debug = False,
) -> int:
    """Delete a run that is not under way."""
    with open_journal_at(journal) as opened:
        return delete_run(Output(), opened, run, yes, typer.confirm)


@runs.command("prune", epilog=example("runs prune --older-than 30d"))
def _prune(
    older_than: Annotated[str, typer.Option(metavar="TIME", help="Such as 30d.")],
    keep_failed: Annotated[bool, typer.Option(help="Whether those that failed stay.")] = True,
    journal: JournalUrl = None,
    debug: Debug = False,
) -> int:
    """Delete the runs that ended so long ago."""
    age = parse_duration(older_than, "--older-than")
    with open_journal_at(journal) as opened:
        return prune_runs(Output(), opened, age, keep_failed)


@runs.command("export", epilog=example("runs export 2026-11-21 > run.json"))
def _export(run: RunId, journal: JournalUrl = None, debug: Debug = False) -> int:
    """Write a run, with all that belongs to it, to standard output."""
    with open_journal_at(journal) as opened:
        return export_run(Output(), opened, run)


@runs.command("import", epilog=example("runs import run.json"))
def _import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- for standard input.")],
    journal: JournalUrl = None,
    debug: Debug = False,
) -> int:
    """Put an exported run into a journal, which is made if it is not there."""
    document = read_document(file)
    with open_journal_at(journal, creates=True) as opened:
        return import_document(Output(), opened, document)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    session = Session()
    given = None if arguments is None else list(arguments)
    try:
        code = application(given, prog_name=PROGRAM, standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as error:  # click's way to end where nobody reads
        if isinstance(error.__context__, BrokenPipeError):
            return _nobody_reads()
        raise
    except BaseException as error:  # noqa: BLE001  # all of them are told, in one line
        return _report(error, session.debug)
    if code == INTERRUPTED:  # some versions of typer see to it themselves
        return _report(KeyboardInterrupt(), shows_traceback=False)
    return code if isinstance(code, int) else 0


def _nobody_reads() -> int:
    """As in `… | head`, once that has seen enough. What is left must not be tried at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return NOBODY_READS


def _report(error: BaseException, shows_traceback: bool) -> int:
    """Say what went wrong, in a line if that is enough, and return the exit code for it."""
    code, before, after = MISUSE, list[str](), list[str]()
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        text, code = "interrupted", INTERRUPTED
    elif isinstance(error, ResumeFailed):
        text, code = error_line(error), error.code
    elif isinstance(error, RunFailed):
        (text, *after), code = error.lines, error.code
    elif isinstance(error, DocumentError):
        before = problem_lines(error)
        text = f"{counted(len(before) + error.more, 'mistake')} in the document; nothing has run"
        before += [f"and {error.more:,} more"] if error.more else []
    elif hasattr(error, "format_message"):  # of typer, whichever click it is made of
        text = error_line(CommandError(error.format_message().replace(": Value error, ", ": ")))
        text += _where_to_read(error)
    else:
        text = error_line(error)
    if shows_traceback:
        sys.stderr.write(traceback_lines(error))
    lines = [*before, *(f"{PROGRAM}: {line}" for line in (text, *after))]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return code


def _where_to_read(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" (see '{context.command_path} --help')"
