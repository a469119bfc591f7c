"""How many workers a pool has by default."""

from __future__ import annotations

import os

from ..errors import ConfigurationError

ENV_MAX_WORKERS = "TASK_PIPELINE_MAX_WORKERS"
_CPUS = os.cpu_count() or 1


def default_max_workers() -> int:
    """`TASK_PIPELINE_MAX_WORKERS` if set, else `min(32, cpus + 4)`.

    Raises `ConfigurationError` for a value that is not a whole number from 1.
    """
    text = os.environ.get(ENV_MAX_WORKERS)
    if text is None or not text.strip():
        return min(32, _CPUS + 4)
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ConfigurationError(
            f"the environment variable {ENV_MAX_WORKERS} must be a whole number from 1, "
            f"not {text!r}"
        )
    return value


def is_set_by_environment() -> bool:
    """Whether somebody has set `TASK_PIPELINE_MAX_WORKERS`."""
    return bool(os.environ.get(ENV_MAX_WORKERS, "").strip())
