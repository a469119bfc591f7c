"""Trying again what may pass: a lock, a lost connection, a server that restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from .troubles import PASSES, Trouble

T = TypeVar("T")


def _passes(error: BaseException) -> bool:
    return isinstance(error, Trouble) and error.kind == PASSES


def patiently(patience: float, work: Callable[[], T]) -> T:
    """Call until it raises nothing that passes, or `patience` seconds have gone by."""
    try:
        return work()  # tenacity itself would cost as much as a commit
    except Trouble as trouble:
        if trouble.kind != PASSES or patience <= 0:
            raise
    again = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
        retry=tenacity.retry_if_exception(_passes),
        reraise=True,
    )
    return again(work)
