"""`dump_pipeline`: a pipeline in, a workflow document out."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...compiler import compile_plan
from ...config import ParallelConfig, PipelineConfig
from ...errors import ConfigurationError, PipelineDefinitionError
from ...groups import Branch, Dynamic, Group, Loop, Map, Parallel, PipelineGroup
from ...pipeline import Pipeline
from ...steps import PipelineStep
from ..loading import DocumentPipeline
from ..mistakes.problem_words import shown
from ..resolving.references import RESERVED
from ..workflows.native_models import PipelineSettings
from .functions import FunctionNames
from .steps import WrittenStep, write_step
from .values import inexact

Entry = dict[str, Any]

_NOT_OF_IDS = re.compile(r"[^A-Za-z0-9_-]+")


def dump_pipeline(
    pipeline: Pipeline, functions: Mapping[str, Callable[..., Any]] | None = None
) -> dict[str, Any]:
    """The workflow document of a pipeline: `load_pipeline` makes an equal pipeline of it.

    It is a dict for `json.dumps`. Groups are written as steps of type `group`, functions by
    the names that they are registered under (`register_function`, `register_agent`, or here
    in `functions`, which `load_pipeline` then needs too), and other steps by the type of
    their class (`register_step`), with its fields. Of a pipeline that was loaded from a
    workflow it is a copy of that. A run goes the same way in both; only a journal takes steps
    of classes for others than they were, as in a document their `version` tells of their fields.

    Raises `PipelineDefinitionError` with all that no document can hold, such as a lambda, each
    with where it stands and what to do.

    ```python
    from task_pipeline import Pipeline, dump_pipeline, load_pipeline, register_function

    @register_function("load_words")
    def load_words(context): context.results["words"] = ["to", "be"]

    @register_function("count")
    def count(context): return len(context.results["words"])

    document = dump_pipeline(Pipeline([load_words, count]))
    assert load_pipeline(document).run().results["count"] == 2
    ```
    """
    if not isinstance(pipeline, Pipeline):
        raise ConfigurationError(f"dump_pipeline takes a Pipeline, not {shown(pipeline)}")
    if isinstance(pipeline, DocumentPipeline):
        return _own_document(pipeline, FunctionNames(functions or {}))
    compile_plan(pipeline)  # reports what is wrong with the lists, which may have changed since
    writer = _Writer(FunctionNames(functions or {}))
    document = writer.document(pipeline)
    if writer.problems:
        raise PipelineDefinitionError(writer.problems)
    return document


def _own_document(pipeline: DocumentPipeline, names: FunctionNames) -> dict[str, Any]:
    """The document that a pipeline was loaded from, with the settings that it was given."""
    origin = pipeline.source.name or "a dict"
    if pipeline.kind != "workflow":
        raise PipelineDefinitionError(
            f"the pipeline was loaded from a recipe ({origin}), and no workflow stands for one; "
            "its document is there already: pipeline.source.value"
        )
    document: dict[str, Any] = copy.deepcopy(dict(pipeline.source.value))
    file = pipeline.source.file
    own_names = (document.get("name"), document.get("workflow_id"), file.stem if file else None)
    if pipeline.name is not None and pipeline.name not in own_names:
        document["name"] = pipeline.name
    if _said_of(pipeline.config) == _said_of(_written_config(document)):
        return document
    writer = _Writer(names)  # it was loaded with other settings than its document has
    settings = writer.pipeline_settings("the pipeline", pipeline.config)
    if writer.problems:
        raise PipelineDefinitionError(writer.problems)
    document.pop("config", None)
    return {**document, "config": settings} if settings else document


def _written_config(document: dict[str, Any]) -> PipelineSettings:
    return PipelineSettings.model_validate(document.get("config") or {})


def _said_of(config: PipelineConfig | PipelineSettings) -> tuple[Any, set[str]]:
    """What settings say, whatever the functions in them are called."""
    return config.model_dump(exclude={"reducers"}), set(config.reducers)


class _Item(NamedTuple):
    """What is to be written: an element of a list, where it stands, and where its id goes."""

    element: Any
    path: str
    is_serial: bool  # what a list means here
    into: list[str]


class _Writer:
    """Writes the steps of one pipeline. Walks in a loop, so nesting may be as deep as it likes."""

    def __init__(self, names: FunctionNames) -> None:
        self.names = names
        self.problems: list[str] = []
        self._steps: dict[str, Entry] = {}
        self._counts: dict[str, int] = {}

    def document(self, pipeline: Pipeline) -> dict[str, Any]:
        document: dict[str, Any] = {}
        if pipeline.name is not None:
            self._require_text("the pipeline", "name", pipeline.name)
            document = {"workflow_id": _plain_id(pipeline.name), "name": pipeline.name}
        self.refuse_what_is_brought(pipeline)
        settings = self.pipeline_settings("the pipeline", pipeline.config)
        top: list[str] = []
        left = _items(pipeline.children, "", False, top)
        while left:
            left += self._write(left.pop())
        if top:
            document["start_step"] = top[0]
        for before, after in itertools.pairwise(top):
            self._steps[before]["next_step"] = after
        if settings:
            document["config"] = settings
        return {**document, "steps": self._steps}

    def _write(self, item: _Item) -> list[_Item]:
        """Write one element; returns what stands in it, the first last."""
        element = item.element
        if isinstance(element, list | tuple):
            kind = "serial" if item.is_serial else "parallel"
            entry = self._open(item, kind, {"type": "group", "group": kind, "name": None})
            entry["steps"] = []
            return _items(element, item.path, not item.is_serial, entry["steps"])
        if isinstance(element, Group):
            return self._group(item, element)
        self._step(item, element)
        return []

    def _open(self, item: _Item, wanted_id: str, entry: Entry) -> Entry:
        """Take an entry in, under an id of its own."""
        step_id = self._own_id(wanted_id)
        self._steps[step_id] = entry
        item.into.append(step_id)
        return entry

    def _own_id(self, wanted: str) -> str:
        plain = found = _plain_id(wanted)
        while found in self._steps or found in RESERVED:
            self._counts[plain] = count = self._counts.get(plain, 1) + 1
            found = f"{plain}-{count}"
        return found

    # Groups

    def _group(self, item: _Item, group: Group) -> list[_Item]:
        named = "without a name" if group.name is None else repr(group.name)
        where = f"path {item.path}, {type(group).__name__} {named}"
        kind = _kind_of(group)
        if isinstance(group, DocumentPipeline):
            origin = group.source.name or "a dict"
            self.problems.append(
                f"{where}: it was loaded from {origin}, and no document can hold another one's "
                "steps; write it as a step of type sub_workflow or execute_recipe"
            )
            return []
        if kind is None:
            self.problems.append(
                f"{where}: a document has no such group; it has Serial, Parallel, Pipeline, Map, "
                "Branch and Loop"
            )
            return []
        entry = self._open(item, group.name or kind, {"type": "group", "group": kind})
        if group.name is None or group.name != item.into[-1]:
            entry["name"] = group.name
            self._require_text(where, "name", group.name)
        if group.executor is not None:
            self.problems.append(f"{where}: a document cannot hold its executor; take it away")
        if group.collector is not None:
            self.problems.append(f"{where}: a document cannot hold its collector; take it away")
        if not group.critical:
            entry["critical"] = False
        if group.tolerates_failures and kind in ("parallel", "map"):
            entry["tolerates_failures"] = True
        if isinstance(group, Dynamic):
            return self._dynamic(item, group, entry, where)
        if isinstance(group, Parallel):
            self._parallel_settings(group.config, entry)
        if isinstance(group, PipelineGroup):
            if group.progress_callback is not None:
                self.problems.append(f"{where}: {_BROUGHT['progress_callback']}")
            settings = self.pipeline_settings(where, group.config)
            if settings:
                entry["config"] = settings
        entry["steps"] = []
        is_serial = isinstance(group, Parallel)
        return _items(group.children, item.path, is_serial, entry["steps"])

    def _dynamic(self, item: _Item, group: Dynamic, entry: Entry, where: str) -> list[_Item]:
        fields = ["steps"]
        if isinstance(group, Map):
            entry["over"] = self._asked(where, "over", group.over)
            if group.item_key != "item":
                entry["item_key"] = group.item_key
            if group.result_key is not None:
                entry["result_key"] = group.result_key
            self._parallel_settings(group.config, entry)
        elif isinstance(group, Branch):
            entry["condition"] = self._asked(where, "condition", group.condition)
            fields = ["then", "otherwise"]
        else:
            assert isinstance(group, Loop)
            if group.while_ is not None:
                entry["while"] = self._asked(where, "while_", group.while_)
            if group.times is not None:
                entry["times"] = group.times
        for key in ("item_key", "result_key"):
            self._require_text(where, key, entry.get(key))
        below: list[_Item] = []
        for index, (field, child) in enumerate(zip(fields, group.children, strict=False)):
            entry[field] = []
            path = f"{item.path}.{index}"
            if isinstance(child, list | tuple) and len(child) != 1:  # there it is a series too
                below = _items(child, path, False, entry[field]) + below
            else:
                below.insert(0, _Item(child, path, True, entry[field]))
        return below

    def _asked(self, where: str, name: str, value: Any) -> Any:
        """What a dynamic group asks: a key, a list or a registered function."""
        if isinstance(value, str):
            self._require_text(where, name, value)
            return value
        if callable(value):
            found = self.names.name_of(value)
            if found is None:
                self.problems.append(
                    f"{where}: {name} is a function that is registered under no name; register it "
                    "with @register_function, pass functions={name: function}, or name a key of "
                    "results instead"
                )
            return {"function": found}
        items = list(value)
        for problem in inexact(items, name):
            self.problems.append(f"{where}: {problem}")
        return items

    # Settings

    @staticmethod
    def _parallel_settings(config: ParallelConfig | None, entry: Entry) -> None:
        settings = {} if config is None else config.model_dump(mode="json", exclude_unset=True)
        if settings:
            entry["config"] = settings

    def pipeline_settings(self, where: str, config: PipelineConfig) -> Entry:
        """A pipeline's settings, as far as they were set."""
        settings = config.model_dump(mode="json", exclude_unset=True, exclude={"reducers"})
        reducers: dict[str, str] = {}
        for key, reducer in config.reducers.items():
            name = self.names.name_of(reducer)
            if name is None:
                self.problems.append(
                    f"{where}: the reducer of {key!r} is registered under no name; register it "
                    "with @register_function, or pass functions={name: function}"
                )
            else:
                reducers[key] = name
        if reducers:
            settings["reducers"] = reducers
        return settings

    def refuse_what_is_brought(self, pipeline: Pipeline) -> None:
        """What a pipeline was given beside its steps would be lost in a document."""
        given = {
            "executor": pipeline._pool or pipeline.executor,
            "event_bus": pipeline._audience._buses or None,
            "journal": pipeline.journal,
            "progress_callback": pipeline.progress_callback,
        }
        self.problems += [
            f"the pipeline: {_BROUGHT[name]}" for name, value in given.items() if value is not None
        ]

    # Steps

    def _step(self, item: _Item, element: Any) -> None:
        is_class = isinstance(element, PipelineStep)
        found = write_step(element, is_class, self.names, self._own_id)
        if isinstance(found, WrittenStep):
            self._open(item, found.step_id, found.entry)
            return
        self.problems += [f"path {item.path}, {text}" for text in found]

    def _require_text(self, where: str, name: str, text: str | None) -> None:
        if text is not None:
            self.problems += [f"{where}: {problem}" for problem in inexact(text, name)]


