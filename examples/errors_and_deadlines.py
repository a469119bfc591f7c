"""What happens when a step fails, or takes too long.

    python examples/errors_and_deadlines.py

Python cannot stop a thread, so a deadline is kept by leaving: the run goes on,
the thread is abandoned, and what it does later is dropped. Each part prints how
long it took; none waits for the steps that sleep half a minute.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from task_pipeline import (
    ErrorStrategy,
    GroupTimeoutError,
    LogicOperator,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    StepTimeoutError,
    step,
)

Context = PipelineContext[Any]


@contextmanager
def part(title: str) -> Iterator[None]:
    """Prints a title, and after the block how long it took."""
    print(title)
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(f"    ({seconds:.2f} s)")
    assert seconds < 2.0


def fine(context: Context) -> str:
    """Ends well."""
    return "fine"


def boom(context: Context) -> None:
    """Fails."""
    raise ValueError("boom")


def no_key(context: Context) -> None:
    """Fails in another way."""
    context.results["what is not there"]


@step(critical=False)
def optional(context: Context) -> None:
    """Fails too, but nothing depends on it."""
    raise ConnectionError("the mail server is down")


@step(timeout=0.2)
def stuck(context: Context) -> None:
    """Would take half a minute, and cannot be stopped: its thread is left behind."""
    time.sleep(30)


def slow(context: Context) -> None:
    """Takes as long, but asks whether it should stop: its thread comes back at once."""
    while True:
        context.raise_if_cancelled()
        time.sleep(0.01)


def critical_or_not() -> None:
    """Shows what a failing step does to its run."""
    with part("a critical step fails: its own exception comes out, with notes"):
        try:
            Pipeline([fine, boom]).run()
        except ValueError as error:
            print(f"    {error!r}, {'; '.join(error.__notes__)}")
    with part("one that is not critical: the error is recorded, the run goes on"):
        context = Pipeline([optional, fine]).run()
        print(f"    results {context.results}, errors {context.errors}")
    with part("fail_fast=False: every error is recorded, and what worked is kept"):
        config = PipelineConfig(fail_fast=False)
        context = Pipeline([boom, [fine, no_key]], config=config).run()
        print(f"    results {context.results}, {len(context.errors)} errors")


def several_at_once() -> None:
    """Shows the error of a group: all of its branches' errors in one."""
    with part("a group fails: one error holds all, and except* picks from it"):
        try:
            Pipeline([[fine, boom, no_key]]).run()
        except* ValueError as group:
            print(f"    of ValueError: {[str(error) for error in group.exceptions]}")
        except* KeyError as group:
            print(f"    of KeyError: {[str(error) for error in group.exceptions]}")
    with part("it is an ExceptionGroup and a RuntimeError, and names every branch"):
        try:
            Pipeline([[fine, boom, no_key]]).run()
        except ParallelGroupError as error:
            assert isinstance(error, ExceptionGroup) and isinstance(error, RuntimeError)
            for name, outcome in error.outcomes.items():
                print(f"    {name:<8}{outcome}")


def deadlines() -> None:
    """Shows the deadline of a step and that of a group."""
    with part("a step's deadline passes while it sleeps"):
        pipeline = Pipeline([stuck])
        try:
            pipeline.run()
        except StepTimeoutError as error:
            print(f"    {error}")
        print(f"    abandoned threads: {pipeline.get_status()['abandoned']}")
    with part("a group's deadline passes: the error says who did not end"):
        limits = ParallelConfig(timeout=0.2)
        try:
            Pipeline([Parallel([fine, slow], name="both", config=limits)]).run()
        except GroupTimeoutError as error:
            print(f"    {error}")
    with part("the same group with OR: one ended in time, so it succeeds"):
        limits = ParallelConfig(timeout=0.2, operator=LogicOperator.OR)
        context = Pipeline([Parallel([fine, slow], name="either", config=limits)]).run()
        print(f"    results {context.results}")
        assert context.results == {"fine": "fine"}


def answer(name: str) -> Callable[[Context], str]:
    """Returns a step that answers at once."""
    return step(step_id=name)(lambda context: "yes")


def quorum() -> None:
    """Shows QUORUM: two of five answers are enough, the other three are not waited for."""
    limits = ParallelConfig(
        operator=LogicOperator.QUORUM, quorum=2, error_strategy=ErrorStrategy.FAIL_FAST
    )
    replicas = [answer("a"), boom, slow, slow, answer("b")]
    with part("QUORUM of 2 in 5, FAIL_FAST: ends with the second answer"):
        context = Pipeline([Parallel(replicas, name="replicas", config=limits)]).run()
        print(f"    answered: {sorted(context.results)}")
        assert context.results == {"a": "yes", "b": "yes"}


def main() -> None:
    """Runs the parts."""
    # The library warns of every thread that it leaves behind.
    logging.basicConfig(format="    log: %(message)s", stream=sys.stdout)
    critical_or_not()
    several_at_once()
    deadlines()
    quorum()


if __name__ == "__main__":
    main()
