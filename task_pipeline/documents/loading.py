"""`load_pipeline`: a recipe or a workflow in, a pipeline out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from ..config import PipelineConfig
from ..errors import ConfigurationError, PipelineDefinitionError
from ..groups import TaskStep
from ..pipeline import Pipeline
from .mistakes.problems import Problems
from .reading.source import Source, read_source
from .registry import Handlers
from .surroundings import Handler, Surroundings, permissions

if TYPE_CHECKING:
    from ..journal.store import Journal

Kind = Literal["recipe", "workflow"]
Given = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any]

# What only the steps of a workflow have.
_OF_WORKFLOWS = frozenset(
    {
        "agent_name",
        "else_step",
        "if_false_step",
        "if_true_step",
        "input_mapping",
        "join_policy",
        "loop_body",
        "loop_config",
        "next_step",
        "parallel_steps",
        "then_step",
    }
)


class LoadOptions(TypedDict, total=False):
    """What `load_pipeline` takes beside the document and its kind."""

    base_dir: str | os.PathLike[str] | None
    root: str | os.PathLike[str] | None
    allow: Collection[str]
    env: Collection[str]
    handlers: Mapping[str, Handler]
    agents: Mapping[str, Handler]
    functions: Mapping[str, Handler]
    name: str | None
    config: PipelineConfig | None
    journal: Journal | str | None


class DocumentPipeline(Pipeline):
    """A pipeline that was loaded: what `load_pipeline` returns.

    `kind` is that of its document, which is in `source`.
    """

    _compiles_later = True  # its document has been checked
    kind: Kind
    source: Source


def load_pipeline(
    source: Given, kind: Kind | None = None, **options: Unpack[LoadOptions]
) -> DocumentPipeline:
    """The pipeline that a recipe or workflow describes.

    `source` is the name of a JSON or YAML file, the text itself, or a dict. Its `kind`,
    "recipe" or "workflow", is recognised if it is not given. Everything that is wrong with it
    is reported at once, in one `DocumentError`, before anything runs. The options:

    - `base_dir`: where relative paths start from, of other documents; by default the file's
      own folder, or the working directory
    - `root`: the folder that the document's files must be in, and where their relative paths
      start from; by default `base_dir`
    - `allow`: what else it may do: "shell", "http", "files" (outside of root)
    - `env`: the environment variables that it may read
    - `handlers`, `agents`, `functions`: the application's functions, by the names that the
      document calls them by, before those that are registered
    - `name`, `config`, `journal`: as of any `Pipeline`; the name is else the document's own

    Raises `DocumentError`, and `MissingExtraError` for YAML or a template without the extra
    `documents`.

    ```python
    from task_pipeline import PipelineContext, load_pipeline

    pipeline = load_pipeline(
        {"steps": [{"type": "set_context", "key": "greeting", "value": "Hello, {{ name }}"}]}
    )
    context = pipeline.run(PipelineContext(results={"name": "Ada"}))
    assert context.results["greeting"] == "Hello, Ada"
    ```
    """
    _require_options(kind, options)
    base_dir = options.get("base_dir")
    read = read_source(source, base_dir=None if base_dir is None else Path(base_dir))
    surroundings = _surroundings(read, options)
    problems = Problems()
    found = kind or recognised(read.value)
    steps = compile_document(read, found, surroundings, problems)
    config = options.get("config")
    if found == "workflow":
        from .workflows.native import pipeline_config

        own = pipeline_config(read, surroundings, problems)
        config = config or own
    problems.raise_if_any()
    name = options.get("name") or _own_name(read)
    pipeline = DocumentPipeline(steps, config, name=name, journal=options.get("journal"))
    pipeline.kind, pipeline.source = found, read
    return pipeline


def compile_document(
    source: Source, kind: Kind, surroundings: Surroundings, problems: Problems
) -> list[TaskStep]:
    """The steps of a document, and into `problems` all that is wrong with it."""
    if kind == "workflow":
        from .workflows import compile_workflow

        return compile_workflow(source, surroundings, problems)
    from .recipes import compile_recipe

    return compile_recipe(source, surroundings, problems)


def recognised(document: Any) -> Kind:
    """What kind of document it is: a workflow has a graph of steps, a recipe a list."""
    if not isinstance(document, Mapping):
        return "recipe"
    steps = document.get("steps")
    if isinstance(steps, Mapping) or not document.keys().isdisjoint(("start_step", "workflow_id")):
        return "workflow"
    if steps is None and not _OF_WORKFLOWS.isdisjoint(document):
        return "workflow"  # a step of one, that lacks what should be around it
    if isinstance(steps, list) and any(
        isinstance(step, Mapping) and not _OF_WORKFLOWS.isdisjoint(step) for step in steps
    ):
        return "workflow"
    return "recipe"


def _surroundings(source: Source, options: LoadOptions) -> Surroundings:
    root = options.get("root")
    env = options.get("env") or ()
    return Surroundings(
        folder=source.folder,
        root=source.folder if root is None else Path(root),
        allow=permissions(options.get("allow") or ()),
        env=frozenset((env,) if isinstance(env, str) else env),
        handlers=Handlers(options.get("handlers") or {}),
        agents=dict(options.get("agents") or {}),
        functions=dict(options.get("functions") or {}),
    )


def _require_options(kind: object, options: LoadOptions) -> None:
    if kind not in (None, "recipe", "workflow"):
        raise ConfigurationError(f'kind must be "recipe" or "workflow", not {kind!r}')
    unknown = sorted(options.keys() - LoadOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"load_pipeline() has no {', '.join(unknown)}")
    problems = []
    for name in ("handlers", "agents", "functions"):
        given: Any = options.get(name) or {}
        if not isinstance(given, Mapping):
            problems.append(f"{name} must be a dict of functions, not {given!r:.60}")
            continue
        problems += [
            f"{name}: {key!r} must be a function, not {function!r:.60}"
            for key, function in given.items()
            if not callable(function)
        ]
    if problems:
        raise PipelineDefinitionError(problems)


def _own_name(source: Source) -> str | None:
    """What the document calls itself, else its file's name."""
    if isinstance(source.value, Mapping):
        for key in ("name", "workflow_id"):
            name = source.value.get(key)
            if isinstance(name, str) and name.strip():
                return name
    return None if source.file is None else source.file.stem
