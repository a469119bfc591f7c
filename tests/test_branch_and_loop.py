"""`Branch` and `Loop`: conditions of every kind, what is run by them and what is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    Loop,
    Map,
    Parallel,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    TaskStep,
    step,
)
from task_pipeline.events import Event, StepSkipped


def visit(name: str) -> Callable[[Any], None]:
    """A step that leaves its name."""

    @step(step_id=name)
    def leave_name(context: Any) -> None:
        context.results.setdefault("seen", []).append(name)

    return leave_name


a, b, c, d = map(visit, "abcd")


def add(context: Any) -> None:
    context.results["n"] = context.results.get("n", 0) + 1


def below(most: int) -> Callable[[Any], bool]:
    return lambda context: context.results.get("n", 0) < most


def run(steps: list[TaskStep], start: dict[str, Any] | None = None, **settings: Any) -> Any:
    context: Any = PipelineContext(results={} if start is None else start)
    pipeline = Pipeline(steps, PipelineConfig(**settings))
    events: list[Event] = []
    with pipeline.subscribe(events.append):
        try:
            pipeline.run(context)
        except Exception as error:
            return context, pipeline, events, error
    return context, pipeline, events, None


def statuses(pipeline: Pipeline) -> dict[str, str]:
    details = pipeline.get_status()["step_details"]
    return {step_id: detail["status"] for step_id, detail in details.items()}


class Odd:
    """A condition need not be a plain function."""

    def __call__(self, context: Any) -> Any:
        return context.results["number"] % 2


async def slowly(context: Any) -> Any:
    await asyncio.sleep(0)  # the step's work
    return context.results["yes"]


def by_awaitable(context: Any) -> Any:
    return slowly(context)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("yes", True),
        ("no", False),
        ("missing", False),
        ("empty", False),
        ("data.0.flag", True),
        ("data.1.flag", False),
        ("data.0.flag.deeper", False),
        ("text.0", False),
        ("a.b", True),
        (lambda context: [0], True),
        (lambda context: "", False),
        (lambda context: None, False),
        (Odd(), True),
        (slowly, True),
        (by_awaitable, True),
    ],
    ids=str,
)
def test_a_condition_is_a_function_or_a_key_or_a_path(condition: Any, holds: bool) -> None:
    start = {"yes": 1, "no": 0, "empty": [], "data": [{"flag": True}], "text": "x", "number": 3}
    start |= {"a.b": 1, "a": {"b": 0}}
    pipeline = Pipeline([Branch(condition, a, otherwise=b), Loop(c, while_=condition, times=2)])
    expected = ["a", "c", "c"] if holds else ["b"]
    context: Any = PipelineContext(results=dict(start))
    assert pipeline.run(context).results == {**start, "seen": expected}
    context = PipelineContext(results=dict(start))
    assert asyncio.run(pipeline.arun(context)).results == {**start, "seen": expected}


# Branch


def test_steps_of_the_way_not_taken_are_skipped_and_told_of() -> None:
    steps: list[TaskStep] = [Branch("x", [a, [b, c]], otherwise=Parallel([d, Pipeline([a])])), b]
    context, pipeline, events, _ = run(steps, {"x": 1})
    assert context.results["seen"] == ["a", "b", "c", "b"]
    skipped = [(event.path, event.step_id) for event in events if isinstance(event, StepSkipped)]
    assert skipped == [("0.1.0", "d"), ("0.1.1.0", "a#2")]
    assert statuses(pipeline) == {
        "branch_0": "succeeded",
        "a": "succeeded",
        "b": "succeeded",
        "c": "succeeded",
        "d": "skipped",
        "a#2": "skipped",
        "b#2": "succeeded",
    }
    context, pipeline, events, _ = run(steps)
    assert context.results["seen"] == ["d", "a", "b"]
    assert [event.step_id for event in events if isinstance(event, StepSkipped)] == ["a", "b", "c"]


def test_without_another_way_a_branch_does_nothing() -> None:
    context, pipeline, _, error = run([Branch("x", [a, b]), c])
    assert (context.results, error) == ({"seen": ["c"]}, None)
    assert statuses(pipeline) == {
        "branch_0": "succeeded",
        "a": "skipped",
        "b": "skipped",
        "c": "succeeded",
    }


def test_a_list_is_a_series_and_a_list_in_it_a_group() -> None:
    context, _, events, _ = run([Branch(lambda context: True, [a, [b, c], d])])
    assert context.results["seen"] == ["a", "b", "c", "d"]
    groups = {event.path: event.is_parallel for event in events if event.step_id is None}
    assert groups == {"": False, "0": False, "0.0": False, "0.0.1": True}


@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_condition_that_raises_fails_the_branch_and_skips_both_ways(fail_fast: bool) -> None:
    def condition(context: Any) -> Any:
        raise LookupError("cannot tell")

    context, pipeline, events, error = run([Branch(condition, a, [b]), c], fail_fast=fail_fast)
    [found] = context.errors
    assert error is (found if fail_fast else None)
    assert found.__notes__ == ["step 'branch_0' at path 0, attempt 1 of 1"]
    last = "skipped" if fail_fast else "succeeded"
    expected = {"branch_0": "failed", "a": "skipped", "b": "skipped", "c": last}
    assert statuses(pipeline) == expected
    skipped = [event.step_id for event in events if isinstance(event, StepSkipped)]
    assert skipped == ["a", "b", "c"][: 3 if fail_fast else 2]


def test_a_failure_in_the_way_taken_is_the_branchs() -> None:
    def fails(context: Any) -> None:
        raise ValueError("in the way")

    context, pipeline, _, error = run([Branch(lambda context: True, [a, fails, b], c), d])
    assert str(error) == "in the way" and context.errors == [error]
    assert statuses(pipeline) == {
        "branch_0": "failed",
        "a": "succeeded",
        "fails": "failed",
        "b": "skipped",
        "c": "skipped",
        "d": "skipped",
    }


def test_a_branch_works_on_the_context_around_it() -> None:
    def condition(context: Any) -> Any:
        context.results["asked"] = context.results.get("asked", 0) + 1
        return context.results["asked"] == 1

    found = [condition, condition]
    context, *_ = run([Branch(found[0], a, b), Branch(found[1], a, b), Loop(c, found[0], times=3)])
    assert context.results == {"asked": 3, "seen": ["a", "b"]}


def test_each_branch_of_a_group_goes_its_own_way() -> None:
    def mark(**values: Any) -> Callable[[Any], None]:
        return lambda context: context.results.update(values)

    way = Branch("flag", mark(way=["then"]), [mark(way=["else"])])
    context, *_, error = run([[[mark(flag=0), way], [mark(flag=2), way]]], {"flag": 1})
    # Of two numbers that change one key the increments are added.
    assert (error, context.results) == (None, {"flag": 1, "way": ["else", "then"]})


# Loop


class Halve(PipelineStep):
    def run(self, context: Any) -> None:
        context.results["n"] //= 2


@pytest.mark.parametrize(
    ("loop", "start", "expected"),
    [
        (Loop(add, times=3), 0, 3),
        (Loop(add, times=0), 7, 7),
        (Loop(add, while_=below(5)), 2, 5),
        (Loop(add, while_=below(5)), 5, 5),
        (Loop(add, while_=below(5), times=2), 0, 2),
        (Loop(add, while_=below(5), times=20), 0, 5),
        (Loop(Halve(), while_="n"), 100, 0),
        (Loop([add, add, [add, add]], times=2), 0, 8),
        (Loop([], times=3), 1, 1),
        (Loop(Parallel([add, add], name="both"), while_=below(5)), 0, 6),
        (Loop(Pipeline([add, [add, add]]), times=2), 0, 6),
        (Loop(Loop(add, times=3), times=4), 0, 12),
        (Loop(Map(add, [1, 2, 3]), times=2), 0, 6),
        (Loop(Branch(below(3), add, Halve()), times=5), 0, 2),
        (Loop(add, while_=below(1000)), 0, 1000),
    ],
    ids=lambda value: str(getattr(value, "times", value)),
)
def test_each_round_works_on_what_the_one_before_has_left(
    loop: Loop, start: int, expected: int
) -> None:
    context, pipeline, events, error = run([loop, d], {"n": start})
    assert (error, context.errors) == (None, [])
    assert context.results == {"n": expected, "seen": ["d"]}
    assert pipeline.get_status()["progress"] == 100.0
    assert [event.seq for event in events] == list(range(len(events)))
    steps = [event.step_id for event in events if event.step_id and event.duration is not None]
    assert len(steps) == len(set(steps))


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_loop_that_has_had_its_rounds_asks_no_more(times: int) -> None:
    asked: list[int] = []

    def again(context: Any) -> bool:
        asked.append(len(asked))
        assert len(asked) <= times
        return True

    context, _, _, error = run([Loop(add, while_=again, times=times)])
    assert (error, context.results.get("n", 0), len(asked)) == (None, times, times)


def test_rounds_have_their_number_behind_the_id_and_in_the_path() -> None:
    _, pipeline, events, _ = run([a, Loop([add, b], times=2, name="rounds"), add])
    steps = {event.step_id: event.path for event in events if event.step_id}
    assert steps == {
        "a": "0",
        "add[0]": "1.0.0",
        "b[0]": "1.0.1",
        "add[1]": "1.1.0",
        "b[1]": "1.1.1",
        "add#2": "2",
    }
    assert statuses(pipeline) == {"a": "succeeded", "rounds": "succeeded", "add#2": "succeeded"}


def test_what_a_function_returns_has_the_same_key_in_each_round() -> None:
    def count(context: Any) -> int:
        return int(context.results.get("count", 0)) + 1

    context, *_ = run([Loop(count, times=3), count])
    assert context.results == {"count": 3, "count#2": 4}


@pytest.mark.parametrize("fail_fast", [True, False])
@pytest.mark.parametrize("at", ["step", "condition"])
def test_what_fails_in_a_round_fails_the_loop(fail_fast: bool, at: str) -> None:
    def fails(context: Any) -> bool:
        if context.results["n"] == 2:
            raise ValueError("in the third")
        return True

    add_first: list[TaskStep] = [add, lambda context: fails(context) and None, b]
    loop = Loop(add_first, times=9) if at == "step" else Loop([add, b], while_=fails)
    context, pipeline, events, error = run([loop, c], {"n": 0}, fail_fast=fail_fast)
    assert context.results["n"] == 2
    [found] = context.errors
    assert str(found) == "in the third" and error is (found if fail_fast else None)
    names = {"step": "step 'lambda[1]' at path 0.1.1", "condition": "step 'loop_0' at path 0"}
    assert found.__notes__ == [f"{names[at]}, attempt 1 of 1"]
    assert statuses(pipeline)["loop_0"] == "failed"
    assert statuses(pipeline)["c"] == ("skipped" if fail_fast else "succeeded")
    skipped = [event.step_id for event in events if isinstance(event, StepSkipped)]
    assert skipped == [*(["b[1]"] if at == "step" else []), *(["c"] if fail_fast else [])]


def test_a_step_that_is_not_critical_does_not_end_a_loop() -> None:
    @step(critical=False)
    def fails(context: Any) -> None:
        raise ValueError(context.results["n"])

    context, _, _, error = run([Loop([add, fails], times=3)])
    assert (error, context.results) == (None, {"n": 3})
    assert [str(found) for found in context.errors] == ["1", "2", "3"]


def test_a_round_is_tried_again_as_its_steps_say() -> None:
    @step(retries=1)
    def flaky(context: Any) -> None:
        context.results["n"] = context.results.get("n", 0) + 1
        if context.attempt == 1:
            raise OSError

    context, *_ = run([Loop(flaky, times=3)])
    assert (context.results, context.errors) == ({"n": 3}, [])
