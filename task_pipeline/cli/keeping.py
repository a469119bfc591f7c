"""`runs delete`, `prune`, `export` and `import`: what is in a journal, and what is to be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display.text import counted
from .escaping import visible
from .failures import OK, CommandError
from .finding import find_run
from .output import Output

if TYPE_CHECKING:
    from ..journal.store import Journal

STDIN = "-"


def delete_run(
    output: Output, journal: Journal, given: str, is_sure: bool, ask: Callable[[str], bool]
) -> int:
    """Delete a run, once somebody has said that it is to be."""
    run = find_run(journal, given)
    shown = output.show(run.run_id)
    if not is_sure:
        if not sys.stdin.isatty():
            raise CommandError(f"nobody is there to ask; say --yes to delete run {run.run_id!r}")
        if not ask(f"Delete run {visible(run.run_id)} ({visible(run.name)}, {run.state})?"):
            output.line("nothing was deleted")
            return OK
    journal.delete(run.run_id)
    output.line(f"deleted run {shown}")
    return OK


def prune_runs(output: Output, journal: Journal, older_than: timedelta, keeps_failed: bool) -> int:
    """Delete the runs that ended so long ago."""
    count = journal.prune(older_than=older_than, keep_failed=keeps_failed)
    output.line(f"deleted {counted(count, 'run')}")
    return OK


def export_run(output: Output, journal: Journal, given: str) -> int:
    """Write a run as one document of JSON."""
    run = find_run(journal, given)
    output.document(journal.export_run(run.run_id))
    return OK


def read_document(file: str) -> Any:
    """The document in a file, or on standard input."""
    where = "standard input" if file == STDIN else repr(file)
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{where} cannot be read: {error.strerror or error}") from error
    try:
        return json.loads(content)
    except RecursionError as error:
        raise CommandError(f"{where} is nested too deeply to be an exported run") from error
    except ValueError as error:  # of the encoding, too
        raise CommandError(f"{where} is not JSON: {error}") from error


def import_document(output: Output, journal: Journal, document: Any) -> int:
    """Put an exported run into a journal."""
    output.line(f"imported run {output.show(journal.import_run(document))}")
    return OK
