"""What `--json` writes. Names stay, and may become more; what is not known is null.

Times are ISO 8601 in UTC, durations seconds.

- `runs list`: `{"runs": [run, ...]}`, newest first
- `runs show`: `{"run": run, "steps": [step, ...], "groups": [group, ...]}`, by path
- `runs diff`: as `RunDiff.to_dict()` says

A run: `run_id`, `name`, `state` (`status`, or "interrupted" for one that nobody works at),
`status`, `is_live`, `tags`, `created_at`, `started_at`, `ended_at`, `duration`, `resumes`,
`worker`, `fingerprint`, `codec`, `context_type`, `error`.

A step: `path`, `step_id`, `parent_step_id`, `branch_name`, `join_policy`, `join_needed`,
`parallel_index`, `map_key`, `status`, `started_at`, `ended_at`, `duration` (of all attempts
together) and `attempts`, a list of `attempt`, `status`, `started_at`, `ended_at`, `duration`,
`error`, `superseded` (another attempt or a resume came after it). A step that never began has no
attempts, and is "pending" as long as the run has not ended, else "not run".

A group: `path`, `name`, `join` ("all", "any", "2 of 3"; null for a serial one), `status`,
`started_at`, `ended_at`, `duration`, `closed_by`, `error`: what it has raised that was to find
out what to run in it. The group at path "" is the whole run; the status of a group that has none
of its own in the journal is what its choices and steps come to.

An error: `type`, `text`, `traceback`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .nodes import TreeNode
from .times import iso_time
from .tree import time_of_run

if TYPE_CHECKING:
    from ..journal.records import RunRecord, StepRecord
    from .choosing import ToldError

_OF_A_STEP = (
    *("step_id", "parent_step_id", "branch_name", "join_policy", "join_needed"),
    *("parallel_index", "map_key"),
)


def run_document(run: RunRecord, now: float) -> dict[str, Any]:
    """What is told of a run."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "state": run.state,
        "status": run.status,
        "is_live": run.is_live,
        "tags": list(run.tags),
        "created_at": iso_time(run.created_at),
        "started_at": iso_time(run.started_at),
        "ended_at": iso_time(run.ended_at),
        "duration": time_of_run(run, now),
        "resumes": run.resumes,
        "worker": run.worker,
        "fingerprint": run.fingerprint,
        "codec": run.codec,
        "context_type": run.context_type,
        "error": _error(run),
    }


def tree_document(run: RunRecord, root: TreeNode, now: float) -> dict[str, Any]:
    """What is told of a run and all that is in it."""
    nodes = list(root.walk())
    return {
        "run": run_document(run, now),
        "steps": [_step(node) for node in nodes if node.is_step],
        "groups": [_group(node) for node in nodes if not node.is_step],
    }


def _step(node: TreeNode) -> dict[str, Any]:
    return {
        "path": node.path,
        **{name: getattr(node.current, name, None) for name in _OF_A_STEP},
        "step_id": node.name,
        "status": node.state,
        "started_at": iso_time(node.started_at),
        "ended_at": iso_time(node.ended_at),
        "duration": node.duration,
        "attempts": [_attempt(record) for record in node.attempts],
    }


def _attempt(record: StepRecord) -> dict[str, Any]:
    duration = record.duration
    return {
        "attempt": record.attempt,
        "status": record.status,
        "superseded": record.superseded,
        "started_at": iso_time(record.started_at),
        "ended_at": iso_time(record.ended_at),
        "duration": duration if duration is not None and math.isfinite(duration) else None,
        "error": _error(record),
    }


def _group(node: TreeNode) -> dict[str, Any]:
    return {
        "path": node.path,
        "name": node.name,
        "join": node.join or None,
        "status": node.state or None,
        "started_at": iso_time(node.started_at),
        "ended_at": iso_time(node.ended_at),
        "duration": node.duration,
        "closed_by": None if node.group is None else node.group.closed_by,
        "error": _error(node.error),
    }


def _error(record: RunRecord | StepRecord | ToldError) -> dict[str, Any] | None:
    if record.error_type is None:
        return None
    return {
        "type": record.error_type,
        "text": record.error_text,
        "traceback": record.error_traceback,
    }
