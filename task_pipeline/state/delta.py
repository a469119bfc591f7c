"""What a step or branch changed, against its fork point."""

from __future__ import annotations

from typing import Any, Final

from ..context import BINDING, BY_REFERENCE, SOURCE, PipelineContext
from .copying import Comparison, with_originals
from .fork import MISSING, ForkPoint, not_a_dict, stored
from .resident import Resident
from .results import ForkedResults, ResidentResults

Context = PipelineContext[Any]
Memo = dict[int, Any] | None


class _Deleted:
    def __repr__(self) -> str:
        return "DELETED"

    def __reduce__(self) -> str:
        return "DELETED"  # there is one of it, in every process


DELETED: Final = _Deleted()
"""Stands in a delta for a key that was removed."""

_UNTOUCHED = frozenset({SOURCE, BINDING})
_NOT_FIELDS = frozenset({SOURCE, BINDING, "results", "errors", *BY_REFERENCE})


class Delta:
    """The keys of `results` and the other fields that changed, and the errors that were added.

    - `moved`: keys that stand last in the dict now, some of which did not before; a
      commit puts them there. It is not a change, so branches do not conflict over it
    - `kept`: which of the errors before are still there, by number, in their order now; None
      for all of them, as they were
    - `references`: what is passed by reference and was replaced as a whole

    The last two are what a step changes, and never a branch: there is nothing to be merged.
    """

    __slots__ = ("errors", "fields", "kept", "moved", "references", "results")

    def __init__(
        self,
        results: dict[Any, Any] | None = None,
        fields: dict[str, Any] | None = None,
        errors: list[Any] | None = None,
        moved: tuple[Any, ...] = (),
        kept: tuple[int, ...] | None = None,
    ) -> None:
        self.results: dict[Any, Any] = {} if results is None else results
        self.fields: dict[str, Any] = {} if fields is None else fields
        self.errors: list[Any] = [] if errors is None else errors
        self.moved = moved
        self.kept = kept
        self.references: dict[str, Any] = {}


def delta_of(context: Context) -> Delta | None:
    """What a fork changed since it was made; None for nothing."""
    fields = stored(context)
    if fields.keys() <= _UNTOUCHED:
        return None
    source = fields[SOURCE]
    point: ForkPoint = source.point
    memo = source.memo
    results = fields.get("results", MISSING)
    changed: dict[Any, Any] = {}
    moved: tuple[Any, ...] = ()
    if results is not MISSING:
        changed = _changed_results(results, point, memo)
        moved = _moved(results, point)
    errors: list[Any] = []
    kept: tuple[int, ...] | None = None
    if "errors" in fields:
        errors, kept = added_errors(context), _kept_errors(fields["errors"], point.errors)
    rest = {} if fields.keys() <= _NOT_FIELDS else _changed_fields(fields, point, memo)
    references: dict[str, Any] = {}
    if "shared" in fields or "logger_instance" in fields:
        references = _replaced(fields, point)
    if not (changed or rest or errors or moved or references or kept is not None):
        return None
    delta = Delta(changed, rest, errors, moved, kept)
    delta.references = references
    return delta


def _kept_errors(errors: Any, base: list[Any]) -> tuple[int, ...] | None:
    if not isinstance(errors, list) or (len(errors) >= len(base) and all(map(_is, base, errors))):
        return None
    numbers = {id(error): number for number, error in enumerate(base)}
    return tuple(numbers[id(error)] for error in errors if id(error) in numbers)


def _replaced(fields: dict[str, Any], point: ForkPoint) -> dict[str, Any]:
    return {
        name: fields[name]
        for name in BY_REFERENCE
        if name in fields and fields[name] is not point.field(name)
    }


def added_errors(context: Context) -> list[Any]:
    """The errors a fork holds that its fork point did not."""
    fields = stored(context)
    errors = fields.get("errors")
    if not errors:
        return []
    base = fields[SOURCE].point.errors
    count = len(base)
    if len(errors) >= count and all(map(_is, base, errors)):
        return list(errors[count:])
    known = set(map(id, base))
    return [error for error in errors if id(error) not in known]


def _is(a: object, b: object) -> bool:
    return a is b


def _changed_results(results: Any, point: ForkPoint, memo: Memo) -> dict[Any, Any]:
    base = point.results
    if type(results) is ForkedResults:
        touched: Any = results.touched
        read: Any = dict.__getitem__  # what was touched is the fork's own already
    elif isinstance(results, dict):  # replaced as a whole
        touched, read = {**dict.fromkeys(base), **dict.fromkeys(results)}, type(results).__getitem__
    else:
        raise not_a_dict(results)
    changed: dict[Any, Any] = {}
    for key in touched:
        if key not in results:
            if key in base:
                changed[key] = DELETED
        else:
            value = read(results, key)
            if key not in base:
                changed[key] = value
            elif base[key] is not value and not Comparison(memo).same(base[key], value):
                changed[key] = with_originals(value, memo) if memo else value
    return changed


def _moved(results: Any, point: ForkPoint) -> tuple[Any, ...]:
    if type(results) is not ForkedResults:
        return tuple(results) if isinstance(results, dict) else ()  # replaced as a whole
    if not any(results.touched.values()):
        return ()
    # All that was put in after one of these, so that they keep their order among each other.
    base = point.results
    put_in = [key for key, was_put_in in results.touched.items() if was_put_in and key in results]
    return tuple(put_in) if any(key in base for key in put_in) else ()


def _changed_fields(fields: dict[str, Any], point: ForkPoint, memo: Memo) -> dict[str, Any]:
    changed = {}
    for name, value in fields.items():
        if name not in _NOT_FIELDS:
            base = point.field(name)
            if base is MISSING:
                changed[name] = value
            elif base is not value and not Comparison(memo).same(base, value):
                changed[name] = with_originals(value, memo) if memo else value
    return changed


def apply(context: Context, delta: Delta) -> None:
    """Write a delta into a context."""
    if delta.results or delta.moved:
        results = context.results
        for key, value in delta.results.items():
            if value is not DELETED:
                if type(value) is Resident and not isinstance(results, ForkedResults):
                    results = context.results = ResidentResults.in_place_of(results)
                results[key] = value
            elif key in results:  # not pop(): what cannot be copied can still be deleted
                del results[key]
        for key in delta.moved:
            if isinstance(results, ForkedResults):
                results.move_to_end(key)
            elif key in results:
                results[key] = results.pop(key)
    for name, value in delta.fields.items():
        object.__setattr__(context, name, value)
    for name, value in delta.references.items():
        object.__setattr__(context, name, value)
    if delta.kept is not None:
        context.errors[:] = [context.errors[number] for number in delta.kept]
    if delta.errors:
        context.errors.extend(delta.errors)


def adopt(context: Context, other: Context) -> None:
    """Make a context say what another one says: a step has returned a context of its own."""
    known = set(map(id, other.errors))
    before = [error for error in context.errors if id(error) not in known]
    for name in other._names():
        if name == "errors":  # what has failed before is not undone by another context
            context.errors = [*before, *other.errors]
        elif name not in BY_REFERENCE:
            object.__setattr__(context, name, getattr(other, name))
    results = context.results
    if isinstance(results, ForkedResults) and results.copier is not context.__dict__.get(SOURCE):
        context.results = results.copy()  # they belong to another fork: take the values
