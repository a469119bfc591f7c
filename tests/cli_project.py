"""A folder with a module `flows` in it, and ways to call the program there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from task_pipeline import Pipeline
from task_pipeline.cli import main

SCRIPT = Path(sys.executable).with_name("task-pipeline")
ROOT = Path(__file__).resolve().parent.parent

FLOWS = """
import os, pathlib, subprocess, sys, threading
from task_pipeline import Parallel, Pipeline, PipelineConfig, step
from task_pipeline.errors import RunCancelledError

def note(name):
    with open("log", "a") as log: log.write(name + "\\n")

def load(context):
    print("loading")
    note("load")
    return {"rows": [1, 2], "given": dict(context.results)}

def parse(context): return (1, 2)
def odd(context):
    return {1: object, "nan": float("nan"), "text": "\\u6f22 \\ud800", "big": 10**4000}
def boom(context):
    if pathlib.Path("fixed").exists(): return "well"
    raise ValueError("no\\x1b[2J\\nluck")
def slow(context): note("slow"); raise AssertionError("never to be run")
def shout(context):
    subprocess.run(["echo", "from a child"], check=True)
    print("shouting")
@step(step_id="hang")
def hang(context):
    note("hang")
    if pathlib.Path("fixed").exists(): return
    print("waiting", flush=True)
    os.read(0, 1)
def wait(context):
    while not context.cancelled: threading.Event().wait(0.01)
@step(step_id="flaky", retries=1)
def flaky(context): raise OSError("gone")

good = Pipeline([load, [parse, odd], shout], name="good")
bad = Pipeline([load, Parallel([parse, boom, [flaky, parse]], name="io"), slow], name="bad")
five = Pipeline([[boom, boom, boom, boom, boom]], name="five")
single = Pipeline([load, boom], name="single")
patient = Pipeline([load, boom], name="patient", config=PipelineConfig(fail_fast=False))
hangs = Pipeline([load, hang], name="hangs")
late = Pipeline([wait], name="late", config=PipelineConfig(timeout=0.05))
own = Pipeline([load, boom], name="own", journal="sqlite:///own.db")
unwritable = Pipeline([load, lambda context: object()], name="unwritable")
def leave(context): sys.exit(0)
def cancel(context): raise RunCancelledError("somebody else's")
leaves, cancels = Pipeline([leave]), Pipeline([cancel])
number = 3
"""


class Told(NamedTuple):
    """What a call of the program has come to."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASK_PIPELINE_JOURNAL", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "flows.py").write_text(FLOWS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Told]]:
    """Calls the program in this process; what it has imported is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def run(*arguments: str) -> Told:
        code = main(arguments)
        sys.stdout.flush()
        told = capfd.readouterr()
        return Told(code, told.out, told.err)

    yield run
    for name in set(sys.modules) - before:
        if (project / f"{name}.py").exists():
            for thing in vars(sys.modules.pop(name)).values():
                if isinstance(thing, Pipeline) and thing.journal is not None:
                    thing.journal.close()


def script(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Call the installed script in the current folder."""
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, timeout=50, check=False, **more
    )


def without(missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the program in a process in which a package is not installed."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from task_pipeline.cli import main; "
        f"sys.exit(main({list(arguments)!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=50, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
