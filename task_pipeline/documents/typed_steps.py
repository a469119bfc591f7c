"""A step of a registered type, as a pipeline runs it: its fields rendered, checked, then run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from ..context import PipelineContext
from ..errors import ConfigurationError
from ..steps import PipelineStep
from .mistakes.problems import Path, Problems, from_pydantic, path_text
from .reading.source import Source
from .registry import StepType
from .surroundings import Surroundings

Fields = Mapping[str, Any]
Render = Callable[[Fields, PipelineContext[Any]], Fields]
"""Gives the fields with every template or reference in them replaced by what it stands for."""


class Place(NamedTuple):
    """Where a step stands, for messages: in which document, of which kind, and where in it."""

    source: Source
    path: Path
    kind: Literal["recipe", "workflow"] = "recipe"

    def __str__(self) -> str:
        where = path_text(self.path)
        return f"{where} of {self.source.name}" if self.source.name else where


class DocumentStep(PipelineStep):
    """Base of the types that come with the library.

    - `config`: its fields, rendered; `surroundings`: what the caller has brought; `place`:
      where it stands
    """

    renders_itself: ClassVar[tuple[str, ...]] = ()
    """Fields that reach it as they are written; it renders what is in them itself."""

    config: Any
    surroundings: Surroundings
    place: Place

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[tuple[Path, str, str]]:
        """What is wrong with the fields here: where in them, what was found, what to do.

        Asked when the document is loaded; fields may have templates or references in them.
        """
        return ()


def version_of(*written: Any) -> str:
    """What is the same for two parts of documents that are written alike."""
    text = json.dumps(written, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"fields {digest}"


class TypedStep(PipelineStep):
    """A step of a document. Makes a step of its type for each attempt, of its rendered fields.

    `config` is set if there is nothing to render: then the fields have been checked already.
    """

    _stated: Any = ...  # the version that the document states, in place of the class's

    def __init__(  # each is a part of what it stands for
        self,
        step_id: str,
        kind: StepType,
        fields: Fields,
        config: BaseModel | None,
        render: Render,
        place: Place,
        surroundings: Surroundings,
    ) -> None:
        self.step_id = step_id
        self.description = kind.description or step_id
        self.kind = kind
        self.fields = fields
        self.ready = config
        self.render = render
        self.place = place
        self.surroundings = surroundings
        # What is in a list or dict of the document must be the same in the next run.
        self.is_copied = False
        for value in fields.values():
            if type(value) is list or type(value) is dict:
                self.is_copied = True
                break
        if kind.attributes:
            self._take_attributes(kind)

    @property
    def version(self) -> str:
        """The class's own, if it has one, and that of the fields: with others, it does others."""
        stated = self.kind.version if self._stated is ... else self._stated
        own = f"{stated} " if stated else ""
        return own + version_of(self.kind.name, self.fields)

    @version.setter
    def version(self, stated: str | None) -> None:
        self._stated = stated

    def _take_attributes(self, kind: StepType) -> None:
        """What the class says of itself: its timeout, its retries and so on."""
        # A step of its own knows more than its class: one may compute them in __init__.
        source: Any = kind.step_class if self.ready is None else self.make(self.ready)
        for name in kind.attributes:
            value = getattr(source, name)
            if name not in ("step_id", "version") and not isinstance(value, property):
                setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """For copying and pickling: the config is made again, as its class may be made up."""
        return {**self.__dict__, "ready": self.ready is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As above."""
        model, fields = state["kind"].model, state["fields"]
        ready = model.model_validate(fields) if state["ready"] else None
        self.__dict__.update(state, ready=ready)

    def make(self, config: BaseModel) -> PipelineStep:
        """A step of the type, with these fields."""
        made = self.kind.make(config)
        if isinstance(made, DocumentStep):
            made.surroundings, made.place = self.surroundings, self.place
        return made

    def made(self, context: PipelineContext[Any]) -> PipelineStep:
        """The step to run in that context. Raises `DocumentError` for what it renders to."""
        config = self.ready
        if config is None:
            config = self._check(self.render(self.fields, context))
        elif self.is_copied:
            config = config.model_copy(deep=True)
        return self.make(config)

    def _check(self, fields: Fields) -> BaseModel:
        try:
            return self.kind.model.model_validate(fields)  # not strict: a text may be a number now
        except ValidationError as error:
            problems = Problems()
            place = self.place
            from_pydantic(error, place.source, place.path, problems, self.kind.model, fields)
            problems.raise_if_any()
            raise ConfigurationError(f"{place}: {error.error_count()} mistakes") from error

    def run(self, context: PipelineContext[Any]) -> Any:
        """Run a step of the type."""
        return self.made(context).run(context)


class AsyncTypedStep(TypedStep):
    """The same for a type whose `run` is a coroutine function."""

    async def run(self, context: PipelineContext[Any]) -> Any:
        """Run a step of the type."""
        return await self.made(context).run(context)
