"""What drawn steps do with their turn, and what drawn groups ask to find out what to run."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.drawn import Skips, Stops, shown
from tests.step_work import Work


@dataclass(frozen=True, eq=False, repr=False)
class Turn(Work):
    """Work that has an end of its own: "skips", "stops", or gives back its "item"."""

    ends: str = "item"

    def __call__(self, context: Any, attempt: int) -> Any:
        returned = super().__call__(context, attempt)
        if self.ends == "skips":
            raise Skips("nothing to do")
        if self.ends == "stops":
            raise Stops(copy.deepcopy(self.value))
        return copy.deepcopy(context.results.get("item", returned))


@dataclass(frozen=True, eq=False)
class Asked:
    """A function of the context that says what is to run: items, or whether and which way.

    `kind`: the "truth" of a key, whether the "size" of the results is odd, the items in a key
    as a "list"; or it "fails", "skips" or "stops" if there is anything in the key.
    """

    kind: str
    key: str
    is_coroutine: bool = False

    def __repr__(self) -> str:
        return shown(self)

    def __call__(self, context: Any) -> Any:
        value = context.results.get(self.key)
        if self.kind == "truth":
            return value
        if self.kind == "size":
            return len(context.results) % 2
        if value and self.kind == "fails":
            # Not the value itself: equal sets may be printed in different orders.
            raise LookupError(f"there is a {type(value).__name__} in {self.key!r}")
        if value and self.kind == "skips":
            raise Skips("nothing to find out")
        if value and self.kind == "stops":
            raise Stops("enough")
        return as_items(value)


def as_items(value: Any) -> list[Any]:
    """Whatever there is as a list, in an order that does not depend on how it came to be."""
    if isinstance(value, dict | set):
        return sorted(value)
    return value[:3] if isinstance(value, list) else [] if value is None else [value]


def without_stops(work: Any) -> Any:
    """The same, but for what would end the run: in a branch, who is first to is up to chance."""
    if isinstance(work, Turn) and work.ends == "stops":
        return Turn(work.edits, work.fails, work.at, work.error, work.gives, work.value)
    if isinstance(work, Asked) and work.kind == "stops":
        return Asked("skips", work.key, work.is_coroutine)
    return work
