"""The lines of the budget: what each measures, against what, and what it may cost."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from benchmarks.harness import Rounds, Spread, spread
from benchmarks.reference import least_share
from benchmarks.worker import MeasurementError, Task, measure

MB = 1_000_000


class Unit(StrEnum):
    """How a line's figure is written."""

    RATIO = "x"
    PERCENT = "%"
    MEGABYTES = "MB"
    BYTES = "B"
    TIMES = "times"


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` in each of `processes` fresh processes.

    `is_full`: also the lines that take longest.
    """

    processes: int
    rounds: int
    is_full: bool = True


QUICK = Effort(processes=1, rounds=7, is_full=False)
FULL = Effort(processes=4, rounds=15)


@dataclass(frozen=True)
class Line:
    """One line; without a bound it only informs.

    With `beside`, both tasks say how many bytes they took, and the cost is their ratio. A line
    that `needs` another library is of no use where the peers are left out. One that `takes_long`
    is left out where it has to be quick.
    """

    label: str
    per: str
    against: str
    task: Task
    bound: float | None = None
    unit: Unit = Unit.RATIO
    most_processes: int = FULL.processes
    beside: Task | None = None
    needs: str | None = None
    takes_long: bool = False


@dataclass(frozen=True)
class Figures:
    """What a line came to.

    `cost` is in the line's unit; `ours` and `reference` are median seconds per item (bytes
    in all where memory is compared), None where the line is not a comparison.
    """

    cost: Spread
    ours: float | None
    reference: float | None
    processes: list[Any]


@dataclass(frozen=True)
class Result:
    """A line with its figures, or with the reason why there are none."""

    line: Line
    figures: Figures | None
    error: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None for a line that only informs."""
        if self.line.bound is None:
            return None
        return self.figures is not None and self.figures.cost.median <= self.line.bound


def _ours(function: str, **arguments: Any) -> Task:
    return Task("ours", function, arguments)


def _imports(ours: str, reference: str) -> Task:
    return Task("imports", "compare", {"ours": ours, "reference": reference})


def _touching(label: str, shape: str) -> Line:
    task = Task("isolation", "touching", {"shape": shape})
    return Line(label, "branch", "deep copy", task, 0.02, Unit.PERCENT, most_processes=2)


def _memory(shape: str) -> Line:
    task = Task("memory", "growth", {"shape": shape, "steps": 10_000})
    return Line(f"10,000 steps, {shape}", "", "", task, 30 * MB, Unit.MEGABYTES, most_processes=3)


def _coroutines(label: str, kind: str) -> Line:
    task = Task("groups", "coroutines", {"kind": kind, "count": MANY})
    return Line(label, "coroutine", "semaphore", task, 2.0, most_processes=2)


def _memory_beside(label: str, kind: str) -> Line:
    ours, bare = (
        Task("groups", "growth", {"kind": kind, "side": side, "count": MANY})
        for side in ("group", "semaphore")
    )
    return Line(label, "", "semaphore", ours, 1.5, most_processes=3, beside=bare)


def _one(label: str, against: str, function: str) -> Line:
    return Line(label, "call", against, Task("groups", function), 1.05, most_processes=3)


def _journaled(label: str, kind: str) -> Line:
    task = Task("journal", "group", {"kind": kind})
    return Line(label, "branch", "2 groups+10", task, 1.0, most_processes=3)


def _journaled_step(label: str, durability: str, bound: float | None) -> Line:
    task = Task("journal", "step", {"durability": durability})
    return Line(label, "step", "insert", task, bound)


def _langgraph(label: str, durability: str) -> Line:
    task = Task("journal", "chain", {"durability": durability})
    needs = "langgraph-checkpoint-sqlite"
    return Line(label, "step", "LangGraph", task, 1 / 15, Unit.PERCENT, 2, needs=needs)


def _size(label: str, side: str, needs: str | None = None) -> Line:
    task = Task("journal", "size", {"side": side})
    return Line(label, "step", "", task, unit=Unit.BYTES, most_processes=1, needs=needs)


def _loaded(label: str, kind: str, bound: float) -> Line:
    task = Task("documents", "load", {"kind": kind})
    return Line(label, "recipe", "json+pydantic", task, bound, most_processes=2)


def _on_process(label: str, against: str, bound: float, **task: Any) -> Line:
    asked = Task("executors", task.pop("function"), task)
    return Line(label, "branch", against, asked, bound, most_processes=2)


def _crunching(label: str, branches: int, against: str, needs: str | None = None) -> Line:
    in_series = against == "series"
    task = Task("executors", "crunching", {"branches": branches, "against": against})
    # Nine tenths of what the cores here can do at best.
    bound = least_share(branches) / 0.9 if in_series else None
    return Line(
        *(label, "branch", against, task, bound),
        most_processes=2,
        needs=needs,
        takes_long=not in_series,
    )


def _on_dask(label: str, against: str, bound: float, long: bool = False, **task: Any) -> Line:
    asked = Task("cluster", task.pop("function"), task)
    return Line(label, "branch", against, asked, bound, most_processes=2, takes_long=long)


def _arriving(label: str, what: str, unit: Unit, bound: float, long: bool = False) -> Line:
    task = Task("cluster", "array_arrivals", {"what": what})
    return Line(label, "worker", "", task, bound, unit, most_processes=1, takes_long=long)


def _read(label: str, module: str, closed: bool, bound: float | None, long: bool) -> Line:
    task = Task(module, "array", {"closed": closed})
    against = {"executors": "pool.submit", "cluster": "scatter+submit"}[module]
    return Line(label, "branch", against, task, bound, most_processes=2, takes_long=long)


MANY = 10_000
FEWER = 1_000
LINES = (
    Line("one branch of 100", "branch", "submit", _ours("branches", count=100), 0.6),
    Line(
        "  each writing a key, with progress",
        "branch",
        "submit",
        _ours("writing_branches", count=100),
    ),
    *(
        Line(
            f"  with {how_many} subscriber{'s' * (count != 1)}",
            "branch",
            "submit",
            _ours("observed_branches", count=100, subscribers=count),
        )
        for count, how_many in enumerate(("no", "one", "two"))
    ),
    Line(
        "  against submitting 100 at once",
        "branch",
        "submit all",
        _ours("against_all_at_once", count=100),
    ),
    Line("one branch of 4", "branch", "submit", _ours("branches", count=4), 1.0),
    Line(
        "  against submitting 4 at once",
        "branch",
        "submit all",
        _ours("against_all_at_once", count=4),
    ),
    Line("one serial step of 100", "step", "submit", _ours("serial", count=100), 0.25),
    _touching("50 branches, 60 ms to copy: 4 big values", "few_large"),
    _touching("50 branches, 60 ms to copy: small lists", "many_small"),
    _touching("50 branches, 60 ms to copy: plain numbers", "many_plain"),
    Line("one branch of 10,000", "branch", "one of 100", _ours("width"), 1.5),
    _memory("serial"),
    _memory("parallel"),
    _coroutines("10,000 coroutines that return, in a group", "returns"),
    _coroutines("  that let the loop go round once", "yields"),
    _memory_beside("  their memory: those that return", "returns"),
    _memory_beside("  and those that let it go round", "yields"),
    Line(
        "10,000 functions in a group",
        "function",
        "submit",
        Task("groups", "functions", {"count": MANY}),
        1.0,
        most_processes=2,
    ),
    _one("a group of one function of 1 ms", "call", "one_function"),
    _one("a group of one coroutine of 1 ms", "await", "one_coroutine"),
    _journaled_step("one journaled step of 100", "normal", 4.0),
    _journaled_step("  with durability full", "full", None),
    _langgraph("  against LangGraph with its SQLite saver", "async"),
    _langgraph("  the same, where it too waits to be safe", "sync"),
    _journaled("one journaled branch of 100, writing a key", "writing"),
    _journaled("  of 100 no-ops", "noop"),
    _size("one journaled step, in the file", "ours"),
    _size("  the same step in LangGraph's", "langgraph", "langgraph-checkpoint-sqlite"),
    _loaded("a recipe of 1,000 steps, loaded", "plain", 5.0),
    _loaded("  with templates in each", "templated", 5.0),
    _loaded("  of several types, nested", "mixed", 5.0),
    _on_process(
        "one branch of 1,000 on process",
        "pool.submit",
        1.5,
        function="against_submit",
        count=FEWER,
    ),
    _on_process(
        "  against submitting 1,000 at once",
        "submit all",
        1.5,
        function="against_all_at_once",
        count=FEWER,
    ),
    _on_process("  one of 10,000", "one of 1,000", 1.25, function="width", wide=MANY, narrow=FEWER),
    _crunching("4 branches that compute, on process", 4, "series"),
    _crunching("5 branches that compute, on process", 5, "series"),
    _crunching("  against the standard pool's map", 5, "pool"),
    _crunching("  against joblib, loky", 5, "joblib", needs="joblib"),
    Line(
        "20 branches read 100 MB: bytes copied",
        "",
        "",
        Task("executors", "array_bytes", {"side": "ours"}),
        105 * MB,
        Unit.MEGABYTES,
        most_processes=1,
    ),
    Line(
        "  against an argument of pool.submit",
        "",
        "pool",
        Task("executors", "array_bytes", {"side": "ours"}),
        most_processes=1,
        beside=Task("executors", "array_bytes", {"side": "pool"}),
        takes_long=True,
    ),
    _read("  the time for it", "executors", closed=False, bound=1.0, long=True),
    _read("  an array that is read-only", "executors", closed=True, bound=1.0, long=True),
    _on_dask(
        "one branch of 500 on Dask", "client.submit", 1.5, function="against_submit", count=500
    ),
    _on_dask("  against client.map", "client.map", 1.5, True, function="against_map", count=500),
    _on_dask("  one of 10,000", "one of 1,000", 1.25, function="width", wide=MANY, narrow=FEWER),
    _read("20 branches that read 100 MB, on Dask", "cluster", closed=False, bound=None, long=True),
    _read("  an array that is read-only", "cluster", closed=True, bound=1.5, long=False),
    _arriving("  how often it arrives at a worker", "times", Unit.TIMES, 1.0),
    _arriving("  bytes that arrive at a worker", "bytes", Unit.MEGABYTES, 105 * MB, long=True),
    Line(
        "import task_pipeline",
        "import",
        "pydantic",
        _imports("import task_pipeline", "import pydantic"),
        1.3,
    ),
    Line(
        "  from it import Pipeline",
        "import",
        "BaseModel",
        _imports("from task_pipeline import Pipeline", "from pydantic import BaseModel"),
    ),
)


def measure_all(effort: Effort, *, with_peers: bool = True) -> Iterator[Result]:
    """Measure line by line, yielding each result as soon as it is known."""
    for line in LINES:
        if (line.needs is not None and not with_peers) or (line.takes_long and not effort.is_full):
            continue
        try:
            yield Result(line, _figures(line, effort))
        except MeasurementError as error:
            yield Result(line, None, str(error))


def compared(task: Task, effort: Effort) -> tuple[Rounds, list[Any]]:
    """The rounds of all processes together, and what each process said.

    Raises:
        MeasurementError: one of the processes could not measure.
    """
    asked = Task(task.module, task.function, task.arguments | {"rounds": effort.rounds})
    answers = [measure(asked) for _ in range(effort.processes)]
    together = Rounds(
        tuple(seconds for answer in answers for seconds in answer["ours"]),
        tuple(seconds for answer in answers for seconds in answer["reference"]),
    )
    return together, answers


def _figures(line: Line, effort: Effort) -> Figures:
    processes = min(effort.processes, line.most_processes)
    if line.beside is not None:
        pairs = [(measure(line.task), measure(line.beside)) for _ in range(processes)]
        grown, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        return Figures(spread([a / b for a, b in pairs]), grown, bare, pairs)
    if line.unit in (Unit.MEGABYTES, Unit.BYTES, Unit.TIMES):
        grown = [measure(line.task) for _ in range(processes)]
        return Figures(spread(grown), None, None, grown)
    rounds, answers = compared(line.task, Effort(processes, effort.rounds))
    ours, reference = (statistics.median(side) for side in (rounds.ours, rounds.reference))
    return Figures(spread(rounds.ratios), ours, reference, answers)
