"""`python`: a function that the application has registered, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ..mistakes.problems import did_you_mean
from ..registry import AGENTS, FUNCTIONS, StepConfig, register_step
from ..surroundings import Surroundings
from ..typed_steps import Fields
from .calls import keep, own, takes
from .plain import Context, Finding, Key, PlainStep, has_tag


class PythonConfig(StepConfig):
    """The fields of `python`."""

    function: Key = Field(description="The name of a function that the application brings.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="Its arguments, by name, beside the context."
    )
    output_key: Key | None = Field(
        default=None,
        description="The key of the results for what it returns; by default its name, unless it "
        "returns null.",
    )


class _Found(NamedTuple):
    function: Callable[..., Any]
    kind: Literal["function", "agent", "handler"]


@register_step("python")
class Python(PlainStep):
    """Call a function of the application's: `fn(context, **args)`.

    One that cannot be called so, as it does not take the context, is called as `fn(**args)`.
    It is looked for in `functions=`, then in what `@register_function` has registered. After
    these come agents, called as `fn(args, context)` or `fn(args)`, and handlers, called as
    `fn(args, context)`. Each may be `async def`.
    """

    config: PythonConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse the name of a function that there is not."""
        name = fields.get("function")
        if isinstance(name, str) and not has_tag(name) and _find(name, surroundings) is None:
            yield ("function",), *_unknown(name, surroundings)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return (self.config.output_key or self.config.function,)

    def run(self, context: Context) -> Awaitable[None] | None:
        """Call it. Raises what it raises, and `ValueError` if it cannot be called so."""
        config = self.config
        found = _find(config.function, self.surroundings)
        if found is None:
            said = "; ".join(_unknown(config.function, self.surroundings))
            raise ValueError(f"{self.where(context, 'function')}: {said}")
        returned = self._call(context, found, own(config.args))
        key = config.output_key
        return keep(context, key or config.function, returned, always=key is not None)

    def _call(self, context: Context, found: _Found, args: dict[str, Any]) -> Any:
        function = found.function
        if found.kind == "handler":
            return function(args, context)
        if found.kind == "agent":
            return function(args, context) if takes(function, args, context) else function(args)
        if takes(function, context, **args):
            return function(context, **args)
        if takes(function, **args):
            return function(**args)
        raise ValueError(
            f"{self.where(context, 'args')}: {self.config.function}"
            f"{inspect.signature(function)} cannot be called with the context and "
            f"{', '.join(args) or 'no arguments'}; give the arguments that it takes"
        )


def _find(name: str, surroundings: Surroundings) -> _Found | None:
    for functions in (surroundings.functions, FUNCTIONS):
        if name in functions:
            return _Found(functions[name], "function")
    for agents in (surroundings.agents, AGENTS):
        if name in agents:
            return _Found(agents[name], "agent")
    if name in surroundings.handlers:
        return _Found(surroundings.handlers[name], "handler")
    return None


def _unknown(name: str, surroundings: Surroundings) -> tuple[str, str]:
    known = {*surroundings.functions, *FUNCTIONS, *surroundings.agents, *AGENTS}
    near = did_you_mean(name, known | set(surroundings.handlers))
    how = f'load_pipeline functions={{"{name}": fn}}, or mark it with @register_function("{name}")'
    hint = f"{near} Or give {how}" if near else f"give {how}"
    return f"there is no function {name!r}", hint
