"""Types whose work the application does: `llm_generate`, `mcp`, and any that it names itself."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from ..registry import StepConfig, StepType, register_step
from ..surroundings import Surroundings
from ..typed_steps import Fields
from .calls import keep, own
from .plain import Context, Finding, Key, PlainStep


class OpenConfig(StepConfig):
    """The fields of a type that is the application's: any."""

    model_config = ConfigDict(extra="allow", frozen=True)

    output_key: Key | None = Field(
        default=None,
        description="The key of the results for what the handler returns; by default the type's "
        "name.",
    )


class HandlerStep(PlainStep):
    """Call a handler of the application's, `fn(config, context)`, and keep what it returns.

    `config` is a dict of the fields, rendered; the function may be `async def`. Bring it with
    `load_pipeline(document, handlers={"name": fn})`.
    """

    handler: ClassVar[str] = ""
    config: OpenConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse it, if the application has brought no handler for it."""
        if cls.handler not in surroundings.handlers:
            yield (), *_missing(cls.handler)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return (self.key,)

    def run(self, context: Context) -> Awaitable[None] | None:
        """Call the handler. Raises what it raises."""
        handler = self.surroundings.handlers[self.type_name]
        given = _fields_of(self.config)
        return keep(context, self.key, handler(self.as_given(given), context))

    @property
    def type_name(self) -> str:
        """The type's name, which is the handler's too."""
        return self.handler

    @property
    def key(self) -> str:
        """Where what is returned goes."""
        return self.config.output_key or self.type_name

    def as_given(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields as the handler is given them."""
        return fields


class LlmGenerateConfig(OpenConfig):
    """The fields of `llm_generate`; others go to the handler as they are."""

    prompt: str = Field(description="What to ask.")
    model: str | None = Field(default=None, description="Which model, in the handler's words.")
    output_format: str | dict[str, Any] | list[Any] = Field(
        default="text",
        description='What to answer with: "text", "json", "files" (a list of {path, content}), '
        "or a JSON schema.",
    )
    output_key: Key | None = Field(
        default="llm_output", description="The key of the results for the answer."
    )


@register_step("llm_generate")
class LlmGenerate(HandlerStep):
    """Ask a language model, through the application's handler `llm_generate`."""

    handler = "llm_generate"
    config: LlmGenerateConfig

    @property
    def key(self) -> str:
        """Where what is returned goes."""
        return self.config.output_key or "llm_output"


class McpConfig(OpenConfig):
    """The fields of `mcp`; others go to the handler as they are."""

    server: str | dict[str, Any] | None = Field(
        default=None, description="Which server, in the handler's words."
    )
    tool_name: str | None = Field(default=None, description="The tool to call.")
    tool: str | None = Field(default=None, description="The same as `tool_name`.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="The tool's arguments.")
    result_key: Key | None = Field(
        default=None,
        description="The key of the results for what the tool returns: tool_result by default.",
    )
    output_key: Key | None = Field(default=None, description="The same as `result_key`.")

    @model_validator(mode="after")
    def _names_one_tool(self) -> McpConfig:
        if (self.tool_name is None) == (self.tool is None):
            raise ValueError("one tool must be named: give tool_name")
        if self.result_key is not None and self.output_key is not None:
            raise ValueError("give either result_key or output_key, not both")
        return self


@register_step("mcp")
class Mcp(HandlerStep):
    """Call a tool of an MCP server, through the application's handler `mcp`."""

    handler = "mcp"
    config: McpConfig

    @property
    def key(self) -> str:
        """Where what is returned goes."""
        return self.config.result_key or self.config.output_key or "tool_result"

    def as_given(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields, with the tool's name under one name."""
        tool = fields.pop("tool", None)
        return fields if tool is None else {**fields, "tool_name": tool}


class _Named(HandlerStep):
    """A step of a type that only the application knows."""

    def __init__(self, name: str, config: OpenConfig) -> None:
        self._name = name
        self.config = config

    @property
    def type_name(self) -> str:
        """The type's name, which is the handler's too."""
        return self._name

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Nothing to refuse: there is such a type only as there is a handler for it."""
        return ()


@dataclass(frozen=True, eq=False)
class HandlerType(StepType):
    """The type of the steps that one of the application's handlers does."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy make it again of its name."""
        return handler_type, (self.name,)


@functools.lru_cache(maxsize=1024)
def handler_type(name: str) -> StepType:
    """The type of that name, of a handler that is in no registry; it takes any fields.

    `output_key` is the key for what the handler returns, by default the type's name.
    """
    return HandlerType(
        name=name,
        step_class=_Named,
        model=OpenConfig,
        make=functools.partial(_Named, name),
        description=f"Call the application's handler {name!r}.",
        attributes=(),
        is_async=False,
    )


def _fields_of(config: OpenConfig) -> dict[str, Any]:
    """The fields that were given, and those that have a default."""
    fields = {
        name: value
        for name in type(config).model_fields
        if (value := getattr(config, name)) is not None or name in config.model_fields_set
    }
    given: dict[str, Any] = own({**fields, **(config.model_extra or {})})
    return given


def _missing(name: str) -> tuple[str, str]:
    found = f"there is no handler for type {name!r}, whose work the application does"
    hint = (
        f'give load_pipeline handlers={{"{name}": fn}}, which is called as fn(config, context); or '
        f'register the function, @register_handler("{name}"), as a --plugin of the command line '
        "does"
    )
    return found, hint
