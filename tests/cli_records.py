"""Records of a journal made by hand, and a standard output that is one or is no terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from task_pipeline.cli.output import Output
from task_pipeline.journal.records import (
    GROUP_COLUMNS,
    STEP_COLUMNS,
    GroupRecord,
    NewRun,
    RunRecord,
    StepRecord,
)

START = 1_800_000_000.0  # 2027-01-15T08:00:00Z

# load, then (parse, then count) beside fetch, one of the two; then a Map; then report
PLAN = {
    "group": "serial",
    "name": "nightly",
    "children": [
        {"step": "load"},
        {
            "group": "parallel",
            "name": "both",
            "operator": "OR",
            "children": [
                {
                    "group": "serial",
                    "name": "serial_group_1.0",
                    "children": [{"step": "parse"}, {"step": "count"}],
                },
                {"step": "fetch"},
            ],
        },
        {
            "group": "parallel",
            "name": "each",
            "operator": "QUORUM",
            "quorum": 1,
            "dynamic": {"kind": "Map"},
            "each": {"step": "double"},
        },
        {"step": "report"},
    ],
}


def run_record(**columns: Any) -> RunRecord:
    """A run that failed after ten seconds, if nothing else is said."""
    facts: dict[str, Any] = {
        "run_id": "2027-01-15",
        "name": "nightly",
        "fingerprint": "f1",
        "plan": json.dumps(PLAN),
        "status": "failed",
        "tags": ("prod", "daily"),
        "input": None,
        "input_digest": "d1",
        "context_type": "task_pipeline.context:PipelineContext",
        "codec": "json",
        "error_type": "builtins.ValueError",
        "error_text": "boom",
        "error_traceback": "Traceback ...\nValueError: boom\n",
        "created_at": START,
        "started_at": START,
        "ended_at": START + 10,
        "resumes": 0,
        "worker": "host:7:::",
        "lease_token": None,
        "lease_until": None,
        "format": 1,
    }
    return RunRecord(**{**facts, **columns})


def step_record(path: str, step_id: str, **columns: Any) -> StepRecord:
    """A step that took a second; `at`: how many seconds after the run's start it began."""
    at = columns.pop("at", 0.0)
    duration = columns.pop("duration", 1.0)
    facts: dict[str, Any] = {
        "run_id": "2027-01-15",
        "path": path,
        "attempt": 1,
        "seq": 0,
        "step_id": step_id,
        "status": "succeeded",
        "started_at": None if at is None else START + at,
        "ended_at": None if at is None or duration is None else START + at + duration,
        "duration": duration,
    }
    names = (
        *("parent_step_id", "branch_name", "join_policy", "join_needed", "parallel_index"),
        *("map_key", "error_type", "error_text", "error_traceback", "error", "delta"),
    )
    return StepRecord(**{**dict.fromkeys(names), **facts, **columns})


def group_record(path: str, name: str, **columns: Any) -> GroupRecord:
    """A group that took four seconds."""
    facts: dict[str, Any] = {
        "run_id": "2027-01-15",
        "path": path,
        "kind": "group",
        "round": 0,
        "seq": 0,
        "name": name,
        "status": "succeeded",
        "closed_by": None,
        "started_at": START + 1,
        "ended_at": START + 5,
        "answer": None,
    }
    return GroupRecord(**{**facts, **columns})


STEPS = [
    step_record("0", "load"),
    step_record("1.0.0", "parse", at=1, duration=0.5, status="failed", superseded=True),
    step_record("1.0.0", "parse", at=2, attempt=2, parent_step_id="both", branch_name="left"),
    step_record("1.0.1", "count", at=None, attempt=0, duration=None, status="cancelled"),
    step_record("1.1", "fetch", at=1, duration=4.0),
    step_record("2.10", "double[10]", at=6, duration=0.004),
    step_record("2.9", "double[9]", at=6, duration=0.25, map_key="9"),
    step_record(
        *("3", "report"), at=7, duration=3.0, status="failed", error_type="builtins.ValueError",
        error_text="boom\nand more", error_traceback="Traceback ...",
    ),
]  # fmt: skip
GROUPS = [
    group_record("1", "both"),
    group_record("2", "each", started_at=START + 6, ended_at=START + 6.5),
    group_record("2", "each", kind="choice", answer="[]"),
]


class Screen(io.TextIOWrapper):
    """A standard output that keeps what is written to it."""

    def __init__(self, encoding: str = "utf-8", is_terminal: bool = False) -> None:
        self.raw_bytes = io.BytesIO()
        self._is_terminal = is_terminal
        super().__init__(self.raw_bytes, encoding, write_through=True)

    def isatty(self) -> bool:
        """Whether it says that it is a terminal."""
        return self._is_terminal

    @property
    def text(self) -> str:
        """All that was written."""
        return self.raw_bytes.getvalue().decode(self.encoding)


def written(show: Any, *things: Any, **kinds: Any) -> str:
    """What a function writes that is given an output first."""
    screen = Screen(**kinds)
    show(Output(screen), *things)
    return screen.text


def record_run(
    journal: Any,
    run_id: str,
    steps: Sequence[StepRecord] = STEPS,
    groups: Sequence[GroupRecord] = GROUPS,
    large: Sequence[tuple[str, bytes]] = (),
    **columns: Any,
) -> None:
    """Write a run into a journal; a `status` of None leaves it running, with nobody at it."""
    facts = {name: getattr(run_record(), name) for name in ("status", "ended_at", "error_type")}
    facts |= {"error_text": "boom", "error_traceback": "Traceback ..."} | columns
    first = ("name", "fingerprint", "plan", "tags", "input", "input_digest", "created_at")
    defaults = run_record()
    new = {name: facts.pop(name, getattr(defaults, name)) for name in (*first, "started_at")}
    lane = journal.create_run(NewRun(run_id=run_id, **new))
    for digest, content in large:
        lane.put_large(digest, content)
    for step in steps:
        values = {name: getattr(step, name) for name in STEP_COLUMNS}
        lane.put_step(tuple({**values, "run_id": run_id}.values()))
    for group in groups:
        values = {name: getattr(group, name) for name in GROUP_COLUMNS}
        lane.put_group(tuple({**values, "run_id": run_id}.values()))
    if facts["status"] is not None:
        lane.put_run(**facts)
    lane.end()
