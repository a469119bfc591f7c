"""What the library's own tests are made of, for the tests of your pipelines.

`ManualClock` moves time by hand, `Gate` holds real threads at a point,
`Simulator` runs a pipeline without threads in any completion order.
"""

from .clock import ManualClock
from .gates import Gate
from .simulator import SimulatedFailure, SimulatedRun, Simulator

__all__ = ["Gate", "ManualClock", "SimulatedFailure", "SimulatedRun", "Simulator"]
