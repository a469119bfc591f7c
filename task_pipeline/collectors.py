"""What may take the place of a parallel group's merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .outcome import Outcome


@dataclass(frozen=True, slots=True)
class BranchEnd:
    """How one branch of a parallel group has ended.

    - `index`, `name`: as written; `item`: of a `Map`
    - `outcome`: None if it never began, or was left; `error`: what it raised
    - `succeeded`: whether it counts as a success
    - `results`: the keys that it has set, with their values; of one that failed, none
    """

    index: int
    name: str
    outcome: Outcome | None
    error: BaseException | None
    results: Mapping[str, Any]
    item: Any
    succeeded: bool


class Collector:
    """Decides what of a parallel group's branches comes back, in place of a merge or beside it.

    Both are pure functions of what they are given: a run that is resumed calls them again.
    `merges`: the branches are merged as well, all that they did or only these keys; `version`:
    of what it does, as of a step.
    """

    merges: bool | frozenset[str] = False
    version: str | None = None

    def collect(self, base: Mapping[str, Any], ends: Sequence[BranchEnd]) -> Mapping[str, Any]:
        """The keys to set in the parent; `base` is what the branches began with, to be read."""
        raise NotImplementedError

    def failure(self, error: Exception, ends: Sequence[BranchEnd]) -> Exception:
        """What the group raises, that would raise `error`. Its branches' `results` are empty."""
        return error
