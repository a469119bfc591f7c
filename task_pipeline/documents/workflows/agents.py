"""The steps of a workflow that call functions: agents, and steps of registered types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ...context import PipelineContext
from ...errors import ConfigurationError, StepReturnError
from ...state.copying import unchanged
from ...state.results import ForkedResults
from ...steps import Default, PipelineStep, is_async
from ..resolving.references import own
from ..resolving.secrets import rendered
from ..resolving.vault import Vault
from ..typed_steps import Fields, Place, TypedStep, version_of
from .values import KEPT, View, put_out

Context = PipelineContext[Any]
NO_MAPPING: Any = ...

ONLY_INPUT, AND_CONTEXT, BY_NAME = range(3)


def way_to_call(function: Callable[..., Any]) -> int | None:
    """Whether an agent takes the context beside its input, and how; None if it takes neither."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C nobody knows
        return ONLY_INPUT
    way = _way(list(signature.parameters.values()))
    by_place = (None, None) if way == AND_CONTEXT else (None,)
    by_name = {"context": None} if way == BY_NAME else {}
    try:
        signature.bind(*by_place, **by_name)
    except TypeError:
        return None
    return way


def _way(parameters: list[inspect.Parameter]) -> int:
    named = [one for one in parameters if one.name == "context"]
    if named and named[0].kind is named[0].KEYWORD_ONLY:
        return BY_NAME
    by_place = [
        one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    takes = len(by_place) > 1 and (
        by_place[1].default is inspect.Parameter.empty or by_place[1] in named
    )
    return AND_CONTEXT if takes else ONLY_INPUT


class WorkflowStep(PipelineStep):
    """Base of them: `view` is what it can see, `env` the variables whose values stay hidden.

    `place` is where it is written.
    """

    if not TYPE_CHECKING:
        description = Default(lambda step: step.step_id)

    view: View
    env: frozenset[str]
    place: Place

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
        put_out(context, self.view, output)

    def hidden(self, error: Exception) -> BaseException:
        """What is raised in place of an exception: it must tell no secret."""
        return Vault(self.env).masked_error(error) if self.env else error


class AgentStep(WorkflowStep):
    """Calls a function with the step's input; what that returns is the step's output."""

    if not TYPE_CHECKING:
        version = Default(lambda step: step.written_version())

    def __init__(
        self,
        view: View,
        name: str,
        function: Callable[..., Any],
        way: int,
        mapping: Any,
        env: frozenset[str],
    ) -> None:
        self.step_id = view.step_id
        self.view = view
        self.place = view.place
        self.name = name
        self.function = function
        self.way = way
        self.mapping = mapping
        self.env = env

    def written_version(self) -> str:
        """The same for what is written alike."""
        given = [] if self.mapping is NO_MAPPING else [self.mapping]
        return version_of("agent", self.name, *given)

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
    view: View,
    name: str,
    function: Callable[..., Any],
    way: int,
    mapping: Any,
    env: frozenset[str],
) -> AgentStep:
    """The step for an agent, plain or asynchronous."""
    kind = AsyncAgentStep if is_async(function) else AgentStep
    return kind(view, name, function, way, mapping, env)


@dataclass(frozen=True)
class Render:
    """Resolves the references in the fields of a step."""

    view: View

    def __call__(self, fields: Fields, context: Context) -> Fields:
        """The fields with every reference in them replaced."""
        found = self.view.resolve(fields, "config", context)
        return own(found, f"the fields of step {self.view.step_id!r}")  # type: ignore[no-any-return]  # a dict, as it was


