"""The fields of the steps that stand for the library's own groups and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...config import Count, OnConflict, ParallelConfig, Seconds

Text = Annotated[str, Field(pattern=r"\S")]
"""One that is not blank: a name."""

Key = Annotated[str, Field(min_length=1)]
"""Of results, or a path below one."""

Ids = Annotated[list[str], Field(description="The ids of the steps in it, in order.")]
GroupName = Annotated[
    Text | None,
    Field(
        description="Its name; by default its id, and with null it is called by where it stands."
    ),
]


class NativeModel(BaseModel):
    """Fields of the library's own: no others, and each of the very type it is to have."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FunctionRef(NativeModel):
    """A registered function, asked with the context."""

    function: Text = Field(description="The name that it is registered under.")


class Expression(NativeModel):
    """A condition that is written out."""

    expression: Text = Field(description="Such as ${load.output.rows} > 0.")


Condition = Annotated[
    Key | FunctionRef | Expression,
    Field(description="A key of results, or a path below one, a function, or an expression."),
]


class Attributes(NativeModel):
    """What `@step` may set of a step, beside its timeout, its retries and `critical`."""

    step_id: Text = Field("", description="What it is called, in place of its id.")
    description: Text = Field("", description="What it does, in a line.")
    weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Its share of the progress among its siblings."
    )
    isolated: bool | None = Field(
        None, description="Works on a fork that is kept only on success; null: only if it retries."
    )
    limit: Text | None = Field(None, description="The limit of the pipeline's that it counts for.")
    circuit_breaker: Text | None = Field(None, description="The name of its circuit breaker.")
    idempotent: bool = Field(
        True, description="May be run again if nobody knows what a cut attempt has done."
    )
    version: Text | None = Field(
        None, description="Of what it does: with another one, a journal takes it for another step."
    )


class NativeFields(NativeModel):
    """What every step may say of itself that only people read."""

    description: str | None = Field(None, description="What it does.")
    metadata: Any = Field(None, description="Whatever others want to know of it; not used.")


class FunctionStep(NativeFields):
    """A registered function as a step: called with the context, and what it returns is kept."""

    name: str | None = Field(None, description="What people call it.")
    function: Text = Field(description="The name that it is registered under.")
    args: Mapping[str, Any] = Field(
        default_factory=dict, description="What it is called with beside the context, by name."
    )


class ClassStep(NativeFields):
    """A step of a registered class, run as in Python; its fields have no references in them."""

    name: str | None = Field(None, description="What people call it.")
    step_type: Text = Field(description="The type that its class is registered as.")
    config: Mapping[str, Any] = Field(default_factory=dict, description="The fields of its type.")


class PipelineSettings(NativeModel):
    """Settings of a pipeline, as `PipelineConfig` takes them."""

    fail_fast: bool = Field(True, description="Whether a failure ends it and is raised.")
    parallel_config: ParallelConfig = Field(
        default_factory=ParallelConfig, description="What the parallel groups in it begin with."
    )
    timeout: Seconds | None = Field(None, description="Seconds for all of it.")
    max_workers: Count | None = Field(None, description="How many of its steps run at once.")
    on_conflict: OnConflict = Field("last", description="Which branch wins what does not merge.")
    reducers: Mapping[str, Text] = Field(
        default_factory=dict,
        description="For keys of results, the registered functions that fold two branches' values.",
    )
    limits: Mapping[Key, Count] = Field(
        default_factory=dict, description="How many of the steps with such a limit run at once."
    )


class NativeGroup(NativeFields):
    """What all groups have."""

    name: GroupName = None


class SeriesGroup(NativeGroup):
    """A group of steps in one list."""

    steps: Ids


class SerialGroup(SeriesGroup):
    """Steps that run one after another."""

    group: Literal["serial"]


class ParallelGroup(SeriesGroup):
    """Steps that run side by side, each in a context of its own; what they change is merged."""

    group: Literal["parallel"]
    config: ParallelConfig | None = Field(None, description="Its limits, and when it succeeds.")
    tolerates_failures: bool = Field(False, description="Succeeds however many of its steps fail.")


class PipelineSeries(SeriesGroup):
    """A pipeline in a pipeline: a series with settings of its own."""

    group: Literal["pipeline"]
    config: PipelineSettings | None = Field(None, description="Its settings.")


class MapGroup(SeriesGroup):
    """Its step, or a series of several, once for each item."""

    group: Literal["map"]
    over: Key | FunctionRef | list[Any] = Field(
        description="The items: a key of results, or a path below one, a function, or a list."
    )
    item_key: Key = Field("item", description="Where in results each branch finds its item.")
    result_key: Key | None = Field(
        None, description="Where the branches' values of that key come to stand, as a list."
    )
    config: ParallelConfig | None = Field(None, description="Its limits, and when it succeeds.")
    tolerates_failures: bool = Field(False, description="Succeeds however many of its items fail.")

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        if self.result_key == self.item_key:
            raise ValueError(f"item_key and result_key are both {self.item_key!r}")
        return self


class BranchGroup(NativeGroup):
    """One of two ways on."""

    group: Literal["branch"]
    condition: Condition
    then: list[str] = Field(description="The ids of the steps to run if it holds.")
    otherwise: list[str] | None = Field(None, description="The ids of those to run if not.")


class LoopGroup(SeriesGroup):
    """Its step, or a series of several, again and again."""

    group: Literal["loop"]
    while_: Condition | None = Field(
        None, alias="while", description="Asked before each round; it ends once that is false."
    )
    times: Annotated[int, Field(ge=0)] | None = Field(None, description="How many rounds at most.")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.while_ is None and self.times is None:
            raise ValueError("a loop needs `while` or `times`, or it would never end")
        return self


GROUPS: dict[str, type[NativeGroup]] = {
    "serial": SerialGroup,
    "parallel": ParallelGroup,
    "pipeline": PipelineSeries,
    "map": MapGroup,
    "branch": BranchGroup,
    "loop": LoopGroup,
}
"""The model of each kind of group."""
