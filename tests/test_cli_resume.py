"""`runs resume`: runs that were cut or failed go on, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import JournalError, Pipeline
from task_pipeline.cli import main
from task_pipeline.cli.failures import ResumeFailed
from task_pipeline.cli.resuming import Shown, resume_run
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.store import Journal

SCRIPT = Path(sys.executable).with_name("task-pipeline")

FLOWS = """
import os, pathlib, signal, sys
from task_pipeline import Pipeline, PipelineConfig, PipelineContext, step

def note(name):
    with open("log", "a") as log: log.write(name + "\\n")

def load(context):
    note("load")
    return 1

@step(step_id="parse")
def parse(context):
    note("parse")
    if pathlib.Path("away").exists() and pathlib.Path("broken").exists(): os.rmdir("full")
    if pathlib.Path("broken").exists(): raise ValueError("no \\x1b[2J luck")
    if pathlib.Path("waits").exists():
        print("waiting", flush=True)
        os.read(0, 1)
    if pathlib.Path("odd").exists(): return object()
    return context.results["load"] + 1

def report(context):
    note("report")
    if pathlib.Path("away").exists(): os.rmdir("full")
    return 3

steps = [load, [parse, lambda context: None], report]
nightly = Pipeline(steps, name="nightly", journal="sqlite:///runs.db")
patient = Pipeline(
    steps, name="nightly", journal="sqlite:///runs.db", config=PipelineConfig(fail_fast=False)
)
changed = Pipeline([load, [parse], report], name="nightly", journal="sqlite:///runs.db")
forgetful = Pipeline(steps)
number = 3

@step(step_id="pay", idempotent=False)
def pay(context):
    note("pay")
    if pathlib.Path("dies").exists(): os.kill(os.getpid(), signal.SIGKILL)

paying = Pipeline([load, pay, report], name="paying", journal="sqlite:///runs.db")

class Flows: nightly = nightly

def context(): return PipelineContext()
def bad_context(): raise OSError("no context today")
def no_context(): return 3
def leaves(): sys.exit(3)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with a module `flows`, a journal, and a run of each pipeline that failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASK_PIPELINE_JOURNAL", raising=False)
    (tmp_path / "flows.py").write_text(FLOWS, encoding="utf-8")
    return tmp_path


def start(pipeline: str, run_id: str, *flags: str) -> int:
    """Run a pipeline in a process, with files there that have its steps fail."""
    for flag in flags:
        Path(flag).touch()
    program = f"import flows; flows.{pipeline}.run(run_id={run_id!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=50, check=False
    )
    for flag in flags:
        Path(flag).unlink()
    return done.returncode


def resume(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, "runs", "resume", *arguments],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def log() -> list[str]:
    return Path("log").read_text(encoding="utf-8").split()


def opened() -> Journal:
    return open_journal("sqlite:///runs.db")


@pytest.mark.usefixtures("project")
def test_a_run_that_failed_goes_on():
    assert start("nightly", "2026-11-21", "broken") == 1
    done = resume("2026", "flows:nightly")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run 2026-11-21 succeeded after ")
    assert log() == ["load", "parse", "parse", "report"]
    again = resume("2026-11-21", "flows:Flows.nightly")
    assert again.returncode == 0
    assert log() == ["load", "parse", "parse", "report"]


@pytest.mark.usefixtures("project")
def test_from_a_step_on():
    assert start("nightly", "one") == 0
    done = resume("one", "flows:nightly", "--from", "parse", "--context", "flows:context")
    assert done.returncode == 0
    assert log() == ["load", "parse", "report", "parse", "report"]
    wrong = resume("one", "flows:nightly", "--from", "pars")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "pars" in wrong.stderr
    with opened() as journal:
        assert journal.run("one").status == "succeeded"


@pytest.mark.usefixtures("project")
def test_a_run_that_goes_on_after_failures_says_so():
    start("patient", "one", "broken")
    done = resume("one", "flows:patient")
    assert (done.returncode, done.stderr) == (0, "")
    assert "with 1 error in the context" in done.stdout