class OutputStep(TypedStep, WorkflowStep):
    """A step of a registered type in a workflow.

    Its output is what its `run` returns; else the value that it has set in `results`, or of
    several the dict of them.
    """

    def _check(self, fields: Fields) -> BaseModel:
        """The fields as the type has them; a number where it has text is written as one."""
        try:
            return self.kind.model.model_validate(fields)
        except ValidationError as error:
            for found in error.errors(include_url=False, include_context=False):
                if found["type"] == "string_type":
                    _write_as_text(fields, found["loc"], self.fields)
        return super()._check(fields)

    def run(self, context: Context) -> Any:
        """Run a step of the type, and set its output."""
        before = _values(context)
        raised: BaseException
        try:
            made = self.made(context)
            returned = made.run(context)
            if not inspect.isawaitable(returned):
                self.take(context, made, before, returned)
                return None
        except Exception as error:  # noqa: BLE001  # the step may raise anything; it is raised below
            raised = self.hidden(error)
        else:
            return self.awaited(context, made, before, returned)
        # Out of the handler, so that what has a secret in it is not its context.
        raise raised

    async def awaited(
        self, context: Context, made: PipelineStep, before: Mapping[str, Any], returned: Any
    ) -> None:
        """Wait for what the step returns, and set its output."""
        raised: BaseException
        try:
            self.take(context, made, before, await returned)
            return
        except Exception as error:  # noqa: BLE001  # the step may raise anything; it is raised below
            raised = self.hidden(error)
        raise raised

    def take(
        self, context: Context, made: PipelineStep, before: Mapping[str, Any], returned: Any
    ) -> None:
        """Set the output, now that it has run."""
        results = context.results
        keys = getattr(made, "sets", None)
        if keys is None:
            keys = _changed(context, before)
        if self.env:
            vault = Vault(self.env)
            for key in keys:
                results[key] = vault.wrapped(results[key])
                if isinstance(key, str) and vault.finds(key):
                    # Keys are shown to everybody.
                    del results[key]
                    raise ConfigurationError(
                        f"step {self.view.step_id!r}: a key of the results would have a secret in "
                        f"it, {vault.masked(key)!r}; name it without ${{env...}} ({self.place})"
                    )
        if returned is None or isinstance(returned, PipelineContext):
            found = {key: results[key] for key in keys if key in results}
            returned = next(iter(found.values())) if len(found) == 1 else found or None
            own_id = self.view.step_id
            if own_id in keys:  # what it has put there is its output
                if own_id in before:
                    results[own_id] = before[own_id]
                else:
                    del results[own_id]
        self.put_out(context, returned)


class AsyncOutputStep(OutputStep):
    """The same for a type whose `run` is a coroutine function."""

    async def run(self, context: Context) -> Any:
        """Run a step of the type, and set its output."""
        before = _values(context)
        raised: BaseException
        try:
            made = self.made(context)
        except Exception as error:  # noqa: BLE001  # it may raise anything; it is raised below
            raised = self.hidden(error)
        else:
            await self.awaited(context, made, before, made.run(context))
            return
        raise raised


def _write_as_text(fields: Any, path: tuple[int | str, ...], written: Any) -> None:
    """Make a text of the number, true or false that a reference at a path came to."""
    try:
        for key in path[:-1]:
            fields = fields[key]
            written = written if isinstance(written, str) else written[key]
        value = fields[path[-1]]
        written = written if isinstance(written, str) else written[path[-1]]
    except (LookupError, TypeError):  # it names a way to read the field, and no part of it
        return
    if isinstance(value, bool | int | float) and isinstance(written, str):
        fields[path[-1]] = rendered(value)


def _values(context: Context) -> dict[str, Any]:
    results = context.results
    return results.raw() if isinstance(results, ForkedResults) else dict(results)


def _changed(context: Context, before: Mapping[str, Any]) -> list[str]:
    """The keys that were set meanwhile."""
    # In a fork a value that was only read is a copy now.
    is_fork = isinstance(context.results, ForkedResults)
    return [
        key
        for key, value in _values(context).items()
        if key != KEPT
        and (
            key not in before
            or (before[key] is not value and not (is_fork and unchanged(before[key], value)))
        )
    ]
