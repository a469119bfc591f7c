"""The live tree in real terminals: a pty of each width, and the screen it leaves."""

from __future__ import annotations

import re
import sys

import pytest

from tests.display_terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no ptys")

PIPELINE = """
import logging, sys
from task_pipeline import Pipeline, step
from task_pipeline.display import ParallelEventPrinter

logging.basicConfig(format="%(message)s")

@step(step_id="load")
def load(context): print("a print of load")

@step(step_id="clean [red]")
def clean(context): logging.warning("a log of clean")

@step(step_id="parse", retries=1)
def parse(context):
    if context.attempt == 1:
        raise ValueError("not yet")

@step(step_id="漢字 count")
def count(context): wait()

@step(step_id="report")
def report(context): sys.stderr.write("an error line of report\\n")

pipeline = Pipeline([load, [clean, [parse, count]], report], name="analysis")
"""

RUN = (
    PIPELINE
    + """
with ParallelEventPrinter() as printer:
    printer.attach(pipeline)
    pipeline.run()
print("the end")
"""
)

STEPS = ["load", "clean [red]", "parse", "漢字", "report"]


def tree_of(lines: list[str]) -> list[str]:
    """The lines of the tree, from the header to the summary."""
    first = next(number for number, line in enumerate(lines) if re.match(r"[✓✗●] analysis", line))
    last = next(number for number, line in enumerate(lines) if line.startswith("Summary"))
    return lines[first:last]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_stays_on_the_screen(width: int) -> None:
    with Terminal(RUN, width) as terminal:
        live = terminal.until("● 漢字")
        assert sum("● analysis" in line for line in live) == 1
        assert not terminal.has_cursor
        terminal.gate()
        lines = terminal.finish()
        assert terminal.process.returncode == 0
        assert terminal.has_cursor
    tree = tree_of(lines)
    assert len(tree) == 1 + 2 + len(STEPS)
    assert sum("analysis" in line and "100 %" in line for line in lines) == 1
    assert sum("100 %" in line for line in lines) == 1
    for name in STEPS:
        assert sum(f"✓ {name}" in line for line in tree) == 1
    assert sum(line.startswith("Summary") for line in lines) == 1
    assert not any("●" in line or "\x1b" in line for line in lines)
    text = "\n".join(lines)
    assert "5 succeeded," in text
    assert "1 retried" in text
    assert "parse ×2" in text
    assert lines[-1] == "the end"


@pytest.mark.parametrize("width", [40, 200])
def test_prints_and_logs_are_above_the_tree(width: int) -> None:
    with Terminal(RUN, width) as terminal:
        terminal.gate()
        lines = terminal.finish()
    tree = lines.index(tree_of(lines)[0])
    for text in ("a print of load", "a log of clean", "an error line of report"):
        assert lines.count(text) == 1
        assert lines.index(text) < tree
    assert lines[tree - 1] == "an error line of report"


@pytest.mark.parametrize(("width", "lines"), [(10, 40), (1, 40), (80, 3), (80, 1)])
def test_terminals_of_odd_sizes(width: int, lines: int) -> None:
    with Terminal(RUN, width, lines) as terminal:
        terminal.gate()
        terminal.finish()
        assert terminal.process.returncode == 0
        assert terminal.has_cursor


def test_a_tree_that_is_taller_than_the_terminal() -> None:
    script = """
from task_pipeline import Pipeline, step
from task_pipeline.display import ParallelEventPrinter

def made(number):
    @step(step_id=f"work-{number}.")
    def work(context):
        if number == 29:
            wait()
    return work

pipeline = Pipeline([[[made(number) for number in range(30)], [made(77)]]], name="analysis")
with ParallelEventPrinter() as printer:
    printer.attach(pipeline)
    pipeline.run()
"""
    with Terminal(script, 80, 10) as terminal:
        live = terminal.until("● work-29.")
        while not any("more done" in line for line in live):
            live = terminal.until("more done")
        assert "● analysis" in live[0]  # nothing has left the screen at the top
        terminal.gate()
        lines = terminal.finish()
    for number in [*range(30), 77]:
        assert sum(f"✓ work-{number}." in line for line in lines) == 1
    assert sum("100 %" in line for line in lines) == 1
    assert sum(line.startswith("Summary") for line in lines) == 1
    assert sum("analysis" in line for line in tree_of(lines)) == 1
    assert not any("●" in line for line in lines)


