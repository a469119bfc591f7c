"""The table of peers: the same no-op fan-out in each, at three widths."""

import importlib.metadata
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.budget import Effort, compared
from benchmarks.harness import Spread, spread
from benchmarks.peers import PEERS
from benchmarks.worker import MeasurementError, Task

WIDTHS = (4, 100, 1_000)
MOST_PROCESSES = 2


@dataclass(frozen=True)
class Cell:
    """One peer at one width: seconds per item, and the ratio to submitting as many."""

    seconds: float
    ratio: Spread


@dataclass(frozen=True)
class PeerResult:
    """One peer: a cell for each width that it managed, and what went wrong otherwise."""

    name: str
    version: str
    cells: dict[int, Cell]
    error: str | None = None


def measure_peers(effort: Effort) -> Iterator[PeerResult]:
    """Measure ourselves and every peer, yielding each as soon as it is known."""
    less = Effort(min(effort.processes, MOST_PROCESSES), effort.rounds)
    yield _measured("task_pipeline", "", Task("ours", "branches"), less)
    for name, (_, distribution) in PEERS.items():
        version = _version(distribution)
        yield _measured(name, version, Task("peers", "compare", {"name": name}), less)


def _measured(name: str, version: str, task: Task, effort: Effort) -> PeerResult:
    cells: dict[int, Cell] = {}
    try:
        for width in WIDTHS:
            arguments = task.arguments | {"count": width}
            rounds, _ = compared(Task(task.module, task.function, arguments), effort)
            cells[width] = Cell(statistics.median(rounds.ours), spread(rounds.ratios))
    except MeasurementError as error:
        return PeerResult(name, version, cells, str(error))
    return PeerResult(name, version, cells)


def _version(distribution: str | None) -> str:
    if distribution is None:
        return ""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
