"""Steps of the suite that change data in every way there is, which any worker can import."""

from __future__ import annotations

import array
import copy
import threading
import time
from pathlib import Path
from typing import Any

from ...context import PipelineContext
from .steps import boom, leave_trace, traces

SIZE = 200_000
"""Numbers in a large array: more than a megabyte."""


def left(context: Any) -> None:
    """Change a bit of everything."""
    results = context.results
    results["number"] += 5
    results["list"].append("left")
    results["tree"]["deep"]["number"] += 1
    results["tree"]["left"] = 1
    results["set"] ^= {"p", "left"}
    del results["gone"]
    results["equal"] = "same"
    results["text"] = "left"
    results["best"] = 9
    results["made"] = ["left"]


def right(context: Any) -> None:
    """Change the same, in other ways."""
    results = context.results
    results["number"] -= 2
    results["list"] = [*results["list"], "right"]
    results["tree"]["deep"]["number"] += 2
    results["tree"]["list"].append("right")
    results["set"].add("right")
    results["equal"] = "same"
    results["text"] = "right"
    results["best"] = 3
    results["made"] = ["right"]
    results["untouched"] = copy.deepcopy(results["untouched"])


def books(context: Any) -> None:
    """Change fields of the context's own class."""
    context.total += 5
    context.tags.append("booked")


def makes_aliases(context: Any) -> None:
    """Have one list stand under two keys."""
    context.results["one"] = context.results["other"] = [1]


def extends_one(context: Any) -> None:
    """Change it under one of them."""
    context.results["one"].append(2)


def extends_both(context: Any) -> None:
    """Change it under both."""
    context.results["one"].append(2)
    context.results["other"].append(3)


def returns_a_copy(context: Any) -> Any:
    """Return a context of its own."""
    other = copy.deepcopy(context)
    other.results["copied"] = True
    other.results.pop("gone", None)
    return other


def returns_another(context: Any) -> Any:
    """Return a context that has nothing to do with the one given."""
    return PipelineContext(results={"text": "another"})


def replaces(context: Any) -> None:
    """Have other results, in another order."""
    results = context.results
    context.results = {"first": 1, "text": results["text"], "list": results["list"]}


def reorders(context: Any) -> None:
    """Have a key stand last."""
    context.results["text"] = context.results.pop("text")


def warns(context: Any) -> None:
    """Leave an error that it did not raise."""
    context.errors.append(ValueError("odd"))


class Writes:
    """A step that changes all there is, then lets the others know."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __call__(self, context: Any) -> None:
        """Change it."""
        context.results["list"].append("changed")
        context.results["made"] = 1
        context.total += 1
        leave_trace(self._folder, "written")


class Looks:
    """A step that looks at its context once the others have changed theirs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, context: Any) -> Any:
        """Say what it sees."""
        leave_trace(str(self._folder), "looking")
        while not traces(self._folder, "go"):
            time.sleep(0.005)  # the step's work
        return [list(context.results["list"]), sorted(context.results), context.total]


def left_alone(context: Any) -> None:
    """Touch something else."""
    context.results["list"].append(1)


def doubles(context: Any) -> int:
    """Twice its item."""
    item: int = context.results["item"]
    context.results["seen"] = [item]
    return 2 * item


class Adds:
    """An object that can be called, and has a method that can be a step too."""

    def __init__(self, amount: int) -> None:
        self._amount = amount

    def __call__(self, context: Any) -> int:
        """Return it."""
        return self._amount

    def doubled(self, context: Any) -> int:
        """Return it twice."""
        return 2 * self._amount


def takes_more(amount: int, context: Any) -> int:
    """Return what it was given."""
    return amount


def raises_from(context: Any) -> None:
    """Fail because of another failure."""
    try:
        boom(context)
    except ValueError as error:
        raise KeyError("not there") from error


def looks_at_errors(context: Any) -> list[str]:
    """Say what has failed so far."""
    return [f"{type(error).__name__}: {error}" for error in context.errors]


def touches_values(context: Any) -> None:
    """Put in again what is there, under other keys."""
    for name, value in list(context.results.items()):
        context.results[f"{name} again"] = value


def makes_a_lock(context: Any) -> None:
    """Leave what cannot be pickled."""
    context.results["page"] = {"numbers": [1], "lock": threading.Lock()}


def sums(context: Any) -> float:
    """Read a large array."""
    return float(sum(context.results["array"]))


def raises_all(context: Any) -> None:
    """Change a large array in place."""
    numbers = context.results["array"]
    numbers[0] = 100
    numbers[len(numbers) - 1] = 100


def reads_shared(context: Any) -> list[Any]:
    """Use what is passed by reference."""
    seen = [sorted(context.shared), len(context.shared)]
    return [*seen, context.shared["counter"].append(1)]


def makes_array(context: Any) -> Any:
    """Return a large array."""
    return array.array("d", range(SIZE))
