"""The command line, `task-pipeline`: runs pipelines and documents, and sees to their runs.

Exit codes: 0 all is well; 1 the run failed, a document has mistakes, or the runs differ; 2 it was
called wrongly, or what it was asked for is not there; 130 somebody pressed Ctrl-C. Needs the extra
`cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import MissingExtraError

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process if None."""
    try:
        from .app import run
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        sys.stderr.write(
            f"task-pipeline: {MissingExtraError('The command line', 'cli', missing)}\n"
        )
        return 2
    return run(arguments)
