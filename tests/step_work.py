"""What the steps of drawn pipelines do: edits, which run on a context and on a `World` alike."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.drawn import shown


class Edit(NamedTuple):
    """One thing a step does: `kind`, at a place in `results`, with a value or a way."""

    kind: str
    place: tuple[str, ...] = ()
    value: Any = None


@dataclass(frozen=True, eq=False)
class Work:
    """A step's code: its edits; the first `fails` attempts raise before the edit `at`.

    `gives`: what it returns: "nothing", "context", "copy" (a copy of its context, edited
    once more), or "value".
    """

    edits: tuple[Edit, ...]
    fails: int = 0
    at: int = 0
    error: type[Exception] = ValueError
    gives: str = "nothing"
    value: Any = None

    def __repr__(self) -> str:
        return shown(self)

    def __call__(self, context: Any, attempt: int) -> Any:
        for index, edit in enumerate(self.edits):
            if index == self.at and attempt <= self.fails:
                break
            perform(edit, context)
        if attempt <= self.fails:
            raise self.error(f"attempt {attempt} of {len(self.edits)} edits, {self.value!r}")
        if self.gives == "copy":
            other = copy.deepcopy(context)
            other.results["copied"] = other.results.get("copied", 0) + 1
            return other
        return {"nothing": None, "context": context}.get(self.gives, copy.deepcopy(self.value))


def perform(edit: Edit, context: Any) -> None:
    """Do one edit."""
    if edit.place:
        results = context.results
        for part in edit.place[:-1]:
            if not isinstance(results.get(part), dict):
                results[part] = {}
            results = results[part]
        AT_A_PLACE[edit.kind](results, edit.place[-1], copy.deepcopy(edit.value))
    else:
        WHOLE[edit.kind](context, copy.deepcopy(edit.value))


def _put(results: Any, key: str, value: Any) -> None:
    results[key] = value


def _add(results: Any, key: str, value: int) -> None:
    old = results.get(key)
    known = isinstance(old, int | float) and not isinstance(old, bool)
    results[key] = old + value if known else value


def _of_kind(results: Any, key: str, kind: Callable[[], Any]) -> Any:
    if not isinstance(results.get(key), type(kind())):
        results[key] = kind()
    return results[key]


def _shorten(results: Any, key: str, _: Any) -> None:
    if isinstance(results.get(key), list) and results[key]:
        results[key].pop()


def _swap(results: Any, key: str, _: Any) -> None:
    """Take a key out and put it back: with its old value, at the end."""
    if key in results:
        results[key] = results.pop(key)


def _copy_from(results: Any, key: str, source: str) -> None:
    """What one step has written feeds what another writes."""
    results[key] = copy.deepcopy(results.get(source, f"no {source}"))


AT_A_PLACE: dict[str, Callable[[Any, str, Any], object]] = {
    "put": _put,
    "add": _add,
    "append": lambda results, key, value: _of_kind(results, key, list).append(value),
    "insert": lambda results, key, value: _of_kind(results, key, list).insert(0, value),
    "include": lambda results, key, value: _of_kind(results, key, set).add(str(value)),
    "exclude": lambda results, key, value: _of_kind(results, key, set).discard(str(value)),
    "shorten": _shorten,
    "delete": lambda results, key, _: results.pop(key, None),
    "default": lambda results, key, value: results.setdefault(key, value),
    "rebind": lambda results, key, _: results.update(copy.deepcopy({key: results.get(key)})),
    "swap": _swap,
    "copy": _copy_from,
    "read": lambda results, key, _: results.get(key),
}

READS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "dict": dict,
    "items": lambda results: dict(results.items()),
    "values": lambda results: dict(zip(results, results.values(), strict=True)),
    "unpacked": lambda results: {**results},
    "copy": lambda results: results.copy(),
    "keys": lambda results: {key: results[key] for key in results},
    "or": lambda results: results | {},
    "deep": copy.deepcopy,
}


def _tell(context: Any, way: str) -> None:
    """Write down all there is, read in one of many ways; the keys' order is part of it."""
    told = READS[way](context.results)
    told.pop("told", None)
    context.results["told"] = json.dumps(told, default=sorted)


def _spoil(context: Any, way: str) -> None:
    """Change whatever a way of reading hands out: that may be seen in this branch only."""
    for value in READS[way](context.results).values():
        if isinstance(value, list):
            value.append("spoilt")


def _replace(context: Any, kept: list[str]) -> None:
    context.results = {key: context.results[key] for key in kept if key in context.results}


def _total(context: Any, value: int) -> None:
    context.total += value


WHOLE: dict[str, Callable[[Any, Any], object]] = {
    "tell": _tell,
    "spoil": _spoil,
    "replace": _replace,
    "popitem": lambda context, _: context.results.popitem() if context.results else None,
    "clear": lambda context, _: context.results.clear(),
    "update": lambda context, value: context.results.update(value),
    "total": _total,
    "tag": lambda context, value: context.tags.append(value),
    "tags": lambda context, value: setattr(context, "tags", [value]),
    "warn": lambda context, value: context.errors.append(value),
}
