"""The forms in which steps, and lists of them, may be written."""

from __future__ import annotations

from typing import Any

from ..mistakes.problem_words import did_you_mean, listed, shown
from ..mistakes.problems import Path, Problems
from ..reading.source import Source

RESERVED = ("type", "config", "id")
_OF_RECIPES = ("steps", "name", "description", "$schema")


def listed_steps(source: Source, problems: Problems) -> tuple[list[Any], Path]:
    """The list of steps of a whole recipe, and where it is."""
    recipe = source.value
    if isinstance(recipe, list):
        return recipe, ()
    if not isinstance(recipe, dict):
        problems.add(
            source, (), f"a recipe is an object with a list of `steps`, not {shown(recipe)}"
        )
        return [], ()
    for key in recipe:
        if key not in _OF_RECIPES:
            problems.add(source, (key,), "unknown key", did_you_mean(key, _OF_RECIPES), of_key=True)
    for key in _OF_RECIPES[1:]:
        if not isinstance(recipe.get(key, ""), str):
            problems.add(source, (key,), f"must be a text, not {shown(recipe[key])}")
    if "steps" not in recipe:
        problems.add(source, (), "`steps` is missing", 'write {"steps": [...]}')
        return [], ()
    steps = recipe["steps"]
    if not isinstance(steps, list):
        problems.add(source, ("steps",), f"must be a list of steps, not {shown(steps)}")
        return [], ()
    return steps, ("steps",)


def series(
    written: list[Any] | dict[str, Any], source: Source, path: Path, problems: Problems
) -> tuple[list[Any], Path | None]:
    """A series of steps, and where the list is; None for a step that stands there alone."""
    if isinstance(written, list):
        return written, path
    if "type" in written or "steps" not in written:
        return [written], None
    if len(written) > 1:
        for key in written:
            if key != "steps":
                problems.add(
                    source,
                    (*path, key),
                    "unknown key",
                    "a series is a list of steps, or an object with nothing but `steps`",
                    of_key=True,
                )
    steps = written["steps"]
    if not isinstance(steps, list):
        problems.add(source, (*path, "steps"), f"must be a list of steps, not {shown(steps)}")
        return [], path
    return steps, (*path, "steps")


def unwrapped(
    step: dict[str, Any], keys: set[str], source: Source, path: Path, problems: Problems
) -> tuple[dict[str, Any] | None, Path, str | None]:
    """A step's fields, where they stand, and its `id`, if it has one; None for no fields at all.

    They stand beside `type`, or all in `config`. A type may have fields of its own that are
    called `config` or `id`: the fields beside `type` are then theirs.
    """
    fields = {key: field for key, field in step.items() if key not in RESERVED}
    if "config" in step and ("config" not in keys or _is_wrapper(step["config"], keys, fields)):
        wrapped = step["config"]
        if not isinstance(wrapped, dict):
            problems.add(
                source, (*path, "config"), f"must be an object with fields, not {shown(wrapped)}"
            )
            return None, path, None
        if fields:
            problems.add(
                source,
                (*path, next(iter(fields))),
                f"{listed(fields)} beside `config`",
                "write all fields in `config`, or all beside `type`",
                of_key=True,
            )
        fields, path = wrapped, (*path, "config")
        name = _own_id(step, source, path[:-1], problems)
        return fields, path, name
    if "config" in step:
        fields["config"] = step["config"]
    if "id" in keys and "id" in step:
        fields["id"] = step["id"]
        return fields, path, None
    return fields, path, _own_id(step, source, path, problems)


def _is_wrapper(config: Any, keys: set[str], beside: dict[str, Any]) -> bool:
    """Whether `config` has the fields of a type that has itself one of that name."""
    return isinstance(config, dict) and not beside and len(config) > 0 and config.keys() <= keys


def _own_id(step: dict[str, Any], source: Source, path: Path, problems: Problems) -> str | None:
    if "id" not in step:
        return None
    name = step["id"]
    if isinstance(name, str) and name.strip() and "{{" not in name and "{%" not in name:
        return name
    problems.add(
        source,
        (*path, "id"),
        f"must be a text that is not empty and has no template, not {shown(name)}",
    )
    return None
