"""Steps on a Dask cluster."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor import DaskExecutor


if not TYPE_CHECKING:  # imported when first asked for: a cluster's worker does not need it

    def __getattr__(name: str) -> Any:
        if name != "DaskExecutor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = import_module(".executor", __name__).DaskExecutor
        return value


__all__ = ["DaskExecutor"]
