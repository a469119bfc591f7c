"""`conditional`: one of two ways on, by a condition that is parsed when the recipe is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, NoReturn

from pydantic import Field

from ...context import PipelineContext
from ...errors import ConditionError, NotAllowedError
from ...groups import Branch, Serial, TaskStep
from ..expressions import Condition, parse
from ..mistakes.problems import Path
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings
from ..templating.templates import MISSING, check_template, look_up, whole_variable
from ..typed_steps import Place, version_of
from .blocks import Block, Builder, RecipeBlock, Way
from .rendering import Texts
from .telling import told


class ConditionalFields(StepConfig):
    """The fields of `conditional`."""

    condition: str | bool = Field(
        description="Such as `{{ count }} > 3 and not file_exists('done.txt')`."
    )
    if_true: Way = Field(default_factory=list, description="Steps that run if it holds.")
    if_false: Way = Field(default_factory=list, description="Steps that run if it does not.")


@register_step("conditional")
class ConditionalBlock(RecipeBlock):
    """One of two series of steps."""

    parsed = ("condition",)
    of_steps = ("if_true", "if_false")
    config: ConditionalFields

    @classmethod
    def build(cls, block: Block, builder: Builder) -> TaskStep:
        """A branch."""
        config: ConditionalFields = block.config
        if_true = builder.way(config.if_true, block.at("if_true"))
        if_false = builder.way(config.if_false, block.at("if_false"))
        chosen = condition_of(config.condition, block.at("condition"), builder)
        otherwise = Serial(if_false, "if_false") if if_false else None
        return Branch(chosen, Serial(if_true, "if_true"), otherwise, block.name)

    @classmethod
    def look_at(cls, fields: Mapping[str, Any], place: Place, builder: Builder) -> None:
        """Its condition."""
        written = fields.get("condition")
        if isinstance(written, str):
            condition_of(written, Place(place.source, (*place.path, "condition")), builder)


def condition_of(written: str | bool, place: Place, builder: Builder) -> Holds:
    """The condition as a function of the context."""
    if isinstance(written, bool):
        return Holds(written, place, builder.surroundings)
    try:
        condition = parse(written, style="recipe")
    except ConditionError as error:
        builder.wrong(place, f"{error}, at character {error.column} of the condition")
        return Holds(False, place, builder.surroundings)
    for text in condition.templates():
        found = check_template(text)
        if found is not None:
            builder.wrong(place, f"the template is wrong: {found}")
    return Holds(condition, place, builder.surroundings)


@dataclass(frozen=True, slots=True)
class Holds:
    """Whether a condition holds in a context."""

    condition: Condition | bool
    place: Place
    surroundings: Surroundings

    @property
    def words(self) -> str:
        """The condition as it is written."""
        condition = self.condition
        return str(condition).lower() if isinstance(condition, bool) else condition.text

    @property
    def version(self) -> str:
        """What is the same for the same condition."""
        return version_of(self.words)

    def __call__(self, context: PipelineContext[Any]) -> bool:
        """Evaluate it. Raises `ConditionError`, which says where it stands."""
        condition = self.condition
        if isinstance(condition, bool):
            return condition
        try:
            return condition.evaluate(ResultNames(context, self.place, self.surroundings))
        except ConditionError as error:
            found = f"{error}, at character {error.column} of the condition {condition.text!r:.200}"
            raise ConditionError(
                told(self.place, (), found), text=condition.text, column=error.column
            ) from error


class ResultNames:
    """The names in a condition: of what is in `results`. One that is not there is null."""

    def __init__(
        self, context: PipelineContext[Any], place: Place, surroundings: Surroundings
    ) -> None:
        self._texts = Texts(context.results, place)
        self._place = place
        self._place = place
        self._surroundings = surroundings

    def value_of(self, path: Path) -> Any:
        """The value of a name."""
        value = look_up(self._texts.values, path)
        return None if value is MISSING else value

    def template(self, text: str) -> Any:
        """A text with templates in it; of one variable alone, its value, null if it has none."""
        name = whole_variable(text)
        if name is not None and look_up(self._texts.values, name) is MISSING:
            return None
        return self._texts.literal(text, ())

    def reference(self, text: str) -> NoReturn:
        """Recipes have none."""
        raise ConditionError(f"{text} is a reference, which only workflows have", text=text)

    def file(self, path: str) -> File:
        """The file of that name below `root`."""
        try:
            return self._surroundings.path(path, "a file")
        except NotAllowedError as error:
            raise NotAllowedError(told(self._place, (), error)) from error
