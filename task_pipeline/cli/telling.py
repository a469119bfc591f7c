"""How a run went, in words: what failed, where, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..errors import SubstepError
from .escaping import visible
from .failures import error_line

# As the engine notes it on what a step has raised.
_OF_A_STEP = re.compile(
    r"step (?P<label>.+ at path (?P<path>[\d.]+)), attempt (?P<attempt>\d+) of (?P<attempts>\d+)",
    re.DOTALL,
)
_OF_A_RECIPE = re.compile(r"in the recipe (?P<name>.+)", re.DOTALL)
_MOST_SHOWN = 3


def failure_text(error: BaseException, place_of: Callable[[str], str]) -> str:
    """What failed: the steps by name and path, with what they raised.

    `place_of` gives where the step at a path is written, "" if nobody knows.
    """
    found = list(parts_of(error))
    told = [_told(leaf, place_of) for leaf in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        told.append(f"and {len(found) - _MOST_SHOWN} more")
    text = "; ".join(told)
    if isinstance(error, SubstepError):  # says which part of a recipe that was
        whole = visible(" ".join(error.message.split()))
        if any(" ".join(str(leaf).split()) not in whole for leaf in found):
            return f"{whole}: {text}"
        steps = [where for leaf in found[:1] if (where := _step_of(leaf, place_of)[0])]
        return f"{whole}; that was {steps[0]}" if steps else whole
    return text


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """The errors that others only gather."""
    stack = [error]
    while stack:
        found = stack.pop()
        if isinstance(found, BaseExceptionGroup):
            stack.extend(reversed(found.exceptions))
        else:
            yield found


def _told(error: BaseException, place_of: Callable[[str], str]) -> str:
    step, tries = _step_of(error, place_of)
    text = named_line(error)
    return f"{step} failed{tries}: {text}" if step else text


def _step_of(error: BaseException, place_of: Callable[[str], str]) -> tuple[str, str]:
    """The step that has raised an error, and in which attempt; "" if nobody knows."""
    notes = getattr(error, "__notes__", ())
    for index, note in enumerate(notes):
        step = _OF_A_STEP.fullmatch(note)
        if step is not None:
            inner = filter(None, map(_OF_A_RECIPE.fullmatch, notes[index + 1 :]))
            recipe = next(inner, None)  # that was read when it was reached: its path is there
            place = place_of(step["path"]) if recipe is None else f"in {recipe['name']}"
            written = f" ({visible(place)})" if place else ""
            tries = f" in attempt {step['attempt']}" if step["attempts"] != "1" else ""
            return f"step {visible(step['label'])}{written}", tries
    return "", ""


def named_line(error: BaseException) -> str:
    """An error in one line, with the name of its type."""
    name, text = type(error).__name__, error_line(error)
    return text if text.startswith(name) else f"{name}: {text}"
