"""What is written where there is no terminal, and the lines of single events."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from task_pipeline import ErrorStrategy, Parallel, ParallelConfig, Pipeline, events, step
from task_pipeline.display import ParallelDisplayMode, ParallelEventPrinter
from tests.display_story import DAY, Story

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import sys
from task_pipeline import Pipeline, step
from task_pipeline.display import ParallelEventPrinter

@step(step_id="décodé")
def decoded(context): print("printed")

def load(context): pass

pipeline = Pipeline([load, [decoded, [load, [load, load]]], [load]], name="analysis")
with ParallelEventPrinter(sys.argv[1]) as printer:
    printer.attach(pipeline)
    pipeline.run()
"""


def piped(tmp_path: Path, mode: str = "progress", **environment: str) -> str:
    """What the script writes to a file."""
    target = tmp_path / "out"
    with target.open("wb") as out:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, mode],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **environment},
            timeout=50,
            check=True,
        )
    return target.read_bytes().decode(environment.get("PYTHONIOENCODING", "utf-8"))


def shown(story: Story, mode: str = "progress", show_progress: bool = True) -> list[str]:
    """What a printer writes of a story to something that is no terminal."""
    file = io.StringIO()
    printer = ParallelEventPrinter(mode, show_progress, file=file)
    for event in story.events:
        printer(event)
    printer.close()
    return file.getvalue().splitlines()


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_file_gets_one_line_for_each_group_and_no_codes(tmp_path, environment) -> None:
    text = piped(tmp_path, PYTHONIOENCODING="utf-8", **environment)
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.count("printed") == 1
    lines = text.replace("printed", "").splitlines()
    assert sum(line.startswith("group ") for line in lines) == 4
    for path, branches in (("parallel_group_1", 2), ("parallel_group_1.1.1", 2)):
        own = [line for line in lines if line.startswith(f"group {path} ")]
        assert len(own) == 1
        assert f": {branches} of {branches} succeeded, 0 failed" in own[0]
    assert lines.count("analysis started: 6 steps") == 1
    assert sum(line.startswith("Summary of analysis: succeeded in ") for line in lines) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("mode", ["progress", "realtime"])
def test_no_encoding_makes_it_fail(tmp_path, mode, encoding) -> None:
    text = piped(tmp_path, mode, PYTHONIOENCODING=encoding)
    assert "speed-up" in text
    assert ("d?cod?" if encoding == "ascii" else "décodé") in text


def test_every_event_is_a_line_in_realtime(tmp_path) -> None:
    # A step's print() writes its text and its line end apart: a line may come in between.
    text = piped(tmp_path, "realtime", PYTHONIOENCODING="utf-8")
    lines = text.replace("printed", "").splitlines()
    assert "● analysis started: 6 steps" in lines
    assert "  ● load started" in lines
    assert "    ● décodé started" in lines
    assert "  ● group parallel_group_1 started: 2 branches" in lines
    assert "    ● group serial_group_1.1 started: 2 children" in lines
    assert sum(line.lstrip().startswith("● ") for line in lines) == 1 + 4 + 6
    assert sum(line.lstrip().startswith("✓ ") for line in lines) == 1 + 4 + 6
    assert sum("succeeded, 0 failed" in line and "group" in line for line in lines) == 4
    assert sum(line.startswith("Summary") for line in lines) == 1


def test_the_summary_of_a_run() -> None:
    story = Story(name="analysis")
    story.start(4)
    story.step("0", 1.0, "load")
    story.group("1", 2)
    story.begin("1.0", "left")
    story.begin("1.1", "right")
    story.now += 2.0
    story.done("1.0")
    story.now += 1.0
    story.done("1.1", events.StepTimedOut, error=TimeoutError("too slow"))
    story.close("1", events.GroupFailed)
    story.tell(events.StepSkipped, "2", "report", step_id="report")
    story.end(events.RunFailed, error=TimeoutError("too slow"))
    assert shown(story) == [
        "analysis started: 4 steps",
        "group group_1 failed in 3.00 s: 1 of 2 succeeded, 1 failed",
        "Summary of analysis: failed in 4.00 s",
        "  steps          4 steps, 2 succeeded, 1 failed (1 timed out), 0 retried, 1 skipped",
        "  slowest        right 3.00 s, left 2.00 s, load 1.00 s",
        "  critical path  load 1.00 s → right 3.00 s (4.00 s)",
        "  speed-up       1.5× (6.00 s of steps in 4.00 s)",
        "  failed         right: TimeoutError: too slow",
    ]


