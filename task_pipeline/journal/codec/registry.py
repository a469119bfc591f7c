"""Classes by name: those the user has registered, and those of modules that are loaded.

Nothing is imported to find a class, and nothing but the dicts of modules and classes is
looked at: what a journal says must not have code run.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from ...errors import ConfigurationError
from .places import full_name

T = TypeVar("T", bound=type)

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]


class Registered(NamedTuple):
    """A class that was registered: under which name, and its two functions if it has any."""

    kind: type
    name: str
    encode: Encode | None
    decode: Decode | None


_lock = threading.Lock()
# Replaced as a whole under the lock, so that readers need none.
_by_kind: dict[type, Registered] = {}
_by_name: dict[str, Registered] = {}

# What these hold does not stand in attributes.
_OF_VALUES = (str, int, float, complex, bytes, bytearray, list, dict, tuple, set, frozenset)
_IS_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: of what a class statement makes


@overload
def register_type(
    kind: T, *, name: str | None = ..., encode: Encode | None = ..., decode: Decode | None = ...
) -> T: ...


@overload
def register_type(
    kind: None = None,
    *,
    name: str | None = ...,
    encode: Encode | None = ...,
    decode: Decode | None = ...,
) -> Callable[[T], T]: ...


def register_type(
    kind: type | None = None,
    *,
    name: str | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
) -> Any:
    """Have journals know a class: its own instances, not those of subclasses.

    `encode` makes of an instance what journals know, such as a dict or a tuple; `decode`
    makes an instance of that again. Without them a dataclass, enum, pydantic model,
    exception or named tuple is written as ever, and any other class by its attributes,
    and made without calling `__init__`. `name` stands in the journal for the class, by
    default its module and qualified name: give the old one to a class that was renamed.

    Also a decorator. Registering a class again replaces what was said of it. Safe from any
    thread. Raises `ConfigurationError` if the name is taken, if only one of the functions
    is given, and for a class that takes them and has none.

    ```python
    from task_pipeline import register_type

    @register_type(encode=lambda money: money.cents, decode=lambda cents: Money(cents))
    class Money:
        def __init__(self, cents): self.cents = cents
    ```
    """
    if kind is None:
        return lambda given: register_type(given, name=name, encode=encode, decode=decode)
    _check(kind, name, encode, decode)
    entry = Registered(kind, name_of(kind) if name is None else name, encode, decode)
    global _by_kind, _by_name
    with _lock:
        other = _by_name.get(entry.name)
        # A module that is loaded again has its classes anew, under the same names.
        if other is not None and name_of(other.kind) != name_of(kind):
            raise ConfigurationError(
                f"register_type: {full_name(other.kind)} has the name {entry.name!r}; give "
                f"{full_name(kind)} another one, with name="
            )
        kinds, names = dict(_by_kind), dict(_by_name)
        before = kinds.pop(kind, None)
        if before is not None:
            names.pop(before.name, None)
        if other is not None:
            kinds.pop(other.kind, None)
        kinds[kind] = names[entry.name] = entry
        _by_kind, _by_name = kinds, names
    return kind


def _check(kind: object, name: object, encode: object, decode: object) -> None:
    if not isinstance(kind, type):
        raise ConfigurationError(f"register_type takes a class, not {kind!r:.80}")
    if not (name is None or (isinstance(name, str) and name)):
        raise ConfigurationError(f"register_type: name is a text, not {name!r:.80}")
    if (encode is None) is not (decode is None):
        raise ConfigurationError(
            f"register_type: {full_name(kind)} has one of encode and decode; give both, or none"
        )
    for function in (encode, decode):
        if not (function is None or callable(function)):
            raise ConfigurationError(f"register_type: {function!r:.80} is not a function")
    if kind.__module__ == "builtins":
        raise ConfigurationError(f"register_type: {kind.__name__} is not a class of yours")
    base = built_in_base(kind)
    if base in _OF_VALUES and encode is None and not hasattr(kind, "_fields"):
        raise ConfigurationError(
            f"register_type: {full_name(kind)} is a subclass of {base.__name__}: give encode and "
            "decode"
        )


def registered(kind: type) -> Registered | None:
    """What was registered for a class."""
    return _by_kind.get(kind)


def registered_as(name: str) -> Registered | None:
    """What was registered under a name."""
    return _by_name.get(name)


def name_of(kind: type) -> str:
    """The name of a class in a journal, if it was not given another."""
    return f"{kind.__module__}:{kind.__qualname__}"


def find_class(name: str) -> type | None:
    """The class of that name, if it was registered or its module is loaded."""
    entry = _by_name.get(name)
    if entry is not None:
        return entry.kind
    module_name, _, path = name.partition(":")
    module = sys.modules.get(module_name)
    if not isinstance(module, types.ModuleType):
        return None
    # Not getattr: a module may have a function for names it does not have, or load itself.
    inside: Any = types.ModuleType.__getattribute__(module, "__dict__")
    found: Any = None
    for part in path.split("."):
        found = inside.get(part)
        if not isinstance(found, type):
            return None
        inside = type.__getattribute__(found, "__dict__")
    return found if name_of(found) == name else None


def why_not_found_again(kind: type) -> str:
    """Why reading would not find a class that is written by its name; "" if it would."""
    if registered(kind) is not None or find_class(name_of(kind)) is kind:
        return ""
    name = full_name(kind)
    if "<locals>" in kind.__qualname__:
        return (
            f"an instance of {name}, a class made inside a function, which nobody finds "
            "again: move the class to its module"
        )
    return f"an instance of {name}, but that name is not this class in its module"


def built_in_base(kind: type) -> type:
    """The nearest class above (or this one itself) that is not made by a class statement."""
    base: Any = kind
    while base.__flags__ & _IS_HEAP_TYPE:
        base = base.__base__
    return base  # type: ignore[no-any-return]  # __base__ is a class, or None for object
