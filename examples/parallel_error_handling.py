"""When calls of a group fail: all results, the first error, another try, or no try at all.

    python examples/parallel_error_handling.py

Each part prints what becomes of the tasks. What is logged beside it are the attempts that
are followed by another.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from task_pipeline import (
    CircuitBreaker,
    CircuitOpenError,
    ErrorStrategy,
    ExecutionResult,
    GroupTimeoutError,
    RetryPolicy,
    parallel,
)


def parse(text: str) -> int:
    """Fails for what is no number."""
    return int(text)


def fail_slow() -> None:
    """The default: nothing is raised; each result says how its task ended."""
    with parallel(max_workers=4) as group:
        for text in ["1", "two", "3", "four"]:
            group.add(parse, text, name=text)
        results = group.gather()
    for result in results:
        print(f"  {result.name:5} {result.result if result.ok else result.error_message}")
    assert [result.ok for result in results] == [True, False, True, False]
    assert group.group.success_rate == 0.5
    assert all(isinstance(error, ValueError) for error in group.group.errors)


async def fail_fast() -> None:
    """The first error is raised at once, what runs is cancelled, and nothing more starts."""
    started: list[int] = []

    async def load(number: int) -> None:
        started.append(number)
        if number == 1:
            raise ConnectionError("refused")
        await asyncio.sleep(5)

    began = time.perf_counter()
    try:
        async with parallel(max_workers=2, error_strategy=ErrorStrategy.FAIL_FAST) as group:
            for number in range(100):
                group.add(load, number, name=f"page {number}")
            await group.gather()
    except ConnectionError as error:
        seconds = time.perf_counter() - began
        print(f"  {error!r} after {seconds:.2f} s\n  {error.__notes__[0]}")
        assert seconds < 2.0
        assert "page 1" in error.__notes__[0]
    else:
        raise AssertionError("nothing was raised")
    assert started == [0, 1], "of the hundred, only two have begun"


def retries() -> None:
    """A task is tried again, after a wait that doubles; a policy says more exactly when."""
    tries: Counter[str] = Counter()

    def flaky(name: str, failures: int) -> str:
        tries[name] += 1
        if tries[name] <= failures:
            raise TimeoutError(f"{name} was busy")
        return f"{name} answered"

    policy = RetryPolicy(attempts=3, delay=0.01, retry_on=(TimeoutError,))
    # Five failed attempts in a row would open the group's circuit breaker, see below.
    with parallel(max_retries=policy, circuit_breaker_threshold=None) as group:
        group.add(flaky, "often busy", 2)
        group.add(flaky, "always busy", 99)
        often, always = group.gather()
    print(f"  {often.result} in attempt {often.attempts}")
    print(f"  {always.error_message} in {always.attempts} attempts")
    assert (often.ok, often.attempts) == (True, 3)
    assert (always.ok, always.attempts) == (False, 3)


def results_that_report_failure() -> None:
    """A task may say that it has failed without raising anything."""

    def check(stock: int) -> ExecutionResult[int]:
        return ExecutionResult(ok=stock > 0, result=stock, error_message="sold out")

    with parallel() as group:
        group.add(check, 3)
        group.add(check, 0)
        there, gone = group.gather()
    print(f"  {there.result} left; {gone.error_message}")
    assert there.ok and not gone.ok


async def timeouts() -> None:
    """At the group's timeout, finished results are kept, and the rest is told to stop."""
    async with parallel(timeout=0.2, name="docs") as group:
        group.add(asyncio.sleep, 0.0, "quick")
        group.add(asyncio.sleep, 30.0, "slow")
        quick, slow = await group.gather()
    print(f"  {quick.result}; {slow.error_message}")
    assert quick.ok and isinstance(slow.error, GroupTimeoutError)


def breaker() -> None:
    """A service that fails again and again is left alone for a while: rejected is cheap."""
    is_down = True
    calls: list[str] = []

    def ask(question: str) -> str:
        calls.append(question)
        if is_down:
            raise ConnectionError("no route to host")
        return f"the answer to {question}"

    # Shared by name: with other groups, steps and threads.
    CircuitBreaker("oracle", failure_threshold=3, recovery_timeout=0.2)
    with parallel(max_workers=1, circuit_breaker="oracle") as group:
        for number in range(20):
            group.add(ask, f"question {number}")
        results = group.gather()
    rejected = [result for result in results if isinstance(result.error, CircuitOpenError)]
    print(f"  {len(calls)} calls, {len(rejected)} rejected: {rejected[0].error_message}")
    assert (len(calls), len(rejected)) == (3, 17)

    is_down = False
    time.sleep(0.25)  # after `recovery_timeout`, one probe is let through
    with parallel(max_workers=1, circuit_breaker="oracle") as group:
        group.add(ask, "life")
        group.add(ask, "everything")
        answers = group.gather()
    print(f"  {[answer.result for answer in answers]}")
    assert all(answer.ok for answer in answers)
    assert CircuitBreaker("oracle").state == "closed"


def main() -> None:
    """Runs all of them."""
    print("FAIL_SLOW:")
    fail_slow()
    print("FAIL_FAST:")
    asyncio.run(fail_fast())
    print("retries:")
    retries()
    print("results that report failure:")
    results_that_report_failure()
    print("a timeout:")
    asyncio.run(timeouts())
    print("a circuit breaker:")
    breaker()


if __name__ == "__main__":
    main()
