"""The names of functions: under which of them a document may call what a pipeline calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, NamedTuple

from ...errors import ConfigurationError
from ...steps import _ATTRIBUTE, step
from ..mistakes.problem_words import shown
from ..registry import AGENTS, FUNCTIONS


def _plain(context: object) -> None:
    """Stands for any function."""


async def _coroutine(context: object) -> None:
    """Stands for any coroutine function."""


# What `@step` puts around a function, told by its code: another decorator copies the rest.
_OF_STEP = {step(_plain).__code__, step(_coroutine).__code__}


class NamedFunction(NamedTuple):
    """A function that has a name, and what it is called with beside the context."""

    name: str
    function: Callable[..., Any]
    args: dict[str, Any]


class FunctionNames:
    """Finds the name of a function: one that leads back to it when the document is loaded."""

    def __init__(self, given: Mapping[str, Callable[..., Any]]) -> None:
        wrong = [
            f"{name!r}: {function!r:.60}"
            for name, function in given.items()
            if not isinstance(name, str) or not name.strip() or not callable(function)
        ]
        if wrong:
            raise ConfigurationError(f"functions must be functions by name, not {', '.join(wrong)}")
        known = {**AGENTS, **FUNCTIONS, **given}  # a name stands for the last that has it
        self._names: dict[Any, str] = {}
        for names in (given, FUNCTIONS, AGENTS):
            for name in names:
                self._names.setdefault(_identity(known[name]), name)
        self._kept = known  # so that no other function comes to have the same identity

    def name_of(self, function: Any) -> str | None:
        """The name that a function is known by, if it is."""
        return self._names.get(_identity(function))

    def find(self, function: Any) -> NamedFunction | str:
        """The function itself, or the one below a partial and `@step`; or why there is none."""
        target = function
        args: dict[str, Any] = {}
        while True:
            name = self.name_of(target)
            if name is not None:
                return NamedFunction(name, target, args)
            if type(target) is functools.partial:
                if target.args:
                    return (
                        f"it is a partial with the arguments {shown(list(target.args))} by "
                        "position; give them by name"
                    )
                args = {**target.keywords, **args}
                target = target.func
            elif getattr(target, "__code__", None) in _OF_STEP and _ATTRIBUTE in vars(target):
                target = target.__wrapped__
            else:
                return (
                    "it is a function that is registered under no name; register it with "
                    "@register_function, or pass functions={name: function}"
                )


def _identity(function: Any) -> Any:
    """What is the same for one function; a method is made anew each time it is looked up."""
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    return id(function)
