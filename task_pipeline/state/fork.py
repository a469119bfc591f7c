"""A branch's isolated view of its parent's context.

A `ForkPoint` is the parent as it stood when a group (or an isolated attempt)
began; every branch's `Fork` starts from it. A fork is a context of the parent's
own class whose fields are simply absent until first touched, so a branch pays
for what it touches and for nothing else.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator
from typing import Any, Self

from ..context import BINDING, BY_REFERENCE, SOURCE, Binding, PipelineContext
from ..errors import ContextCopyError, ContextTypeError, StepAbandonedError
from .copying import ATOMIC, copy_value, is_closed
from .resident import Resident
from .results import NO_RULE, CutResults, ForkedResults, MissingRule, missing_rule

Context = PipelineContext[Any]
MISSING: Any = object()
_OWN = frozenset({SOURCE, BINDING, "results", "errors"})


class _LazyField:
    """Stands for a class-level default, so that a fork's absent field asks `__getattr__`.

    Not a data descriptor: an instance's own value goes first, at full speed.
    """

    def __init__(self, name: str, default: Any) -> None:
        self._name = name
        self._default = default

    def __get__(self, instance: Any, owner: type) -> Any:
        source = None if instance is None else instance.__dict__.get(SOURCE)
        if source is not None:
            try:
                return source.load(instance, self._name)
            except AttributeError:
                pass  # it was another instance that has shadowed the class's attribute
        bind = getattr(type(self._default), "__get__", None)  # a method is to be bound as ever
        return self._default if bind is None else bind(self._default, instance, owner)


_slot_fields: dict[type, tuple[str, ...]] = {}
_made_lazy: dict[type, set[str]] = {}


def _prepare(kind: type, names: Iterable[str]) -> None:
    """Make a context class ready for forks of an instance that has these attributes."""
    made_lazy = _made_lazy.setdefault(kind, set())
    slots = list(_slot_fields.get(kind, ()))
    for name in names:
        made_lazy.add(name)
        for owner in kind.__mro__:
            default = owner.__dict__.get(name, MISSING)
            if default is MISSING:
                continue
            if isinstance(default, types.MemberDescriptorType):
                slots.append(name)  # raises AttributeError by itself when it is unset
            elif not isinstance(default, property | _LazyField):
                setattr(owner, name, _LazyField(name, default))
            break
    _slot_fields[kind] = tuple(slots)


def stored(context: Context) -> dict[str, Any]:
    """The attributes a context has of its own, those not yet loaded left out."""
    fields: dict[str, Any] = object.__getattribute__(context, "__dict__")
    kind = type(context)
    slots = _slot_fields.get(kind)
    if not slots:
        return fields
    fields = dict(fields)
    for name in slots:
        try:
            fields[name] = getattr(kind, name).__get__(context)
        except AttributeError:
            continue
    return fields


class ForkPoint:
    """A context as it stood at one moment: what its forks start from, and deltas compare to.

    `kept` is what others make of it, once for all who start from it.
    """

    __slots__ = ("_fields", "_up", "apart", "errors", "kept", "kind", "missing", "results")

    def __init__(self, parent: Context) -> None:
        kind = self.kind = type(parent)
        self.kept: Any = None
        own = parent.__dict__
        if kind not in _made_lazy:
            _prepare(kind, [item.name for item in dataclasses.fields(kind)])
        if not own.keys() <= _made_lazy[kind]:  # attributes that are no dataclass fields
            _prepare(kind, own.keys() - _made_lazy[kind])
        fields = stored(parent)
        source: Fork | None = own.get(SOURCE)
        up = self._up = None if source is None else source.point
        self.apart: tuple[str, ...] = () if source is None else source.apart
        self._fields = {name: value for name, value in fields.items() if name not in _OWN}
        results = fields.get("results", MISSING)
        self.results: dict[Any, Any]
        self.missing: MissingRule
        if results is MISSING and up is not None:
            self.results, self.missing = up.results, up.missing
        elif type(results) is dict:
            self.results, self.missing = results.copy(), NO_RULE
        elif isinstance(results, dict):
            self.results = results.raw() if isinstance(results, ForkedResults) else dict(results)
            self.missing = missing_rule(results)
        else:
            raise not_a_dict(results)
        errors = fields.get("errors", MISSING)
        self.errors: list[Any] = up.errors if errors is MISSING and up else list(errors)

    @classmethod
    def detached(
        cls,
        kind: type[Context],
        fields: dict[str, Any],
        results: dict[Any, Any],
        errors: list[Any],
        missing: MissingRule = NO_RULE,
        apart: tuple[str, ...] = (),
    ) -> Self:
        """One made of its parts: of a context that stood in another process."""
        point = cls.__new__(cls)
        if kind not in _made_lazy:
            _prepare(kind, [item.name for item in dataclasses.fields(kind)])
        if not fields.keys() <= _made_lazy[kind]:
            _prepare(kind, fields.keys() - _made_lazy[kind])
        point.kind, point.kept, point.apart = kind, None, apart
        point._fields, point._up = fields, None
        point.results, point.missing, point.errors = results, missing, errors
        return point

    def field(self, name: str) -> Any:
        """The value a field had, or `MISSING`; looks up through forks that never touched it."""
        point: ForkPoint | None = self
        while point is not None:
            value = point._fields.get(name, MISSING)
            if value is not MISSING:
                return value
            point = point._up
        return MISSING

    def names(self) -> Iterator[str]:
        """The names of all fields."""
        point: ForkPoint | None = self
        while point is not None:
            yield from point._fields
            point = point._up


def not_a_dict(results: object) -> ContextTypeError:
    """The error for a context whose results were replaced by something else."""
    return ContextTypeError(
        f"context.results must be a dict, not a {type(results).__name__}; a step has replaced it. "
        "Assign to its keys instead."
    )


class Fork:
    """The source of one branch's context: copies what is touched, knows its fork point.

    `copies=False` makes a view: values are the parent's own objects, and only
    what is assigned waits for the commit. It serves a step that has no sibling.
    With `strict=False` a value that cannot be copied is passed as it is. What stands
    under the keys `apart` is copied apart: it shares nothing with the other values.
    """

    __slots__ = ("apart", "copies", "memo", "point", "strict")

    def __init__(self, point: ForkPoint, copies: bool = True, strict: bool = True) -> None:
        self.point = point
        self.copies = copies
        self.strict = strict
        self.memo: dict[int, Any] | None = None
        self.apart = point.apart

    def context(self) -> Context:
        """The branch's context."""
        context: Context = object.__new__(self.point.kind)
        context.__dict__[SOURCE] = self
        return context

    def own(self, value: Any, key: str) -> Any:
        """This fork's version of a value of its parent."""
        if type(value) is Resident:
            if not self.copies:
                return value.handed_out()
            value = value.fetched()
        if not self.copies or is_closed(value):
            return value
        if self.memo is None:
            self.memo = self._fresh_memo()
        memo = self._fresh_memo() if key in self.apart else self.memo
        try:
            return copy_value(value, memo, key)
        except ContextCopyError:
            if self.strict:
                raise
            return value

    def _fresh_memo(self) -> dict[int, Any]:
        """What `shared` holds is the same object for all, also where results point to it."""
        shared = self.point.field("shared")
        memo = {id(shared): shared}
        if isinstance(shared, dict):
            memo.update({id(item): item for item in list(shared.values())})
        return memo

    def load(self, context: Context, name: str) -> Any:
        """Give a fork its own version of a field, when it is first touched."""
        point = self.point
        if name == "results":
            value: Any = ForkedResults.of(point.results, self, point.missing)
        elif name == "errors":
            value = list(point.errors)
        else:
            value = point.field(name)
            if value is MISSING:
                raise AttributeError(f"{point.kind.__name__!r} has no attribute {name!r}")
            if type(value) not in ATOMIC and name not in BY_REFERENCE:
                value = self.own(value, f"context.{name}")
        object.__setattr__(context, name, value)
        return value

    def names(self) -> Iterator[str]:
        """The names of all fields there are to load."""
        return self.point.names()


