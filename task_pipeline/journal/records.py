"""What a journal holds, as its readers see it: one frozen record per row.

The order of a record's fields is the order of its table's columns, and the order in which a
`Lane` takes the values of a row. All times are seconds since the epoch, in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

FORMAT = 1
"""The version of what stands in the rows of a run; a reader refuses what is newer."""

RUNNING = "running"
INTERRUPTED = "interrupted"
SUCCEEDED = "succeeded"

RUN_STATUSES = frozenset({RUNNING, SUCCEEDED, "failed", "cancelled", "timed_out"})
STEP_STATUSES = frozenset({RUNNING, SUCCEEDED, "failed", "cancelled", "timed_out", "skipped"})
JOIN_POLICIES = frozenset({"all", "any", "n_of_m"})
GROUP_KINDS = frozenset({"group", "choice"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What is known of a run when it begins.

    `input` is its encoded context, and `large` the digests and contents of what that refers to;
    `created_at` None is now.
    """

    run_id: str
    name: str = ""
    fingerprint: str = ""
    plan: str = ""
    tags: tuple[str, ...] = ()
    input: str | None = None
    input_digest: str | None = None
    context_type: str | None = None
    codec: str = "json"
    created_at: float | None = None
    started_at: float | None = None
    large: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run, a row of `workflow_runs`.

    `worker` has it, or had it last; it is under way as long as `lease_until` lies ahead and
    that process lives: `is_live`. `resumes`: how often it was taken up again.
    """

    run_id: str
    name: str
    fingerprint: str
    plan: str
    status: str
    tags: tuple[str, ...]
    input: str | None
    input_digest: str | None
    context_type: str | None
    codec: str
    error_type: str | None
    error_text: str | None
    error_traceback: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    resumes: int
    worker: str | None
    lease_token: str | None
    lease_until: float | None
    format: int
    is_live: bool = False

    @property
    def state(self) -> str:
        """The status, or "interrupted" for a run that has not ended and that nobody works on."""
        return INTERRUPTED if self.status == RUNNING and not self.is_live else self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One attempt of one step, a row of `step_executions`.

    `seq` puts the facts of a run in order; `join_policy` is the operator of the group around
    it, with `join_needed` for "n_of_m"; `error` and `delta` are encoded. What a resume runs
    again is `superseded`. `stops`: the step ended the run early, and well.
    """

    run_id: str
    path: str
    attempt: int
    seq: int
    step_id: str
    parent_step_id: str | None
    branch_name: str | None
    join_policy: str | None
    join_needed: int | None
    parallel_index: int | None
    map_key: str | None
    status: str
    started_at: float | None
    ended_at: float | None
    duration: float | None
    error_type: str | None
    error_text: str | None
    error_traceback: str | None
    error: str | None
    delta: str | None
    superseded: bool = False
    stops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """One group's end, or one choice of a group, a row of `group_executions`.

    `round` counts from 0; `closed_by` is what ended it early; `answer` is encoded, and of a
    group that its deadline has closed the number, among the run's facts, of that.
    """

    run_id: str
    path: str
    kind: str
    round: int
    seq: int
    name: str
    status: str
    closed_by: str | None
    started_at: float | None
    ended_at: float | None
    answer: str | None
    superseded: bool = False


RUN_COLUMNS = tuple(field.name for field in fields(RunRecord) if field.name != "is_live")
STEP_COLUMNS = tuple(field.name for field in fields(StepRecord))
GROUP_COLUMNS = tuple(field.name for field in fields(GroupRecord))

_SET_BY_THE_JOURNAL = frozenset(
    {"run_id", "created_at", "resumes", "worker", "lease_token", "lease_until", "format"}
)


def check_run_columns(columns: Mapping[str, object]) -> None:
    """Raise `TypeError` for what is no column of a run, or one that only the journal sets."""
    foreign = sorted(columns.keys() - frozenset(RUN_COLUMNS) | columns.keys() & _SET_BY_THE_JOURNAL)
    if foreign:
        raise TypeError(f"not columns of a run that can be changed: {', '.join(foreign)}")
