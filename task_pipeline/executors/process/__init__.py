"""Steps in processes of their own, which can be killed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor import ProcessExecutor
    from .shared import shared_process_executor

# Imported when first asked for: a worker process needs neither.
_HOMES = {"ProcessExecutor": ".executor", "shared_process_executor": ".shared"}


if not TYPE_CHECKING:  # a checker shall go on finding misspelt names

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(home, __name__), name)
        globals()[name] = value
        return value


__all__ = ["ProcessExecutor", "shared_process_executor"]
