"""`ParallelEventPrinter` as a whole: many runs at once, closing early, what it refuses."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from typing import Any

import pytest
from rich.console import Console

from task_pipeline import ConfigurationError, MissingExtraError, Pipeline, events
from task_pipeline.display import ParallelDisplayMode, ParallelEventPrinter, printer_for
from task_pipeline.display.ticker import Ticker
from tests.display_story import Story


def terminal(**changes: Any) -> Console:
    """A console that takes itself for a terminal, whatever it is written to."""
    facts = {"force_terminal": True, "width": 100, "height": 20, **changes}
    return Console(file=io.StringIO(), **facts)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def whole_run(run_id: str, steps: int = 3) -> list[events.Event]:
    story = Story(run_id, f"run-{run_id}")
    story.start(steps)
    story.group("0", steps)
    for number in range(steps):
        story.step(f"0.{number}", 1.0)
    story.close("0")
    story.end()
    return story.events


@pytest.mark.parametrize("mode", ParallelDisplayMode)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_runs_of_many_threads_at_once(mode, is_terminal) -> None:
    console = terminal(force_terminal=is_terminal)
    printer = ParallelEventPrinter(mode, console=console)
    before = sys.stdout, sys.stderr

    def tell(number: int) -> None:
        for round_ in range(5):
            for event in whole_run(f"{number}.{round_}"):
                printer(event)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written(console).count("Summary of") == 30
    assert (sys.stdout, sys.stderr) == before
    assert not printer._model.runs
    assert printer._view is None


def test_a_printer_may_be_used_again_after_it_was_closed() -> None:
    console = terminal()
    with ParallelEventPrinter(console=console) as printer:
        for event in whole_run("first"):
            printer(event)
    for event in whole_run("second"):
        printer(event)
    assert printer.summary is not None
    assert printer.summary.name == "run-second"
    printer.close()
    printer.close()
    assert written(console).count("Summary of") == 2
    assert written(console).count("\x1b[?25l") == written(console).count("\x1b[?25h") == 2


def test_closing_shows_what_is_under_way_and_late_events_change_nothing() -> None:
    console = terminal()
    printer = ParallelEventPrinter(console=console)
    told = whole_run("cut")
    for event in told[:4]:
        printer(event)
    assert printer.parallel_groups["0"].started == 1
    printer.close()
    shown = written(console)
    assert "Summary of run-cut: not seen to end" in shown.replace("\x1b[0m", "").replace(
        "\x1b[1m", ""
    )
    assert shown.count("\x1b[?25h") == 1
    for event in told[4:]:
        printer(event)
    assert written(console) == shown
    assert printer._view is None


def test_a_late_event_opens_nothing() -> None:
    console = terminal()
    printer = ParallelEventPrinter(console=console)
    for event in whole_run("done"):
        printer(event)
    shown = written(console)
    story = Story("done")
    printer(story.tell(events.AbandonedThreadEnded, "0.1", "left", step_id="left", attempt=1))
    assert written(console) == shown


def test_events_are_not_drawn_one_by_one() -> None:
    console = terminal()
    printer = ParallelEventPrinter(console=console)
    for event in whole_run("many", steps=2000):
        printer(event)
    frames = written(console).count("\x1b[1m\x1b[0m") + written(console).count("● ")
    assert frames < 200
    assert printer.summary is not None
    assert printer.summary.succeeded == 2000


def test_a_console_that_cannot_be_written_to_does_no_lasting_harm() -> None:
    class Broken(io.StringIO):
        is_broken = True

        def write(self, text: str) -> int:
            if self.is_broken:
                raise OSError("gone")
            return super().write(text)

    file = Broken()
    printer = ParallelEventPrinter(file=file)
    before = sys.stdout
    for event in whole_run("lost"):
        try:
            printer(event)
        except OSError:
            pass
    assert printer._view is None
    assert sys.stdout is before
    file.is_broken = False
    for event in whole_run("shown"):
        printer(event)
    assert "Summary of run-shown" in file.getvalue()


def test_handlers_of_a_terminal_get_their_stream_back(monkeypatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = Tty(), Tty()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    handler = logging.StreamHandler(err)
    logger = logging.getLogger("tests.display")
    logger.addHandler(handler)
    try:
        printer = ParallelEventPrinter(console=Console(width=80, height=20))
        told = whole_run("logged")
        for event in told[:-1]:
            printer(event)
        assert sys.stdout is not out
        assert handler.stream is sys.stderr
        logger.warning("in the middle")
        printer(told[-1])
        assert sys.stdout is out
        assert sys.stderr is err
        assert handler.stream is err
        logger.warning("afterwards")
    finally:
        logger.removeHandler(handler)
    assert "in the middle\n" in out.getvalue()  # above the tree, in the terminal's own stream
    assert err.getvalue() == "afterwards\n"


def test_what_is_attached_can_be_detached() -> None:
    file = io.StringIO()
    printer = ParallelEventPrinter(file=file)
    pipeline = Pipeline([lambda context: None], name="analysis")
    with printer.attach(pipeline):
        pipeline.run()
    pipeline.run()
    assert file.getvalue().count("Summary of analysis") == 1


def test_a_context_around_a_run() -> None:
    file = io.StringIO()
    printer = ParallelEventPrinter(file=file, step_output="prefix")
    before = sys.stdout
    with printer.shows() as tell:
        assert sys.stdout is not before  # before there is any event
        for event in whole_run("one"):
            tell(event)
        assert sys.stdout is not before
    assert sys.stdout is before
    assert "Summary of run-one" in file.getvalue()


def test_what_display_may_be() -> None:
    printer = ParallelEventPrinter(file=io.StringIO())
    assert printer_for(None) is None
    assert printer_for(False) is None
    assert printer_for(printer) is printer
    made = printer_for(True)
    assert made is not None
    assert made.parallel_mode is ParallelDisplayMode.PROGRESS
    realtime = printer_for(ParallelDisplayMode.REALTIME)
    assert realtime is not None
    assert realtime.parallel_mode is ParallelDisplayMode.REALTIME


@pytest.mark.parametrize("display", [1, "loud", object(), ParallelEventPrinter])
def test_what_display_may_not_be(display) -> None:
    with pytest.raises(ConfigurationError, match="not "):
        printer_for(display)


def test_arguments_that_are_wrong() -> None:
    with pytest.raises(ConfigurationError, match="'realtime' or 'progress', not 'quiet'"):
        ParallelEventPrinter("quiet")
    with pytest.raises(ConfigurationError, match="not both"):
        ParallelEventPrinter(console=Console(), file=io.StringIO())
    with pytest.raises(ConfigurationError, match="'prefix' or 'group'"):
        ParallelEventPrinter(step_output="loud")


def test_without_rich_only_the_printer_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(MissingExtraError, match=r"the live display needs rich.*\[display\]"):
        ParallelEventPrinter()


def test_importing_it_imports_no_rich() -> None:
    script = """
import sys
sys.modules["rich"] = None
from task_pipeline.display import *
tracker = ParallelGroupTracker(total=2, completed=2)
assert tracker.is_complete
with step_output(): print("as ever")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "as ever\n", "")


def test_a_picture_that_cannot_be_drawn_is_logged_once_at_the_end(caplog) -> None:
    drawn = threading.Event()

    def draw() -> None:
        drawn.set()
        raise OSError("the terminal is gone")

    ticker = Ticker(0.001, draw)
    ticker.start()
    assert drawn.wait(10.0)
    ticker._thread.join(10.0)
    assert not ticker._thread.is_alive()
    assert caplog.records == []
    ticker.stop()
    ticker.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "the display stood still, as it could not be drawn"
    ]


def test_a_terminal_that_cannot_be_opened_leaves_everything_as_it_was(monkeypatch) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError("gone")

    out = Gone()
    monkeypatch.setattr(sys, "stdout", out)
    printer = ParallelEventPrinter()
    for event in whole_run("lost"):
        try:
            printer(event)
        except OSError:
            pass
    assert sys.stdout is out
    assert not printer._model.runs
    assert printer._view is None
