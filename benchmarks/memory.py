"""What work takes in memory at its peak, over an idle process that has imported the library."""

import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.steps import NoOp
from task_pipeline import Pipeline, PipelineContext

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def growth(shape: str, steps: int) -> int:
    """Bytes between the idle process and its peak while `steps` steps are built and run.

    `shape` is "serial" or "parallel". Runs in a process that does nothing else.
    """
    kept: list[Any] = []

    def run() -> None:
        built: list[Any] = [NoOp(f"step_{index}") for index in range(steps)]
        pipeline = Pipeline(built if shape == "serial" else [built])
        kept.append((pipeline, pipeline.run(PipelineContext())))

    return growing(run)


def growing(work: Callable[[], object]) -> int:
    """Bytes between the idle process and its peak during `work`."""
    gc.collect()
    idle = _forget_peak()
    work()
    return _peak() - idle


def _forget_peak() -> int:
    """Make the high-water mark start from here; return the bytes in use now."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        # Not Linux, or not allowed: the peak of importing may then hide a little growth.
        return _peak()
    return _field("VmRSS")


def _peak() -> int:
    if STATUS.exists():
        # Not ru_maxrss where this exists: that one starts at the parent's own peak.
        return _field("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _field(name: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{STATUS} has no {name}")
