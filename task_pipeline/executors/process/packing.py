"""Calls made ready to be sent, and the files that this takes."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable
from typing import NamedTuple

from ...engine.calling import Call
from ...errors import ExecutorError
from ..performing import About
from ..portable import Packed, dumps
from ..shipping import Shipment, shipment_of
from .flags import Flags
from .lines import MOST, To
from .parcels import Parcels, Setup, message
from .scratch import Scratch, Writer
from .surroundings import Surroundings
from .workers import Job

_numbers = itertools.count(1)
MOST_TEXT = MOST * 3 // 4


class Packing(NamedTuple):
    """What an executor has for it."""

    scratch: Scratch
    flags: Flags
    flags_path: str
    parcels: Parcels
    surroundings: Surroundings

    def job(self, call: Call, where: bytes) -> Job:
        """Make a call ready. Raises `NotPortableError`, or `OSError` if there is no room."""
        shipment = shipment_of(call)
        code, base = shipment.code, shipment.base
        code_parcel = self.parcels.of(call.kept, code.digest, lambda: code.packed)
        base_parcel = self.parcels.of(base.kept, "base", base.packed)
        about = self.parcels.single(_packed(shipment))
        number = next(_numbers)
        text = message(
            To.CALL,
            number,
            where,
            code.digest,
            code_parcel.item,
            base_parcel.number,
            base_parcel.item,
            about.item,
        )
        if len(text) > MOST_TEXT:
            raise ExecutorError(
                f"step {call.node.label} cannot be given to a process: sys.path is too long, with "
                f"{len(where):,} bytes"
            )
        # The base too: what was made of it lasts as long as it does.
        return Job(number, call, text, (code_parcel, base_parcel, about))

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


def _packed(shipment: Shipment) -> Packed:
    """The facts of a call; of themselves they are nothing but plain values."""
    about: About = shipment.about
    if about.overlay is None and not about.variables:
        return Packed(pickle.dumps(about, 5))
    return dumps(about, f"step {about.step_id!r} at path {about.path}")