class CutContext(PipelineContext[Any]):
    """What an abandoned step's context turns into: only the ways to stop still work."""

    _ALLOWED = frozenset(
        {"cancelled", "raise_if_cancelled", "update_step_progress", "step_id", "attempt"}
        | {
            "idempotency_key",
            "remaining",
            "parallel",
            "__class__",
            "__dict__",
            "__dataclass_fields__",
        }
    )

    def __getattribute__(self, name: str) -> Any:
        if name in CutContext._ALLOWED:
            return object.__getattribute__(self, name)
        raise _cut_off(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _cut_off(self, name)


def _cut_off(context: Context, name: str) -> StepAbandonedError:
    binding: Binding | None = object.__getattribute__(context, "__dict__").get(BINDING)
    step_id = "" if binding is None else binding.step_id
    return StepAbandonedError(
        f"step {step_id!r} passed its deadline or was cancelled, and its context is cut off from "
        f"the run, so it cannot touch {name!r}: stop here. Look at context.cancelled, or call "
        "context.raise_if_cancelled(), where the step can stop early.",
        step_id=step_id,
        attempt=0 if binding is None else binding.attempt,
    )


def cut(context: Context) -> None:
    """Cut a fork off: whoever still holds it, or its results, gets an error on touching them.

    The class is swapped, so a context that is not cut pays for no check.
    """
    if is_cut(context):
        return
    values = stored(context)
    results = values.get("results")
    if isinstance(results, ForkedResults):
        results.__class__ = CutResults
    try:
        context.__class__ = CutContext
    except TypeError:  # a subclass with slots has another layout
        context.__class__ = _cut_kind(type(context))


def is_cut(context: Context) -> bool:
    """Whether a context has been cut off."""
    kind = type(context)
    return kind is CutContext or (kind.__name__.startswith(_CUT) and kind in _cut_kinds.values())


def _cut_kind(kind: type) -> type:
    """A class of the same layout as `kind` that behaves as `CutContext` does."""
    if kind not in _cut_kinds:
        body = {name: CutContext.__dict__[name] for name in ("__getattribute__", "__setattr__")}
        made = type(_CUT + kind.__name__, (kind,), {"__slots__": (), **body})
        _slot_fields[made] = _slot_fields[kind]
        _cut_kinds[kind] = made
    return _cut_kinds[kind]


_CUT = "CutOff"
_cut_kinds: dict[type, type] = {}
