"""Pickle, for those who have asked for it: reading runs whatever code the data names."""

from __future__ import annotations

import pickle
from typing import Any

from .places import one

REFUSED = (
    'it was written with codec="pickle", and reading a pickle runs whatever code it names. Open '
    'the journal with codec="pickle" only if everybody who can write to it is trusted.'
)


def dump(value: Any) -> bytes | str:
    """A value's pickle; or why there is none."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:  # noqa: BLE001  # a __reduce__ of the user's may raise anything
        why = f"{type(error).__name__}: {error!s:.200}"
        return f"{one(type(value))} that cannot be pickled either ({why})"


def load(content: bytes) -> Any:
    """What was pickled; raises whatever that raises."""
    return pickle.loads(content)
