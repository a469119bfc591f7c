"""A case by its seed: what is tried and how, the same on every machine."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from . import fragments
from .growing import grown
from .mutations import Made, made
from .trial import Options


class Case(NamedTuple):
    """A document, and how it is loaded and run."""

    made: Made
    options: Options


def case_of(random: Random) -> Case:
    """Any case; with `Random(seed)` always the same one."""
    names = random.sample(fragments.NAMES, 3) if random.random() < 0.5 else []
    options = Options(
        kind=random.choice(["recipe", "workflow"]) if random.random() < 0.05 else None,
        as_file=random.choice([None, None, "doc", "doc.json", "doc.yaml"]),
        fails_fast=random.random() < 0.75,
        is_inside=random.random() < 0.3,
        is_recorded=random.random() < 0.04,
        has_fallback=random.random() < 0.5,
        values={name: fragments.value(random) for name in names},
    )
    return Case(made(random, grown), options)
