"""What the types of steps have in common that become groups: `parallel`, `loop` and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Annotated, Any, ClassVar, NoReturn, Protocol, TypeAlias

from pydantic import Field

from ...errors import PipelineDefinitionError
from ...groups import TaskStep
from ..surroundings import Surroundings
from ..typed_steps import DocumentStep, Place

Steps: TypeAlias = Annotated[list[Any], Field(json_schema_extra={"x-steps": "steps"})]
"""A field with steps that run side by side; one of them may be a list, which is a series."""

Way: TypeAlias = Annotated[list[Any] | dict[str, Any], Field(json_schema_extra={"x-steps": "way"})]
"""A field with a series of steps: a list, one step, or `{"steps": [...]}`."""

Key: TypeAlias = Annotated[str, Field(min_length=1)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST_AT_ONCE = 1_000
"""How many steps may run at once: each takes a thread, and a document may be a stranger's."""

Limit: TypeAlias = Annotated[int, Field(ge=0, le=MOST_AT_ONCE)]


@dataclass(frozen=True, slots=True)
class Included:
    """The steps of a recipe that another one runs.

    `guard` tells whether they still are what is in the file, if that is to be asked.
    """

    steps: list[TaskStep]
    guard: Callable[[Any], bool] | None


class Builder(Protocol):
    """What a block asks for what is in it: the compiler.

    `may_write`: whether a step that comes before may have written a recipe.
    """

    surroundings: Surroundings
    may_write: bool

    def side_by_side(self, written: list[Any], place: Place) -> list[TaskStep]:
        """The steps of a field of type `Steps`."""
        ...

    def way(self, written: list[Any] | dict[str, Any], place: Place) -> list[TaskStep]:
        """The steps of a field of type `Way`, to run one after another."""
        ...

    def include(self, file: File) -> Included | None:
        """The steps of another recipe; None for one that is to be read when it is reached."""
        ...

    def wrong(self, place: Place, found: str, hint: str = "") -> None:
        """Note a mistake."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it is written: its type, its `id` if it has one, its fields and their place."""

    kind: str
    own_name: str | None
    config: Any
    place: Place

    @property
    def name(self) -> str:
        """What the group is called."""
        return self.own_name or self.kind

    def at(self, *path: str | int) -> Place:
        """The place of one of its fields."""
        return Place(self.place.source, self.place.path + path)


class RecipeBlock(DocumentStep):
    """Base of the types of steps that become groups; only recipes have them.

    - `templated`: the fields in which there may be templates; `parsed`: those that it looks
      at itself; `of_steps`: those with steps
    """

    is_recipe_block: ClassVar[bool] = True
    templated: ClassVar[tuple[str, ...]] = ()
    parsed: ClassVar[tuple[str, ...]] = ()
    of_steps: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def build(cls, block: Block, builder: Builder) -> TaskStep:
        """The group that the block becomes."""
        raise NotImplementedError

    @classmethod
    def look_at(cls, fields: Mapping[str, Any], place: Place, builder: Builder) -> None:
        """Find what is wrong with the fields of one that cannot be made, beside their types."""

    def run(self, context: Any) -> NoReturn:
        """A block is not run itself."""
        raise PipelineDefinitionError(
            f"a {type(self).__name__} is a group of steps in a recipe, and no step to be run by "
            "itself; load the recipe with load_pipeline"
        )