_BROUGHT = {
    "executor": "a document cannot hold its executor; run what load_pipeline returns without one, "
    "or dump a Pipeline that has none",
    "event_bus": "a document cannot hold its event_bus; dump a Pipeline that has none, and use "
    "subscribe() of what load_pipeline returns",
    "journal": "a document cannot hold its journal; dump a Pipeline that has none, and give it to "
    "load_pipeline",
    "progress_callback": "a document cannot hold its progress_callback; dump a Pipeline that has "
    "none, and use subscribe() of what load_pipeline returns",
}


def _items(elements: Sequence[Any], path: str, is_serial: bool, into: list[str]) -> list[_Item]:
    """The elements of a list, the last first: they are taken from the end."""
    above = f"{path}." if path else ""
    return [
        _Item(element, f"{above}{index}", is_serial, into)
        for index, element in reversed(list(enumerate(elements)))
    ]


def _kind_of(group: Group) -> str | None:
    if isinstance(group, Dynamic):  # a subclass may ask in ways of its own
        return {Map: "map", Branch: "branch", Loop: "loop"}.get(type(group))
    if isinstance(group, Parallel):
        return "parallel"
    if isinstance(group, PipelineGroup):
        return "pipeline"
    return "serial"


def _plain_id(name: str) -> str:
    """A name with only what an id may have in it."""
    plain = _NOT_OF_IDS.sub("_", name)
    return plain if plain.strip("_-") else "step"
