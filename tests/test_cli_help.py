"""The help of every command, and the completion of what is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.cli_project import SCRIPT, call, project, script

__all__ = ["call", "project"]

COMMANDS = [
    *([], ["run"], ["validate"], ["graph"], ["schema"], ["steps"], ["runs"]),
    *(
        ["runs", name]
        for name in ["list", "show", "resume", "diff", "delete", "prune", "export", "import"]
    ),
]


@pytest.mark.parametrize("columns", [100, 60])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_fits_and_shows_an_example(call, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    told = call(*command, "--help")
    assert (told.code, told.err) == (0, "")
    assert max(map(len, told.out.splitlines())) <= columns
    example = told.out.partition("\n  Example:\n")[2].splitlines()
    assert example[0].startswith(" ".join(["    task-pipeline", *command]))
    assert told.out.startswith(" ".join(["Usage: task-pipeline", *command]))
    assert not re.search(r"\[(required|default)[^\]]*None", told.out)


def test_every_option_of_a_run_is_explained(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    told = call("run", "--help").out
    for option in (
        *("-c, --context", "--journal", "--display", "--output", "--dry-run", "--run-id", "--tag"),
        *("--allow", "--root", "--env", "--kind", "--plugin", "--debug"),
    ):
        (line,) = [line for line in told.splitlines() if line.startswith(f"  {option} ")]
        assert re.search(rf"{option} .*\w", line)
    assert "Exit status: 0 it succeeded, 1 it failed, 2" in told


def test_a_command_that_is_not_there_is_told(call):
    for arguments in (["rum"], ["runs", "shoe"], []):
        told = call(*arguments)
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith("task-pipeline: ")
        assert told.err.count("\n") == 1


@pytest.mark.usefixtures("project")
def test_completion_of_what_is_typed():
    source = {**os.environ, "_TASK_PIPELINE_COMPLETE": "source_bash"}
    told = script(env=source)
    assert told.returncode == 0
    assert "_TASK_PIPELINE_COMPLETE=complete_bash" in told.stdout
    typed = {
        **os.environ,
        "_TASK_PIPELINE_COMPLETE": "complete_bash",
        "COMP_WORDS": "task-pipeline run --dis",
        "COMP_CWORD": "2",
    }
    assert script(env=typed).stdout.split() == ["--display"]
    typed |= {"COMP_WORDS": "task-pipeline graph x --format m", "COMP_CWORD": "4"}
    assert script(env=typed).stdout.split() == ["mermaid"]
    typed |= {"COMP_WORDS": "task-pipeline r", "COMP_CWORD": "1"}
    assert script(env=typed).stdout.split() == ["run", "runs"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_can_be_installed(project):
    def typed(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"{SCRIPT} {command}; exit $?"],
            capture_output=True, text=True, timeout=50, check=False,
            env={**os.environ, "HOME": str(project)},
        )  # fmt: skip

    told = typed("--install-completion")
    assert (told.returncode, told.stderr) == (0, "")
    assert "bash completion installed in " in told.stdout
    installed = project / ".bash_completions" / "task-pipeline.sh"
    assert "_TASK_PIPELINE_COMPLETE=complete_bash" in installed.read_text("utf-8")
    assert "complete_bash" in typed("--show-completion").stdout
