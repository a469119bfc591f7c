"""`StateSnapshot`: what a run's steps and its context are at one moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..context import BY_REFERENCE, SOURCE, PipelineContext
from ..engine.core import RunCore
from ..engine.status import status_of
from ..errors import ContextCopyError, JournalDataError, JournalVersionError
from ..outcome import Outcome
from ..state.copying import copy_value
from ..state.fork import stored
from ..state.results import ForkedResults
from .codec import Codec
from .codec.envelope import decode_state, encode_state, field_names
from .differences import SnapshotDiff, diff_of

VERSION = 1

# A copy that a step has disturbed is made again; a step that never lets go is not waited for.
MOST_TRIES = 100

_CODEC = Codec("json", large=None)


@dataclass(frozen=True)
class StateSnapshot:
    """What a run is at one moment, as `Run.snapshot()` returns it.

    - `run_id`; `pipeline`: its name; `taken_at`: when, in UTC
    - `progress`: in percent; `outcome`: how the run ended, None while it has not
    - `statuses`: of each step by its id, as `get_status()` says them
    - `results`, `errors` and `fields` (those that a subclass of the context has): copies,
      which later changes do not touch; errors are the same objects

    ```python
    from task_pipeline import Pipeline

    run = Pipeline([lambda context: 42], name="answer").start()
    run.result()
    snapshot = run.snapshot()
    assert snapshot.progress == 100.0
    assert not snapshot.diff(type(snapshot).from_json(snapshot.to_json()))
    ```
    """

    run_id: str
    pipeline: str
    taken_at: datetime
    progress: float
    outcome: Outcome | None
    statuses: dict[str, str]
    results: dict[Any, Any] = field(default_factory=dict)
    errors: list[Any] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    def diff(self, other: StateSnapshot) -> SnapshotDiff:
        """What has been added, removed and changed from this one to another."""
        return diff_of(self, other)

    def to_json(self) -> str:
        """One line of JSON; raises `JournalDataError` for data of types a journal does not know."""
        encoded = encode_state(self.results, self.fields, self.errors, _CODEC, _subject(self))
        head = json.dumps(
            {
                "kind": "StateSnapshot",
                "version": VERSION,
                "run_id": self.run_id,
                "pipeline": self.pipeline,
                "taken_at": self.taken_at.isoformat(),
                "progress": self.progress,
                "outcome": self.outcome,
                "statuses": self.statuses,
            }
        )
        return f'{head[:-1]}, "state": {json.dumps(encoded.text)}}}'

    @classmethod
    def from_json(cls, text: str) -> StateSnapshot:
        """What `to_json` was called on.

        Raises `JournalDataError` for anything else, and `JournalVersionError` for what a
        newer version of the library has written.
        """
        try:
            given = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise JournalDataError(f"a snapshot is one object of JSON: {error}") from error
        if not isinstance(given, dict) or given.get("kind") != "StateSnapshot":
            raise JournalDataError("this text is not a snapshot: it has not the kind of one")
        _require_version(given.get("version"))
        problems = [
            f"{name} is {given.get(name)!r:.80}, not {what}"
            for name, (what, is_one) in _HEAD.items()
            if not _holds(is_one, given.get(name))
        ]
        if problems:
            raise JournalDataError(f"this is not a snapshot: {'; '.join(problems)}")
        outcome = given["outcome"]
        subject = f"the snapshot of the run {given['run_id']!r}"
        state = decode_state(given["state"], _CODEC, subject, _no_large)
        return cls(
            run_id=given["run_id"],
            pipeline=given["pipeline"],
            taken_at=datetime.fromisoformat(given["taken_at"]).astimezone(UTC),
            progress=float(given["progress"]),
            outcome=None if outcome is None else Outcome(outcome),
            statuses=given["statuses"],
            results=state.pop("results"),
            errors=state.pop("errors"),
            fields=state,
        )


def _subject(snapshot: StateSnapshot) -> str:
    return f"the snapshot of the run {snapshot.run_id!r}"


def _require_version(version: object) -> None:
    if type(version) is not int or version < 1:
        raise JournalDataError(f"this is not a snapshot: version is {version!r:.80}")
    if version > VERSION:
        raise JournalVersionError(
            f"the snapshot is of version {version}, which a newer version of this library has "
            f"written; this one reads up to {VERSION}. Upgrade it."
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_percent(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 100


def _is_time(value: Any) -> bool:
    return datetime.fromisoformat(value).tzinfo is not None


def _is_outcome(value: Any) -> bool:
    return value is None or bool(Outcome(value))


def _are_statuses(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _holds(is_one: Callable[[Any], bool], value: Any) -> bool:
    try:
        return is_one(value)
    except (TypeError, ValueError):
        return False


_HEAD: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "run_id": ("a text", _is_text),
    "pipeline": ("a text", _is_text),
    "taken_at": ("a time in ISO 8601 with its zone", _is_time),
    "progress": ("a number from 0 to 100", _is_percent),
    "outcome": ("the name of an outcome, or null", _is_outcome),
    "statuses": ("an object of texts", _are_statuses),
    "state": ("a text", _is_text),
}


def _no_large(digest: str) -> bytes:
    raise KeyError(digest)


# Taking one


def take_snapshot(execution: RunCore, context: PipelineContext[Any]) -> StateSnapshot:
    """What a run and its context are now; safe from any thread, also while steps run.

    What stands in the data is at least what the statuses say: a step may end while it is
    copied. Raises `ContextCopyError` for a value that cannot be copied, or that steps
    change so often that no copy comes to its end.
    """
    status = status_of(execution)
    state = status["state"]
    results, errors, fields = _copied(context)
    return StateSnapshot(
        run_id=execution.run_id,
        pipeline=execution.name,
        taken_at=datetime.now(UTC),
        progress=status["progress"],
        outcome=None if state == "running" else Outcome(state),
        statuses={step: detail["status"] for step, detail in status["step_details"].items()},
        results=results,
        errors=errors,
        fields=fields,
    )


def _copied(context: PipelineContext[Any]) -> tuple[dict[Any, Any], list[Any], dict[str, Any]]:
    for left in reversed(range(MOST_TRIES)):
        try:
            return _copy_once(context)
        except ContextCopyError as error:
            # Other errors are of the value; this one is of a dict or set that was changed.
            if not isinstance(error.__cause__, RuntimeError) or not left:
                raise
        except RuntimeError as error:
            if not left:
                raise ContextCopyError(
                    "the context is changed by its steps faster than it can be copied; take the "
                    "snapshot when they are done"
                ) from error
    raise AssertionError("the last try raises")


def _copy_once(context: PipelineContext[Any]) -> tuple[dict[Any, Any], list[Any], dict[str, Any]]:
    shared = _value(context, "shared")
    errors = list(_value(context, "errors"))
    memo: dict[int, Any] = {id(shared): shared, **{id(error): error for error in errors}}
    if isinstance(shared, Mapping):
        memo.update({id(item): item for item in list(shared.values())})
    raw = _value(context, "results")
    results: dict[Any, Any]
    if type(raw) is dict or isinstance(raw, ForkedResults):
        items = raw.raw() if isinstance(raw, ForkedResults) else dict(raw)
        results = {key: copy_value(item, memo, f"results[{key!r}]") for key, item in items.items()}
    else:  # such as a defaultdict, which it is to stay
        results = copy_value(raw, memo, "results")
    fields = {
        name: copy_value(_value(context, name), memo, f"context.{name}")
        for name in field_names(context)
        if name not in BY_REFERENCE
    }
    return results, errors, fields


def _value(context: PipelineContext[Any], name: str) -> Any:
    """A field as it stands: reading one of a fork would make that fork's copy of it."""
    own = stored(context)
    source = own.get(SOURCE)
    if name in own or source is None:
        return getattr(context, name)
    point = source.point
    if name in ("results", "errors"):
        return getattr(point, name)
    return point.field(name)
