"""What the attributes of a step may be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


def _number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # False for nan, and for an int that no float holds


def _check_text(name: str, value: object) -> str:
    if isinstance(value, str) and value.strip():
        return ""
    return f"{name} must be a text that is not empty, not {value!r}"


def _check_timeout(name: str, value: Any) -> str:
    if value is None or (_number(value) and value > 0):
        return ""
    return f"{name} must be seconds above 0, or None, not {value!r}"


def _check_retries(name: str, value: Any) -> str:
    from .config import RetryPolicy  # with all of pydantic, which a worker can do without

    if isinstance(value, RetryPolicy):
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return ""
    return f"{name} must be a whole number from 0, or a RetryPolicy, not {value!r}"


def _check_weight(name: str, value: Any) -> str:
    return "" if _number(value) and value >= 0 else f"{name} must be a number from 0, not {value!r}"


def _check_critical(name: str, value: object) -> str:
    return "" if isinstance(value, bool) else f"{name} must be True or False, not {value!r}"


def _check_isolated(name: str, value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    return f"{name} must be True, False or None, not {value!r}"


def _check_limit(name: str, value: object) -> str:
    if value is None or (isinstance(value, str) and value.strip()):
        return ""
    return f"{name} must be the name of a limit, or None, not {value!r}"


def _check_version(name: str, value: object) -> str:
    if value is None or (isinstance(value, str) and value.strip()):
        return ""
    return f"{name} must be a text that is not empty, or None, not {value!r}"


def _check_breaker(name: str, value: object) -> str:
    # By what it can do: the class is the engine's, which is above this room.
    if value is None or (isinstance(value, str) and value.strip()) or hasattr(value, "admit"):
        return ""
    return f"{name} must be a CircuitBreaker, the name of one, or None, not {value!r}"


def _check_options(name: str, value: object) -> str:
    if value is None or (
        isinstance(value, Mapping) and all(isinstance(option, str) for option in value)
    ):
        return ""
    return f"{name} must be a dict whose keys are names, or None, not {value!r}"


def _check_executor(name: str, value: object) -> str:
    # What it names, and whether that can do what it is asked, is known when a pipeline is built.
    if value is None or not isinstance(value, type):
        return ""
    return f"{name} must be an executor, not the class {value.__name__}"


CHECKS: dict[str, Callable[[str, Any], str]] = {
    "step_id": _check_text,
    "description": _check_text,
    "timeout": _check_timeout,
    "retries": _check_retries,
    "critical": _check_critical,
    "weight": _check_weight,
    "isolated": _check_isolated,
    "limit": _check_limit,
    "circuit_breaker": _check_breaker,
    "idempotent": _check_critical,
    "version": _check_version,
    "executor": _check_executor,
    "executor_options": _check_options,
}
