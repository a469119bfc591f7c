"""A suite of tests for executors: what each guarantees, wherever it runs a pipeline's steps."""

from __future__ import annotations

from .guarantees.deadlines import DeadlinesConformance
from .guarantees.merging import MergingConformance
from .guarantees.nesting import NestingConformance
from .guarantees.outcomes import OutcomesConformance
from .guarantees.reporting import ReportingConformance
from .guarantees.travelling import TravellingConformance

__all__ = ["ExecutorConformance"]


class ExecutorConformance(
    NestingConformance,
    OutcomesConformance,
    MergingConformance,
    DeadlinesConformance,
    TravellingConformance,
    ReportingConformance,
):
    """All tests of an executor: subclass it in a file of tests, and say how to make yours.

    Each test names the guarantee it checks. What an executor says in its `capabilities` that it
    cannot do is not asked of it; but that it refuses it, if it must.

    - `make_executor()` is called once for all tests: whatever `Pipeline(executor=...)` takes
    - `make_narrow_executor()`, if written, makes one of the kind that has a single worker
    - `close_executor(executor)` is called with what was made; by default its `shutdown()` is
    - `workers = 2`: how many steps it runs at once, at least; 1 for one after another
    - `lateness = 0.05`: how many seconds after a deadline a run may go on, in the best of three
      tries; more for a busy machine, or one far away
    - `latency = 0.0`: how many seconds a step that does nothing takes, if that is more than a few
      hundredths: deadlines are set so much later
    - `patience = 30.0`: how many seconds a test waits for anything until it fails
    - `many = 1_000` branches has a large group; `drawn = 30` pipelines are drawn by chance and
      compared with what they come to on threads, and with one thing done after another
    - `starts_runs = True`: whether a step can start a run of its own where it runs, for which all
      of this library must be importable there; `has_numpy = True`: whether numpy is there too

    The executor's workers must be able to read and write the folders of this machine for
    temporary files, and have its clock.

    ```python
    from concurrent.futures import ThreadPoolExecutor
    from task_pipeline.testing.conformance import ExecutorConformance

    class TestThreads(ExecutorConformance):
        def make_executor(self):
            return ThreadPoolExecutor(4)

        def make_narrow_executor(self):
            return ThreadPoolExecutor(1)
    ```
    """
