"""Which journal is meant, and which run in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunNotFoundError
from .escaping import visible
from .failures import CommandError

if TYPE_CHECKING:
    from ..journal.records import RunRecord
    from ..journal.store import Journal

VARIABLE = "TASK_PIPELINE_JOURNAL"
FILE = "runs.db"
_SQLITE = "sqlite:///"
_MOST_SHOWN = 5
_PATIENCE = 5.0  # seconds; somebody sits there and waits


def journal_url(given: str | None) -> str:
    """The URL of the journal to look at."""
    if given is not None:
        return given
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    if Path(FILE).is_file():
        return _SQLITE + FILE
    raise CommandError(
        f"which journal? Say --journal URL, set {VARIABLE}, or be in a directory with a {FILE}"
    )


def open_journal_at(given: str | None, creates: bool = False) -> Journal:
    """Open the journal that is meant; a file must be there already unless `creates`."""
    url = journal_url(given)
    if "://" not in url:
        raise CommandError(
            f"a journal is named by a URL, such as {_SQLITE}{FILE} or postgresql://host/name, "
            f"not {url!r}"
        )
    from ..journal.opening import open_journal

    journal = open_journal(url, patience=_PATIENCE)  # says what to install, before it is imported
    from ..journal.address import read_address

    file = read_address(url).file
    # Only looking must not leave a file behind, least of all where a name was mistyped.
    if file is not None and not creates and not file.is_file():
        journal.close()
        raise CommandError(f"there is no file {str(file)!r}, so {url!r} is no journal")
    return journal


def find_run(journal: Journal, given: str) -> RunRecord:
    """The run of an id, or of the one id that begins so."""
    if not given:
        raise CommandError("RUN is the id of a run, or how it begins, not an empty text")
    try:
        return journal.run(given)
    except RunNotFoundError:
        found = [run for run in journal.runs() if run.run_id.startswith(given)]
    if not found:
        raise CommandError(
            f"there is no run {given!r} in the journal, nor one that begins so; "
            "'task-pipeline runs list' lists them"
        )
    if len(found) > 1:
        names = [visible(run.run_id) for run in found[:_MOST_SHOWN]]
        rest = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise CommandError(f"{given!r} may be any of: {', '.join(names)}{rest}; give more of it")
    return found[0]
