"""The commands about documents and pipelines, as typer reads them. What they do stands beside."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import (
    Allow,
    AsJson,
    Debug,
    DocumentKind,
    Env,
    Format,
    Kind,
    Plugins,
    Root,
    Source,
    document_options,
    example,
)
from .output import Output
from .run_options import Display, DryRun, Given, NewRunId, ResultsFile, RunJournal, Tags


def _run(  # noqa: PLR0913, PLR0917  # each is an option
    source: Source,
    given: Given = None,
    journal: RunJournal = None,
    display: Display = None,
    output: ResultsFile = None,
    dry_run: DryRun = False,
    run_id: NewRunId = None,
    tag: Tags = None,
    plugin: Plugins = None,
    allow: Allow = None,
    env: Env = None,
    root: Root = None,
    kind: Kind = None,
    debug: Debug = False,
) -> int:
    """Run a recipe, a workflow, or a pipeline in Python.

    Exit status: 0 it succeeded, 1 it failed, 2 it was called wrongly or the document has
    mistakes, 130 it was interrupted.
    """
    from .given import parse_given, read_given
    from .graphing import show_plan
    from .running import RunSettings, run_pipeline
    from .sources import load_source

    options = document_options(plugin, kind, allow, root, env)
    keys = parse_given(given or ())
    pipeline = load_source(source, options)
    if dry_run:
        return show_plan(Output(), pipeline)
    settings = RunSettings(
        source,
        options,
        read_given(keys),
        journal,
        display,
        output,
        run_id,
        tuple(tag or ()),
    )
    return run_pipeline(pipeline, settings)


def _validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Recipes and workflows.")],
    plugin: Plugins = None,
    allow: Allow = None,
    env: Env = None,
    root: Root = None,
    kind: Kind = None,
    debug: Debug = False,
) -> int:
    """Look for mistakes in documents, and run nothing.

    Every mistake is told at once, in one line: file, line, column, where, what, what to do.
    Exit status: 0 there is none, 1 there are some, 2 a file cannot be read.
    """
    from .validating import validate_documents

    return validate_documents(Output(), files, document_options(plugin, kind, allow, root, env))


def _graph(  # noqa: PLR0913, PLR0917  # each is an option
    source: Source,
    wanted: Annotated[
        Format, typer.Option("--format", help="What to write it as.")
    ] = Format.MERMAID,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write it there, and not to standard output."),
    ] = None,
    plugin: Plugins = None,
    allow: Allow = None,
    env: Env = None,
    root: Root = None,
    kind: Kind = None,
    debug: Debug = False,
) -> int:
    """Draw what a recipe, workflow or pipeline would run."""
    from . import graphing
    from .sources import load_source

    target = graphing.target_of(output)
    pipeline = load_source(source, document_options(plugin, kind, allow, root, env))
    return graphing.draw_pipeline(pipeline, wanted, target)


def _schema(
    kind: Annotated[
        DocumentKind, typer.Argument(metavar="recipe|workflow", help="Of which kind of document.")
    ],
    plugin: Plugins = None,
    debug: Debug = False,
) -> int:
    """Write the JSON Schema of recipes or workflows, for editors."""
    from .describing import show_schema
    from .sources import import_plugins

    import_plugins(document_options(plugin, None, None, None, None))
    return show_schema(Output(), kind.value)


def _steps(as_json: AsJson = False, plugin: Plugins = None, debug: Debug = False) -> int:
    """List the types of steps, and their fields."""
    from .describing import show_steps
    from .sources import import_plugins

    import_plugins(document_options(plugin, None, None, None, None))
    return show_steps(Output(), as_json)


def add_commands(application: typer.Typer) -> None:
    """Make these commands part of the program."""
    for name, command, lines in (
        ("run", _run, ("run report.yaml -c day=monday \\", "  --journal sqlite:///runs.db")),
        ("validate", _validate, ("validate flows/*.yaml --allow http",)),
        ("graph", _graph, ("graph flow.yaml --format svg > flow.svg",)),
        ("schema", _schema, ("schema recipe > recipe.schema.json",)),
        ("steps", _steps, ("steps --plugin flows.steps",)),
    ):
        application.command(name, epilog=example(*lines))(command)
