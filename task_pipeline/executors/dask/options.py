"""What a step may say to Dask: its `executor_options`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def _is_number(value: object) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)  # type: ignore[arg-type]  # a number, by now


def _is_resources(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_number(amount) and amount >= 0
        for name, amount in value.items()
    )


def _is_list_of_names(value: object) -> bool:
    return (
        isinstance(value, list | tuple | set)
        and bool(value)
        and all(isinstance(name, str) and name for name in value)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_KNOWN: dict[str, tuple[Callable[[object], bool], str]] = {
    "resources": (_is_resources, 'a dict of amounts by name, such as {"GPU": 1}'),
    "priority": (_is_number, "a number: steps with higher ones go first"),
    "retries": (_is_count, "a whole number from 0"),
    "workers": (_is_list_of_names, 'a list of addresses or names of workers, such as ["alice"]'),
    "allow_other_workers": (lambda value: isinstance(value, bool), "True or False"),
}


def wrong_options(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with a step's options, each as the end of a sentence about the step."""
    wrong = []
    for name, value in options.items():
        if name not in _KNOWN:
            known = ", ".join(_KNOWN)
            wrong.append(f"has the executor option {name!r}, which Dask does not know: {known}")
            continue
        is_right, what = _KNOWN[name]
        if not is_right(value):
            wrong.append(f"has the executor option {name}={value!r}, which must be {what}")
    if options.get("allow_other_workers") and "workers" not in options:
        wrong.append("has the executor option allow_other_workers, but not workers")
    return wrong


def for_map(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as `Client.map` takes them."""
    given = dict(options)
    if "workers" in given:
        given["workers"] = list(given["workers"])
    if "resources" in given:
        given["resources"] = dict(given["resources"])
    return given


def group_of(options: Mapping[str, Any]) -> str:
    """The same text for options that may be handed over together."""
    return repr(sorted((name, _plain(value)) for name, value in options.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted(value.items())
    return sorted(value) if isinstance(value, set) else value
