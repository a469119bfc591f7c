"""The options of `run` and `runs resume`, as typer reads them."""

from __future__ import annotations

from typing import Annotated

import typer

from .finding import VARIABLE
from .options import DisplayMode

Given = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--context",
        metavar="KEY=VALUE",
        help="What results holds at the start: JSON, or else text; KEY=@FILE for what is in a "
        ".json, .yaml or text file. May be repeated.",
    ),
]
RunJournal = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="URL",
        help="Record the run, in sqlite:///runs.db or postgresql://host/name. Else in the "
        f"pipeline's own journal, else ${VARIABLE}, if it is set.",
    ),
]
Display = Annotated[
    DisplayMode | None,
    typer.Option(
        "--display",
        help="A tree that is redrawn in a terminal, a line for each event, or nothing. By "
        "default live in a terminal, else lines.",
    ),
]
ResumeDisplay = Annotated[
    DisplayMode,
    typer.Option("--display", help="As of run; live only where a tree can be redrawn."),
]
ResultsFile = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write results as JSON, with text for what JSON has no form for; - for standard "
        "output, to which nothing else goes then. Of a run that fails: an object of its status, "
        "run_id, error, errors and results.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only look for mistakes, and show what would run.")
]
NewRunId = Annotated[
    str | None,
    typer.Option("--run-id", metavar="ID", help="What the run is to be known by."),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="TAG", help="To find the run by in its journal. May be repeated."
    ),
]
