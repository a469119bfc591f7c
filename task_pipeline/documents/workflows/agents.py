"""The steps of a workflow that call functions: agents, and steps of registered types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ...context import PipelineContext
from ...errors import StepReturnError
from ...signals import StopPipeline
from ...state.copying import unchanged
from ...state.results import ForkedResults
from ...steps import PipelineStep, is_async
from ..references import own
from ..secrets import Vault
from ..typed_steps import AsyncTypedStep, TypedStep
from .values import KEPT, View, put_out

Context = PipelineContext[Any]
T = TypeVar("T")
NO_MAPPING: Any = ...

ONLY_INPUT, AND_CONTEXT, BY_NAME = range(3)


def way_to_call(function: Callable[..., Any]) -> int:
    """Whether an agent takes the context beside its input, and how."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of some that are written in C nobody knows
        return ONLY_INPUT
    named = [one for one in parameters if one.name == "context"]
    if named and named[0].kind is named[0].KEYWORD_ONLY:
        return BY_NAME
    second = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    takes = len(second) > 1 and (second[1].default is second[1].empty or second[1] in named)
    return AND_CONTEXT if takes else ONLY_INPUT


class WorkflowStep(PipelineStep):
    """Base of them: `view` is what it can see, `env` the variables whose values stay hidden."""

    view: View
    env: frozenset[str]
    described: str | None = None

    if not TYPE_CHECKING:

        @property
        def description(self) -> str:
            """What the document says of it, else its id."""
            return self.described or self.step_id

    def put_out(self, context: Context, output: Any) -> None:
        """Set its output."""
        if isinstance(output, PipelineContext):
            raise StepReturnError(
                f"agent of step {self.step_id!r} returned a context; it must return its output, "
                "which comes to stand under the step's id",
                step_id=self.step_id,
            )
        if self.env:
            output = Vault(self.env).wrapped(output)
        put_out(context, self.step_id, output)

    def hidden(self, error: Exception) -> BaseException:
        """What is raised in place of an exception: it must tell no secret."""
        return Vault(self.env).masked_error(error) if self.env else error


class AgentStep(WorkflowStep):
    """Calls a function with the step's input; what that returns is the step's output."""

    def __init__(
        self,
        view: View,
        function: Callable[..., Any],
        way: int,
        mapping: Any,
        env: frozenset[str],
    ) -> None:
        self.step_id = view.step_id
        self.view = view
        self.function = function
        self.way = way
        self.mapping = mapping
        self.env = env

    def call(self, context: Context) -> Any:
        """Call the function with its input."""
        given = agent_input(self.view, self.mapping, context)
        if self.way == AND_CONTEXT:
            return self.function(given, context)
        if self.way == BY_NAME:
            return self.function(given, context=context)
        return self.function(given)

    def run(self, context: Context) -> Any:
        """Call the agent, and set its output."""
        raised: BaseException
        try:
            output = self.call(context)
            if not inspect.isawaitable(output):
                self.put_out(context, output)
                return None
        except Exception as error:  # noqa: BLE001  # the agent may raise anything; it is raised below
            raised = self.hidden(error)
        else:
            return self.awaited(output, context)
        # Out of the handler, so that what has a secret in it is not its context.
        raise raised

    async def awaited(self, output: Any, context: Context) -> None:
        """Wait for the output of an asynchronous agent, and set it."""
        raised: BaseException
        try:
            self.put_out(context, await output)
            return
        except Exception as error:  # noqa: BLE001  # the agent may raise anything; it is raised below
            raised = self.hidden(error)
        raise raised


class AsyncAgentStep(AgentStep):
    """The same for a coroutine function."""

    async def run(self, context: Context) -> None:
        """Call the agent, and set its output."""
        await self.awaited(self.call(context), context)


def agent_input(view: View, mapping: Any, context: Context) -> Any:
    """What an agent is given: its own, whatever it does to it."""
    if mapping is NO_MAPPING:
        return own(view.input(context), f"the workflow's input, for step {view.step_id!r},")
    given = view.resolve(mapping, "input_mapping", context)
    return own(given, f"the input of step {view.step_id!r}")


def agent_step(
    view: View, function: Callable[..., Any], way: int, mapping: Any, env: frozenset[str]
) -> AgentStep:
    """The step for an agent, plain or asynchronous."""
    kind = AsyncAgentStep if is_async(function) else AgentStep
    return kind(view, function, way, mapping, env)


class OutputStep(TypedStep, WorkflowStep):
    """A step of a registered type in a workflow.

    Its output is what its `run` returns; else the value that it has set in `results`, or of
    several the dict of them.
    """

    def run(self, context: Context) -> Any:
        """Run a step of the type, and set its output."""
        before = _values(context)
        raised: BaseException
        try:
            self.take(context, before, super().run(context))
            return
        except Exception as error:  # noqa: BLE001  # the step may raise anything; it is raised below
            raised = self.hidden(error)
        raise raised

    def take(self, context: Context, before: Mapping[str, Any], returned: Any) -> None:
        """Set the output, now that it has run."""
        changed = _changed(context, before)
        if self.env:
            vault = Vault(self.env)
            for key, value in changed.items():
                context.results[key] = vault.wrapped(value)
        if returned is None or isinstance(returned, PipelineContext):
            changed.pop(self.step_id, None) if len(changed) > 1 else None
            returned = next(iter(changed.values())) if len(changed) == 1 else changed or None
        self.put_out(context, returned)


class AsyncOutputStep(OutputStep, AsyncTypedStep):
    """The same for a type whose `run` is a coroutine function."""

    async def run(self, context: Context) -> Any:
        """Run a step of the type, and set its output."""
        before = _values(context)
        raised: BaseException
        try:
            self.take(context, before, await AsyncTypedStep.run(self, context))
            return
        except Exception as error:  # noqa: BLE001  # the step may raise anything; it is raised below
            raised = self.hidden(error)
        raise raised


def _values(context: Context) -> dict[str, Any]:
    results = context.results
    return results.raw() if isinstance(results, ForkedResults) else dict(results)


def _changed(context: Context, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is under the keys that were set meanwhile."""
    return {
        key: value
        for key, value in _values(context).items()
        if key != KEPT
        and (key not in before or (before[key] is not value and not unchanged(before[key], value)))
    }


__all__ = ["NO_MAPPING", "AgentStep", "OutputStep", "StopPipeline", "agent_step", "way_to_call"]
