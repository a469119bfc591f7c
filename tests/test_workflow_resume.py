"""Workflows in a journal: resumed after a failure and after `kill -9`, shown by `runs show`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import Journal, PlanChangedError, open_journal
from tests.workflow_documents import Context, agent, echo, loaded


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(f"sqlite:///{tmp_path / 'runs.db'}") as opened:
        yield opened


class Noting:
    """An agent that notes what it was given, and fails when it is told to."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.fails_on: Any = ...

    def __call__(self, given: Any) -> Any:
        self.given.append(given)
        if given == self.fails_on:
            raise ValueError(f"no {given}")
        return given


STEPS: dict[str, Any] = {
    "first": agent("${workflow.input.first}", "note", next_step="block"),
    "block": {"type": "parallel", "parallel_steps": ["a", "b"], "next_step": "check"},
    "a": agent("a", "note"),
    "b": agent("b", "note", next_step="b2"),
    "b2": agent("b2", "note"),
    "check": {"type": "conditional", "condition": "${a.output} == 'a'", "if_true_step": "lp"},
    "lp": {
        "type": "loop",
        "collection": "${workflow.input.items}",
        "loop_body": ["body"],
        "next_step": "fork",
    },
    "body": agent(["${loop.item}", "${block.output.a}"], "note"),
    "fork": {
        "type": "fork_join",
        "branches": {"x": {"steps": ["f"]}, "y": {"steps": ["g"], "timeout_seconds": 60}},
        "next_step": "sub",
    },
    "f": agent("f", "note"),
    "g": agent("g", "note"),
    "sub": {
        "type": "sub_workflow",
        "workflow": {"steps": {"s": agent("${workflow.input.lp}", "note")}},
        "input_mapping": {"lp": "${lp.output}"},
        "next_step": "last",
    },
    "last": agent(["${workflow.input.first}", "${sub.output}", "${check.output.result}"], "note"),
}
INPUT = {"first": "in first", "items": [1, 2]}  # `first` is also a step's id
CALLS = ["in first", "a", "b", "b2", [1, "a"], [2, "a"], "f", "g"]
ITEMS = [[1, "a"], [2, "a"]]


@pytest.mark.parametrize("fails_on", ["in first", "a", "b2", [2, "a"], "g", ITEMS])
def test_a_failed_run_goes_on_where_it_was(journal: Journal, fails_on: Any) -> None:
    note = Noting()
    pipeline = loaded(STEPS, "first", agents={"note": note}, journal=journal)
    note.fails_on = fails_on
    with pytest.raises(Exception, match=r"no .*"):
        pipeline.run(Context(results=dict(INPUT)), run_id="r")
    before = list(note.given)
    note.fails_on = ...
    again = loaded(STEPS, "first", agents={"note": note}, journal=journal)
    results = again.resume("r").results
    assert results["last"] == ["in first", ITEMS, True]
    assert results["lp"] == ITEMS
    assert results["fork"] == {"x": "f", "y": "g"}
    assert results["workflow"] == {"input": {"first": "in first"}, "run": "r"}
    # Only what has failed, and what was cut by it, ran again.
    twice = [given for given in note.given if note.given.count(given) > 1]
    assert fails_on in twice
    assert all(given in [*before[-2:], fails_on] for given in twice)
    assert again.resume("r").results == results


def test_a_changed_document_is_not_taken_for_the_same(journal: Journal) -> None:
    note = Noting()
    note.fails_on = "f"
    pipeline = loaded(STEPS, "first", agents={"note": note}, journal=journal)
    with pytest.raises(Exception, match="no f"):
        pipeline.run(Context(results=dict(INPUT)), run_id="r")
    note.fails_on = ...

    def refused(**changed: Any) -> None:
        steps = {**STEPS, **{key: {**STEPS[key], **more} for key, more in changed.items()}}
        other = loaded(steps, "first", agents={"note": note, "other": echo}, journal=journal)
        with pytest.raises(PlanChangedError):
            other.resume("r")

    refused(a={"input_mapping": "other"})
    refused(a={"agent_name": "other"})
    refused(check={"condition": "${a.output} == 'b'"})
    refused(lp={"collection": [1, 2]})
    refused(lp={"on_error": "collect"})
    refused(sub={"input_mapping": {"lp": 1}})
    # A timeout is no such change.
    steps = {**STEPS, "block": {**STEPS["block"], "timeout": 60, "max_parallelism": 1}}
    loaded(steps, "first", agents={"note": note}, journal=journal).resume("r")


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from task_pipeline import PipelineContext
from task_pipeline.documents import load_pipeline