@pytest.mark.usefixtures("project")
def test_a_run_that_fails_again():
    start("nightly", "one", "broken")
    Path("broken").touch()
    done = resume("one", "flows:nightly")
    assert done.returncode == 1
    assert done.stderr.startswith("task-pipeline: run one ")
    assert "no \\x1b[2J luck" in done.stderr
    assert done.stderr.count("\n") == 1
    told = resume("one", "flows:nightly", "--debug")
    assert "Traceback (most recent call last):" in told.stderr.splitlines()[0]
    assert "in parse\n" in told.stderr
    assert "\x1b" not in told.stderr


def test_a_run_that_cannot_be_recorded_has_failed(resume_here):
    start("nightly", "one", "broken")
    Path("odd").touch()
    code, out, err = resume_here("one", "flows:nightly")
    assert (code, out) == (1, "")
    assert err.startswith("task-pipeline: run one failed: ")
    assert "results['parse']" in err
    assert resume_here("one", "flows:changed")[0] == 2


@pytest.mark.usefixtures("project")
def test_a_plan_that_has_changed():
    start("nightly", "one", "broken")
    refused = resume("one", "flows:changed")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "--on-changed rerun_changed" in refused.stderr
    assert resume("one", "flows:changed", "--on-changed", "ignored").returncode == 2
    done = resume("one", "flows:changed", "--on-changed", "rerun_changed")
    assert (done.returncode, done.stderr) == (0, "")
    assert log() == ["load", "parse", "parse", "report"]


@pytest.mark.usefixtures("project")
def test_a_step_of_which_nobody_knows_what_it_has_done():
    assert start("paying", "one", "dies") == -signal.SIGKILL
    refused = resume("one", "flows:paying")
    assert refused.returncode == 2
    assert "pay" in refused.stderr
    assert "--on-uncertain rerun" in refused.stderr
    done = resume("one", "flows:paying", "--on-uncertain", "skip")
    assert (done.returncode, done.stderr) == (0, "")
    assert log() == ["load", "pay", "report"]


