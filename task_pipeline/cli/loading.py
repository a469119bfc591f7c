"""`module:name` to the object of that name, as of a program in the current directory."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from ..context import PipelineContext
from ..pipeline import Pipeline
from .failures import CommandError


def load_pipeline(given: str) -> Pipeline:
    """The pipeline that `module:name` names."""
    found = _load(given, "a pipeline")
    if not isinstance(found, Pipeline):
        hint = "; give the name of the pipeline it makes" if callable(found) else ""
        raise CommandError(f"{given} must be a Pipeline, not {_kind(found)}{hint}")
    return found


def load_context(given: str) -> PipelineContext[Any]:
    """The context that `module:name` makes when it is called, or is."""
    found = _load(given, "a context")
    try:
        made = found() if callable(found) else found
    except (Exception, SystemExit) as error:
        raise CommandError(f"{given} raised {_told(error)}") from error
    if not isinstance(made, PipelineContext):
        raise CommandError(f"{given} must make a PipelineContext, not {_kind(made)}")
    return made


def import_module(name: str, what: str) -> Any:
    """The module of that name; `what` says what such a name is to be."""
    if not all(map(str.isidentifier, name.split("."))):
        raise CommandError(f"{what}, not {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:  # a script begins where it is installed, not where it is called
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise CommandError(f"there is no module {missing!r}, looked for from {here}") from error
        raise CommandError(f"module {name!r} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise CommandError(f"module {name!r} raised {_told(error)}") from error


def _load(given: str, what: str) -> Any:
    module_name, colon, name = given.partition(":")
    parts = name.split(".")
    if not colon or not all(map(str.isidentifier, [*module_name.split("."), *parts])):
        raise CommandError(
            f"{what} is named as module:name, such as flows.daily:nightly, not {given!r}"
        )
    found = import_module(module_name, "")
    for number, part in enumerate(parts):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            where = ".".join([module_name, *parts[:number]])
            raise CommandError(f"{where!r} has no {part!r}") from error
    return found


def _kind(thing: object) -> str:
    name = type(thing).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