url, folder, kill_on = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
document = json.loads((folder / "workflow.json").read_text())

def note(given):
    with open(folder / "ran", "a") as file:
        file.write(json.dumps(given) + "\\n")
    if given == kill_on:
        os.kill(os.getpid(), signal.SIGKILL)
    return given

pipeline = load_pipeline(document, agents={"note": note}, journal=url)
if kill_on is None:
    context = pipeline.resume("r")
else:
    context = pipeline.run(PipelineContext(results=json.loads(sys.argv[4])), run_id="r")
print(json.dumps(context.results))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
@pytest.mark.parametrize("kill_on", [[2, "a"], ITEMS])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, kill_on: Any) -> None:
    document = {"workflow_id": "w", "start_step": "first", "steps": STEPS}
    (tmp_path / "workflow.json").write_text(json.dumps(document), encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    script = tmp_path / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")

    def process(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(script), url, str(tmp_path), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )

    killed = process(json.dumps(kill_on), json.dumps(INPUT))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = (tmp_path / "ran").read_text(encoding="utf-8").splitlines()
    resumed = process("null")
    assert resumed.returncode == 0, resumed.stderr
    results = json.loads(resumed.stdout)
    assert results["last"] == ["in first", ITEMS, True]
    after = (tmp_path / "ran").read_text(encoding="utf-8").splitlines()[len(before) :]
    # What the cut step depends on was recorded, and is not repeated. The iterations of a loop do
    # not depend on each other: the end of one may not have been written yet.
    assert json.dumps(kill_on) in after
    repeated = {*before} & {*after} - {json.dumps(given) for given in [kill_on, [1, "a"]]}
    assert not repeated
    if kill_on == ITEMS:
        assert after[0] == json.dumps(kill_on)


def test_a_run_is_shown_with_its_blocks_and_steps(journal: Journal) -> None:
    pipeline = loaded(STEPS, "first", agents={"note": echo}, journal=journal)
    pipeline.run(Context(results=dict(INPUT)), run_id="r")
    shown = subprocess.run(
        [sys.executable, "-m", "task_pipeline", "runs", "show", "r", "--journal", journal.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert shown.returncode == 0, shown.stderr
    for name in ("first", "block", "b2", "check", "lp", "body[1]", "fork", "sub", "last"):
        assert name in shown.stdout, shown.stdout
    rows = {row.step_id: row for row in journal.steps("r")}
    assert rows["a"].branch_name == "a" and rows["a"].parent_step_id == "block"


def test_the_entry_of_a_failed_step_is_the_same_in_a_resumed_run(journal: Journal) -> None:
    class OwnError(Exception):
        """A type that a journal gives back by its name only."""

    def bad(given: Any) -> None:
        raise OwnError("it broke")

    note = Noting()
    note.fails_on = "last"
    steps = {
        "block": {
            "type": "parallel",
            "parallel_steps": ["a", "inner"],
            "on_error": "continue",
            "next_step": "last",
        },
        "a": agent(1, "bad"),
        "inner": {"type": "fork_join", "branches": {"x": {"steps": ["b"]}}},
        "b": agent(2, "bad"),
        "last": agent("last", "note"),
    }
    agents = {"bad": bad, "note": note}
    pipeline = loaded(steps, start="block", agents=agents, journal=journal)
    context = Context()
    with pytest.raises(ValueError, match="no last"):
        pipeline.run(context, run_id="r")
    entries = context.results["block"]
    assert entries["a"]["error"] == {"type": "OwnError", "message": "it broke"}
    note.fails_on = ...
    resumed = loaded(steps, start="block", agents=agents, journal=journal).resume("r")
    assert resumed.results["block"] == entries
