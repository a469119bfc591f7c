"""What a display can be told to do, in words."""

from __future__ import annotations

from enum import StrEnum


class ParallelDisplayMode(StrEnum):
    """How a `ParallelEventPrinter` shows a run.

    - `REALTIME`: a line for each event, indented by depth, as they come
    - `PROGRESS`: a tree of groups and steps with bars, redrawn in place; without a
      terminal, one line for each group that has ended

    ```python
    from task_pipeline.display import ParallelDisplayMode

    assert ParallelDisplayMode("progress") is ParallelDisplayMode.PROGRESS
    ```
    """

    REALTIME = "realtime"
    PROGRESS = "progress"


class OutputMode(StrEnum):
    """How what steps print and log is shown.

    - `PREFIX`: line by line, each with the branch and the step it is from before it
    - `GROUP`: what comes from one branch of a parallel group in one block, once it has ended

    ```python
    from task_pipeline.display import OutputMode

    assert OutputMode("prefix") is OutputMode.PREFIX
    ```
    """

    PREFIX = "prefix"
    GROUP = "group"
