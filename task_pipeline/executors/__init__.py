"""Who calls steps: threads, processes, a cluster; and the executors of the classic interface."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.calling import Call, Capabilities, Reply, StepExecutor
    from .classic import ParallelTaskExecutor, PipelineExecutor, TaskExecutor
    from .dask import DaskExecutor
    from .futures import FuturesExecutor
    from .inline import InlineExecutor
    from .performing import open_reply, perform_packed
    from .portable import Packed, dumps
    from .process import ProcessExecutor
    from .shipping import Shipment, preflight, shipment_of

# Each is imported when it is first asked for: a worker needs none of them, nor what they need.
_HOMES = {
    "..engine.calling": "Call Capabilities Reply StepExecutor",
    ".classic": "ParallelTaskExecutor PipelineExecutor TaskExecutor",
    ".dask": "DaskExecutor",
    ".futures": "FuturesExecutor",
    ".inline": "InlineExecutor",
    ".performing": "open_reply perform_packed",
    ".portable": "Packed dumps",
    ".process": "ProcessExecutor",
    ".shipping": "Shipment preflight shipment_of",
}
_home_of = {name: home for home, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker shall go on finding misspelt names

    def __getattr__(name: str) -> Any:
        home = _home_of.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(home, __name__), name)
        globals()[name] = value
        return value


__all__ = [
    "Call",
    "Capabilities",
    "DaskExecutor",
    "FuturesExecutor",
    "InlineExecutor",
    "Packed",
    "ParallelTaskExecutor",
    "PipelineExecutor",
    "ProcessExecutor",
    "Reply",
    "Shipment",
    "StepExecutor",
    "TaskExecutor",
    "dumps",
    "open_reply",
    "perform_packed",
    "preflight",
    "shipment_of",
]
