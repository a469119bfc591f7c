"""Errors: one tree, facts that survive pickling, texts that say what passed which deadline."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import task_pipeline.errors
from task_pipeline import (
    ConfigurationError,
    ContextCopyError,
    ContextTypeError,
    ExecutorError,
    GroupTimeoutError,
    MergeConflictError,
    NotPortableError,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    PoolShutdownError,
    ReducerError,
    RunCancelledError,
    RunTimeoutError,
    StepAbandonedError,
    StepCancelledError,
    StepError,
    StepReturnError,
    StepTimeoutError,
    TaskPipelineError,
    WorkerDiedError,
    step,
)
from task_pipeline.testing import Gate, ManualClock

Context = PipelineContext[Any]


def named(step_id: str, error: Exception | None = None, **attributes: Any) -> Any:
    def work(context: Context) -> None:
        context.results[str(context.step_id)] = True
        if error is not None:
            raise error

    return step(step_id=step_id, **attributes)(work)


a, c, d = map(named, "acd")


# The tree


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (PipelineDefinitionError, (TaskPipelineError, ValueError)),
        (ConfigurationError, (TaskPipelineError, ValueError)),
        (StepError, (TaskPipelineError,)),
        (StepReturnError, (StepError, TypeError)),
        (StepTimeoutError, (StepError, TimeoutError)),
        (StepCancelledError, (StepError,)),
        (StepAbandonedError, (StepCancelledError,)),
        (ParallelGroupError, (TaskPipelineError, ExceptionGroup, RuntimeError)),
        (GroupTimeoutError, (TaskPipelineError, TimeoutError)),
        (RunTimeoutError, (TaskPipelineError, TimeoutError)),
        (RunCancelledError, (TaskPipelineError,)),
        (ContextCopyError, (TaskPipelineError, TypeError)),
        (ContextTypeError, (TaskPipelineError, TypeError)),
        (MergeConflictError, (TaskPipelineError,)),
        (ReducerError, (TaskPipelineError,)),
        (PoolShutdownError, (TaskPipelineError, RuntimeError)),
    ],
)
def test_the_tree_of_errors_is_the_one_that_is_drawn(error: type, bases: tuple[type, ...]) -> None:
    assert error.__bases__ == bases
    drawn = next(line for line in TREE if f" {error.__name__}" in line)
    for base in bases:
        assert base in (TaskPipelineError, StepError, StepCancelledError) or base.__name__ in drawn


TREE = str(task_pipeline.errors.__doc__).splitlines()

ERRORS: list[Exception] = [
    PipelineDefinitionError(["one", "two"]),
    PipelineDefinitionError("one"),
    ConfigurationError("text"),
    StepError("text", step_id="b", path="1.0", attempt=2),
    StepReturnError("text", step_id="b", path="1.0", attempt=2),
    StepTimeoutError("text", step_id="b", path="1.0"),
    WorkerDiedError("text", step_id="b", path="1.0"),
    NotPortableError(["results['a']", "results['b']"]),
    ExecutorError("text"),
    StepCancelledError("text"),
    StepAbandonedError("text", step_id="b"),
    ParallelGroupError("text", [ValueError("a"), OSError(2, "b")], {"a": Outcome.FAILED}),
    ParallelGroupError("text", [ParallelGroupError("inner", [ValueError("a")])]),
    GroupTimeoutError("text", outcomes={"a": Outcome.TIMED_OUT}, errors=[ValueError("a")]),
    RunTimeoutError("text"),
    RunCancelledError("text"),
    ContextCopyError("text", key="results['k']"),
    ContextTypeError("text"),
    MergeConflictError("text", key="k", branches=["a", "b"]),
    ReducerError("text"),
    PoolShutdownError("text"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("through", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy])
def test_an_error_can_be_pickled_with_its_facts(
    error: Exception, through: Callable[[Exception], Exception]
) -> None:
    error.__notes__ = ["step 'b' at path 1.0, attempt 1 of 1"]
    twin = through(error)
    assert type(twin) is type(error)
    assert twin.__notes__ == ["step 'b' at path 1.0, attempt 1 of 1"]
    assert str(twin) == str(error)
    assert repr(vars(twin)) == repr(vars(error))
    if isinstance(error, ExceptionGroup):
        assert isinstance(twin, ExceptionGroup)
        assert repr(twin.exceptions) == repr(error.exceptions)


def test_errors_carry_facts() -> None:
    error = StepError("text", step_id="b", path="1.0", attempt=2)
    assert (str(error), error.step_id, error.path, error.attempt) == ("text", "b", "1.0", 2)
    plain = StepError("text")
    assert (plain.step_id, plain.path, plain.attempt) == ("", "", 1)
    assert GroupTimeoutError("text").outcomes == {}
    assert GroupTimeoutError("text").errors == ()
    conflict = MergeConflictError("text", key="k", branches=["a"])
    assert (str(conflict), conflict.key, conflict.branches) == ("text", "k", ("a",))
    copying = ContextCopyError("text", key="results['k']")
    assert (str(copying), copying.key) == ("text", "results['k']")
    group = ParallelGroupError("text", [ValueError("a")], {"a": Outcome.FAILED})
    assert (group.message, group.outcomes) == ("text", {"a": "failed"})
    assert str(group) == "text (1 sub-exception)"


def test_a_definition_error_lists_every_mistake() -> None:
    one, two = PipelineDefinitionError("first"), PipelineDefinitionError(["first", "second"])
    assert (one.problems, two.problems) == (("first",), ("first", "second"))
    assert str(one) == "1 mistake in the pipeline's definition:\n  first"
    assert str(two) == "2 mistakes in the pipeline's definition:\n  first\n  second"


# Deadlines and cancellation


def test_a_group_that_timed_out_says_how_many_ended_and_names_the_rest() -> None:
    gate, clock = Gate(), ManualClock()
    boom = ValueError("boom")

    def waits(context: Context) -> None:
        gate.wait()

    config = ParallelConfig(timeout=5, max_workers=3)
    group = Parallel([named("b", boom), waits, a, [c, waits], waits], name="g", config=config)
    context: Context = PipelineContext()
    with clock.installed():
        run = Pipeline([group]).start(context)
    gate.wait_until_reached(3)  # all three workers: the others have ended
    clock.advance(5)
    with pytest.raises(GroupTimeoutError) as info:
        run.result(timeout=30)
    gate.open()
    error = info.value
    assert isinstance(error, TimeoutError)
    assert error.errors == (boom,)
    outcomes = {"b": "failed", "waits": "timed_out", "a": "succeeded"}
    assert error.outcomes == {**outcomes, "serial_group_0.3": "timed_out", "waits#3": "timed_out"}
    assert str(error).startswith(
        "group 'g' at path 0 timed out after 5.0 s: 2 of 5 branches ended, 1 succeeded, and it "
        "needs every branch. Not ended: 'waits' at path 0.1, 'serial_group_0.3' at path 0.3"
    )
    assert context.errors == [boom, error]


def test_only_the_first_twenty_of_those_that_did_not_end_are_named() -> None:
    gate, clock = Gate(), ManualClock()
    config = ParallelConfig(timeout=5, max_workers=2)
    group = Parallel([lambda context: gate.wait()] * 25, config=config)
    with clock.installed():
        run = Pipeline([group]).start()
    gate.wait_until_reached(2)
    clock.advance(5)
    with pytest.raises(GroupTimeoutError, match=r"'lambda#20' at path 0.19 and 5 more\. Consider"):
        run.result(timeout=30)
    gate.open()


@pytest.mark.parametrize(
    ("timeout", "config", "kind", "text"),
    [
        (
            *(5.0, PipelineConfig(), StepTimeoutError),
            "step 'waits' at path 0 timed out after 5.0 s in attempt 1; raise its timeout",
        ),
        (
            *(None, PipelineConfig(timeout=5), RunTimeoutError),
            "the run of 'pipeline' timed out after 5.0 s; raise PipelineConfig.timeout",
        ),
    ],
)
def test_step_and_run_deadlines_say_which_and_how_long(
    timeout: float | None, config: PipelineConfig, kind: type[TaskPipelineError], text: str
) -> None:
    gate, clock = Gate(), ManualClock()
    waits = step(step_id="waits", timeout=timeout)(lambda context: gate.wait())
    with clock.installed():
        run = Pipeline([waits], config).start()
    gate.wait_until_reached()
    clock.advance(5)
    with pytest.raises(kind) as info:
        run.result(timeout=30)
    gate.open()
    assert str(info.value).startswith(text)


def test_a_cancelled_run_raises_and_keeps_what_was_done() -> None:
    gate = Gate()
    context: Context = PipelineContext()
    run = Pipeline([a, lambda context: gate.wait(), c]).start(context)
    gate.wait_until_reached()
    run.cancel()
    with pytest.raises(RunCancelledError, match="the run of 'pipeline' was cancelled before it"):
        run.result(timeout=30)
    gate.open()
    assert context.results == {"a": True}
