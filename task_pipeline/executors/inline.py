"""Steps in the very thread that hands them over: one after another, and nowhere else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ..config import ErrorStrategy
from ..context import PipelineContext
from ..engine.calling import Call, Capabilities, Reply
from ..engine.step import current_step
from ..errors import ExecutorError
from ..plan import GroupNode, Kind, StepNode


class InlineExecutor:
    """Runs steps in the thread that hands them over, one at a time: for debuggers and tests.

    A breakpoint, `print` and a profiler see one plain thread. As that thread cannot be left
    while it is inside a step, no step can run here that a deadline or a group that ends early
    could end: a pipeline with one is refused when it is built. All instances are alike, and
    there is nothing to shut down.

    ```python
    import threading
    from task_pipeline import Pipeline

    def here(context): return threading.get_ident()
    def there(context): return threading.get_ident()

    results = Pipeline([[here, there]], executor="inline").run().results
    assert results["here"] == results["there"]
    ```
    """

    name = "inline"
    capabilities = Capabilities(
        leaves=False, shares_memory=True, needs_pickling=False, reports=True
    )
    max_calls = 1

    def problems(self, node: StepNode) -> list[str]:
        """What it cannot do for a step: end early. Without effect."""
        found = [
            f"{why}; a thread cannot be left while it is inside a step, so a step that may be "
            "ended early needs executor='thread' or 'process'"
            for why in _what_may_end(node)
        ]
        return found + unknown_options(node, "the inline executor")

    def preflight(self, steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
        """Nothing is wrong with any step or data: nothing travels."""
        return []

    def submit(self, calls: Sequence[Call]) -> None:
        """Run them here, one after another; and what their ends let begin, after them."""
        if not calls:
            return
        run_id, inside = calls[0].run_id, current_step.get()
        turns = _turns_of_this_thread()
        if turns and turns[-1].is_of(run_id, inside):
            # It was called by the end of a call. Beginning the next one from in there would
            # put a whole pipeline on the stack.
            turns[-1].waiting.extend(calls)
            return
        turn = _Turn(run_id, inside, calls)
        turns.append(turn)
        try:
            turn.take()
        finally:
            turns.pop()

    def stop(self, calls: Sequence[Call]) -> None:
        """What waits for its turn is passed over then; what has begun runs to its end."""

    def shutdown(self) -> None:
        """Do nothing: it holds nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return "InlineExecutor()"


class _Turn:
    """Calls of one run that the current thread is performing.

    `inside`: the step that the thread was in already, when it was given the first.
    """

    def __init__(self, run_id: str, inside: object, calls: Sequence[Call]) -> None:
        self._run_id = run_id
        self._inside = inside
        self.waiting = deque(calls)

    def is_of(self, run_id: str, inside: object) -> bool:
        """Whether calls are of this run, and not of one inside the step that runs just now.

        Such a step waits for its own run: its calls cannot be put off until it ends.
        """
        return run_id == self._run_id and inside is self._inside

    def take(self) -> None:
        """Perform all there are, and those that come meanwhile."""
        try:
            while self.waiting:
                call = self.waiting.popleft()
                if call.is_wanted:
                    call.perform()
                else:
                    call.ended(Reply())
        finally:
            # Only if one has raised what is no step's failure, such as an interrupt.
            for call in self.waiting:
                call.failed(
                    ExecutorError(
                        f"step {call.node.label} was not begun: the thread that was to run it "
                        "was interrupted inside the step before it"
                    )
                )


class _Here(threading.local):
    turns: list[_Turn]

    def __init__(self) -> None:
        self.turns = []


_here = _Here()


def _turns_of_this_thread() -> list[_Turn]:
    return _here.turns


def _what_may_end(node: StepNode) -> Iterator[str]:
    if not node.leavable:
        return
    found = 0
    for why in _reasons(node):
        found += 1
        yield why
    if not found:  # it stands in what a step of a run has opened
        yield "may be ended early by what is around it"


def _reasons(node: StepNode) -> Iterator[str]:
    if node.spec.timeout is not None:
        yield f"has a timeout of {node.spec.timeout:g} s"
    group: GroupNode | None = node.parent
    while group is not None:
        kind = "group" if group.parent is not None else "pipeline"
        if group.timeout is not None:
            yield f"is in the {kind} {group.label}, which has a timeout of {group.timeout:g} s"
        if _ends_early(group):
            yield f"is in the group {group.label}, which ends early (error_strategy FAIL_FAST)"
        group = group.parent


def _ends_early(group: GroupNode) -> bool:
    several = group.dynamic is not None or len(group.children) > 1
    is_fast = group.config.error_strategy is ErrorStrategy.FAIL_FAST
    return group.kind is Kind.PARALLEL and is_fast and several


def unknown_options(node: StepNode, executor: str) -> list[str]:
    """The problem of a step that has `executor_options`, for an executor that has none."""
    if not node.spec.options:
        return []
    named = ", ".join(map(repr, node.spec.options))
    return [f"has executor_options ({named}), of which {executor} knows none"]
