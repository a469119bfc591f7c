"""How to test a pipeline of your own: in any order, in no time, at an exact point.

    python examples/testing_a_pipeline.py

The functions named `test_...` are written as they would stand in a test file. None
of them sleeps, and none can pass today and fail tomorrow.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from task_pipeline import (
    GroupTimeoutError,
    Outcome,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    step,
)
from task_pipeline.events import StepStarted
from task_pipeline.testing import Gate, ManualClock, Simulator

Context = PipelineContext[Any]
Bank = Callable[[], str]

# ---------------------------------------------------------------- the pipeline to be tested


class Charge(PipelineStep):
    """Charges the card; when the bank cannot be reached, again after a minute, then two."""

    retries = RetryPolicy(attempts=3, delay=60.0, retry_on=(ConnectionError,))

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    def run(self, context: Context) -> None:
        context.results["receipt"] = self.bank()
        context.results.setdefault("log", []).append("charged")


def reserve(context: Context) -> None:
    """Takes the goods off the shelf."""
    context.results.setdefault("log", []).append("reserved")


@step(critical=False)
def thank(context: Context) -> None:
    """Writes to the customer; the order does not hang on it."""
    context.results.setdefault("log", []).append("thanked")


def ship(context: Context) -> None:
    """Sends the goods, which must be paid for."""
    context.results.setdefault("log", []).append(f"shipped for {context.results['receipt']}")


def order(bank: Bank = lambda: "42 €") -> Pipeline:
    """The pipeline: an hour is the most that payment and reservation may take."""
    limits = ParallelConfig(timeout=3600.0)
    return Pipeline([Parallel([reserve, Charge(bank), thank], name="prepare", config=limits), ship])


# ---------------------------------------------------------------- its tests


def test_the_result_is_the_same_in_every_order() -> None:
    """The simulator is the real engine without threads: a seed is an order of events."""
    orders = set()
    for seed in range(200):
        run = Simulator(order(), seed).run()
        assert run.error is None
        assert run.context.results["log"] == ["reserved", "charged", "thanked", "shipped for 42 €"]
        orders.add(tuple(name for what, name in run.trace if what == "end"))
    print(f"  200 runs, {len(orders)} different orders, one result")
    assert len(orders) == 6  # three branches, in every order there is


def test_nothing_is_shipped_that_was_not_paid_for() -> None:
    """Steps fail, deadlines pass and runs are cancelled by chance; what must hold, holds."""
    seen: Counter[str] = Counter()
    for seed in range(500):
        run = Simulator(order(), seed, failure_rate=0.3, timeout_rate=0.1, cancel_rate=0.05).run()
        assert run.outcome is not None
        seen[run.outcome] += 1
        if run.outcomes.get("ship") is Outcome.SUCCEEDED:
            assert "receipt" in run.context.results
            assert run.outcomes["charge"] is Outcome.SUCCEEDED
    print("  500 runs:", ", ".join(f"{count} {outcome}" for outcome, count in sorted(seen.items())))
    assert len(seen) > 1


def test_the_bank_is_asked_again_after_one_minute_and_after_two() -> None:
    """Nothing waits for the simulator's clock: it stands still until nothing else is left to do."""
    answers = iter((ConnectionError("line busy"), ConnectionError("line busy"), "42 €"))

    def bank() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    run = Simulator(order(bank)).run()
    assert run.context.results["receipt"] == "42 €"
    attempts = [
        event.monotonic
        for event in run.events
        if isinstance(event, StepStarted) and event.name == "charge"
    ]
    print(f"  the bank was called after {attempts} seconds")
    assert attempts == [0.0, 60.0, 180.0]


def test_an_hour_is_the_most_that_the_bank_may_take() -> None:
    """A gate holds a real thread inside the step, and a clock is moved by hand."""
    gate, clock = Gate(), ManualClock()

    def bank() -> str:
        gate.wait()
        return "42 €"

    with clock.installed():
        run = order(bank).start()
    gate.wait_until_reached()
    clock.advance(3599.0)
    assert not run.done
    clock.advance(1.0)
    try:
        run.result(timeout=30.0)
    except GroupTimeoutError as error:
        print(f"  after {clock.monotonic():,.0f} seconds: charge {error.outcomes['charge']}")
        assert error.outcomes["charge"] == Outcome.TIMED_OUT
    else:
        raise AssertionError("an hour has passed")
    finally:
        gate.open()


def test_the_order_is_looked_at_while_the_bank_is_busy() -> None:
    """A gate holds a real thread inside a step, for as long as the test wants to look."""
    gate = Gate()

    def bank() -> str:
        gate.wait()
        raise PermissionError("card refused")

    run = order(bank).start()
    gate.wait_until_reached()
    status = run.status()
    charge = status["step_details"]["charge"]
    print(f"  under way: {status['current_step']}, with charge {charge['status']}")
    assert (charge["status"], charge["attempts"]) == ("running", 1)
    gate.open()
    try:
        run.result(timeout=30.0)
    except ParallelGroupError as error:
        assert error.subgroup(PermissionError) is not None
        assert error.outcomes["charge"] == Outcome.FAILED
    else:
        raise AssertionError("a refused card must fail the order")


def main() -> None:
    """Runs the tests; `pytest` would find them by their names."""
    # The library warns of threads that it leaves; here that is what is being tested.
    logging.getLogger("task_pipeline").setLevel(logging.ERROR)
    started = time.perf_counter()
    for test in (
        test_the_result_is_the_same_in_every_order,
        test_nothing_is_shipped_that_was_not_paid_for,
        test_the_bank_is_asked_again_after_one_minute_and_after_two,
        test_an_hour_is_the_most_that_the_bank_may_take,
        test_the_order_is_looked_at_while_the_bank_is_busy,
    ):
        print(test.__name__.replace("_", " "))
        test()
    print(f"all passed in {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
