"""Calls made ready to be sent, and the files that this takes."""

from __future__ import annotations

import dataclasses
import itertools
import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ...engine.calling import Call
from ...errors import ExecutorError
from ..performing import About
from ..portable import dumps
from ..shipping import shipment_of
from .flags import Flags
from .lines import MOST, To
from .parcels import Item, Parcel, Parcels, Setup, message
from .scratch import Scratch, Writer
from .surroundings import Surroundings
from .workers import Job

_numbers = itertools.count(1)
_BASE = "base"
MOST_TEXT = MOST * 3 // 4
facts_of = operator.attrgetter(*(field.name for field in dataclasses.fields(About)))
"""All that is known of a call, as a tuple: nothing but plain values, if nothing else is in it."""


class Packing(NamedTuple):
    """What an executor has for it."""

    scratch: Scratch
    flags: Flags
    flags_path: str
    parcels: Parcels
    surroundings: Surroundings

    def job(self, call: Call, where: bytes) -> Job:
        """Make a call ready. Raises `NotPortableError`, or `OSError` if there is no room."""
        code, base, about = shipment_of(call)
        code_parcel = self.parcels.of(call.kept, code.digest, lambda: code.packed)
        # In the base's own keeping: what was made of it lasts as long as it does.
        base_parcel = self.parcels.of(base.kept, _BASE, base.packed)
        parcels: tuple[Parcel, ...] = (code_parcel, base_parcel)
        plain: tuple[Any, ...] = ()
        about_item: Item | None = None
        if about.overlay is None and not about.variables:
            plain = facts_of(about)
        else:
            parcel = self.parcels.single(dumps(about, f"step {call.node.label}"))
            about_item, parcels = parcel.item, (*parcels, parcel)
        number = next(_numbers)
        text = message(
            To.CALL,
            number,
            where,
            code.digest,
            code_parcel.item,
            base_parcel.number,
            base_parcel.item,
            plain,
            about_item,
        )
        if len(text) > MOST_TEXT:
            raise ExecutorError(
                f"step {call.node.label} cannot be given to a process: sys.path is too long, with "
                f"{len(where):,} bytes"
            )
        return Job(number, call, text, parcels)

    def setup(self, slot: int, stem: str) -> Setup:
        """What a worker is told."""
        return Setup(slot, self.flags_path, self.scratch.places, stem, dict(os.environ))

    def close(self) -> None:
        """Remove all files."""
        self.flags.close()
        self.scratch.close()


def make_packing(slots: int, dropped: Callable[[], None]) -> Packing:
    """Raises `OSError` if files can be written nowhere."""
    scratch = Scratch()
    path = f"{scratch.places[0]}/flags"
    flags = Flags(path, slots)

    def removed() -> None:
        flags.count_removal()
        dropped()

    parcels = Parcels(Writer(scratch.places, "base-"), scratch.is_ours, removed)
    return Packing(scratch, flags, path, parcels, Surroundings())
