"""`set_context`: a value into the context."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...errors import ContextCopyError, TemplateError
from ..mistakes.problems import shown
from ..registry import StepConfig, register_step
from .plain import Context, Key, PlainStep
from .rendering import rendered_again, rendered_value


class SetContextConfig(StepConfig):
    """The fields of `set_context`."""

    key: Key = Field(description="The key of the results to set; a plain key, dots too.")
    value: Any = Field(
        description="Any JSON value; texts in it are rendered at any depth, and a text that is "
        "nothing but one variable gives the variable's value."
    )
    if_exists: Literal["overwrite", "merge"] = Field(
        default="overwrite",
        description="What to do if the key is there: overwrite it, or merge: a dict into a dict "
        "at any depth, a list or an item at the end of a list, a text at the end of a text.",
    )
    nested_render: bool = Field(
        default=False,
        description="Render what comes out again while it has templates in it, at most 10 times; "
        "not what stands between {% raw %} and {% endraw %}.",
    )


@register_step("set_context")
class SetContext(PlainStep):
    """Put a value into the context."""

    renders_itself = ("value",)
    config: SetContextConfig

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return (self.config.key,)

    def run(self, context: Context) -> None:
        """Set the key. Raises `ValueError` for two values that cannot be merged."""
        config, results = self.config, context.results
        try:
            if config.nested_render:
                value = rendered_again(config.value, results)
            elif self.place.kind == "recipe":
                value = rendered_value(config.value, results)
            else:  # its references have been resolved, and what those brought is no template
                value = config.value
        except TemplateError as error:
            raise TemplateError(f"{self.where(context, 'value')}: {error}") from error
        except ContextCopyError as error:
            raise ContextCopyError(
                f"{self.where(context, 'value')}: {error}", key=error.key
            ) from error
        if config.if_exists == "merge" and results.get(config.key) is not None:
            value = self._merged(context, results[config.key], value)
        results[config.key] = value

    def _merged(self, context: Context, old: Any, value: Any) -> Any:
        if isinstance(old, dict) and isinstance(value, dict):
            return _merged_dicts(old, value)
        if isinstance(old, list):
            return [*old, *value] if isinstance(value, list) else [*old, value]
        if isinstance(old, str) and isinstance(value, str):
            return old + value
        raise ValueError(
            f"{self.where(context, 'if_exists')}: results[{self.config.key!r}] is {shown(old)}, "
            f"with which {shown(value)} cannot be merged; overwrite it, or make it a list first"
        )


def _merged_dicts(old: dict[Any, Any], new: dict[Any, Any]) -> dict[Any, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merged_dicts(before, value)
        else:
            merged[key] = value
    return merged
