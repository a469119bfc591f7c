"""Times and durations, as they are typed and as they are shown."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from ..display.text import seconds_text
from .failures import CommandError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = r"(\d+(?:\.\d+)?)([smhdw])"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_WAYS = "a time ago such as 2d, 3h, 1h30m or 2w (units: s, m, h, d, w)"


def parse_duration(text: str, option: str) -> timedelta:
    """What "2d", "90m" or "1h30m" mean."""
    written = text.strip().lower()
    if not _DURATION.fullmatch(written):
        raise CommandError(f"{option} takes {_WAYS}, not {text!r}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, written))
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise CommandError(f"{option} {text!r} is longer than there are days to count") from None


def parse_time(text: str, option: str) -> datetime:
    """A moment: so long ago, or a date or time in ISO 8601; local time if it has no zone."""
    written = text.strip()
    if _DURATION.fullmatch(written.lower()):
        ago = parse_duration(written, option)
        try:
            return datetime.now(UTC) - ago
        except OverflowError:
            raise CommandError(f"{option} {text!r} is before there were years") from None
    try:
        moment = datetime.fromisoformat(written)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(
            f"{option} takes {_WAYS}, or a date or time such as 2026-11-21 or "
            f"2026-11-21T08:00+01:00, not {text!r}"
        ) from None


def duration_text(seconds: float | None) -> str:
    """How long something took, short; "" if nobody knows."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 0.0:  # a clock was set back meanwhile
        return f"-{duration_text(-seconds)}"
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return seconds_text(seconds) if seconds < 86400 else _days_text(seconds)


def _days_text(seconds: float) -> str:
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def iso_time(moment: float | None) -> str | None:
    """A time of a journal in ISO 8601, in UTC, to the microsecond."""
    found = _moment(moment)
    return None if found is None else found.isoformat(timespec="microseconds")


def local_time(moment: float | None, for_people: bool = True) -> str:
    """A time of a journal by this machine's time zone; with its offset if not only for people."""
    found = _moment(moment)
    if found is None:
        return ""
    local = found.astimezone()
    if for_people:
        return local.replace(tzinfo=None).isoformat(" ", "seconds")
    return local.isoformat("T", "seconds")


def _moment(moment: float | None) -> datetime | None:
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (OverflowError, ValueError, OSError):  # a journal can hold any number
        return None
