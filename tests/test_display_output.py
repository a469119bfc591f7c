"""What steps print and log, with where it is from, and the streams given back as they were."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from task_pipeline import ConfigurationError, Parallel, Pipeline, Serial, step
from task_pipeline.display import ParallelEventPrinter, StepOutput, step_output
from task_pipeline.display.redirection import Redirection
from task_pipeline.display.streams import LineStream
from task_pipeline.testing import Gate


@pytest.fixture
def streams() -> Iterator[Callable[[], tuple[io.StringIO, io.StringIO]]]:
    """To be called for what stands for stdout and stderr: pytest has its own between phases."""
    before: list[TextIO] = []

    def replace() -> tuple[io.StringIO, io.StringIO]:
        before.extend((sys.stdout, sys.stderr))
        sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
        return out, err

    yield replace
    sys.stdout, sys.stderr = before


@pytest.fixture
def handler() -> Iterator[logging.StreamHandler]:
    """A log handler, whose stream is to be set."""
    made = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("tests.display")
    logger.addHandler(made)
    logger.setLevel(logging.INFO)
    yield made
    logger.removeHandler(made)


def says(name: str, *lines: str):
    @step(step_id=name)
    def work(context) -> None:
        for line in lines:
            print(line)

    return work


def test_each_line_has_its_branch_and_step_before_it(streams) -> None:
    out, _err = streams()
    pipeline = Pipeline(
        [
            says("load", "two\nlines"),
            Parallel([says("solo", "alone"), Serial([says("inner", "deep")], name="series")]),
        ]
    )
    with step_output():
        print("before")
        pipeline.run()
    assert sorted(out.getvalue().splitlines()) == sorted(
        ["before", "[load] two", "[load] lines", "[solo] alone", "[series/inner] deep"]
    )


def test_a_group_shows_a_branch_in_one_block_when_it_has_ended(streams) -> None:
    out, err = streams()
    talking, done = Gate(), Gate()

    @step(step_id="first")
    def first(context) -> None:
        print("one")
        talking.wait()
        print("three", end="")

    @step(step_id="second")
    def second(context) -> None:
        talking.wait_until_reached()
        print("two")
        sys.stderr.write("of second\n")
        talking.open()

    @step(step_id="third")
    def third(context) -> None:
        print("serial")
        done.wait()

    pipeline = Pipeline([[first, second], third])
    with step_output("group") as output, pipeline.subscribe(output.note):
        run = pipeline.start()
        done.wait_until_reached()
        done.open()
        run.result()
    assert "[first]\n  one\n  three\n" in out.getvalue()
    assert "[second]\n  two\n" in out.getvalue()
    assert err.getvalue() == "  of second\n"
    assert "serial\n" in out.getvalue()


def test_a_group_is_shown_at_the_end_if_nobody_tells_of_events(streams) -> None:
    out, _err = streams()
    with step_output("group"):
        Pipeline([[says("left", "a"), says("right", "b")]]).run()
        assert out.getvalue() == ""
    assert sorted(out.getvalue().splitlines()) == ["  a", "  b", "[left]", "[right]"]


def test_all_goes_to_a_stream_if_one_is_given(streams) -> None:
    out, _err = streams()
    shown = io.StringIO()
    with step_output("prefix", shown):
        Pipeline([says("load", "here")]).run()
        print("there")
    assert shown.getvalue() == "[load] here\n"
    assert out.getvalue() == "there\n"


def test_logs_are_shown_the_same_way(streams, handler) -> None:
    _out, err = streams()
    handler.stream = err

    def load(context) -> None:
        logging.getLogger("tests.display").info("logged\ntwice")

    with step_output():
        logging.getLogger("tests.display").info("outside")
        Pipeline([load]).run()
    assert err.getvalue() == "outside\n[load] logged\n[load] twice\n"
    assert handler.stream is err


def test_coroutines_are_told_apart_on_one_loop(streams) -> None:
    out, _err = streams()

    async def left(context) -> None:
        sys.stdout.write("le")
        await asyncio.sleep(0)  # the step's work
        print("ft")

    async def right(context) -> None:
        sys.stdout.write("ri")
        await asyncio.sleep(0)  # the step's work
        print("ght")

    with step_output():
        asyncio.run(Pipeline([[left, right]]).arun())
    assert sorted(out.getvalue().splitlines()) == ["[left] left", "[right] right"]


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back_exactly(streams, handler, fails) -> None:
    out, err = streams()
    handler.stream = err
    other = logging.StreamHandler(io.StringIO())
    logging.getLogger("tests.display").addHandler(other)
    before = other.stream
    try:
        with step_output():
            assert sys.stdout is not out
            assert handler.stream is sys.stderr
            assert other.stream is before
            if fails:
                raise KeyError("in the context")
    except KeyError:
        assert fails
    logging.getLogger("tests.display").removeHandler(other)
    assert sys.stdout is out
    assert sys.stderr is err
    assert handler.stream is err
    assert other.stream is before


def test_two_may_end_in_any_order(streams, handler) -> None:
    out, err = streams()
    handler.stream = err
    first, second = StepOutput(), StepOutput()
    first.start()
    second.start()
    first.close()
    Pipeline([says("load", "once")]).run()
    second.close()
    assert out.getvalue() == "[load] once\n"
    assert sys.stdout is out
    assert handler.stream is err


def test_one_that_comes_later_may_go_below_the_others(streams, handler) -> None:
    out, err = streams()
    handler.stream = err
    taken: list[str] = []

    def take(target, lines, step) -> None:
        taken.extend(lines)

    below = Redirection(lambda target: LineStream(target, take), below=True)
    with step_output():
        below.start()
        Pipeline([says("load", "here")]).run()
        print("outside")
        below.stop()
        print("after")
    assert taken == ["[load] here", "outside"]
    assert out.getvalue() == "after\n"
    assert sys.stdout is out
    assert handler.stream is err


def test_what_somebody_else_has_put_on_top_stays(streams) -> None:
    out, _err = streams()
    output = StepOutput()
    output.start()
    stand_in, sys.stdout = sys.stdout, io.StringIO()
    output.close()
    assert isinstance(sys.stdout, io.StringIO)
    sys.stdout = stand_in
    print("through")  # whoever still holds it writes as ever
    assert out.getvalue() == "through\n"


def test_a_stand_in_is_what_it_stands_for(tmp_path) -> None:
    with (tmp_path / "file").open("w", encoding="latin-1") as file:
        stream = LineStream(file, lambda target, lines, step: None)
        assert stream.encoding == "latin-1"
        assert stream.fileno() == file.fileno()
        assert not stream.isatty()
        with pytest.raises(TypeError, match="must be str"):
            stream.write(b"bytes")  # type: ignore[arg-type]  # what is to be refused


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_past_it() -> None:
    there, here = os.pipe()
    with os.fdopen(here, "w") as file:
        stream = LineStream(file, lambda target, lines, step: None)
        with stream._lock:  # as if another thread was in the middle
            child = os.fork()
            if child == 0:
                stream.write("from the child\n")
                stream.flush()
                os._exit(0)
        os.waitpid(child, 0)
    with os.fdopen(there) as source:
        assert source.read() == "from the child\n"


def test_lines_of_many_threads_stay_whole() -> None:
    taken: list[str] = []
    stream = LineStream(io.StringIO(), lambda target, lines, step: taken.extend(lines))

    def write(number: int) -> None:
        for line in range(200):
            for part in (str(number), "-", str(line), "\n"):
                stream.write(part)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"{number}-{line}" for number in range(8) for line in range(200))


@pytest.mark.parametrize("mode", ["progress", "realtime"])
def test_a_printer_shows_it_too(streams, mode) -> None:
    out, _err = streams()
    pipeline = Pipeline([[says("left", "a"), says("right", "b")]])
    with ParallelEventPrinter(mode, step_output="group") as printer:
        printer.attach(pipeline)
        pipeline.run()
        lines = out.getvalue().splitlines()
        print("not in a step")
    assert lines.index("  a") == lines.index("[left]") + 1
    assert lines.index("  b") == lines.index("[right]") + 1
    assert lines.index("  a") < next(n for n, line in enumerate(lines) if "Summary" in line)
    assert out.getvalue().endswith("not in a step\n")
    assert sys.stdout is out


def test_modes_that_there_are_not() -> None:
    with pytest.raises(ConfigurationError, match="'prefix' or 'group', not 'loud'"):
        step_output("loud")
