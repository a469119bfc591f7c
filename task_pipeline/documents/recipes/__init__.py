"""Recipes: lists of steps, and of blocks that become groups."""

from __future__ import annotations

from ...groups import TaskStep
from .. import steps  # noqa: F401  # registers the types that come with the library
from ..mistakes.problems import Problems
from ..reading.source import Source
from ..surroundings import Surroundings
from . import conditional, execute, loop, parallel  # noqa: F401  # register the blocks
from .compiling import RecipeCompiler

__all__ = ["compile_recipe"]


def compile_recipe(
    source: Source, surroundings: Surroundings, problems: Problems
) -> list[TaskStep]:
    """The steps of a recipe; all that is wrong with it, and with the recipes in it, is added."""
    return RecipeCompiler(surroundings, problems).recipe(source)
