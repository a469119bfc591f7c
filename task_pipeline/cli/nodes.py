"""One node of the tree of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..journal.records import SUCCEEDED
from .choosing import ToldError, error_of

if TYPE_CHECKING:
    from ..journal.records import GroupRecord, StepRecord

PENDING = "pending"
"""What has not begun, in a run that has not ended."""
NOT_RUN = "not run"
"""What never began, in a run that has ended."""
SKIPPED = "skipped"


@dataclass(slots=True)
class TreeNode:
    """A step with its attempts, or a group, or a step that has opened groups of its own.

    `attempts`: all of them, also those from before a resume; `current`: the one that counts.
    `choices`: what a dynamic group has found out that still counts, by its rounds; `join` says
    of a parallel group how many of its branches had to succeed.
    """

    path: str
    name: str = ""
    entry: dict[str, Any] | None = None
    attempts: list[StepRecord] = field(default_factory=list)
    current: StepRecord | None = None
    group: GroupRecord | None = None
    choices: list[GroupRecord] = field(default_factory=list)
    children: list[TreeNode] = field(default_factory=list)
    join: str = ""
    state: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None

    @property
    def index(self) -> str:
        """Which child it is of what it stands in, as its path has it."""
        return self.path.rpartition(".")[2]

    @property
    def is_step(self) -> bool:
        """Whether it is one; else it is a group."""
        return bool(self.attempts) or (self.entry is not None and "step" in self.entry)

    @property
    def tries(self) -> int:
        """How often it was begun."""
        return sum(record.attempt > 0 for record in self.attempts)

    @property
    def error(self) -> ToldError:
        """What it ended with; of a group, what choosing has raised.

        Raises `JournalDataError` for a choice that cannot be read.
        """
        if self.current is not None:
            last = self.current
            return ToldError(last.error_type, last.error_text, last.error_traceback)
        return error_of(self.choices[-1]) if self.failed_to_choose else ToldError()

    @property
    def failed_to_choose(self) -> bool:
        """Whether it is a dynamic group that has not found out what to run."""
        return bool(self.choices) and self.choices[-1].status not in (SUCCEEDED, SKIPPED)

    @property
    def kind(self) -> str | None:
        """Which kind of dynamic group it is, if it is one."""
        dynamic = (self.entry or {}).get("dynamic")
        return None if dynamic is None else dynamic.get("kind")

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has."""
        return self.state not in (PENDING, NOT_RUN)

    def walk(self) -> Iterator[TreeNode]:
        """It and all below, in the order of their paths."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))
