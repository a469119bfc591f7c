"""What runs look like while they go on: in a terminal, a notebook, a file.

Everything but the printer works without rich.
"""

from .modes import OutputMode, ParallelDisplayMode
from .output import StepOutput, step_output
from .printer import ParallelEventPrinter, printer_for
from .summary import RunSummary
from .tracker import ParallelGroupTracker

__all__ = [
    "OutputMode",
    "ParallelDisplayMode",
    "ParallelEventPrinter",
    "ParallelGroupTracker",
    "RunSummary",
    "StepOutput",
    "printer_for",
    "step_output",
]
