"""A run as a document: all its rows, and its large values in base64.

What is read may come from anywhere: pydantic looks at every field, strictly, before anything
is written, and nothing in it is looked up, imported or run.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import JournalDataError, JournalVersionError
from .batch import clean, put_large
from .database import Link
from .large import digest_of_content, read_large, used_by
from .lifecycle import MAX_RUN_ID, insert_row, tags_text
from .reading import read_events, read_groups, read_run, read_steps
from .records import FORMAT, GROUP_COLUMNS, STEP_COLUMNS
from .statements import Statements

KIND = "task_pipeline run"
# So many mistakes are told of at once.
MAX_PROBLEMS = 20


def _storable(text: str) -> str:
    if clean(text) != text:
        raise ValueError("holds NULs or lone surrogates, which no database takes")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Time = Annotated[float, Field(allow_inf_nan=False)]
RunStatus = Literal["running", "succeeded", "failed", "cancelled", "timed_out"]
StepStatus = Literal["running", "succeeded", "failed", "cancelled", "timed_out", "skipped"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Run(_Part):
    run_id: Annotated[Text, Field(min_length=1, max_length=MAX_RUN_ID)]
    name: Text
    fingerprint: Text
    plan: Text
    status: RunStatus
    tags: list[Text]
    input: Text | None
    input_digest: Text | None
    context_type: Text | None
    codec: Literal["json", "pickle"]
    error_type: Text | None
    error_text: Text | None
    error_traceback: Text | None
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    resumes: Annotated[Whole, Field(ge=0)]
    worker: Text | None
    format: Annotated[Whole, Field(ge=1)]


class _Step(_Part):
    path: Text
    attempt: Whole
    seq: Whole
    step_id: Text
    parent_step_id: Text | None
    branch_name: Text | None
    join_policy: Literal["all", "any", "n_of_m"] | None
    join_needed: Whole | None
    parallel_index: Whole | None
    map_key: Text | None
    status: StepStatus
    started_at: Time | None
    ended_at: Time | None
    duration: Time | None
    error_type: Text | None
    error_text: Text | None
    error_traceback: Text | None
    error: Text | None
    delta: Text | None
    superseded: bool
    stops: bool


class _Group(_Part):
    path: Text
    kind: Literal["group", "choice"]
    round: Whole
    seq: Whole
    name: Text
    status: StepStatus
    closed_by: Text | None
    started_at: Time | None
    ended_at: Time | None
    answer: Text | None
    superseded: bool


class _Event(_Part):
    seq: Whole
    event: Text


class Document(_Part):
    """A run as it was exported."""

    kind: Literal["task_pipeline run"]
    format: Whole
    run: _Run
    steps: list[_Step]
    groups: list[_Group]
    events: list[_Event]
    large: dict[str, str]


def export_run(link: Link, run_id: str) -> dict[str, Any]:
    """A run and all that is its own."""
    run = asdict(read_run(link, run_id))
    for name in ("is_live", "lease_token", "lease_until"):
        del run[name]
    run["tags"] = list(run["tags"])
    events: list[tuple[int, str]] = []
    while found := read_events(link, run_id, events[-1][0] if events else None):
        events += found
    large = {digest: read_large(link, digest) for digest in used_by(link, run_id)}
    return {
        "kind": KIND,
        "format": FORMAT,
        "run": run,
        "steps": [_own(step) for step in read_steps(link, run_id, superseded=True)],
        "groups": [_own(group) for group in read_groups(link, run_id, superseded=True)],
        "events": [{"seq": seq, "event": text} for seq, text in events],
        "large": {digest: base64.b64encode(value).decode() for digest, value in large.items()},
    }


def _own(record: Any) -> dict[str, Any]:
    row = asdict(record)
    del row["run_id"]
    return row


def read_document(given: Mapping[str, Any] | str | bytes) -> Document:
    """A document, checked through and through."""
    if isinstance(given, str | bytes):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise JournalDataError(f"an exported run is one object of JSON: {error}") from error
    if not isinstance(given, Mapping):
        raise JournalDataError(f"an exported run is a dict, not {type(given).__name__}")
    _require_known_version(given)
    try:
        document = Document.model_validate(dict(given))
    except ValidationError as error:
        raise _wrong(_told(error)) from error
    problems = [
        *_twice("steps", ((step.path, step.attempt) for step in document.steps)),
        *_twice("groups", ((group.path, group.kind, group.round) for group in document.groups)),
        *_twice("events", (event.seq for event in document.events)),
        *_damaged(document.large),
    ]
    if problems:
        raise _wrong(problems)
    return document


def _require_known_version(given: Mapping[str, Any]) -> None:
    run = given.get("run")
    versions = [given.get("format"), run.get("format") if isinstance(run, Mapping) else None]
    for version in versions:
        if type(version) is int and version > FORMAT:
            raise JournalVersionError(
                f"the run was exported by a newer version of task_pipeline: its format is "
                f"{version}, this one knows up to {FORMAT}; upgrade task_pipeline"
            )


def _wrong(problems: list[str]) -> JournalDataError:
    more = len(problems) - MAX_PROBLEMS
    told = problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
    return JournalDataError("this is not an exported run: " + "; ".join(told))


def _told(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, one['loc']))[:80] or 'it'}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _twice(what: str, keys: Iterable[Hashable]) -> list[str]:
    return [
        f"{what}: {key!r:.80} is there {count} times"
        for key, count in Counter(keys).items()
        if count > 1
    ]


def _damaged(large: dict[str, str]) -> list[str]:
    problems = []
    for digest, text in large.items():
        try:
            content = base64.b64decode(text.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            problems.append(f"large: {digest!r:.80} is not in base64")
            continue
        if digest_of_content(content) != digest:
            problems.append(f"large: {digest!r:.80} is not the SHA-256 of what stands there")
    return problems


def put_run(link: Link, statements: Statements, document: Document, token: str) -> None:
    """Write a document's run, in the caller's transaction. Raises `RunExistsError`."""
    run = document.run.model_dump()
    run_id = run["run_id"]
    run["tags"] = tags_text(run["tags"])
    if not insert_row(link, run, token):
        return
    steps = [(run_id, *(getattr(step, n) for n in STEP_COLUMNS[1:])) for step in document.steps]
    groups = [(run_id, *(getattr(one, n) for n in GROUP_COLUMNS[1:])) for one in document.groups]
    events = [(run_id, event.seq, event.event) for event in document.events]
    for text, rows in (
        (statements.step, steps),
        (statements.group, groups),
        (statements.event, events),
    ):
        if rows:
            link.cursor.executemany(text, rows)
    contents = ((digest, base64.b64decode(text)) for digest, text in document.large.items())
    put_large(link, statements, ((run_id, (d, len(c), c)) for d, c in contents))
