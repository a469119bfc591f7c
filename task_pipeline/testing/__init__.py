"""What the library's own tests are made of, for the tests of your pipelines.

`ManualClock` moves time by hand, `Gate` holds real threads at a point,
`Simulator` runs a pipeline without threads in any completion order,
`ExecutorConformance` is a suite of tests for an executor of your own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import ManualClock
    from .conformance import ExecutorConformance
    from .gates import Gate
    from .simulator import SimulatedFailure, SimulatedRun, Simulator

# Each is imported when it is first asked for: a worker that runs the suite's steps needs none.
_HOMES = {
    "ExecutorConformance": ".conformance",
    "Gate": ".gates",
    "ManualClock": ".clock",
    "SimulatedFailure": ".simulator",
    "SimulatedRun": ".simulator",
    "Simulator": ".simulator",
}


if not TYPE_CHECKING:  # a checker shall go on finding misspelt names

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home, __name__), name)
        return value


__all__ = [
    "ExecutorConformance",
    "Gate",
    "ManualClock",
    "SimulatedFailure",
    "SimulatedRun",
    "Simulator",
]
