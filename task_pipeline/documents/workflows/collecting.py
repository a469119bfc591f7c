"""What comes back of a block's branches: its output, and those of the steps in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...collectors import BranchEnd, Collector
from ...errors import ParallelGroupError, RunTimeoutError
from ...event_values import type_and_text
from ...outcome import Outcome
from ..typed_steps import version_of
from .values import KEPT, LOOP, is_kept

NOTHING: Any = object()
MOST_SHOWN = 5
_WITH_ERROR = (Outcome.FAILED, Outcome.TIMED_OUT)


def output_of(end: BranchEnd, base: Mapping[str, Any], last: Sequence[str]) -> Any:
    """The output of the last step of a branch that has any; `NOTHING` if none has.

    `last` are the ids of those that may be it, the likeliest at the end.
    """
    kept = end.results.get(KEPT)
    replaced = kept["input"] if is_kept(kept) else {}
    for step_id in reversed(last):
        if step_id in end.results:
            return end.results[step_id]
        if step_id in replaced and step_id in base:  # it has put out what was there before
            return base[step_id]
    return NOTHING


def error_entry(end: BranchEnd) -> dict[str, Any]:
    """What stands for the output of a branch that has none."""
    error = end.error
    if error is None:
        text = "the block ended before it was done: that was decided, or its time was over"
        return {"error": {"type": "Cancelled", "message": text}}
    return {"error": {"type": type_and_text(error)[0], "message": _in_words(error)}}


def _in_words(error: BaseException) -> str:
    """What an exception says; of a group's on one line, what failed in it."""
    if isinstance(error, ParallelGroupError):
        _, needs, rest = error.message.partition(" needs ")
        head = f"needs {rest.splitlines()[0]}: " if needs else ""
        failed = [name for name, end in error.outcomes.items() if end in _WITH_ERROR]
        names = failed if len(failed) == len(error.exceptions) else [""] * len(error.exceptions)
        told = [
            f"{name and f'{name}: '}{type_and_text(one)[0]}: {_in_words(one)}"
            for name, one in zip(names, error.exceptions, strict=True)
        ]
        more = f"; and {len(told) - MOST_SHOWN} more" if len(told) > MOST_SHOWN else ""
        return f"{head}{'; '.join(told[:MOST_SHOWN])}{more}"
    if isinstance(error, RunTimeoutError):  # as a branch with a deadline is a pipeline of its own
        return f"{str(error).partition('; raise PipelineConfig')[0]}; raise its timeout"
    return type_and_text(error)[1]


def entry_of(end: BranchEnd, base: Mapping[str, Any], last: Sequence[str]) -> Any:
    """The output of a branch, or its error."""
    if not end.succeeded:
        return error_entry(end)
    output = output_of(end, base, last)
    if output is not NOTHING:
        return output
    # A step that is not critical may have failed, and counts as a success all the same.
    return None if end.error is None else error_entry(end)


@dataclass
class BlockCollector(Collector):
    """Of parallel and fork_join: all outputs, and those of the branches under their names.

    `branches`: each with its name and the ids of the steps whose output is its own.
    """

    step_id: str
    branches: Sequence[tuple[str, Sequence[str]]]

    def __post_init__(self) -> None:
        self.version = version_of("block", self.step_id, self.branches)

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """The keys to set in the parent."""
        values: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        run = ""
        for end in ends:
            for key, value in end.results.items():
                if key == KEPT and is_kept(value):
                    kept.update(value["input"])
                    run = value["run"]
                elif key != LOOP:
                    values[key] = value
        named = zip(self.branches, ends, strict=True)
        values[self.step_id] = {name: entry_of(end, base, last) for (name, last), end in named}
        return with_kept(base, values, self.step_id, kept, run)


@dataclass
class LoopCollector(Collector):
    """Of a loop: a list of its iterations' outputs, and nothing else."""

    step_id: str
    last: Sequence[str]
    on_error: str

    def __post_init__(self) -> None:
        self.version = version_of("loop", self.step_id, self.last, self.on_error)

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """The keys to set in the parent."""
        outputs = [self._output(end, base) for end in ends]
        return with_kept(base, {self.step_id: outputs}, self.step_id, {}, "")

    def _output(self, end: BranchEnd, base: Mapping[str, Any]) -> Any:
        if self.on_error == "collect":
            return entry_of(end, base, self.last)
        output = output_of(end, base, self.last) if end.succeeded else None
        return None if output is NOTHING else output


@dataclass
class CallCollector(Collector):
    """Of a sub_workflow: the output of its last step, and nothing else."""

    step_id: str
    last: Sequence[str]

    def __post_init__(self) -> None:
        self.version = version_of("call", self.step_id, self.last)

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """The keys to set in the parent."""
        if not ends or not ends[0].succeeded:
            return {}
        output = output_of(ends[0], {}, self.last)
        values = {self.step_id: None if output is NOTHING else output}
        return with_kept(base, values, self.step_id, {}, "")

    def failure(self, error: Exception, ends: Sequence[BranchEnd]) -> Exception:
        """What failed in it, as if its steps stood here."""
        own = ends[0].error if ends else None
        return own if isinstance(own, Exception) else error


def with_kept(
    base: Mapping[str, Any],
    values: dict[str, Any],
    step_id: str,
    kept: dict[str, Any],
    run: str,
) -> dict[str, Any]:
    """The same keys, and what they take the place of, if they do."""
    before = base.get(KEPT)
    if step_id in base:
        kept = {**kept, step_id: base[step_id]}
    if kept:
        if is_kept(before):
            kept, run = {**before["input"], **kept}, run or before["run"]
        elif KEPT in base:
            kept.setdefault(KEPT, before)
        values[KEPT] = {"input": kept, "run": run}
    return values
