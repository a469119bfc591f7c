"""`execute_recipe`: the steps of another recipe, in the same context."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path as File
from typing import Any

from pydantic import Field

from ...context import PipelineContext
from ...engine.flow import add_note
from ...errors import ConfigurationError, NotAllowedError
from ...groups import Branch, Serial, TaskStep
from ...pipeline import Pipeline
from ...steps import PipelineStep
from ..mistakes.problems import Problems
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings
from ..templating.templates import has_template
from ..typed_steps import Place, version_of
from .blocks import Block, Builder, Key, RecipeBlock
from .compiling import RecipeCompiler
from .inclusion import find_recipe, places_of, read_recipe
from .rendering import Texts
from .telling import told

MAX_DEPTH = 50
"""How deep recipes may run in one another that are read when they are reached."""

_depth: ContextVar[int] = ContextVar("task_pipeline_recipe_depth", default=0)


class ExecuteRecipeFields(StepConfig):
    """The fields of `execute_recipe`."""

    recipe_path: Key = Field(
        description="The recipe's file: from the folder of this recipe, else from the working "
        "directory."
    )
    context_overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="What is set in the context before it runs. Texts are rendered, and a list, "
        "object, true, false or null that comes out becomes that value.",
    )


@register_step("execute_recipe")
class ExecuteRecipe(RecipeBlock):
    """The steps of another recipe, in the same context."""

    templated = ("recipe_path", "context_overrides")
    config: ExecuteRecipeFields

    @classmethod
    def build(cls, block: Block, builder: Builder) -> TaskStep:
        """The recipe's steps; if it is not known yet which, a step that finds out."""
        config: ExecuteRecipeFields = block.config
        name = block.name
        if block.own_name is None and not has_template(config.recipe_path):
            name = File(config.recipe_path).stem or name
        late = RecipeStep(name, config, block.place, builder.surroundings)
        file = _known_file(config.recipe_path, block.at("recipe_path"), builder)
        included = None if file is None else builder.include(file)
        if included is None:
            return late
        steps = list(included.steps)
        if config.context_overrides:
            steps.insert(0, OverridesStep(config.context_overrides, block.place))
        group = Serial(steps, name)
        if included.guard is None:
            return group
        late.step_id = f"{name} (read again)"
        return Branch(included.guard, group, late, name)

    @classmethod
    def look_at(cls, fields: Mapping[str, Any], place: Place, builder: Builder) -> None:
        """Its recipe."""
        written = fields.get("recipe_path")
        if not isinstance(written, str) or not written:
            return
        at = Place(place.source, (*place.path, "recipe_path"))
        file = _known_file(written, at, builder)
        if file is not None:
            builder.include(file)


def _known_file(written: str, place: Place, builder: Builder) -> File | None:
    """The recipe's file, if there is one already, and it is known which."""
    if has_template(written):
        return None
    try:
        file = find_recipe(written, place.source, builder.surroundings)
    except NotAllowedError as error:
        builder.wrong(place, str(error))
        return None
    if file is None and not builder.may_write:
        builder.wrong(place, *_missing(written, place, builder.surroundings))
    return file


def _missing(written: str, place: Place, surroundings: Surroundings) -> tuple[str, str]:
    looked = places_of(place.source, surroundings)
    return f"there is no recipe {written!r}", f"it was looked for in {looked}"


class OverridesStep(PipelineStep):
    """Sets what the recipe that comes next is given."""

    def __init__(self, overrides: dict[str, Any], place: Place) -> None:
        self.step_id = "context_overrides"
        self.overrides = overrides
        self.place = place

    @property
    def version(self) -> str:
        """What is the same for the same overrides."""
        return version_of(self.overrides)

    def run(self, context: PipelineContext[Any]) -> None:
        """Render all of them, then set them."""
        _override(self.overrides, context, self.place)


def _note_where(error: BaseException, text: str) -> None:
    """Have an error, and all that it gathers, say of which recipe their steps are."""
    stack = [error]
    while stack:
        found = stack.pop()
        add_note(found, text)
        if isinstance(found, BaseExceptionGroup):
            stack.extend(found.exceptions)


def _override(overrides: dict[str, Any], context: PipelineContext[Any], place: Place) -> None:
    texts = Texts(context.results, place)
    context.results.update(texts.in_all(overrides, ("context_overrides",), texts.given))


class RecipeStep(PipelineStep):
    """Reads a recipe when it is reached, and runs it as a pipeline of its own."""

    def __init__(
        self,
        name: str,
        config: ExecuteRecipeFields,
        place: Place,
        surroundings: Surroundings,
    ) -> None:
        self.step_id = name
        self.config = config
        self.place = place
        self.surroundings = surroundings

    @property
    def version(self) -> str:
        """What is the same for the same fields."""
        return version_of(self.config.recipe_path, self.config.context_overrides)

    def run(self, context: PipelineContext[Any]) -> None:
        """Find the recipe, compile it and run it. Raises `DocumentError` for what is wrong."""
        file = self._file(context)
        source = read_recipe(file)
        problems = Problems()
        steps = RecipeCompiler(self.surroundings, problems).recipe(source)
        problems.raise_if_any()
        if _depth.get() >= MAX_DEPTH:
            raise ConfigurationError(
                self._told(
                    f"recipes run in one another more than {MAX_DEPTH} deep",
                    "give the recipe that runs itself a condition that ends it",
                )
            )
        pipeline = Pipeline(steps, name=file.stem)
        _override(self.config.context_overrides, context, self.place)
        before = _depth.set(_depth.get() + 1)
        try:
            pipeline.run(context)
        except Exception as error:
            _note_where(error, f"in the recipe {source.name}")
            raise
        finally:
            _depth.reset(before)

    def _file(self, context: PipelineContext[Any]) -> File:
        texts = Texts(context.results, self.place)
        written = texts.text(self.config.recipe_path, ("recipe_path",))
        try:
            file = find_recipe(written, self.place.source, self.surroundings)
        except NotAllowedError as error:
            raise NotAllowedError(self._told(str(error))) from error
        if file is None:
            raise FileNotFoundError(self._told(*_missing(written, self.place, self.surroundings)))
        return file

    def _told(self, found: str, hint: str = "") -> str:
        return told(self.place, ("recipe_path",), found, hint)
