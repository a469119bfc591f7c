"""Whether and when a failed attempt is followed by another: `RetryPolicy` on tenacity's objects."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from ..config import RetryPolicy
from ..errors import AgentCallError, CircuitOpenError
from ..plan import Plan

if TYPE_CHECKING:
    from tenacity import RetryCallState


_NO_CAP = 1e9  # seconds: thirty years


class Retrying:
    """A policy as tenacity's stop, wait and retry objects."""

    def __init__(self, policy: RetryPolicy) -> None:
        # Imported by the first pipeline with a step that retries: it takes a third of the
        # time of importing all else.
        import tenacity

        self._state: Any = tenacity.RetryCallState
        self._retry = tenacity.retry_if_exception_type(policy.retry_on)
        self._never = tenacity.retry_if_not_exception_type(policy.never_on)
        stops = [tenacity.stop_after_attempt(policy.attempts)]
        self._stop: Any = stops[0]
        if policy.total_time is not None:
            # Judged with the wait to come: an attempt that would start too late is not waited for.
            self._stop = stops[0] | tenacity.stop_before_delay(policy.total_time)
        self._wait: Any = _wait(policy, tenacity)

    def after(self, attempt: int, error: Exception, elapsed: float) -> float | None:
        """Seconds to wait before the next attempt; None if there is to be none.

        `attempt` is the number of the one that failed, `elapsed` the seconds since
        the first began.
        """
        state: RetryCallState = self._state(None, None, (), {})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = state.start_time + elapsed
        if not (self._retry(state) and self._never(state)):
            return None
        state.upcoming_sleep = wait = float(self._wait(state))
        return None if self._stop(state) else wait


def _wait(policy: RetryPolicy, tenacity: Any) -> Any:
    cap = _NO_CAP if policy.max_delay is None else policy.max_delay
    if policy.backoff == "constant":
        wait = tenacity.wait_fixed(policy.delay)
    elif policy.backoff == "linear":
        wait = tenacity.wait_incrementing(policy.delay, policy.delay, cap)
    else:
        wait = tenacity.wait_exponential(policy.delay, cap)
    return wait + tenacity.wait_random(0, policy.jitter) if policy.jitter else wait


_retrying = functools.lru_cache(maxsize=256)(Retrying)


def prepare(plan: Plan) -> Plan:
    """Import tenacity and set the policies up: before a run, not in the middle of a deadline."""
    for policy in {spec.policy for spec in plan.specs if spec.policy is not None}:
        _retrying(policy)
    return plan


def retry_after(
    policy: RetryPolicy | None, attempt: int, error: BaseException | None, elapsed: float
) -> float | None:
    """Seconds to the next attempt of a step with this policy; None if there is none."""
    if policy is None or not isinstance(error, Exception) or attempt >= policy.attempts:
        return None
    wait = _retrying(policy).after(attempt, error, elapsed)
    if wait is None or not isinstance(error, CircuitOpenError | AgentCallError):
        return wait
    # What a circuit breaker rejected, or a server that is busy, is of no use before it says so.
    asked = error.retry_after or 0.0
    if asked <= wait:
        return wait
    total = policy.total_time
    return None if total is not None and elapsed + asked > total else asked


def longest(policy: RetryPolicy, timeout: float) -> float:
    """Seconds that all attempts of a step may take together, with the waits between them."""
    count = policy.attempts - 1
    cap = _NO_CAP if policy.max_delay is None else policy.max_delay
    waits = _sum_of_waits(policy.backoff, policy.delay, cap, count) + count * policy.jitter
    total = policy.attempts * timeout + waits
    return total if policy.total_time is None else min(total, policy.total_time + timeout)


def _sum_of_waits(backoff: str, delay: float, cap: float, count: int) -> float:
    """The first `count` waits added up; those from the cap on are all alike."""
    if delay == 0.0 or backoff == "constant":
        return count * delay
    growing = cap / delay if backoff == "linear" else math.log2(cap / delay) + 1
    below = min(count, math.floor(growing))
    grown = below * (below + 1) / 2 if backoff == "linear" else 2.0**below - 1
    return delay * grown + (count - below) * cap
