"""What stands for the conditions, collections and inputs of a workflow's blocks in a pipeline.

Classes of the module rather than closures, so that a loaded pipeline can be pickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import ParallelConfig
from ...context import PipelineContext
from ...errors import (
    ConditionError,
    ConfigurationError,
    MissingReferenceError,
    NotAllowedError,
)
from ...groups import Map, TaskStep
from ..expressions import Condition
from ..mistakes.problems import path_text, shown
from ..resolving.references import Missing, WrongReference, own, parsed, understood
from ..resolving.vault import Vault
from ..surroundings import Surroundings
from ..typed_steps import version_of
from .agents import NO_MAPPING
from .values import LOOP, Looking, View, keep_input, put_out

Context = PipelineContext[Any]
logger = logging.getLogger("task_pipeline.documents")


@dataclass(slots=True)
class Names:
    """What names and references in a condition stand for, in one context."""

    looking: Looking
    surroundings: Surroundings
    where: str

    def value_of(self, path: tuple[str | int, ...]) -> Any:
        """What a bare name stands for: as in a reference; None if it is not there."""
        try:
            reference = understood(path_text(path), str(path[0]), path[1:])
            # Variables are read by what was checked when the document was loaded: ${env.NAME}.
            return None if reference.kind == "env" else self.looking.look(reference)
        except (Missing, WrongReference):
            return None

    def reference(self, text: str) -> Any:
        """What a reference stands for; raises `Missing`."""
        return self.looking.look(parsed(text)[0])  # type: ignore[arg-type]  # the parser has seen that it is one

    def template(self, text: str) -> Any:
        """There are none in workflows."""
        raise ConditionError(f"{text} is a template, and a workflow has references", text=text)

    def file(self, path: str) -> Path:
        """A file that the document may look at; raises `NotAllowedError`."""
        return self.surroundings.path(path, self.where)


@dataclass
class Asked:
    """Evaluates a condition."""

    view: View
    condition: Condition | bool
    surroundings: Surroundings

    @property
    def words(self) -> str:
        """What it is drawn as."""
        condition = self.condition
        return str(condition).lower() if isinstance(condition, bool) else condition.text

    @property
    def version(self) -> str:
        """The same for what is asked alike."""
        return version_of("condition", self.words)

    def __call__(self, context: Context) -> bool:
        """Whether it holds."""
        return self.holds(context)

    def holds(self, context: Context) -> bool:
        """Whether it holds in a context.

        Raises `MissingReferenceError`, `ConditionError`, and `NotAllowedError` for a file.
        """
        if isinstance(self.condition, bool):
            return self.condition
        where = f"step {self.view.step_id!r}, field condition"
        looking = Looking(self.view, context)
        names = Names(looking, self.surroundings, f"{where} ({self.view.place})")
        try:
            return self.condition.evaluate(names)
        except Missing as missing:
            raise MissingReferenceError(
                f"{where}: there is nothing for {missing.reference}: {missing.why} "
                f"({self.view.place})"
            ) from None
        except ConditionError as error:
            text = f"{where}: {error} ({self.view.place})"
            raise ConditionError(text, text=error.text, column=error.column) from None
        except NotAllowedError as error:
            # It names the file, and a secret may be part of the name.
            refused = Vault(self.surroundings.env).masked_error(error)
        # Out of the handler, so that what has a secret in it is not its context.
        raise refused


@dataclass
class Choice(Asked):
    """Evaluates the condition of a conditional step, and sets its output."""

    ways: tuple[str | None, str | None]

    def __call__(self, context: Context) -> bool:
        """Whether it holds."""
        holds = self.holds(context)
        taken = self.ways[0 if holds else 1]
        put_out(context, self.view, {"result": holds, "next_step": taken})
        return holds


@dataclass
class Items:
    """Finds the items of a loop, each with what `${loop...}` stands for."""

    view: View
    collection: Any
    most: int | None

    @property
    def words(self) -> str:
        """What it is drawn as."""
        return words_of(self.collection)

    @property
    def version(self) -> str:
        """The same for what runs over the same."""
        return version_of("items", self.collection, self.most)

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
        _make_room(context, self.view)
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

    @property
    def words(self) -> str:
        """What it is drawn as."""
        return "the input" if self.mapping is NO_MAPPING else words_of(self.mapping)

    @property
    def version(self) -> str:
        """The same for what is given the same."""
        given = [] if self.mapping is NO_MAPPING else [self.mapping]
        return version_of("input", *given)

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
        _make_room(context, self.view)
        return [own(given, f"the input of step {self.view.step_id!r}")]


def _make_room(context: Context, view: View) -> None:
    """Keep what the input has where the block's output is to come."""
    if view.step_id in context.results and not view.in_rounds:
        keep_input(context, (view.step_id,))


def words_of(given: Any) -> str:
    """What a part of a document is drawn as."""
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


class LoopGroup(Map):
    """A loop: its iterations see what is around it, and what they do stays in them."""

    spreads = True


class CallGroup(Map):
    """A sub_workflow: it sees its input, and nothing else of what is around it."""

    spreads = True
    begins_anew = True


def looping(
    body: TaskStep,
    over: Callable[[Any], Any],
    name: str,
    config: ParallelConfig,
    tolerates: bool,
) -> LoopGroup:
    """The group of a loop."""
    group = LoopGroup(body, over, name=name, config=config)
    group.tolerates_failures = tolerates
    return group
