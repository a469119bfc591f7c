"""The words that the interpreter speaks in: endings, branches, and what befell a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.drawn import Path
from tests.three_way import Changes


class GroupFailed(Exception):
    """A parallel group failed, or timed out."""

    def __init__(self, branches: Sequence[Branch], in_time: bool) -> None:
        super().__init__(branches, in_time)
        self.outcomes = [branch.ending.outcome for branch in branches]
        self.failed = [item for item in branches if isinstance(item.ending.failure, Exception)]
        self.in_time = in_time


class PipelineTimedOut(Exception):
    """A nested pipeline, or the whole run, timed out."""


class Imposed(Exception):
    """An error that is not of a step's own making; `kind` is its type's name."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Left:
    """The ending of a node that was left in the middle, or never begun."""


LEFT: Final = _Left()


class GroupEnd(NamedTuple):
    """How a group ended; `left`: by what is around it."""

    outcome: str
    left: bool


class Course(NamedTuple):
    """What time and chance did in a run.

    - `left`: ids of steps that were left, or never begun, with their outcome
    - `ended`: how many attempts of each step ended by themselves
    - `imposed`: by id and attempt, the type and text of an error that came from outside
    - `groups`: how each group that had begun ended
    - `expanded`: how often a dynamic group was given something to run
    - `unanswered`: by the path of a dynamic group, the text of an error that came from
      outside when it was to be found out what it is to run
    """

    left: dict[str, str]
    ended: dict[str, int]
    imposed: dict[tuple[str, int], tuple[str, str]]
    groups: dict[Path, GroupEnd]
    expanded: dict[Path, int]
    unanswered: dict[Path, str]


class Ending(NamedTuple):
    """How a node ended: `failure` None counts as a success.

    `cut_short`: of a series that was left, merges what the group it was in had finished.
    """

    outcome: str
    failure: Exception | _Left | None
    cut_short: Callable[[], object] | None = None


SUCCESS: Final = Ending("succeeded", None)


class Branch(NamedTuple):
    """A branch that has ended, and what of its work is to be merged."""

    name: str
    ending: Ending
    changes: Changes


class Place(NamedTuple):
    """Where a node stands: its path, the pipeline whose settings hold, how it is run.

    `written`: its path in the lists, and `suffix`: which instance of that it is. A list there
    is a series if it is `in_series`.
    """

    path: Path
    written: Path
    suffix: str
    scope: Mapping[str, Any]
    in_series: bool
    goes_on: bool

    def child(self, index: int, **others: Any) -> Place:
        """The place of a group's child."""
        return self._replace(path=(*self.path, index), written=(*self.written, index), **others)

    def instance(self, index: int, **others: Any) -> Place:
        """The place of one item or round."""
        suffix = f"{self.suffix}[{index}]"
        return self._replace(
            path=(*self.path, index), written=(*self.written, 0), suffix=suffix, **others
        )
