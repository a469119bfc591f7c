"""The steps that are timed: each does as little as its line of the budget allows."""

from typing import Any

from task_pipeline import PipelineContext, PipelineStep


class NoOp(PipelineStep):
    """Return the context untouched."""

    def __init__(self, step_id: str) -> None:
        self._step_id = step_id

    @property
    def step_id(self) -> str:
        return self._step_id

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        return context


class Writing(NoOp):
    """Write one key and report progress, as a small real step does."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results[self._step_id] = 1
        context.update_step_progress(100)
        return context


class Counting(NoOp):
    """Add one to a number that is there."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results["value"] += 1
        return context


class Noting(NoOp):
    """Write one key of its own."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results[self._step_id] = 1
        return context


class Appending(NoOp):
    """Add to a list that all share."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results.setdefault("values", []).append(1)
        return context


class Adding(NoOp):
    """Add a key to a dict that all share."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results.setdefault("values", {})[self._step_id] = 1
        return context


class Touching(NoOp):
    """Read one small value and change it where it lies, leaving the rest alone."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results[self._step_id]["count"] += 1
        return context


class Crunching(NoOp):
    """Keep a core busy for a while."""

    def __init__(self, step_id: str, turns: int) -> None:
        super().__init__(step_id)
        self._turns = turns

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results[self._step_id] = crunch(self._turns)
        return context


class Glancing(NoOp):
    """Read a large array in a few places."""

    def run(self, context: PipelineContext[Any]) -> PipelineContext[Any]:
        context.results[self._step_id] = glance(context.results["numbers"])
        return context


def crunch(turns: int) -> int:
    """Work that holds the interpreter."""
    total = 0
    for number in range(turns):
        total += number & 7
    return total


def glance(numbers: Any) -> int:
    """The sum of a few numbers from all over an array."""
    return int(numbers[:: len(numbers) // 20].sum())
