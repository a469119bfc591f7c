"""`loop`: a series of steps for each item, every round on a context of its own."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from ...collectors import BranchEnd, Collector
from ...context import PipelineContext
from ...errors import ConfigurationError, MissingReferenceError, ParallelGroupError
from ...groups import Map, Serial, TaskStep
from ...outcome import Outcome
from ..mistakes.problem_words import did_you_mean, shown
from ..registry import StepConfig, register_step
from ..templating.template_values import NAME, SEGMENT, item_of, split_path
from ..templating.templates import MISSING, as_value, has_template, whole_variable
from ..typed_steps import Place, version_of
from .blocks import Block, Builder, Delay, Key, Limit, RecipeBlock, Way
from .parallel import (
    first_failed,
    parallel_config,
    substep_error,
    type_and_text,
    words_of,
)
from .rendering import Texts
from .telling import told

INDEX, KEY = "__index", "__key"
ERRORS, HISTORY = "__errors", "__history"
_PATH = re.compile(rf"{NAME}{SEGMENT}*")


class LoopFields(StepConfig):
    """The fields of `loop`."""

    items: str | list[Any] | dict[str, Any] = Field(
        description="A path such as `data.0.items`, a template, a list or an object."
    )
    item_key: Key = Field(description="Where a round finds its item.")
    substeps: Way = Field(description="Steps that run one after another for each item.")
    result_key: Key | None = Field(
        None,
        description="The key for what the rounds come to, in the order of the items: what each "
        "has set under that key, else under `item_key`.",
    )
    max_concurrency: Limit = Field(
        1, description="How many rounds are under way at once; 0 for no limit."
    )
    delay: Delay = Field(0.0, description="Seconds between the launches of two rounds.")
    fail_fast: bool = Field(
        True, description="Whether the first failure ends the loop; else all rounds run."
    )


@register_step("loop")
class LoopBlock(RecipeBlock):
    """A series of steps for each item."""

    templated = ("items",)
    of_steps = ("substeps",)
    config: LoopFields

    @classmethod
    def build(cls, block: Block, builder: Builder) -> TaskStep:
        """A map over the items."""
        config: LoopFields = block.config
        _check_keys(config.item_key, config.result_key, block.at("result_key"), builder)
        steps = builder.way(config.substeps, block.at("substeps"))
        return Rounds(steps, config, block)

    @classmethod
    def look_at(cls, fields: Mapping[str, Any], place: Place, builder: Builder) -> None:
        """Its keys, which must be two."""
        at = Place(place.source, (*place.path, "result_key"))
        _check_keys(fields.get("item_key"), fields.get("result_key"), at, builder)


def _check_keys(item_key: Any, result_key: Any, place: Place, builder: Builder) -> None:
    if isinstance(item_key, str) and result_key == item_key:
        builder.wrong(
            place,
            f"`item_key` and `result_key` are both {shown(item_key)}",
            "what the rounds come to needs a key of its own",
        )


class Rounds(Map):
    """A map whose branches begin with the item and its number, and give back one value."""

    spreads = True

    def __init__(self, steps: list[TaskStep], config: LoopFields, block: Block) -> None:
        limit = config.max_concurrency or None
        super().__init__(
            steps[0] if len(steps) == 1 else Serial(steps, config.item_key),
            Items(config.items, config.item_key, config.result_key, block.at("items")),
            config.item_key,
            config.result_key,
            # One round after another is no limit for the blocks that are in a round.
            parallel_config(limit if limit != 1 else None, config.delay, config.fail_fast),
            block.name,
        )
        self.max_open = limit
        # What a round has set must be told from what was there before.
        own = (config.item_key, config.result_key)
        self.hides = tuple(key for key in own if key is not None)
        self.tolerates_failures = not config.fail_fast
        self.collector = RoundCollector(block.name, config.item_key, config.result_key)


@dataclass(frozen=True)
class Items:
    """Finds the items in a context; gives for each what its round begins with."""

    written: Any
    item_key: str
    result_key: str | None
    place: Place

    @property
    def words(self) -> str:
        """The items as they are written."""
        return self.written if isinstance(self.written, str) else json.dumps(self.written)

    @property
    def version(self) -> str:
        """What is the same for the same items."""
        return version_of(self.written)

    def __call__(self, context: PipelineContext[Any]) -> list[dict[str, Any]]:
        """Look for them. Raises an error that says which part is missing."""
        found = self._found(context.results)
        if isinstance(found, Mapping):
            rounds = [{self.item_key: item, KEY: key} for key, item in found.items()]
        elif isinstance(found, list | tuple):
            rounds = [{self.item_key: item} for item in found]
        else:
            raise ConfigurationError(
                told(self.place, (), f"must come to a list or an object, not {shown(found)}")
            )
        for index, one in enumerate(rounds):
            one[INDEX] = index
        if not rounds and self.result_key is not None:
            # The collector is not told what it was that had nothing in it.
            nothing: Any = {} if isinstance(found, Mapping) else []
            context.results.update(_results(self.result_key, nothing, ()))
        return rounds

    def _found(self, results: Mapping[str, Any]) -> Any:
        written = self.written
        texts = Texts(results, self.place)
        if not isinstance(written, str):
            return texts.in_all(written, (), texts.literal)
        if not has_template(written):
            return self._at(results, written)
        if (path := whole_variable(written)) is not None:
            found = self._walked(results, path)
            return as_value(found) if isinstance(found, str) else found
        return as_value(texts.text(written, ()))

    def _at(self, results: Mapping[str, Any], written: str) -> Any:
        """The value at a path that is written out."""
        if written in results:
            return results[written]
        path = split_path(written) if _PATH.fullmatch(written) else (written,)
        return self._walked(results, path)

    def _walked(self, results: Mapping[str, Any], path: Sequence[str | int]) -> Any:
        value: Any = results
        walked = "the context"
        for part in path:
            inner = item_of(value, part)
            if inner is MISSING:
                known = map(str, value) if isinstance(value, Mapping) else ()
                found = f"there is no {part!r} in {walked}"
                if not isinstance(value, Mapping):
                    found += f", which is {shown(value)}"
                raise MissingReferenceError(
                    told(self.place, (), found, did_you_mean(str(part), known))
                )
            walked = str(part) if value is results else f"{walked}[{part!r}]"
            value = inner
        return value


class RoundCollector(Collector):
    """What the rounds of a loop come to."""

    def __init__(self, name: str, item_key: str, result_key: str | None) -> None:
        self.name = name
        self.item_key = item_key
        self.result_key = result_key

    @property
    def version(self) -> str:  # type: ignore[override]  # only found out when it is asked for
        """What is the same for two that take the same back."""
        return version_of(self.item_key, self.result_key)

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """The rounds' values, their errors, and how each has ended."""
        if self.result_key is None or not ends:
            return {}
        values = [self._value(end) if end.succeeded else None for end in ends]
        keys = [end.item[KEY] for end in ends if KEY in end.item]
        found = dict(zip(keys, values, strict=True)) if keys else values
        return _results(self.result_key, found, ends)

    def _value(self, end: BranchEnd) -> Any:
        for key in (self.result_key, self.item_key):
            if key is not None and key in end.results:
                return end.results[key]
        # The item as it was: a copy, as the parent has the same object elsewhere.
        return copy.deepcopy(end.item[self.item_key])

    def failure(self, error: Exception, ends: Sequence[BranchEnd]) -> Exception:
        """The error of the round that has ended the loop."""
        first = first_failed(ends)
        if first is None or not isinstance(error, ParallelGroupError):
            return error
        key = first.item.get(KEY)
        which = f"{first.index}" if key is None else f"{first.index} ({key!r:.100})"
        return substep_error(
            f"loop {self.name!r}: item {which} failed", error, first, ("loop", None)
        )


def _results(key: str, found: Any, ends: Sequence[BranchEnd]) -> dict[str, Any]:
    """What a loop sets in the context around it."""
    errors: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for end in ends:
        one: dict[str, Any] = {"index": end.index}
        if KEY in end.item:
            one["key"] = end.item[KEY]
        status = {**one, "status": (end.outcome or Outcome.CANCELLED).value}
        if end.error is not None:
            kind, text = type_and_text(end.error)
            errors.append({**one, "error": text, "type": kind})
            status["error"] = words_of(end.error)
        history.append(status)
    return {key: found, f"{key}{ERRORS}": errors, f"{key}{HISTORY}": history}
