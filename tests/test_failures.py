"""What a failure raises and leaves: the step's own error, kept, recorded once, and where it was."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    MergeConflictError,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    Serial,
    step,
)
from task_pipeline.testing import Gate, Simulator

Context = PipelineContext[Any]


def named(step_id: str, error: Exception | None = None, **attributes: Any) -> Any:
    def work(context: Context) -> None:
        context.results[str(context.step_id)] = True
        if error is not None:
            raise error

    return step(step_id=step_id, **attributes)(work)


a, c, d = map(named, "acd")


def caught(steps: Any, context: Context | None = None, **settings: Any) -> Any:
    with pytest.raises(Exception) as info:
        Pipeline(steps, PipelineConfig(**settings)).run(context)
    return info.value


# A group that fails


@pytest.mark.parametrize("fail_fast", [True, False])
@pytest.mark.parametrize("strategy", ErrorStrategy)
def test_a_failed_group_says_who_failed_and_holds_the_original(
    fail_fast: bool, strategy: ErrorStrategy
) -> None:
    boom = ValueError("boom")
    group = Parallel([a, named("b", boom), c], config=ParallelConfig(error_strategy=strategy))
    context: Context = PipelineContext()
    pipeline = Pipeline([d, group], PipelineConfig(fail_fast=fail_fast))
    run = Simulator(pipeline, seed=1).run(context)
    assert context.errors == [boom]
    if not fail_fast:
        assert run.error is None
        return
    error = run.error
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error, ParallelGroupError)
    with pytest.raises(RuntimeError, match="Parallel group failed"):
        raise error
    assert error.exceptions == (boom,)
    assert str(error).startswith(
        "Parallel group failed: 'parallel_group_1' at path 1 needs every branch to succeed, and "
        "1 of 3 failed\n  'b' at path 1.1: ValueError: boom"
    )
    assert [*error.outcomes] == ["a", "b", "c"]
    assert error.outcomes["b"] is Outcome.FAILED
    frames = traceback.extract_tb(boom.__traceback__)
    assert (frames[-1].name, frames[-1].line) == ("work", "raise error")
    assert boom.__notes__ == ["step 'b' at path 1.1, attempt 1 of 1"]
    assert "boom" in "".join(traceback.format_exception(error))


def test_except_star_catches_what_the_steps_raised() -> None:
    steps = [[named("b", ValueError("b")), [a, [named("e", OSError("e")), c]], d]]
    found: list[BaseException] = []
    groups: list[BaseException] = []
    try:
        Pipeline(steps).run()
    except* ValueError as group:
        groups.append(group)
        found += group.exceptions
    except* OSError as group:
        groups.append(group)
        [nested] = group.exceptions
        assert isinstance(nested, ParallelGroupError)
        found += nested.exceptions
    assert list(map(repr, found)) == ["ValueError('b')", "OSError('e')"]
    for part in groups:
        assert isinstance(part, ParallelGroupError)
        assert part.outcomes == {"b": "failed", "serial_group_0.1": "failed", "d": "succeeded"}


def test_parts_of_a_group_error_are_group_errors() -> None:
    error = caught([[named("b", ValueError("b")), named("e", OSError("e")), a]])
    part, rest = error.split(OSError)
    assert (type(part), type(rest)) == (ParallelGroupError, ParallelGroupError)
    assert part.outcomes == rest.outcomes == error.outcomes
    assert error.subgroup(KeyError) is None
    assert repr(part.exceptions) == "(OSError('e'),)"


def test_a_failure_deep_down_is_named_with_its_path() -> None:
    error = caught([d, [a, [c, [a, named("b", ValueError("boom"))]]]])
    assert str(error).startswith("Parallel group failed: 'parallel_group_1' at path 1 needs every")
    assert "'serial_group_1.1' at path 1.1: " in str(error)
    assert "'b' at path 1.1.1.1: ValueError: boom" in str(error)
    assert isinstance(error.exceptions[0], ParallelGroupError)
    assert error.exceptions[0].outcomes == {"a#2": "succeeded", "b": "failed"}


def test_a_branch_that_is_a_series_names_the_step_that_failed() -> None:
    boom = ValueError("first line\nsecond line")
    error = caught([[a, [c, named("b", boom), d]]])
    assert error.exceptions == (boom,)
    assert str(error).splitlines()[1:] == [
        "  'serial_group_0.1' at path 0.1: ValueError: first line",
        "  second line",
        "    step 'b' at path 0.1.1, attempt 1 of 1 (1 sub-exception)",
    ]


def test_branches_of_one_name_all_have_their_outcome() -> None:
    groups = [Parallel([named("b", ValueError("b"))], name="g"), Parallel([a], name="g")]
    error = caught([[*groups]])
    assert error.outcomes == {"g": "failed", "g (0.1)": "succeeded"}


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        (ParallelConfig(operator=LogicOperator.OR), "at least one branch"),
        (ParallelConfig(operator=LogicOperator.QUORUM, quorum=2), "at least 2 branches"),
    ],
)
def test_the_text_says_what_the_group_needed(config: ParallelConfig, needs: str) -> None:
    failing = [named("b", ValueError("b")), named("e", ValueError("e"))]
    error = caught([Parallel([*failing], name="g", config=config)])
    assert f"'g' at path 0 needs {needs} to succeed, and 2 of 2 failed" in str(error)
    assert len(error.exceptions) == 2


def test_an_error_without_words_does_not_hide_the_failure() -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    error = caught([[named("b", Wordless()), a]])
    assert isinstance(error, ParallelGroupError)
    assert "'b' at path 0.0: Wordless" in str(error)
    assert type(caught([named("b", Wordless())])) is Wordless


def test_a_steps_own_exception_group_is_kept_as_it_is() -> None:
    own = ExceptionGroup("own", [ValueError("x")])
    error = caught([[named("b", own), a]])
    assert error.exceptions == (own,)
    assert caught([named("b", own)]) is own


# fail_fast


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("fail_fast", [True, False])
def test_each_line_of_the_fail_fast_table(fail_fast: bool, critical: bool) -> None:
    boom = KeyError("boom")
    context: Context = PipelineContext()
    steps = [a, named("b", boom, critical=critical), c, [d, named("b", boom, critical=critical)]]
    if fail_fast and critical:
        assert caught(steps, context, fail_fast=fail_fast) is boom
        assert traceback.extract_tb(boom.__traceback__)[-1].name == "work"
        assert boom.__notes__ == ["step 'b' at path 1, attempt 1 of 1"]
        assert [*context.results] == ["a", "b"]
    else:
        assert Pipeline(steps, PipelineConfig(fail_fast=fail_fast)).run(context) is context
        # What a failed branch wrote is dropped; one that is not critical counts as succeeded.
        assert [*context.results] == ["a", "b", "c", "d", *(() if critical else ("b#2",))]
    assert context.errors == [boom]


@pytest.mark.parametrize(
    ("steps", "ran"),
    [
        ([Serial([named("b", ValueError()), c]), d], "b c d"),
        ([Serial([Serial([named("b", ValueError()), c]), a]), d], "b c a d"),
        ([a, [[named("b", ValueError()), c], a], d], "a a#2 d"),
        ([a, [Serial([Serial([named("b", ValueError()), c])]), a], d], "a a#2 d"),
        ([a, [[[named("b", ValueError()), c], a], a], d], "a a#3 d"),
        ([Parallel([Serial([named("b", ValueError(), critical=False), c])]), d], "b c d"),
    ],
)
def test_without_fail_fast_a_series_goes_on_unless_it_is_a_branch(steps: Any, ran: str) -> None:
    context: Context = PipelineContext()
    Pipeline(steps, PipelineConfig(fail_fast=False)).run(context)
    assert [*context.results] == ran.split()
    assert [type(error) for error in context.errors] == [ValueError]


def test_a_failure_notes_the_attempt_that_was_the_last() -> None:
    tried: list[ValueError] = []

    @step(retries=2)
    def fails(context: Context) -> None:
        tried.append(ValueError(context.attempt))
        raise tried[-1]

    context: Context = PipelineContext()
    assert caught([fails], context) is tried[2]
    assert tried[2].__notes__ == ["step 'fails' at path 0, attempt 3 of 3"]
    assert context.errors == [tried[2]]
    assert [getattr(error, "__notes__", []) for error in tried[:2]] == [[], []]


@pytest.mark.parametrize("operator", ["AND", "OR"])
@pytest.mark.parametrize("fail_fast", [True, False])
def test_every_error_is_recorded_once_in_the_written_order(fail_fast: bool, operator: str) -> None:
    errors = [ValueError(number) for number in range(6)]
    first, second, third, fourth, fifth, sixth = (
        named(f"b{number}", error, critical=number != 4) for number, error in enumerate(errors)
    )
    steps = [[first, [a, [second, [third, c], fourth]], fifth, a, [sixth, c]]]
    default = ParallelConfig(operator=LogicOperator(operator))
    pipeline = Pipeline(steps, PipelineConfig(fail_fast=fail_fast, parallel_config=default))
    for seed in range(50):
        run = Simulator(pipeline, seed).run()
        assert run.context.errors == errors
        assert (run.error is None) is (operator == "OR" or not fail_fast)


def test_guarantee_11_observers_that_raise_change_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def raises(*args: object) -> None:
        raise RuntimeError("not today")

    boom = ValueError("boom")
    context: Context = PipelineContext()
    pipeline = Pipeline([a, [named("b", boom), c], d], progress_callback=raises)
    pipeline.subscribe(raises)
    with pytest.raises(ParallelGroupError, match="Parallel group failed") as info:
        pipeline.run(context)
    assert info.value.exceptions == (boom,)
    assert (context.errors, [*context.results]) == ([boom], ["a", "c"])
    assert "an observer raised; the run goes on" in caplog.messages


def test_what_was_done_before_a_failure_is_in_the_context() -> None:
    context: Context = PipelineContext(results={"old": 1})
    caught([a, [c, named("b", ValueError()), d], a], context)
    assert context.results == {"old": 1, "a": True, "c": True, "d": True}
    assert (context.step_id, context.cancelled) == (None, False)


def test_a_groups_own_error_is_kept_when_its_branch_is_left_later() -> None:
    """What is recorded in a branch does not depend on whether a step or a group recorded it."""
    inside = Gate()

    def writes(name: str) -> Any:
        return step(step_id=name)(lambda context: context.results.update(key=name))

    slow = step(step_id="slow")(lambda context: inside.wait())
    strict = ParallelConfig(on_conflict="error")
    conflict = Parallel([writes("one"), writes("two")], config=strict)
    first = Pipeline([conflict, slow], PipelineConfig(fail_fast=False), name="first")
    quick = step(step_id="quick")(lambda context: inside.wait_until_reached())
    one_is_enough = ParallelConfig(
        operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST
    )
    try:
        context = Pipeline([Parallel([first, quick], config=one_is_enough)]).run()
    finally:
        inside.open()
    assert [type(error) for error in context.errors] == [MergeConflictError]


def test_a_nested_pipeline_goes_by_its_own_fail_fast() -> None:
    boom = ValueError("boom")
    inner = [named("b", boom), c]
    context: Context = PipelineContext()
    tolerant = Pipeline(inner, PipelineConfig(fail_fast=False))
    Pipeline([tolerant, [tolerant, a], d]).run(context)
    assert context.errors == [boom]
    assert [*context.results] == ["b", "c", "b#2", "c#2", "a", "d"]
    assert caught([Pipeline(inner), d], fail_fast=True) is boom


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("fail_fast", [True, False])
def test_what_is_no_exception_ends_the_run_and_is_raised(
    error: BaseException, fail_fast: bool
) -> None:
    class Ends(PipelineStep):
        critical = False

        def run(self, context: Any) -> None:
            raise error

    for steps in ([a, Ends(), c], [a, [Ends(), Ends()], c]):
        context: Context = PipelineContext()
        with pytest.raises(type(error)) as info:
            Pipeline(steps, PipelineConfig(fail_fast=fail_fast)).run(context)
        assert info.value is error
        assert context.results == {"a": True}
