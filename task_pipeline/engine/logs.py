"""Which step a line of the log comes from."""

from __future__ import annotations

import logging
from typing import Any

from ..plan import Kind, StepNode
from .step import current_step


class StepLogFilter(logging.Filter):
    """Gives each record that a step logs its `run_id`, `step_id`, `path` and `attempt`.

    Put on a handler, so that it sees the records of every logger, it makes them known to
    the format: in threads, coroutines and `asyncio.to_thread` alike, with nothing to be
    passed around. Outside of a step they are "", "", "" and 0. What a record was given by
    `extra` under one of these names stays.

    ```python
    import logging
    from task_pipeline import Pipeline, StepLogFilter

    handler = logging.StreamHandler()
    handler.addFilter(StepLogFilter())
    handler.setFormatter(logging.Formatter("%(step_id)s at %(path)s: %(message)s"))
    logger = logging.getLogger("shop")
    logger.addHandler(handler)

    def pay(context): logger.warning("declined")         # "pay at 0.1: declined"
    def ship(context): ...

    Pipeline([[ship, pay]]).run()
    ```
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with the attributes added."""
        step = current_step.get()
        if step is None:
            facts: dict[str, object] = {"run_id": "", "step_id": "", "path": "", "attempt": 0}
        else:
            facts = {
                "run_id": step.run.run_id,
                "step_id": step.step_id,
                "path": step.node.path,
                "attempt": step.attempt,
            }
        # One that passes several handlers keeps what the first has found: it may be passed on
        # in another thread.
        for name, value in facts.items():
            record.__dict__.setdefault(name, value)
        return True


def is_identified(node: StepNode) -> bool:
    """Whether a step belongs to a parallel group that shows its tasks' identifiers."""
    group: Any = node.parent
    while group is not None and group.kind is not Kind.PARALLEL:
        group = group.parent
    return group is not None and group.config.show_task_identifiers