def test_a_run_that_fails() -> None:
    script = PIPELINE.replace('print("a print of load")', 'raise ValueError("no [b]rows[/b]")')
    script += """
with ParallelEventPrinter() as printer:
    printer.attach(pipeline)
    try:
        pipeline.run()
    except ValueError:
        print("it was raised")
"""
    with Terminal(script, 100) as terminal:
        lines = terminal.finish()
        assert terminal.has_cursor
    assert "✗ load  ValueError: no [b]rows[/b]" in "\n".join(lines)
    assert not any("100 %" in line for line in lines)
    assert any(re.fullmatch(r"Summary of analysis: failed in .* s", line) for line in lines)
    assert lines[-1] == "it was raised"


def test_a_process_that_ends_in_the_middle_leaves_the_cursor() -> None:
    script = PIPELINE.replace("count(context): wait()", "count(context): never.wait()")
    script += """
import threading
never = threading.Event()
printer = ParallelEventPrinter()
printer.attach(pipeline)
run = pipeline.start()
wait()
sys.exit(3)
"""
    with Terminal(script, 80) as terminal:
        terminal.until("● 漢字")
        assert not terminal.has_cursor
        terminal.gate()
        lines = terminal.finish()
        assert terminal.process.returncode == 3
        assert terminal.has_cursor
    assert sum(line.startswith("Summary of analysis: not seen to end") for line in lines) == 1


def test_no_colours_where_they_are_not_wanted() -> None:
    with Terminal(RUN, 80, NO_COLOR="1") as terminal:
        terminal.gate()
        terminal.finish()
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", terminal.raw)
    with Terminal(RUN, 80) as terminal:
        terminal.gate()
        terminal.finish()
        assert re.search(rb"\x1b\[[0-9;]*3[0-7]", terminal.raw)


def test_a_terminal_that_can_do_nothing_gets_lines() -> None:
    with Terminal(RUN, 80, TERM="dumb") as terminal:
        terminal.gate()
        terminal.finish()
        assert b"\x1b" not in terminal.raw
        assert terminal.raw.count(b"Summary") == 1


def test_a_terminal_that_knows_only_ascii() -> None:
    with Terminal(RUN, 80, PYTHONUTF8="0", PYTHONIOENCODING="ascii") as terminal:
        terminal.gate()
        lines = terminal.finish()
        assert terminal.process.returncode == 0
    assert sum("100 %" in line for line in lines) == 1
    assert any("+ ?? count" in line for line in lines)
    assert all(line.isascii() for line in lines)


@pytest.mark.no_cover
def test_prints_of_many_threads_stay_whole_and_are_not_lost() -> None:
    script = """
from task_pipeline import Pipeline, step
from task_pipeline.display import ParallelEventPrinter

def made(number):
    @step(step_id=f"work-{number}")
    def work(context):
        for line in range(50):
            print("line", line, "of", number, end=".\\n")
    return work

with ParallelEventPrinter() as printer:
    pipeline = Pipeline([[made(number) for number in range(8)]], name="analysis")
    printer.attach(pipeline)
    pipeline.run()
"""
    with Terminal(script, 80, 20) as terminal:
        lines = terminal.finish()
    told = [line for line in lines if line.startswith("line ")]
    assert sorted(told) == sorted(
        f"line {line} of {number}." for number in range(8) for line in range(50)
    )


def test_other_consoles_and_partial_lines() -> None:
    script = PIPELINE.replace(
        'print("a print of load")',
        'rich.print("[green]of rich[/green]"); own.print("of the same")',
    ).replace('"an error line of report\\n"', '"half"')
    script += """
import rich
from rich.console import Console
own = Console()
with ParallelEventPrinter(console=own) as printer:
    printer.attach(pipeline)
    pipeline.run()
own.print("the end")
"""
    with Terminal(script, 80) as terminal:
        terminal.gate()
        lines = terminal.finish()
        assert terminal.process.returncode == 0
    for text in ("of rich", "of the same", "half", "the end"):
        assert lines.count(text) == 1
    assert len(tree_of(lines)) == 1 + 2 + len(STEPS)
    assert lines[-1] == "the end"


@pytest.mark.parametrize("width", [40, 200])
def test_it_begins_on_a_line_of_its_own(width: int) -> None:
    script = """
from task_pipeline import Pipeline
from task_pipeline.display import ParallelEventPrinter

def work(context): wait()

pipeline = Pipeline([work], name="analysis")
with ParallelEventPrinter() as printer:
    printer.attach(pipeline)
    print("half", end="", flush=True)
    pipeline.run()
"""
    with Terminal(script, width) as terminal:
        live = terminal.until("● work")
        assert live[0] == "half"
        terminal.gate()
        lines = terminal.finish()
    assert lines[0] == "half"
    assert lines[1].startswith("✓ analysis")
