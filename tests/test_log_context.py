"""Lines of the log know which step they come from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline import Pipeline, PipelineContext, StepLogFilter, step
from task_pipeline import events as ev

Context = PipelineContext[Any]

logger = logging.getLogger("tests.log_context")


class Lines(logging.Handler):
    """Keeps the records it is given, as a format string shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(StepLogFilter())
        self.setFormatter(logging.Formatter("%(step_id)s %(path)s %(attempt)d %(message)s"))
        self.lines: list[str] = []
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        self.records.append(record)


@pytest.fixture
def handler() -> Iterator[Lines]:
    handler = Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)


def says(text: str, **attributes: Any) -> Any:
    def say(context: Context) -> None:
        logger.info(text)

    return step(**attributes)(say)


def test_a_line_has_its_steps_id_path_and_attempt_and_the_runs_id(handler: Lines) -> None:
    @step(retries=1)
    def fickle(context: Context) -> None:
        logger.info("tries")
        if context.attempt == 1:
            raise ValueError("first")

    pipeline = Pipeline([says("one"), [says("two"), fickle]])
    ids: list[str] = []
    pipeline.subscribe(lambda event: ids.append(event.run_id), ev.RunStarted)
    pipeline.run()
    pipeline.run()
    expected = ["say 0 1 one", "say#2 1.0 1 two", "fickle 1.1 1 tries", "fickle 1.1 2 tries"]
    assert sorted(handler.lines) == sorted(expected * 2)
    assert {record.run_id for record in handler.records} == set(ids) and len(set(ids)) == 2


def test_all_lines_of_a_run_have_one_run_id_also_without_a_subscriber(handler: Lines) -> None:
    run = Pipeline([[says(str(number)) for number in range(8)]]).start()
    run.result(30.0)
    assert {record.run_id for record in handler.records} == {run.run_id}


def test_outside_of_a_step_there_is_nothing_to_say(handler: Lines) -> None:
    logger.info("outside")
    assert handler.lines == ["  0 outside"]
    assert handler.records[0].run_id == ""


def test_what_the_caller_says_stays(handler: Lines) -> None:
    def work(context: Context) -> None:
        logger.info("mine", extra={"path": "elsewhere", "attempt": 7})

    Pipeline([work]).run()
    assert handler.lines == ["work elsewhere 7 mine"]


def test_coroutines_and_the_threads_they_ask_for_are_part_of_the_step(handler: Lines) -> None:
    async def first(context: Context) -> None:
        logger.info("before")
        await asyncio.to_thread(logger.info, "in a thread")
        await asyncio.create_task(later())
        logger.info("after")

    async def later() -> None:
        await asyncio.sleep(0)  # the step's work
        logger.info("in a task")

    async def second(context: Context) -> None:
        logger.info("beside")

    asyncio.run(Pipeline([[first, second]]).arun())
    words = ["before", "in a thread", "in a task", "after"]
    assert [line for line in handler.lines if "first" in line] == [
        f"first 0.0 1 {word}" for word in words
    ]
    assert "second 0.1 1 beside" in handler.lines


def test_the_steps_of_a_run_inside_a_step_are_their_own(handler: Lines) -> None:
    inner = Pipeline([[says("inside", step_id="inner")]])

    def outer(context: Context) -> None:
        inner.run()
        logger.info("afterwards")

    Pipeline([says("first"), outer]).run()
    assert handler.lines == ["say 0 1 first", "inner 0.0 1 inside", "outer 1 1 afterwards"]
    runs = [record.run_id for record in handler.records]
    assert runs[0] == runs[2] != runs[1]


def test_a_record_keeps_what_the_first_filter_has_found(handler: Lines) -> None:
    Pipeline([says("once")]).run()
    (record,) = handler.records
    assert StepLogFilter().filter(record)
    assert (record.step_id, record.path, record.attempt) == ("say", "0", 1)
