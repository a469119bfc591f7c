"""How lists nest, and how what the branches wrote becomes one context again.

    python examples/nesting_and_merging.py

Only changes count, in the order the branches are written: counters sum, lists
and sets join, dicts merge key by key, and what does not merge is a conflict.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

from task_pipeline import (
    MergeConflictError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    Serial,
    TaskStep,
    step,
)

Context = PipelineContext[Any]


def visit(name: str) -> Callable[[Context], None]:
    """Returns a step that leaves its name at the end of `results["seen"]`."""

    @step(step_id=name)
    def leave_name(context: Context) -> None:
        context.results.setdefault("seen", []).append(name)

    return leave_name


def nesting() -> None:
    """Shows that lists alternate: serial, parallel, serial, and so on."""
    a, b, c, d, e = map(visit, "abcde")
    written: dict[str, Sequence[TaskStep]] = {
        "[a, b, c]": [a, b, c],
        "[a, [b, c], d]": [a, [b, c], d],
        "[[ [a, b], [c, d] ]]": [[[a, b], [c, d]]],
        "[[a, [b, [c, d], e]]]": [[a, [b, [c, d], e]]],
        "[Serial([a, b], name='both'), c]": [Serial([a, b], name="both"), c],
    }
    print("nesting: the order of the merge is the order written, whoever ends first")
    for text, steps in written.items():
        seen = Pipeline(steps).run().results["seen"]
        print(f"  {text:<34} → {''.join(seen)}")
        assert seen == sorted(seen)


def sell(context: Context) -> None:
    """Takes three from the stock; each kind of value is changed as in any other code."""
    context.results["stock"] -= 3
    context.results["log"].append("sold 3")
    context.results["customers"].add("ann")
    context.results["by_day"]["monday"] += 3
    context.results["returned"] = 0  # new, and 0: it is there afterwards all the same


def deliver(context: Context) -> None:
    """Puts ten into the stock."""
    context.results["stock"] += 10
    context.results["log"].append("delivered 10")
    context.results["by_day"]["tuesday"] = -10
    del context.results["awaited"]


def refund(context: Context) -> None:
    """Puts one back, and forgets a customer."""
    context.results["stock"] += 1
    context.results["log"].append("refunded 1")
    context.results["customers"].discard("bob")
    context.results["by_day"]["monday"] -= 1


def look(context: Context) -> None:
    """Only reads: a branch that carries an old value along overwrites nothing."""
    assert context.results["stock"] == 20


def merging() -> None:
    """Shows the merge of counters, lists, sets, dicts and deletions."""
    context: Context = PipelineContext(
        results={
            "stock": 20,
            "log": ["opened"],
            "customers": {"bob", "cy"},
            "by_day": {"monday": 5},
            "awaited": True,
        }
    )
    Pipeline([[sell, deliver, refund, look]]).run(context)
    print("merging: four branches changed one stock-book")
    for key, value in context.results.items():
        print(f"  {key:<10} {sorted(value) if isinstance(value, set) else value}")
    assert context.results == {
        "stock": 20 - 3 + 10 + 1,
        "log": ["opened", "sold 3", "delivered 10", "refunded 1"],
        "customers": {"ann", "cy"},
        "by_day": {"monday": 5 + 3 - 1, "tuesday": -10},
        "returned": 0,
    }


def bid(name: str, amount: int) -> Callable[[Context], None]:
    """Returns a step that writes one and the same key as its siblings do."""

    @step(step_id=name)
    def write(context: Context) -> None:
        context.results["winner"] = (amount, name)
        context.results["lowest"] = amount

    return write


def conflicts() -> None:
    """Shows the three ways to settle a conflict, and a reducer that makes it none."""
    bids = [bid("ann", 5), bid("bob", 9), bid("cy", 7)]
    print("conflicts: three branches wrote one key")
    choices: tuple[Literal["last", "first"], ...] = ("last", "first")
    for choice in choices:
        config = PipelineConfig(on_conflict=choice)
        print(f"  {choice:<8} → {Pipeline([bids], config=config).run().results['winner']}")
    try:
        Pipeline([bids], config=PipelineConfig(on_conflict="error")).run()
    except MergeConflictError as error:
        print(f"  error    → {error}")
    # Without its own reducer `lowest` would be no conflict: numbers sum.
    reducers: dict[str, Callable[[Any, Any], Any]] = {"winner": max, "lowest": min}
    context = Pipeline([bids], config=PipelineConfig(reducers=reducers)).run()
    print(f"  reducers → winner {context.results['winner']}, lowest {context.results['lowest']}")
    assert context.results == {"winner": (9, "bob"), "lowest": 5}


def main() -> None:
    """Runs the three parts."""
    # Each conflict that is settled by "last" or "first" is a warning in the log.
    logging.getLogger("task_pipeline").setLevel(logging.ERROR)
    nesting()
    merging()
    conflicts()


if __name__ == "__main__":
    main()
