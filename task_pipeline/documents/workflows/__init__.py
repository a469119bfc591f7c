"""Workflows: graphs of steps that call agents, and of blocks, made into groups of the library.

A chain of steps that follow each other by `next_step` is a series. Each step's output comes to
stand in `results` under the step's id, and what `results` held at the start is the workflow's
input.
"""

from __future__ import annotations

from ...groups import TaskStep
from .. import steps  # noqa: F401  # registers the types that come with the library
from ..mistakes.problems import Problems
from ..reading.source import Source
from ..resolving.secrets import allow_variables
from ..surroundings import Surroundings
from .compiling import Compiler
from .spelling import Spot

__all__ = ["compile_workflow"]


def compile_workflow(
    source: Source, surroundings: Surroundings, problems: Problems
) -> list[TaskStep]:
    """The steps of a workflow, in series; all that is wrong with it is added to `problems`."""
    allow_variables(surroundings.env)
    files = () if source.file is None else (source.file,)
    compiler = Compiler(surroundings, problems, files)
    try:
        return compiler.compile(source.value, Spot(source, ())).steps
    except RecursionError:
        found = "its steps are nested deeper than there is room for where it is loaded"
        problems.add(source, (), found, "load it at a lesser depth of calls, or split it")
        return []
