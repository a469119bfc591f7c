"""`validate`: all mistakes in documents, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..compiler import compile_plan
from ..errors import DocumentError, PipelineDefinitionError
from .escaping import visible
from .failures import FAILED, MISUSE, OK, CommandError, error_line, problem_lines
from .options import DocumentOptions
from .output import Output
from .sources import document_file, import_plugins, load_document


def validate_documents(output: Output, names: Sequence[str], options: DocumentOptions) -> int:
    """Look at every file; 1 if there are mistakes in one, 2 if one cannot be read."""
    import_plugins(options)
    worst = OK
    told: set[str] = set()
    for name in names:
        try:
            found = _mistakes(name, options)
        except CommandError as error:
            sys.stdout.flush()
            sys.stderr.write(f"task-pipeline: {error_line(error)}\n")
            worst = MISUSE
            continue
        for line in found:
            if line not in told:  # a mistake in a recipe that others run is theirs, too
                output.line(visible(line, output.encoding))
        told.update(found)
        if not found:
            output.line(f"{output.show(name)}: no mistakes")
        elif worst == OK:
            worst = FAILED
    return worst


def _mistakes(name: str, options: DocumentOptions) -> list[str]:
    file = document_file(name)
    if file is None:
        raise CommandError(f"there is no file {name!r}")
    try:
        compile_plan(load_document(file, options))
    except PipelineDefinitionError as error:
        place = "" if isinstance(error, DocumentError) else f"{visible(name)}: "
        lines = [f"{place}{line}" for line in problem_lines(error)]
        if error.more:
            lines.append(f"{visible(name)}: and {error.more:,} more")
        return lines
    return []
