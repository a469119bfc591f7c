"""The options and arguments that several commands have, as typer reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .finding import FILE, VARIABLE


class Session:
    """What holds for one call of the program."""

    debug = False


def _set_debug(context: typer.Context, value: bool) -> None:
    if value:
        context.ensure_object(Session).debug = True


class Permission(StrEnum):
    """What a document may be allowed to do."""

    SHELL = "shell"
    HTTP = "http"
    FILES = "files"


class DocumentKind(StrEnum):
    """What a document can be."""

    RECIPE = "recipe"
    WORKFLOW = "workflow"


class DisplayMode(StrEnum):
    """How a run is shown while it goes on."""

    LIVE = "live"
    LINES = "lines"
    NONE = "none"


class Format(StrEnum):
    """The formats of a picture."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """What the caller brings to a document: what it is, what it may do, who does its work."""

    plugins: tuple[str, ...] = ()
    kind: DocumentKind | None = None
    allow: tuple[Permission, ...] = ()
    root: Path | None = None
    env: tuple[str, ...] = ()


def document_options(
    plugins: list[str] | None,
    kind: DocumentKind | None,
    allow: list[Permission] | None,
    root: Path | None,
    env: list[str] | None,
) -> DocumentOptions:
    """The same, as typer has read them."""
    return DocumentOptions(tuple(plugins or ()), kind, tuple(allow or ()), root, tuple(env or ()))


def example(*lines: str) -> str:
    """The end of a command's help: how it is typed, in lines that are not filled."""
    first, *rest = lines
    return "\n".join(
        ["\b", "Example:", f"  task-pipeline {first}", *(f"  {line}" for line in rest)]
    )


RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or how it begins.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODULE:NAME",
        help="A recipe or workflow in JSON or YAML, or a pipeline in Python, such as "
        "flows.daily:nightly.",
    ),
]
JournalUrl = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="URL",
        help=f"Such as sqlite:///runs.db or postgresql://host/name. Else ${VARIABLE}, "
        f"else the file {FILE} here.",
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one document of JSON.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        help="Import this module of yours first: what it registers, documents may name. "
        "May be repeated, as the next two.",
    ),
]
Allow = Annotated[
    list[Permission] | None,
    typer.Option(
        metavar="shell|http|files",
        help="What a document may do: run commands, call HTTP endpoints, use files outside "
        "of --root.",
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="An environment variable that a document may read."),
]
Root = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where a document's files are; else its own folder."),
]
Kind = Annotated[
    DocumentKind | None, typer.Option(help="What the document is, if it does not show.")
]