@pytest.mark.usefixtures("project")
def test_ctrl_c_leaves_a_run_that_can_be_resumed():
    start("nightly", "one", "broken")
    Path("waits").touch()
    command = [str(SCRIPT), "runs", "resume", "one", "flows:nightly", "--output", "out.json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=50)
        assert process.returncode == 130
    assert told.strip() == "task-pipeline: interrupted; run one can be resumed"
    written = json.loads(Path("out.json").read_text("utf-8"))
    assert (written["status"], written["results"]) == ("cancelled", {"load": 1})
    Path("waits").unlink()
    done = resume("one", "flows:nightly")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("project")
def test_two_at_once():
    start("nightly", "one", "broken")
    Path("waits").touch()
    command = [str(SCRIPT), "runs", "resume", "one", "flows:nightly"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        other = resume("one", "flows:nightly")
        process.communicate("x", timeout=50)
        assert process.returncode == 0
    assert other.returncode == 2
    assert str(process.pid) in other.stderr
    assert other.stderr.count("\n") == 1


# --output and --display


@pytest.mark.parametrize("target", ["out.json", "-"])
def test_the_results_of_a_resumed_run_are_written(resume_here, target):
    start("nightly", "one", "broken")
    code, out, err = resume_here("one", "flows:nightly", "--output", target)
    assert code == 0
    text = out if target == "-" else Path(target).read_text("utf-8")
    assert json.loads(text) == {"load": 1, "parse": 2, "report": 3}
    assert (err if target == "-" else out).startswith("run one succeeded after ")
    assert (out.count("run one"), err.count("run one")) == ((0, 1) if target == "-" else (1, 0))


def test_of_a_run_that_is_over_the_results_are_written_too(resume_here):
    start("nightly", "one")
    assert resume_here("one", "flows:nightly", "--output", "out.json")[0] == 0
    assert json.loads(Path("out.json").read_text("utf-8"))["report"] == 3
    assert log() == ["load", "parse", "report"]


@pytest.mark.parametrize("context", [(), ("--context", "flows:context")])
def test_of_a_run_that_fails_again_what_it_had_come_to_is_written(resume_here, context):
    start("nightly", "one", "broken")
    Path("broken").touch()
    code, out, err = resume_here("one", "flows:nightly", "--output", "out.json", *context)
    assert (code, out) == (1, "")
    found = json.loads(Path("out.json").read_text("utf-8"))
    assert (found["status"], found["run_id"]) == ("failed", "one")
    assert found["results"] == {"load": 1}
    assert "no \\x1b[2J luck" in found["error"]
    assert len(found["errors"]) == 1
    assert err.startswith("task-pipeline: run one failed: ")


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(resume_here):
    start("nightly", "one", "broken")
    code, out, err = resume_here("one", "flows:nightly", "--output", "nowhere/out.json")
    assert (code, out) == (2, "")
    assert err.startswith("task-pipeline: --output 'nowhere/out.json' cannot be written: ")
    assert log() == ["load", "parse"]


@pytest.mark.parametrize(("broken", "begins"), [(False, "succeeded, but "), (True, "failed: ")])
def test_a_file_that_can_no_longer_be_written_is_told(resume_here, broken, begins):
    Path("full").mkdir()
    start("nightly", "one", "broken")
    if broken:
        Path("broken").touch()
    Path("away").touch()
    code, out, err = resume_here("one", "flows:nightly", "--output", "full/out.json")
    assert (code, out) == (1, "")
    assert err.startswith(f"task-pipeline: run one {begins}")
    assert "--output 'full/out.json' cannot be written: " in err
    assert err.count("\n") == 1


def test_a_refusal_writes_nothing(resume_here):
    start("nightly", "one", "broken")
    assert resume_here("one", "flows:changed", "--output", "out.json")[0] == 2
    assert not Path("out.json").exists()


@pytest.mark.parametrize("show", ["lines", "live"])
def test_a_resumed_run_is_shown_if_that_is_wanted(resume_here, show):
    start("nightly", "one", "broken")
    code, out, err = resume_here("one", "flows:nightly", "--display", show)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert any(line.endswith("✓ report succeeded in 0.00 s") for line in lines)
    assert lines[-1].startswith("run one succeeded after ")
    assert "\x1b" not in out  # as this is no terminal


def test_a_resumed_run_is_not_shown_if_nobody_says_so(resume_here):
    start("nightly", "one", "broken")
    start("nightly", "two", "broken")
    plain = resume_here("one", "flows:nightly")[1]
    assert plain.count("\n") == 1
    assert resume_here("two", "flows:nightly", "--display", "none")[1].count("\n") == 1
    assert "'live', 'lines', 'none'" in resume_here("two", "flows:nightly", "--display", "x")[2]


# What cannot be resumed


@pytest.fixture
def resume_here(project, monkeypatch, capsys):
    """As `resume`, in this process; what it has imported is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["runs", "resume", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    yield call
    for name in set(sys.modules) - before:
        if (project / f"{name}.py").exists():
            for thing in vars(sys.modules.pop(name)).values():
                if isinstance(thing, Pipeline) and thing.journal is not None:
                    thing.journal.close()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("flows", "a pipeline is named as module:name, such as flows.daily:nightly, not 'flows'"),
        ("flows:", "a pipeline is named as module:name"),
        ("../flows:nightly", "a pipeline is named as module:name"),
        ("flowers:nightly", "there is no module 'flowers', looked for from "),
        ("flowers.daily:nightly", "there is no module 'flowers', looked for from "),
        ("flows.daily:nightly", "there is no module 'flows.daily'"),
        ("flows:weekly", "'flows' has no 'weekly'"),
        ("flows:Flows.weekly", "'flows.Flows' has no 'weekly'"),
        ("flows:number", "flows:number must be a Pipeline, not an int"),
        ("flows:context", "not a function; give the name of the pipeline it makes"),
        ("needy:x", "module 'needy' cannot be imported: No module named 'not_there'"),
        ("broken:x", "module 'broken' raised ValueError: boom \\x1b[2J"),
        ("typo:x", "module 'typo' raised SyntaxError: "),
        ("leaving:x", "module 'leaving' raised SystemExit: 3"),
        ("silent:x", "module 'silent' raised KeyError"),
        ("flows:forgetful", "the pipeline has no journal to resume from; give it one: Pipeline("),
        ("flows:nightly", "there is no run 'one' in the journal, nor one that begins so"),
    ],
)
def test_a_pipeline_that_is_not_there(resume_here, target, told):
    Path("needy.py").write_text("import not_there", encoding="utf-8")
    Path("broken.py").write_text("raise ValueError('boom \\x1b[2J')", encoding="utf-8")
    Path("typo.py").write_text("x = (", encoding="utf-8")
    Path("leaving.py").write_text("import sys; sys.exit(3)", encoding="utf-8")
    Path("silent.py").write_text("raise KeyError", encoding="utf-8")
    code, out, err = resume_here("one", target)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert err.startswith("task-pipeline: ")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("context", "a context is named as module:name"),
        ("flows:bad_context", "flows:bad_context raised OSError: no context today"),
        ("flows:leaves", "flows:leaves raised SystemExit: 3"),
        ("flows:no_context", "flows:no_context must make a PipelineContext, not an int"),
    ],
)
def test_a_context_that_is_not_there(resume_here, target, told):
    code, out, err = resume_here("one", "flows:nightly", "--context", target)
    assert (code, out) == (2, "")
    assert told in err


def test_in_this_process(resume_here):
    """As the others, where coverage is measured."""
    start("nightly", "one", "broken")
    start("paying", "two", "dies")
    start("patient", "three", "broken")
    assert resume_here("two", "flows:paying")[0] == 2
    Path("broken").touch()
    code, out, err = resume_here("one", "flows:nightly")
    assert (code, out) == (1, "")
    assert err.startswith("task-pipeline: run one failed: ParallelGroupError: ")
    assert "ValueError: no \\x1b[2J luck" in err
    Path("broken").unlink()
    code, out, err = resume_here("one", "flows:nightly", "--context", "flows:context")
    assert (code, err) == (0, "")
    assert out.startswith("run one succeeded after ")
    assert "with 1 error in" in resume_here("three", "flows:patient")[1]
    assert str(Path.cwd()) in sys.path


class Interrupted(Pipeline):
    """One in which somebody presses Ctrl-C, or whose journal goes away meanwhile."""

    raises: BaseException

    def close(self) -> None:
        """Close its journal."""
        assert self.journal is not None
        self.journal.close()

    def resume(self, *arguments, **choices):
        """Somebody does."""
        if not isinstance(self.raises, KeyboardInterrupt):
            self.close()
        raise self.raises


def test_what_a_resume_may_end_with(project):
    start("nightly", "one", "broken")
    for error, code in ((KeyboardInterrupt(), 130), (OSError("gone"), 1)):
        pipeline = Interrupted([], journal="sqlite:///runs.db")
        pipeline.raises = error
        results: list[Any] = []
        with pytest.raises(ResumeFailed) as caught:
            resume_run(pipeline, "one", Shown(write=results.append))
        assert caught.value.code == code
        assert results == []
        assert "; what it came to cannot be read: " in str(caught.value)
        pipeline.close()
    pipeline = Interrupted([], journal="sqlite:///runs.db")
    pipeline.raises = JournalError("the disk is full")
    with pytest.raises(JournalError, match="the disk is full"):
        resume_run(pipeline, "one", Shown())