def test_a_long_critical_path_shows_its_longest_links() -> None:
    story = Story(name="analysis")
    story.start(12)
    for number in range(12):
        story.step(str(number), 1.0 + number, f"s{number}")
    story.end()
    told = "\n".join(shown(story))
    assert "critical path  s4 5.00 s → s5 6.00 s" in told
    assert "s11 12.0 s → … 4 shorter ones (1:18 min)" in told


def test_groups_without_a_run_are_summed_up_too() -> None:
    story = Story("state", "")
    story.group("0", 2, "calls")
    story.step("0.0", 1.0)
    story.step("0.1", 1.0)
    story.close("0")
    lines = shown(story)
    assert lines[0] == "group calls succeeded in 2.00 s: 2 of 2 succeeded, 0 failed"
    assert lines[1] == "Summary of calls: succeeded in 2.00 s"


def all_kinds() -> list[type[events.Event]]:
    kinds = [item for item in vars(events).values() if inspect.isclass(item)]
    return [kind for kind in kinds if issubclass(kind, events.Event)]


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)
def test_every_kind_of_event_has_its_line(kind) -> None:
    needed = {
        "parallel": True,
        "total": 3,
        "percent": 5.0,
        "delay": 1.0,
        "key": "rows",
        "branches": ("left", "right"),
        "circuit": "service",
    }
    names = inspect.signature(kind).parameters
    facts = {name: value for name, value in needed.items() if name in names}
    event = kind(
        run_id="r", seq=0, at=DAY, monotonic=1.0, path="1.0", name="n\x1bame\n", attempt=1, **facts
    )
    file = io.StringIO()
    printer = ParallelEventPrinter(ParallelDisplayMode.REALTIME, file=file)
    printer(event)
    line = file.getvalue().splitlines()[0]
    assert line.startswith("    ")
    assert "n ame" in line
    assert "\x1b" not in line


def test_without_progress_a_line_less() -> None:
    story = Story()
    story.start(1)
    story.begin("0")
    story.progress("0", 40.0)
    story.done("0")
    story.end()
    assert any("40 %" in line for line in shown(story, "realtime"))
    assert not any("40 %" in line for line in shown(story, "realtime", show_progress=False))


def test_lines_of_several_runs_say_of_which_they_are() -> None:
    one, two = Story("aaaaaaaaaaaa", "first"), Story("bbbbbbbbbbbb", "second")
    one.events = [one.start(1), two.start(1), one.begin("0"), two.begin("0")]
    one.events += [one.done("0"), one.end(), two.done("0"), two.end()]
    lines = shown(one, "realtime")
    assert "  ● step_0 started  (aaaaaaaa)" in lines
    assert "  ● step_0 started  (bbbbbbbb)" in lines
    assert sum(line.startswith("Summary of") for line in lines) == 2
    assert lines[-5].startswith("✓ second succeeded")


def test_a_real_run_with_every_way_to_end() -> None:
    @step(critical=False)
    def fails(context) -> None:
        raise ValueError("no")

    @step(retries=2)
    def flaky(context) -> None:
        if context.attempt == 1:
            raise ValueError("not yet")

    def works(context) -> None: ...

    file = io.StringIO()
    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_SLOW)
    pipeline = Pipeline([works, Parallel([fails, flaky, works], name="all", config=config)])
    with ParallelEventPrinter(file=file) as printer:
        printer.attach(pipeline)
        pipeline.run()
    lines = file.getvalue().splitlines()
    assert lines[1].startswith("group all succeeded in ")
    assert lines[1].endswith(": 2 of 3 succeeded, 1 failed, 1 retried")
    assert printer.summary is not None
    assert (printer.summary.succeeded, printer.summary.failed) == (3, 1)
    assert printer.parallel_groups["1"].completion_percentage == 100.0


def test_the_summary_tells_what_else_has_happened() -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    story = Story(name="analysis")
    story.start(25)
    story.group("0", 25)
    for number in range(25):
        story.begin(f"0.{number}")
        story.done(f"0.{number}", events.StepFailed, error=Unreadable())
    story.tell(events.StepAbandoned, "0.3", "step_0.3", step_id="step_0.3", attempt=1)
    story.tell(events.MergeConflictFound, "0", "group_0", key="rows", branches=("a", "b"))
    story.close("0", events.GroupFailed)
    story.end(events.RunFailed, error=Unreadable())
    text = "\n".join(shown(story))
    assert "0 retried, 1 abandoned, 1 merge conflict" in text
    assert "  failed         step_0.19: Unreadable\n" in text
    assert "… 5 more" in text
    assert "step_0.20" not in text


def test_a_run_that_fails_without_a_step_that_does_says_why() -> None:
    story = Story(name="analysis")
    story.start(1)
    story.step("0")
    story.end(events.RunFailed, error=TimeoutError("the run took too long"))
    assert shown(story)[-1] == "  error          TimeoutError: the run took too long"
