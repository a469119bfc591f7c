"""`results` as a branch sees them: every key of the parent, copied when first read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, SupportsIndex

from ..errors import StepAbandonedError
from .copying import ATOMIC, copy_value
from .resident import Resident

_getitem = dict.__getitem__
_setitem = dict.__setitem__
_MISSING = object()


class Copier(Protocol):
    """Gives a fork its own version of a value."""

    def own(self, value: Any, key: str) -> Any:
        """A copy, or the value itself if it may be used as it is."""


MissingRule = tuple[Any, Callable[[Any, Any], Any] | None]
"""What a dict does about a key it has not: a default factory, and a `__missing__`."""

NO_RULE: MissingRule = (None, None)
"""That of a plain dict."""


def missing_rule(results: dict[Any, Any]) -> MissingRule:
    """The rule of a user's dict, which a fork of it keeps."""
    if isinstance(results, ForkedResults):
        return results.factory, results.missing
    if isinstance(results, defaultdict):
        return results.default_factory, None
    return None, getattr(type(results), "__missing__", None)


class ForkedResults(dict[Any, Any]):
    """A real dict that starts as a shallow copy of its base.

    Its storage always has every key with a right value, or a `Resident` for one, so code that
    reads the storage directly (`len`, `repr`, `==`, `json`, `orjson`) is right as well.
    What hands a value out is overridden, to copy a mutable one first; so is
    what writes, to know which keys can have changed. `__iter__` is overridden
    because that is what makes `dict(results)` and `**results` ask these methods
    instead of reading the storage.
    """

    __slots__ = ("copier", "factory", "missing", "touched")
    copier: Copier
    factory: Any
    missing: Callable[[Any, Any], Any] | None
    # The keys whose values can have changed, in the order in which the parent gets new ones;
    # True for one that was put in when it was not there, and so stands at the end.
    touched: dict[Any, bool]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A plain dict: for code that makes another dict of the type it was given."""
        return dict(*args, **kwargs)

    @classmethod
    def of(cls, base: dict[Any, Any], copier: Copier, like: MissingRule) -> ForkedResults:
        """A branch's results, starting from `base`."""
        results: ForkedResults = dict.__new__(cls)
        dict.__init__(results, base)
        results.copier = copier
        results.factory, results.missing = like
        results.touched = {}
        return results

    def __getattr__(self, name: str) -> Any:
        # Not a class attribute: by that, dataclasses.asdict takes a class for a defaultdict.
        if name == "default_factory" and self.factory is not None:
            return self.factory
        raise AttributeError(f"'dict' object has no attribute {name!r}")

    def _own(self, key: Any, value: Any) -> Any:
        mine = self.copier.own(value, f"results[{key!r}]")
        if mine is not value:
            _setitem(self, key, mine)
        self.touched[key] = False
        return mine

    def own_all(self) -> None:
        """Copy every mutable value that has not been read yet."""
        touched = self.touched
        for key, value in list(dict.items(self)):
            kind = type(value)
            if kind not in ATOMIC and (key not in touched or kind is Resident):
                self._own(key, value)

    def raw(self) -> dict[Any, Any]:
        """The storage as a plain dict, nothing copied: for the engine only."""
        return dict(dict.items(self))

    def __getitem__(self, key: Any) -> Any:
        value = _getitem(self, key)
        kind = type(value)
        if kind in ATOMIC or (key in self.touched and kind is not Resident):
            return value
        return self._own(key, value)

    def __missing__(self, key: Any) -> Any:
        # For a context whose results were a defaultdict, a Counter or the like.
        if self.factory is not None:
            value = self[key] = self.factory()
            return value
        if self.missing is None:
            raise KeyError(key)
        return self.missing(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        touched = self.touched
        if key not in self:
            touched.pop(key, None)
            touched[key] = True
        elif key not in touched:
            touched[key] = False
        _setitem(self, key, value)

    def __delitem__(self, key: Any) -> None:
        dict.__delitem__(self, key)
        self.touched[key] = False

    def __iter__(self) -> Iterator[Any]:
        return dict.__iter__(self)

    def get(self, key: Any, default: Any = None, /) -> Any:
        """As `dict.get`."""
        if key not in self:
            return default
        return self[key]

    def items(self) -> Any:
        """As `dict.items`; copies what is mutable."""
        self.own_all()
        return dict.items(self)

    def values(self) -> Any:
        """As `dict.values`; copies what is mutable."""
        self.own_all()
        return dict.values(self)

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """As `dict.setdefault`."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, default: Any = _MISSING, /) -> Any:
        """As `dict.pop`."""
        if key in self:
            value = self[key]
            del self[key]
            return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """As `dict.popitem`."""
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): dictionary is empty")

    def clear(self) -> None:
        """As `dict.clear`."""
        self.touched.update(dict.fromkeys(self, False))
        dict.clear(self)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As `dict.update`."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def move_to_end(self, key: Any) -> None:
        """Put a key last."""
        if key in self:
            value = _getitem(self, key)
            if type(value) is not Resident:
                value = self[key]  # its own from now on, as every touched key's is
            dict.pop(self, key)
            _setitem(self, key, value)
            self.touched.pop(key, None)
            self.touched[key] = True

    def copy(self) -> dict[Any, Any]:
        """A plain dict of this branch's values."""
        self.own_all()
        return self.raw()

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return {
            key: copy_value(value, memo, f"results[{key!r}]") for key, value in dict.items(self)
        }

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return (dict, (self.raw(),))

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> dict[Any, Any]:
        """As `dict.fromkeys`; a plain dict."""
        return dict.fromkeys(iterable, value)


class ResidentResults(ForkedResults):
    """The `results` of a context that is no fork, with values in it that are elsewhere.

    A dict of the user's cannot fetch them, so this takes its place, and its values.
    """

    __slots__ = ()

    @classmethod
    def in_place_of(cls, results: dict[Any, Any]) -> ForkedResults:
        """The same results, able to hold what is elsewhere."""
        return cls.of(results, _HandsOut(), missing_rule(results))


class _HandsOut:
    """Gives the values themselves, fetched if need be."""

    __slots__ = ()

    def own(self, value: Any, key: str) -> Any:
        return value.handed_out() if type(value) is Resident else value


class CutResults(ForkedResults):
    """What an abandoned step's `results` turn into: every use raises."""

    __slots__ = ()


def _refuse(self: CutResults, *args: object, **kwargs: object) -> Any:
    raise StepAbandonedError(
        "this step passed its deadline or was cancelled, and its results are cut off from the "
        "run: stop here. Look at context.cancelled, or call context.raise_if_cancelled(), "
        "where a step can stop early."
    )


for _name in (
    *("__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__", "__contains__"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__ior__", "__reversed__", "__repr__", "__bool__"),
    *("get", "items", "values", "keys", "setdefault", "pop", "popitem", "clear", "update", "copy"),
    *("__copy__", "__deepcopy__", "__reduce_ex__", "__missing__"),
):
    setattr(CutResults, _name, _refuse)
