"""What pydantic found wrong in a part of a document, in our words and with our paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .known_fields import Models, names_of, narrowed, within
from .problem_words import did_you_mean
from .pydantic_words import must_be, said, unknown_kind, wanted

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
KEY_MARK = "[key]"
MOST_WAYS = 64

# What an element of pydantic's path is: a key or index of the document, a field that the
# document has not written there, or the tag of one of the types of a union.
Role: TypeAlias = Literal["key", "field", "tag"]
Step: TypeAlias = tuple[Role, str | int]


@dataclass(frozen=True)
class Finding:
    """One mistake: where it is below the part that was validated, and what is said of it."""

    path: tuple[str | int, ...]
    found: str
    hint: str = ""
    of_key: bool = False
    # A value of another type, with what was wanted: several of a union are said as one.
    wants: tuple[str, ...] = ()
    value: Any = None
    left_out: bool = False


@dataclass(frozen=True)
class _Placed:
    """An error with its path taken apart, and the models that are known at its end."""

    error: ErrorDetails
    steps: tuple[Step, ...]
    models: Models

    @property
    def path(self) -> tuple[str | int, ...]:
        return tuple(element for role, element in self.steps if role == "key")


def findings(
    error: ValidationError,
    model: type[BaseModel],
    given: Any,
    skip: Callable[[Any], bool] | None = None,
) -> list[Finding]:
    """Every mistake of a validation of `given`, without those whose value `skip` holds for."""
    placed = [_placed(one, model, given) for one in error.errors(include_url=False)]
    found = [one for one in _told(placed, 0, skip) if not one.left_out]
    return [_joined([one]) if one.wants else one for one in found]


def _placed(error: ErrorDetails, model: type[BaseModel], given: Any) -> _Placed:
    """Read the path: a word in it is a key, or the name of a type, whichever leads to the input."""
    location = [part for part in error["loc"] if part != KEY_MARK]
    if error["type"] in MISSING:
        location = location[:-1]
    of_key = KEY_MARK in error["loc"]
    first = None
    for value, steps, models in islice(_ways(location, model, given), MOST_WAYS):
        way = _Placed(error, steps, models)
        if first is None:
            first = way
        if of_key or value is error["input"]:
            return way
    return first if first is not None else _Placed(error, (), (model,))


def _ways(
    location: Sequence[str | int], model: type[BaseModel], given: Any
) -> Iterator[tuple[Any, tuple[Step, ...], Models]]:
    """Every reading of a path, the likeliest first, with the value that each leads to."""
    waiting: list[tuple[int, Any, tuple[Step, ...], Models]] = [(0, given, (), (model,))]
    while waiting:
        index, value, steps, models = waiting.pop()
        if index == len(location):
            yield value, steps, models
            continue
        part = location[index]
        inner = within(models, part) if isinstance(part, str) else models
        if inner is not None:
            beyond = inner
        else:
            beyond = models
            narrow = narrowed(models, str(part))
            waiting.append((index + 1, value, (*steps, ("tag", part)), narrow))
        if _leads_on(value, part):
            waiting.append((index + 1, value[part], (*steps, ("key", part)), beyond))
        elif inner is not None:
            waiting.append((index + 1, value, (*steps, ("field", part)), beyond))


def _leads_on(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and 0 <= part < len(value)


def _told(
    placed: Iterable[_Placed], depth: int, skip: Callable[[Any], bool] | None
) -> list[Finding]:
    """What the errors say that agree in the first steps of their paths, unions made one."""
    found: list[Finding] = []
    keys: dict[Step, list[_Placed]] = {}
    tags: dict[Step, list[_Placed]] = {}
    for one in placed:
        if len(one.steps) == depth:
            found += _about(one, skip)
        else:
            step = one.steps[depth]
            (tags if step[0] == "tag" else keys).setdefault(step, []).append(one)
    for group in keys.values():
        found += _told(group, depth + 1, skip)
    if tags:
        found += _one_of([_told(group, depth + 1, skip) for group in tags.values()])
    return found


def _one_of(ways: list[list[Finding]]) -> list[Finding]:
    """Of what is wrong with each type of a union: what is wrong with the one that was meant."""
    if any(all(one.left_out for one in way) for way in ways):
        return []
    ways = [[one for one in way if not one.left_out] for way in ways]
    top = min(len(one.path) for way in ways for one in way)
    meant = [way for way in ways if not any(one.wants and len(one.path) == top for one in way)]
    if meant:
        return min(meant, key=len)
    same = [way[0] for way in ways if len(way) == 1 and len(way[0].path) == top]
    return [_joined(same)] if same else ways[0]


def _joined(same: Sequence[Finding]) -> Finding:
    wants = list(dict.fromkeys(want for one in same for want in one.wants))
    found, hint = must_be(wants, same[0].value)
    return Finding(same[0].path, found, hint, False, tuple(wants), same[0].value)


def _about(one: _Placed, skip: Callable[[Any], bool] | None) -> list[Finding]:
    """What a single error says."""
    error, path = one.error, one.path
    kind, value = error["type"], error["input"]
    if kind in UNKNOWN:
        known = [name for model in one.models for name in names_of(model)]
        return [Finding(path, "unknown key", did_you_mean(str(path[-1]), known), of_key=True)]
    if kind in MISSING:
        name = error["loc"][-1]
        what = f"`{name}`" if isinstance(name, str) else f"item {name + 1}"
        return [Finding(path, f"{what} is missing")]
    if kind == "union_tag_not_found":
        return [Finding(path, f"{_discriminator(error)} is missing")]
    if kind == "union_tag_invalid":
        found, hint = unknown_kind(error)
        key = _discriminator(error).strip("`")
        inner = (*path, key) if isinstance(value, dict) and key in value else path
        return [Finding(inner, found, hint)]
    if skip is not None and skip(value):
        return [Finding(path, "", left_out=True)]
    of_key = KEY_MARK in error["loc"]
    wants = tuple(wanted(error))
    if wants:
        return [Finding(path, "", "", of_key, wants, value)]
    fields = [str(part) for role, part in one.steps if role == "field"]
    found, hint = said(error)
    return [Finding(path, f"{'.'.join(fields)}: {found}" if fields else found, hint, of_key)]


def _discriminator(error: ErrorDetails) -> str:
    name = str(error.get("ctx", {}).get("discriminator", "")).strip("'")
    return f"`{name}`" if name.isidentifier() else "what kind it is"
