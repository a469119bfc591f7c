"""`parallel`: substeps side by side, of which nothing comes back unless that is asked for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from ... import event_values
from ...collectors import BranchEnd, Collector
from ...config import ErrorStrategy, LogicOperator, ParallelConfig
from ...context import PipelineContext
from ...errors import GroupTimeoutError, ParallelGroupError, SubstepError
from ...groups import Parallel, TaskStep
from ...steps import PipelineStep
from ..registry import StepConfig, register_step
from ..typed_steps import version_of
from .blocks import (
    MOST_AT_ONCE,
    Block,
    Builder,
    Delay,
    Key,
    Limit,
    RecipeBlock,
    Seconds,
    Steps,
)
from .telling import told

MOST_SHOWN = 20


class ParallelFields(StepConfig):
    """The fields of `parallel`."""

    substeps: Steps = Field(
        description="Steps of any type that run side by side; a list among them is a series."
    )
    max_concurrency: Limit = Field(0, description="How many are under way at once; 0 for all.")
    delay: Delay = Field(0.0, description="Seconds between two launches.")
    timeout: Seconds | None = Field(
        None, description="Seconds for the whole block, launches included."
    )
    merge: bool | list[Key] = Field(
        False,
        description="What of the substeps' changes comes back: all, or only these keys, merged "
        "in the order written.",
    )
    result_key: Key | None = Field(
        None,
        description="The key for a list of what each substep has set, in the order written.",
    )


@register_step("parallel")
class ParallelBlock(RecipeBlock):
    """Substeps that run side by side, each on a context of its own."""

    of_steps = ("substeps",)
    config: ParallelFields

    @classmethod
    def build(cls, block: Block, builder: Builder) -> TaskStep:
        """A parallel group that ends with its first failure."""
        config: ParallelFields = block.config
        children = builder.side_by_side(config.substeps, block.at("substeps"))
        if not children and config.result_key is not None:
            return EmptyStep(block.name, config.result_key)  # a group without steps sets nothing
        limit = config.max_concurrency or min(len(children), MOST_AT_ONCE) or None
        group = Parallel(
            children, block.name, parallel_config(limit, config.delay, True, config.timeout)
        )
        group.max_open = limit
        group.collector = SubstepCollector(block)
        return group


class EmptyStep(PipelineStep):
    """Stands for a block without substeps: a list with nothing in it comes back."""

    def __init__(self, name: str, result_key: str) -> None:
        self.step_id = name
        self.result_key = result_key

    @property
    def version(self) -> str:
        """What is the same for the same key."""
        return version_of(self.result_key)

    def run(self, context: PipelineContext[Any]) -> None:
        """Set the key."""
        context.results[self.result_key] = []


@functools.lru_cache(maxsize=256)
def parallel_config(
    limit: int | None, delay: float, fails_fast: bool, timeout: float | None = None
) -> ParallelConfig:
    """The settings of a block: each is given, as else it would be the pipeline's own."""
    return ParallelConfig(
        operator=LogicOperator.AND,
        error_strategy=ErrorStrategy.FAIL_FAST if fails_fast else ErrorStrategy.FAIL_SLOW,
        max_workers=limit,
        delay=delay,
        timeout=timeout,
    )


def _type_of(written: Any) -> tuple[str, str | None]:
    """A substep's type, and the recipe that it runs, if it does."""
    if not isinstance(written, dict):
        return "series", None
    fields = written.get("config", written)
    path = fields.get("recipe_path") if isinstance(fields, dict) else None
    is_recipe = written.get("type") == "execute_recipe" and isinstance(path, str)
    return str(written.get("type")), path if is_recipe else None


class SubstepCollector(Collector):
    """What of a block's substeps comes back, and what is raised if one fails.

    - `substeps`: as they are written
    - `merges`: whether what they have changed is merged: all, or only some keys
    """

    def __init__(self, block: Block) -> None:
        config: ParallelFields = block.config
        self.name = block.name
        self.place = block.at("timeout")
        self.timeout = config.timeout
        self.substeps = config.substeps
        self.limits = 0 < config.max_concurrency < len(config.substeps)
        self.merges = config.merge if isinstance(config.merge, bool) else frozenset(config.merge)
        self.result_key = config.result_key

    @property
    def version(self) -> str:  # type: ignore[override]  # only found out when it is asked for
        """What is the same for two that take the same back."""
        merged = self.merges if isinstance(self.merges, bool) else sorted(self.merges)
        return version_of(merged, self.result_key)

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """A list of what each has set; what is merged is not this one's part."""
        if self.result_key is None:
            return {}
        # Copies, if the same objects come back in the merge as well.
        each = [dict(end.results) for end in ends]
        return {self.result_key: copy.deepcopy(each) if self.merges else each}

    def failure(self, error: Exception, ends: Sequence[BranchEnd]) -> Exception:
        """The error of the substep that has decided the block, or that its time was over."""
        if isinstance(error, GroupTimeoutError):
            return self._timed_out(error, ends)
        first = first_failed(ends)
        if first is None or not isinstance(error, ParallelGroupError):
            return error
        kind, recipe = _type_of(self.substeps[first.index])
        what = kind if recipe is None else f"{kind} {recipe!r}"
        return substep_error(
            f"parallel block {self.name!r}: substep {first.index} ({what}) failed",
            error,
            first,
            (kind, recipe),
        )

    def _timed_out(self, error: GroupTimeoutError, ends: Sequence[BranchEnd]) -> Exception:
        left = [f"{end.index} ({self._kind_of(end)})" for end in ends if end.outcome is None]
        shown = ", ".join(left[:MOST_SHOWN])
        if len(left) > MOST_SHOWN:
            shown += f" and {len(left) - MOST_SHOWN:,} more"
        found = (
            f"parallel block {self.name!r} timed out after {self.timeout:g} s, with {len(left):,} "
            f"of {len(ends):,} substeps not ended: {shown}"
        )
        hint = "give it more seconds"
        hint += ", or a larger `max_concurrency`" if self.limits else ""
        text = told(self.place, (), found, hint)
        return GroupTimeoutError(text, outcomes=error.outcomes, errors=error.errors)

    def _kind_of(self, end: BranchEnd) -> str:
        return _type_of(self.substeps[end.index])[0]


def first_failed(ends: Sequence[BranchEnd]) -> BranchEnd | None:
    """The first in order of those that have failed, and were not just stopped."""
    return next(
        (end for end in ends if not end.succeeded and isinstance(end.error, Exception)), None
    )


def substep_error(
    head: str, error: ParallelGroupError, first: BranchEnd, of: tuple[str, str | None]
) -> SubstepError:
    """The error of a block, which names one of its parts; that one's own is its cause."""
    cause = first.error
    made = SubstepError(f"{head}: {words_of(cause)}", error.exceptions, error.outcomes)
    made.index = first.index
    made.step_type, made.recipe = of
    made.__cause__ = cause
    return made


def words_of(error: BaseException | None) -> str:
    """An exception's type and text, as a traceback ends."""
    kind, text = type_and_text(error)
    return f"{kind}: {text}" if text else kind


def type_and_text(error: BaseException | None) -> tuple[str, str]:
    """The name of an exception's type, and its text, without how many are in a group's."""
    kind, text = event_values.type_and_text(error)
    return kind, error.message if isinstance(error, ParallelGroupError) else text
