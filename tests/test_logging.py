"""What is logged, at which level, and how the user's own logger is told whose lines come."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import threading
from typing import Any

import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    RetryPolicy,
    Serial,
    step,
)
from task_pipeline.testing import Gate

Context = PipelineContext[Any]
SEPARATOR = "=" * 60
SECONDS = r"\d+\.\d{3} s"


def a(context: Context) -> None:
    pass


def b(context: Context) -> None:
    context.logger.info("b speaks")


@step(step_id="boom")
def boom(context: Context) -> None:
    raise ValueError("boom")


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.name.startswith("task_pipeline")
    ]


def matches(found: list[str], patterns: list[str]) -> bool:
    assert len(found) == len(patterns), found
    return all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, found, strict=True))


# The library's own lines


def test_a_step_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "task_pipeline")
    with pytest.raises(ValueError, match="boom"):
        Pipeline([a, boom]).run()
    found = [line for line in lines(caplog, logging.DEBUG) if line.startswith("step ")]
    assert matches(
        found,
        [
            r"step 'a' at path 0 started, attempt 1",
            rf"step 'a' at path 0 succeeded in {SECONDS}",
            r"step 'boom' at path 1 started, attempt 1",
            r"step 'boom' at path 1 failed: ValueError\('boom'\)",
        ],
    )
    assert lines(caplog, logging.INFO) == lines(caplog, logging.WARNING) == []


def test_a_group_is_logged_at_info_with_a_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "task_pipeline")
    with pytest.raises(ParallelGroupError):
        Pipeline([Parallel([a, a], name="two"), Parallel([a, [a, a], boom], name="io")]).run()
    assert matches(
        lines(caplog, logging.INFO),
        [
            r"parallel group 'two' at path 0 started: 2 branches",
            rf"parallel group 'two' at path 0 succeeded: 2 steps, 2 succeeded, 0 failed, {SECONDS}",
            r"parallel group 'io' at path 1 started: 3 branches",
            rf"parallel group 'io' at path 1 failed: 4 steps, 3 succeeded, 1 failed, {SECONDS}",
        ],
    )


def test_visual_separators_stand_around_a_group(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "task_pipeline")
    config = ParallelConfig(use_visual_separators=True)
    Pipeline([Parallel([a], config=config), [a]]).run()
    found = lines(caplog, logging.INFO)
    assert len(found) == 6
    assert [index for index, line in enumerate(found) if line == SEPARATOR] == [0, 3]


def test_nothing_is_logged_about_serial_groups(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "task_pipeline")
    Pipeline([Serial([a, a]), a]).run()
    assert lines(caplog, logging.INFO) == []


def test_a_conflict_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def says(text: str) -> Any:
        return step(step_id=text)(lambda context: context.results.update(word=text))

    context = Pipeline([Parallel([says("left"), says("right")], name="words")]).run()
    assert context.results == {"word": "right"}
    (line,) = lines(caplog, logging.WARNING)
    assert "group 'words' at path 0: key 'word' was changed by the branches 'left', 'right'" in line
    assert "the value of 'right' was taken" in line


def test_a_retry_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @step(retries=RetryPolicy(attempts=3, delay=0.002, backoff="linear"))
    def fickle(context: Context) -> None:
        if context.attempt < 3:
            raise OSError(f"number {context.attempt}")

    Pipeline([fickle]).run()
    assert lines(caplog, logging.WARNING) == [
        "step 'fickle' at path 0 failed in attempt 1 with OSError('number 1'); again in 0.002 s",
        "step 'fickle' at path 0 failed in attempt 2 with OSError('number 2'); again in 0.004 s",
    ]


def test_leaving_a_thread_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    def quick(context: Context) -> None:
        gate.wait_until_reached()

    config = ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST)
    held = step(step_id="held")(lambda context: gate.wait())
    Pipeline([Parallel([held, quick], config=config)]).run()
    (line,) = lines(caplog, logging.WARNING)
    assert line.startswith("step 'held' at path 0.0 was left while its thread is inside it")
    gate.open()


def test_nothing_is_logged_below_the_loggers_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "task_pipeline")
    Pipeline([[a, step(retries=1, critical=False)(boom)], a]).run()
    assert lines(caplog, logging.WARNING) == lines(caplog, logging.INFO) == []


# The user's logger

TASK: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="")


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Keeps the step's id in a context variable, and each call it gets."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("app"), {})
        self.calls: list[tuple[str, ...]] = []
        self.said: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def set_task_context(self, step_id: str, task_name: str) -> None:
        TASK.set(step_id)
        with self.lock:
            self.calls.append(("set", step_id, task_name))

    def clear_task_context(self) -> None:
        with self.lock:
            self.calls.append(("clear", TASK.get()))
        TASK.set("")

    def say(self, text: str) -> None:
        with self.lock:
            self.said.append((TASK.get(), text))


def test_only_steps_of_parallel_groups_are_identified() -> None:
    logger = TaskLogger()

    @step(step_id="s", description="A step.")
    def s(context: Context) -> None:
        context.logger.say(str(context.step_id))

    Pipeline([s, [s, [s, s]], Serial([s])]).run(PipelineContext(logger_instance=logger))
    inside = ["s#2", "s#3", "s#4"]
    assert sorted(logger.calls) == [
        *(("clear", name) for name in inside),
        *(("set", name, "A step.") for name in inside),
    ]
    named = [(name, name) for name in inside]
    assert sorted(logger.said) == sorted([("", "s"), ("", "s#5"), *named])


def test_a_step_that_fails_is_cleared_too() -> None:
    logger = TaskLogger()
    pipeline = Pipeline([[step(critical=False, retries=1)(boom)]])
    pipeline.run(PipelineContext(logger_instance=logger))
    assert logger.calls == [("set", "boom", "boom"), ("clear", "boom")] * 2


@pytest.mark.parametrize("nested", [False, True])
def test_identifiers_can_be_switched_off(nested: bool) -> None:
    logger = TaskLogger()
    off = ParallelConfig(show_task_identifiers=False)
    children: Any = [Serial([a])] if nested else [a, b]
    Pipeline([Parallel(children, config=off)]).run(PipelineContext(logger_instance=logger))
    assert logger.calls == []


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_each_coroutine_has_a_task_context_of_its_own(in_a_loop: bool) -> None:
    logger = TaskLogger()

    async def speak(context: Context) -> None:
        for _ in range(3):
            context.logger.say(str(context.step_id))
            await asyncio.sleep(0)  # the step's work

    pipeline = Pipeline([[step(step_id=name)(speak) for name in "xyz"]])
    context: Context = PipelineContext(logger_instance=logger)
    if in_a_loop:
        asyncio.run(pipeline.arun(context))
    else:
        pipeline.run(context)
    assert sorted(logger.said) == sorted((name, name) for name in "xyz" for _ in range(3))
    assert sorted(logger.calls) == [
        *(("clear", name) for name in "xyz"),
        *(("set", name, name) for name in "xyz"),
    ]
    assert TASK.get() == ""


def test_a_logger_that_knows_nothing_of_tasks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "plain")
    context: Context = PipelineContext(logger_instance=logging.getLogger("plain"))
    Pipeline([[b, b]]).run(context)
    assert [record.getMessage() for record in caplog.records if record.name == "plain"] == [
        "b speaks",
        "b speaks",
    ]


class OnlySets:
    def set_task_context(self, step_id: str, task_name: str) -> None:
        pass


class Raises:
    def set_task_context(self, step_id: str, task_name: str) -> None:
        raise RuntimeError("set")

    def clear_task_context(self) -> None:
        raise RuntimeError("clear")


@pytest.mark.parametrize("logger", [OnlySets(), Raises()])
@pytest.mark.parametrize("is_coroutine", [False, True])
def test_guarantee_11_a_logger_that_raises_changes_nothing(
    logger: Any, is_coroutine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def coroutine(context: Context) -> int:
        return 1

    def plain(context: Context) -> int:
        return 1

    work = step(step_id="s")(coroutine if is_coroutine else plain)
    context: Context = PipelineContext(logger_instance=logger)
    Pipeline([[work]]).run(context)
    assert context.results == {"s": 1} and context.errors == []
    errors = lines(caplog, logging.ERROR)
    assert errors == ["an observer raised; the run goes on"] * (2 if type(logger) is Raises else 1)


def test_guarantee_5_branches_have_the_logger_by_reference() -> None:
    seen: list[Any] = []
    logger = TaskLogger()
    look = step(step_id="look")(lambda context: seen.append(context.logger_instance))
    Pipeline([look, [look, [look]]]).run(PipelineContext(logger_instance=logger))
    assert len(seen) == 3 and all(one is logger for one in seen)
