"""How results are written: one row each, narrow enough for a terminal."""

import os
import platform
import sys

from benchmarks.budget import MB, Effort, Result, Unit
from benchmarks.harness import Spread
from benchmarks.rivals import WIDTHS, PeerResult

BUDGET_COLUMNS = "{:<42} {:>9} {:>20}   {:>7} {:<16} {:>6}  {}"
PEER_NAME = "{:<36}"
PEER_CELL = " {:>19}"
UNSTEADY = 1.3
"""A plain submit whose upper quartile is this much over its lower: the machine is noisy."""


def opening(effort: Effort) -> str:
    """On what, and how, the figures were taken."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()}, {platform.machine()} {sys.platform}, "
        f"{os.cpu_count()} cores, load {load}\n"
        f"Medians with quartiles; {effort.rounds} interleaved rounds in each of up to "
        f"{effort.processes} fresh processes.\n"
        "submit: a no-op given to one ThreadPoolExecutor(8), and its result taken; per round trip."
        "\ninsert: a short row and its commit, by hand, in a SQLite file with write-ahead log.\n"
        "2 groups+10: the same group twice without a journal, and ten such inserts.\n"
        "pool.submit: as submit, of a ProcessPoolExecutor(2); client.submit: of a Dask cluster of"
        "\ntwo processes, one for each no-op, and one gather for all."
    )


def budget_heading() -> str:
    return BUDGET_COLUMNS.format("", "ours", "against", "cost", "(quartiles)", "bound", "")


def budget_row(result: Result) -> str:
    """One line of the budget with its verdict, or its error in place of figures."""
    line, figures = result.line, result.figures
    bound = "" if line.bound is None else cost(line.bound, line.unit)
    verdict = {True: "met", False: "NOT MET", None: ""}[result.met]
    if figures is None:
        return f"{line.label:<42}  {result.error}  (bound {bound or 'none'})  {verdict}".rstrip()
    size = seconds if line.beside is None else megabytes
    against = "" if figures.reference is None else f"{line.against} {size(figures.reference)}"
    return BUDGET_COLUMNS.format(
        line.label,
        "" if figures.ours is None else size(figures.ours),
        against,
        cost(figures.cost.median, line.unit),
        quartiles(figures.cost, line.unit),
        bound,
        verdict,
    ).rstrip()


def peer_heading() -> str:
    cells = "".join(PEER_CELL.format(f"{width:,} branches") for width in WIDTHS)
    return PEER_NAME.format("per branch, and times submit") + cells


def peer_row(result: PeerResult) -> str:
    """One peer at every width; its error follows the cells it managed."""
    row = PEER_NAME.format(f"{result.name} {result.version}".strip())
    for width in WIDTHS:
        cell = result.cells.get(width)
        if cell is not None:
            row += PEER_CELL.format(f"{seconds(cell.seconds)} {cell.ratio.median:7.2f}x")
    return row if result.error is None else f"{row}  {result.error}"


def unsteady(results: list[PeerResult]) -> str | None:
    """A warning if submit against itself did not come out near 1.0, else None."""
    for result in results:
        for width, cell in result.cells.items():
            ratio = cell.ratio
            if result.name == "ThreadPoolExecutor.submit" and ratio.high / ratio.low > UNSTEADY:
                return (
                    f"Noisy: submit against itself spread from {ratio.low:.2f}x to "
                    f"{ratio.high:.2f}x at {width:,} branches."
                )
    return None


def seconds(value: float) -> str:
    """Seconds in the unit that keeps them short."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return f"{value * 1e9:.0f} ns"


def megabytes(value: float) -> str:
    """Bytes as megabytes."""
    return f"{value / MB:.1f} MB"


def cost(value: float, unit: Unit) -> str:
    """A cost in its line's unit."""
    match unit:
        case Unit.RATIO:
            return f"{value:.2f}x"
        case Unit.PERCENT:
            return f"{value * 100:.2f}%"
        case Unit.MEGABYTES:
            return megabytes(value)
        case Unit.BYTES:
            return f"{value:,.0f} B"
        case Unit.TIMES:
            return f"{value:.1f} times"


def quartiles(value: Spread, unit: Unit) -> str:
    """The quartiles in brackets, in the line's unit."""
    scale = {Unit.PERCENT: 100.0, Unit.MEGABYTES: 1 / MB}.get(unit, 1.0)
    return f"({value.low * scale:.2f} to {value.high * scale:.2f})"
