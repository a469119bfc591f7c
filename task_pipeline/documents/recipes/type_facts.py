"""What the compiler needs to know of a type of steps, found out once for each document."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel

from ..problems import Path
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
    - `itself`: the fields that a step renders itself; `may_write`: files, other recipes too
    - `is_own`: it comes with the library
    """

    __slots__ = (
        *("block", "check", "is_own", "itself", "keys"),
        *("kind", "may_write", "step_class", "validate"),
    )

    def __init__(self, kind: StepType) -> None:
        made = kind.step_class
        self.kind = kind
        # Directly: the method of the model takes as long again.
        self.validate: Callable[..., BaseModel] = kind.model.__pydantic_validator__.validate_python
        self.keys = {
            name
            for key, field in kind.model.model_fields.items()
            for name in (key, field.alias, field.validation_alias)
            if isinstance(name, str)
        }
        self.step_class = AsyncTypedStep if kind.is_async else TypedStep
        self.block = made if issubclass(made, RecipeBlock) else None
        self.check: Check | None = None
        self.itself: tuple[str, ...] = ()
        if issubclass(made, DocumentStep):
            self.itself = made.renders_itself
            if made.check.__func__ is not DocumentStep.check.__func__:  # type: ignore[attr-defined]  # a classmethod's function
                self.check = made.check
        self.is_own = made.__module__.startswith(f"{_OWN}.")
        self.may_write = self.block is None and not (self.is_own and kind.name in _ONLY_READ)


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
