"""`FILE|MODULE:NAME` to a pipeline: a document, or an object in Python."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..pipeline import Pipeline
from ..recording import Recording
from .failures import CommandError
from .finding import FILE, VARIABLE, open_journal_at
from .loading import import_module, load_pipeline
from .options import DocumentOptions

_SUFFIXES = (".json", ".yaml", ".yml")


def load_source(given: str, options: DocumentOptions) -> Pipeline:
    """The pipeline that is meant; the modules of the options are imported before.

    Raises `DocumentError` with all that is wrong with a document.
    """
    file = document_file(given)
    if file is None:
        if ":" not in given:
            raise CommandError(
                f"a pipeline is named as module:name, such as flows.daily:nightly, not {given!r}; "
                "and there is no file of that name"
            )
        _refuse_options(given, options)
        import_plugins(options)
        return load_pipeline(given)
    import_plugins(options)
    return load_document(file, options)


def import_plugins(options: DocumentOptions) -> None:
    """Import the modules that the command line names."""
    for name in options.plugins:
        import_module(name, "a plugin is a module, such as flows.steps")


def load_document(file: Path, options: DocumentOptions) -> Pipeline:
    """The pipeline that a document describes."""
    root = options.root
    if root is not None and not root.is_dir():
        what = "is a file" if root.is_file() else "is not there"
        raise CommandError(f"--root is the folder of a document's files, and {str(root)!r} {what}")
    from ..documents import load_pipeline as load

    try:
        return load(
            file,
            kind=None if options.kind is None else options.kind.value,
            root=root,
            allow={permission.value for permission in options.allow},
            env=options.env,
        )
    except OSError as error:
        raise unreadable(str(file), error) from error


def document_file(given: str) -> Path | None:
    """The file that is meant; None for `module:name`. Raises `CommandError` if there is none."""
    file = Path(given)
    if file.is_dir():
        raise CommandError(f"{given!r} is a folder; name a recipe or workflow in it")
    is_file = file.is_file()
    if file.exists() and not is_file:
        raise CommandError(f"{given!r} is neither a file nor a folder")
    if file.suffix.lower() == ".py":
        raise CommandError(f"{given!r} is Python: name the pipeline in it, as {file.stem}:pipeline")
    if is_file:
        return file
    if file.suffix.lower() in _SUFFIXES:
        raise CommandError(f"there is no file {given!r}, looked for from {str(Path.cwd())!r}")
    return None


def unreadable(name: str, error: OSError) -> CommandError:
    """What to say of a file that cannot be read."""
    return CommandError(f"{name!r} cannot be read: {error.strerror or error}")


@contextlib.contextmanager
def recorded(pipeline: Pipeline, url: str | None, creates: bool) -> Iterator[None]:
    """Have a pipeline recorded in the journal of a URL, else in its own or the environment's.

    With `creates`, a file that is not there is made; and what just lies in the folder is not
    taken for the journal.
    """
    is_its_own = url is None and pipeline.journal is not None
    is_said = url is not None or bool(os.environ.get(VARIABLE))
    if is_its_own or not (is_said or (Path(FILE).is_file() and not creates)):
        yield
        return
    before = pipeline._recording
    with open_journal_at(url, creates=creates) as journal:
        # Not a pipeline of its own: what has subscribed to this one is to hear of the run.
        pipeline._recording = Recording(journal)
        try:
            yield
        finally:
            pipeline._recording = before


def _refuse_options(given: str, options: DocumentOptions) -> None:
    said = {
        "--kind": options.kind,
        "--allow": options.allow,
        "--root": options.root,
        "--env": options.env,
    }
    wrong = [name for name, value in said.items() if value]
    if wrong:
        raise CommandError(
            f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for documents, and {given!r} "
            "is not the name of a file"
        )
