"""What the application brings, called: functions, agents and handlers, plain or `async def`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .plain import Context


def takes(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Whether it can be called so, by its signature; True if it does not say."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def keep(context: Context, key: str, returned: Any, always: bool = True) -> Awaitable[None] | None:
    """Put what was returned under the key of the results, once it is there.

    None is kept only if `always`, and a context that was handed back never is.
    """
    if inspect.isawaitable(returned):
        return _keep_awaited(context, key, returned, always)
    if returned is not context and (always or returned is not None):
        context.results[key] = returned
    return None


async def _keep_awaited(context: Context, key: str, returned: Awaitable[Any], always: bool) -> None:
    keep(context, key, await returned, always)


def own(value: Any) -> Any:
    """The value, with dicts and lists of its own: the fields of a step serve for many runs."""
    return _own(value, {})


def _own(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Mapping):
        mapping: dict[Any, Any] = {}
        made[id(value)] = mapping
        mapping.update({key: _own(item, made) for key, item in value.items()})
        return mapping
    if isinstance(value, list):
        items: list[Any] = []
        made[id(value)] = items
        items += [_own(item, made) for item in value]
        return items
    return value
