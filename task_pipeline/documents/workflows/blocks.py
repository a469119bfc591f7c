"""What stands for the conditions, collections and inputs of a workflow's blocks in a pipeline.

Classes of the module rather than closures, so that a loaded pipeline can be pickled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import ParallelConfig
from ...context import PipelineContext
from ...errors import ConditionError, ConfigurationError, MissingReferenceError
from ...groups import Map, TaskStep
from ..expressions import Condition
from ..problems import shown
from ..references import Missing, own, parsed
from ..surroundings import Surroundings
from .agents import NO_MAPPING
from .values import LOOP, Looking, View, keep_input, put_out

Context = PipelineContext[Any]
logger = logging.getLogger("task_pipeline.documents")


@dataclass(slots=True)
class Names:
    """What names and references in a condition stand for, in one context."""

    looking: Looking
    surroundings: Surroundings

    def value_of(self, path: tuple[str | int, ...]) -> Any:
        """What a bare name stands for: as in a reference; None if it is not there."""
        text = "".join(f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in path)
        try:
            found = parsed(f"${{{text[1:]}}}")
            return self.looking.look(found[0])  # type: ignore[arg-type]  # a name makes one reference
        except Missing:
            return None

    def reference(self, text: str) -> Any:
        """What a reference stands for; raises `Missing`."""
        return self.looking.look(parsed(text)[0])  # type: ignore[arg-type]  # the parser has seen that it is one

    def template(self, text: str) -> Any:
        """There are none in workflows."""
        raise ConditionError(f"{text} is a template, and a workflow has references", text=text)

    def file(self, path: str) -> Path:
        """A file that the document may look at; raises `NotAllowedError`."""
        return self.surroundings.path(path, "a condition")


@dataclass
class Choice:
    """Evaluates the condition of a conditional step, and sets its output."""

    view: View
    condition: Condition | bool
    surroundings: Surroundings
    ways: tuple[str | None, str | None]

    def __call__(self, context: Context) -> bool:
        """Whether it holds."""
        holds = self._holds(context)
        taken = self.ways[0 if holds else 1]
        put_out(context, self.view.step_id, {"result": holds, "next_step": taken})
        return holds

    def _holds(self, context: Context) -> bool:
        if isinstance(self.condition, bool):
            return self.condition
        where = f"step {self.view.step_id!r}, field condition"
        try:
            return self.condition.evaluate(Names(Looking(self.view, context), self.surroundings))
        except Missing as missing:
            raise MissingReferenceError(
                f"{where}: there is nothing for {missing.reference}: {missing.why} "
                f"({self.view.place})"
            ) from None
        except ConditionError as error:
            text = f"{where}: {error} ({self.view.place})"
            raise ConditionError(text, text=error.text, column=error.column) from None


@dataclass
class Items:
    """Finds the items of a loop, each with what `${loop...}` stands for."""

    view: View
    collection: Any
    most: int | None

    def __call__(self, context: Context) -> list[dict[str, Any]]:
        """What each iteration begins with."""
        step_id, field = self.view.step_id, "loop_config.collection"
        found = self.view.resolve(self.collection, field, context)
        if isinstance(found, dict):
            found = [[key, item] for key, item in found.items()]
        if not isinstance(found, list | tuple | set | frozenset):
            raise ConfigurationError(
                f"step {step_id!r}, field {field}: a loop runs over a list or an object, not "
                f"{shown(found)} ({self.view.place})"
            )
        items = own(list(found), f"the collection of step {step_id!r}")
        if self.most is not None and len(items) > self.most:
            logger.warning(
                "loop %r has %d items; max_iterations lets %d of them run",
                step_id,
                len(items),
                self.most,
            )
            items = items[: self.most]
        _make_room(context, step_id)
        outer = {} if self.view.in_loop or LOOP not in context.results else {LOOP}
        if outer:
            keep_input(context, outer)
        total = len(items)
        return [
            {
                LOOP: {
                    "item": item,
                    "index": index,
                    "total": total,
                    "is_first": index == 0,
                    "is_last": index == total - 1,
                }
            }
            for index, item in enumerate(items)
        ]


@dataclass
class CallInput:
    """Finds the input of a sub_workflow."""

    view: View
    mapping: Any

    def __call__(self, context: Context) -> list[dict[str, Any]]:
        """The one item: what its results begin with."""
        if self.mapping is NO_MAPPING:
            given: Any = self.view.input(context)
        else:
            given = self.view.resolve(self.mapping, "input_mapping", context)
        if not isinstance(given, dict):
            raise ConfigurationError(
                f"step {self.view.step_id!r}, field input_mapping: the input of a workflow is an "
                f"object, not {shown(given)} ({self.view.place})"
            )
        _make_room(context, self.view.step_id)
        return [own(given, f"the input of step {self.view.step_id!r}")]


def _make_room(context: Context, step_id: str) -> None:
    """Keep what the input has where the block's output is to come."""
    if step_id in context.results:
        keep_input(context, (step_id,))


class LoopGroup(Map):
    """A loop: its iterations see what is around it, and what they do stays in them."""

    spreads = True


class CallGroup(Map):
    """A sub_workflow: it sees its input, and nothing else of what is around it."""

    spreads = True
    begins_anew = True


def looping(
    body: list[TaskStep],
    over: Callable[[Any], Any],
    name: str,
    config: ParallelConfig,
    tolerates: bool,
) -> LoopGroup:
    """The group of a loop."""
    group = LoopGroup(body, over, name=name, config=config)
    group.tolerates_failures = tolerates
    return group
