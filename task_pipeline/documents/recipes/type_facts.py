"""What the compiler needs to know of a type of steps, found out once for each document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

from pydantic import BaseModel

from ..mistakes.problems import Path
from ..registry import STEP_REGISTRY, StepType
from ..surroundings import Surroundings
from ..typed_steps import AsyncTypedStep, DocumentStep, Fields, TypedStep
from .blocks import RecipeBlock

Check = Callable[[Fields, Surroundings], Iterable[tuple[Path, str, str]]]

# Types that come with the library and write no file. What others do, nobody can tell.
_ONLY_READ = frozenset({"set_context", "read_files"})
_OWN = __name__.rpartition(".")[0].rpartition(".")[0]


class TypeFacts:
    """What is the same for all steps of one type.

    - `validate`: of a config; `keys`: what its fields may be called
    - `block`: the class, of a type that becomes a group; `check`: what else is asked about
      the fields, if anything is
    - `closed`: the fields that do not take just any value
    - `itself`: the fields that a step renders itself; `may_write`: files, other recipes too
    - `is_own`: it comes with the library; `shaping`: the fields of a block in which no
      template can stand
    """

    __slots__ = (
        *("block", "check", "closed", "is_own", "itself", "keys"),
        *("kind", "may_write", "shaping", "step_class", "validate"),
    )

    def __init__(self, kind: StepType) -> None:
        made = kind.step_class
        self.kind = kind
        # Directly: the method of the model takes as long again.
        self.validate: Callable[..., BaseModel] = kind.model.__pydantic_validator__.validate_python
        self.keys: set[str] = set()
        self.closed: set[str] = set()
        for key, field in kind.model.model_fields.items():
            names = {
                name for name in (key, field.alias, field.validation_alias) if isinstance(name, str)
            }
            self.keys |= names
            if not _takes_anything(field.annotation):
                self.closed |= names
        self.step_class = AsyncTypedStep if kind.is_async else TypedStep
        self.block = made if issubclass(made, RecipeBlock) else None
        self.shaping = set(self.keys)
        if self.block is not None:
            self.shaping.difference_update(
                self.block.templated, self.block.parsed, self.block.of_steps
            )
        self.check: Check | None = None
        self.itself: tuple[str, ...] = ()
        if issubclass(made, DocumentStep):
            self.itself = made.renders_itself
            if made.check.__func__ is not DocumentStep.check.__func__:  # type: ignore[attr-defined]  # a classmethod's function
                self.check = made.check
        self.is_own = made.__module__.startswith(f"{_OWN}.")
        self.may_write = self.block is None and not (self.is_own and kind.name in _ONLY_READ)


def _takes_anything(annotation: Any) -> bool:
    return annotation is Any or any(map(_takes_anything, get_args(annotation)))


def facts_of(name: str, surroundings: Surroundings) -> TypeFacts | None:
    """Of the type of that name; None if there is none."""
    if name in STEP_REGISTRY:
        return TypeFacts(STEP_REGISTRY.type_of(name))
    if name in surroundings.handlers:
        from ..steps.handlers import handler_type

        return TypeFacts(handler_type(name))
    return None


def type_names(surroundings: Surroundings) -> list[str]:
    """All types there are, in alphabetical order."""
    return sorted({*STEP_REGISTRY, *surroundings.handlers})
