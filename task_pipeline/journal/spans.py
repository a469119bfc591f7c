"""Times and spans of time, as the journal's methods take them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

from ..errors import ConfigurationError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)

Span = timedelta | float | str
"""A `timedelta`, seconds, or a text such as "30d", "12h" or "1d12h" (s, m, h, d, w)."""


def seconds(span: Span, name: str) -> float:
    """A span in seconds, from 0; raises `ConfigurationError`, which says what `name` must be."""
    found: float | None = None
    if isinstance(span, timedelta):
        found = span.total_seconds()
    elif isinstance(span, str) and _SPAN.fullmatch(span):
        found = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(span))
    elif isinstance(span, int | float) and not isinstance(span, bool):
        found = float(span)
    if found is None or not 0 <= found < float("inf"):
        raise ConfigurationError(
            f"{name} is a timedelta, seconds from 0, or a text such as '30d' or '12h', not {span!r}"
        )
    return found


def moment(when: datetime | Span, name: str) -> float:
    """A moment in seconds since the epoch: a datetime with its time zone, or so long ago."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ConfigurationError(f"{name} is a datetime with its time zone, not {when!r}")
        return when.timestamp()
    return time.time() - seconds(when, name)
