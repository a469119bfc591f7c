"""What a step raises to end its run, or its turn, and well. No errors, so not in their tree."""

from __future__ import annotations

from typing import Any


class StopPipeline(Exception):
    """Raised by a step to end its run early, and well.

    `result` becomes the step's result, as if it had been returned; what has not started is
    skipped, what runs is left.

    ```python
    from task_pipeline import Pipeline, StopPipeline

    def look(context): raise StopPipeline("nothing to do")
    def work(context): ...

    context = Pipeline([look, work]).run()
    assert context.results == {"look": "nothing to do"}
    ```
    """

    def __init__(self, result: Any = None) -> None:
        """Keep the result."""
        super().__init__(result)
        self.result = result


class SkipStep(Exception):
    """Raised by a step that has nothing to do: its outcome is `skipped`, and the run goes on.

    ```python
    from task_pipeline import Pipeline, SkipStep

    def upload(context): raise SkipStep("nothing has changed")

    pipeline = Pipeline([upload])
    pipeline.run()
    assert pipeline.get_status()["step_details"]["upload"]["status"] == "skipped"
    ```
    """

    def __init__(self, reason: str = "") -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason
