"""`task-pipeline run` in a real terminal: the live tree, and Ctrl-C."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.cli_project import ROOT, project
from tests.display_terminal import Terminal

__all__ = ["project"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no ptys")

GATED = """
import __main__
from task_pipeline import Pipeline, step

def load(context): print("a print of load")

@step(step_id="count")
def count(context): __main__.wait()

@step(step_id="boom")
def boom(context): raise ValueError("no luck")

good = Pipeline([load, [count, load]], name="analysis")
bad = Pipeline([load, boom], name="analysis")
"""


def terminal(folder, *arguments: str, columns: int = 100, **environment: str) -> Terminal:
    (folder / "gated.py").write_text(GATED, encoding="utf-8")
    script = (
        f"import os, sys; os.chdir({str(folder)!r})\n"
        f"from task_pipeline.cli import main; sys.exit(main({list(arguments)!r}))"
    )
    return Terminal(script, columns, 30, PYTHONPATH=str(ROOT), **environment)


def test_a_run_is_shown_live(project):
    with terminal(project, "run", "gated:good") as shown:
        lines = shown.until("● count")
        assert any("a print of load" in line for line in lines)
        assert any("✓ load" in line for line in lines)
        assert not shown.has_cursor
        shown.gate()
        lines = shown.finish()
        assert shown.process.returncode == 0
        assert shown.has_cursor
    assert any("✓ analysis" in line for line in lines)
    assert lines.index(next(line for line in lines if "Summary of analysis: succeeded" in line))
    assert sum("a print of load" in line for line in lines) == 2


def test_lines_if_they_are_wanted_or_nothing_else_is_possible(project):
    for wanted, kind in (("lines", "xterm"), ("live", "dumb")):
        with terminal(project, "run", "gated:good", "--display", wanted, TERM=kind) as shown:
            shown.gate()
            lines = shown.finish()
        assert shown.process.returncode == 0
        assert "  ● load started" in lines
        assert b"\x1b[?25l" not in shown.raw


def test_only_results_go_to_standard_output_and_the_tree_to_the_terminal(project):
    command = f"{sys.executable} -m task_pipeline run gated:bad --display live --output - >out.json"
    script = f"import os, sys; os.chdir({str(project)!r}); sys.exit(os.system({command!r}) >> 8)"
    (project / "gated.py").write_text(GATED, encoding="utf-8")
    with Terminal(script, 100, 30, PYTHONPATH=str(ROOT)) as shown:
        lines = shown.finish()
        assert shown.process.returncode == 1
    assert any("✗ boom" in line for line in lines)
    assert "a print of load" in lines
    assert lines[-1] == "task-pipeline: step 'boom' at path 1 failed: ValueError: no luck"
    assert '"status": "failed"' in (project / "out.json").read_text("utf-8")


def test_ctrl_c_in_a_terminal(project):
    arguments = ("run", "gated:good", "--journal", "sqlite:///runs.db", "--run-id", "one")
    with terminal(project, *arguments) as shown:
        shown.until("● count")
        shown.process.send_signal(signal.SIGINT)
        lines = shown.finish()
        assert shown.process.returncode == 130
        assert shown.has_cursor
    assert "task-pipeline: run one: interrupted" in lines
    way = "resume it with: task-pipeline runs resume one gated:good --journal sqlite:///runs.db"
    assert f"task-pipeline: {way}" in lines
    with terminal(project, *way.split(": ")[1].split()[1:]) as shown:
        shown.gate()
        assert shown.finish()[-1].startswith("run one succeeded after ")
        assert shown.process.returncode == 0
