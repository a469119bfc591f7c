"""What the steps of a workflow may say, type by type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...config import Count, Delay, RetryPolicy, Seconds
from .native_models import Attributes, Text

StepId = Annotated[str, Field(min_length=1)]
OnError = Literal["fail", "continue"]


class Fields(BaseModel):
    """Base of all: no other keys than those that are written here."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RetryFields(Fields):
    """When a failed step is tried again."""

    max_attempts: Count = Field(3, description="How many attempts there are, the first included.")
    delay: Delay = Field(0.1, description="Seconds before the second attempt.")
    backoff: Literal["constant", "linear", "exponential"] = Field(
        "exponential", description="How the wait grows from one attempt to the next."
    )
    max_delay: Delay | None = Field(None, description="Seconds that no wait is longer than.")
    jitter: Delay = Field(0.0, description="Up to so many seconds more, by chance.")
    total_time: Seconds | None = Field(
        None, description="No attempt begins so many seconds after the first has."
    )

    def policy(self, **more: Any) -> RetryPolicy:
        """As the engine takes it."""
        longest = self.max_delay
        return RetryPolicy(
            attempts=self.max_attempts,
            backoff=self.backoff,
            delay=self.delay if longest is None else min(self.delay, longest),
            max_delay=longest,
            jitter=self.jitter,
            total_time=self.total_time,
            **more,
        )


class StepFields(Fields):
    """What every step may say."""

    id: StepId | None = Field(None, description="The step's id; in an object of steps, its key.")
    type: str = Field("agent", description="What kind of step it is.")
    name: str | None = Field(None, description="What people call it.")
    description: str | None = Field(None, description="What it does.")
    metadata: Any = Field(None, description="Whatever others want to know of it; not used.")
    next_step: StepId | None = Field(None, description="The id of the step that follows it.")


class WorkFields(StepFields):
    """What a step may say that does something itself."""

    retry: Annotated[int, Field(ge=0)] | RetryFields | None = Field(
        None, description="How many more attempts it has, or how it is tried again."
    )
    timeout: Seconds | None = Field(None, description="Seconds for one attempt.")
    critical: bool = Field(True, description="Whether its failure fails what it is part of.")
    attributes: Attributes | None = Field(
        None, description="What else a step of the library may say of itself."
    )


class NativeCommon(WorkFields):
    """What is read of a step that stands for one of the library's own, beside its own fields."""


class AgentFields(WorkFields):
    """A step that calls an agent: a registered function, or an HTTP endpoint."""

    agent_name: StepId | None = Field(None, description="The agent's name.")
    input_mapping: Any = Field(
        None, description="What the agent is given; without it, the workflow's input."
    )
    url: str | None = Field(None, description="The address of an HTTP endpoint to call instead.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = Field(
        None, description="How it is called; POST by default."
    )
    headers: dict[str, str] | None = Field(None, description="What is sent along with the call.")


class TypedFields(WorkFields):
    """A step of a registered type."""

    config: dict[str, Any] = Field(default_factory=dict, description="The fields of its type.")


class BlockFields(StepFields):
    """What every block of several steps may say."""

    timeout: Seconds | None = Field(None, description="Seconds for the whole block.")
    critical: bool = Field(True, description="Whether its failure fails what it is part of.")


class ParallelFields(BlockFields):
    """Steps side by side. All go on if one fails; then the block has failed."""

    parallel_steps: list[StepId] = Field(min_length=1, description="The ids of its steps.")
    max_parallelism: Count | None = Field(
        None, description="How many run at once; by default all that there is room for."
    )
    on_error: OnError = Field("fail", description="Whether a failed block fails the workflow.")


class BranchFields(Fields):
    """One branch of a fork_join block."""

    steps: list[StepId] = Field(min_length=1, description="The ids of its steps, in series.")
    timeout_seconds: Seconds | None = Field(None, description="Seconds for the whole branch.")


JoinPolicy = Literal["all", "any", "majority", "n_of_m"]


class ForkJoinFields(BlockFields):
    """Series side by side; it ends as soon as its policy is decided, and cancels the rest."""

    branches: dict[Text, BranchFields] = Field(min_length=1, description="Branches by name.")
    join_policy: JoinPolicy = Field("all", description="How many branches must succeed.")
    n_required: Count | None = Field(None, description="How many, with join_policy n_of_m.")
    branch_timeout_seconds: Seconds | None = Field(
        None, description="Seconds for each branch that does not say so itself."
    )
    max_parallelism: Count | None = Field(None, description="How many branches run at once.")
    on_error: OnError = Field("fail", description="Whether a failed block fails the workflow.")


class ConditionFields(Fields):
    """What decides which way is taken."""

    expression: str | bool = Field(description='Such as "${score.output.value} >= 0.8".')


class ConditionalFields(StepFields):
    """One of two ways on. What they have in common follows them, or else the `next_step`."""

    condition: ConditionFields | str | bool = Field(description="Decides which way is taken.")
    if_true_step: StepId | None = Field(None, description="The first step if it holds.")
    if_false_step: StepId | None = Field(None, description="The first step if it does not.")
    critical: bool = Field(True, description="Whether a failure in it fails the workflow.")


class LoopConfig(Fields):
    """What a loop runs over, and how."""

    collection: str | list[Any] | dict[str, Any] = Field(
        description="A reference to a list or an object, or one right here."
    )
    loop_body: list[StepId] = Field(min_length=1, description="The ids of its steps, in series.")
    execution_mode: Literal["sequential", "parallel"] = Field(
        "sequential", description="One iteration after another, or several at once."
    )
    max_parallelism: Count | None = Field(None, description="How many iterations run at once.")
    max_iterations: Count | None = Field(
        None, description="How many items at most; what is beyond is left out, with a warning."
    )
    on_error: Literal["stop", "continue", "collect"] = Field(
        "stop",
        description="What a failed iteration does: end the loop, or count as null or an error.",
    )


class LoopFields(BlockFields):
    """Steps again for each item of a collection; its output is a list, in the items' order."""

    loop_config: LoopConfig = Field(description="What it runs over, and how.")


class SubWorkflowFields(BlockFields):
    """Another workflow, with an input of its own; its output is that of its last step."""

    workflow: dict[str, Any] | None = Field(None, description="The workflow, right here.")
    workflow_path: StepId | None = Field(
        None, description="The file that it stands in, from this document's folder."
    )
    input_mapping: Any = Field(
        None, description="Its input, an object; without it, this workflow's input."
    )


MODELS: dict[str, type[StepFields]] = {
    "agent": AgentFields,
    "parallel": ParallelFields,
    "fork_join": ForkJoinFields,
    "conditional": ConditionalFields,
    "loop": LoopFields,
    "sub_workflow": SubWorkflowFields,
}
"""The types of steps that are the workflow's own."""


class WorkflowFields(Fields):
    """A workflow: its steps, and which of them is the first."""

    workflow_id: StepId | None = Field(None, description="What programs call it.")
    name: str | None = Field(None, description="What people call it.")
    version: str | int | float | None = Field(None, description="Which one of it this is.")
    description: str | None = Field(None, description="What it does.")
    metadata: Any = Field(None, description="Whatever others want to know of it; not used.")
    config: Any = Field(None, description="Settings of the pipeline that it becomes.")
    start_step: StepId | None = Field(
        None, description="The id of the first step; needed if it does not follow from the steps."
    )
    steps: dict[str, dict[str, Any]] | list[dict[str, Any]] = Field(
        description="The steps by id, or a list of steps with ids."
    )
